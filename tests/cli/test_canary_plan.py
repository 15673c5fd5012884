"""The plan is of the traffic that gateways counted, and of nothing where they counted none."""

import time

import msgspec
import pytest

from verismo.adapters.windows_sqlite import FILE_NAME, SqliteWindows
from verismo.cli.canaryplans import minutes
from verismo.model.window import Tally, Window
from verismo.ports.windows import Interval

STEP_MS = 10_000


@pytest.fixture
def counted(initialised):
    """Write half an hour of intervals of the sample's chat operation."""
    data = initialised / "var"
    data.mkdir(mode=0o700, exist_ok=True)

    def write(per_interval):
        until_ms = time.time_ns() // 1_000_000 // STEP_MS * STEP_MS
        windows = SqliteWindows(data / FILE_NAME)
        for at in range(until_ms - 180 * STEP_MS, until_ms, STEP_MS):
            windows.write(Interval("s0", at, at + STEP_MS, (window(per_interval, at),)))
        windows.close()

    return write


def window(requests, at):
    tally = Tally()
    for one in range(requests - 1):
        tally.add(500_000 + one * 10_000)
    return Window(
        *("TENANT_001", "support.answer", "unsplit", "chat-us", at, at + STEP_MS, requests, 0),
        *(requests * 100, requests * 11_000, tally.histogram()),
        refused=1,
    )


@pytest.mark.slow
def test_a_plan_says_how_long_each_share_takes(verismo, counted):
    counted(100)
    found = verismo("canary", "plan", "--operation", "support.answer")
    assert found.code == 0, found.err
    assert "18,000 requests in 30 minutes, 600 a minute" in found.out
    report = msgspec.json.decode(
        verismo("canary", "plan", "--operation", "support.answer", "--json").out
    )
    assert report["requests_per_minute_milli"] == 600_000
    assert [one["weight_ppm"] for one in report["rungs"]] == [50_000, 200_000, 500_000]


@pytest.mark.slow
def test_a_route_with_little_traffic_is_told_so(verismo, counted):
    counted(1)
    found = verismo("canary", "plan", "--operation", "support.answer")
    assert found.code == 0
    assert "too little traffic" in found.out


@pytest.mark.parametrize(
    ("ms", "said"),
    [(52_000, "0.9"), (1, "0.1"), (780_000, "13"), (790_000, "13.2"), (600_006_000, "10,000.1")],
)
def test_minutes_are_told_in_tenths_and_never_as_none(ms, said):
    assert minutes(ms) == said


def test_without_counts_there_is_no_plan(verismo, counted, initialised):
    found = verismo("canary", "plan", "--operation", "support.answer")
    assert found.code == 2
    assert "is not known" in found.err
    counted(10)
    for words in (("--tenant", "TENANT_002"), ("--since", "2099-01-01")):
        found = verismo("canary", "plan", "--operation", "support.answer", *words)
        assert found.code == 2
        assert "no request" in found.err


def test_an_operation_that_is_not_there_has_no_plan(verismo, initialised):
    assert "no operation" in verismo("canary", "plan", "--operation", "caht").err
