"""A SQLite file that one process at a time writes, under a lease with a fencing token.

WAL, `synchronous=FULL`: a write that returned survives a power cut. Each write is one transaction
that looks at the fencing token first, under SQLite's write lock, so a holder whose lease went
elsewhere changes nothing, whenever it wakes up.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from verismo.adapters import lease_sqlite
from verismo.adapters.inode import inode_of
from verismo.adapters.sqlite_schema import Schema, transaction
from verismo.model.errors import StateError

BUSY_MS_MAX = 5_000
"""How long a transaction waits for another process's."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a leased file holds, and what is said when it fails.

    Args:
        schema: its tables, those of the lease among them.
        does: what the holder of the lease does, for errors: `integrates the ledger`.
        translated: the error that stands for one of SQLite's.
        bring_back: what to do once the file was deleted or replaced in use.
    """

    schema: Schema
    does: str
    translated: Callable[[Path, sqlite3.Error], StateError]
    bring_back: str


class LeasedFile:
    """The open file, and its lease (`ports.ledger.Lease`). Any thread may call; calls take turns.

    Args:
        path: the file; it is made, readable by its owner only, if it is not there.
        layout: what it holds.
        read_only: open it to read alone; a file that is not there yet reads as an empty one.

    Raises:
        StateError: the file cannot be used, or is of a newer version.
    """

    def __init__(self, path: Path, layout: Layout, *, read_only: bool = False) -> None:
        self.path = path
        self._layout = layout
        self._read_only = read_only
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        if not read_only:
            with self.reading():
                pass

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def acquire(self, holder: str, now_ms: int, ttl_ms: int) -> int:
        """Take the lease; see `ports.ledger.Lease`."""
        with self.writing(None) as connection:
            return lease_sqlite.acquire(
                connection, holder, now_ms=now_ms, ttl_ms=ttl_ms, does=self._layout.does
            )

    def renew(self, token: int, now_ms: int, ttl_ms: int) -> None:
        """Prolong the lease."""
        with self.writing(token) as connection:
            lease_sqlite.renew(connection, now_ms, ttl_ms)

    def release(self, token: int) -> None:
        """Give the lease up; the token stays used."""
        with self.writing(None) as connection:
            lease_sqlite.release(connection, token)

    def holder(self, now_ms: int) -> str:
        """Return who holds the lease now, empty if nobody does."""
        with self.reading() as connection:
            return lease_sqlite.holder_of(connection, now_ms)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection to one thread at a time, and translate its errors."""
        with self._lock:
            try:
                yield self._opened()
            except sqlite3.Error as error:
                raise self._layout.translated(self.path, error) from error

    @contextmanager
    def writing(self, token: int | None) -> Iterator[sqlite3.Connection]:
        """Lend the connection inside one transaction, after a look at the fencing token."""
        with self.reading() as connection:
            self._check_place()
            with transaction(connection):
                if token is not None:
                    lease_sqlite.check_token(connection, token, self._layout.does)
                yield connection

    def _check_place(self) -> None:
        """Refuse to write where nobody would find it again: the file was deleted or replaced."""
        if inode_of(self.path) != self._inode:
            raise StateError(
                f"{self.path} was deleted, moved or replaced while it is in use",
                next_step=self._layout.bring_back,
            )

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        if self._read_only and not self.path.exists():
            return self._empty()
        connection = _connect(self.path, read_only=self._read_only)
        try:
            if not self._layout.schema.is_there(connection, self.path):
                if self._read_only:
                    # Its writer has made the file and not yet its tables: it holds nothing.
                    connection.close()
                    return self._empty()
                connection.execute("PRAGMA journal_mode = WAL")
                self._layout.schema.create(connection)
        except (sqlite3.Error, StateError):
            connection.close()
            raise
        self._connection, self._inode = connection, inode_of(self.path)
        return connection

    def _empty(self) -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._layout.schema.create(connection)
        return connection


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    if not read_only:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
        except OSError as error:
            raise StateError(
                f"{path} cannot be made: {error.strerror}",
                next_step="Give the data folder to the user that runs Verismo.",
            ) from error
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_MS_MAX / 1_000,
    )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection
