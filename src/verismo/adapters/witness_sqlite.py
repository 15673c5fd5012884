"""A witness's memory in SQLite (port: `verismo.ports.witness.WitnessStore`).

`synchronous=FULL` and one transaction for each write: what returned is on the disk. The file is as
precious as the key beside it: an old copy that is put back lets the witness cosign a second
history.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from verismo.adapters.sqlite_schema import Schema, transaction
from verismo.model.errors import StateError
from verismo.ports.witness import SplitView, TrustedLog, WitnessedHead

APPLICATION_ID = 0x7665_7769
"""Tells the file from other SQLite files."""
BUSY_MS_MAX = 5_000
EVIDENCE_MAX = 64
"""For each log; one is enough, and a log must not fill the disk with more."""

_TABLES = """
CREATE TABLE identity (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    name TEXT NOT NULL,
    public BLOB NOT NULL CHECK (length(public) = 32)
) STRICT;
CREATE TABLE trusted (
    origin TEXT NOT NULL,
    raw BLOB NOT NULL CHECK (length(raw) = 32),
    every_log INTEGER NOT NULL CHECK (every_log IN (0, 1)),
    PRIMARY KEY (origin, raw, every_log)
) STRICT;
CREATE TABLE head (
    origin TEXT PRIMARY KEY,
    size INTEGER NOT NULL CHECK (size >= 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    timestamp_s INTEGER NOT NULL,
    note BLOB NOT NULL
) STRICT;
CREATE TABLE split_view (
    origin TEXT NOT NULL,
    size INTEGER NOT NULL,
    seen_s INTEGER NOT NULL,
    known BLOB NOT NULL,
    other BLOB NOT NULL,
    PRIMARY KEY (origin, size)
) STRICT;
"""
_SCHEMA = Schema(_TABLES)

_RESTORE = (
    "Put back the newest copy of the folder that there is. If none is, make a new witness with "
    "`verismo witness init` and a new name: a key without its memory cosigns anything."
)


class SqliteWitness:
    """One witness's store; see `verismo.ports.witness.WitnessStore`.

    Args:
        path: the file, made by `SqliteWitness.make`.

    Raises:
        StateError: it is missing, no witness's, of a newer version, or cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        if not path.is_file():
            raise StateError(f"there is no witness's memory {path}", next_step=_RESTORE)
        self._connection = _connect(path)
        try:
            self._check()
        except BaseException:
            self._connection.close()
            raise

    @classmethod
    def make(cls, path: Path, name: str, public: bytes) -> "SqliteWitness":
        """Make the memory of a new witness.

        Args:
            path: where; nothing may be there.
            name: of the witness.
            public: its public key, 32 octets; a memory of another key is refused later.

        Raises:
            StateError: there is one, or it cannot be written.
        """
        if path.exists():
            raise StateError(f"{path} exists", next_step="Name another folder.")
        with _translated(path):
            path.touch(mode=0o600)
            connection = _connect(path)
            try:
                # One transaction: a crash before its end leaves a file that is no memory, and
                # `verismo witness init` can be told to make it in another folder.
                with transaction(connection):
                    _SCHEMA.write(connection)
                    connection.execute("INSERT INTO identity VALUES (1, ?, ?)", (name, public))
                    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            finally:
                connection.close()
        return cls(path)

    def close(self) -> None:
        """Close the file; nothing may be under way."""
        self._connection.close()

    def identity(self) -> tuple[str, bytes]:
        """Return the witness's name and its public key."""
        with self._reading() as connection:
            name, public = connection.execute("SELECT name, public FROM identity").fetchone()
        return str(name), bytes(public)

    def trusted(self) -> Sequence[TrustedLog]:
        """Return every log key that is trusted, sorted."""
        query = "SELECT origin, raw, every_log FROM trusted ORDER BY origin, raw, every_log"
        with self._reading() as connection:
            rows = connection.execute(query).fetchall()
        return tuple(TrustedLog(origin, raw, bool(every)) for origin, raw, every in rows)

    def trust(self, logs: Sequence[TrustedLog]) -> int:
        """Add log keys; returns how many were new."""
        insert = "INSERT OR IGNORE INTO trusted VALUES (?, ?, ?)"
        rows = [(one.origin, one.raw, int(one.every_log)) for one in logs]
        with self._writing() as connection:
            return connection.executemany(insert, rows).rowcount

    def distrust(self, raw: bytes) -> Sequence[TrustedLog]:
        """Take a key away from every log; returns what it was trusted for. Heads stay."""
        delete = "DELETE FROM trusted WHERE raw = ? RETURNING origin, raw, every_log"
        with self._writing() as connection:
            rows = connection.execute(delete, (raw,)).fetchall()
        return tuple(TrustedLog(origin, key, bool(every)) for origin, key, every in sorted(rows))

    def head(self, origin: str) -> WitnessedHead | None:
        """Return what was last cosigned for a log, None if nothing ever was."""
        with self._reading() as connection:
            return _head(connection, origin)

    def heads(self) -> Sequence[WitnessedHead]:
        """Return what was last cosigned, sorted by origin."""
        with self._reading() as connection:
            rows = connection.execute(f"{_SELECT_HEAD} ORDER BY origin").fetchall()
        return tuple(WitnessedHead(*row) for row in rows)

    def advance(self, known: WitnessedHead | None, head: WitnessedHead) -> bool:
        """Replace a log's head if it is still the one that was compared with."""
        with self._writing() as connection:
            # Compared inside the transaction, which no other writer shares: this is the race that
            # tlog-witness names, where a slower request for a smaller tree rolls the head back.
            if _head(connection, head.origin) != known:
                return False
            connection.execute(
                "INSERT OR REPLACE INTO head VALUES (?, ?, ?, ?, ?)",
                (head.origin, head.size, head.root, head.timestamp_s, head.note),
            )
        # A crash before the commit: the old head stands, nothing was signed. A crash after it: the
        # new head stands and the log got no answer; it is told 409 and its size, and asks again.
        return True

    def keep_evidence(self, evidence: SplitView) -> None:
        """Keep proof against a log, the first 64 of each and one of each size, for ever."""
        row = (evidence.origin, evidence.size, evidence.seen_s, evidence.known, evidence.other)
        with self._writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO split_view SELECT ?, ?, ?, ?, ? "
                "WHERE (SELECT COUNT(*) FROM split_view WHERE origin = ?) < ?",
                (*row, evidence.origin, EVIDENCE_MAX),
            )

    def evidence(self) -> Sequence[SplitView]:
        """Return all proof that was kept, by origin and size."""
        query = "SELECT origin, size, seen_s, known, other FROM split_view ORDER BY origin, size"
        with self._reading() as connection:
            return tuple(SplitView(*row) for row in connection.execute(query).fetchall())

    def _check(self) -> None:
        with self._lock, _translated(self._path):
            application = self._connection.execute("PRAGMA application_id").fetchone()[0]
            is_memory = application == APPLICATION_ID and _SCHEMA.is_there(
                self._connection, self._path
            )
        if not is_memory:
            raise StateError(f"{self._path} is no witness's memory", next_step=_RESTORE)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated(self._path):
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated(self._path), transaction(self._connection):
            yield self._connection


_SELECT_HEAD = "SELECT origin, size, root, timestamp_s, note FROM head"


def _head(connection: sqlite3.Connection, origin: str) -> WitnessedHead | None:
    row = connection.execute(f"{_SELECT_HEAD} WHERE origin = ?", (origin,)).fetchone()
    return None if row is None else WitnessedHead(*row)


def _connect(path: Path) -> sqlite3.Connection:
    with _translated(path):
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS_MAX / 1_000
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StateError(
            f"{path} cannot be used: {error}",
            next_step="Check space and rights of the folder. Nothing is cosigned until it can be "
            "written. If the file is damaged, put its newest copy back.",
        ) from error
