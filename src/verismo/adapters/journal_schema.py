"""The tables of one journal file: their version, their rows, and how both become values.

It does no commits and holds no connection; the writer and the reader share it.
"""

import sqlite3
from collections.abc import Sequence

from verismo.adapters.sqlite_schema import Schema
from verismo.model.ids import ProvId, TenantId, prov_id_bytes
from verismo.ports.journal import OpenStream, Record, RecordKind

RECORD_COLUMNS = (
    "seq_n",
    "kind",
    "prov_id",
    "tenant",
    "cost_usd_micros",
    "written_ms",
    "statement",
    "jws",
    "graph",
    "captured",
)
STREAM_COLUMNS = ("prov_id", "tenant", "head", "jws", "context", "written_ms")

# UUIDv7 and time rise with `seq_n`, so each index grows at its end: one page more in a commit.
# The last record carries the sequence: without it a restart would give its numbers out again.
_TABLES = """
CREATE TABLE record (
    seq_n INTEGER PRIMARY KEY CHECK (seq_n > 0),
    kind TEXT NOT NULL CHECK (kind IN ('answer', 'void')),
    prov_id BLOB NOT NULL CHECK (length(prov_id) = 16),
    tenant TEXT NOT NULL,
    cost_usd_micros INTEGER NOT NULL,
    written_ms INTEGER NOT NULL,
    statement BLOB NOT NULL,
    jws BLOB NOT NULL,
    graph BLOB NOT NULL,
    captured BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX record_by_prov_id ON record (prov_id);
CREATE INDEX record_by_cost ON record (written_ms, tenant, cost_usd_micros)
    WHERE cost_usd_micros > 0;
CREATE TRIGGER record_never_changes BEFORE UPDATE ON record
    BEGIN SELECT RAISE(ABORT, 'a record is never changed'); END;
CREATE TRIGGER record_keeps_sequence BEFORE DELETE ON record
    WHEN old.seq_n = (SELECT MAX(seq_n) FROM record)
    BEGIN SELECT RAISE(ABORT, 'the last record keeps the sequence'); END;
CREATE TABLE stream (
    opened INTEGER PRIMARY KEY,
    prov_id BLOB NOT NULL UNIQUE CHECK (length(prov_id) = 16),
    tenant TEXT NOT NULL,
    head BLOB NOT NULL,
    jws BLOB NOT NULL,
    context BLOB NOT NULL,
    written_ms INTEGER NOT NULL
) STRICT;
"""

SCHEMA = Schema(
    _TABLES,
    next_step="Run the version of Verismo that wrote it, or a newer one; a journal is never taken "
    "back to an older version.",
)

RecordRow = tuple[int, RecordKind, bytes, str, int, int, bytes, bytes, bytes, bytes]
StreamRow = tuple[bytes, str, bytes, bytes, bytes, int]


def last_seq(connection: sqlite3.Connection) -> int:
    """Return the highest number in the file, voids included, 0 for none."""
    return int(connection.execute("SELECT COALESCE(MAX(seq_n), 0) FROM record").fetchone()[0])


def record_row(record: Record) -> RecordRow:
    """Return a record as a row of `RECORD_COLUMNS`.

    Raises:
        ValueError: the prov_id is not a canonical UUIDv7.
    """
    return (
        record.seq_n,
        record.kind,
        prov_id_bytes(record.prov_id),
        record.tenant,
        record.cost_usd_micros,
        record.written_ms,
        record.statement,
        record.jws,
        record.graph,
        record.captured,
    )


def record_from(row: RecordRow) -> Record:
    """Return the record of a row of `RECORD_COLUMNS`."""
    seq_n, kind, prov_id, tenant, cost, written_ms, statement, jws, graph, captured = row
    return Record(
        kind=kind,
        seq_n=seq_n,
        prov_id=_prov_id(prov_id),
        tenant=TenantId(tenant),
        statement=statement,
        jws=jws,
        graph=graph,
        cost_usd_micros=cost,
        captured=captured,
        written_ms=written_ms,
    )


def stream_row(stream: OpenStream) -> StreamRow:
    """Return an open stream as a row of `STREAM_COLUMNS`.

    Raises:
        ValueError: the prov_id is not a canonical UUIDv7.
    """
    return (
        prov_id_bytes(stream.prov_id),
        stream.tenant,
        stream.head,
        stream.jws,
        stream.context,
        stream.written_ms,
    )


def read_streams(connection: sqlite3.Connection) -> Sequence[OpenStream]:
    """Return the streams that are open in the file, oldest first."""
    columns = ", ".join(STREAM_COLUMNS)
    rows = connection.execute(f"SELECT {columns} FROM stream ORDER BY opened").fetchall()
    return tuple(
        OpenStream(
            prov_id=_prov_id(prov_id),
            tenant=TenantId(tenant),
            head=head,
            jws=jws,
            context=context,
            written_ms=written_ms,
        )
        for prov_id, tenant, head, jws, context, written_ms in rows
    )


def _prov_id(raw: bytes) -> ProvId:
    h = raw.hex()
    return ProvId(f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}")
