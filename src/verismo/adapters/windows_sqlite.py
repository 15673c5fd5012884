"""What gateways counted in each interval, in `<data>/windows.db` (port: `verismo.ports.windows`).

WAL with `synchronous=OFF`: what a power cut takes is counted anew within minutes, and what
decisions were made of is kept with them. Every worker writes a row for each interval, in a thread;
the control process reads and prunes.
"""

import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from verismo.adapters.inode import inode_of
from verismo.adapters.sqlite_schema import Schema
from verismo.model.errors import StateError
from verismo.ports.windows import Interval, IntervalThere, Written

FILE_NAME: Final = "windows.db"
BUSY_MS_MAX: Final = 1_000
"""How long a call waits for another writer."""
PRUNE_ROWS_MAX: Final = 1_000
"""Rows that one transaction forgets, so that no worker waits long for it."""

_TABLE: Final = """
CREATE TABLE interval (
    start_ms INTEGER NOT NULL,
    writer TEXT NOT NULL,
    end_ms INTEGER NOT NULL CHECK (end_ms > start_ms),
    counted BLOB NOT NULL,
    PRIMARY KEY (start_ms, writer)
) STRICT, WITHOUT ROWID;
"""
_SCHEMA: Final = Schema(
    _TABLE,
    next_step="Run the version of Verismo that wrote it, or stop it and move the file away: only "
    "counts of the last days are lost, and no decision.",
)
log = logging.getLogger("verismo.adapt")
_encode = msgspec.msgpack.Encoder().encode


class SqliteWindows:
    """Sink and source of one data folder; any thread may call, and calls take turns.

    The file is opened by the first call that needs it, so that a gateway answers without it.

    Args:
        path: the file; it is made, readable by its owner only, if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        # One decoder: it is used under the lock only.
        self._decode = msgspec.msgpack.Decoder(Interval).decode
        self._damaged: Written | None = None

    def write(self, interval: Interval) -> None:
        """Store one interval.

        Raises:
            IntervalThere: this writer wrote one of that start before.
            StateError: it cannot be written now.
        """
        row = (interval.start_ms, interval.writer, interval.end_ms, _encode(interval))
        with self._lent() as connection:
            try:
                connection.execute("INSERT INTO interval VALUES (?, ?, ?, ?)", row)
            except sqlite3.IntegrityError as error:
                raise IntervalThere(
                    f"{interval.writer} has written the interval at {interval.start_ms} before",
                    next_step="Look at the clock of this machine: it was set back, or the worker "
                    "was started anew within the interval.",
                ) from error

    def intervals(self, from_ms: int, until_ms: int) -> Sequence[Interval]:
        """Return every worker's intervals that began from one time up to another, by start.

        One that was damaged, or is not what it is kept as, is left out as if nobody had written it:
        it would keep every controller from seeing anything for as long as it is there.
        """
        with self._lent() as connection:
            rows = connection.execute(
                "SELECT start_ms, end_ms, writer, counted FROM interval "
                "WHERE start_ms >= ? AND start_ms < ? ORDER BY start_ms, writer",
                (from_ms, until_ms),
            ).fetchall()
            read = [self._read(Written(*row[:3]), row[3]) for row in rows]
        return [one for one in read if one is not None]

    def written(self, from_ms: int, until_ms: int) -> Sequence[Written]:
        """Return who wrote which intervals that began from one time up to another, by start."""
        with self._lent() as connection:
            rows = connection.execute(
                "SELECT start_ms, end_ms, writer FROM interval WHERE start_ms >= ? AND "
                "start_ms < ? ORDER BY start_ms, writer",
                (from_ms, until_ms),
            )
            return [Written(*row) for row in rows]

    def prune(self, before_ms: int) -> None:
        """Forget intervals that ended before a time."""
        while True:
            with self._lent() as connection:
                forgotten = connection.execute(
                    "DELETE FROM interval WHERE (start_ms, writer) IN (SELECT start_ms, writer "
                    "FROM interval WHERE start_ms < ? AND end_ms < ? ORDER BY start_ms LIMIT ?)",
                    (before_ms, before_ms, PRUNE_ROWS_MAX),
                ).rowcount
            if forgotten < PRUNE_ROWS_MAX:
                return

    def forget_future(self, from_ms: int) -> int:
        """Forget intervals that begin after a time: a clock that was ahead has dated them.

        Kept, they would be read as new once that time has come, and those that are would be refused
        as written before.

        Returns:
            How many. Where there are none nothing is written, so it may be asked often.
        """
        with self._lent() as connection:
            found = "SELECT 1 FROM interval WHERE start_ms > ? LIMIT 1"
            if connection.execute(found, (from_ms,)).fetchone() is None:
                return 0
            return connection.execute(
                "DELETE FROM interval WHERE start_ms > ?", (from_ms,)
            ).rowcount

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _read(self, row: Written, counted: bytes) -> Interval | None:
        try:
            interval = self._decode(counted)
            found = Written(interval.start_ms, interval.end_ms, interval.writer)
            fault = "" if found == row else "it is another interval than it is kept as"
        except (msgspec.MsgspecError, UnicodeError) as error:
            interval, fault = None, str(error)
        if not fault:
            return interval
        if row != self._damaged:
            fields = {"writer": row.writer, "start_ms": row.start_ms, "error": fault}
            log.warning("a damaged interval is left out", extra={"fields": fields})
        self._damaged = row
        return None

    @contextmanager
    def _lent(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection to one thread at a time, and translate its errors."""
        with self._lock:
            try:
                if self._connection is not None and inode_of(self._path) != self._inode:
                    # Deleted or replaced: else each process would go on with a file of its own.
                    self._connection.close()
                    self._connection = None
                if self._connection is None:
                    self._connection = self._opened()
                    self._inode = inode_of(self._path)
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                raise StateError(
                    f"{self._path} cannot be used: {error}",
                    next_step="Check the disk and the data folder's permissions. If the file is "
                    "damaged, stop Verismo and move it away: only counts of the last days are "
                    "lost, and no decision.",
                ) from error

    def _opened(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        connection = sqlite3.connect(
            self._path,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_MS_MAX / 1_000,
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
            _SCHEMA.prepare(connection, self._path)
        except BaseException:
            connection.close()
            raise
        return connection
