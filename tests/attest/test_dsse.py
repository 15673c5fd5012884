import base64
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from verismo.attest import dsse
from verismo.attest.keys import import_key

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"\x08" * 32)
TYPE = "application/vnd.in-toto+json"


def public(private=PRIVATE, role="rollup"):
    return import_key(private.public_key().public_bytes_raw(), role)


def keys(*given):
    return {key.kid: key for key in given}


def sealed(payload=b"hello", private=PRIVATE, kind=TYPE):
    return dsse.seal(kind, payload, public(private).kid, private.sign)


def changed(document, **members):
    return json.dumps({**json.loads(document), **members}).encode()


def test_published_vector_has_the_same_encoding_and_its_signature_covers_it(published):
    vectors = json.loads((published / "dsse" / "dsse_vectors.json").read_text())["vectors"]
    assert vectors
    for vector in vectors:
        encoded = dsse.pre_authentication_encoding(
            vector["payloadType"], vector["payload"].encode()
        )
        assert encoded == vector["pae"].encode()
        key = vector["ecdsa_p256_sha256"]
        signer = ec.EllipticCurvePublicNumbers(
            int(key["X"]), int(key["Y"]), ec.SECP256R1()
        ).public_key()
        raw = base64.b64decode(key["sig_b64"])
        pair = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        signature = utils.encode_dss_signature(*pair)
        signer.verify(signature, encoded, ec.ECDSA(hashes.SHA256()))
        with pytest.raises(InvalidSignature):
            signer.verify(signature, encoded + b" ", ec.ECDSA(hashes.SHA256()))


@given(st.text(max_size=20), st.binary(max_size=50), st.text(max_size=20), st.binary(max_size=50))
def test_two_contents_never_have_one_encoding(kind, payload, other_kind, other_payload):
    first = dsse.pre_authentication_encoding(kind, payload)
    second = dsse.pre_authentication_encoding(other_kind, other_payload)
    assert (first == second) == ((kind, payload) == (other_kind, other_payload))


@given(st.binary(max_size=200))
def test_what_was_sealed_is_opened_again_byte_for_byte(payload):
    opened = dsse.open_envelope(sealed(payload), TYPE, keys(public()), "rollup")
    assert opened == dsse.Opened(payload, public().kid)


def test_sealing_again_gives_the_same_bytes():
    assert sealed() == sealed()


def test_url_safe_base64_is_read_as_well():
    envelope = json.loads(sealed(b"\xfb\xff\xfe"))
    assert envelope["payload"] == "+//+"
    alphabet = str.maketrans("+/", "-_")
    signatures = [{**one, "sig": one["sig"].translate(alphabet)} for one in envelope["signatures"]]
    document = changed(sealed(b"\xfb\xff\xfe"), payload="-__-", signatures=signatures)
    assert dsse.open_envelope(document, TYPE, keys(public()), "rollup").payload == b"\xfb\xff\xfe"


def test_second_signature_counts_when_the_first_is_somebody_elses():
    mine, other = json.loads(sealed()), json.loads(sealed(private=OTHER))
    document = changed(sealed(), signatures=other["signatures"] + mine["signatures"])
    assert dsse.open_envelope(document, TYPE, keys(public()), "rollup").kid == public().kid


def test_altered_payload_is_refused():
    document = changed(sealed(), payload=base64.b64encode(b"hellp").decode())
    with pytest.raises(dsse.EnvelopeRefused, match="no valid signature"):
        dsse.open_envelope(document, TYPE, keys(public()), "rollup")


def test_payload_passed_off_as_another_type_is_refused():
    document = changed(sealed(kind="text/plain"), payloadType=TYPE)
    with pytest.raises(dsse.EnvelopeRefused, match="no valid signature"):
        dsse.open_envelope(document, TYPE, keys(public()), "rollup")
    with pytest.raises(dsse.EnvelopeRefused, match="text/plain"):
        dsse.open_envelope(sealed(kind="text/plain"), TYPE, keys(public()), "rollup")


def test_unknown_signer_is_refused():
    with pytest.raises(dsse.EnvelopeRefused):
        dsse.open_envelope(sealed(private=OTHER), TYPE, keys(public()), "rollup")


def test_key_of_another_role_is_refused():
    with pytest.raises(dsse.EnvelopeRefused, match="trusted rollup key"):
        dsse.open_envelope(sealed(), TYPE, keys(public(role="token")), "rollup")


def test_borrowed_key_id_is_refused():
    signatures = [{"sig": json.loads(sealed(private=OTHER))["signatures"][0]["sig"]}]
    signatures[0]["keyid"] = public().kid
    with pytest.raises(dsse.EnvelopeRefused):
        dsse.open_envelope(changed(sealed(), signatures=signatures), TYPE, keys(public()), "rollup")


def test_envelope_without_signatures_is_refused():
    with pytest.raises(dsse.EnvelopeRefused):
        dsse.open_envelope(changed(sealed(), signatures=[]), TYPE, keys(public()), "rollup")


def test_nothing_is_trusted_without_keys():
    with pytest.raises(dsse.EnvelopeRefused):
        dsse.open_envelope(sealed(), TYPE, {}, "rollup")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[" * 10_000,
        b"\xff",
        b'{"payload":"&","payloadType":"a","signatures":[]}',
        b'{"payload":"YQ","payloadType":"a","signatures":[]}',
        b'{"payload":"","payloadType":"a","signatures":{}}',
    ],
)
def test_what_is_no_envelope_is_refused(document):
    with pytest.raises(dsse.EnvelopeRefused):
        dsse.open_envelope(document, "a", keys(public()), "rollup")


def test_too_many_signatures_are_refused_before_any_is_verified():
    signatures = json.loads(sealed())["signatures"] * 17
    with pytest.raises(dsse.EnvelopeRefused, match="more than 16"):
        dsse.open_envelope(changed(sealed(), signatures=signatures), TYPE, keys(public()), "rollup")


def test_oversized_envelope_is_refused():
    with pytest.raises(dsse.EnvelopeRefused, match="more than"):
        dsse.read_envelope(b" " * (dsse.ENVELOPE_BYTES_MAX + 1))


@pytest.mark.parametrize("signature", [b"", b"\0" * 63, b"\0" * 64, b"\0" * 65])
def test_degenerate_signature_is_refused(signature):
    signatures = [{"keyid": public().kid, "sig": base64.b64encode(signature).decode()}]
    with pytest.raises(dsse.EnvelopeRefused):
        dsse.open_envelope(changed(sealed(), signatures=signatures), TYPE, keys(public()), "rollup")
