"""The tables of `adapt.db`."""

from typing import Final

from verismo.adapters import lease_sqlite
from verismo.adapters.sqlite_schema import Schema

# `named` says which record needs which bytes, so that old bytes can be forgotten and the newest of
# each subject never are. `passed` is 0 until a backup is restored, or a start finds that the ledger
# has more than this file: the numbers up to it may stand for records and versions that are not
# known here, and are not given out again. `archived` is
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

SCHEMA: Final = Schema(_TABLES)
