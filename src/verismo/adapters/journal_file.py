"""One journal file: its connection, its transactions, and what is done after one failed.

It knows no event loop and no queue; the journal calls it from its writer's thread.
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from verismo.adapters import journal_schema as schema
from verismo.model.errors import StateError

WAL_PAGES_MAX = 1_000
"""The commit that passes this many pages in the log moves them into the file (SQLite's default)."""
WAL_BYTES_KEPT_MAX = 16_777_216
"""A log that grew over this while a reader held it is cut back at its next start."""
READER_WAIT_S_MAX = 5.0
"""How long the writer waits for readers to leave the log when it resolves a failed commit."""


class Batch(msgspec.Struct, frozen=True):
    """What one transaction stores.

    Args:
        last_seq: the highest durable number once it is stored.
        records: rows of answers and voids, their numbers rising by one.
        opened: rows of streams that start.
        closed: prov_ids, 16 bytes, of streams that end with a record of this batch.
    """

    last_seq: int
    records: Sequence[schema.RecordRow]
    opened: Sequence[schema.StreamRow] = ()
    closed: Sequence[bytes] = ()


Commit = Callable[[sqlite3.Connection, Batch], None]
"""Stores a batch durably in one transaction, on the writer's thread. Raises sqlite3.Error or
OSError if it is not known to be durable."""


def commit_batch(connection: sqlite3.Connection, batch: Batch) -> None:
    """Store a batch in one transaction; when it returns the rows survive a power cut.

    All records go in one statement, and a statement alone is its own transaction. Every call into
    SQLite gives up the interpreter's lock and must win it back from a busy event loop, so one call
    instead of one for each row is what keeps the tail short.
    """
    if not batch.opened and not batch.closed:
        _insert(connection, batch.records)
        return
    connection.execute("BEGIN IMMEDIATE")
    # A crash from here to COMMIT leaves the file as it was before the batch: nobody was told.
    if batch.records:
        _insert(connection, batch.records)
    connection.executemany(_INSERT_STREAM, batch.opened)
    connection.executemany("DELETE FROM stream WHERE prov_id = ?", [(p,) for p in batch.closed])
    connection.execute("COMMIT")
    # A crash from here on leaves the whole batch; some callers were not told that it is stored.


class Outcome(msgspec.Struct, frozen=True):
    """What the writer answers: the last durable number, or why it does not know it."""

    last_seq: int
    failure: sqlite3.Error | OSError | MemoryError | None = None


class JournalFile:
    """The connection to one journal file; one thread at a time uses it."""

    def __init__(self, path: Path, commit: Commit) -> None:
        self._path = path
        self._commit = commit
        self._connection: sqlite3.Connection | None = None
        try:
            self._connection = _connect(path, "rwc")
            if not schema.has_tables(self._connection, path):
                schema.create_tables(self._connection)
            self.last_seq = schema.last_seq(self._connection)
            self.lost_streams = schema.read_streams(self._connection)
        except sqlite3.Error as error:
            self.close()
            raise StateError(
                f"the journal {path} cannot be opened: {error}",
                next_step="Check the disk and the folder's owner, or restore a backup into an "
                "empty folder; never delete a journal that answers were given from.",
            ) from error
        except StateError:
            self.close()
            raise

    def commit(self, batch: Batch) -> Outcome:
        """Store a batch; an outcome with a failure says that nobody knows whether it is stored."""
        try:
            if self._connection is None:
                raise sqlite3.ProgrammingError("the journal file is closed")
            self._commit(self._connection, batch)
        except (sqlite3.Error, OSError, MemoryError) as error:
            return Outcome(0, error)
        return Outcome(batch.last_seq)

    def resolve(self, durable: int) -> Outcome:
        """Find out what is in the file after a failed commit.

        A failed fsync may have marked pages as written that are not, and what the file then shows
        would be lost with the power. So all of the log is moved into the file and the log starts
        anew: what is read afterwards has been written and synced a second time.

        Args:
            durable: the last number that was acknowledged; the file must hold it.
        """
        try:
            self.close()
            # Not "rwc": if the file is gone, an empty one would begin again with number 1.
            self._connection = connection = _connect(self._path, "rw")
            if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] != 0:
                raise sqlite3.OperationalError("a reader holds the log of the journal")
            last_seq = schema.last_seq(connection)
            if last_seq < durable:
                raise sqlite3.DatabaseError(f"the journal ends with {last_seq}, not {durable}")
        except (sqlite3.Error, OSError, MemoryError) as error:
            return Outcome(0, error)
        return Outcome(last_seq)

    def close(self) -> None:
        """Close the connection; what it had not committed is undone."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_INSERT_STREAM = (
    f"INSERT INTO stream ({', '.join(schema.STREAM_COLUMNS)}) "
    f"VALUES ({', '.join('?' * len(schema.STREAM_COLUMNS))})"
)
_INSERT_RECORDS = f"INSERT INTO record ({', '.join(schema.RECORD_COLUMNS)}) VALUES "
_RECORD_VALUES = f"({', '.join('?' * len(schema.RECORD_COLUMNS))})"


def _insert(connection: sqlite3.Connection, records: Sequence[schema.RecordRow]) -> None:
    statement = _INSERT_RECORDS + ",".join([_RECORD_VALUES] * len(records))
    connection.execute(statement, [value for row in records for value in row])


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=READER_WAIT_S_MAX,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise sqlite3.OperationalError("this file system has no shared memory (WAL)")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES_MAX}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT_MAX}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
