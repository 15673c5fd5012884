"""Public keys: thumbprints, and refusal of every point on which verifiers disagree."""

import hashlib
import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from forge import OTHER, TOKEN, Key
from forge_tokens import FIELD, LOW_ORDER, ORDER, add_points
from hypothesis import given, settings
from hypothesis import strategies as st

from verismo.attest.keys import (
    KEYS_MAX,
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
    mixed = add_points(TOKEN.raw, LOW_ORDER[low])
    with pytest.raises(KeyRefused, match="mixed order"):
        import_key(mixed, "token")


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


@pytest.mark.parametrize(
    "text",
    [
        '{"keys":[],"keys":[JWK]}',
        '{"keys":[JWK],"a":{"b":1,"b":1}}',
        '{"keys":[{"kid":"x",JWK_MEMBERS}]}',
    ],
)
def test_member_that_stands_twice_is_refused(text):
    jwk = json.dumps(TOKEN.jwk)
    document = text.replace("JWK_MEMBERS", jwk[1:-1]).replace("JWK", jwk)
    with pytest.raises(KeyRefused, match="twice"):
        read_jwks(document.encode())


@pytest.mark.parametrize("d", ["", "AAAA", None, 1, {}])
def test_private_member_is_refused_by_its_presence(d):
    with pytest.raises(KeyRefused, match="private"):
        read_jwks(jwks(d=d))


def test_more_keys_than_the_limit_are_refused():
    others = [{"kty": "RSA"}] * (KEYS_MAX - 1)
    assert list(read_jwks(json.dumps({"keys": [*others, TOKEN.jwk]}).encode())) == [TOKEN.kid]
    with pytest.raises(KeyRefused, match="more than 64"):
        read_jwks(json.dumps({"keys": [*others, {"kty": "RSA"}, TOKEN.jwk]}).encode())


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
