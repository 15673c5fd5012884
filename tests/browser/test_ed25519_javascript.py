"""Ed25519 where verifiers disagree: Python and WebCrypto have to say the same.

The cases are made here (low and mixed order, spellings that are not canonical, S too large) and,
where that collection is at hand, Wycheproof's.
"""

import hashlib
import itertools
import json
from collections.abc import Sequence

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from forge import OTHER, TOKEN
from forge_tokens import FIELD, LOW_ORDER, ORDER, add_points, identity_r, mixed_order_r
from tests.support.conformance import conforms
from tests.support.verifyjs import ROOT, Deed, in_chromium, in_node, needs_node, octets

from verismo.attest.keys import KeyRefused, has_agreed_r, import_key
from verismo.model import base64url

WYCHEPROOF = ROOT.parent / "shared/vectors/attest/wycheproof/testvectors_v1/ed25519_test.json"
MESSAGE = b"which verifiers disagree on"

Case = tuple[bytes, bytes, bytes]
"""Public key, signature, message."""


def said_by_python(case: Case) -> dict[str, object]:
    """Return what the Python verifier says of a signature."""
    raw, signature, message = case
    try:
        key = import_key(raw, "token")
    except KeyRefused:
        return {"refused": "KeyRefused"}
    if len(signature) != 64 or not has_agreed_r(signature):
        return {"right": False}
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, message)
    except InvalidSignature:
        return {"right": False}
    return {"right": True}


def as_deed(case: Case) -> Deed:
    raw, signature, message = case
    x = base64url.encode(raw)
    required = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":"))
    kid = base64url.encode(hashlib.sha256(required.encode()).digest())
    entry = {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "alg": "Ed25519"}
    jwks = json.dumps({"keys": [{**entry, "attest_role": "token"}]})
    return {
        "do": "signature",
        "jwks": jwks,
        "signature": octets(signature),
        "message": octets(message),
    }


def spelled(number: int) -> bytes:
    return number.to_bytes(32, "little")


def edge_cases() -> list[Case]:
    """Return keys and signatures of every odd kind with each other."""
    good = TOKEN.sign(MESSAGE)
    scalar = int.from_bytes(good[32:], "little")
    low = list(LOW_ORDER.values())
    mixed_keys = [
        add_points(TOKEN.raw, LOW_ORDER[name]) for name in ("minus-one", "zero", "eighth-a")
    ]
    odd_y = [spelled(FIELD + excess) for excess in range(19)]
    odd_x = [spelled(1 | 1 << 255), spelled((FIELD - 1) | 1 << 255)]
    points = [*low, *mixed_keys, *odd_y, *odd_x, TOKEN.raw, OTHER.raw, bytes(32), b"\xff" * 32]
    scalars = [bytes(32), good[32:], spelled(scalar + ORDER), spelled(ORDER), spelled(ORDER - 1)]
    crossed = [
        (key, r + s, MESSAGE) for key, r, s in itertools.product(points, [*low, good[:32]], scalars)
    ]
    spelled_r = [(TOKEN.raw, r + good[32:], MESSAGE) for r in (*points, *odd_y)]
    single = [
        (TOKEN.raw, good, MESSAGE),
        (TOKEN.raw, good, MESSAGE + b"."),
        (OTHER.raw, good, MESSAGE),
        (TOKEN.raw, good[:63], MESSAGE),
        (TOKEN.raw, good + b"\0", MESSAGE),
        (TOKEN.raw, identity_r(MESSAGE), MESSAGE),
        (TOKEN.raw, mixed_order_r(MESSAGE), MESSAGE),
        (TOKEN.raw[:31], good, MESSAGE),
        (TOKEN.raw + b"\0", good, MESSAGE),
    ]
    return list(dict.fromkeys([*single, *spelled_r, *crossed]))


def wycheproof_cases() -> list[Case]:
    """Return Wycheproof's cases for Ed25519."""
    groups = json.loads(WYCHEPROOF.read_text())["testGroups"]
    return [
        (
            bytes.fromhex(group["publicKey"]["pk"]),
            bytes.fromhex(test["sig"]),
            bytes.fromhex(test["msg"]),
        )
        for group in groups
        for test in group["tests"]
    ]


def disagreements(cases: Sequence[Case], found: Sequence[object]) -> list[tuple[Case, object]]:
    pairs = zip(cases, found, strict=True)
    return [(case, said) for case, said in pairs if said != said_by_python(case)]


SECTION = "Ed25519 edge cases"
ROW = "keys and signatures"


@needs_node
@pytest.mark.slow
def test_odd_keys_and_signatures_are_judged_alike_in_node():
    cases = edge_cases()
    assert len(cases) > 1_000
    found = in_node([as_deed(case) for case in cases])
    differing = disagreements(cases, found)
    assert differing == []
    right = [case for case, said in zip(cases, found, strict=True) if said == {"right": True}]
    assert set(right) == {(TOKEN.raw, TOKEN.sign(MESSAGE), MESSAGE)}
    numbers = {
        "cases": len(cases),
        "accepted": len(right),
        "refused": len(cases) - len(right),
        "Node": len(cases) - len(differing),
    }
    conforms(SECTION, {ROW: numbers})


@pytest.mark.external("chromium")
@pytest.mark.slow
def test_odd_keys_and_signatures_are_judged_alike_in_chromium():
    cases = edge_cases()
    differing = disagreements(cases, in_chromium([as_deed(case) for case in cases]))
    assert differing == []
    conforms(SECTION, {ROW: {"Chromium": len(cases) - len(differing)}})


def check_wycheproof(found: Sequence[object], verifier: str) -> None:
    """Check that a verifier says what Python says and what is published."""
    cases = wycheproof_cases()
    assert disagreements(cases, found) == []
    groups = json.loads(WYCHEPROOF.read_text())["testGroups"]
    demanded = [test["result"] == "valid" for group in groups for test in group["tests"]]
    judged = [said == {"right": True} for said in found]
    assert judged == demanded
    agreed = sum(one == other for one, other in zip(judged, demanded, strict=True))
    conforms("Wycheproof: Ed25519", {"Wycheproof": {verifier: agreed}})


@needs_node
@pytest.mark.slow
@pytest.mark.skipif(not WYCHEPROOF.is_file(), reason="not installed: Wycheproof's vectors")
def test_wycheproof_is_judged_in_node_as_it_demands():
    check_wycheproof(in_node([as_deed(case) for case in wycheproof_cases()]), "Node")


@pytest.mark.external("chromium")
@pytest.mark.slow
@pytest.mark.skipif(not WYCHEPROOF.is_file(), reason="not installed: Wycheproof's vectors")
def test_wycheproof_is_judged_in_chromium_as_it_demands():
    check_wycheproof(in_chromium([as_deed(case) for case in wycheproof_cases()]), "Chromium")
