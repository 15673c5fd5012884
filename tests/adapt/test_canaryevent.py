"""What befalls a rollout besides its windows changes what it has to, and nothing else."""

import pytest

from verismo.adapt.canaryevent import CanaryEvent, decide
from verismo.adapt.canarysettings import CanarySettings
from verismo.adapt.canarystate import start
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
    assert found.state == start(ROUTE, GIVEN, NOW)


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
