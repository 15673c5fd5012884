"""Decisions and steering in `<data>/adapt.db` (ports: `verismo.ports.decisions`, `.steering`).

Records and versions are never changed or removed: they are leaves of the ledger. The bytes that
records name are kept deflated, and may be forgotten after a while (`forget`).
"""

import sqlite3
import zlib
from collections.abc import Mapping, Sequence

from verismo.adapters.adapt_file import AdaptFile
from verismo.model.errors import StateError
from verismo.ports.decisions import DecisionRow
from verismo.ports.steering import SteeringRow

BLOB_BYTES_MAX = 67_108_864
"""No observation is longer; a deflated one that claims to be is damaged."""

_COLUMNS = "n, rule, subject, verdict, statement, jws, written_ms"


class SqliteDecisions:
    """A `DecisionStore`.

    Args:
        file: opened to write by whoever decides, to read by everybody else.
    """

    def __init__(self, file: AdaptFile) -> None:
        self._file = file

    def rows(self, after: int, limit: int) -> Sequence[DecisionRow]:
        """Return up to `limit` rows with numbers over `after`, in order."""
        return self._select("WHERE n > ? ORDER BY n LIMIT ?", after, limit)

    def newest(self, rules: Sequence[str], subject: str) -> DecisionRow | None:
        """Return the newest row of any of some rules about a subject; None if there is none."""
        found = [
            row
            for rule in rules
            for row in self._select(
                "WHERE rule = ? AND subject = ? ORDER BY n DESC LIMIT 1", rule, subject
            )
        ]
        return max(found, key=lambda row: row.n, default=None)

    def subjects(self, rules: Sequence[str]) -> Sequence[str]:
        """Return the subjects that some rules have decided about, sorted."""
        marks = ", ".join("?" * len(rules))
        select = f"SELECT DISTINCT subject FROM record WHERE rule IN ({marks}) ORDER BY subject"
        with self._file.reading() as connection:
            return [str(row[0]) for row in connection.execute(select, tuple(rules))]

    def first_since(self, since_ms: int) -> int:
        """Return the number of the first row written at or after a time; 0 if there is none."""
        select = "SELECT COALESCE(MIN(n), 0) FROM record WHERE written_ms >= ?"
        with self._file.reading() as connection:
            return int(connection.execute(select, (since_ms,)).fetchone()[0])

    def last(self) -> int:
        """Return the highest number, 0 for none; after a restore, that up to which none comes."""
        with self._file.reading() as connection:
            return _last(connection, "record", "n")

    def tip(self) -> DecisionRow | None:
        """Return the newest row of all; None for none."""
        return next(iter(self._select("ORDER BY n DESC LIMIT 1")), None)

    def blob(self, digest: str) -> bytes | None:
        """Return what was kept under a hex SHA-256; None if it is not there. It is not checked.

        Raises:
            StateError: it cannot be read or inflated: the file was damaged or altered.
        """
        with self._file.reading() as connection:
            found = connection.execute(
                "SELECT deflated FROM blob WHERE digest = ?", (digest,)
            ).fetchone()
        return None if found is None else _inflated(found[0], digest)

    def named(self, n: int) -> frozenset[str]:
        """Return the digests of the bytes that are kept for a record; empty once forgotten."""
        with self._file.reading() as connection:
            found = connection.execute("SELECT digest FROM named WHERE n = ?", (n,))
            return frozenset(str(row[0]) for row in found)

    def named_last(self) -> int:
        """Return the highest number of a record that bytes are kept for, 0 for none."""
        with self._file.reading() as connection:
            found = connection.execute("SELECT COALESCE(MAX(n), 0) FROM named").fetchone()
            return int(found[0])

    def append(self, token: int, row: DecisionRow, blobs: Mapping[str, bytes]) -> None:
        """Store the next record and what it names, in one transaction."""
        with self._file.writing(token) as connection:
            expected = _last(connection, "record", "n") + 1
            if row.n != expected:
                raise _out_of_turn("record", row.n, expected)
            connection.execute(
                f"INSERT INTO record ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (row.n, row.rule, row.subject, row.verdict, row.statement, row.jws, row.written_ms),
            )
            connection.executemany(
                "INSERT INTO blob VALUES (?, ?) ON CONFLICT DO NOTHING",
                [(digest, zlib.compress(content)) for digest, content in blobs.items()],
            )
            connection.executemany(
                "INSERT INTO named VALUES (?, ?)", [(row.n, digest) for digest in blobs]
            )

    def forget(self, token: int, before_ms: int) -> int:
        """Forget the bytes that only records written before a time name; returns how many."""
        with self._file.writing(token) as connection:
            connection.execute(
                "DELETE FROM named WHERE n IN (SELECT n FROM record WHERE written_ms < ?) "
                "AND n NOT IN (SELECT MAX(n) FROM record GROUP BY rule, subject)",
                (before_ms,),
            )
            return connection.execute(
                "DELETE FROM blob WHERE NOT EXISTS "
                "(SELECT 1 FROM named WHERE named.digest = blob.digest)"
            ).rowcount

    def _select(self, where: str, *values: int | str) -> list[DecisionRow]:
        with self._file.reading() as connection:
            found = connection.execute(f"SELECT {_COLUMNS} FROM record {where}", values)
            return [DecisionRow(*row) for row in found]


class SqliteSteering:
    """A `SteeringStore`.

    Args:
        file: opened to write by whoever decides, to read by every gateway.
    """

    def __init__(self, file: AdaptFile) -> None:
        self._file = file

    def version(self) -> int:
        """Return the newest version, 0 for none."""
        with self._file.reading() as connection:
            select = "SELECT COALESCE(MAX(version), 0) FROM steering"
            return int(connection.execute(select).fetchone()[0])

    def newest(self) -> SteeringRow | None:
        """Return the newest version; None for none."""
        return next(iter(self._select("ORDER BY version DESC LIMIT 1")), None)

    def rows(self, after: int, limit: int) -> Sequence[SteeringRow]:
        """Return up to `limit` versions over `after`, in order."""
        return self._select("WHERE version > ? ORDER BY version LIMIT ?", after, limit)

    def last(self) -> int:
        """Return the newest version; after a restore, that up to which none comes."""
        with self._file.reading() as connection:
            return _last(connection, "steering", "version")

    def publish(self, token: int, row: SteeringRow) -> None:
        """Store the next version durably."""
        with self._file.writing(token) as connection:
            expected = _last(connection, "steering", "version") + 1
            if row.version != expected:
                raise _out_of_turn("version", row.version, expected)
            connection.execute(
                "INSERT INTO steering VALUES (?, ?, ?, ?)",
                (row.version, row.statement, row.jws, row.written_ms),
            )

    def _select(self, where: str, *values: int) -> list[SteeringRow]:
        select = f"SELECT version, statement, jws, written_ms FROM steering {where}"
        with self._file.reading() as connection:
            return [SteeringRow(*row) for row in connection.execute(select, values)]


def _last(connection: sqlite3.Connection, table: str, column: str) -> int:
    select = f"SELECT MAX((SELECT n FROM passed), COALESCE(MAX({column}), 0)) FROM {table}"
    return int(connection.execute(select).fetchone()[0])


def _out_of_turn(what: str, number: int, expected: int) -> StateError:
    return StateError(
        f"{what} {number} is out of turn; the next one is {expected}",
        next_step="Nothing to do if it comes once: this process reads adapt.db again.",
    )


def _inflated(deflated: bytes, digest: str) -> bytes:
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(deflated, BLOB_BYTES_MAX)
    except zlib.error as error:
        raise _damaged(digest) from error
    if not inflater.eof or inflater.unused_data:
        raise _damaged(digest)
    return content


def _damaged(digest: str) -> StateError:
    return StateError(
        f"what adapt.db keeps under {digest[:16]}... is damaged",
        next_step="Keep the file for examination, check the disk, and restore a backup.",
    )
