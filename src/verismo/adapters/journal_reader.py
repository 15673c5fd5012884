"""Reads every slot's journal file of a data folder while it is written, from any process."""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from verismo.adapters import journal_schema as schema
from verismo.adapters.journal_slot import slot_files
from verismo.model.errors import StateError
from verismo.model.ids import ProvId, TenantId, is_prov_id, prov_id_bytes
from verismo.ports.journal import Record, SignedRow

SCAN_ROWS_MAX = 10_000
"""Rows of one `scan`: about 30 MB of records."""
_COLUMNS = ", ".join(schema.RECORD_COLUMNS)
_UNCAPTURED = ", ".join((*schema.RECORD_COLUMNS[:-1], "x''"))
"""The content is a row's last column, so its pages are not read."""


class SqliteJournalReader:
    """A `JournalReader` over `<data>/journal/*.db`, opened read-only.

    Threads: any thread may call; calls take turns on one lock and one connection for each slot.
    Visibility: each call is a read of its own, so it sees every record that was acknowledged
    before it, by this process or another. A slot that appears later is found by the next call.

    Args:
        data: the data folder; it may have no journal yet.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._lock = threading.Lock()
        self._connections: dict[Path, sqlite3.Connection] = {}

    def find(self, prov_id: ProvId) -> Record | None:
        """Return the record of an answer, or None; a text that is no prov_id finds nothing.

        Raises:
            StateError: a journal file cannot be read.
        """
        if not is_prov_id(prov_id):
            return None
        select = f"SELECT {_COLUMNS} FROM record WHERE prov_id = ?"
        for path in slot_files(self._data).values():
            rows = self._read(path, select, (prov_id_bytes(prov_id),))
            if rows:
                return schema.record_from(rows[0])
        return None

    def scan(self, slot: str, after_seq: int, limit: int) -> Sequence[Record]:
        """Return up to `limit` (at most 10,000) records of a slot after a number, in order.

        Raises:
            StateError: the journal file cannot be read.
        """
        return tuple(map(schema.record_from, self._scan(_COLUMNS, slot, after_seq, limit)))

    def scan_uncaptured(self, slot: str, after_seq: int, limit: int) -> Sequence[Record]:
        """Return the same records with `captured` empty; what was captured is not read.

        Raises:
            StateError: the journal file cannot be read.
        """
        return tuple(map(schema.record_from, self._scan(_UNCAPTURED, slot, after_seq, limit)))

    def scan_signed(self, slot: str, after_seq: int, limit: int) -> Sequence[SignedRow]:
        """Return up to `limit` (at most 10,000) records' signed parts after a number, in order.

        The columns stand before the graph in each row, so its pages are not read.

        Raises:
            StateError: the journal file cannot be read.
        """
        return self._scan("seq_n, kind, statement, jws", slot, after_seq, limit)

    def slots(self) -> Sequence[str]:
        """Return the names of the slots that have a journal, ended ones included, sorted."""
        return sorted(slot_files(self._data))

    def spent_by_slot(self, since_ms: int) -> dict[str, dict[TenantId, int]]:
        """Return the cost in USD micros of each slot's and tenant's records since a time.

        Raises:
            StateError: a journal file cannot be read.
        """
        select = (
            "SELECT tenant, SUM(cost_usd_micros) FROM record "
            "WHERE written_ms >= ? AND cost_usd_micros > 0 GROUP BY tenant"
        )
        return {
            slot: {TenantId(tenant): cost for tenant, cost in self._read(path, select, (since_ms,))}
            for slot, path in slot_files(self._data).items()
        }

    def close(self) -> None:
        """Close every file; a later call opens them again."""
        with self._lock:
            for connection in self._connections.values():
                connection.close()
            self._connections.clear()

    def _scan(self, columns: str, slot: str, after_seq: int, limit: int) -> list[tuple]:  # type: ignore[type-arg]
        path = slot_files(self._data).get(slot)
        if path is None:
            return []
        select = f"SELECT {columns} FROM record WHERE seq_n > ? ORDER BY seq_n LIMIT ?"
        return self._read(path, select, (after_seq, max(0, min(limit, SCAN_ROWS_MAX))))

    # The rows' columns are typed by STRICT tables; sqlite3 cannot say so.
    def _read(self, path: Path, select: str, values: tuple[int | bytes, ...]) -> list[tuple]:  # type: ignore[type-arg]
        with self._lock:
            try:
                connection = self._connection(path)
                # fetchall ends the read: a reader that stayed in it would keep the log growing.
                return [] if connection is None else connection.execute(select, values).fetchall()
            except sqlite3.Error as error:
                raise StateError(
                    f"the journal {path} cannot be read: {error}",
                    next_step="Check the disk and that this user may write the journal folder "
                    "(SQLite shares memory there).",
                ) from error

    def _connection(self, path: Path) -> sqlite3.Connection | None:
        if path not in self._connections:
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                is_ready = schema.SCHEMA.is_there(connection, path)
            except (sqlite3.Error, StateError):
                connection.close()
                raise
            if not is_ready:
                # The writer has made the file and not yet its tables: nothing was acknowledged.
                connection.close()
                return None
            self._connections[path] = connection
        return self._connections[path]
