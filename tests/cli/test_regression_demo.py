"""`verismo demo --scenario regression`: its folder, and the whole of it as a process."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from verismo.cli.regressionfolder import prepare_regression
from verismo.config.load import load_config

RUN_S_MAX = 280.0
HOOK = "http://127.0.0.1:20009/services/T0/B0/SIMULATED"


def prepared(folder: Path, control: int = 20_001, ports: tuple[int, int] = (20_002, 20_003)):
    return load_config(prepare_regression(folder, control, ports, HOOK))


def test_the_folder_has_a_route_with_a_candidate_and_short_windows(tmp_path):
    config = prepared(tmp_path)
    operation = next(one for one in config.plan.operations.values() if one.id == "support.rollout")
    assert (operation.deployments, operation.candidates) == (("stable",), ("next",))
    assert (config.adapt.window_s, config.canary.look_ms, config.control.port) == (1, 2_000, 20_001)
    assert config.slack.webhook is not None
    assert config.slack.webhook.reveal() == HOOK
    assert (tmp_path / "slack.url").stat().st_mode & 0o777 == 0o600


def test_the_next_start_has_its_own_ports_and_no_table_twice(tmp_path):
    prepared(tmp_path)
    config = prepared(tmp_path, 20_011, (20_012, 20_013))
    urls = {one.id: one.base_url for one in config.plan.providers.values()}
    assert (urls["stable"], urls["next"]) == (
        "http://127.0.0.1:20012/v1",
        "http://127.0.0.1:20013/v1",
    )
    assert config.control.port == 20_011


async def run(*command: str) -> tuple[int | None, str, str]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "verismo", *command, stdout=pipe, stderr=pipe
    )
    out, err = await asyncio.wait_for(process.communicate(), RUN_S_MAX)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.slow
@pytest.mark.timeout(RUN_S_MAX)
async def test_a_slower_candidate_is_held_and_rolled_back_on_the_record(tmp_path):
    data = tmp_path / "demo"
    command = ("--scenario", "regression", "--once", "--port", "0", "--data", str(data))
    code, out, err = await run("demo", *command)
    assert code == 0, out + err
    assert "Simulated are two providers" in out
    assert out.index("  HOLD  ") < out.index("  ROLLBACK  ")
    assert "weight 10 % -> 0 %" in out
    assert ": VERIFIED " in out
    assert " 0 mismatches" in out

    code, out, err = await run("audit", "--data", str(data / "var"), "--json")
    audited = json.loads(out)
    assert (code, audited["mismatches"]) == (0, 0), err
    assert audited["decisions"] > 10
