"""Public keys: thumbprints, and refusal of every point on which verifiers disagree."""

import hashlib
import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from forge import OTHER, TOKEN, Key
from forge_tokens import FIELD, LOW_ORDER, ORDER
from hypothesis import given, settings
from hypothesis import strategies as st

from verismo.attest.keys import (
    Jwks,
    KeyRefused,
    has_agreed_r,
    import_key,
    read_jwks,
    thumbprint,
    to_jwk,
)
from verismo.model import base64url

RFC8037_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
RFC8037_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_thumbprint_is_that_of_rfc_8037_appendix_a3():
    assert thumbprint(base64url.decode(RFC8037_X)) == RFC8037_THUMBPRINT


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=25, deadline=None)
def test_every_honest_key_is_accepted_and_survives_publishing(seed):
    raw = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    key = import_key(raw, "token")
    document = msgspec.json.encode(Jwks(keys=(to_jwk(key),)))
    assert read_jwks(document) == {key.kid: key}


@given(st.binary(max_size=40))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_a_key_or_refused(raw):
    try:
        key = import_key(raw, "token")
    except KeyRefused:
        return
    assert key.raw == raw


@pytest.mark.parametrize("name", LOW_ORDER)
def test_low_order_key_is_refused(name):
    with pytest.raises(KeyRefused):
        import_key(LOW_ORDER[name], "token")


@pytest.mark.parametrize("low", ["minus-one", "zero", "eighth-a", "eighth-b"])
def test_mixed_order_key_is_refused(low):
    mixed = _add_points(TOKEN.raw, LOW_ORDER[low])
    with pytest.raises(KeyRefused, match="mixed order"):
        import_key(mixed, "token")


def _add_points(a: bytes, b: bytes) -> bytes:
    """Add two Edwards points by the affine law, independently of the code under test."""
    d = -121665 * pow(121666, -1, FIELD) % FIELD

    def point(raw):
        value = int.from_bytes(raw, "little")
        sign, y = value >> 255, value & (2**255 - 1)
        square = (y * y - 1) * pow(d * y * y + 1, -1, FIELD) % FIELD
        x = pow(square, (FIELD + 3) // 8, FIELD)
        if (x * x - square) % FIELD:
            x = x * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
        assert (x * x - square) % FIELD == 0
        return (FIELD - x if x & 1 != sign else x), y

    (x1, y1), (x2, y2) = point(a), point(b)
    cross = d * x1 * x2 * y1 * y2 % FIELD
    x = (x1 * y2 + x2 * y1) * pow(1 + cross, -1, FIELD) % FIELD
    y = (y1 * y2 + x1 * x2) * pow(1 - cross, -1, FIELD) % FIELD
    return (y | (x & 1) << 255).to_bytes(32, "little")


@pytest.mark.parametrize("excess", range(19))
def test_non_canonical_y_is_refused(excess):
    with pytest.raises(KeyRefused, match="canonical"):
        import_key((FIELD + excess).to_bytes(32, "little"), "token")


@pytest.mark.parametrize("name", LOW_ORDER)
def test_low_order_r_is_not_agreed(name):
    assert not has_agreed_r(LOW_ORDER[name] + bytes(32))


def test_honest_r_is_agreed():
    assert has_agreed_r(TOKEN.sign(b"message"))


def jwks(**members):
    return json.dumps({"keys": [{**TOKEN.jwk, **members}]}).encode()


@pytest.mark.parametrize(
    "members",
    [
        *({"kid": "name"}, {"kid": OTHER.kid}, {"kid": ""}, {"d": "AAAA"}, {"alg": "HS256"}),
        *({"alg": ""}, {"alg": "none"}, {"attest_role": ""}, {"attest_role": "root"}, {"x": ""}),
        *({"x": "AAAA"}, {"x": TOKEN.jwk["x"] + "="}, {"x": 1}, {"kid": None}, {"kty": 1}),
    ],
)
def test_bad_ed25519_key_makes_the_whole_set_refused(members):
    with pytest.raises(KeyRefused):
        read_jwks(jwks(**members))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"{}", b'{"keys":{}}', b"\xff", b"[" * 99_999]
)
def test_what_is_not_a_key_set_is_refused(data):
    with pytest.raises(KeyRefused, match="Key Set"):
        read_jwks(data)


def test_keys_of_other_types_are_skipped():
    rsa = {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r", "alg": "RS256", "use": "sig"}
    x25519 = {"kty": "OKP", "crv": "X25519", "x": RFC8037_X, "kid": "x"}
    document = json.dumps({"keys": [rsa, x25519, TOKEN.jwk]}).encode()
    assert list(read_jwks(document)) == [TOKEN.kid]


def test_one_kid_twice_is_refused():
    with pytest.raises(KeyRefused, match="twice"):
        read_jwks(json.dumps({"keys": [TOKEN.jwk, TOKEN.jwk]}).encode())


def test_role_and_alg_are_kept():
    key = Key("plan key", role="plan", alg="EdDSA")
    (read,) = read_jwks(json.dumps({"keys": [key.jwk]}).encode()).values()
    assert (read.role, read.alg) == ("plan", "EdDSA")


def test_thumbprint_hashes_the_required_members_only():
    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{TOKEN.jwk["x"]}"}}'.encode()
    assert TOKEN.kid == base64url.encode(hashlib.sha256(canonical).digest())


def test_order_is_that_of_rfc_8032():
    assert ORDER == 2**252 + 27742317777372353535851937790883648493
