"""Token buckets of throttled routes: all workers together keep the rate, whoever is asked."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verismo.adapters.budget_buckets import DRY_MS_MIN, RouteBuckets
from verismo.adapters.budget_slices import BURST_MS, SqliteSlices
from verismo.model.errors import RouteThrottled
from verismo.model.ids import OperationId, TenantId
from verismo.model.steering import Throttle
from verismo.model.units import Milliseconds, UsdMicros

T0 = 10_000_000


def throttle(per_minute, operation="chat"):
    return Throttle(TenantId("T1"), OperationId(operation), UsdMicros(per_minute), Milliseconds(0))


def pour(buckets, told, amount, now_ms):
    """Take as much as is let through at one time; return how much."""
    total = 0
    for buckets_of_one in itertools.cycle(buckets):
        try:
            buckets_of_one.check(told, amount, now_ms)
        except RouteThrottled:
            if buckets_of_one is buckets[-1]:
                return total
            continue
        buckets_of_one.take(told, amount)
        total += amount
    raise AssertionError("a cycle has no end")


@pytest.fixture
def store(tmp_path):
    opened = SqliteSlices(tmp_path / "budget.db")
    yield opened
    opened.close()


def test_bucket_starts_full_and_is_then_filled_at_its_rate(store):
    buckets = [RouteBuckets(store.draw, 1)]
    full = 60_000 * BURST_MS // 60_000
    assert full <= pour(buckets, throttle(60_000), 10, T0) < full + 10
    later = sum(pour(buckets, throttle(60_000), 10, T0 + ms) for ms in range(0, 60_001, 500))
    assert 59_500 <= later <= 60_500


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 4), rate=st.integers(600, 10**7), share=st.integers(1, 50))
def test_workers_together_keep_the_rate(tmp_path_factory, count, rate, share):
    opened = SqliteSlices(tmp_path_factory.mktemp("store") / "budget.db")
    buckets = [RouteBuckets(opened.draw, count) for _ in range(count)]
    amount = max(1, rate // 60 // share)
    total = sum(pour(buckets, throttle(rate), amount, T0 + s * 1_000) for s in range(61))
    slack = (amount + rate // 60 + 1) * (count + 1)
    assert rate * 7 // 6 - slack <= total <= rate * 7 // 6 + slack
    opened.close()


def test_request_dearer_than_the_bucket_is_let_through_and_the_next_one_waits_for_it(store):
    buckets = RouteBuckets(store.draw, 1)
    buckets.check(throttle(600), 6_000, T0)
    buckets.take(throttle(600), 6_000)
    with pytest.raises(RouteThrottled) as caught:
        buckets.check(throttle(600), 1, T0)
    # 6,000 less the 100 that were there, at 10 a second.
    assert caught.value.retry_after_s == 591
    with pytest.raises(RouteThrottled):
        buckets.check(throttle(600), 1, T0 + 589_000)
    buckets.check(throttle(600), 1, T0 + 591_000)


def test_empty_bucket_is_not_asked_for_each_refusal(store):
    asked = []

    def draw(*what):
        asked.append(what)
        return store.draw(*what)

    buckets = RouteBuckets(draw, 1)
    pour([buckets], throttle(6_000), 100, T0)
    before = len(asked)
    for _ in range(1_000):
        with pytest.raises(RouteThrottled):
            buckets.check(throttle(6_000), 100, T0 + DRY_MS_MIN - 1)
    assert len(asked) == before


def test_routes_do_not_share_a_bucket(store):
    buckets = RouteBuckets(store.draw, 1)
    pour([buckets], throttle(6_000), 100, T0)
    assert pour([buckets], throttle(6_000, "embed"), 100, T0) > 0


def test_without_the_common_bucket_each_worker_fills_its_own_at_an_even_share():
    buckets = [RouteBuckets(lambda *_: None, 3) for _ in range(3)]
    told = throttle(180_000)
    assert pour(buckets, told, 100, T0) == 0, "the common one may have been emptied just now"
    total = sum(pour(buckets, told, 100, T0 + ms) for ms in range(100, 60_101, 100))
    assert 170_000 <= total <= 181_000


def test_monotonic_clock_that_began_anew_refills_nothing_at_once(store):
    buckets = RouteBuckets(store.draw, 1)
    pour([buckets], throttle(6_000), 100, T0)
    assert pour([RouteBuckets(store.draw, 1)], throttle(6_000), 100, 5_000) == 0
    assert pour([RouteBuckets(store.draw, 1)], throttle(6_000), 100, 8_000) > 0


def test_nothing_a_minute_lets_nothing_through(store):
    with pytest.raises(RouteThrottled) as caught:
        RouteBuckets(store.draw, 1).check(throttle(0), 1, T0)
    assert caught.value.retry_after_s == 60


def test_raised_rate_ends_the_wait_of_the_old_one(store):
    buckets = RouteBuckets(store.draw, 1)
    buckets.check(throttle(60), 6_000, T0)
    buckets.take(throttle(60), 6_000)
    with pytest.raises(RouteThrottled) as caught:
        buckets.check(throttle(60), 1, T0 + 10)
    assert caught.value.retry_after_s > 3_600
    buckets.check(throttle(6_000_000), 1, T0 + 1_000)
