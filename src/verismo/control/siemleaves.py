"""The ledger's leaves with their records, in the order of the tree (port: `ports.siem.LeafReader`).

The ledger says which row of which source has which index; journals, key ring and `adapt.db` have
the rows.
"""

from collections.abc import Iterator, Sequence

from verismo.attest.leaf import LeafType
from verismo.control.leafsources import ADAPT_TYPES, KEY_RING
from verismo.model.errors import StateError
from verismo.model.ledger import LogId, origin_of
from verismo.ports.journal import JournalReader
from verismo.ports.keyring import KeyRingStore
from verismo.ports.ledger import AdaptRows, LedgerReader, Run
from verismo.ports.siem import LoggedRecord

RUNS_MAX = 256
"""Runs of one look at the ledger; many slots that take turns make short ones."""
_TYPES = {"answer": LeafType.ANSWER, "void": LeafType.VOID}


class LedgerLeaves:
    """A `LeafReader` over the ledger and its sources; only what is integrated is read.

    Args:
        issuer: the `iss` of statements; origins begin with it.
        ledger: indices.
        journal: answers and voids.
        keyring: versions of the key ring.
        adapt: records of decisions and versions of the steering.
    """

    def __init__(
        self,
        issuer: str,
        ledger: LedgerReader,
        journal: JournalReader,
        keyring: KeyRingStore,
        adapt: AdaptRows,
    ) -> None:
        self._issuer = issuer
        self._ledger = ledger
        self._journal = journal
        self._keyring = keyring
        self._adapt = adapt

    def logs(self) -> Sequence[str]:
        """Return the origins of all logs, sorted."""
        return sorted(self._sizes())

    def size(self, log: str) -> int:
        """Return how many leaves of a log are integrated; 0 if there is no such log."""
        return self._sizes().get(log, (LogId("", 0), 0))[1]

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
    ) -> Iterator[tuple[int, tuple[LeafType, str, bytes, bytes, bytes, int]]]:
        for one in self._journal.scan_uncaptured(slot, after_seq, count):
            kind = _TYPES[one.kind]
            fields = (kind, one.prov_id, one.statement, one.jws, one.graph, one.written_ms)
            yield one.seq_n, fields

    def _control_rows(
        self, source: str, after_seq: int, count: int
    ) -> Iterator[tuple[int, tuple[LeafType, str, bytes, bytes, bytes, int]]]:
        for one in self._adapt.rows(source, after_seq, count):
            yield one.n, (ADAPT_TYPES[source], "", one.statement, one.jws, b"", one.written_ms)

    def _ring_versions(
        self, after: int, count: int
    ) -> Iterator[tuple[int, tuple[LeafType, str, bytes, bytes, bytes, int]]]:
        for one in self._keyring.versions()[after : after + count]:
            fields = (LeafType.KEY_RING, "", one.statement, one.jws, b"", one.written_ms)
            yield one.version, fields
