"""Windows add up in any order, count tails exactly, and name what is wrong with them."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.model import canonical
from verismo.model.window import (
    BUCKETS,
    LOWER_EDGES_US,
    Histogram,
    Tally,
    Window,
    bucket_of,
    from_counts,
    merge_windows,
    window_fault,
)

times = st.integers(1, 10**11)
samples = st.lists(times, max_size=40)


def histogram(values):
    tally = Tally()
    for one in values:
        tally.add(one)
    return tally.histogram()


def window(values=(), errors=0, costs=(), start_ms=0, **more):
    requests = max(len(values) + errors, len(costs))
    sums = {"cost_usd_micros": sum(costs), "cost_squares": sum(one * one for one in costs)}
    fields = {
        "tenant": "T",
        "operation": "o",
        "arm": "baseline",
        "deployment": "d",
        "start_ms": start_ms,
        "end_ms": start_ms + 60_000,
        "requests": requests,
        "errors": errors,
        **sums,
        "latency": histogram(values),
    }
    return Window(**(fields | more))


@given(times)
def test_a_bucket_holds_what_lies_between_its_edges(value):
    found = bucket_of(value)
    assert LOWER_EDGES_US[found] <= value
    assert found == BUCKETS - 1 or value < LOWER_EDGES_US[found + 1]


@given(st.integers(0, BUCKETS - 1))
def test_edges_are_powers_of_the_growth(at):
    power = 1.01**at
    assert math.isclose(LOWER_EDGES_US[at], power, rel_tol=1e-9, abs_tol=1)
    assert LOWER_EDGES_US[at] >= power * (1 - 1e-9)


def test_nothing_and_too_much_have_a_bucket_and_a_negative_time_has_none():
    assert bucket_of(0) == bucket_of(1)
    assert bucket_of(10**15) == BUCKETS - 1
    with pytest.raises(ValueError, match="negative"):
        bucket_of(-1)


@given(samples, st.integers(0, BUCKETS))
def test_what_lies_above_an_edge_is_counted_exactly(values, edge):
    wanted = sum(bucket_of(one) >= edge for one in values)
    assert histogram(values).count_above(edge) == wanted


@given(st.lists(times, min_size=1, max_size=40), st.integers(1, 1_000_000))
def test_below_a_quantile_edge_lies_the_share_and_below_the_one_before_it_less(values, share):
    found = histogram(values)
    edge = found.quantile_edge(share)
    below = found.total - found.count_above(edge)
    assert below * 1_000_000 >= share * found.total
    assert (found.total - found.count_above(edge - 1)) * 1_000_000 < share * found.total


def test_an_empty_histogram_has_no_quantile():
    assert Histogram().quantile_edge(950_000) is None


@given(samples, samples)
def test_histograms_merge_in_any_order_to_what_one_would_have_counted(left, right):
    merged = histogram(left).merge(histogram(right))
    assert merged == histogram(right).merge(histogram(left)) == histogram(left + right)
    assert merged.fault() == ""


@given(samples, times)
def test_a_value_more_is_counted(values, more):
    assert histogram(values).add(more) == histogram([*values, more])


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        (Histogram((1,), ()), "differ"),
        (Histogram((2, 1), (1, 1)), "ascending"),
        (Histogram((1, 1), (1, 1)), "ascending"),
        (Histogram((-1,), (1,)), "exist"),
        (Histogram((BUCKETS,), (1,)), "exist"),
        (Histogram((1,), (0,)), "nothing"),
    ],
)
def test_a_histogram_that_was_not_counted_is_named(found, cause):
    assert cause in found.fault()


def test_counts_of_nothing_are_left_out():
    assert from_counts({3: 0, 1: 2}) == Histogram((1,), (2,))


@given(st.lists(samples, min_size=1, max_size=4), st.randoms())
def test_windows_merge_in_any_order(groups, chance):
    windows = [
        window(values, costs=values[:2], start_ms=60_000 * at) for at, values in enumerate(groups)
    ]
    shuffled = list(windows)
    chance.shuffle(shuffled)
    merged = merge_windows(shuffled)
    assert merged == merge_windows(windows)
    assert merged.requests == sum(one.requests for one in windows)
    assert (merged.start_ms, merged.end_ms) == (0, 60_000 * len(groups))


def test_windows_of_different_arms_do_not_add_up():
    with pytest.raises(ValueError, match="different"):
        merge_windows([window(), window(arm="candidate")])


@given(samples)
def test_a_window_is_read_back_from_its_canonical_json(values):
    one = window(values, errors=1, costs=[5, 7])
    assert window_fault(one) == ""
    assert canonical.decode(canonical.encode(one), Window) == one


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({"requests": -1}, "no count"),
        ({"requests": math.nan}, "no count"),
        ({"errors": True}, "no count"),
        ({"cost_squares": 2**53}, "no count"),
        ({"end_ms": 0}, "ends before"),
        ({"errors": 9}, "more errors"),
        ({"refused": math.nan}, "no count"),
        ({"refused": 1, "errors": 2}, "more refusals"),
        ({"unpriced": 3}, "answers without a cost"),
        ({"refused": 1}, "latency: more values"),
        ({"cost_usd_micros": 9, "cost_squares": 1}, "contradict"),
        ({"latency": Histogram((2, 1), (1, 1))}, "latency: buckets"),
        ({"latency": Histogram((1,), (9,))}, "latency: more values"),
        ({"first_token": Histogram((1,), (9,))}, "first_token: more values"),
    ],
)
def test_a_window_that_cannot_be_is_named(more, cause):
    assert cause in window_fault(msgspec.structs.replace(window([1, 2]), **more))
