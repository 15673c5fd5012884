"""The tables of `ledger.db`."""

from typing import Final

from verismo.adapters import lease_sqlite
from verismo.adapters.sqlite_schema import Schema

# Indices are given out in runs: rows that follow one another in their source and in the log. At
# 5,000 answers a second a run holds a thousand, so a leaf costs the ledger a few bytes beside its
# tiles. An answer is found by its slot and number, which its statement says.
_TABLES = f"""{lease_sqlite.TABLE}CREATE TABLE source (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    cursor INTEGER NOT NULL
) STRICT;
CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    region TEXT NOT NULL,
    year INTEGER NOT NULL,
    assigned INTEGER NOT NULL,
    integrated INTEGER NOT NULL CHECK (integrated BETWEEN 0 AND assigned),
    UNIQUE (region, year)
) STRICT;
CREATE TABLE run (
    source INTEGER NOT NULL REFERENCES source,
    first_seq INTEGER NOT NULL,
    count INTEGER NOT NULL CHECK (count > 0),
    log INTEGER NOT NULL REFERENCES log,
    first_index INTEGER NOT NULL,
    PRIMARY KEY (source, first_seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX run_by_index ON run (log, first_index);
CREATE TABLE pending (
    log INTEGER NOT NULL REFERENCES log,
    first_index INTEGER NOT NULL,
    entries BLOB NOT NULL,
    PRIMARY KEY (log, first_index)
) STRICT;
CREATE TABLE checkpoint (
    log INTEGER NOT NULL REFERENCES log,
    size INTEGER NOT NULL,
    root BLOB NOT NULL CHECK (length(root) = 32),
    note BLOB NOT NULL,
    signed_ms INTEGER NOT NULL,
    PRIMARY KEY (log, size)
) STRICT;
CREATE TRIGGER cursor_never_goes_back BEFORE UPDATE ON source WHEN new.cursor < old.cursor
    BEGIN SELECT RAISE(ABORT, 'a cursor never goes back'); END;
CREATE TRIGGER log_never_shrinks BEFORE UPDATE ON log
    WHEN new.assigned < old.assigned OR new.integrated < old.integrated
    BEGIN SELECT RAISE(ABORT, 'a log never shrinks'); END;
CREATE TRIGGER run_never_changes BEFORE UPDATE ON run
    BEGIN SELECT RAISE(ABORT, 'an index is never given out twice'); END;
CREATE TRIGGER checkpoint_never_changes BEFORE UPDATE ON checkpoint
    BEGIN SELECT RAISE(ABORT, 'a checkpoint is never changed'); END;
"""

SCHEMA: Final = Schema(_TABLES)
