"""Token buckets and meters with a clock that the test owns."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.gateway.ratelimit import Bucket, Meter, RateLimiter, take_request
from verismo.model.errors import RateLimited
from verismo.model.tenant import RateLimit

NOW_MS = 1_000_000


def meter_of(rate: RateLimit, name: str = "tenant") -> Meter:
    """Return the meter of the only worker."""
    meter = RateLimiter(1).meter(name, "OWNER", rate, NOW_MS)
    assert meter is not None
    return meter


def take(meter: Meter, now_ms: int) -> bool:
    """Take one request as the pipeline does; says whether it was allowed."""
    try:
        meter.check_tokens(now_ms)
        take_request([meter], now_ms)
    except RateLimited:
        return False
    return True


def test_bucket_starts_full_and_refills_evenly():
    bucket = Bucket(60, NOW_MS)
    bucket.take(60)
    assert bucket.level(NOW_MS) == 0
    assert bucket.level(NOW_MS + 10_000) == pytest.approx(10)
    assert bucket.level(NOW_MS + 600_000) == 60


def test_clock_that_steps_back_refills_nothing_and_takes_nothing():
    bucket = Bucket(60, NOW_MS)
    bucket.take(30)
    assert bucket.level(NOW_MS - 5_000) == 30
    assert bucket.level(NOW_MS) == 30


def test_debt_is_paid_back_before_anything_is_allowed():
    meter = meter_of(RateLimit(tokens_per_minute=600))
    meter.tokens.charge(1_200, NOW_MS)
    with pytest.raises(RateLimited, match="the tenant allows 600 tokens a minute"):
        meter.check_tokens(NOW_MS + 59_000)
    meter.check_tokens(NOW_MS + 62_000)


def test_tokens_of_a_long_call_are_not_refilled_by_its_own_duration():
    meter = meter_of(RateLimit(tokens_per_minute=600))
    meter.check_tokens(NOW_MS)
    meter.tokens.charge(400, NOW_MS + 30_000)
    assert meter.tokens.level(NOW_MS + 30_000) == 200


def test_refusal_names_the_limit_and_when_to_come_again():
    meter = meter_of(RateLimit(requests_per_minute=2), "key")
    assert [take(meter, NOW_MS) for _ in range(3)] == [True, True, False]
    with pytest.raises(RateLimited, match="the key allows 2 requests a minute") as caught:
        take_request([meter], NOW_MS)
    wait_s = caught.value.retry_after_s
    assert wait_s == 30
    assert take(meter, NOW_MS + wait_s * 1_000)


def test_request_that_one_meter_refuses_is_taken_from_none():
    tenant = meter_of(RateLimit(requests_per_minute=5))
    key = meter_of(RateLimit(requests_per_minute=1), "key")
    take_request([tenant, key], NOW_MS)
    with pytest.raises(RateLimited, match="the key allows"):
        take_request([tenant, key], NOW_MS)
    assert tenant.requests.level(NOW_MS) == 4


def test_headers_show_quota_and_rest():
    meter = meter_of(RateLimit(requests_per_minute=2))
    take(meter, NOW_MS)
    headers = dict(meter.headers(NOW_MS))
    assert headers[b"ratelimit-policy"] == b'"tenant";q=2;w=60'
    assert headers[b"ratelimit"].startswith(b'"tenant";r=1;t=')
    assert meter_of(RateLimit(tokens_per_minute=5)).headers(NOW_MS) == []


def test_no_limit_has_no_meter():
    assert RateLimiter(1).meter("tenant", "T", RateLimit(), NOW_MS) is None


def test_owners_and_kinds_have_meters_of_their_own_that_last():
    limiter, rate = RateLimiter(1), RateLimit(requests_per_minute=1)
    one = limiter.meter("tenant", "T", rate, NOW_MS)
    assert limiter.meter("tenant", "T", rate, NOW_MS) is one
    assert limiter.meter("key", "T", rate, NOW_MS) is not one
    assert limiter.meter("tenant", "U", rate, NOW_MS) is not one


def test_changed_limits_are_in_force_at_once():
    limiter = RateLimiter(1)
    first = limiter.meter("tenant", "T", RateLimit(requests_per_minute=1), NOW_MS)
    assert first is not None
    assert [take(first, NOW_MS) for _ in range(2)] == [True, False]
    second = limiter.meter("tenant", "T", RateLimit(requests_per_minute=5), NOW_MS)
    assert second is not None
    assert take(second, NOW_MS)


@given(st.integers(1, 1_000), st.lists(st.integers(0, 30_000), max_size=50))
def test_allowed_requests_never_pass_the_refill_and_one_burst(rate, waits):
    meter = meter_of(RateLimit(requests_per_minute=rate))
    now_ms, allowed = NOW_MS, 0
    for wait in waits:
        now_ms += wait
        allowed += take(meter, now_ms)
    minutes = (now_ms - NOW_MS) / 60_000
    assert allowed <= math.floor(rate * (1 + minutes) + 1e-6)


@given(st.floats(0.1, 1e6), st.floats(0, 1e7), st.integers(0, 10**7))
def test_wait_is_enough_and_at_least_a_second(per_minute: float, taken: float, elapsed: int):
    bucket = Bucket(per_minute, NOW_MS)
    bucket.take(taken)
    now_ms = NOW_MS + elapsed
    wait_s = bucket.wait_s(min(1.0, per_minute), now_ms)
    assert wait_s >= 1
    assert bucket.level(now_ms + wait_s * 1_000) >= min(1.0, per_minute) - 1e-3
