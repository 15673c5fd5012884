"""Processes that die and end: nothing acknowledged is lost, no number is used twice."""

import asyncio
import json
import os
import re
import resource
import socket
from pathlib import Path
from time import monotonic

import httpx2
import pytest
from tests.support.answers import Answer
from tests.support.gateway import Setup
from tests.support.process import Serving, serving_process
from tests.support.waiting import until

from verismo.simulate.record import Record
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings

pytestmark = pytest.mark.slow

CALLERS = 8


class Load:
    """Callers that ask without a pause, half of them for streams, and keep what they got."""

    def __init__(self, serving: Serving, marker: str) -> None:
        self.serving = serving
        self.marker = marker
        self.whole: list[Answer] = []
        self.broken = 0
        self.heads: list[str] = []
        self.ends = False

    async def run(self) -> None:
        await asyncio.gather(*(self._call(number) for number in range(CALLERS)))

    async def _call(self, number: int) -> None:
        while not self.ends:
            try:
                if number % 2:
                    await self._stream()
                else:
                    self.whole.append(await self.serving.chat(self.marker))
            except httpx2.HTTPError:
                self.broken += 1
                await asyncio.sleep(0.02)

    async def _stream(self) -> None:
        answer = await self.serving.chat(f"{self.marker} [simulate: interval=3]", stream=True)
        self.whole.append(answer)


async def test_killed_worker_loses_nothing_acknowledged_and_forks_nothing(tmp_path: Path):
    marker = "marker" + os.urandom(8).hex()
    record = Record()
    async with (
        running_upstream(SimulatorSettings(), record) as url,
        serving_process(tmp_path, url, Setup()) as serving,
    ):
        load = Load(serving, marker)
        running = asyncio.create_task(load.run())
        for _ in range(2):
            answered = len(load.whole)
            await until(lambda done=answered: len(load.whole) >= done + 16, 20)
            pid = serving.kill_worker()
            await until(lambda dead=pid: is_restarted(serving, dead), 20)
        answered = len(load.whole)
        await until(lambda: len(load.whole) >= answered + 16, 20)
        load.ends = True
        await asyncio.wait_for(running, 20)
        assert await serving.terminate() == 0
        assert load.broken, "the kills were felt"
        check_acknowledged(serving, load.whole)
        check_lost_streams(serving)
    check_silence(tmp_path, marker)


def is_restarted(serving: Serving, dead: int) -> bool:
    """Say whether another process owns the slot by now."""
    text = (serving.config.data / "journal" / "s0.lock").read_text().strip()
    return text != "" and int(text) != dead


def check_acknowledged(serving: Serving, answers: list[Answer]) -> None:
    """Each answer that a client has verifies and is in the journal as it was signed."""
    records = {record.prov_id: record for record in serving.records()}
    for answer in answers:
        assert answer.status == 200, answer.body
        report = answer.report(serving.public)
        assert report.verdict == "VERIFIED", report
        kept = records[answer.prov_id]
        assert kept.seq_n == report.statement.seq.n
        if answer.is_signed:
            assert answer.headers["attest-signature"].encode() == kept.jws


def check_lost_streams(serving: Serving) -> None:
    """No stream is left open, and those that were lost say so in their terminal record."""
    ends = [
        json.loads(record.graph)["nodes"][-1]["attrs"].get("end")
        for record in serving.records()
        if b'"mode":"sse"' in record.statement
    ]
    assert "gateway_lost" in ends
    assert set(ends) <= {"complete", "gateway_lost", "client_gone"}


def check_silence(folder: Path, marker: str) -> None:
    """What was asked stands in no log and no file."""
    for path in folder.rglob("*"):
        if path.is_file():
            assert marker.encode() not in path.read_bytes(), path


async def test_worker_on_a_full_disk_is_unready_until_there_is_space_without_any_request(
    tmp_path: Path,
):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    async with (
        running_upstream(SimulatorSettings(), Record()) as url,
        serving_process(tmp_path, url, Setup(edits={"port = 0": f"port = {port}"})) as serving,
    ):

        async def readiness(url: str) -> httpx2.Response:
            return await serving.client.get(f"{url}/readyz")

        async def is_ready() -> bool:
            answers = [await readiness(one) for one in (serving.url, control)]
            return [answer.status_code for answer in answers] == [200, 200]

        async def is_told() -> bool:
            answer = await readiness(control)
            return answer.status_code == 503 and cause in answer.json()["reasons"][0]

        control = f"http://127.0.0.1:{port}"
        cause = "the newest commit of journal s0 failed"
        assert (await serving.chat("before")).status == 200
        await until(is_ready, 20)
        # The kernel refuses the worker every write behind the first byte of a file.
        pid = serving.worker_pid()
        unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, unlimited[1]))
        assert (await serving.chat("meanwhile")).status == 503
        unready = await readiness(serving.url)
        assert unready.status_code == 503
        assert cause in unready.json()["reasons"][0]
        await until(is_told, 20)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
        await until(is_ready, 20)
        assert serving.worker_pid() == pid, "the same process goes on"
        assert (await serving.chat("after")).status == 200
        assert await serving.terminate() == 0
        assert [record.kind for record in serving.records()] == ["answer", "void", "answer"]


async def test_sigterm_lets_answers_in_flight_end_and_exits_with_nought(tmp_path: Path):
    record = Record()
    async with (
        running_upstream(SimulatorSettings(), record) as url,
        serving_process(tmp_path, url, Setup()) as serving,
    ):
        asked = [
            asyncio.create_task(serving.chat("[simulate: slow=700]")),
            asyncio.create_task(serving.chat("[simulate: interval=60, tokens=12]", stream=True)),
        ]
        await record.wait_until(lambda seen: seen.in_flight == 2)
        assert await serving.terminate() == 0
        answers = await asyncio.gather(*asked)
        for answer in answers:
            assert answer.report(serving.public).verdict == "VERIFIED"
        assert len(serving.records()) == 2
        with pytest.raises(httpx2.HTTPError):
            await serving.chat("too late")


async def test_drain_that_takes_too_long_leaves_a_terminal_record(tmp_path: Path):
    record = Record()
    setup = Setup(edits={"# drain_ms_max = 30000": "drain_ms_max = 1000"})
    async with (
        running_upstream(SimulatorSettings(), record) as url,
        serving_process(tmp_path, url, setup) as serving,
    ):
        stalled = asyncio.create_task(serving.chat("[simulate: stall=2]", stream=True))
        await record.wait_until(lambda seen: seen.in_flight == 1)
        assert await serving.terminate() == 0
        with pytest.raises(httpx2.HTTPError):
            await stalled
        (only,) = serving.records()
        assert json.loads(only.statement)["res"]["fin"] is False


async def test_workers_share_a_rate_and_a_budget_and_each_signs_its_own_sequence(tmp_path: Path):
    """With a connection for each call the kernel spreads them; the sum keeps the limits."""
    rates = "rate = { requests_per_minute = 600, tokens_per_minute = 400000 }"
    setup = Setup(
        edits={
            rates: "rate = { requests_per_minute = 10 }",
            "budget_usd_per_day = 10\n": "budget_usd_per_day = 0.0008\n",
        }
    )
    async with (
        running_upstream(SimulatorSettings()) as url,
        serving_process(tmp_path, url, setup, workers=2) as serving,
    ):
        serving.client = httpx2.AsyncClient(
            verify=False, limits=httpx2.Limits(max_keepalive_connections=0)
        )
        began_s = monotonic()
        limited = [await serving.chat("Hello", key="TENANT_002") for _ in range(30)]
        statuses = [answer.status for answer in limited]
        assert statuses[:10] == [200] * 10, "no worker keeps a part for itself"
        assert statuses.count(200) <= 10 + (monotonic() - began_s) / 6
        assert 429 in statuses
        spending = [await serving.chat("Hello", max_tokens=500) for _ in range(30)]
        await serving.client.aclose()
        spent = sum(answer.statement.cost_usd_micros for answer in spending if answer.status == 200)
        assert {answer.status for answer in spending} == {200, 429}
        assert 0 < spent <= 800
        slots = {answer.statement.seq.signer for answer in (*limited, *spending)}
        assert slots == {"s0", "s1"}
        assert await serving.terminate() == 0
        total = sum(len(serving.records(slot)) for slot in slots)
        assert total == len(limited) + len(spending)
    logged = (tmp_path / "log").read_text()
    assert not re.search(r"Traceback|Exception", logged), logged
