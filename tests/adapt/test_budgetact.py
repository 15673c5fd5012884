"""What people tell budgets: it is recorded, ends by itself, and never passes the static cap."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.adapt.budget import Hand, Limits, limit_in_force
from verismo.adapt.budgetact import HandObservation, HandSettings, HandState, decide
from verismo.model.act import Act
from verismo.model.decision import (
    Decision,
    SettingsRefused,
    Subject,
    decode_decision,
    encode_decision,
)

SUBJECT = Subject(tenant="TENANT_001", operation="support.chat")
NOW_MS, HOUR_MS = 10**12, 3_600_000
SETTINGS = HandSettings()
LIMITS = Limits(static_usd_micros=6_000, tuned_usd_micros=600)


def act(verb="raise", **changes):
    values = {"limit_usd_micros": 900} if verb == "raise" else {}
    told = Act(
        controller="budget",
        verb=verb,
        subject=SUBJECT,
        actor="Dana",
        key="k1",
        role="operator",
        reason="a launch on Friday",
        of="",
        at_ms=NOW_MS,
        expires_ms=NOW_MS + HOUR_MS,
        values=values,
    )
    return msgspec.structs.replace(told, **changes)


def done(told, state=None, limits=LIMITS):
    before = state or HandState()
    limits = msgspec.structs.replace(limits, hand=before.hand)
    return decide(before, HandObservation(SUBJECT, told, limits), SETTINGS, NOW_MS)


def in_force(decision, at_ms=NOW_MS, limits=LIMITS):
    return limit_in_force(msgspec.structs.replace(limits, hand=decision.state.hand), 0, at_ms)


def test_raised_limit_holds_until_its_end_and_then_the_learned_one_again():
    raised = done(act())
    assert (raised.verdict, raised.reasons) == ("CONTINUE", ("raised_by_hand",))
    assert (raised.action.before, raised.action.after) == (600, 900)
    assert in_force(raised, NOW_MS + HOUR_MS - 1) == 900
    assert in_force(raised, NOW_MS + HOUR_MS) == 600


def test_frozen_limit_is_the_one_in_force_unless_another_is_named():
    assert done(act("freeze")).state.hand.limit_usd_micros == 600
    other = done(act("freeze", values={"limit_usd_micros": 70}))
    assert in_force(other) == 70


def test_static_takes_the_learned_limit_away():
    static = done(act("static"))
    assert static.verdict == "REVERT_STATIC"
    assert in_force(static) == 6_000


def test_resume_ends_what_was_set_and_needs_no_expiry():
    raised = done(act())
    resumed = done(act("resume", expires_ms=0), raised.state)
    assert resumed.state.hand is None
    assert (resumed.action.before, resumed.action.after) == (900, 600)


def test_static_cap_holds_whatever_is_set_by_hand_and_the_decision_says_so():
    raised = done(act(values={"limit_usd_micros": 10_000}))
    assert raised.reasons == ("raised_by_hand", "static_cap_holds usd_micros=6000")
    assert raised.action.after == in_force(raised) == 6_000


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (act(reason="because"), "reason_missing"),
        (act(reason=" " * 40), "reason_missing"),
        (act(role="viewer"), "role_too_low"),
        (act(controller="canary"), "verb_of_another_controller"),
        (act("promote"), "verb_of_another_controller"),
        (act(subject=Subject(tenant="TENANT_002")), "act_of_another_route"),
        (act(values={}), "limit_missing"),
        (act(values={"limit_usd_micros": 0}), "limit_out_of_range"),
        (act(values={"limit_usd_micros": -5}), "limit_out_of_range"),
        (act(values={"limit_usd_micros": 2**60}), "limit_out_of_range"),
        (act(values={"limit_usd_micros": 5, "weight_ppm": 1}), "values_unknown"),
        (act("static", values={"limit_usd_micros": 5}), "values_unknown"),
        (act(expires_ms=0), "expiry_missing"),
        (act(expires_ms=NOW_MS), "expired"),
        (act(expires_ms=NOW_MS + 8 * 24 * HOUR_MS), "expiry_too_far"),
        (act(at_ms=NOW_MS + 1), "act_of_the_future"),
    ],
)
def test_an_act_that_may_not_be_done_changes_nothing_and_says_why(told, why):
    before = HandState(Hand("freeze", 500, NOW_MS + HOUR_MS), NOW_MS - 1)
    refused = done(told, before)
    assert (refused.verdict, refused.reasons) == ("NOOP", ("refused", why))
    assert refused.state == before
    assert refused.action.before == refused.action.after


def test_a_clock_that_was_set_back_since_the_last_act_keeps_nobody_from_the_next():
    found = done(act(), HandState(None, NOW_MS + 5))
    assert (found.verdict, found.state.set_ms) == ("CONTINUE", NOW_MS)


def test_limits_without_a_cap_are_refused():
    assert done(act(), limits=Limits(0)).reasons == ("refused", "limit_out_of_range")


def test_settings_that_let_nothing_last_are_refused():
    with pytest.raises(SettingsRefused):
        decide(HandState(), HandObservation(SUBJECT, act(), LIMITS), HandSettings(0), NOW_MS)


@given(
    st.sampled_from(["freeze", "raise", "static", "resume"]),
    st.integers(1, 10**9),
    st.integers(1, 10**9),
    st.none() | st.integers(1, 10**9),
)
def test_nothing_set_by_hand_passes_the_cap_and_decisions_are_read_back(verb, limit, cap, tuned):
    values = {"limit_usd_micros": limit} if verb in ("freeze", "raise") else {}
    limits = Limits(cap, tuned)
    decision = done(act(verb, values=values), limits=limits)
    assert decision.verdict != "NOOP"
    assert in_force(decision, limits=limits) <= cap
    assert decode_decision(encode_decision(decision), Decision[HandState]) == decision
