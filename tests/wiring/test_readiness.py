"""The control process says which workers are down or not ready, and why, until they are again."""

import asyncio
import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from tests.support.gateway import Setup, running_gateway
from tests.support.waiting import until

from verismo.adapters import telemetry_exposition
from verismo.adapters.journal_file import Batch, commit_batch
from verismo.wiring.readiness import Readiness, readiness_path, serve_readiness


@pytest.fixture
def data():
    # Short, for a socket's path; pytest's own folders grow with the name of the test.
    folder = Path(tempfile.mkdtemp(prefix="ready"))
    yield folder
    shutil.rmtree(folder)


def watching(data: Path, *slots: str) -> Readiness:
    return Readiness(data, lambda: slots)


async def test_worker_that_is_not_there_is_down_without_any_look(data: Path):
    readiness = watching(data, "s0", "s1")
    assert readiness.unready() == ["worker s0 is down", "worker s1 is down"]
    await readiness.look()
    assert readiness.unready() == ["worker s0 is down", "worker s1 is down"]


async def test_reasons_of_each_worker_are_told_and_end_with_the_next_look(data: Path):
    readiness, reasons = watching(data, "s0", "s1"), {"s0": [], "s1": ["draining", "two\nlines"]}
    async with contextlib.AsyncExitStack() as closing:
        for slot in reasons:
            server = await serve_readiness(data, slot, lambda slot=slot: reasons[slot])
            closing.callback(server.close)
        await readiness.look()
        assert readiness.unready() == ["worker s1: draining", "worker s1: two lines"]
        assert await ready_of(readiness) == ['{slot="s0"} 1', '{slot="s1"} 0']
        reasons["s1"] = []
        await readiness.look()
        assert readiness.unready() == []
        assert await ready_of(readiness) == ['{slot="s0"} 1', '{slot="s1"} 1']
    assert await ready_of(readiness) == [], "what is down is told by verismo_worker_up"


async def ready_of(readiness: Readiness) -> list[str]:
    lines = "".join(await readiness.expose()).splitlines()
    return [one.removeprefix("verismo_worker_ready") for one in lines if not one.startswith("#")]


async def test_worker_that_went_away_is_down_whatever_it_said_last(data: Path):
    readiness = watching(data, "s0")
    server = await serve_readiness(data, "s0", lambda: ["draining"])
    await readiness.look()
    server.close()
    readiness_path(data, "s0").unlink()
    assert readiness.unready() == ["worker s0 is down"]


async def test_worker_that_hangs_is_not_taken_for_ready(
    data: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(telemetry_exposition, "READ_S_MAX", 0.05)
    path, over = readiness_path(data, "s0"), asyncio.Event()
    path.parent.mkdir()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_unix_server(hang, path)
    readiness = watching(data, "s0")
    await readiness.look()
    [reason] = readiness.unready()
    assert reason.startswith("worker s0: does not say whether it is ready")
    over.set()
    server.close()


class Disk:
    """A commit that fails while the disk is full."""

    def __init__(self) -> None:
        self.is_full = False

    def __call__(self, connection: sqlite3.Connection, batch: Batch) -> None:
        if self.is_full:
            raise sqlite3.OperationalError("database or disk is full")
        commit_batch(connection, batch)


@pytest.mark.slow
async def test_full_disk_of_a_worker_is_told_with_its_next_step_until_there_is_space(data: Path):
    disk = Disk()
    async with running_gateway(data, Setup(commit=disk)) as gateway:
        readiness = watching(gateway.config.data, "s0")
        await readiness.look()
        assert readiness.unready() == []
        disk.is_full = True
        assert (await gateway.chat()).status == 503
        await readiness.look()
        [reason] = readiness.unready()
        assert reason.startswith("worker s0: the newest commit of journal s0 failed: database or")
        assert "check the disk of the data folder" in reason
        disk.is_full = False

        async def is_ready() -> bool:
            await readiness.look()
            return readiness.unready() == []

        await until(is_ready, 10)
    assert watching(gateway.config.data, "s0").unready() == ["worker s0 is down"]
    assert not readiness_path(gateway.config.data, "s0").exists()
