"""The budget benchmark: its shortcuts are exact, and without traces it says so."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from verismo.adapt.budget import BudgetSettings, BudgetState, Limits, Sums, step

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "bench"
DAY = 8_640


@pytest.fixture
def budgets(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("harness.budgets")


def bursty(days):
    chance = np.random.default_rng(3)
    bins = chance.poisson(200, days * DAY)
    for at in chance.integers(7 * DAY, days * DAY - 90, 12):
        bins[at : at + 60] *= 6
    return bins.astype(np.int64)


@pytest.mark.slow
def test_looks_that_are_left_out_would_have_changed_nothing(budgets):
    series = budgets.series_of(bursty(8))
    rule = budgets.Stepped(2)
    done = rule.run(series)
    limits = Limits(int(2 * np.percentile(series.short[: 7 * DAY], 99)) + 1)
    state, throttled = BudgetState(), []
    for at in range(7 * DAY, 8 * DAY):
        before = state
        seen = Sums((at + 1) * 10_000, int(series.short[at]), int(series.long[at]))
        state = step(state, seen, limits, BudgetSettings()).state
        throttled.append("THROTTLED" in (before.phase, state.phase) or before.phase != "OPEN")
    assert done.throttled.any()
    assert done.throttled.tolist() == throttled
    assert (done.admitted <= series.bins[7 * DAY :]).all()


def test_a_sum_of_the_last_bins_is_one(budgets):
    bins = np.arange(10, dtype=np.int64)
    assert budgets.rolling(bins, 3).tolist() == [0, 1, 3, 6, 9, 12, 15, 18, 21, 24]


@pytest.mark.slow
def test_without_traces_the_benchmark_measures_nothing_and_says_so(tmp_path):
    file = tmp_path / "result.json"
    command = [sys.executable, str(BENCH / "budget.py"), "--brief", "--json", str(file)]
    done = subprocess.run(
        [*command, "--traces", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "left out: no traces" in done.stderr
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document["rows"] == []
    assert "false_positive_mean" not in document


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_benchmark_gives_the_figures_of_the_held_out_half(tmp_path):
    if not (ROOT.parent / "shared" / "traces" / "adapt" / "servegen").is_dir():
        pytest.skip("no traces of ServeGen here")
    file = tmp_path / "result.json"
    command = [sys.executable, str(BENCH / "budget.py"), "--brief", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    document = json.loads(file.read_text(encoding="utf-8"))
    for name in ("false_positive_mean", "false_positive_p90_tenant", "throttled_x5_120s"):
        assert 0 <= document[name] <= 1
    assert document["false_positive_mean"] <= document["false_positive_bound"]
    assert document["throttled_x5_bound"] <= document["throttled_x5_120s"]
    assert {row["half"] for row in document["rows"]} == {"development", "held-out"}
    own = [row for row in document["rows"] if row["name"].startswith("verismo")]
    assert max(row["toggles_per_hour_max"] for row in own) <= 6
