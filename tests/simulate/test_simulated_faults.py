"""Orders, shares and latencies of faults."""

import statistics

import pytest

from verismo.model.errors import OperatorError
from verismo.simulate.faults import (
    NO_FAULT,
    BadOrder,
    Fault,
    FaultSource,
    find_order,
    parse_order,
)
from verismo.simulate.settings import SimulatorSettings


@pytest.mark.parametrize(
    ("order", "fault"),
    [
        ("error=500", Fault(error_status=500)),
        ("stall", Fault(stall=True)),
        ("stall=3", Fault(stall_after=3)),
        ("cut=0", Fault(cut_after=0)),
        ("fail=2", Fault(fail_after=2)),
        ("garbage", Fault(garbage=True)),
        ("huge=1000", Fault(huge_bytes=1000)),
        ("redirect", Fault(redirect=True)),
        ("close", Fault(close=True)),
        ("slow=250", Fault(latency_ms=250)),
        ("tokens=50, interval=0; cut=7", Fault(answer_tokens=50, interval_ms=0, cut_after=7)),
    ],
)
def test_an_order_names_a_fault(order, fault):
    assert parse_order(order) == fault


@pytest.mark.parametrize(
    "order",
    [
        "",
        "?",
        "explode",
        "error",
        "error=",
        "error=200",
        "error=600",
        "slow=-1",
        "cut=1e3",
        "cut=٣",
    ],
)
def test_an_order_that_cannot_be_read_is_refused(order):
    with pytest.raises(BadOrder):
        parse_order(order)


@pytest.mark.parametrize(
    ("header", "body", "order"),
    [
        ("stall", b"[simulate: close]", "stall"),
        ("", b'{"content":"hi [simulate: cut=3] there"}', "cut=3"),
        ("", b"[simulate: cut=3] [simulate: close]", "close"),
        ("", b"nothing", ""),
        ("", b"[simulate:]", "?"),
        ("", b"[simulate: never closed", "?"),
        ("", b"[simulate: " + b"x" * 300 + b"]", "?"),
    ],
)
def test_the_header_comes_first_then_the_last_marker_of_the_body(header, body, order):
    assert find_order(header, body) == order


def test_a_fault_names_what_departs_from_a_whole_answer():
    assert NO_FAULT.names() == Fault().names() == []
    assert Fault(cut_after=0, interval_ms=5).names() == ["cut_after", "interval_ms"]


def test_without_shares_nothing_fails():
    source = FaultSource(SimulatorSettings())
    assert {source.draw() for _ in range(50)} == {NO_FAULT}
    assert source.draw_latency_ms() == 0


def test_faults_come_in_their_shares_and_the_same_for_the_same_seed():
    settings = SimulatorSettings(
        error_ppm=300_000, stall_ppm=100_000, cut_ppm=100_000, garbage_ppm=50_000, huge_ppm=50_000
    )
    first, second = FaultSource(settings), FaultSource(settings)
    drawn = [first.draw() for _ in range(4_000)]
    assert drawn == [second.draw() for _ in range(4_000)]
    assert {fault.error_status for fault in drawn} == {0, 500, 429, 503}
    counts = [
        sum(bool(fault.error_status) for fault in drawn),
        sum(fault.stall for fault in drawn),
        sum(fault.cut_after is not None for fault in drawn),
        sum(fault.garbage for fault in drawn),
        sum(bool(fault.huge_bytes) for fault in drawn),
        sum(fault == NO_FAULT for fault in drawn),
    ]
    expected = [1200, 400, 400, 200, 200, 1600]
    assert counts == pytest.approx(expected, rel=0.25)


def test_latency_is_lognormal_by_its_median_and_99th_percentile():
    source = FaultSource(SimulatorSettings(latency_ms_p50=100, latency_ms_p99=900))
    drawn = sorted(source.draw_latency_ms() for _ in range(20_000))
    assert statistics.median(drawn) == pytest.approx(100, rel=0.05)
    assert drawn[19_800] == pytest.approx(900, rel=0.15)


def test_latency_without_a_percentile_is_constant():
    source = FaultSource(SimulatorSettings(latency_ms_p50=7))
    assert {source.draw_latency_ms() for _ in range(5)} == {7.0}


@pytest.mark.parametrize(
    "fields",
    [
        {"error_ppm": -1},
        {"error_ppm": 600_000, "stall_ppm": 600_000},
        {"latency_ms_p50": 10, "latency_ms_p99": 5},
        {"latency_ms_p99": 5},
        {"latency_ms_p50": -1},
        {"interval_ms": -1},
        {"embedding_dimensions": 0},
    ],
)
def test_contradictory_settings_are_refused_with_a_next_step(fields):
    with pytest.raises(OperatorError) as caught:
        SimulatorSettings(**fields)
    assert caught.value.advice


def test_the_key_is_not_shown():
    assert "secret" not in repr(SimulatorSettings(api_key="secret"))
