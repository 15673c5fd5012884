"""Every benchmark runs with --brief, takes --json and writes the promised shape.

No speed is asserted: these machines are shared. What is asserted is that everything was answered,
that Verismo's answers verified, and that a number which could not be measured is not there.
"""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "bench"
RUN_S_MAX = 170
MEASURED = ("requests_per_s", "p50_ms", "p99_ms", "cpu_us")
LOADS_BRIEF = {("small", 64), ("prompt87k", 1), ("stream50", 16), ("burst50", 16)}
PEERS_KEPT = ("litellm", "smg")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(RUN_S_MAX + 10)]


def result_of(name, folder, *more):
    """Run a benchmark and return its JSON; it may install nothing."""
    file = folder / "result.json"
    command = [sys.executable, str(BENCH / f"{name}.py"), "--brief", "--json", str(file), *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_S_MAX)
    assert done.returncode == 0, done.stderr[-2_000:]
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document["command"].startswith(f"python bench/{name}.py --brief")
    assert document["machine"]["gateway_core"] is not None
    assert {"python", "verismo", "commit"} <= document["versions"].keys()
    return document


def assert_numbers_or_flag(row):
    """A run with errors is never reported as a number."""
    numbers = [row[name] for name in MEASURED]
    if "flag" in row:
        assert numbers == [None] * len(MEASURED), row
    else:
        assert all(number > 0 for number in [*numbers, row["rss_mb"]]), row
        assert row["p50_ms"] <= row["p99_ms"], row


@pytest.mark.parametrize("script", sorted(BENCH.glob("*.py")), ids=lambda path: path.stem)
def test_every_benchmark_takes_the_options_that_scripts_rely_on(script, monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCH)
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "--quick" in said
    assert "--brief" in said
    assert "--json FILE" in said


@pytest.mark.external("nginx", "wrk")
def test_the_gateway_benchmark_measures_every_load_with_nothing_unanswered(tmp_path):
    document = result_of("gateway", tmp_path, "--peers", "nginx")
    rows = document["rows"]
    for row in rows:
        assert_numbers_or_flag(row)
    for name in ("direct", "verismo"):
        found = [(row["scenario"], row["connections"]) for row in rows if row["name"] == name]
        assert len(found) == len(LOADS_BRIEF)
        assert set(found) == LOADS_BRIEF
    flagged = [row for row in rows if row["name"] == "verismo" and "flag" in row]
    assert flagged == []
    assert document["missing"] == {}
    assert document["ratios"]["verismo/nginx"].keys() >= {"small@64", "prompt87k@1"}
    loads = {f"{scenario}@{connections}" for scenario, connections in LOADS_BRIEF}
    assert document["ratios"]["verismo/passthrough"].keys() == loads
    assert document["ratios"]["passthrough/nginx"].keys() >= {"small@64", "prompt87k@1"}
    assert {"nginx", "wrk"} <= document["versions"].keys()


@pytest.fixture(scope="module")
def beside_peers(tmp_path_factory):
    """Return the result of one run with the peers that are a Python program or a binary."""
    more = ("--peers", ",".join(PEERS_KEPT), "--loads", "small@16", "--no-install")
    return result_of("gateway", tmp_path_factory.mktemp("peers"), *more)


@pytest.mark.external("nginx", "wrk")
@pytest.mark.parametrize("peer", PEERS_KEPT)
def test_a_peer_is_measured_in_the_same_run_or_said_to_be_missing(peer, beside_peers):
    document = beside_peers
    rows = [row for row in document["rows"] if row["name"] == peer]
    if peer in document["missing"]:
        assert rows == []
        pytest.skip(document["missing"][peer])
    assert [(row["scenario"], row["connections"]) for row in rows] == [("small", 16)]
    assert_numbers_or_flag(rows[0])
    assert document["versions"][peer]


@pytest.mark.external("nginx")
def test_latency_is_given_beside_direct(tmp_path):
    rows = {row["name"]: row for row in result_of("latency", tmp_path)["rows"]}
    assert rows.keys() == {"direct", "nginx", "verismo"}
    assert rows["direct"]["added_p50_ms"] == 0
    assert rows["verismo"]["p50_ms"] > rows["direct"]["p50_ms"]
    assert rows["verismo"]["p50_ms"] <= rows["verismo"]["p99_ms"]


@pytest.mark.external("nginx")
def test_every_paced_verification_is_answered_and_valid(tmp_path):
    document = result_of("verify", tmp_path)
    rows = {row["name"]: row for row in document["rows"]}
    assert rows.keys() == {"api", "ed25519-only", "offline", "offline-with-graph"}
    assert [row for row in rows.values() if "flag" in row] == []
    assert rows["api"]["requests"] == document["rate_per_s"]
    assert rows["api"]["p50_ms"] <= rows["api"]["p95_ms"] <= rows["api"]["p99_ms"]
    assert rows["offline"]["requests_per_s"] > 0


@pytest.mark.external("nginx", "wrk")
def test_memory_is_read_twice_while_requests_go_on(tmp_path):
    document = result_of("memory", tmp_path)
    early, late = document["rows"]
    assert 100 <= early["requests"] < late["requests"]
    assert late["requests"] >= 200
    assert early["ratio"] == 1
    assert document["ratio"] == late["ratio"] > 0


@pytest.mark.external("nginx", "wrk")
def test_a_version_is_compared_with_itself(tmp_path):
    document = result_of("revisions", tmp_path, ".", ".", "--rounds", "1")
    base, same = document["rows"]
    assert base["of_base"] == 1
    assert same["of_base"] > 0
    assert base["loop_cpu_us"] > base["other_threads_cpu_us"] > 0


@pytest.mark.external("nginx", "wrk")
def test_the_hotspots_are_functions_with_their_shares(tmp_path):
    document = result_of("hotspots", tmp_path, "--top", "5")
    assert len(document["rows"]) == 5
    for row in document["rows"]:
        assert 0 <= row["own"] <= row["total"] <= 100
    assert document["loop_cpu_us"] > 0
    assert document["failed"] == 0


@pytest.mark.external("nginx")
def test_the_ledger_benchmark_measures_leaves_proofs_and_memory(tmp_path):
    document = result_of("ledger", tmp_path)
    for name in (
        *("durable_leaves_per_s", "proof_p99_s", "bytes_per_leaf"),
        *("integrator_rss_mb", "inclusion_p99_ms"),
    ):
        assert document[name] > 0, name
    integrated = [row for row in document["rows"] if row["name"] == "integrate"]
    assert sum(row["leaves"] for row in integrated) == 4_000
    assert all(row["cpu_us"] > 0 and row["rss_mb"] > 0 for row in integrated)
    small, large = (row for row in document["rows"] if row["name"].startswith("integrate in turn"))
    assert small["leaves"] == large["leaves"] > 0
    assert document["cpu_growth_pct"] == pytest.approx(
        (large["cpu_us"] / small["cpu_us"] - 1) * 100, abs=0.06
    )
    answered = [row for row in document["rows"] if row["name"] == "answer to proof"]
    assert [row["leaves"] for row in answered] == [document["rate_per_s"]]


@pytest.mark.external("nginx")
def test_every_paced_read_of_provenance_is_answered(tmp_path):
    document = result_of("provenance", tmp_path)
    rows = {row["name"]: row for row in document["rows"]}
    assert rows.keys() >= {"read, 500 stored", "verify", "record a hop"}
    assert [row for row in rows.values() if "flag" in row] == []
    for name in ("read, 500 stored", "verify"):
        assert rows[name]["requests"] == document["rate_per_s"]
        assert rows[name]["p50_ms"] <= rows[name]["p95_ms"] <= rows[name]["p99_ms"]
    assert rows["record a hop"]["cpu_us"] > 0
    if shutil.which("chromium") is not None:
        check_slow_streams(rows)


def check_slow_streams(rows):
    """Check that slow streams were read both ways, and not handed on whole at their end."""
    for way in ("plain", "verified"):
        name = f"50 events, 25/s, {way}"
        first, gap = rows[f"{name}: first event"], rows[f"{name}: longest gap"]
        assert first["requests"] == gap["requests"] > 0
        assert 0 < first["p50_ms"] <= first["p95_ms"]
        assert 0 < gap["p50_ms"] <= gap["p95_ms"]
        assert 1 < gap["deliveries"] <= 51


def test_the_canary_benchmark_gives_its_figures_with_bounds(tmp_path):
    document = result_of("canary", tmp_path)
    for name in ("false_hold", "false_promote", "hold_p95_plus20"):
        assert 0 <= document[name] <= 1
        assert 0 <= document[f"{name}_bound"] <= 1
    assert document["false_hold"] <= document["false_hold_bound"]
    assert document["hold_p95_plus20_bound"] <= document["hold_p95_plus20"]
    assert 1 <= document["median_minutes_p95_plus10"] <= 120
    assert document["look_ms_median"] > 0
    compared = [row for row in document["rows"] if "kayenta_like" in row]
    assert len(compared) == 6


def test_the_scaling_benchmark_breaks_no_gap_and_gives_its_ratios(tmp_path):
    if not (ROOT.parent / "shared" / "traces" / "adapt" / "servegen").is_dir():
        pytest.skip("the ServeGen rates are not there")
    document = result_of("scaling", tmp_path)
    assert document["gap_breaches"] == 0
    for name in ("violations_vs_hpa", "violations_vs_hpa_gap", "replica_hours_vs_hpa"):
        assert document[name] > 0
    mine = [row for row in document["rows"] if row["name"] == "guard"]
    assert len(document["rows"]) == 5 * len(mine)
    assert all(row["actions"] > 0 for row in mine)
