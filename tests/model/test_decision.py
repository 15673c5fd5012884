"""A decision is canonical JSON: read back as it was, its digest binds all of it."""

import msgspec
import pytest

from verismo.model.canonical import NotCanonical
from verismo.model.decision import (
    Action,
    Decision,
    Metric,
    SettingsRefused,
    Subject,
    decision_digest,
    decode_decision,
    digest_of,
    encode_decision,
)


class Counted(msgspec.Struct, frozen=True):
    looks: int


DECISION = Decision(
    controller="canary",
    version=1,
    subject=Subject(tenant="T", operation="o", baseline="a", candidate="b"),
    verdict="HOLD",
    action=Action("weight_ppm", 200_000, 50_000),
    reasons=("evidence_worse",),
    inputs=digest_of({"looks": 1}),
    settings=digest_of({}),
    at_ms=7,
    metrics=(Metric("p95", "WORSE", {"effect_ppm": 118_000, "first_token_ppm": None}),),
    state=Counted(3),
)
CHANGES = {
    "version": 2,
    "verdict": "PROMOTE",
    "action": Action(),
    "reasons": (),
    "at_ms": 8,
    "metrics": (),
    "state": Counted(4),
    "inputs": "0" * 64,
    "settings": "0" * 64,
    "subject": Subject(),
    "controller": "budget",
}


def test_a_decision_is_read_back_as_it_was():
    assert decode_decision(encode_decision(DECISION), Decision[Counted]) == DECISION


def test_every_field_is_in_the_digest():
    assert CHANGES.keys() == set(Decision.__struct_fields__)
    digests = {
        decision_digest(msgspec.structs.replace(DECISION, **{name: value}))
        for name, value in CHANGES.items()
    }
    assert len(digests | {decision_digest(DECISION)}) == len(CHANGES) + 1


def test_a_decision_with_another_state_is_refused():
    other = msgspec.structs.replace(DECISION, state=Subject())
    with pytest.raises(NotCanonical):
        decode_decision(encode_decision(other), Decision[Counted])


def test_an_unknown_verdict_is_refused():
    spelled = encode_decision(DECISION).replace(b'"HOLD"', b'"PASS"')
    with pytest.raises(NotCanonical):
        decode_decision(spelled, Decision[Counted])


def test_a_float_is_not_recorded():
    with pytest.raises(NotCanonical):
        encode_decision(msgspec.structs.replace(DECISION, state=Counted(0.5)))


def test_refused_settings_say_what_to_write():
    refused = SettingsRefused("weights sum to 0.9", "Give weights that sum to 1.")
    assert isinstance(refused, ValueError)
    assert str(refused) == "weights sum to 0.9. Give weights that sum to 1."
    assert refused.next_step == "Give weights that sum to 1."
