"""A clock that is set back takes a route's times with it, and nothing else."""

import pytest

from verismo.adapt.budget import BIN_MS, BudgetSettings, BudgetState
from verismo.adapt.budgetclock import BudgetClock, decide
from verismo.model.decision import SettingsRefused, Subject, encode_decision

ROUTE = Subject(tenant="T", operation="chat")
NOW_MS = 1_700_000_004_321
ENDED_MS = NOW_MS // BIN_MS * BIN_MS
AHEAD_MS = 3_600_000


def ahead(**more):
    at_ms = ENDED_MS + AHEAD_MS
    given = {
        "phase": "THROTTLED",
        "admit_ppm": 800_000,
        "judged_ms": at_ms,
        "breach_ms": at_ms - 30_000,
        "breaches": (at_ms - 900_000, at_ms - 30_000),
        "toggles": (at_ms - 30_000,),
        "static_until_ms": at_ms + 60_000,
    }
    return BudgetState(**(given | more))


def decided(state, now_ms=NOW_MS):
    return decide(state, BudgetClock(ROUTE), BudgetSettings(), now_ms)


def test_all_times_go_back_together_and_what_is_none_stays_none():
    found = decided(ahead()).state
    assert found.judged_ms == ENDED_MS
    assert found.breach_ms == ENDED_MS - 30_000
    assert found.breaches == (ENDED_MS - 900_000, ENDED_MS - 30_000)
    assert found.toggles == (ENDED_MS - 30_000,)
    assert found.static_until_ms == ENDED_MS + 60_000
    assert (found.over_ms, found.clean_ms) == (0, 0)


def test_nobody_is_throttled_or_let_go_by_it():
    found = decided(ahead())
    assert (found.verdict, found.reasons) == ("NODATA", ("clock_stepped",))
    assert found.action.before == found.action.after == 800_000
    assert found.state.phase == "THROTTLED"


def test_a_state_that_was_judged_before_stays_as_it_is():
    state = ahead(judged_ms=ENDED_MS - BIN_MS, over_ms=ENDED_MS - BIN_MS)
    assert decided(state).state == state


def test_no_time_becomes_none_by_going_back_too_far():
    found = decided(ahead(breach_ms=5, clean_ms=AHEAD_MS)).state
    assert (found.breach_ms, found.clean_ms) == (1, 1)


def test_the_same_gives_the_same_bytes():
    assert encode_decision(decided(ahead())) == encode_decision(decided(ahead()))


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(SettingsRefused):
        decide(ahead(), BudgetClock(ROUTE), BudgetSettings(toggles_max=1), NOW_MS)
