"""The journal under faults, in pairs: failed and not stored, failed but stored.

The doubles wrap the real commit, so that what the file holds after a fault is what SQLite left.
"""

import asyncio
import errno
import random
import resource
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.ports.journal_conformance import answer, check_sequence, prov_id, stream, void
from tests.support.waiting import until

from verismo.adapters.journal_file import Batch, Commit, JournalFile, Outcome, commit_batch
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.journal_schema import record_row
from verismo.adapters.journal_sqlite import JournalLimits, SqliteJournal
from verismo.ports.journal import JournalFailed, Record
from verismo.ports.signer import SigningFailed


class Faults:
    """A commit that does what its script says, one step for each batch, and then the real thing."""

    def __init__(self, *script: Commit) -> None:
        self._script = list(script)

    def __call__(self, connection: sqlite3.Connection, batch: Batch) -> None:
        step = self._script.pop(0) if self._script else commit_batch
        step(connection, batch)


def fail_before_write(connection: sqlite3.Connection, batch: Batch) -> None:
    raise sqlite3.OperationalError("disk I/O error")


def fail_within_transaction(connection: sqlite3.Connection, batch: Batch) -> None:
    connection.execute("BEGIN IMMEDIATE")
    commit_within(connection, batch)
    raise OSError(errno.EIO, "fsync failed")


def commit_within(connection: sqlite3.Connection, batch: Batch) -> None:
    marks = ", ".join("?" * 10)
    connection.executemany(f"INSERT INTO record VALUES ({marks})", batch.records)


def fail_after_commit(connection: sqlite3.Connection, batch: Batch) -> None:
    commit_batch(connection, batch)
    raise OSError(errno.EIO, "the answer of fsync was lost")


def fill_the_disk(connection: sqlite3.Connection, batch: Batch) -> None:
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    commit_batch(connection, batch)


def run_out_of_memory(connection: sqlite3.Connection, batch: Batch) -> None:
    raise MemoryError


NOT_STORED = [fail_before_write, fail_within_transaction, fill_the_disk, run_out_of_memory]


def open_journal(data: Path, *script: Commit) -> SqliteJournal:
    return SqliteJournal(data, "s0", void, commit=Faults(*script))


def records_of(data: Path) -> list[Record]:
    reader = SqliteJournalReader(data)
    records = list(reader.scan("s0", 0, 10_000))
    reader.close()
    check_sequence(records)
    return records


def shape_of(data: Path) -> list[tuple[str, int]]:
    return [(record.kind, record.seq_n) for record in records_of(data)]


async def append_all(journal: SqliteJournal, numbers: range, size_bytes: int = 200) -> list:
    appends = [journal.append(answer(n, size_bytes=size_bytes)) for n in numbers]
    return await asyncio.gather(*appends, return_exceptions=True)


@pytest.mark.parametrize("fault", NOT_STORED)
async def test_failed_and_not_stored_leaves_a_recorded_gap(tmp_path: Path, fault: Commit):
    journal = open_journal(tmp_path, commit_batch, fault)
    await journal.append(answer(1))
    results = await append_all(journal, range(2, 5), size_bytes=20_000)
    assert [type(result) for result in results] == [JournalFailed] * 3
    assert journal.last_seq() == 1
    await journal.append(answer(5))
    assert journal.last_seq() == 5
    await journal.close()
    assert shape_of(tmp_path) == [("answer", 1), ("void", 4), ("answer", 5)]


async def test_failed_but_stored_leaves_no_gap_and_no_number_twice(tmp_path: Path):
    journal = open_journal(tmp_path, commit_batch, fail_after_commit)
    await journal.append(answer(1))
    results = await append_all(journal, range(2, 5))
    assert [type(result) for result in results] == [JournalFailed] * 3
    await journal.append(answer(5))
    await journal.close()
    assert shape_of(tmp_path) == [("answer", n) for n in range(1, 6)]


@pytest.mark.parametrize("fault", [*NOT_STORED, fail_after_commit])
async def test_restart_after_a_failed_commit_goes_on_from_the_file(tmp_path: Path, fault: Commit):
    journal = open_journal(tmp_path, commit_batch, fault)
    await journal.append(answer(1))
    await append_all(journal, range(2, 5), size_bytes=20_000)
    await journal.close()
    journal = open_journal(tmp_path)
    stored = 4 if fault is fail_after_commit else 1
    assert journal.last_seq() == stored
    await journal.append(answer(stored + 1))
    await journal.close()
    assert [seq_n for _, seq_n in shape_of(tmp_path)] == list(range(1, stored + 2))


async def test_failed_commit_names_its_cause(tmp_path: Path):
    journal = open_journal(tmp_path, fail_before_write)
    with pytest.raises(JournalFailed, match="disk I/O error") as failed:
        await journal.append(answer(1))
    assert isinstance(failed.value.__cause__, sqlite3.OperationalError)
    await journal.close()


async def test_batch_with_a_void_that_fails_is_followed_by_a_longer_void(tmp_path: Path):
    journal = open_journal(tmp_path, fail_before_write, fail_before_write, fail_after_commit)
    for seq_n in (1, 2, 3):
        with pytest.raises(JournalFailed):
            await journal.append(answer(seq_n))
    await journal.append(answer(4))
    await journal.close()
    # The third failed but was stored, and with it the void for the first two.
    assert shape_of(tmp_path) == [("void", 2), ("answer", 3), ("answer", 4)]


async def test_callers_that_waited_during_a_failed_commit_are_stored(tmp_path: Path):
    gate = Gate(fail_before_write)
    journal = open_journal(tmp_path, gate)
    first = asyncio.create_task(journal.append(answer(1)))
    await gate.reached()
    later = [asyncio.create_task(journal.append(answer(n))) for n in range(2, 300)]
    await asyncio.sleep(0)
    gate.proceed.set()
    with pytest.raises(JournalFailed):
        await first
    await asyncio.gather(*later)
    await journal.close()
    assert shape_of(tmp_path)[:2] == [("void", 1), ("answer", 2)]
    assert len(shape_of(tmp_path)) == 299


class Gate:
    """A commit that stops until it may proceed: a slow disk that the test owns."""

    def __init__(self, then: Commit = commit_batch) -> None:
        self._then = then
        self._reached = threading.Event()
        self.proceed = threading.Event()

    def __call__(self, connection: sqlite3.Connection, batch: Batch) -> None:
        self._reached.set()
        assert self.proceed.wait(10)
        self._then(connection, batch)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 10)


async def test_cancelling_callers_of_a_slow_commit_harms_no_other(tmp_path: Path):
    gate = Gate()
    journal = open_journal(tmp_path, gate)
    appends = [asyncio.create_task(journal.append(answer(n))) for n in range(1, 11)]
    await gate.reached()
    for append in appends[:5]:
        append.cancel()
    results = await asyncio.wait_for(asyncio.gather(*appends[:5], return_exceptions=True), 10)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 5
    gate.proceed.set()
    assert await asyncio.gather(*appends[5:]) == [None] * 5
    await journal.close()
    assert shape_of(tmp_path) == [("answer", n) for n in range(1, 11)]


async def test_cancelled_close_still_releases_the_slot(tmp_path: Path):
    gate = Gate()
    journal = open_journal(tmp_path, gate)
    append = asyncio.create_task(journal.append(answer(1)))
    await gate.reached()
    closing = asyncio.create_task(journal.close())
    await asyncio.sleep(0)
    closing.cancel()
    gate.proceed.set()
    await append
    await journal.close()
    await open_journal(tmp_path).close()


async def test_signer_that_fails_stores_nothing_until_the_gap_can_be_signed(tmp_path: Path):
    down = [True]

    def sign_void(first: int, last: int) -> Record:
        if down[0]:
            raise SigningFailed("the key holder cannot be reached")
        return void(first, last)

    journal = SqliteJournal(tmp_path, "s0", sign_void, commit=Faults(fail_before_write))
    for seq_n in (1, 2, 3):
        with pytest.raises(JournalFailed):
            await journal.append(answer(seq_n))
    assert shape_of(tmp_path) == []
    down[0] = False
    await journal.append(answer(4))
    await journal.close()
    assert shape_of(tmp_path) == [("void", 3), ("answer", 4)]


@pytest.mark.parametrize("wrong", [void(1, 5), answer(2)])
async def test_void_for_other_numbers_is_not_stored(tmp_path: Path, wrong: Record):
    journal = SqliteJournal(tmp_path, "s0", lambda first, last: wrong)
    with pytest.raises(JournalFailed, match="asked for void"):
        await journal.append(answer(3))
    await journal.close()
    assert shape_of(tmp_path) == []


async def test_stream_stays_lost_if_its_record_was_not_stored(tmp_path: Path):
    journal = open_journal(tmp_path, commit_batch, fail_before_write)
    await journal.open_stream(stream(1))
    with pytest.raises(JournalFailed):
        await journal.append(answer(1))
    await journal.close()
    journal = open_journal(tmp_path)
    assert list(journal.lost_streams()) == [stream(1)]
    await journal.close()


async def test_stream_is_closed_if_its_record_failed_but_was_stored(tmp_path: Path):
    journal = open_journal(tmp_path, commit_batch, fail_after_commit)
    await journal.open_stream(stream(1))
    with pytest.raises(JournalFailed):
        await journal.append(answer(1))
    await journal.close()
    journal = open_journal(tmp_path)
    assert list(journal.lost_streams()) == []
    await journal.close()


async def test_opening_that_failed_but_was_stored_is_closed_by_its_record(tmp_path: Path):
    journal = open_journal(tmp_path, fail_after_commit)
    with pytest.raises(JournalFailed):
        await journal.open_stream(stream(1))
    await journal.append(answer(1))
    await journal.close()
    journal = open_journal(tmp_path)
    assert list(journal.lost_streams()) == []
    await journal.close()


async def test_full_disk_fails_closed_until_there_is_space(tmp_path: Path):
    journal = open_journal(tmp_path)
    await journal.append(answer(1))
    log = tmp_path / "journal" / "s0.db-wal"
    with FileSizeLimit(log.stat().st_size + 4_096):
        for seq_n in range(2, 6):
            with pytest.raises(JournalFailed):
                await journal.append(answer(seq_n, size_bytes=200_000))
    await journal.append(answer(6, size_bytes=200_000))
    await journal.close()
    assert shape_of(tmp_path) == [("answer", 1), ("void", 5), ("answer", 6)]


class FileSizeLimit:
    """The kernel refuses to let any file of this process grow over a size: a real write error."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes

    def __enter__(self) -> None:
        self._handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._size_bytes, self._before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)
        signal.signal(signal.SIGXFSZ, self._handler)


async def test_reader_that_holds_the_log_delays_the_answer_to_a_failed_commit(tmp_path: Path):
    # While it holds it, what is in the log cannot be written a second time, so nothing goes on.
    limits = JournalLimits(reader_wait_s_max=0.01)
    faults = Faults(commit_batch, fail_after_commit)
    journal = SqliteJournal(tmp_path, "s0", void, limits=limits, commit=faults)
    await journal.append(answer(1))
    reader = sqlite3.connect(tmp_path / "journal" / "s0.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM record").fetchone()
    with pytest.raises(JournalFailed, match="lost"):
        await journal.append(answer(2))
    with pytest.raises(JournalFailed, match="a reader holds the log"):
        await journal.append(answer(3))
    reader.execute("COMMIT")
    reader.close()
    await journal.append(answer(4))
    await journal.close()
    assert shape_of(tmp_path) == [("answer", 1), ("answer", 2), ("void", 3), ("answer", 4)]


class Disk:
    """A commit that fails while the disk is full, before or after it has stored the batch."""

    def __init__(self, fault: Commit) -> None:
        self.fault = fault
        self.is_full = False
        self.failed = 0

    def __call__(self, connection: sqlite3.Connection, batch: Batch) -> None:
        if self.is_full:
            self.failed += 1
            self.fault(connection, batch)
        commit_batch(connection, batch)


SOON = JournalLimits(trial_pause_s=0.001)
NEVER = JournalLimits(trial_pause_s=3_600)


@pytest.mark.parametrize("fault", [fail_before_write, fail_within_transaction, fail_after_commit])
async def test_failed_commit_is_told_until_a_trial_succeeds_without_any_record(
    tmp_path: Path, fault: Commit
):
    disk = Disk(fault)
    journal = SqliteJournal(tmp_path, "s0", void, limits=SOON, commit=disk)
    disk.is_full = True
    with pytest.raises(JournalFailed):
        await journal.append(answer(1))
    assert journal.failure()
    await until(lambda: disk.failed >= 3)
    assert journal.failure(), "trials that fail change nothing"
    disk.is_full = False
    await until(lambda: journal.failure() == "")
    await journal.append(answer(2))
    await journal.close()
    first = "answer" if fault is fail_after_commit else "void"
    assert shape_of(tmp_path) == [(first, 1), ("answer", 2)], "a trial leaves no record"


async def test_trying_out_tells_of_a_full_disk_before_the_first_record(tmp_path: Path):
    disk = Disk(fail_before_write)
    journal = SqliteJournal(tmp_path, "s0", void, limits=SOON, commit=disk)
    await journal.try_out()
    assert journal.failure() == ""
    disk.is_full = True
    await journal.try_out()
    assert journal.failure() == "disk I/O error"
    disk.is_full = False
    await until(lambda: journal.failure() == "")
    await journal.append(answer(1))
    await journal.close()
    assert shape_of(tmp_path) == [("answer", 1)], "nothing is left of what was tried out"


async def test_disk_that_does_not_answer_is_told_and_not_waited_for(tmp_path: Path):
    go_on = threading.Event()

    def held(connection: sqlite3.Connection, batch: Batch) -> None:
        assert go_on.wait(30)
        commit_batch(connection, batch)

    limits = JournalLimits(silent_s_max=0.05)
    journal = SqliteJournal(tmp_path, "s0", void, limits=limits, commit=held)
    await journal.try_out()
    await until(lambda: journal.failure().startswith("the disk has not answered for "))
    go_on.set()
    await until(lambda: journal.failure() == "")
    await journal.append(answer(1))
    await journal.close()


async def test_failed_opening_of_a_stream_is_told_as_well(tmp_path: Path):
    journal = SqliteJournal(tmp_path, "s0", void, limits=SOON, commit=Faults(fail_before_write))
    with pytest.raises(JournalFailed):
        await journal.open_stream(stream(1))
    assert journal.failure() == "disk I/O error"
    await until(lambda: journal.failure() == "")
    await journal.close()


async def test_next_record_that_is_stored_ends_the_failure_before_any_trial(tmp_path: Path):
    journal = SqliteJournal(tmp_path, "s0", void, limits=NEVER, commit=Faults(run_out_of_memory))
    with pytest.raises(JournalFailed):
        await journal.append(answer(1))
    assert journal.failure() == "MemoryError", "a cause without words is named by its type"
    await journal.append(answer(2))
    assert journal.failure() == ""
    await journal.close()


def test_trial_finds_a_full_disk_and_leaves_no_record(tmp_path: Path):
    file = JournalFile(tmp_path / "s0.db", commit_batch, 1.0)
    assert file.resolve(0).failure is None, "nothing is left in the log"
    trial = Batch(last_seq=0, records=[])
    with FileSizeLimit(1):
        # The kernel refuses each write behind the limit: a trial that wrote nothing would succeed.
        assert isinstance(file.commit(trial).failure, sqlite3.OperationalError)
    assert file.resolve(0).failure is None
    assert file.commit(trial).failure is None
    file.close()
    reopened = JournalFile(tmp_path / "s0.db", commit_batch, 1.0)
    assert reopened.last_seq == 0
    reopened.close()


async def test_file_that_cannot_be_asked_is_a_failure_until_it_can(tmp_path: Path):
    limits = JournalLimits(reader_wait_s_max=0.001, trial_pause_s=0.001)
    journal = SqliteJournal(tmp_path, "s0", void, limits=limits, commit=Faults(fail_after_commit))
    reader = sqlite3.connect(tmp_path / "journal" / "s0.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM record").fetchone()
    with pytest.raises(JournalFailed):
        await journal.append(answer(1))
    await until(lambda: "a reader holds the log" in journal.failure())
    reader.execute("COMMIT")
    reader.close()
    await until(lambda: journal.failure() == "")
    await journal.append(answer(2))
    await journal.close()
    assert shape_of(tmp_path) == [("answer", 1), ("answer", 2)]


async def test_records_that_come_during_a_trial_are_tried_and_not_failed_with_it(tmp_path: Path):
    began, go_on = threading.Event(), threading.Event()

    def held(connection: sqlite3.Connection, batch: Batch) -> None:
        began.set()
        assert go_on.wait(10)
        fail_before_write(connection, batch)

    commit = Faults(fail_before_write, held)
    journal = SqliteJournal(tmp_path, "s0", void, limits=SOON, commit=commit)
    with pytest.raises(JournalFailed):
        await journal.append(answer(1))
    assert await asyncio.to_thread(began.wait, 10)
    appended = asyncio.create_task(journal.append(answer(2)))
    await asyncio.sleep(0)
    go_on.set()
    await appended
    assert journal.failure() == ""
    await journal.close()
    assert shape_of(tmp_path) == [("void", 1), ("answer", 2)]


async def test_trial_comes_again_after_a_batch_in_its_place_whose_void_could_not_be_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    began, go_on = threading.Event(), threading.Event()
    ask = JournalFile.resolve

    def held(file: JournalFile, durable: int) -> Outcome:
        began.set()
        assert go_on.wait(10)
        return ask(file, durable)

    def no_void(first: int, last: int) -> Record:
        raise SigningFailed("the key holder cannot be reached")

    monkeypatch.setattr(JournalFile, "resolve", held)
    limits, commit = JournalLimits(trial_pause_s=0), Faults(fail_before_write)
    journal = SqliteJournal(tmp_path, "s0", no_void, limits=limits, commit=commit)
    with pytest.raises(JournalFailed):
        await journal.append(answer(1))
    assert await asyncio.to_thread(began.wait, 10), "the trial asks the file first"
    appended = asyncio.create_task(journal.append(answer(2)))
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(JournalFailed):
        await appended
    await until(lambda: journal.failure() == "")
    await journal.close()


@pytest.mark.parametrize("limits", [SOON, NEVER])
async def test_journal_closes_whether_a_trial_is_due_or_not(tmp_path: Path, limits: JournalLimits):
    disk = Disk(fail_before_write)
    disk.is_full = True
    journal = SqliteJournal(tmp_path, "s0", void, limits=limits, commit=disk)
    with pytest.raises(JournalFailed):
        await journal.append(answer(1))
    await asyncio.wait_for(journal.close(), 10)
    assert journal.failure()
    await open_journal(tmp_path).close()


def test_closed_file_stores_nothing(tmp_path: Path):
    file = JournalFile(tmp_path / "s0.db", commit_batch, 1.0)
    file.close()
    outcome = file.commit(Batch(last_seq=1, records=[record_row(answer(1))]))
    assert isinstance(outcome.failure, sqlite3.ProgrammingError)


async def test_journal_that_vanished_is_not_begun_anew(tmp_path: Path):
    journal = open_journal(tmp_path, commit_batch, fail_before_write)
    await journal.append(answer(1))
    with pytest.raises(JournalFailed):
        await journal.append(answer(2))
    for path in (tmp_path / "journal").glob("s0.db*"):
        path.unlink()
    for seq_n in (3, 4):
        with pytest.raises(JournalFailed, match="unable to open"):
            await journal.append(answer(seq_n))
    await journal.close()
    assert not (tmp_path / "journal" / "s0.db").exists()


async def test_journal_that_lost_acknowledged_records_is_not_written_on(tmp_path: Path):
    path = tmp_path / "journal" / "s0.db"
    early = open_journal(tmp_path)
    await early.append(answer(1))
    await early.close()
    copy = path.read_bytes()

    journal = open_journal(tmp_path, commit_batch, fail_before_write)
    await journal.append(answer(2))
    with pytest.raises(JournalFailed):
        await journal.append(answer(3))
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    path.write_bytes(copy)
    for seq_n in (4, 5):
        with pytest.raises(JournalFailed, match="ends with 1, not 2"):
            await journal.append(answer(seq_n))
    await journal.close()


@pytest.mark.parametrize(
    "impossible",
    [
        pytest.param({"cost_usd_micros": 2**63}, id="integer over 64 bits"),
        pytest.param({"tenant": "\ud800"}, id="text that is no Unicode"),
    ],
)
async def test_row_that_cannot_be_stored_fails_its_batch_and_nothing_after_it(
    tmp_path: Path, impossible: dict
):
    journal = open_journal(tmp_path)
    await journal.append(answer(1))
    with pytest.raises(JournalFailed):
        await journal.append(msgspec.structs.replace(answer(2), **impossible))
    await asyncio.wait_for(journal.append(answer(3)), 10)
    await journal.close()
    assert shape_of(tmp_path) == [("answer", 1), ("void", 2), ("answer", 3)]


async def test_writer_that_dies_fails_every_caller_and_releases_the_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    died: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: died.append(args.exc_value))

    def mistake(connection: sqlite3.Connection, batch: Batch) -> None:
        raise LookupError("a mistake of ours")

    journal = open_journal(tmp_path, mistake)
    results = await asyncio.wait_for(append_all(journal, range(1, 300)), 10)
    assert [type(result) for result in results] == [JournalFailed] * 299
    assert not journal.is_open()
    with pytest.raises(JournalFailed):
        await journal.append(answer(300))
    await asyncio.wait_for(journal.close(), 10)
    # The callers are told before the thread has come to its hook for what it died of.
    for thread in threading.enumerate():
        if thread.name == "verismo-journal":
            await asyncio.to_thread(thread.join, 10)
    assert [type(error) for error in died] == [LookupError]
    await open_journal(tmp_path).close()


async def test_void_maker_that_breaks_leaves_no_caller_waiting(tmp_path: Path):
    raised: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: raised.append(context["exception"]))

    def sign_void(first: int, last: int) -> Record:
        raise LookupError("a mistake of ours")

    journal = SqliteJournal(tmp_path, "s0", sign_void)
    results = await asyncio.wait_for(append_all(journal, range(2, 300)), 10)
    assert {type(result) for result in results} == {JournalFailed}
    assert {type(error) for error in raised} == {LookupError}
    await journal.close()


FAULTS: list[Callable[[sqlite3.Connection, Batch], None]] = [
    commit_batch,
    commit_batch,
    fail_before_write,
    fail_within_transaction,
    fail_after_commit,
]


@pytest.mark.parametrize("seed", range(12))
async def test_any_mix_of_faults_and_restarts_keeps_the_sequence(tmp_path: Path, seed: int):
    chance = random.Random(seed)
    acknowledged: set[int] = set()
    for _ in range(4):
        script = chance.choices(FAULTS, k=12)
        journal = open_journal(tmp_path, *script)
        seq_n = journal.last_seq()
        assert max(acknowledged, default=0) <= seq_n
        for _ in range(12):
            numbers = range(seq_n + 1, seq_n + 1 + chance.randrange(1, 6))
            seq_n = numbers[-1]
            results = await append_all(journal, numbers)
            acknowledged |= {n for n, r in zip(numbers, results, strict=True) if r is None}
        await journal.close()
    records = records_of(tmp_path)
    stored = {record.seq_n for record in records if record.kind == "answer"}
    assert acknowledged <= stored
    assert acknowledged
    reader = SqliteJournalReader(tmp_path)
    assert all(reader.find(prov_id(n)) == answer(n) for n in acknowledged)
    reader.close()
