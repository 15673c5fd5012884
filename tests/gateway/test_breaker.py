"""The circuit breaker as a state machine, with a clock that the test owns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.gateway.breaker import COOL_DOWN_MS, COOL_DOWN_MS_MAX, FAILURES_MAX, Breaker


def opened(now_ms: int = 0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_MAX):
        assert breaker.admits(now_ms)
        breaker.failed(now_ms)
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not():
    breaker = Breaker()
    for _ in range(FAILURES_MAX - 1):
        breaker.failed(0)
    breaker.succeeded()
    for _ in range(FAILURES_MAX - 1):
        breaker.failed(0)
    assert not breaker.is_open
    breaker.failed(0)
    assert breaker.is_open


def test_open_one_keeps_away_until_the_cool_down_is_over():
    breaker = opened(1_000)
    assert breaker.opens_in_ms(1_000) == COOL_DOWN_MS
    assert not breaker.admits(1_000 + COOL_DOWN_MS - 1)
    assert breaker.opens_in_ms(1_000 + COOL_DOWN_MS) == 0
    assert breaker.admits(1_000 + COOL_DOWN_MS)


def test_half_open_one_admits_a_single_probe():
    breaker = opened()
    assert breaker.admits(COOL_DOWN_MS)
    assert not breaker.admits(COOL_DOWN_MS)
    breaker.released()
    assert breaker.admits(COOL_DOWN_MS)


def test_probe_that_succeeds_closes_it():
    breaker = opened()
    assert breaker.admits(COOL_DOWN_MS)
    breaker.succeeded()
    assert not breaker.is_open
    assert breaker.opens_in_ms(COOL_DOWN_MS) == 0
    assert breaker.admits(COOL_DOWN_MS)
    assert breaker.admits(COOL_DOWN_MS)


def test_probe_that_fails_doubles_the_cool_down_up_to_its_limit():
    breaker, now_ms, waits = opened(), 0, []
    for _ in range(8):
        waits.append(breaker.opens_in_ms(now_ms))
        now_ms += waits[-1]
        assert breaker.admits(now_ms)
        breaker.failed(now_ms)
    doubled = [COOL_DOWN_MS * 2**n for n in range(8)]
    assert waits == [min(wait, COOL_DOWN_MS_MAX) for wait in doubled]


def test_cool_down_begins_anew_after_it_closed():
    breaker = opened()
    breaker.failed(0)
    breaker.succeeded()
    for _ in range(FAILURES_MAX):
        breaker.failed(0)
    assert breaker.opens_in_ms(0) == COOL_DOWN_MS


@pytest.mark.slow
@given(st.lists(st.sampled_from(["fail", "succeed", "release", "wait"]), max_size=60))
def test_it_always_lets_somebody_through_in_the_end(events: list[str]):
    breaker, now_ms = Breaker(), 0
    for event in events:
        if event == "wait":
            now_ms += 1_000
        elif breaker.admits(now_ms):
            if event == "fail":
                breaker.failed(now_ms)
            elif event == "succeed":
                breaker.succeeded()
            else:
                breaker.released()
        assert breaker.opens_in_ms(now_ms) <= COOL_DOWN_MS_MAX
        assert breaker.is_open or breaker.admits(now_ms)
    assert breaker.admits(now_ms + COOL_DOWN_MS_MAX)
