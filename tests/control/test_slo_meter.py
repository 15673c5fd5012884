"""Error budgets minute by minute: each minute once, silence is not blindness, clocks may step."""

import pytest

from verismo.adapt.burn import HOUR_MS, MINUTE_MS, Objectives
from verismo.control.slo import ROUND_MINUTES_MAX, Promise, SloMeter, span_text
from verismo.control.windowreads import WindowReads
from verismo.model.errors import StateError
from verismo.model.window import Histogram, Window
from verismo.ports.windows import Interval, Written

T0 = 1_790_000_040_000
"""A whole minute."""
OBJECTIVES = Objectives(latency_ms=2_000, latency_ppm=990_000, error_ppm=999_000)
MINE = Promise("support", "answer", "t1", OBJECTIVES)
ALL = Promise("all", "answer", "", OBJECTIVES)


class Windows:
    """A `WindowSource` of intervals of ten seconds."""

    def __init__(self):
        self.kept = []
        self.is_broken = False
        self.seen = set()

    def intervals(self, from_ms, until_ms):
        if self.is_broken:
            raise StateError("windows.db is away", next_step="wait")
        found = [one for one in self.kept if from_ms <= one.start_ms < until_ms]
        self.seen.update(one.start_ms // MINUTE_MS for one in found)
        return found

    def written(self, from_ms, until_ms):
        return [
            Written(one.start_ms, one.end_ms, one.writer)
            for one in self.kept
            if from_ms <= one.start_ms < until_ms
        ]

    def prune(self, before_ms):
        self.kept = [one for one in self.kept if one.end_ms >= before_ms]

    def minutes(self, first_ms, count, *windows):
        """Write so many minutes, each with these windows in its first interval."""
        for start_ms in range(first_ms, first_ms + count * MINUTE_MS, 10_000):
            held = windows if start_ms % MINUTE_MS == 0 else ()
            self.kept.append(Interval("s0", start_ms, start_ms + 10_000, held))


def window(tenant="t1", requests=10, errors=0, operation="answer", late=0):
    histogram = Histogram().add(1_000, requests - errors - late) if requests > errors else None
    if late:
        histogram = histogram.add(9_000_000, late)
    key = (tenant, operation, "unsplit", "d")
    return Window(*key, 0, 10_000, requests, errors, 0, 0, histogram or Histogram())


@pytest.fixture
def windows():
    return Windows()


def meter_of(windows, *promises, began_ms=T0):
    return SloMeter(promises or (MINE,), WindowReads(windows, lambda: ["s0"], 10_000), began_ms)


def burn_of(meter, now_ms, kind="errors", span_ms=300_000, at=0):
    [found] = [
        one
        for one in meter.standings(now_ms)[at].burns
        if (one.kind, one.span_ms) == (kind, span_ms)
    ]
    return found


def catch_up(meter, now_ms):
    while not meter.catch_up(now_ms):
        pass


def test_a_minute_counts_once_it_is_over(windows):
    windows.minutes(T0, 1, window(errors=1))
    meter = meter_of(windows)
    catch_up(meter, T0 + MINUTE_MS - 1)
    assert meter.standings(T0 + MINUTE_MS)[0].totals.requests == 0
    for _ in range(3):
        catch_up(meter, T0 + MINUTE_MS)
    totals = meter.standings(T0 + MINUTE_MS)[0].totals
    assert (totals.requests, totals.errors, totals.answered, totals.late) == (10, 1, 9, 0)


def test_burns_follow_what_was_counted(windows):
    windows.minutes(T0, 60, window(requests=1_000, errors=14, late=50))
    meter = meter_of(windows)
    now_ms = T0 + HOUR_MS
    catch_up(meter, now_ms)
    assert burn_of(meter, now_ms, span_ms=HOUR_MS).burn_milli == 14_000
    assert burn_of(meter, now_ms, kind="latency").burn_milli == 50 * 1_000 * 100 // 986
    [standing] = meter.standings(now_ms)
    assert standing.alarms == ()


def test_each_route_has_its_own_requests(windows):
    windows.minutes(T0, 5, window("t1"), window("t2", errors=10), window("t1", operation="x"))
    meter = meter_of(windows, MINE, ALL)
    now_ms = T0 + 5 * MINUTE_MS
    catch_up(meter, now_ms)
    assert (burn_of(meter, now_ms).total, burn_of(meter, now_ms).bad) == (50, 0)
    assert (burn_of(meter, now_ms, at=1).total, burn_of(meter, now_ms, at=1).bad) == (100, 50)


def test_silence_is_seen_and_a_minute_that_nobody_wrote_is_not(windows):
    windows.minutes(T0, 2)
    windows.minutes(T0 + 4 * MINUTE_MS, 1)
    meter = meter_of(windows)
    now_ms = T0 + 5 * MINUTE_MS
    catch_up(meter, now_ms)
    found = burn_of(meter, now_ms)
    assert (found.covered_ppm, found.total, found.burn_milli) == (600_000, 0, None)


def test_the_past_stands_in_the_burns_and_not_in_the_totals(windows):
    windows.minutes(T0 - HOUR_MS, 61, window(errors=1))
    meter = meter_of(windows)
    now_ms = T0 + MINUTE_MS
    catch_up(meter, now_ms)
    assert burn_of(meter, now_ms, span_ms=HOUR_MS).bad == 60
    assert meter.standings(now_ms)[0].totals.errors == 1


def test_a_long_past_is_read_in_parts(windows):
    windows.minutes(T0 - 5 * HOUR_MS, 301)
    meter = meter_of(windows)
    assert not meter.catch_up(T0 + MINUTE_MS)
    assert len(windows.seen) == ROUND_MINUTES_MAX
    assert meter.catch_up(T0 + MINUTE_MS)
    assert len(windows.seen) == 301


def test_a_past_without_windows_is_passed_over_at_once(windows):
    windows.minutes(T0, 1, window())
    assert meter_of(windows).catch_up(T0 + MINUTE_MS)


def test_spans_end_with_the_last_minute_that_was_counted(windows):
    windows.minutes(T0, 5, window(errors=1))
    meter = meter_of(windows)
    now_ms = T0 + 5 * MINUTE_MS + 59_000
    catch_up(meter, now_ms)
    assert burn_of(meter, now_ms).covered_ppm == 1_000_000


def test_windows_that_cannot_be_read_lose_no_minute(windows):
    windows.minutes(T0, 1, window(errors=1))
    meter = meter_of(windows)
    catch_up(meter, T0)
    windows.is_broken = True
    with pytest.raises(StateError):
        meter.catch_up(T0 + MINUTE_MS)
    windows.is_broken = False
    catch_up(meter, T0 + MINUTE_MS)
    assert meter.standings(T0 + MINUTE_MS)[0].totals.errors == 1


def test_a_clock_that_was_ahead_and_is_set_back_counts_nothing_twice(windows):
    windows.minutes(T0 - HOUR_MS, 60, window(errors=1))
    windows.minutes(T0 + 90 * HOUR_MS, 1, window(errors=5))
    meter = meter_of(windows, began_ms=T0 - HOUR_MS)
    catch_up(meter, T0)
    assert meter.standings(T0)[0].totals.errors == 60
    catch_up(meter, T0 + 90 * HOUR_MS + MINUTE_MS)
    catch_up(meter, T0 + 20_000)
    assert burn_of(meter, T0 + 20_000, span_ms=HOUR_MS).bad == 60
    assert meter.standings(T0 + 20_000)[0].totals.errors == 65


def test_spans_are_spelled_as_prometheus_does():
    assert [span_text(one * MINUTE_MS) for one in (5, 30, 60, 360, 4_320)] == [
        "5m",
        "30m",
        "1h",
        "6h",
        "3d",
    ]
