"""The steering as it is stored: what a gateway takes, and every reason to keep what it has."""

import msgspec
import pytest
from joserfc import jws as oracle
from joserfc.jwk import OKPKey
from tests.support.keyring import START_MS
from tests.support.planring import PlanRing as Ring

from verismo.attest import jws
from verismo.attest.keyentry import SKEW_MS
from verismo.attest.planseal import check_seal, check_time, seal
from verismo.attest.steeringdoc import (
    STATEMENT_BYTES_MAX,
    SteeringRefused,
    check_later,
    open_steering,
)
from verismo.model import base64url, canonical
from verismo.model.steering import Rollout, Steering, Throttle, steering_digest

NOW_MS = START_MS + 1_000
BASE = "b" * 64
ROLLOUT = Rollout("chat", "", "old", "new", 50_000)
THROTTLE = Throttle("T1", "chat", 1_000, NOW_MS + 60_000)
STEERING = Steering(1, 3, BASE, "verismo", NOW_MS, (ROLLOUT,), (THROTTLE,))


@pytest.fixture(scope="module")
def ring():
    return Ring()


def changed(**fields):
    return msgspec.structs.replace(STEERING, **fields)


def test_what_was_signed_is_read_back(ring):
    assert open_steering(*ring.sign(STEERING), ring.keys) == STEERING


def test_the_same_steering_has_the_same_bytes_and_its_digest_is_theirs(ring):
    assert ring.sign(STEERING) == ring.sign(STEERING)
    assert steering_digest(STEERING) == canonical.digest(ring.sign(STEERING)[0])


def test_another_library_verifies_the_signature(ring):
    statement, signature = ring.sign(STEERING)
    header, _, tail = signature.decode().split(".")
    key = OKPKey.import_key(
        {"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(ring.signer("plan").public_key)}
    )
    text = f"{header}.{base64url.encode(statement)}.{tail}"
    assert oracle.deserialize_compact(text, key, algorithms=["Ed25519"]).payload == statement


def test_each_byte_of_the_statement_is_under_the_signature(ring):
    statement, signature = ring.sign(STEERING)
    for at in range(len(statement)):
        forged = statement[:at] + bytes([statement[at] ^ 1]) + statement[at + 1 :]
        with pytest.raises(SteeringRefused):
            open_steering(forged, signature, ring.keys)


@pytest.mark.parametrize("role", ["token", "log", "evidence"])
def test_a_key_of_another_role_is_refused(ring, role):
    signed = ring.sign(STEERING, role, jws.TYPE_STEERING)
    with pytest.raises(SteeringRefused, match=f"role {role}, not plan"):
        open_steering(*signed, ring.keys)


@pytest.mark.parametrize("typ", [jws.TYPE_DECISION, jws.TYPE_STATEMENT, jws.TYPE_KEYRING])
def test_a_signature_over_something_else_is_not_passed_off_as_steering(ring, typ):
    with pytest.raises(SteeringRefused, match="not for attest-steering"):
        open_steering(*ring.sign(STEERING, "plan", typ), ring.keys)


def test_a_key_that_is_in_no_ring_is_refused(ring):
    statement, signature = ring.sign(STEERING)
    with pytest.raises(SteeringRefused, match="not in the key ring"):
        open_steering(statement, signature, Ring().keys[:1])


@pytest.mark.parametrize("iat", [START_MS - SKEW_MS - 1, 0])
def test_a_document_from_before_its_key_counts_is_refused(ring, iat):
    with pytest.raises(SteeringRefused, match="before its key counts"):
        open_steering(*ring.sign(changed(iat=iat)), ring.keys)


def test_a_revoked_key_steers_nobody_whenever_it_signed():
    ring = Ring()
    signed = ring.sign(STEERING)
    open_steering(*signed, ring.keys)
    kid = ring.signer("plan").kid
    ring.rotation.revoke(kid, NOW_MS + 10_000, "stolen", NOW_MS + 10_000)
    with pytest.raises(SteeringRefused, match="revoked"):
        open_steering(*signed, ring.keys)
    entry = check_seal(signed[0], signed[1].decode(), jws.TYPE_STEERING, ring.keys)
    check_time(entry, NOW_MS, witnessed_ms=NOW_MS + 1)


def test_a_format_that_is_not_known_is_refused_as_just_that(ring):
    signer = ring.signer("plan")
    statement = canonical.encode({"v": 2, "surprise": "new"})
    signed = seal(statement, signer.kid, jws.TYPE_STEERING, signer.sign).encode()
    with pytest.raises(SteeringRefused, match="format 2 is not known here; update"):
        open_steering(statement, signed, ring.keys)


@pytest.mark.parametrize(
    "statement",
    [
        b"{}",
        b"not json",
        b'{"v":"1"}',
        b"\xff\xfe",
        canonical.encode(STEERING) + b" ",
        canonical.encode(STEERING).replace(b'"v":1', b'"v":1.0'),
        canonical.encode({**msgspec.to_builtins(STEERING), "more": 1}),
    ],
)
def test_what_is_no_steering_is_refused_although_it_is_signed(ring, statement):
    signer = ring.signer("plan")
    signed = seal(statement, signer.kid, jws.TYPE_STEERING, signer.sign).encode()
    with pytest.raises(SteeringRefused):
        open_steering(statement, signed, ring.keys)


def test_a_document_that_is_too_long_is_refused_before_it_is_read(ring):
    with pytest.raises(SteeringRefused, match="longer than"):
        open_steering(b"x" * (STATEMENT_BYTES_MAX + 1), b"", ring.keys)


def test_a_signature_that_is_no_text_is_refused(ring):
    statement, _ = ring.sign(STEERING)
    with pytest.raises(SteeringRefused):
        open_steering(statement, b"\xff", ring.keys)


@pytest.mark.parametrize(
    "fields",
    [
        {"v": 2},
        {"version": 0},
        {"iat": -1},
        {"base": "b" * 63},
        {"base": "B" * 64},
        {"rollouts": (ROLLOUT, ROLLOUT)},
        {"rollouts": (msgspec.structs.replace(ROLLOUT, operation="z"), ROLLOUT)},
        {"rollouts": (msgspec.structs.replace(ROLLOUT, weight_ppm=1_000_001),)},
        {"rollouts": (msgspec.structs.replace(ROLLOUT, weight_ppm=-1),)},
        {"rollouts": (msgspec.structs.replace(ROLLOUT, candidate="old"),)},
        {"rollouts": (msgspec.structs.replace(ROLLOUT, candidate=""),)},
        {"rollouts": (msgspec.structs.replace(ROLLOUT, operation=""),)},
        {"throttles": (THROTTLE, THROTTLE)},
        {"throttles": (msgspec.structs.replace(THROTTLE, tenant=""),)},
        {"throttles": (msgspec.structs.replace(THROTTLE, usd_micros_per_minute=-1),)},
        {"throttles": (msgspec.structs.replace(THROTTLE, until_ms=-1),)},
    ],
)
def test_what_contradicts_itself_is_neither_signed_nor_followed(ring, fields):
    with pytest.raises(SteeringRefused):
        ring.sign(changed(**fields))
    with pytest.raises(SteeringRefused):
        open_steering(*ring.sign(changed(**fields), "plan", jws.TYPE_STEERING), ring.keys)


def test_a_later_version_of_this_configuration_follows():
    check_later(STEERING, 2, BASE, "verismo")
    check_later(STEERING, 0, BASE, "verismo")


@pytest.mark.parametrize(
    ("after", "base", "iss", "why"),
    [
        (3, BASE, "verismo", "not later"),
        (4, BASE, "verismo", "not later"),
        (2, "c" * 64, "verismo", "another configuration"),
        (2, BASE, "other", "not of 'other'"),
    ],
)
def test_what_may_not_take_the_place_of_another_is_refused(after, base, iss, why):
    with pytest.raises(SteeringRefused, match=why):
        check_later(STEERING, after, base, iss)
