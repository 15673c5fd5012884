"""The journal of one signer slot: a SQLite file with one writer thread (decisions 9, 10).

Group commit without a timer. `append` puts its record in a list and waits; once the writer is idle
and a turn of the event loop has brought no further record, or a few turns have passed, the whole
list is handed to it as one batch; while it works the next batch collects. A batch is one hand-over,
one transaction with its fsync, and one callback into the event loop, because handing over between
threads costs more than storing the rows. So under load batches are few, and a lone record never
waits for others.

After a failed commit the journal does not know what is in the file. It then asks the file, before
anything else is written, and writes one `void` record for the numbers that are missing. The same
function does this for every batch: a batch that follows on has no gap, so nothing is added.

A worker that is not ready gets no request whose commit could show that the disk takes writes again.
So while the newest commit failed and nothing waits, the journal commits a batch without rows from
time to time: a trial, on the same way as any batch. A worker that starts asks for one as well.

Signing a `void` happens on the event loop's thread, as all signing does.
"""

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from verismo.adapters import journal_schema as schema
from verismo.adapters.journal_file import Batch, Commit, JournalFile, Outcome, commit_batch
from verismo.adapters.journal_slot import SlotOwnership
from verismo.model.errors import StateError
from verismo.model.ids import ProvId
from verismo.ports.journal import JournalFailed, OpenStream, Record
from verismo.ports.signer import SigningFailed

ENTRY_BYTES = 200
"""What a record weighs in memory beside its blobs: the row, its integers, its future."""


class JournalLimits(msgspec.Struct, frozen=True):
    """Bounds of one batch, of what waits for the writer, and of one wait of the writer's.

    Args:
        rows_max: entries in a batch. From about 64 on a row costs no less in a larger batch, and
            the first would wait for the last.
        bytes_max: bytes of a batch; a single larger record is a batch of its own.
        turns_max: further turns of the loop that a batch may wait while each brings a record.
            They spare switches between the threads: at 16 connections 8 take about a tenth off a
            request, 16 take off no more.
        waiting_bytes_max: bytes that may wait; beyond it appends fail closed at once.
        reader_wait_s_max: after a failed commit, how long to wait for readers to leave the log.
        trial_pause_s: after a failed commit, how long until a trial if no record comes.
        silent_s_max: how long the disk may take for a commit before that is told as a failure.
    """

    rows_max: int = 128
    bytes_max: int = 4_194_304
    turns_max: int = 8
    waiting_bytes_max: int = 268_435_456
    reader_wait_s_max: float = 5.0
    trial_pause_s: float = 1.0
    silent_s_max: float = 10.0


SignVoid = Callable[[int, int], Record]
"""Makes the signed `void` record for the numbers from first to last; called on the loop's thread.
Raises SigningFailed: then nothing of the batch is stored."""


class SqliteJournal:
    """A `Journal` in `<data>/journal/<slot>.db`, owned from construction to `close`.

    Args:
        data: the data folder.
        slot: the slot's name; ask `next_slot_name` for it.
        sign_void: makes the signed record of a gap.
        limits: bounds of batches and waits.
        commit: the storage step.

    Raises:
        StateError: the slot is owned elsewhere or has ended, or the file cannot be used.
    """

    def __init__(
        self,
        data: Path,
        slot: str,
        sign_void: SignVoid,
        *,
        limits: JournalLimits | None = None,
        commit: Commit = commit_batch,
    ) -> None:
        self._sign_void = sign_void
        self._limits = limits or JournalLimits()
        self._ownership = SlotOwnership(data, slot)
        try:
            self._file = JournalFile(self._ownership.path, commit, self._limits.reader_wait_s_max)
        except StateError:
            self._ownership.release()
            raise
        self._lost = self._file.lost_streams
        self._open = {stream.prov_id for stream in self._lost}
        self._durable = self._file.last_seq
        self._accepted = self._durable
        self._is_known = True
        self._failure = ""
        self._is_trial_due = False
        self._trial: asyncio.TimerHandle | None = None
        self._is_asking = False
        self._is_busy = False
        self._handed_over_s = 0.0
        self._is_closing = False
        self._waiting: deque[_Entry] = deque()
        self._waiting_bytes = 0
        self._in_flight: Sequence[_Entry] = ()
        self._jobs: queue.SimpleQueue[Callable[[], Outcome] | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left: asyncio.Future[None] | None = None

    def last_seq(self) -> int:
        """Return the highest number known to be durable, voids included, 0 for none.

        After a failed commit it is the last one before it, until the file has been asked.
        """
        return self._durable

    async def append(self, record: Record) -> None:
        """Store one record durably; an open stream of the same `prov_id` is closed with it.

        A cancelled append may still be stored.

        Raises:
            JournalFailed: not known to be durable, or its number does not rise; fail closed.
        """
        if record.kind != "answer" or record.seq_n <= self._accepted:
            raise JournalFailed(
                f"{record.kind} {record.seq_n} cannot follow number {self._accepted}"
            )
        size = len(record.statement) + len(record.jws) + len(record.graph) + len(record.captured)
        try:
            entry = _Entry(record.prov_id, size + ENTRY_BYTES, record=schema.record_row(record))
        except ValueError as error:
            raise JournalFailed(f"{record.prov_id!r} is not a prov_id") from error
        await self._enqueue(entry, record.seq_n)

    async def open_stream(self, stream: OpenStream) -> None:
        """Store durably that a stream is about to start.

        Raises:
            JournalFailed: not known to be durable; fail closed.
        """
        size = len(stream.head) + len(stream.jws) + len(stream.context)
        try:
            entry = _Entry(stream.prov_id, size + ENTRY_BYTES, stream=schema.stream_row(stream))
        except ValueError as error:
            raise JournalFailed(f"{stream.prov_id!r} is not a prov_id") from error
        # Also if the commit fails: it may be stored, and then its record must close it.
        self._open.add(stream.prov_id)
        await self._enqueue(entry, self._accepted)

    async def try_out(self) -> None:
        """Commit nothing, to learn whether a commit would succeed; `failure` tells the outcome."""
        with contextlib.suppress(JournalFailed, TimeoutError):
            async with asyncio.timeout(self._limits.silent_s_max):
                await self._enqueue(_Entry(ProvId(""), ENTRY_BYTES), self._accepted)

    def lost_streams(self) -> Sequence[OpenStream]:
        """Return the streams that were open when the journal was last left, oldest first."""
        return self._lost

    def is_open(self) -> bool:
        """Say whether appends may still succeed: not once it is closed or its writer has ended."""
        return not self._is_closing

    def failure(self) -> str:
        """Return why the newest commit failed, empty while it did not; trials count as well."""
        if self._is_busy and self._loop is not None and not self._failure:
            silent_s = self._loop.time() - self._handed_over_s
            if silent_s >= self._limits.silent_s_max:
                return f"the disk has not answered for {silent_s:.0f} s"
        return self._failure

    async def close(self) -> None:
        """Store what waits, then release the file and its ownership; twice is allowed."""
        self._is_closing = True
        self._is_trial_due = False
        if self._trial is not None:
            self._trial.cancel()
        if self._left is None:
            self._file.close()
            self._ownership.release()
            return
        self._start_next()
        await asyncio.shield(self._left)

    def _enqueue(self, entry: "_Entry", accepted: int) -> "asyncio.Future[None]":
        if self._is_closing:
            raise JournalFailed("the journal is closed")
        if self._waiting_bytes + entry.size_bytes > self._limits.waiting_bytes_max:
            raise JournalFailed("the disk does not keep up: too many bytes wait for it")
        loop = self._loop or self._start_writer()
        self._accepted = accepted
        entry.waiter = loop.create_future()
        self._waiting.append(entry)
        self._waiting_bytes += entry.size_bytes
        if not self._is_busy and len(self._waiting) == 1:
            self._schedule()
        return entry.waiter

    def _schedule(self) -> None:
        # Not at once: who is ready in this turn of the loop joins the batch.
        if self._loop is not None:
            self._loop.call_soon(self._gather, len(self._waiting), self._limits.turns_max)

    def _gather(self, rows_before: int, turns_left: int) -> None:
        """Hand the next batch over once a turn of the loop has brought nothing more to it."""
        rows = len(self._waiting)
        if self._loop is not None and turns_left and rows_before < rows < self._limits.rows_max:
            self._loop.call_soon(self._gather, rows, turns_left - 1)
        else:
            self._start_next()

    def _start_writer(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.get_running_loop()
        self._left = self._loop.create_future()
        threading.Thread(
            target=self._write, args=(self._loop,), name="verismo-journal", daemon=True
        ).start()
        return self._loop

    def _start_next(self) -> None:
        """Hand the next batch over if the writer is idle; ask the file first if need be."""
        while (self._waiting or self._is_trial_due) and not self._is_busy:
            if self._is_known:
                # Any batch shows what a trial would; without entries it is the trial.
                self._is_trial_due = False
                self._hand_over(self._take())
            else:
                self._is_busy = self._is_asking = True
                self._jobs.put(partial(self._file.resolve, self._durable))
        if self._is_closing and not self._is_busy:
            self._jobs.put(None)

    def _take(self) -> "Sequence[_Entry]":
        entries: list[_Entry] = []
        size_bytes = 0
        while self._waiting and len(entries) < self._limits.rows_max:
            size_bytes += self._waiting[0].size_bytes
            if entries and size_bytes > self._limits.bytes_max:
                break
            entry = self._waiting.popleft()
            self._waiting_bytes -= entry.size_bytes
            entries.append(entry)
        return entries

    def _hand_over(self, entries: "Sequence[_Entry]") -> None:
        batch: Batch | None = None
        failure: Exception = JournalFailed("no void could be made")
        try:
            batch = self._batch_of(entries)
        except SigningFailed as error:
            failure = error
        finally:
            if batch is None:
                # Nothing was written: the next batch finds the same gap, and longer.
                _settle(entries, failure)
                self._schedule()
        if batch is None:
            if self._failure:
                # It stood for a trial, and was none.
                self._plan_trial()
            return
        self._in_flight = entries
        self._is_busy = True
        self._handed_over_s = asyncio.get_running_loop().time()
        self._jobs.put(partial(self._file.commit, batch))

    def _batch_of(self, entries: "Sequence[_Entry]") -> Batch:
        last = self._durable
        records: list[schema.RecordRow] = []
        for row in (entry.record for entry in entries if entry.record is not None):
            seq_n = row[0]
            if seq_n > last + 1:
                records.append(self._void_row(last + 1, seq_n - 1))
            records.append(row)
            last = seq_n
        opened = [entry.stream for entry in entries if entry.stream is not None]
        closed = [
            entry.record[2]
            for entry in entries
            if entry.record is not None and entry.prov_id in self._open
        ]
        return Batch(last_seq=last, records=records, opened=opened, closed=closed)

    def _void_row(self, first: int, last: int) -> schema.RecordRow:
        void = self._sign_void(first, last)
        if void.kind != "void" or void.seq_n != last:
            raise SigningFailed(f"asked for void {last}, got {void.kind} {void.seq_n}")
        return schema.record_row(void)

    def _landed(self, outcome: Outcome) -> None:
        """Take the writer's answer, see to the next batch and wake the callers."""
        entries, self._in_flight = self._in_flight, ()
        was_asked, self._is_asking = self._is_asking, False
        self._is_busy = False
        self._is_known = outcome.failure is None
        if outcome.failure is None:
            self._durable = outcome.last_seq
            self._open.difference_update(e.prov_id for e in entries if e.record is not None)
            # That the file could be asked is no commit yet.
            self._failure = self._failure if was_asked else ""
        else:
            self._failure = str(outcome.failure) or type(outcome.failure).__name__
            self._is_trial_due = False
            self._plan_trial()
        if outcome.failure is not None and was_asked:
            # The file could not be asked, so nothing that waits may be written on top of it.
            entries = tuple(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
        try:
            if self._is_known and not self._is_closing:
                self._schedule()
            else:
                self._start_next()
        finally:
            _settle(entries, outcome.failure)

    def _plan_trial(self) -> None:
        if self._loop is not None and self._trial is None and not self._is_closing:
            self._trial = self._loop.call_later(self._limits.trial_pause_s, self._begin_trial)

    def _begin_trial(self) -> None:
        self._trial = None
        if self._failure and not self._is_closing:
            self._is_trial_due = True
            self._start_next()

    def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        """The writer's thread: one job at a time, until it is told to leave."""
        try:
            while (job := self._jobs.get()) is not None:
                outcome = job()
                # A crash here: the batch is in the file and nobody was told; a restart goes on
                # after its last number, and the integrator puts its records into the tree.
                if not _call_soon(loop, partial(self._landed, outcome)):
                    return
        finally:
            self._file.close()
            self._ownership.release()
            _call_soon(loop, self._writer_left)

    def _writer_left(self) -> None:
        # With callers still waiting only if the writer died of a mistake of ours: fail them all.
        self._is_closing = True
        _settle((*self._in_flight, *self._waiting), JournalFailed("the writer has ended"))
        self._waiting.clear()
        self._in_flight = ()
        if self._left is not None and not self._left.done():
            self._left.set_result(None)


@dataclass(slots=True)
class _Entry:
    """A caller that waits, with a record, a stream, or neither: to learn how a commit ends."""

    prov_id: ProvId
    size_bytes: int
    record: schema.RecordRow | None = None
    stream: schema.StreamRow | None = None
    waiter: asyncio.Future[None] | None = None


def _settle(entries: Sequence[_Entry], failure: Exception | None) -> None:
    """Wake the callers of a batch; one that was cancelled is passed over."""
    for entry in entries:
        waiter = entry.waiter
        if waiter is None or waiter.done():
            continue
        if failure is None:
            waiter.set_result(None)
        else:
            failed = JournalFailed(f"not known to be durable: {failure}")
            failed.__cause__ = failure
            waiter.set_exception(failed)


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> bool:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        # The loop was closed under us: nobody waits any more.
        return False
    return True
