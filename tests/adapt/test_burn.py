"""Error budgets: burns from windows, alarms from two spans, and nothing made up where data lack."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.adapt.burn import (
    HOUR_MS,
    MINUTE_MS,
    PAIRS,
    SPANS_MS,
    Burn,
    Count,
    Objectives,
    add_up,
    alarms,
    burns,
    count_windows,
)
from verismo.model.window import Histogram, Window

NOW_MS = 1_790_000_040_000
OBJECTIVES = Objectives(latency_ms=2_000, latency_ppm=990_000, error_ppm=999_000)


def minutes(count, **numbers):
    """Return the last minutes, all alike."""
    return [Count(NOW_MS - (back + 1) * MINUTE_MS, MINUTE_MS, **numbers) for back in range(count)]


def burn_of(counts, kind, span_ms):
    [found] = [
        one
        for one in burns(counts, OBJECTIVES, NOW_MS)
        if (one.kind, one.span_ms) == (kind, span_ms)
    ]
    return found


def window(latencies_ms, errors=0, requests=None):
    histogram = Histogram()
    for latency_ms in latencies_ms:
        histogram = histogram.add(latency_ms * 1_000)
    requests = len(latencies_ms) + errors if requests is None else requests
    return Window("t", "o", "unsplit", "d", 0, 10_000, requests, errors, 0, 0, histogram)


def test_the_spans_are_those_of_the_workbook():
    assert [(pair.factor_milli, pair.long_ms, pair.short_ms) for pair in PAIRS] == [
        (14_400, HOUR_MS, 300_000),
        (6_000, 6 * HOUR_MS, 1_800_000),
        (1_000, 72 * HOUR_MS, 6 * HOUR_MS),
    ]
    assert list(SPANS_MS) == sorted(SPANS_MS)


def test_a_burn_of_one_is_what_the_objective_allows():
    counts = minutes(60, requests=1_000, errors=1, answered=900, late=9)
    assert burn_of(counts, "errors", HOUR_MS).burn_milli == 1_000
    assert burn_of(counts, "latency", HOUR_MS).burn_milli == 1_000


def test_a_fiftieth_of_thirty_days_in_an_hour_is_a_burn_of_14_4():
    allowed = 30 * 24 * 60 * 100 // 1_000
    assert burn_of(minutes(60, requests=100, errors=0), "errors", HOUR_MS).burn_milli == 0
    hour = [Count(one.start_ms, one.covered_ms, 1_000, 14, 0, 0) for one in minutes(60)]
    hour[0] = Count(hour[0].start_ms, MINUTE_MS, 1_000, 14 + 24, 0, 0)
    found = burn_of(hour, "errors", HOUR_MS)
    assert (found.bad, found.burn_milli) == (allowed * 10 // 50, 14_400)


def test_times_up_to_the_threshold_are_in_time_and_those_clearly_over_it_are_late():
    found = count_windows([window([100, 2_000, 2_021, 9_000], errors=3)], OBJECTIVES, 0, 10_000)
    assert found == Count(0, 10_000, requests=7, errors=3, answered=4, late=2)


def test_refused_requests_count_as_requests_and_have_no_time():
    found = count_windows([window([100], requests=5)], OBJECTIVES, 0, 10_000)
    assert (found.requests, found.errors, found.answered) == (5, 0, 1)


def test_silence_is_seen_time_without_a_burn():
    found = burn_of(minutes(60), "errors", HOUR_MS)
    assert (found.covered_ppm, found.total, found.burn_milli) == (1_000_000, 0, None)


def test_a_span_of_which_too_little_was_seen_has_no_burn():
    counts = minutes(29, requests=10, errors=10)
    found = burn_of(counts, "errors", HOUR_MS)
    assert (found.burn_milli, found.covered_ppm) == (None, 483_333)
    assert burn_of(minutes(30, requests=10, errors=10), "errors", HOUR_MS).burn_milli == 1_000_000


def test_what_lies_before_a_span_or_in_the_future_is_not_of_it():
    counts = [
        *minutes(5, requests=10),
        Count(NOW_MS, MINUTE_MS, requests=10, errors=10),
        Count(NOW_MS - 6 * MINUTE_MS, MINUTE_MS, requests=10, errors=10),
    ]
    assert burn_of(counts, "errors", 300_000).bad == 0


def test_a_route_without_a_latency_objective_has_no_such_burn():
    objectives = Objectives(latency_ms=0, latency_ppm=990_000, error_ppm=999_000)
    assert {one.kind for one in burns(minutes(60, requests=1), objectives, NOW_MS)} == {"errors"}


def rate(kind, span_ms, burn_milli):
    return Burn(kind, span_ms, 1_000_000, 1, 1, burn_milli)


@pytest.mark.parametrize(
    ("long", "short", "is_alarm"),
    [(14_400, 14_400, True), (14_399, 20_000, False), (20_000, 14_399, False)],
)
def test_both_spans_have_to_burn(long, short, is_alarm):
    found = alarms([rate("errors", HOUR_MS, long), rate("errors", 300_000, short)])
    assert [one.pair.severity for one in found] == (["page"] if is_alarm else [])


@pytest.mark.parametrize("missing", [HOUR_MS, 300_000])
def test_a_span_that_cannot_be_told_alarms_nobody(missing):
    spans = [HOUR_MS, 300_000]
    found = [rate("latency", one, None if one == missing else 99_000) for one in spans]
    assert alarms(found) == ()


def test_a_slow_burn_is_a_warning():
    found = alarms([rate("latency", 72 * HOUR_MS, 1_500), rate("latency", 6 * HOUR_MS, 1_500)])
    assert [(one.kind, one.pair.severity) for one in found] == [("latency", "warning")]


counts_lists = st.lists(
    st.builds(
        Count,
        start_ms=st.integers(NOW_MS - 100 * MINUTE_MS, NOW_MS),
        covered_ms=st.just(10_000),
        requests=st.integers(0, 50),
        errors=st.integers(0, 50),
        answered=st.integers(0, 50),
        late=st.integers(0, 50),
    ),
    max_size=40,
)


@given(counts_lists)
def test_adding_up_by_minute_loses_nothing_and_knows_no_order(counts):
    added = add_up(counts)
    assert added == add_up(list(reversed(counts))) == add_up(added)
    assert all(one.start_ms % MINUTE_MS == 0 for one in added)
    for field in ("covered_ms", "requests", "errors", "answered", "late"):
        assert sum(getattr(one, field) for one in added) == sum(
            getattr(one, field) for one in counts
        )
