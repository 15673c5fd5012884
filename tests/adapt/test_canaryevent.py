"""What befalls a rollout besides its windows changes what it has to, and nothing else."""

import msgspec
import pytest

from verismo.adapt.canaryevent import CanaryEvent, decide
from verismo.adapt.canaryevidence import Worse
from verismo.adapt.canarysettings import CanarySettings
from verismo.adapt.canarystate import AHEAD_MS, start
from verismo.adapt.sequential import Evidence
from verismo.model.decision import SettingsRefused, Subject, encode_decision

ROUTE = Subject("T", "o", "old", "new")
GIVEN = CanarySettings()
NOW = 10_000_000
AHEAD = 3_600_000


def test_a_clock_that_is_set_back_takes_the_times_of_the_state_with_it():
    state = start(ROUTE, GIVEN, NOW + AHEAD)
    found = decide(state, CanaryEvent("clock_stepped"), GIVEN, NOW)
    assert (found.verdict, found.reasons) == ("NODATA", ("clock_stepped",))
    assert found.action.before == found.action.after == state.weight_ppm
    back = start(ROUTE, GIVEN, NOW)
    unseen_ms = NOW + 2 * AHEAD_MS
    assert found.state == msgspec.structs.replace(back, seen_until_ms=unseen_ms)


@pytest.mark.parametrize("past_ms", [0, 1, AHEAD_MS // 2, AHEAD_MS - 1])
def test_no_window_that_a_clock_ahead_may_have_dated_is_seen_after_it_is_set_back(past_ms):
    state = start(ROUTE, GIVEN, NOW + AHEAD)
    found = decide(state, CanaryEvent("clock_stepped"), GIVEN, NOW + past_ms).state
    assert NOW + past_ms + AHEAD_MS < found.seen_until_ms <= NOW + past_ms + 2 * AHEAD_MS
    assert found.seen_until_ms % AHEAD_MS == 0, "the next look begins where no window is cut"


def test_no_time_goes_back_before_the_first_of_all():
    found = decide(start(ROUTE, GIVEN, NOW), CanaryEvent("clock_stepped"), GIVEN, 5)
    assert (found.at_ms, found.state.data_ms) == (5, 5)


def test_a_clock_that_was_not_set_back_changes_the_last_reading_only():
    found = decide(start(ROUTE, GIVEN, NOW), CanaryEvent("clock_stepped"), GIVEN, NOW + 7)
    assert (found.state.decided_ms, found.state.data_ms) == (NOW + 7, NOW)


def test_the_same_gives_the_same_bytes():
    state = start(ROUTE, GIVEN, NOW)
    once, again = (decide(state, CanaryEvent("clock_stepped"), GIVEN, NOW) for _ in range(2))
    assert encode_decision(once) == encode_decision(again)


def test_settings_that_do_not_fit_together_are_refused():
    with pytest.raises(SettingsRefused):
        decide(
            start(ROUTE, GIVEN, NOW), CanaryEvent("clock_stepped"), CanarySettings(holds_max=0), NOW
        )


def weighed(**more):
    """A rollout on its second rung, with evidence of everything."""
    given = {"rung": 1, "weight_ppm": 200_000, "edges": ((5, 6),), "unit_micros": 7}
    given |= {"worse": Worse(p95=Evidence(3, (1,), (2,))), "windows_here": 9, "requests_here": 900}
    return msgspec.structs.replace(start(ROUTE, GIVEN, NOW - 60_000), **(given | more))


@pytest.mark.parametrize(
    ("arms", "named"),
    [
        (("candidate",), "candidate"),
        (("baseline",), "baseline"),
        (("baseline", "candidate"), "baseline and candidate"),
    ],
)
def test_another_deployment_begins_anew_at_the_first_rung(arms, named):
    found = decide(weighed(), CanaryEvent("deployment_changed", arms), GIVEN, NOW)
    assert found.verdict == "HOLD"
    assert found.reasons == (f"deployment_changed: {named}", "traffic_reduced")
    begun = start(ROUTE, GIVEN, NOW)
    kept = {"data_ms": NOW - 60_000, "seen_until_ms": NOW - 60_000}
    assert found.state == msgspec.structs.replace(begun, **kept)


def test_another_deployment_gets_no_more_than_the_one_before_had():
    held = weighed(rung=-1, weight_ppm=GIVEN.hold_weight_ppm)
    found = decide(held, CanaryEvent("deployment_changed", ("candidate",)), GIVEN, NOW)
    assert found.reasons == ("deployment_changed: candidate",)
    assert found.action.before == found.action.after == GIVEN.hold_weight_ppm


@pytest.mark.parametrize("holds", range(GIVEN.holds_max))
def test_however_often_a_baseline_is_exchanged_no_hold_is_spent_that_nobody_had(holds):
    state = weighed(holds=holds)
    for _ in range(2 * GIVEN.holds_max):
        event = CanaryEvent("deployment_changed", ("baseline",))
        state = decide(state, event, GIVEN, NOW).state
    assert state.holds == holds


@pytest.mark.parametrize("arms", [("candidate",), ("baseline", "candidate")])
def test_another_candidate_answers_for_no_hold_of_the_one_before(arms):
    state = weighed(holds=GIVEN.holds_max - 1)
    assert decide(state, CanaryEvent("deployment_changed", arms), GIVEN, NOW).state.holds == 0


def test_what_the_configuration_does_not_know_is_said_and_changes_nothing():
    state = weighed()
    found = decide(state, CanaryEvent("configuration_lacks_it"), GIVEN, NOW)
    assert (found.verdict, found.reasons) == ("HOLD", ("configuration_lacks_it",))
    assert found.state == msgspec.structs.replace(state, decided_ms=NOW)
