"""What the SIEM export remembers, in `<data>/siem.db` (port: `verismo.ports.siem.SiemStore`).

A file of its own: every change of `state.db` makes each worker look at its snapshot again, and the
export changes something with every batch. Losing the file costs duplicates, not events: the export
begins again at the first leaf, and readers dedupe by uid.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from verismo.adapters.sqlite_schema import Schema, transaction
from verismo.model.errors import StateError
from verismo.model.siem import HourTally, SiemEvent
from verismo.ports.siem import NOTHING_SENT, Advance, CursorMoved, DeadLetter, DeadState, Progress

FILE_NAME = "siem.db"
BUSY_MS_MAX = 5_000
"""The port's contract: a writer waits for another up to 5 s."""
_HASH_BYTES = 32

_TABLES = """
CREATE TABLE cursor (
    sink TEXT NOT NULL,
    log TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (sink, log)
) STRICT, WITHOUT ROWID;
CREATE TABLE hour (
    sink TEXT NOT NULL,
    hour_ms INTEGER NOT NULL,
    log TEXT NOT NULL,
    count INTEGER NOT NULL CHECK (count > 0),
    first_index INTEGER NOT NULL,
    last_index INTEGER NOT NULL,
    uid_hashes BLOB NOT NULL,
    event_hashes BLOB NOT NULL,
    PRIMARY KEY (sink, hour_ms, log)
) STRICT, WITHOUT ROWID;
CREATE TABLE dead_letter (
    sink TEXT NOT NULL,
    log TEXT NOT NULL,
    at INTEGER NOT NULL,
    uid TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('dead', 'queued')),
    reason TEXT NOT NULL,
    refused_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    severity INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (sink, log, at)
) STRICT;
"""
_SCHEMA = Schema(
    _TABLES,
    next_step="Run the version of Verismo that wrote it, or move the file away: the export then "
    "sends everything again, and readers dedupe.",
)

_DeadRow = tuple[str, str, int, str, DeadState, str, int, str, int, int, bytes]
_DEAD_COLUMNS = "sink, log, at, uid, state, reason, refused_ms, kind, severity, time_ms, data"


class SqliteSiemStore:
    """The store of one data folder; see `verismo.ports.siem.SiemStore`.

    Args:
        path: the file; it is made, readable by its owner only, if it is not there.

    Raises:
        StateError: the file cannot be used, or a newer version of Verismo wrote it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS_MAX / 1_000
            )
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file after the call that is under way."""
        with self._lock:
            self._connection.close()

    def cursor(self, sink: str, log: str) -> int:
        """Return the index of the last leaf that was sent; -1 before the first."""
        with self._reading() as connection:
            return _cursor(connection, sink, log)

    def hours(self, sink: str, since_ms: int, until_ms: int) -> Sequence[HourTally]:
        """Return the hourly counts of a sink from one hour to before another, by log and hour."""
        query = (
            "SELECT log, hour_ms, count, first_index, last_index, uid_hashes, event_hashes "
            "FROM hour WHERE sink = ? AND hour_ms >= ? AND hour_ms < ? ORDER BY log, hour_ms"
        )
        with self._reading() as connection:
            rows = connection.execute(query, (sink, since_ms, until_ms)).fetchall()
        return tuple(
            HourTally(log, hour_ms, count, first, last, _split(uids), _split(contents))
            for log, hour_ms, count, first, last, uids, contents in rows
        )

    def advance(self, change: Advance) -> None:
        """Store a delivered batch in one transaction.

        Raises:
            CursorMoved: the cursor is not at `from_index`; nothing was stored.
            StateError: it cannot be stored; the batch will be sent again.
        """
        # A crash before COMMIT leaves the cursor before the batch: it is sent again. A crash after
        # it leaves cursor, counts and dead letters all moved.
        with self._writing() as connection:
            if _cursor(connection, change.sink, change.log) != change.from_index:
                raise CursorMoved(f"{change.sink}: the cursor of {change.log} was moved")
            connection.execute(
                "INSERT OR REPLACE INTO cursor VALUES (?, ?, ?)",
                (change.sink, change.log, change.to_index),
            )
            connection.executemany(
                "INSERT OR REPLACE INTO hour VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [_hour_row(change.sink, tally) for tally in change.hours],
            )
            connection.executemany(_INSERT_DEAD, map(_dead_row, change.dead))

    def dead_letters(
        self, sink: str = "", limit: int = 1_000, state: DeadState | None = None
    ) -> Sequence[DeadLetter]:
        """Return dead letters of a sink, or of all, in one state or any, oldest leaf first."""
        query = (
            f"SELECT {_DEAD_COLUMNS} FROM dead_letter WHERE ? IN ('', sink) "
            "AND ? IN ('', state) ORDER BY sink, log, at LIMIT ?"
        )
        with self._reading() as connection:
            rows = connection.execute(query, (sink, state or "", limit)).fetchall()
        return tuple(map(_dead_letter, rows))

    def queue_dead_letters(self, sink: str, uids: Sequence[str] = ()) -> int:
        """Mark dead letters to be sent again, all of a sink's if none is named; say how many."""
        update = "UPDATE dead_letter SET state = 'queued' WHERE state = 'dead' AND sink = ?"
        with self._writing() as connection:
            if not uids:
                return connection.execute(update, (sink,)).rowcount
            found = connection.executemany(f"{update} AND uid = ?", [(sink, u) for u in uids])
            return found.rowcount

    def settle_dead_letters(
        self, delivered: Sequence[DeadLetter], refused: Sequence[DeadLetter]
    ) -> None:
        """Forget what was delivered at last; mark what was refused again as dead, with reason."""
        with self._writing() as connection:
            connection.executemany(
                "DELETE FROM dead_letter WHERE sink = ? AND log = ? AND at = ?",
                [(one.sink, one.event.log, one.event.index) for one in delivered],
            )
            connection.executemany(_INSERT_DEAD, map(_dead_row, refused))

    def progress(self) -> Sequence[Progress]:
        """Return how far each sink is in each log that it was ever sent, sorted."""
        query = (
            "SELECT c.sink, c.log, c.at, (SELECT COUNT(*) FROM dead_letter d "
            "WHERE d.sink = c.sink AND d.log = c.log) FROM cursor c ORDER BY c.sink, c.log"
        )
        with self._reading() as connection:
            return tuple(Progress(*row) for row in connection.execute(query).fetchall())

    def _prepare(self) -> None:
        with self._lock, self._translated():
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            _SCHEMA.prepare(self._connection, self._path)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translated():
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translated(), transaction(self._connection):
            yield self._connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StateError(
                f"{self._path} cannot be used: {error}",
                next_step="Check the disk and the data folder's permissions. If the file is "
                "damaged, move it away: the export sends everything again, and readers dedupe.",
            ) from error


_INSERT_DEAD = f"INSERT OR REPLACE INTO dead_letter ({_DEAD_COLUMNS}) VALUES ({'?, ' * 10}?)"


def _cursor(connection: sqlite3.Connection, sink: str, log: str) -> int:
    query = "SELECT at FROM cursor WHERE sink = ? AND log = ?"
    row = connection.execute(query, (sink, log)).fetchone()
    return NOTHING_SENT if row is None else int(row[0])


def _hour_row(sink: str, tally: HourTally) -> tuple[str, int, str, int, int, int, bytes, bytes]:
    return (
        sink,
        tally.hour_ms,
        tally.log,
        tally.count,
        tally.first_index,
        tally.last_index,
        b"".join(tally.uid_hashes),
        b"".join(tally.event_hashes),
    )


def _split(hashes: bytes) -> tuple[bytes, ...]:
    return tuple(
        hashes[start : start + _HASH_BYTES] for start in range(0, len(hashes), _HASH_BYTES)
    )


def _dead_row(letter: DeadLetter) -> _DeadRow:
    event = letter.event
    place = (letter.sink, event.log, event.index, event.uid)
    fate = (letter.state, letter.reason, letter.refused_ms)
    return (*place, *fate, event.kind, event.severity, event.time_ms, event.data)


def _dead_letter(row: _DeadRow) -> DeadLetter:
    sink, log, index, uid, state, reason, refused_ms, kind, severity, time_ms, data = row
    event = SiemEvent(log, index, uid, kind, severity, time_ms, data)
    return DeadLetter(sink, event, reason, refused_ms, state)
