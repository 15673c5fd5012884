"""Other people's implementations: they verify our tokens, and we agree on what must be refused."""

import hashlib
import json

import joserfc.jws
import jwcrypto.jws
import nacl.exceptions
import nacl.signing
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from forge import OTHER, TOKEN, Recipe, header, signed_bytes, token
from forge_tokens import FIELD, LOW_ORDER, ORDER, add_points, identity_r, mixed_order_r
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.errors import JoseError
from joserfc.jwk import OctKey, OKPKey
from jwcrypto.common import JWException
from jwcrypto.jwk import JWK

from verismo.attest import jws
from verismo.attest.headers import ProofHeaders
from verismo.attest.keys import has_agreed_r, import_key, read_jwks
from verismo.attest.keyset import KeySet
from verismo.attest.report import CheckFailed, Findings
from verismo.attest.verify import Expectation, verify_answer
from verismo.model import base64url

KEYS = read_jwks(json.dumps({"keys": [TOKEN.jwk]}).encode())
KEY_SET = KeySet(KEYS)
PAYLOAD = signed_bytes()
PUBLIC = {name: value for name, value in TOKEN.jwk.items() if name != "attest_role"}
PRIVATE = {**PUBLIC, "d": base64url.encode(TOKEN.seed)}
MEMBERS = {"alg": "Ed25519", "kid": TOKEN.kid, "typ": "attest+jws"}


def ours(text, payload=PAYLOAD):
    try:
        KEY_SET.verify(text, payload, jws.TYPE_STATEMENT, Findings())
    except CheckFailed:
        return False
    return True


def by_joserfc(text, payload=PAYLOAD):
    key = OKPKey.import_key(PUBLIC)
    try:
        joserfc.jws.deserialize_compact(text, key, algorithms=["Ed25519"], payload=payload)
    except (JoseError, ValueError):
        return False
    return True


def by_jwcrypto(text, payload=PAYLOAD):
    token_ = jwcrypto.jws.JWS()
    token_.allowed_algs = ["Ed25519"]
    try:
        token_.deserialize(text)
        token_.verify(JWK(**PUBLIC), detached_payload=payload)
    except JWException:
        return False
    return True


def test_joserfc_and_jwcrypto_verify_our_token():
    text = token(PAYLOAD)
    assert (ours(text), by_joserfc(text), by_jwcrypto(text)) == (True, True, True)


def test_their_tokens_are_byte_for_byte_ours():
    text = joserfc.jws.serialize_compact(
        MEMBERS, PAYLOAD, OKPKey.import_key(PRIVATE), algorithms=["Ed25519"]
    )
    other = jwcrypto.jws.JWS(PAYLOAD)
    other.allowed_algs = ["Ed25519"]
    other.add_signature(JWK(**PRIVATE), None, header().decode())
    for attached in (text, other.serialize(compact=True)):
        protected, _, signature = attached.split(".")
        assert f"{protected}..{signature}" == token(PAYLOAD)
        assert not ours(attached)


@given(st.binary(min_size=1, max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_payload_verifies_everywhere_and_no_other_does(payload):
    text = token(payload)
    assert ours(text, payload)
    assert by_joserfc(text, payload)
    assert by_jwcrypto(text, payload)
    assert not ours(text, payload + b" ")
    assert not by_joserfc(text, payload + b" ")
    assert not by_jwcrypto(text, payload + b" ")


def test_joserfc_takes_an_embedded_payload_where_we_refuse_it():
    """The trap: the library ignores the payload it is given and returns the embedded one."""
    other = signed_bytes(Recipe(name="answer B"))
    protected, _, signature = token(other).split(".")
    attached = f"{protected}.{base64url.encode(other)}.{signature}"
    assert by_joserfc(attached)
    assert not ours(attached)
    assert not by_jwcrypto(attached)


def test_joserfc_takes_a_duplicate_alg_where_we_refuse_it():
    head = header().replace(b'{"alg"', b'{"alg":"none","alg"')
    text = token(PAYLOAD, TOKEN, head)
    assert by_joserfc(text)
    assert not ours(text)


def test_jwcrypto_takes_a_padded_signature_where_we_refuse_it():
    assert by_jwcrypto(token(PAYLOAD) + "==")
    assert not ours(token(PAYLOAD) + "==")


@pytest.mark.parametrize(
    "members",
    [
        {"crit": ["b64"], "b64": False},
        {"crit": ["exp"], "exp": 1},
        {"b64": True},
        {"jwk": OTHER.jwk},
        {"jku": "https://evil.example/"},
        {"cty": "JWT"},
    ],
)
def test_their_tokens_with_further_members_are_refused(members):
    head = json.dumps({**MEMBERS, **members}, separators=(",", ":"), sort_keys=True).encode()
    assert not ours(token(PAYLOAD, TOKEN, head))


def test_hmac_with_the_public_key_is_refused_by_all():

    text = joserfc.jws.serialize_compact(
        {**MEMBERS, "alg": "HS256"}, PAYLOAD, OctKey.import_key(TOKEN.raw), algorithms=["HS256"]
    )
    protected, _, signature = text.split(".")
    text = f"{protected}..{signature}"
    assert (ours(text), by_joserfc(text), by_jwcrypto(text)) == (False, False, False)


def by_pynacl(signature, message, raw=TOKEN.raw):
    try:
        nacl.signing.VerifyKey(raw).verify(message, signature)
    except nacl.exceptions.BadSignatureError:
        return False
    return True


@given(st.binary(max_size=100))
@settings(max_examples=50, deadline=None)
def test_pynacl_signs_what_we_verify_and_the_reverse(payload):
    protected = jws.protected_header(TOKEN.kid, jws.TYPE_STATEMENT)
    message = jws.signing_input(protected, payload)
    signature = nacl.signing.SigningKey(TOKEN.seed).sign(message).signature
    assert signature == TOKEN.sign(message)
    assert ours(jws.detached(protected, signature), payload)
    assert by_pynacl(signature, message)


def altered_signatures(message):
    good = TOKEN.sign(message)
    yield good
    for position in range(0, 64, 3):
        for bit in (1, 0x80):
            yield good[:position] + bytes([good[position] ^ bit]) + good[position + 1 :]
    s = int.from_bytes(good[32:], "little")
    for times in (1, 2, 7):
        yield good[:32] + (s + times * ORDER).to_bytes(32, "little")
    for low in LOW_ORDER.values():
        yield low + good[32:]
        yield low + bytes(32)


def test_pynacl_and_cryptography_agree_on_every_altered_signature():
    protected = jws.protected_header(TOKEN.kid, jws.TYPE_STATEMENT)
    message = jws.signing_input(protected, PAYLOAD)
    for signature in altered_signatures(message):
        text = jws.detached(protected, signature)
        assert ours(text) == by_pynacl(signature, message)


def test_low_order_r_is_refused_although_a_library_accepts_it():
    """The one signature on which verifiers still disagree once keys are checked (CCTV)."""

    protected = jws.protected_header(TOKEN.kid, jws.TYPE_STATEMENT)
    message = jws.signing_input(protected, PAYLOAD)
    signature = identity_r(message)
    Ed25519PublicKey.from_public_bytes(TOKEN.raw).verify(signature, message)
    assert not has_agreed_r(signature)
    assert not ours(jws.detached(protected, signature))
    proof = ProofHeaders("", b"", PAYLOAD, jws.detached(protected, signature))
    assert verify_answer(proof, KEYS, None, None, Expectation()).verdict == "INVALID"


def times(scalar, point):
    result = LOW_ORDER["one"]
    for bit in bin(scalar)[2:]:
        result = add_points(result, result)
        if bit == "1":
            result = add_points(result, point)
    return result


@pytest.mark.slow
def test_mixed_order_r_is_refused_although_the_equation_with_cofactor_holds():
    protected = jws.protected_header(TOKEN.kid, jws.TYPE_STATEMENT)
    message = jws.signing_input(protected, PAYLOAD)
    signature = mixed_order_r(message)
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    k = int.from_bytes(hashlib.sha512(r + TOKEN.raw + message).digest(), "little") % ORDER
    base = (4 * pow(5, -1, FIELD) % FIELD).to_bytes(32, "little")
    left, right = times(s, base), add_points(r, times(k, TOKEN.raw))
    assert left != right
    assert times(8, left) == times(8, right)
    assert has_agreed_r(signature)
    assert not ours(jws.detached(protected, signature))
    assert not by_pynacl(signature, message)


def test_thumbprints_are_those_of_the_libraries():
    ours_ = import_key(TOKEN.raw, "token").kid
    assert ours_ == OKPKey.import_key(PUBLIC).thumbprint() == JWK(**PUBLIC).thumbprint()
