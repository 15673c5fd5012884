"""Reads a range of leaves back with everything that they commit to, and checks every one.

The entries come from the published bundles, the records from where the integrator took them; a
record that is not the one of its leaf stops the reading. A record that `ledger adopt` has marked
as lost is none: its leaf comes alone. What is read is proven against the day's signed root by the
frontier that goes along.
"""

from collections.abc import Iterator, Sequence

import msgspec

from verismo.attest.leaf import LeafRefused, LeafType, leaf_entry, leaf_type
from verismo.attest.merkle import CompactRange, leaf_hash, root_nodes
from verismo.attest.tile import TILE_WIDTH, TileMissing, TileRefused, TileTree
from verismo.control.dayfiles import read_entries, read_hashes
from verismo.control.journalaudit import LOST
from verismo.model.errors import IntegrityError
from verismo.model.ids import ProvId, TenantId
from verismo.model.ledger import LogId
from verismo.ports.journal import JournalReader, Record
from verismo.ports.ledger import LeafSource, LedgerReader, Run, TileReader

RUNS_MAX = 1_024
RECORDS_MAX = 32
"""Records read at once: each may hold a megabyte of captured content."""


class LeafDesk(msgspec.Struct, frozen=True):
    """Where leaves and what they commit to are read.

    Args:
        ledger: indices.
        tiles: what is published.
        journal: the slots' records.
        sources: everything else that becomes leaves.
    """

    ledger: LedgerReader
    tiles: TileReader
    journal: JournalReader
    sources: tuple[LeafSource, ...] = ()


class Leaf(msgspec.Struct, frozen=True):
    """A leaf with its record.

    Args:
        index: in its log.
        kind: what it stands for.
        source: slot or other source that it came from.
        record: as the journal holds it; of other sources the statement and its signature alone;
            None where a restore has lost it.
    """

    index: int
    kind: LeafType
    source: str
    record: Record | None


def hash_reader(tiles: TileReader, log: LogId, size: int) -> TileTree:
    """Return what reads the nodes of a tree from its published tiles."""
    return TileTree(lambda tile: read_hashes(tiles, log, tile), size)


def frontier_at(tiles: TileReader, log: LogId, size: int) -> CompactRange:
    """Return the frontier of a tree from its published tiles.

    Raises:
        IntegrityError: tiles are missing or damaged.
    """
    try:
        return CompactRange(size, hash_reader(tiles, log, size)(root_nodes(size)))
    except (TileMissing, TileRefused) as error:
        raise IntegrityError(f"the tiles of {log.path} are damaged: {error}") from error


def runs_of(ledger: LedgerReader, log: LogId, first: int, size: int) -> Iterator[Run]:
    """Yield the runs of leaves from `first` to before `size`, cut to that range.

    Raises:
        IntegrityError: the ledger does not say where a leaf came from.
    """
    index = first
    while index < size:
        found = ledger.runs(log, index, RUNS_MAX)
        if not found:
            raise IntegrityError(
                f"ledger.db does not know where leaf {index} of {log.path} is from"
            )
        for run in found:
            if index >= size:
                return
            if not run.first_index <= index < run.first_index + run.count:
                raise IntegrityError(f"ledger.db has no run for leaf {index} of {log.path}")
            skipped = index - run.first_index
            count = min(run.count - skipped, size - index)
            yield Run(run.source, run.first_seq + skipped, count, log, index)
            index += count


def leaves_of(desk: LeafDesk, log: LogId, runs: Sequence[Run]) -> Iterator[Leaf]:
    """Yield the leaves of runs, each compared with its published entry.

    Raises:
        IntegrityError: a record is missing, or is not the one that its leaf commits to.
        StateError: a source cannot be read.
    """
    bundle: tuple[bytes, ...] = ()
    bundle_index = -1
    slots = frozenset(desk.journal.slots())
    last = runs[-1].first_index + runs[-1].count if runs else 0
    for run in runs:
        for at, record in _records(desk, run, is_slot=run.source in slots):
            index = run.first_index + at
            if index // TILE_WIDTH != bundle_index:
                bundle_index = index // TILE_WIDTH
                width = min(TILE_WIDTH, last - bundle_index * TILE_WIDTH)
                bundle = read_entries(desk.tiles, log, bundle_index, width)
            entry = bundle[index % TILE_WIDTH]
            kind = _kind(entry, log, index)
            if record is not None:
                _check(entry, kind, record, f"leaf {index} of {log.path}")
            yield Leaf(index, kind, run.source, record)


def leaf_hashes_of(tiles: TileReader, log: LogId, first: int, end: int) -> Iterator[bytes]:
    """Yield the Merkle hashes of the published entries from `first` to before `end`.

    Raises:
        IntegrityError: a bundle is missing or damaged.
    """
    for index in range(first // TILE_WIDTH, -(-end // TILE_WIDTH)):
        begin = index * TILE_WIDTH
        entries = read_entries(tiles, log, index, min(TILE_WIDTH, end - begin))
        for entry in entries[max(0, first - begin) :]:
            yield leaf_hash(entry)


def _records(desk: LeafDesk, run: Run, *, is_slot: bool) -> Iterator[tuple[int, Record | None]]:
    if run.source == LOST:
        yield from ((at, None) for at in range(run.count))
        return
    done = 0
    while done < run.count:
        after, limit = run.first_seq + done - 1, min(RECORDS_MAX, run.count - done)
        found = (
            desk.journal.scan(run.source, after, limit)
            if is_slot
            else _other_records(desk.sources, run.source, after, limit)
        )
        for record in found:
            if record.seq_n != run.first_seq + done:
                break
            yield done, record
            done += 1
        else:
            if found:
                continue
        raise IntegrityError(
            f"record {run.first_seq + done} of {run.source} is in the ledger and not in its source"
        )


def _other_records(
    sources: Sequence[LeafSource], name: str, after: int, limit: int
) -> list[Record]:
    """Read rows of a source that is no journal, in the shape of records."""
    for source in sources:
        if name in source.names():
            return [
                Record(
                    kind="void",
                    seq_n=row.seq_n,
                    prov_id=ProvId(""),
                    tenant=TenantId(""),
                    statement=row.statement,
                    jws=row.jws,
                    graph=b"",
                )
                for row in source.rows(name, after, limit)
            ]
    raise IntegrityError(f"the ledger has leaves of {name}, which is no source of this folder")


def _kind(entry: bytes, log: LogId, index: int) -> LeafType:
    try:
        return leaf_type(entry)
    except LeafRefused as error:
        raise IntegrityError(f"leaf {index} of {log.path} is damaged: {error}") from error


def _check(entry: bytes, kind: LeafType, record: Record, where: str) -> None:
    try:
        is_same = leaf_entry(kind, record.statement, record.jws) == entry
    except LeafRefused as error:
        raise IntegrityError(f"the record of {where} is damaged: {error}") from error
    if not is_same:
        raise IntegrityError(f"record {record.seq_n} is not the one that {where} commits to")
