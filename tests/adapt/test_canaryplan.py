"""A plan is the rule itself over a route's mean traffic; too little of it is said, not guessed."""

import msgspec
import pytest

from verismo.adapt.canaryplan import plan
from verismo.adapt.canarysettings import CanarySettings
from verismo.model.window import Tally, Window

MINUTE = 60_000
HOUR = 60 * MINUTE
LADDER = CanarySettings(ladder_ppm=(200_000, 500_000, 1_000_000))


def traffic(requests, errors=0):
    tally = Tally()
    for one in range(requests - errors):
        tally.add(500_000 + one * 2_000_000 // requests)
    cost = requests * 1_000
    return Window(
        *("T", "o", "unsplit", "", 0, HOUR, requests, errors),
        *(cost, requests * 1_100_000, tally.histogram()),
    )


@pytest.mark.slow
def test_each_rung_takes_at_least_its_windows_and_requests():
    found = plan(traffic(24_000), HOUR, MINUTE, LADDER)
    assert [one.weight_ppm for one in found] == [200_000, 500_000]
    for rung in found:
        assert rung.looks >= LADDER.windows_min
        assert rung.requests >= LADDER.requests_min


@pytest.mark.slow
def test_less_traffic_takes_longer():
    times = [
        sum(one.looks for one in plan(traffic(requests), HOUR, MINUTE, LADDER))
        for requests in (24_000, 9_000)
    ]
    assert times[0] < times[1]


def test_too_little_traffic_gets_no_answer():
    found = plan(traffic(60), HOUR, MINUTE, LADDER)
    assert [(one.weight_ppm, one.looks) for one in found] == [(200_000, None), (500_000, None)]


@pytest.mark.parametrize("requests", [0, 1])
def test_no_traffic_gets_no_answer(requests):
    assert all(one.looks is None for one in plan(traffic(requests), HOUR, MINUTE, LADDER))


@pytest.mark.slow
def test_the_same_traffic_gives_the_same_plan():
    assert plan(traffic(9_000, 9), HOUR, MINUTE, LADDER) == plan(
        traffic(9_000, 9), HOUR, MINUTE, LADDER
    )


@pytest.mark.slow
def test_a_route_that_would_take_longer_than_a_week_of_looks_gets_no_answer():
    patient = msgspec.structs.replace(LADDER, bake_ms_max=10**12, silence_hold_ms=10**12)
    assert all(one.looks is None for one in plan(traffic(2), HOUR, MINUTE, patient))
