"""Whether a clock is believed, and what waits until it is."""

import pytest

from verismo.adapt.canaryevent import LACKED, CanaryEvent
from verismo.adapt.canarysettings import CanarySettings
from verismo.adapt.canarystate import unbegun
from verismo.control.clockpace import STEADY_MS, STEP_MS_MIN, ClockPace, patient
from verismo.control.looks import Look, Steered
from verismo.control.rules import BUDGET, BUDGET_CLOCK, CANARY_EVENT
from verismo.model.decision import Subject

NOW_MS = 1_790_000_000_000
SUBJECT = Subject("", "chat", "old", "new")


def steady(*looks):
    """Return what a pace says after each look: (by how much the clock is set, ticks)."""
    pace, said, set_ms = ClockPace(), [], 0
    for by_ms, ticks_ms in looks:
        set_ms += by_ms
        pace.look(NOW_MS + set_ms + ticks_ms, ticks_ms)
        said.append(pace.is_steady)
    return said


def test_a_clock_is_believed_once_it_has_gone_evenly_for_a_minute():
    assert steady((0, 7), (0, 7 + STEADY_MS - 1), (0, 7 + STEADY_MS)) == [False, False, True]


@pytest.mark.parametrize("step_ms", [STEP_MS_MIN, -STEP_MS_MIN, 3_600_000, -3_600_000])
def test_a_step_begins_the_wait_anew_whichever_way(step_ms):
    looks = ((0, 0), (0, STEADY_MS), (step_ms, STEADY_MS + 500), (0, 2 * STEADY_MS))
    assert steady(*looks, (0, 2 * STEADY_MS + 500)) == [False, True, False, False, True]


def test_a_reading_that_is_wrong_once_is_two_steps():
    looks = ((0, 0), (0, STEADY_MS), (-3_600_000, STEADY_MS + 500), (3_600_000, STEADY_MS + 1_000))
    assert steady(*looks, (0, 2 * STEADY_MS + 999))[2:] == [False, False, False]


def test_a_clock_that_is_slewed_goes_evenly():
    assert steady(*((STEP_MS_MIN - 1, n * 5_000) for n in range(13)))[-1]


class Shown:
    """A controller that shows the same looks each time."""

    def __init__(self, *looks):
        self.shown = list(looks)

    def looks(self, now_ms):
        return self.shown

    def take(self, act, now_ms):
        return self.shown[0]

    def steered(self, now_ms):
        return Steered()

    def told(self, decision):
        self.shown.append(decision)


def befallen(kind):
    return Look(CANARY_EVENT, SUBJECT, unbegun(SUBJECT), CanaryEvent(kind), CanarySettings())


def test_times_go_back_only_once_the_clock_is_believed_and_all_else_at_once():
    lacked, stepped = befallen(LACKED), befallen("clock_stepped")
    clock, spent = (Look(rule, SUBJECT, None, None, None) for rule in (BUDGET_CLOCK, BUDGET))
    believed = []
    shells = patient(
        {"canary": Shown(lacked, stepped), "budget": Shown(clock, spent)}, lambda: bool(believed)
    )
    assert list(shells["canary"].looks(NOW_MS)) == [lacked]
    assert list(shells["budget"].looks(NOW_MS)) == [spent]
    believed.append(True)
    assert list(shells["canary"].looks(NOW_MS)) == [lacked, stepped]
    assert list(shells["budget"].looks(NOW_MS)) == [clock, spent]


def test_a_controller_without_such_times_stays_as_it_is():
    scaling = Shown()
    assert patient({"scaling": scaling}, lambda: False)["scaling"] is scaling


def test_acts_steering_and_news_go_through():
    inner = Shown(befallen("clock_stepped"))
    shell = patient({"canary": inner}, lambda: False)["canary"]
    assert shell.take(None, NOW_MS) is inner.shown[0]
    assert shell.steered(NOW_MS) == Steered()
    shell.told("news")
    assert inner.shown[-1] == "news"
