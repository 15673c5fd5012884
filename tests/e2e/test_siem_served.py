"""The export as operators run it: `verismo serve` with sinks, and `verismo siem` beside it."""

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest
from tests.support.collector import Collector
from tests.support.gateway import Setup
from tests.support.process import serving_process
from tests.support.waiting import until

from verismo.attest.parity import HOUR_MS, hour_of
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings

pytestmark = pytest.mark.slow

WAIT_S_MAX = 30.0


async def siem(folder: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "verismo", "siem", *arguments),
        *("--config", str(folder / "verismo.toml")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), WAIT_S_MAX)
    return process.returncode, out.decode()


def hours_now() -> tuple[str, str]:
    """Return the last hour and this one: the test may run across their border."""
    now_ms = time.time_ns() // 1_000_000
    return tuple(
        time.strftime("%Y-%m-%dT%H", time.gmtime((hour_of(now_ms) + n * HOUR_MS) / 1_000))
        for n in (-1, 0)
    )


async def parity(folder: Path, sink: str, *more: str) -> list[tuple[int, dict]]:
    found = []
    for hour in hours_now():
        code, out = await siem(folder, "parity", "--sink", sink, "--hour", hour, "--json", *more)
        found.append((code, json.loads(out)))
    return found


@pytest.fixture
async def collector():
    collector = Collector()
    await collector.start()
    yield collector
    await collector.stop()


async def test_served_answers_reach_every_sink_that_lives_and_prove_complete(tmp_path, collector):
    setup = Setup(
        more=(
            '\n[siem.sinks.disk]\nkind = "file"\n'
            f'[siem.sinks.http]\nkind = "http"\nurl = "{collector.url}"\n'
            f'query_url = "{collector.url}"\n'
            '[siem.sinks.dead]\nkind = "syslog"\naddress = "127.0.0.1:9"\ntimeout_ms = 200\n'
        ),
        edits={"# interval_ms = 1000": "interval_ms = 50"},
    )
    async with (
        running_upstream(SimulatorSettings()) as url,
        serving_process(tmp_path, url, setup) as serving,
    ):
        for number in range(5):
            assert (await serving.chat(f"Hello {number}")).status == 200
        events = serving.config.data / "siem" / "disk" / "events.ndjson"

        def uids(lines):
            return {json.loads(line)["metadata"]["uid"] for line in lines}

        served = {record.prov_id for record in serving.records()}
        await until(
            lambda: (
                events.exists()
                and served <= uids(events.read_bytes().splitlines())
                and served <= uids(collector.kept)
            ),
            WAIT_S_MAX,
        )
        for sink in ("disk", "http"):
            assert [code for code, _ in await parity(tmp_path, sink)] == [0, 0]

        async def is_settled():
            code, out = await siem(tmp_path, "status", "--json")
            rows = {row["sink"]: row for row in json.loads(out)}
            assert code == 0
            assert rows["dead"]["sent"] == 0
            return rows["disk"]["waiting"] == rows["http"]["waiting"] == 0

        await until(is_settled, WAIT_S_MAX)
    lines = events.read_bytes().splitlines(keepends=True)
    assert b"Hello" not in b"".join(lines)
    dropped = json.loads(lines.pop(2))["metadata"]["uid"]
    events.write_bytes(b"".join([*lines, lines[0]]))
    found = await parity(tmp_path, "disk")
    assert sorted(code for code, _ in found) in ([0, 1], [1, 1])
    missing = [one["uid"] for _, view in found for one in view["missing"]]
    assert missing == [dropped]
    assert sum(len(view["duplicate"]) for _, view in found) == 1
