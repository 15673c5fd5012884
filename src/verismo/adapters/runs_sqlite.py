"""Runs that are not sealed yet, in `<data>/runs.db` (port: `verismo.ports.runs`).

WAL with `synchronous=OFF`: what a power cut takes was not sealed, and every answer that was given
is in the journal. All workers share the file, since an agent's calls come to any of them.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from verismo.adapters.runs_trace import TABLES, RunRow, TraceRows, parents_first
from verismo.adapters.sqlite_schema import Schema, transaction
from verismo.model.errors import RunLimit, RunSealed, StateError
from verismo.model.ids import ProvId, TenantId
from verismo.model.run import RUN_DEPTH_MAX, BegunRun, NotedCall, Refused, ReportedHop, Run
from verismo.ports.runs import Standing

FILE_NAME = "runs.db"
BUSY_MS_MAX = 1_000
"""The port's contract: a call waits for another writer up to 1 s."""
CLOSING_MS_MAX = 60_000
"""The port's contract: who closed a run longer ago and did not end it counts as dead."""
CHECKPOINT_PAGES = 250
"""1 MB of log at most goes into the file within one commit: about 0.3 ms, since nothing is
synchronised and the event loop may wait for it."""
PRUNE_TRACES_MAX = 200
"""Traces that one transaction forgets, so that nobody waits long for it."""
_SCHEMA = Schema(
    TABLES,
    next_step="Run the version of Verismo that wrote it, or stop it and move the file away: only "
    "runs that are open now are lost.",
)


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000


class SqliteRuns:
    """The store of one data folder; see `verismo.ports.runs.RunStore`.

    Args:
        path: the file; it is made, readable by its owner only, if it is not there.
        clock_ms: the present, Unix ms.

    Raises:
        StateError: the file cannot be used, or a newer version of Verismo wrote it.
    """

    def __init__(self, path: Path, clock_ms: Callable[[], int] = _clock_ms) -> None:
        self._path = path
        self._clock_ms = clock_ms
        self._writer_lock = threading.Lock()
        self._reader_lock = threading.Lock()
        self._hasty_lock = threading.Lock()
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._writer = _open(path, BUSY_MS_MAX)
        try:
            with self._translated():
                _SCHEMA.prepare(self._writer, path)
                self._reader = _open(path, BUSY_MS_MAX)
                self._hasty = _open(path, 0)
        except BaseException:
            self._writer.close()
            raise

    def close(self) -> None:
        """Close the file after the calls that are under way."""
        with self._writer_lock, self._reader_lock, self._hasty_lock:
            for connection in (self._writer, self._reader, self._hasty):
                connection.close()

    def begin(self, tenant: TenantId, trace_id: str, run: BegunRun) -> None:
        """Open a run before its agent is called; one whose seal failed is open again.

        Raises:
            RunLimit: it is nested too deep in other runs.
        """
        with self._writing(tenant, trace_id) as rows:
            rows.touch(run.at_ms)
            row = rows.run(run.span_id)
            if row is None:
                above = rows.run(rows.home(run.parent_span, run.run_span))
                depth = 1 if above is None else above.depth + 1
                if depth > RUN_DEPTH_MAX:
                    raise RunLimit(f"agents call each other {RUN_DEPTH_MAX} deep")
                row = RunRow(
                    run.span_id, run.parent_span, depth, "open", 1, 0, "", 0, 0, 0, *rows.totals()
                )
            if row.state != "sealed":
                rows.put_run(
                    msgspec.structs.replace(row, state="open", closed_ms=0, prov_id=run.prov_id)
                )

    def standing(
        self, tenant: TenantId, trace_id: str, parent_span: str, run_span: str
    ) -> Standing:
        """Say how a call would stand in its trace now; never waits for a writer."""
        with self._reader_lock, self._translated():
            rows = TraceRows(self._reader, tenant, trace_id)
            home = rows.home(parent_span, run_span)
            if not home:
                return "none"
            return "full" if (rows.run(home) or rows.loose()).is_full else "open"

    def note(self, tenant: TenantId, trace_id: str, call: NotedCall) -> None:
        """Note a sealed call; one that belongs to a sealed run joins nothing."""
        with self._writing(tenant, trace_id) as rows:
            _note(rows, call)

    def note_at_once(self, tenant: TenantId, trace_id: str, call: NotedCall) -> bool:
        """Note a sealed call without waiting; False if another writer is at work."""
        if not self._hasty_lock.acquire(blocking=False):
            return False
        try:
            with self._translated(), _begun(self._hasty):
                _note(TraceRows(self._hasty, tenant, trace_id), call)
        except _Busy:
            return False
        finally:
            self._hasty_lock.release()
        return True

    def report(
        self,
        tenant: TenantId,
        trace_id: str,
        hops: Sequence[ReportedHop],
        *,
        are_roots_known: bool = False,
    ) -> Sequence[Refused]:
        """Take hops of a trace, in any order and any number of portions."""
        refused: list[Refused] = []
        with self._writing(tenant, trace_id) as rows:
            rows.touch(self._clock_ms())
            # Exporters send what ended first, and that is what is deepest.
            for hop in parents_first(hops) if are_roots_known else hops:
                reason = rows.add_hop(hop, judges_depth=are_roots_known)
                if reason is not None:
                    refused.append(Refused(hop.span_id, reason))
            rows.count_out(refused=len(refused), omitted=0)
        return refused

    def collect(
        self, tenant: TenantId, trace_id: str, span_id: str, prov_id: ProvId, at_ms: int
    ) -> Run:
        """Close a run and return what its trace holds; whatever comes later changes nothing.

        Raises:
            RunSealed: another answer has it.
        """
        with self._writing(tenant, trace_id) as rows:
            rows.touch(at_ms)
            run = rows.run(span_id) or RunRow(span_id, "", 1, "open", 0, 0, "", 0, 0, 0, 0, 0)
            is_dead = run.state == "closing" and run.closed_ms < at_ms - CLOSING_MS_MAX
            # An open one may be promised: what the gateway began is for its agent's answer.
            if run.prov_id not in ("", prov_id) and not is_dead:
                raise RunSealed(run.prov_id)
            # A crash after this leaves a run that another answer may close in a minute.
            rows.put_run(
                msgspec.structs.replace(run, state="closing", closed_ms=at_ms, prov_id=prov_id)
            )
            others = [one for one in rows.runs() if one.span != span_id]
            calls, hops = rows.members()
            refused, omitted = rows.totals()
        if not run.begun and not others:
            # Nothing told which run these were in, and there is no other.
            calls = [_claimed(call, span_id) for call in calls]
        return Run(
            span_id=span_id,
            calls=tuple(calls),
            hops=tuple(hops),
            others=tuple(one.span for one in others),
            shared=any(one.state == "open" for one in others),
            refused=refused - run.refused_before,
            omitted=omitted - run.omitted_before,
        )

    def end(self, tenant: TenantId, trace_id: str, span_id: str, joined: Sequence[str]) -> None:
        """Note that a run is sealed, and which spans it took: no other run joins them."""
        with self._writing(tenant, trace_id) as rows:
            rows.touch(self._clock_ms())
            run = rows.run(span_id)
            if run is not None:
                rows.put_run(msgspec.structs.replace(run, state="sealed"))
            rows.take(span_id, list(joined))

    def prune(self, before_ms: int) -> int:
        """Forget traces in which nothing happened since a time; return how many rows went."""
        count = 0
        while True:
            with self._transaction() as connection:
                keys = connection.execute(
                    "SELECT tenant, trace FROM trace WHERE last_ms < ? LIMIT ?",
                    (before_ms, PRUNE_TRACES_MAX),
                ).fetchall()
                for table in ("member", "run", "trace"):
                    delete = f"DELETE FROM {table} WHERE tenant = ? AND trace = ?"
                    count += connection.executemany(delete, keys).rowcount if keys else 0
            if len(keys) < PRUNE_TRACES_MAX:
                return count

    @contextmanager
    def _writing(self, tenant: TenantId, trace_id: str) -> Iterator[TraceRows]:
        with self._transaction() as connection:
            yield TraceRows(connection, tenant, trace_id)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._translated():
            is_ours = self._writer_lock.acquire(timeout=BUSY_MS_MAX / 1_000)
            try:
                if not is_ours:
                    raise _Busy
                with _begun(self._writer):
                    yield self._writer
            except _Busy as error:
                raise sqlite3.OperationalError(
                    f"it was locked by another writer for {BUSY_MS_MAX // 1_000} s"
                ) from error
            finally:
                if is_ours:
                    self._writer_lock.release()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, msgspec.MsgspecError) as error:
            raise StateError(
                f"{self._path} cannot be used: {error}",
                next_step="Check the disk and the data folder's permissions. If the file is "
                "damaged, stop Verismo and move it away: only runs that are open now are lost.",
            ) from error


class _Busy(Exception):
    """Another writer is at work."""


def _open(path: Path, busy_ms_max: int) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=busy_ms_max / 1_000
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    return connection


@contextmanager
def _begun(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold a write transaction; an exception rolls it back.

    Raises:
        _Busy: another writer did not end in the connection's time.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(transaction(connection))
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise _Busy from error
            raise
        yield


def _note(rows: TraceRows, call: NotedCall) -> None:
    rows.touch(call.t1_ms)
    if not rows.add_call(call):
        rows.count_out(refused=0, omitted=1)


def _claimed(call: NotedCall, span_id: str) -> NotedCall:
    return call if call.run_span else msgspec.structs.replace(call, run_span=span_id)
