"""`verismo slo show`: burns from the windows that gateways wrote, none where they are missing."""

import json
import time

import pytest
from click.testing import CliRunner

from verismo.adapters.windows_sqlite import FILE_NAME, SqliteWindows
from verismo.cli.slo import slo
from verismo.model.window import Histogram, Window
from verismo.ports.windows import Interval

MINUTE_MS = 60_000
CONFIG = """\
[tenants.t1]
region = "eu"
purposes = ["support"]
[providers.up]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
[deployments.chat]
provider = "up"
model = "m"
region = "eu"
"""
SLO = '[slo.support]\noperation = "answer"\nlatency_ms = 2000\nerror_objective_ppm = 990000\n'
OPERATION = """\
[operations.answer]
kind = "chat"
purpose = "support"
deployments = ["chat"]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "verismo.toml").write_text(CONFIG + SLO)
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "main.rego").write_text("package verismo\n")
    (tmp_path / "operations").mkdir()
    (tmp_path / "operations" / "main.toml").write_text(OPERATION)
    (tmp_path / "var").mkdir()
    return tmp_path


@pytest.fixture
def run(folder):
    def run(*arguments):
        done = CliRunner().invoke(slo, ["show", "-c", str(folder / "verismo.toml"), *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def write(folder, minutes, errors):
    """Write the last minutes as one worker does; each has ten requests."""
    now_ms = time.time_ns() // 1_000_000
    begin_ms = now_ms - now_ms % MINUTE_MS - minutes * MINUTE_MS
    windows = SqliteWindows(folder / "var" / FILE_NAME)
    for start_ms in range(begin_ms, begin_ms + minutes * MINUTE_MS, 10_000):
        held = ()
        if start_ms % MINUTE_MS == 0:
            key = ("t1", "answer", "unsplit", "chat")
            latency = Histogram().add(1_000_000, 10 - errors)
            held = (Window(*key, start_ms, start_ms + 10_000, 10, errors, 0, 0, latency),)
        windows.write(Interval("s0", start_ms, start_ms + 10_000, held))
    windows.close()


def test_burns_and_alarms_are_shown(folder, run):
    write(folder, 45, errors=2)
    found = {one["objective"]: one for one in json.loads(run("--json"))}
    burns = {one["span"]: one["burn_milli"] for one in found["errors"]["burns"]}
    assert burns == {"5m": 20_000, "30m": 20_000, "1h": 20_000, "6h": None, "3d": None}
    assert found["errors"]["alarms"] == ["page at 14.4"]
    assert found["latency"]["alarms"] == []
    text = run()
    assert "20.00" in text
    assert "14.4 over 1h and 5m, 6 over 6h and 30m, 1 over 3d and 6h" in text


def test_a_span_of_which_too_little_was_seen_says_how_much_it_was(folder, run):
    write(folder, 45, errors=2)
    text = run()
    [row] = [one for one in text.splitlines() if " errors " in one]
    assert "  20.00  seen 12 %  seen 1 %  " in row
    assert "too little of a span was seen" in text


def test_without_windows_there_is_no_number(run):
    assert "seen 0 %" not in run(), "nothing was counted at all"
    found = json.loads(run("--json"))
    assert {burn["burn_milli"] for one in found for burn in one["burns"]} == {None}


def test_without_objectives_it_says_where_they_are_written(folder, run):
    (folder / "verismo.toml").write_text(CONFIG)
    assert "[slo.NAME]" in run()
