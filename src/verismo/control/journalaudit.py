"""Compares a log with the journals: each record's entry at its index, and nothing beside them.

Also the sequence of each source: a number that is missing without a void is a dropped record; and
whether the key that signed a record was in force when it says it was.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from verismo.attest.controlrecord import is_next
from verismo.attest.jws import JwsRefused, parse
from verismo.attest.keyentry import FOR_EVER_MS, KeyEntry, judge_key
from verismo.attest.leaf import LeafType, leaf_entry
from verismo.control.leafsources import stated_ms
from verismo.control.treeaudit import Finding
from verismo.model.errors import StateError
from verismo.model.ledger import LogId
from verismo.ports.ledger import LeafSource, LedgerReader, Run, SourceRow

RUNS_AT_ONCE = 1_000
ROWS_AT_ONCE = 4_096
LOST = "@lost"
"""Name of the source of entries whose records a restore has lost; see `ledger adopt`."""

_ROLES: Mapping[int, str] = {
    LeafType.KEY_RING: "evidence",
    LeafType.DECISION: "plan",
    LeafType.PLAN: "plan",
}
"""Who signs what is not signed by a token key."""

JudgeRow = Callable[[str, SourceRow], Iterator[Finding]]


class RecordAudit:
    """Compares the entries of one log, shown in order, with the rows that they were made from.

    Args:
        log: which log.
        where: its origin.
        reader: says which row has which index.
        sources: of rows, by name.
        counted: rows seen, by source; added to.
    """

    def __init__(
        self,
        log: LogId,
        where: str,
        reader: LedgerReader,
        sources: Mapping[str, LeafSource],
        counted: dict[str, int],
    ) -> None:
        self._log = log
        self._where = where
        self._reader = reader
        self._sources = sources
        self._counted = counted
        self._runs: list[Run] = []
        self.lost = 0

    def see(self, first: int, entries: Sequence[bytes]) -> Iterator[Finding]:
        """Yield what is wrong with the entries from an index on."""
        index, end = first, first + len(entries)
        while index < end:
            run = self._run_at(index)
            if run is None or run.first_index > index:
                until = end if run is None else min(end, run.first_index)
                yield Finding(
                    "foreign", self._where, f"entries {index} to {until - 1} come from no record"
                )
                index = until
                continue
            count = min(end, run.first_index + run.count) - index
            wanted = entries[index - first : index - first + count]
            yield from self._compare(run, index, wanted)
            index += count

    def count_rest(self, size: int) -> None:
        """Count the rows that have an index which no published checkpoint covers yet."""
        while runs := self._reader.runs(self._log, size, RUNS_AT_ONCE):
            for run in runs:
                end = run.first_index + run.count
                self._counted[run.source] = self._counted.get(run.source, 0) + end - size
                size = end

    def _run_at(self, index: int) -> Run | None:
        while self._runs and self._runs[0].first_index + self._runs[0].count <= index:
            self._runs.pop(0)
        if not self._runs:
            self._runs = list(self._reader.runs(self._log, index, RUNS_AT_ONCE))
        return self._runs[0] if self._runs else None

    def _compare(self, run: Run, index: int, entries: Sequence[bytes]) -> Iterator[Finding]:
        if run.source == LOST:
            self.lost += len(entries)
            return
        first_seq = run.first_seq + index - run.first_index
        source = self._sources.get(run.source)
        rows = [] if source is None else source.rows(run.source, first_seq - 1, len(entries))
        found = {row.seq_n: row for row in rows}
        for at, entry in enumerate(entries):
            seq_n = first_seq + at
            row = found.get(seq_n)
            if row is None:
                yield Finding(
                    "missing",
                    self._where,
                    f"entry {index + at} is of {run.source} {seq_n}, which is not in the journal",
                )
                continue
            self._counted[run.source] = self._counted.get(run.source, 0) + 1
            if leaf_entry(LeafType(row.leaf_type), row.statement, row.jws) != entry:
                yield Finding(
                    "record",
                    self._where,
                    f"entry {index + at} is not that of {run.source} {seq_n}: one was changed",
                )


class SequenceAudit:
    """Walks one source from its first number to its last.

    Args:
        name: of the sequence.
        source: of its rows.
        reader: says which row has which index.
        judge: says what is wrong with a row by itself.
    """

    def __init__(
        self, name: str, source: LeafSource, reader: LedgerReader, judge: JudgeRow | None = None
    ) -> None:
        self._name = name
        self._source = source
        self._reader = reader
        self._judge = judge
        self.waiting = 0

    def findings(self, cursor: int, counted: int) -> Iterator[Finding]:
        """Yield what is wrong.

        Args:
            cursor: last number that has an index, by the ledger.
            counted: how many of its rows were found in the logs.
        """
        last = rows_below = 0
        for row in self._rows():
            first = self._first(row)
            if first != last + 1 and not self._is_restored(row, last):
                yield self._found(
                    "sequence", f"numbers {last + 1} to {first - 1} are missing without a void"
                )
            last = row.seq_n
            rows_below += row.seq_n <= cursor
            self.waiting += row.seq_n > cursor
            if self._judge is not None:
                yield from self._judge(self._name, row)
        if last < cursor:
            yield self._found("sequence", f"ends with {last}, but the ledger took {cursor}")
        if rows_below != counted:
            yield from self._name_missing(cursor)

    def _rows(self) -> Iterator[SourceRow]:
        after = 0
        while rows := self._source.rows(self._name, after, ROWS_AT_ONCE):
            yield from rows
            after = rows[-1].seq_n

    def _first(self, row: SourceRow) -> int:
        """Return the first number that a row accounts for: a void accounts for its whole gap."""
        if row.leaf_type != LeafType.VOID:
            return row.seq_n
        try:
            return msgspec.json.decode(row.statement, type=_Gap).first
        except msgspec.MsgspecError:
            return row.seq_n

    def _is_restored(self, row: SourceRow, last: int) -> bool:
        """Say whether the control plane's numbers go on here after a restore."""
        return row.leaf_type in (LeafType.DECISION, LeafType.PLAN) and is_next(last, row.seq_n)

    def _name_missing(self, cursor: int) -> Iterator[Finding]:
        for row in self._rows():
            if row.seq_n <= cursor and self._reader.locate(self._name, row.seq_n) is None:
                yield self._found("missing", f"record {row.seq_n} is in no log")

    def _found(self, kind: str, detail: str) -> Finding:
        return Finding(kind, self._name, detail)


class _Gap(msgspec.Struct, frozen=True):
    first: int


class KeyAudit:
    """Says whether the key of a row was in force when the row says that it was signed.

    The signature itself is not checked here: `verismo verify` does that for each answer.

    Args:
        entries: every key of the newest key ring.
    """

    def __init__(self, entries: Sequence[KeyEntry]) -> None:
        self._entries = {entry.kid: entry for entry in entries}

    def judge(self, name: str, row: SourceRow) -> Iterator[Finding]:
        """Yield what is wrong with a row's key."""
        role = _ROLES.get(row.leaf_type, "token")
        try:
            kid = parse(row.jws.decode("ascii")).header.kid
            iat_ms = stated_ms(name, row)
        except (JwsRefused, UnicodeDecodeError, StateError) as error:
            yield Finding("key", name, f"record {row.seq_n}: {error}")
            return
        entry = self._entries.get(kid)
        if entry is None or entry.role != role:
            problem = f"signed by {kid}, which is no {role} key of the ring"
        else:
            # What a revoked key signed before it was revoked stands: the ledger itself shows that
            # it is older, and verifiers ask for that proof.
            ended = msgspec.structs.replace(
                entry, retired_ms=min(entry.window_end_ms, FOR_EVER_MS), revoked_ms=0
            )
            problem = judge_key(ended, iat_ms, None)
        if problem:
            yield Finding("key", name, f"record {row.seq_n}: {problem}")
