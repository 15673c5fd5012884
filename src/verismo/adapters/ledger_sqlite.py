"""The ledger's state in `<data>/ledger.db`: indices, cursors, checkpoints and the lease."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from verismo.adapters.leased_sqlite import Layout, LeasedFile
from verismo.adapters.ledger_schema import SCHEMA
from verismo.model.errors import StateError
from verismo.model.ledger import ENTRY_BYTES, FULL_TILE_ENTRIES, LogId
from verismo.ports.ledger import (
    Growth,
    LeafPlace,
    LedgerForked,
    LogState,
    Run,
    StoredCheckpoint,
)

FILE_NAME = "ledger.db"
HOUR_MS = 3_600_000

_RESTORED = (
    "If a backup of the ledger was put back: `verismo ledger adopt` goes on from the published "
    "tiles. Never delete ledger.db or the checkpoints beside the keys."
)


class SqliteLedger(LeasedFile):
    """A `LedgerStore`, its `Lease` and its `LedgerReader`. Any thread may call; calls take turns.

    Args:
        path: the file; it is made, readable by its owner only, if it is not there.
        read_only: open it to read alone; a file that is not there yet reads as an empty ledger.

    Raises:
        StateError: the file cannot be used, or is of a newer version.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(path, _LAYOUT, read_only=read_only)

    def cursors(self) -> Mapping[str, int]:
        """Return the last number of each source that has an index."""
        with self.reading() as connection:
            return dict(_rows(connection, "SELECT name, cursor FROM source"))

    def logs(self) -> Sequence[LogState]:
        """Return every log's state, sorted."""
        select = "SELECT region, year, assigned, integrated FROM log ORDER BY region, year"
        with self.reading() as connection:
            return [
                LogState(LogId(region, year), assigned, integrated)
                for region, year, assigned, integrated in _rows(connection, select)
            ]

    def assign(self, token: int, growths: Sequence[Growth], cursors: Mapping[str, int]) -> None:
        """Give indices to entries and move the cursors, all or nothing."""
        with self.writing(token) as connection:
            sources = {name: _source(connection, name) for name in cursors}
            for growth in growths:
                self._grow(connection, growth, sources)
            connection.executemany(
                "UPDATE source SET cursor = ? WHERE name = ?",
                [(cursor, name) for name, cursor in cursors.items()],
            )

    def pending(self, log: LogId, first_index: int) -> bytes:
        """Return the entries from an index on."""
        with self.reading() as connection:
            found = _rows(
                connection, "SELECT id, assigned FROM log WHERE region = ? AND year = ?", *_key(log)
            )
            if not found:
                return b""
            identity, assigned = found[0]
            kept = _rows(
                connection,
                "SELECT first_index, entries FROM pending WHERE log = ? ORDER BY first_index",
                identity,
            )
        wanted = b"".join(
            entries[max(0, first_index - first) * ENTRY_BYTES :]
            for first, entries in kept
            if first + len(entries) // ENTRY_BYTES > first_index
        )
        if len(wanted) != (assigned - first_index) * ENTRY_BYTES:
            raise LedgerForked(
                f"{self.path} lacks entries of {log.path} from {first_index} to {assigned}",
                next_step=_RESTORED,
            )
        return wanted

    def integrated(self, token: int, log: LogId, size: int) -> None:
        """Note that all full tiles up to a size are durable."""
        full = size // FULL_TILE_ENTRIES * FULL_TILE_ENTRIES
        with self.writing(token) as connection:
            identity = _log(connection, log)
            connection.execute("UPDATE log SET integrated = ? WHERE id = ?", (size, identity))
            connection.execute(
                "DELETE FROM pending WHERE log = ? AND first_index + length(entries) / ? <= ?",
                (identity, ENTRY_BYTES, full),
            )

    def add_checkpoint(self, token: int, checkpoint: StoredCheckpoint) -> None:
        """Store a signed checkpoint; of those before it the last of each hour are kept."""
        with self.writing(token) as connection:
            identity = _log(connection, checkpoint.log)
            size, integrated = _rows(
                connection,
                "SELECT COALESCE(MAX(size), 0), integrated FROM log LEFT JOIN checkpoint "
                "ON checkpoint.log = log.id WHERE log.id = ?",
                identity,
            )[0]
            root, note = checkpoint.root, checkpoint.note
            # The last one with another note, as another log key signs it, makes way for this one.
            makes_way = (
                size == checkpoint.size
                and connection.execute(
                    "DELETE FROM checkpoint WHERE log = ? AND size = ? AND root = ? AND note <> ? "
                    "RETURNING size",
                    (identity, size, root, note),
                ).fetchall()
            )
            if not makes_way and not size < checkpoint.size <= integrated:
                raise LedgerForked(
                    f"a checkpoint of size {checkpoint.size} for {checkpoint.log.path} cannot "
                    f"follow one of {size} over {integrated} integrated entries",
                    next_step=_RESTORED,
                )
            connection.execute(
                "DELETE FROM checkpoint WHERE log = ? AND size = ? AND signed_ms / ? = ?",
                (identity, size, HOUR_MS, checkpoint.signed_ms // HOUR_MS),
            )
            connection.execute(
                "INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?)",
                (identity, checkpoint.size, root, note, checkpoint.signed_ms),
            )

    def latest_checkpoint(self, log: LogId) -> StoredCheckpoint | None:
        """Return the last checkpoint that was signed, None for none."""
        found = self._checkpoints(log, "ORDER BY size DESC LIMIT 1")
        return found[0] if found else None

    def checkpoints(self, log: LogId) -> Sequence[StoredCheckpoint]:
        """Return the checkpoints that are kept, smallest first."""
        return self._checkpoints(log, "ORDER BY size")

    def locate(self, source: str, seq_n: int) -> LeafPlace | None:
        """Return where a row is in the ledger, None if it has no index yet."""
        select = (
            "SELECT region, year, first_index + ? - first_seq, first_seq + count "
            "FROM run JOIN log ON log.id = run.log "
            "WHERE source = (SELECT id FROM source WHERE name = ?) AND first_seq <= ? "
            "ORDER BY first_seq DESC LIMIT 1"
        )
        with self.reading() as connection:
            found = _rows(connection, select, seq_n, source, seq_n)
        if not found or seq_n >= found[0][3]:
            return None
        region, year, index, _ = found[0]
        return LeafPlace(LogId(region, year), index)

    def runs(self, log: LogId, first_index: int, limit: int) -> Sequence[Run]:
        """Return the runs from the one that holds an index on, in the order of indices."""
        select = (
            "WITH here AS (SELECT id FROM log WHERE region = ? AND year = ?) "
            "SELECT name, first_seq, count, first_index FROM run "
            "JOIN source ON source.id = run.source WHERE log = (SELECT id FROM here) "
            "AND first_index >= COALESCE((SELECT MAX(first_index) FROM run "
            "WHERE log = (SELECT id FROM here) AND first_index <= ?), 0) "
            "ORDER BY first_index LIMIT ?"
        )
        with self.reading() as connection:
            found = _rows(connection, select, *_key(log), first_index, limit)
        runs = [Run(name, seq, count, log, index) for name, seq, count, index in found]
        return [run for run in runs if run.first_index + run.count > first_index]

    def _grow(
        self, connection: sqlite3.Connection, growth: Growth, sources: dict[str, int]
    ) -> None:
        connection.execute(
            "INSERT INTO log (region, year, assigned, integrated) VALUES (?, ?, 0, 0) "
            "ON CONFLICT DO NOTHING",
            _key(growth.log),
        )
        count = len(growth.entries) // ENTRY_BYTES
        found = connection.execute(
            "UPDATE log SET assigned = assigned + ? WHERE region = ? AND year = ? "
            "AND assigned = ? RETURNING id",
            (count, *_key(growth.log), growth.first_index),
        ).fetchall()
        if not found:
            raise LedgerForked(
                f"{growth.log.path} does not end at {growth.first_index}: another process grew it",
                next_step="Nothing to do if it comes once: this process reads the ledger again.",
            )
        [[identity]] = found
        connection.executemany(
            "INSERT INTO run VALUES (?, ?, ?, ?, ?)",
            [
                (sources[run.source], run.first_seq, run.count, identity, run.first_index)
                for run in growth.runs
            ],
        )
        connection.execute(
            "INSERT INTO pending VALUES (?, ?, ?)", (identity, growth.first_index, growth.entries)
        )

    def _checkpoints(self, log: LogId, order: str) -> list[StoredCheckpoint]:
        select = (
            "SELECT size, root, note, signed_ms FROM checkpoint WHERE log = "
            f"(SELECT id FROM log WHERE region = ? AND year = ?) {order}"
        )
        with self.reading() as connection:
            return [
                StoredCheckpoint(log, size, root, note, signed_ms)
                for size, root, note, signed_ms in _rows(connection, select, *_key(log))
            ]


def _translated(path: Path, error: sqlite3.Error) -> StateError:
    if isinstance(error, sqlite3.IntegrityError):
        # A constraint of the tables: what it refuses would rewrite history.
        return LedgerForked(f"the ledger {path} refuses: {error}", next_step=_RESTORED)
    return StateError(
        f"the ledger {path} cannot be used: {error}",
        next_step="Check space and rights of the data folder. Answers go on without it; what is "
        "missing is integrated once it can be used again.",
    )


_LAYOUT = Layout(
    SCHEMA,
    does="integrates the ledger",
    translated=_translated,
    bring_back="Answers go on and nothing is integrated until then: stop Verismo, bring the file "
    "back, from where it was moved to or from a backup, and start again.",
)


# The rows' columns are typed by STRICT tables; sqlite3 cannot say so.
def _rows(connection: sqlite3.Connection, select: str, *values: int | str) -> list[tuple]:  # type: ignore[type-arg]
    return connection.execute(select, values).fetchall()


def _key(log: LogId) -> tuple[str, int]:
    return log.region, log.year


def _source(connection: sqlite3.Connection, name: str) -> int:
    connection.execute(
        "INSERT INTO source (name, cursor) VALUES (?, 0) ON CONFLICT DO NOTHING", [name]
    )
    return int(_rows(connection, "SELECT id FROM source WHERE name = ?", name)[0][0])


def _log(connection: sqlite3.Connection, log: LogId) -> int:
    found = _rows(connection, "SELECT id FROM log WHERE region = ? AND year = ?", *_key(log))
    if not found:
        raise LedgerForked(f"the ledger has no log {log.path}", next_step=_RESTORED)
    return int(found[0][0])
