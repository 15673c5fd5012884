"""What a worker counts: every request once, in the interval that it ended in, for its own arm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.gateway.windows import (
    COST_USD_MICROS_MAX,
    KEPT_MAX,
    STEP_MS_MAX,
    WindowCounts,
    outcome_of,
)
from verismo.model.canonical import MAX_INTEGER
from verismo.model.window import bucket_of, window_fault

WINDOW_MS = 10_000
START_MS = 1_700_000_000_000
NS_PER_MS = 1_000_000
ROUTE = ("T", "chat", "baseline", "old")
OTHER = ("T", "chat", "candidate", "new")


class Clocks:
    """A wall clock and one that nobody sets."""

    def __init__(self, wall_ms=START_MS):
        self.wall_ns = wall_ms * NS_PER_MS
        self.ticks_ns = 5 * NS_PER_MS

    def pass_ms(self, passed_ms, *, wall_ms=None):
        self.ticks_ns += passed_ms * NS_PER_MS
        self.wall_ns += (passed_ms if wall_ms is None else wall_ms) * NS_PER_MS


def counting(clocks, late_ms=None):
    return WindowCounts(
        WINDOW_MS, {"chat"}, late_ms, lambda: clocks.wall_ns, lambda: clocks.ticks_ns
    )


def taken(counts):
    return [one.interval("s0") for one in counts.take()]


def rest(counts):
    return [one.interval("s0") for one in counts.take_rest()]


def answer(counts, route=ROUTE, outcome="answered", total_us=1_000, first_us=0, cost=7):
    counts.ended(route, outcome, total_us, first_us, cost)


def test_requests_of_an_interval_are_in_its_window():
    clocks = Clocks()
    counts = counting(clocks)
    answer(counts, total_us=2_000, first_us=300)
    answer(counts, total_us=9_000)
    answer(counts, OTHER, cost=5)
    clocks.pass_ms(WINDOW_MS)
    [interval] = taken(counts)
    assert (interval.start_ms, interval.end_ms) == (START_MS, START_MS + WINDOW_MS)
    ours, theirs = interval.windows
    assert (ours.key, theirs.key) == (ROUTE, OTHER)
    assert (ours.requests, ours.errors, ours.cost_usd_micros, ours.cost_squares) == (2, 0, 14, 98)
    assert ours.latency.buckets == (bucket_of(2_000), bucket_of(9_000))
    assert ours.first_token.buckets == (bucket_of(300),)
    assert (theirs.requests, theirs.cost_usd_micros) == (1, 5)
    assert not any(window_fault(one) for one in interval.windows)


@pytest.mark.parametrize(
    ("outcome", "cost", "shown"),
    [
        ("answered", 7, {"latency": 1, "cost": 7}),
        ("answered", None, {"latency": 1, "unpriced": 1}),
        ("left", None, {"latency": 1}),
        ("failed", None, {"errors": 1}),
        ("failed", 7, {"errors": 1, "cost": 7}),
        ("refused", None, {"refused": 1}),
    ],
)
def test_only_answers_and_clients_that_left_have_a_latency(outcome, cost, shown):
    clocks = Clocks()
    counts = counting(clocks)
    answer(counts, outcome=outcome, cost=cost)
    clocks.pass_ms(WINDOW_MS)
    [[window]] = [one.windows for one in taken(counts)]
    found = {
        "latency": window.latency.total,
        "errors": window.errors,
        "refused": window.refused,
        "unpriced": window.unpriced,
        "cost": window.cost_usd_micros,
    }
    assert window.requests == 1
    assert {name: value for name, value in found.items() if value} == shown
    assert not window_fault(window)


@pytest.mark.parametrize(
    ("status", "code", "is_failed", "outcome"),
    [
        (200, "", False, "answered"),
        (200, "", True, "failed"),  # another deployment answered
        (200, "upstream_broken", False, "failed"),  # a stream that broke
        (499, "client_gone", False, "left"),
        (499, "client_gone", True, "failed"),
        (499, "gateway_stopped", False, "left"),
        (499, "attestation_unavailable", False, "failed"),
        (404, "", False, "refused"),
        (400, "malformed_request", False, "refused"),
        (429, "", True, "failed"),
        (502, "upstream_too_large", False, "failed"),
        (503, "no_deployment", True, "failed"),
        (503, "attestation_unavailable", False, "failed"),
        (500, "internal_error", False, "failed"),
    ],
)
def test_how_a_request_ended_for_its_arm(status, code, is_failed, outcome):
    assert outcome_of(status, code, is_failed=is_failed) == outcome


def test_an_interval_without_requests_is_there_all_the_same():
    clocks = Clocks()
    counts = counting(clocks)
    for _ in range(3):
        clocks.pass_ms(WINDOW_MS)
    found = taken(counts)
    assert [one.start_ms - START_MS for one in found] == [0, WINDOW_MS, 2 * WINDOW_MS]
    assert not any(one.windows or one.spends or one.loads for one in found)


def test_the_first_interval_begins_where_the_clock_stands_within_one():
    clocks = Clocks(START_MS + 9_000)
    counts = counting(clocks)
    answer(counts)
    clocks.pass_ms(1_000)
    answer(counts)
    [interval] = taken(counts)
    assert interval.start_ms == START_MS
    assert interval.windows[0].requests == 1


def test_a_clock_that_is_set_forward_leaves_a_hole():
    clocks = Clocks()
    counts = counting(clocks)
    answer(counts)
    clocks.pass_ms(WINDOW_MS, wall_ms=WINDOW_MS + 3_600_000)
    answer(counts)
    [before] = taken(counts)
    clocks.pass_ms(WINDOW_MS)
    [after] = taken(counts)
    assert (before.start_ms, before.windows[0].requests) == (START_MS, 1)
    assert (after.start_ms, after.windows[0].requests) == (START_MS + 3_610_000, 1)


def test_a_clock_that_is_set_back_gives_starts_that_were_there_before():
    clocks = Clocks()
    counts = counting(clocks)
    clocks.pass_ms(WINDOW_MS)
    found = taken(counts)
    clocks.pass_ms(WINDOW_MS, wall_ms=-WINDOW_MS)
    answer(counts)
    clocks.pass_ms(WINDOW_MS)
    starts = [one.start_ms - START_MS for one in found + taken(counts)]
    assert starts == [0, WINDOW_MS, 0]


@pytest.mark.parametrize("drift_ms", [-STEP_MS_MAX // 2, STEP_MS_MAX // 2])
def test_a_clock_that_drifts_is_followed(drift_ms):
    clocks = Clocks()
    counts = counting(clocks)
    found = []
    for _ in range(20):
        clocks.pass_ms(WINDOW_MS, wall_ms=WINDOW_MS + drift_ms)
        found += taken(counts)
    starts = [one.start_ms for one in found]
    assert starts == list(range(START_MS, starts[-1] + 1, WINDOW_MS))
    assert abs(found[-1].end_ms - clocks.wall_ns // NS_PER_MS) <= WINDOW_MS


def test_an_hour_of_unwritten_intervals_is_kept_and_no_more():
    clocks = Clocks()
    counts = counting(clocks)
    for _ in range(KEPT_MAX + 5):
        clocks.pass_ms(WINDOW_MS)
        counts.now_ns()
    assert len(taken(counts)) == KEPT_MAX


def test_a_process_that_stood_still_for_hours_makes_nothing_up():
    clocks = Clocks()
    counts = counting(clocks)
    clocks.pass_ms((KEPT_MAX + 2) * WINDOW_MS)
    assert [one.start_ms for one in taken(counts)] == [START_MS]


def test_a_window_is_closed_before_its_squares_are_no_integer():
    clocks = Clocks()
    counts = counting(clocks)
    for _ in range(5):
        answer(counts, cost=COST_USD_MICROS_MAX)
    clocks.pass_ms(WINDOW_MS)
    [interval] = taken(counts)
    assert [one.key for one in interval.windows] == [ROUTE] * 5
    assert not any(window_fault(one) for one in interval.windows)
    assert sum(one.cost_usd_micros for one in interval.windows) == 5 * COST_USD_MICROS_MAX


def test_a_cost_whose_square_is_no_integer_is_not_known():
    clocks = Clocks()
    counts = counting(clocks)
    answer(counts, cost=COST_USD_MICROS_MAX + 1)
    clocks.pass_ms(WINDOW_MS)
    [[window]] = [one.windows for one in taken(counts)]
    assert (window.cost_usd_micros, window.unpriced) == (0, 1)


def test_offers_add_up_by_route_and_no_sum_is_more_than_an_integer():
    clocks = Clocks()
    counts = counting(clocks)
    for _ in range(3):
        counts.offered("T", "chat", 5)
    counts.offered("U", "chat", MAX_INTEGER)
    counts.offered("U", "chat", MAX_INTEGER)
    clocks.pass_ms(WINDOW_MS)
    [interval] = taken(counts)
    spends = {(one.tenant, one.operation): one.offered_usd_micros for one in interval.spends}
    assert spends == {("T", "chat"): 15, ("U", "chat"): MAX_INTEGER}


def test_made_up_operations_do_not_fill_the_memory():
    clocks = Clocks()
    counts = counting(clocks)
    for name in ("a", "chat", "b", "a"):
        counts.offered("T", name, 1)
    clocks.pass_ms(WINDOW_MS)
    [interval] = taken(counts)
    found = {one.operation: one.offered_usd_micros for one in interval.spends}
    assert found == {"chat": 1, "unregistered": 3}


def test_what_is_in_flight_over_an_edge_is_busy_in_both_intervals():
    clocks = Clocks()
    counts = counting(clocks)
    clocks.pass_ms(6_000)
    first, second = counts.began("old"), counts.began("old")
    clocks.pass_ms(2_000)
    second.over()
    clocks.pass_ms(5_000)
    first.heard()
    clocks.pass_ms(1_000)
    first.over()
    clocks.pass_ms(6_000)
    before, after = (one.loads[0] for one in taken(counts))
    assert (before.busy_ms, before.requests) == (4_000 + 2_000, 1)
    assert (after.busy_ms, after.requests) == (4_000, 1)


def test_who_waited_longer_than_promised_is_late_and_who_ends_twice_counts_once():
    clocks = Clocks()
    counts = counting(clocks, {"old": 1_000})
    for wait_ms in (1_000, 1_001):
        flight = counts.began("old")
        clocks.pass_ms(wait_ms)
        flight.heard()
        flight.heard()
        flight.over()
        flight.over()
    gave_up = counts.began("old")
    clocks.pass_ms(3_000)
    gave_up.over()
    unpromised = counts.began("new")
    clocks.pass_ms(3_000)
    unpromised.over()
    clocks.pass_ms(WINDOW_MS)
    new, old = taken(counts)[0].loads
    assert (old.deployment, old.requests, old.late) == ("old", 3, 2)
    assert (new.deployment, new.requests, new.late) == ("new", 1, 0)


def test_the_rest_is_handed_out_at_the_end():
    clocks = Clocks()
    counts = counting(clocks)
    answer(counts)
    clocks.pass_ms(WINDOW_MS + 1)
    answer(counts, OTHER)
    first, second = rest(counts)
    assert [one.windows[0].key for one in (first, second)] == [ROUTE, OTHER]
    assert second.start_ms == START_MS + WINDOW_MS


steps = st.lists(
    st.tuples(
        st.integers(0, 40_000),
        st.sampled_from((0, 0, 0, 100, -100, 60_000, -60_000)),
        st.sampled_from((ROUTE, OTHER)),
        st.sampled_from(("answered", "failed", "refused", "left")),
    ),
    max_size=60,
)


@given(steps)
def test_no_request_is_lost_or_counted_twice_whatever_the_clocks_do(events):
    clocks = Clocks()
    counts = counting(clocks)
    found = []
    for passed_ms, off_ms, route, outcome in events:
        clocks.pass_ms(passed_ms, wall_ms=passed_ms + off_ms)
        answer(counts, route, outcome)
        found += taken(counts)
    found += rest(counts)
    windows = [window for one in found for window in one.windows]
    for route in (ROUTE, OTHER):
        mine = [one for one in windows if one.key == route]
        asked = [outcome for _, _, key, outcome in events if key == route]
        assert sum(one.requests for one in mine) == len(asked)
        assert sum(one.errors for one in mine) == asked.count("failed")
        assert sum(one.refused for one in mine) == asked.count("refused")
    assert not any(window_fault(one) for one in windows)
    assert all(one.start_ms % WINDOW_MS == 0 for one in found)
    assert all(one.end_ms - one.start_ms == WINDOW_MS for one in found)
