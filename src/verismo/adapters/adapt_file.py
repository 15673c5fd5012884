"""The file `<data>/adapt.db`: decisions, steering, and the lease of whoever decides.

SQLite, WAL, `synchronous=FULL`: a write that returned survives a power cut. Each write is one
transaction that looks at the fencing token first.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verismo.adapters import adapt_schema as schema
from verismo.adapters import lease_sqlite
from verismo.adapters.inode import inode_of
from verismo.attest.controlrecord import NUMBERS_PER_S
from verismo.model.errors import StateError

FILE_NAME = "adapt.db"
BUSY_MS_MAX = 5_000
"""How long a transaction waits for another process's."""

_DECIDES = "decides"


class AdaptFile:
    """The open file, and its lease (`ports.ledger.Lease`). Any thread may call; calls take turns.

    Args:
        path: the file; it is made, readable by its owner only, if it is not there.
        read_only: open it to read alone; a file that is not there yet reads as an empty one.

    Raises:
        StateError: the file cannot be used, or is of a newer version.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
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
                connection, holder, now_ms=now_ms, ttl_ms=ttl_ms, does=_DECIDES
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
                raise StateError(
                    f"{self.path} cannot be used: {error}",
                    next_step="Check space and rights of the data folder. Gateways keep what they "
                    "were told last; deciding goes on once the file can be used again.",
                ) from error

    @contextmanager
    def writing(self, token: int | None) -> Iterator[sqlite3.Connection]:
        """Lend the connection inside one transaction, after a look at the fencing token."""
        with self.reading() as connection:
            self._check_place()
            connection.execute("BEGIN IMMEDIATE")
            is_done = False
            try:
                if token is not None:
                    lease_sqlite.check_token(connection, token, _DECIDES)
                yield connection
                # A crash here: nothing of the transaction is there.
                connection.execute("COMMIT")
                # A crash here: all of it is there, and whoever asked was not told.
                is_done = True
            finally:
                if not is_done and connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _check_place(self) -> None:
        """Refuse to write where nobody would find it again: the file was deleted or replaced."""
        if inode_of(self.path) != self._inode:
            raise StateError(
                f"{self.path} was deleted, moved or replaced while it is in use",
                next_step="Nothing is decided until then: stop Verismo, bring the file back, from "
                "where it was moved to or from a backup, and start again.",
            )

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        if self._read_only and not self.path.exists():
            return _empty()
        connection = _connect(self.path, read_only=self._read_only)
        try:
            if not schema.has_tables(connection, self.path):
                if self._read_only:
                    # Its writer has made the file and not yet its tables: it holds nothing.
                    connection.close()
                    return _empty()
                connection.execute("PRAGMA journal_mode = WAL")
                schema.create_tables(connection)
        except (sqlite3.Error, StateError):
            connection.close()
            raise
        self._connection, self._inode = connection, inode_of(self.path)
        return connection


def pass_numbers(path: Path, restored_ms: int) -> None:
    """Keep the numbers that may have been given out since a backup was made from coming again.

    Args:
        path: the restored file; nobody else has it open.
        restored_ms: Unix ms.

    Raises:
        StateError: it cannot be written.
    """
    passed = restored_ms // 1_000 * NUMBERS_PER_S
    file = AdaptFile(path)
    try:
        with file.writing(None) as connection:
            connection.execute("UPDATE passed SET n = ? WHERE n < ?", (passed, passed))
    finally:
        file.close()


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


def _empty() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    schema.create_tables(connection)
    return connection
