"""Whether the clock was set."""

import pytest

from verismo.control.clockwatch import STEP_MS_MIN, ClockWatch

NOW_MS = 1_790_000_000_000
DAY_MS = 86_400_000


def test_a_clock_that_only_goes_was_never_set():
    watch = ClockWatch()
    for ticks_ms in (0, 1_000, DAY_MS, 40 * DAY_MS):
        assert watch.since_step_ms(NOW_MS + ticks_ms, 7 + ticks_ms) is None


def test_a_clock_that_is_slewed_was_not_set():
    watch = ClockWatch()
    looks = [(NOW_MS, 0), (NOW_MS + 1_500, 1_000), (NOW_MS + 2_000 + STEP_MS_MIN, 2_001)]
    assert [watch.since_step_ms(*look) for look in looks] == [None] * 3


@pytest.mark.parametrize("step_ms", [STEP_MS_MIN, -STEP_MS_MIN, 365 * DAY_MS, -DAY_MS])
def test_a_clock_that_was_set_is_told_with_the_time_since(step_ms: int):
    watch = ClockWatch()
    watch.since_step_ms(NOW_MS, 0)
    assert watch.since_step_ms(NOW_MS + 1_000 + step_ms, 1_000) == 0
    assert watch.since_step_ms(NOW_MS + 6_000 + step_ms, 6_000) == 5_000
    assert watch.since_step_ms(NOW_MS + 7_000, 7_000) == 0, "setting it back is a step as well"
