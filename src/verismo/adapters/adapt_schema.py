"""The tables of `adapt.db` and its version."""

import sqlite3
from pathlib import Path

from verismo.adapters import lease_sqlite
from verismo.model.errors import StateError

SCHEMA_VERSION = 1

# `named` says which record needs which bytes, so that old bytes can be forgotten and the newest of
# each subject never are. `passed` is 0 until a backup is restored: the numbers up to it may stand
# for records and versions that the backup did not know, and are not given out again. `archived` is
# what an archive of the ledger gives back: signed rows without the bytes that they name.
_TABLES = f"""{lease_sqlite.TABLE}CREATE TABLE passed (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    n INTEGER NOT NULL
) STRICT;
INSERT INTO passed VALUES (1, 0);
CREATE TABLE record (
    n INTEGER PRIMARY KEY,
    rule TEXT NOT NULL,
    subject TEXT NOT NULL,
    verdict TEXT NOT NULL,
    statement BLOB NOT NULL,
    jws BLOB NOT NULL,
    written_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX record_by_subject ON record (rule, subject, n);
CREATE INDEX record_by_time ON record (written_ms, n);
CREATE TABLE blob (
    digest TEXT PRIMARY KEY,
    deflated BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE named (
    n INTEGER NOT NULL REFERENCES record,
    digest TEXT NOT NULL REFERENCES blob,
    PRIMARY KEY (n, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX named_by_digest ON named (digest);
CREATE TABLE steering (
    version INTEGER PRIMARY KEY,
    statement BLOB NOT NULL,
    jws BLOB NOT NULL,
    written_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE archived (
    source TEXT NOT NULL,
    n INTEGER NOT NULL,
    statement BLOB NOT NULL,
    jws BLOB NOT NULL,
    written_ms INTEGER NOT NULL,
    PRIMARY KEY (source, n)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER record_never_changes BEFORE UPDATE ON record
    BEGIN SELECT RAISE(ABORT, 'a record is never changed'); END;
CREATE TRIGGER record_never_goes BEFORE DELETE ON record
    BEGIN SELECT RAISE(ABORT, 'a record is never removed'); END;
CREATE TRIGGER steering_never_changes BEFORE UPDATE ON steering
    BEGIN SELECT RAISE(ABORT, 'a version of the steering is never changed'); END;
CREATE TRIGGER steering_never_goes BEFORE DELETE ON steering
    BEGIN SELECT RAISE(ABORT, 'a version of the steering is never removed'); END;
CREATE TRIGGER passed_never_goes_back BEFORE UPDATE ON passed WHEN new.n < old.n
    BEGIN SELECT RAISE(ABORT, 'a number is never given out twice'); END;
"""


def create_tables(connection: sqlite3.Connection) -> None:
    """Create the tables and their version in one transaction, if they are not there."""
    connection.execute("BEGIN IMMEDIATE")
    if _version(connection) == 0:
        # Not executescript(), which would end the transaction that keeps other processes out.
        for statement in _TABLES.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def has_tables(connection: sqlite3.Connection, path: Path) -> bool:
    """Say whether the tables are there, and refuse a file of a newer program.

    Raises:
        StateError: the file was written by a newer version of Verismo.
    """
    version = _version(connection)
    if version > SCHEMA_VERSION:
        raise StateError(
            f"{path} has version {version} of decisions; this program knows up to {SCHEMA_VERSION}",
            next_step="Run the version of Verismo that wrote it, or a newer one.",
        )
    return version == SCHEMA_VERSION


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
