"""The ledger's leaves with their records, in the order of the tree (port: `ports.siem.LeafReader`).

The ledger says which row of which source has which index; journals, key ring and `adapt.db` have
the rows. Of a row that a restore has lost the published log has the leaf: that is exported, so that
the cursor passes it and readers count it.
"""

from collections.abc import Iterator, Sequence

import msgspec

from verismo.attest.leaf import LeafRefused, LeafType, leaf_type
from verismo.attest.tile import TILE_WIDTH
from verismo.control.dayfiles import read_entries
from verismo.control.journalaudit import LOST
from verismo.control.leafsources import ADAPT_TYPES, KEY_RING, stated_ms
from verismo.model.errors import IntegrityError, StateError
from verismo.model.ledger import LogId, origin_of, year_span_ms
from verismo.ports.journal import JournalReader
from verismo.ports.keyring import KeyRingStore
from verismo.ports.ledger import AdaptRows, LedgerReader, Run, SourceRow, TileReader
from verismo.ports.siem import LoggedRecord

RUNS_MAX = 256
"""Runs of one look at the ledger; many slots that take turns make short ones."""

_Fields = tuple[LeafType, str, bytes, bytes, bytes, int]
_TYPES = {"answer": LeafType.ANSWER, "void": LeafType.VOID}


class LeafStores(msgspec.Struct, frozen=True):
    """Where leaves and their records are read.

    Args:
        ledger: indices.
        journal: answers and voids.
        keyring: versions of the key ring.
        adapt: records of decisions and versions of the steering.
        tiles: the published log.
    """

    ledger: LedgerReader
    journal: JournalReader
    keyring: KeyRingStore
    adapt: AdaptRows
    tiles: TileReader


class LedgerLeaves:
    """A `LeafReader` over the ledger and its sources; only what is integrated is read.

    Args:
        issuer: the `iss` of statements; origins begin with it.
        stores: what is read.
    """

    def __init__(self, issuer: str, stores: LeafStores) -> None:
        self._issuer = issuer
        self._ledger = stores.ledger
        self._journal = stores.journal
        self._keyring = stores.keyring
        self._adapt = stores.adapt
        self._tiles = stores.tiles
        self._lost_ms: dict[tuple[LogId, int], int] = {}
        """Times of runs whose records are lost, by their first index: each follows the last."""

    def logs(self) -> Sequence[str]:
        """Return the origins of all logs, sorted."""
        return sorted(self._sizes())

    def size(self, log: str) -> int:
        """Return how many leaves of a log are integrated; 0 if there is no such log."""
        return self._sizes().get(log, (LogId("", 0), 0))[1]

    def is_lost(self, log: str, index: int) -> bool:
        """Say whether a restore has lost the record of a leaf; False if there is no such leaf.

        Raises:
            StateError: the ledger cannot be read now.
        """
        log_id, size = self._sizes().get(log, (LogId("", 0), 0))
        if not 0 <= index < size:
            return False
        return any(run.source == LOST for run in self._ledger.runs(log_id, index, 1))

    def read(self, log: str, after_index: int, limit: int) -> Sequence[LoggedRecord]:
        """Return up to `limit` leaves after an index, without a gap; empty at the end.

        Raises:
            StateError: the ledger or a journal cannot be read now, or lacks a record.
        """
        found = self._sizes().get(log)
        if found is None:
            return ()
        log_id, size = found
        first, end = after_index + 1, min(size, after_index + 1 + limit)
        records: list[LoggedRecord] = []
        for run in self._ledger.runs(log_id, first, RUNS_MAX):
            start, stop = max(run.first_index, first), min(run.first_index + run.count, end)
            if start != first + len(records) or start >= stop:
                break
            records += self._rows(run, start, stop)
        return records

    def _sizes(self) -> dict[str, tuple[LogId, int]]:
        states = self._ledger.logs()
        return {origin_of(self._issuer, one.log): (one.log, one.integrated) for one in states}

    def _rows(self, run: Run, start: int, stop: int) -> Iterator[LoggedRecord]:
        """Yield the rows of indices of one run, and refuse to leave one out."""
        if run.source == LOST:
            yield from self._lost(run, start, stop)
            return
        after_seq = run.first_seq + start - run.first_index - 1
        if run.source == KEY_RING:
            rows = self._ring_versions(after_seq, stop - start)
        elif run.source in ADAPT_TYPES:
            rows = self._control_rows(run.source, after_seq, stop - start)
        else:
            rows = self._journal_records(run.source, after_seq, stop - start)
        index = start
        for seq_n, record in rows:
            if seq_n != after_seq + 1 + index - start:
                break
            yield LoggedRecord(index, *record)
            index += 1
        if index != stop:
            raise StateError(
                f"leaf {index} of {run.log.path} has no record in {run.source}",
                next_step="The journal was pruned or replaced before its records were exported: "
                "bring the journal back from a backup; the export waits.",
            )

    def _journal_records(
        self, slot: str, after_seq: int, count: int
    ) -> Iterator[tuple[int, _Fields]]:
        for one in self._journal.scan_uncaptured(slot, after_seq, count):
            kind = _TYPES[one.kind]
            fields = (kind, one.prov_id, one.statement, one.jws, one.graph, one.written_ms)
            yield one.seq_n, fields

    def _control_rows(
        self, source: str, after_seq: int, count: int
    ) -> Iterator[tuple[int, _Fields]]:
        for one in self._adapt.rows(source, after_seq, count):
            yield one.n, (ADAPT_TYPES[source], "", one.statement, one.jws, b"", one.written_ms)

    def _ring_versions(self, after: int, count: int) -> Iterator[tuple[int, _Fields]]:
        for one in self._keyring.versions()[after : after + count]:
            fields = (LeafType.KEY_RING, "", one.statement, one.jws, b"", one.written_ms)
            yield one.version, fields

    def _lost(self, run: Run, start: int, stop: int) -> Iterator[LoggedRecord]:
        """Yield the leaves of a run whose records are lost, from what is published."""
        time_ms = self._last_ms(run)
        latest = self._ledger.latest_checkpoint(run.log)
        size = 0 if latest is None else latest.size
        bundle: tuple[bytes, ...] = ()
        bundle_index = -1
        for index in range(start, stop):
            if index // TILE_WIDTH != bundle_index:
                bundle_index = index // TILE_WIDTH
                bundle = self._bundle(run.log, bundle_index, size)
            entry = bundle[index % TILE_WIDTH]
            yield LoggedRecord(index, entry[0], "", b"", b"", b"", time_ms, entry)

    def _bundle(self, log: LogId, index: int, size: int) -> tuple[bytes, ...]:
        try:
            width = min(TILE_WIDTH, size - index * TILE_WIDTH)
            entries = read_entries(self._tiles, log, index, width)
            for entry in entries:
                leaf_type(entry)
        except (IntegrityError, LeafRefused) as error:
            raise StateError(
                f"a leaf of {log.path} whose record is lost cannot be read: {error}",
                next_step="`verismo ledger audit` names what is damaged; the export waits.",
            ) from error
        return entries

    def _last_ms(self, run: Run) -> int:
        """Return when the last record before a run was signed that is there, Unix ms.

        The lost ones came after it, and nothing that is left says when. The beginning of the log's
        year where there is none.
        """
        passed: list[Run] = []
        while run.source == LOST and (run.log, run.first_index) not in self._lost_ms:
            passed.append(run)
            if run.first_index == 0:
                break
            [run] = self._ledger.runs(run.log, run.first_index - 1, 1)
        if run.source == LOST:
            begin_ms = year_span_ms(run.log.year).start
            found = self._lost_ms.get((run.log, run.first_index), begin_ms)
        else:
            found = self._stated_ms(run)
        self._lost_ms |= {(one.log, one.first_index): found for one in passed}
        return found

    def _stated_ms(self, run: Run) -> int:
        """Return when the last row of a run was signed."""
        end = run.first_index + run.count
        [one] = self._rows(run, end - 1, end)
        last_seq = run.first_seq + run.count - 1
        return stated_ms(run.source, SourceRow(last_seq, one.kind, one.statement, one.jws))
