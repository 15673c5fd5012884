"""The SQLite journal: the port's conformance, and what only its files can do."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.ports.journal_conformance import (
    JournalConformance,
    answer,
    check_sequence,
    prov_id,
    void,
)

from verismo.adapters.journal_file import Batch, commit_batch
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.journal_slot import BACKUP_MANIFEST, next_slot_name, slot_files
from verismo.adapters.journal_sqlite import JournalLimits, SqliteJournal
from verismo.model.errors import StateError
from verismo.ports.journal import JournalFailed

CHILD = "tests.adapters.journal_child"
ROOT = Path(__file__).parents[2]


class SqliteStorage:
    slot = "s0"

    def __init__(self, data: Path) -> None:
        self.data = data

    def open(self) -> SqliteJournal:
        return SqliteJournal(self.data, self.slot, void)

    def reader(self) -> SqliteJournalReader:
        return SqliteJournalReader(self.data)


class TestSqliteJournal(JournalConformance):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> SqliteStorage:
        return SqliteStorage(tmp_path)


class Recorder:
    """The real commit; keeps what each batch held."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def __call__(self, connection: sqlite3.Connection, batch: Batch) -> None:
        self.batches.append(batch)
        commit_batch(connection, batch)


async def test_callers_of_one_turn_share_one_commit(tmp_path: Path):
    recorder = Recorder()
    journal = SqliteJournal(tmp_path, "s0", void, commit=recorder)
    await asyncio.gather(*[journal.append(answer(n)) for n in range(1, 65)])
    assert [len(batch.records) for batch in recorder.batches] == [64]
    await journal.close()


async def in_turns(journal: SqliteJournal, turns: int) -> None:
    """Append one record in each of some turns of the loop."""

    async def append_in(turn: int) -> None:
        for _ in range(turn):
            await asyncio.sleep(0)
        await journal.append(answer(turn))

    # The last one first: so each record is there when the journal looks in its turn.
    await asyncio.gather(*[append_in(turn) for turn in range(turns, 0, -1)])


async def test_batch_waits_while_each_turn_of_the_loop_brings_a_record(tmp_path: Path):
    recorder = Recorder()
    journal = SqliteJournal(tmp_path, "s0", void, commit=recorder)
    await in_turns(journal, 6)
    assert [len(batch.records) for batch in recorder.batches] == [6]
    await journal.close()


async def test_batch_waits_no_more_turns_than_it_may(tmp_path: Path):
    recorder = Recorder()
    limits = JournalLimits(turns_max=3)
    journal = SqliteJournal(tmp_path, "s0", void, limits=limits, commit=recorder)
    await in_turns(journal, 30)
    assert len(recorder.batches[0].records) == 2 + limits.turns_max
    assert sum(len(batch.records) for batch in recorder.batches) == 30
    await journal.close()


async def test_batch_is_bounded_by_rows(tmp_path: Path):
    recorder = Recorder()
    limits = JournalLimits(rows_max=10)
    journal = SqliteJournal(tmp_path, "s0", void, limits=limits, commit=recorder)
    await asyncio.gather(*[journal.append(answer(n)) for n in range(1, 36)])
    assert [len(batch.records) for batch in recorder.batches] == [10, 10, 10, 5]
    await journal.close()


async def test_batch_is_bounded_by_bytes_and_a_large_record_goes_alone(tmp_path: Path):
    recorder = Recorder()
    limits = JournalLimits(bytes_max=10_000)
    journal = SqliteJournal(tmp_path, "s0", void, limits=limits, commit=recorder)
    sizes = [4_000, 4_000, 4_000, 50_000, 4_000]
    appends = [journal.append(answer(n, size_bytes=s)) for n, s in enumerate(sizes, start=1)]
    await asyncio.gather(*appends)
    assert [len(batch.records) for batch in recorder.batches] == [2, 1, 1, 1]
    await journal.close()


async def test_more_than_may_wait_fails_closed_and_leaves_a_recorded_gap(tmp_path: Path):
    limits = JournalLimits(waiting_bytes_max=10_000)
    journal = SqliteJournal(tmp_path, "s0", void, limits=limits)
    appends = [journal.append(answer(n, size_bytes=4_000)) for n in (1, 2, 3, 4)]
    results = await asyncio.gather(*appends, return_exceptions=True)
    assert results[:2] == [None, None]
    assert all(isinstance(result, JournalFailed) for result in results[2:])
    await journal.append(answer(5))
    records = SqliteJournalReader(tmp_path).scan("s0", 0, 10)
    check_sequence(records)
    assert [(r.kind, r.seq_n) for r in records][2:] == [("void", 4), ("answer", 5)]
    await journal.close()


async def test_file_is_written_with_full_synchronous_and_a_log(tmp_path: Path):
    seen: list[tuple[str, int, int]] = []

    def look(connection: sqlite3.Connection, batch: Batch) -> None:
        pragmas = ("journal_mode", "synchronous", "user_version")
        values = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
        seen.append((values[0], values[1], values[2]))
        commit_batch(connection, batch)

    journal = SqliteJournal(tmp_path, "s0", void, commit=look)
    await journal.append(answer(1))
    await journal.close()
    assert seen == [("wal", 2, 1)]


async def test_second_owner_is_told_the_pid(tmp_path: Path):
    journal = SqliteJournal(tmp_path, "s0", void)
    with pytest.raises(StateError, match=f"pid {os.getpid()}"):
        SqliteJournal(tmp_path, "s0", void)
    other = SqliteJournal(tmp_path, "s1", void)
    await other.close()
    await journal.close()


@pytest.mark.parametrize("slot", ["", "../s0", "s0.db", "S0", "s-0", "s" * 33])
def test_slot_name_cannot_leave_the_journal_folder(tmp_path: Path, slot: str):
    with pytest.raises(StateError):
        SqliteJournal(tmp_path, slot, void)
    assert not list(tmp_path.rglob("*.db"))


async def test_newer_version_is_refused_by_writer_and_reader_and_left_as_it_is(tmp_path: Path):
    await SqliteJournal(tmp_path, "s0", void).close()
    path = tmp_path / "journal" / "s0.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match="version 2") as refused:
        SqliteJournal(tmp_path, "s0", void)
    assert "newer" in refused.value.advice
    with pytest.raises(StateError, match="version 2"):
        SqliteJournalReader(tmp_path).scan("s0", 0, 1)
    assert path.read_bytes() == before


async def test_file_that_is_no_journal_is_refused_and_its_slot_given_up(tmp_path: Path):
    (tmp_path / "journal").mkdir()
    path = tmp_path / "journal" / "s0.db"
    path.write_bytes(b"not a database" * 1_000)
    for _ in range(2):
        with pytest.raises(StateError, match="cannot be opened"):
            SqliteJournal(tmp_path, "s0", void)
    with pytest.raises(StateError, match="cannot be read"):
        SqliteJournalReader(tmp_path).scan("s0", 0, 1)
    path.unlink()
    await SqliteJournal(tmp_path, "s0", void).close()


@pytest.mark.parametrize("name", ["journal", "journal/s0.db", "journal/s0.lock"])
def test_folder_that_cannot_be_used_is_refused(tmp_path: Path, name: str):
    if name == "journal":
        (tmp_path / name).touch()
        with pytest.raises(StateError, match="cannot be read"):
            SqliteJournalReader(tmp_path).slots()
    else:
        (tmp_path / name).mkdir(parents=True)
    for _ in range(2):
        with pytest.raises(StateError, match="cannot be"):
            SqliteJournal(tmp_path, "s0", void)


async def test_slot_with_two_files_is_refused(tmp_path: Path):
    await SqliteJournal(tmp_path, "s0", void).close()
    (tmp_path / "journal" / "s0-until-0.db").touch()
    with pytest.raises(StateError, match="two journal files"):
        SqliteJournal(tmp_path, "s0", void)
    with pytest.raises(StateError, match="two journal files"):
        SqliteJournalReader(tmp_path).slots()


async def test_folder_that_is_a_backup_is_not_written_to(tmp_path: Path):
    (tmp_path / BACKUP_MANIFEST).write_text("{}")
    with pytest.raises(StateError, match="backup"):
        SqliteJournal(tmp_path, "s0", void)


async def test_file_without_tables_holds_nothing_yet(tmp_path: Path):
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "s0.db").touch()
    reader = SqliteJournalReader(tmp_path)
    assert reader.find(prov_id(1)) is None
    journal = SqliteJournal(tmp_path, "s0", void)
    await journal.append(answer(1))
    assert reader.find(prov_id(1)) == answer(1)
    await journal.close()


async def test_record_can_be_neither_changed_nor_its_sequence_cut_back(tmp_path: Path):
    journal = SqliteJournal(tmp_path, "s0", void)
    await asyncio.gather(*[journal.append(answer(n)) for n in (1, 2, 3)])
    await journal.close()
    connection = sqlite3.connect(tmp_path / "journal" / "s0.db", isolation_level=None)
    with pytest.raises(sqlite3.IntegrityError, match="never changed"):
        connection.execute("UPDATE record SET tenant = 'x' WHERE seq_n = 1")
    with pytest.raises(sqlite3.IntegrityError, match="keeps the sequence"):
        connection.execute("DELETE FROM record WHERE seq_n = 3")
    connection.execute("DELETE FROM record WHERE seq_n = 1")
    connection.close()


async def test_log_stays_bounded(tmp_path: Path):
    journal = SqliteJournal(tmp_path, "s0", void)
    largest = 0
    for start in range(1, 801, 100):
        numbers = range(start, start + 100)
        await asyncio.gather(*[journal.append(answer(n, size_bytes=20_000)) for n in numbers])
        largest = max(largest, (tmp_path / "journal" / "s0.db-wal").stat().st_size)
    written = (tmp_path / "journal" / "s0.db").stat().st_size
    assert written > 12_000_000
    assert largest < 8_000_000
    await journal.close()


async def test_log_that_grew_under_a_reader_is_cut_back(tmp_path: Path):
    journal = SqliteJournal(tmp_path, "s0", void)
    await journal.append(answer(1))
    connection = sqlite3.connect(tmp_path / "journal" / "s0.db", isolation_level=None)
    connection.execute("BEGIN")
    connection.execute("SELECT COUNT(*) FROM record").fetchone()
    log = tmp_path / "journal" / "s0.db-wal"
    number = 1
    while log.stat().st_size < 20_000_000:
        numbers = range(number + 1, number + 51)
        await asyncio.gather(*[journal.append(answer(n, size_bytes=20_000)) for n in numbers])
        number += 50
    connection.execute("COMMIT")
    connection.close()
    for _ in range(3):
        number += 1
        await journal.append(answer(number, size_bytes=20_000))
    assert log.stat().st_size <= 16_777_216
    await journal.close()


async def test_reader_uses_its_index_for_an_answer_and_for_costs(tmp_path: Path):
    journal = SqliteJournal(tmp_path, "s0", void)
    await journal.append(answer(1))
    await journal.close()
    connection = sqlite3.connect(tmp_path / "journal" / "s0.db")
    plan = "EXPLAIN QUERY PLAN SELECT"
    by_id = connection.execute(f"{plan} graph FROM record WHERE prov_id = x'00'").fetchall()
    by_cost = connection.execute(
        f"{plan} tenant, SUM(cost_usd_micros) FROM record "
        "WHERE written_ms >= 1 AND cost_usd_micros > 0 GROUP BY tenant"
    ).fetchall()
    connection.close()
    assert "record_by_prov_id" in by_id[0][3]
    assert "COVERING INDEX record_by_cost" in by_cost[0][3]


async def test_reader_follows_slots_that_appear_later(tmp_path: Path):
    reader = SqliteJournalReader(tmp_path)
    journals = []
    for index in range(3):
        journal = SqliteJournal(tmp_path, next_slot_name(tmp_path, index), void)
        await journal.append(answer(index + 1, cost=1))
        journals.append(journal)
        assert list(reader.slots()) == [f"s{i}" for i in range(index + 1)]
        assert reader.find(prov_id(index + 1)) == answer(index + 1, cost=1)
    assert reader.spent_by_slot(0) == {f"s{i}": {"TENANT_001": 1} for i in range(3)}
    for journal in journals:
        await journal.close()


async def test_reader_serves_many_threads(tmp_path: Path):
    journal, reader = SqliteJournal(tmp_path, "s0", void), SqliteJournalReader(tmp_path)
    await asyncio.gather(*[journal.append(answer(n)) for n in range(1, 101)])
    finds = [asyncio.to_thread(reader.find, prov_id(n)) for n in range(1, 101)]
    assert await asyncio.gather(*finds) == [answer(n) for n in range(1, 101)]
    reader.close()
    assert reader.find(prov_id(1)) == answer(1)
    await journal.close()


@pytest.mark.slow
async def test_reader_sees_each_acknowledged_record_of_another_process(tmp_path: Path):
    reader = SqliteJournalReader(tmp_path)
    with start_child(tmp_path, appends_max=100) as child:
        for line in child.stdout:
            number = int(line)
            assert reader.scan("s0", number - 1, 1)[0].seq_n == number
        assert child.wait(10) == 0


@pytest.mark.slow
@pytest.mark.parametrize("is_clean", [True, False])
async def test_reader_reads_a_journal_that_nobody_owns(tmp_path: Path, is_clean: bool):
    with start_child(tmp_path, appends_max=50) as child:
        acknowledged = [int(child.stdout.readline()) for _ in range(20)]
        if not is_clean:
            child.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in child.stdout if line.endswith("\n")]
        child.wait(10)
    records = SqliteJournalReader(tmp_path).scan("s0", 0, 1_000)
    assert {record.seq_n for record in records} >= set(acknowledged)


async def test_journal_of_a_closed_loop_gives_its_slot_up(tmp_path: Path):
    def leave() -> None:
        loop = asyncio.new_event_loop()
        started, proceed = threading.Event(), threading.Event()

        def slow(connection: sqlite3.Connection, batch: Batch) -> None:
            started.set()
            assert proceed.wait(10)
            commit_batch(connection, batch)

        journal = SqliteJournal(tmp_path, "s0", void, commit=slow)
        append = loop.create_task(journal.append(answer(1)))
        loop.run_until_complete(asyncio.wait_for(asyncio.to_thread(started.wait, 10), 10))
        append.cancel()
        loop.run_until_complete(asyncio.gather(append, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        proceed.set()

    await asyncio.to_thread(leave)
    journal = await open_when_free(tmp_path)
    assert journal.last_seq() == 1
    await journal.append(answer(2))
    await journal.close()
    check_sequence(SqliteJournalReader(tmp_path).scan("s0", 0, 10))


async def open_when_free(data: Path) -> SqliteJournal:
    deadline = time.monotonic() + 10
    while True:
        try:
            return SqliteJournal(data, "s0", void)
        except StateError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)


def start_child(data: Path, appends_max: int, callers: int = 8) -> "subprocess.Popen[str]":
    """Append in another process; it prints each number after it was acknowledged."""
    return subprocess.Popen(
        [sys.executable, "-m", CHILD, str(data), str(callers), str(appends_max)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.slow
def test_kill_under_load_loses_no_acknowledged_record_and_forks_nothing(tmp_path: Path):
    chance = random.Random(20_26)
    acknowledged: set[int] = set()
    deadline, rounds = time.monotonic() + 10, 0
    while rounds < 25 and (time.monotonic() < deadline or rounds < 5):
        rounds += 1
        before = len(acknowledged)
        kill_after = chance.randrange(1, 600)
        with start_child(
            tmp_path, appends_max=1_000_000, callers=chance.choice([1, 8, 48])
        ) as child:
            for line in child.stdout:
                if not line.endswith("\n"):
                    break
                assert int(line) not in acknowledged
                acknowledged.add(int(line))
                if len(acknowledged) - before == kill_after:
                    child.send_signal(signal.SIGKILL)
            assert child.wait(10) == -signal.SIGKILL
        records = read_all(tmp_path)
        assert acknowledged <= {record.seq_n for record in records if record.kind == "answer"}
        check_sequence(records)
        connection = sqlite3.connect(tmp_path / "journal" / "s0.db")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
    print(f"{rounds} kills, {len(acknowledged)} acknowledged records")
    assert len(acknowledged) > rounds
    assert slot_files(tmp_path).keys() == {"s0"}


def read_all(data: Path):
    reader, records = SqliteJournalReader(data), []
    while batch := reader.scan("s0", records[-1].seq_n if records else 0, 10_000):
        records += batch
    reader.close()
    return records
