"""What the canary's benchmark is made of: bounds, traffic from a seed, comparators."""

import importlib
import math

import pytest
from tests.bench.test_bench_contracts import BENCH

from verismo.model.window import window_fault


@pytest.fixture
def harness(monkeypatch):
    """Return bounds, comparators and traffic; the scripts find the package by their folder."""
    monkeypatch.syspath_prepend(str(BENCH))
    names = ("bounds", "canarypeers", "canarytraffic")
    return [importlib.import_module(f"harness.{name}") for name in names]


def test_bounds_are_those_of_clopper_and_pearson(harness):
    upper = harness[0].upper_bound
    assert upper(0, 300) == pytest.approx(1 - 0.05 ** (1 / 300))
    assert upper(24, 24) == 1
    found = upper(3, 50)
    tail = math.fsum(math.comb(50, k) * found**k * (1 - found) ** (50 - k) for k in range(4))
    assert tail == pytest.approx(0.05)


def minutes(traffic_module, tmp_path, seed, number=60, **more):
    requests = traffic_module.requests_of(tmp_path)
    scenario = traffic_module.Scenario("s", 4.0, **more)
    traffic = traffic_module.Traffic(scenario, requests, seed)
    return requests, [traffic.minute(500_000) for _ in range(number)]


def test_without_the_trace_that_is_said_and_traffic_depends_on_its_seed_alone(
    harness, tmp_path, capsys
):
    requests, first = minutes(harness[2], tmp_path, 1, 5)
    assert requests.source == "log-normal"
    assert "no trace found" in capsys.readouterr().err
    assert first == minutes(harness[2], tmp_path, 1, 5)[1]
    assert first != minutes(harness[2], tmp_path, 2, 5)[1]
    for one in first:
        assert window_fault(one.baseline) == window_fault(one.candidate) == ""


@pytest.mark.slow
def test_every_comparator_fails_what_is_plainly_worse(harness, tmp_path):
    _, worse = minutes(harness[2], tmp_path, 1, slower=2.0)
    for rule in (harness[1].kayenta_like, harness[1].flagger_like, harness[1].peeking):
        assert rule(worse) is not None
