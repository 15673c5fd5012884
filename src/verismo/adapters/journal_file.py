"""One journal file: its connection, its transactions, and what is done after one failed.

It knows no event loop and no queue; the journal calls it from its writer's thread.
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from verismo.adapters import journal_schema as schema
from verismo.adapters.folder_sync import sync_folder
from verismo.model.errors import StateError

WAL_PAGES_MAX = 1_000
"""The commit that passes this many pages in the log moves them into the file (SQLite's default)."""
WAL_BYTES_KEPT_MAX = 16_777_216
"""A log that grew over this while a reader held it is cut back at its next start."""


class Batch(msgspec.Struct, frozen=True):
    """What one transaction stores; without rows it is a trial: does the disk take writes?

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

    @property
    def is_trial(self) -> bool:
        """Whether it stores nothing."""
        return not (self.records or self.opened or self.closed)


Commit = Callable[[sqlite3.Connection, Batch], None]
"""Stores a batch durably in one transaction, on the writer's thread. Raises sqlite3.Error or
OSError if it is not known to be durable, OverflowError or ValueError for a row that cannot be."""


def commit_batch(connection: sqlite3.Connection, batch: Batch) -> None:
    """Store a batch in one transaction; when it returns the rows survive a power cut."""
    connection.execute("BEGIN IMMEDIATE")
    # A crash from here to COMMIT leaves the file as it was before the batch: nobody was told.
    connection.executemany(_INSERT_RECORD, batch.records)
    if batch.opened or batch.closed:
        connection.executemany(_INSERT_STREAM, batch.opened)
        connection.executemany("DELETE FROM stream WHERE prov_id = ?", [(p,) for p in batch.closed])
    if batch.is_trial:
        # A transaction that writes nothing syncs nothing: the first page is written as it is.
        connection.execute(f"PRAGMA user_version = {schema.SCHEMA.version}")
    connection.execute("COMMIT")
    # A crash from here on leaves the whole batch; some callers were not told that it is stored.


class Outcome(msgspec.Struct, frozen=True):
    """What the writer answers: the last durable number, or why it does not know it."""

    last_seq: int
    failure: sqlite3.Error | OSError | MemoryError | OverflowError | ValueError | None = None


class JournalFile:
    """The connection to one journal file; one thread at a time uses it.

    Args:
        path: the file; it is created with its tables if it is not there.
        commit: the storage step.
        reader_wait_s_max: how long to wait for readers to leave the log.

    Raises:
        StateError: the file cannot be used, or a newer version wrote it.
    """

    def __init__(self, path: Path, commit: Commit, reader_wait_s_max: float) -> None:
        self._path = path
        self._commit = commit
        self._reader_wait_s_max = reader_wait_s_max
        self._connection: sqlite3.Connection | None = None
        try:
            self._connection = _connect(path, "rwc", reader_wait_s_max)
            if not schema.SCHEMA.is_there(self._connection, path):
                schema.SCHEMA.create(self._connection)
                sync_folder(path.parent)
            self.last_seq = schema.last_seq(self._connection)
            self.lost_streams = schema.read_streams(self._connection)
        except (sqlite3.Error, OSError) as error:
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
        except (sqlite3.Error, OSError, MemoryError, OverflowError, ValueError) as error:
            # The last two are a row that SQLite cannot hold: an integer over 64 bits, a text that
            # is no Unicode. Whose it is nobody knows here, so its whole batch fails.
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
            self._connection = connection = _connect(self._path, "rw", self._reader_wait_s_max)
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


def _insert(table: str, columns: Sequence[str]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"


_INSERT_RECORD = _insert("record", schema.RECORD_COLUMNS)
_INSERT_STREAM = _insert("stream", schema.STREAM_COLUMNS)


def _connect(path: Path, mode: str, reader_wait_s_max: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=reader_wait_s_max,
        isolation_level=None,
        check_same_thread=False,
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
