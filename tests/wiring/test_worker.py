"""A worker's life: what it recovers, how it ends, and what it does when a part of it fails."""

import asyncio
import json
import logging
import socket
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from tests.ports.journal_conformance import prov_id
from tests.support.answers import proof_problems
from tests.support.gateway import Gateway, Setup, chat_body, check_sequence, running_gateway
from tests.support.waiting import until

from verismo.adapters.journal_file import Batch, commit_batch
from verismo.adapters.journal_schema import read_streams
from verismo.adapters.journal_sqlite import SqliteJournal
from verismo.model.errors import StateError
from verismo.ports.journal import JournalFailed, OpenStream, Record
from verismo.wiring import worker as worker_module
from verismo.wiring.worker import Parts, Worker

pytestmark = pytest.mark.slow

SHORT_DRAIN = {"# drain_ms_max = 30000": "drain_ms_max = 1000"}
OBSERVED = chat_body("Hello", model="gpt-unregistered")


def journal_rows(data: Path, slot: str, table: str) -> int:
    with closing(sqlite3.connect(data / "journal" / f"{slot}.db")) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def statements(gateway: Gateway, slot: str = "s0") -> list[dict]:
    return [json.loads(record.statement) for record in gateway.records(slot)]


def ends(gateway: Gateway, slot: str = "s0") -> list[object]:
    """How each answer of a slot ended, as its graph's last node says."""
    graphs = [json.loads(record.graph)["nodes"] for record in gateway.records(slot)]
    return [nodes[-1]["attrs"].get("end") for nodes in graphs]


async def test_requests_that_the_drain_cuts_off_leave_their_records(tmp_path: Path):
    async with running_gateway(tmp_path, Setup(edits=SHORT_DRAIN)) as gateway:
        whole = asyncio.create_task(gateway.chat("[simulate: stall]"))
        stream = asyncio.create_task(gateway.chat("[simulate: stall=1]", stream=True))
        await until(lambda: journal_rows(gateway.config.data, "s0", "stream") == 1)
        await until(lambda: gateway.telemetry.now_in_flight == 2)
        gateway.worker.server.stop()
        await asyncio.wait({whole, stream}, timeout=10)
        await until(lambda: gateway.telemetry.now_in_flight == 0)
        assert stream.exception() is not None, "a stream that was cut off looks whole"
        assert (whole.result().status, whole.result().is_signed) == (500, False)
        await until(lambda: len(gateway.records()) == 2)
        assert ends(gateway) == ["gateway_stopped", "gateway_stopped"]
        assert journal_rows(gateway.config.data, "s0", "stream") == 0
        assert gateway.telemetry.withheld == {}


class Mistake:
    """A commit with a mistake of ours, once it is told to make it."""

    def __init__(self) -> None:
        self.is_due = False

    def __call__(self, connection: sqlite3.Connection, batch: Batch) -> None:
        if self.is_due:
            raise LookupError("a mistake of ours")
        commit_batch(connection, batch)


async def test_worker_whose_journal_writer_died_says_so_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(worker_module, "WATCH_S", 1.0)
    mistake = Mistake()

    async def run() -> None:
        async with running_gateway(tmp_path, Setup(commit=mistake, checked=False)) as gateway:
            data.append(gateway.config.data)
            assert (await gateway.send("GET", "/readyz", key=None)).status == 200
            mistake.is_due = True
            assert (await gateway.chat()).status == 503
            answered = await gateway.send("GET", "/readyz", key=None)
            assert answered.status == 503
            assert answered.json()["reasons"] == ["the journal is closed"]
            await until(lambda: gateway.worker.server.is_draining)

    data: list[Path] = []
    with pytest.raises(JournalFailed, match="writer of the journal has ended"):
        await run()
    [said] = [record for record in caplog.records if record.message == "the worker ends"]
    assert said.fields["loop"] == "watch"
    journal = SqliteJournal(data[0], "s0", refuse_void)
    await journal.close()


def refuse_observations(data: Path) -> None:
    with closing(sqlite3.connect(data / "state.db")) as state:
        state.execute(
            "CREATE TRIGGER full BEFORE INSERT ON observation "
            "BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )


def allow_observations(data: Path) -> None:
    with closing(sqlite3.connect(data / "state.db")) as state:
        state.execute("DROP TRIGGER full")


def observed(data: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(data / "state.db")) as state:
        return state.execute("SELECT name, count FROM observation ORDER BY name").fetchall()


async def test_observations_that_could_not_be_written_are_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(worker_module, "REPORT_S", 0.05)
    async with running_gateway(tmp_path) as gateway:
        data = gateway.config.data
        refuse_observations(data)

        def told() -> list[logging.LogRecord]:
            return [one for one in caplog.records if one.message == "kept the last good state"]

        await gateway.send("POST", "/v1/chat/completions", OBSERVED)
        await until(lambda: len(told()) == 1)
        await gateway.send("POST", "/v1/chat/completions", OBSERVED)
        assert observed(data) == []
        allow_observations(data)
        await until(lambda: observed(data) == [("gpt-unregistered", 2)])
        assert len(told()) == 1, "the log says it once"


async def test_everything_is_closed_although_one_closing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(worker_module, "REPORT_S", 60.0)
    journals: list[SqliteJournal] = []

    async def run() -> None:
        async with running_gateway(tmp_path) as gateway:
            journals.extend(gateway.journals)
            refuse_observations(gateway.config.data)
            await gateway.send("POST", "/v1/chat/completions", OBSERVED)

    with pytest.raises(StateError, match="no room"):
        await run()
    assert [journal.is_open() for journal in journals] == [False]


class Openings:
    """A commit that remembers the streams which were opened."""

    def __init__(self) -> None:
        self.rows: list[tuple] = []

    def __call__(self, connection: sqlite3.Connection, batch: Batch) -> None:
        commit_batch(connection, batch)
        self.rows += [stream for stream in read_streams(connection) if stream not in self.rows]


def refuse_void(first: int, last: int) -> Record:
    return pytest.fail(f"no number is missing, not even {first} to {last}")


async def lose(data: Path, slot: str, *streams: OpenStream) -> None:
    """Leave a slot's journal with open streams, as a worker that was killed does."""
    journal = SqliteJournal(data, slot, refuse_void)
    for stream in streams:
        await journal.open_stream(stream)
    await journal.close()


async def test_streams_of_a_slot_without_a_worker_are_closed_under_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    openings = Openings()
    async with running_gateway(tmp_path, Setup(commit=openings)) as gateway:
        for _ in range(2):
            await gateway.chat(stream=True)
        assert len(openings.rows) == 2
    data = gateway.config.data
    first, last = openings.rows
    damaged = msgspec.structs.replace(first, prov_id=prov_id(7), context=b"\x81\xa1")
    await lose(data, "s3", first, damaged, last)
    async with running_gateway(tmp_path) as gateway:
        records = gateway.records("s3")
        assert [record.prov_id for record in records] == [first.prov_id, last.prov_id]
        assert [one["res"]["fin"] for one in statements(gateway, "s3")] == [False, False]
        assert [one["seq"] for one in statements(gateway, "s3")] == [
            {"signer": "s3", "n": 1},
            {"signer": "s3", "n": 2},
        ]
        assert ends(gateway, "s3") == ["gateway_lost", "gateway_lost"]
        check_sequence(records, gateway.public)
        assert not any(proof_problems(record, gateway.public) for record in records)
        assert journal_rows(data, "s3", "stream") == 1
    [said] = [record for record in caplog.records if record.message == "could not recover"]
    assert prov_id(7) in said.fields["error"]
    assert "Keep the journal file" in said.fields["next"]


async def test_slot_that_another_process_owns_is_left_alone_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async with running_gateway(tmp_path) as gateway:
        data = gateway.config.data
    other = SqliteJournal(data, "s1", refuse_void)
    async with running_gateway(tmp_path) as gateway:
        assert (await gateway.chat()).status == 200
    await other.close()
    [said] = [record for record in caplog.records if record.message == "could not recover"]
    assert "journal slot s1 is owned" in said.fields["error"]


async def test_new_key_changes_nothing_else_of_what_is_in_force(tmp_path: Path):
    async with running_gateway(tmp_path) as gateway:
        cell = gateway.worker._snapshot
        before = cell.current
        key_id, key = gateway.add_key("TENANT_001")
        await until(lambda: cell.current is not before)
        after = cell.current
        assert key_id in after.keys
        assert after.version > before.version
        assert after.tenants is before.tenants
        assert (after.plan, after.digest) == (before.plan, before.digest)
        assert (await gateway.chat(key=key)).status == 200


def is_listening(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


async def test_worker_listens_after_recovery_and_takes_its_socket_away_at_the_end(tmp_path: Path):
    async with running_gateway(tmp_path) as gateway:
        config = gateway.config
    listened: dict[str, bool] = {}
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = listener.getsockname()

        class Journal(SqliteJournal):
            def lost_streams(self):
                listened["while it recovers"] = is_listening(address)
                return super().lost_streams()

        def ready() -> None:
            listened["when it is ready"] = is_listening(address)
            worker.server.stop()

        worker = Worker(config, 0, Parts(journal=Journal))
        metrics = config.data / "run" / "s0.sock"
        running = asyncio.create_task(worker.run(listener, ready))
        await until(metrics.exists)
        await asyncio.wait_for(running, 10)
    assert listened == {"while it recovers": False, "when it is ready": True}
    assert not metrics.exists()
