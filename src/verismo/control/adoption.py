"""Goes on from a published log after the ledger's own state was lost or is too old.

The published tiles are the truth: the log must go on from its newest checkpoint, whatever a backup
remembers. Its entries are matched with the records that are there; each source's rows are in a log
in their order, so the next unmatched row of each source is all that has to be looked at. An entry
that matches none is one whose record is lost: it keeps its index under the source `@lost`. Rows
that are missing before a matched one are appended, since the cursor passes them.

Of key rings none may be lost: a ring that is older than the log signs with keys that were revoked
since, and nothing here would tell. The log's last version of the ring must therefore be known here.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from verismo.attest.edge import TreeEdge
from verismo.attest.leaf import LeafType, leaf_entry
from verismo.attest.merkle import leaf_hash
from verismo.attest.tile import (
    TILE_WIDTH,
    encode_bundle,
    entries_path,
    read_bundle,
    tiles_between,
)
from verismo.control.journalaudit import LOST, ROWS_AT_ONCE, RUNS_AT_ONCE
from verismo.control.leafsources import KEY_RING, LogChooser
from verismo.control.treeaudit import Read
from verismo.model.errors import StateError
from verismo.model.ledger import ENTRY_BYTES, LogId
from verismo.ports.ledger import (
    Growth,
    LeafSource,
    LedgerReader,
    LedgerStore,
    Run,
    SourceRow,
    StoredCheckpoint,
    TileFile,
    TileStore,
)


class Adopted(msgspec.Struct, frozen=True):
    """What became of one log.

    Args:
        log: which log.
        size: entries under the checkpoint that it goes on from.
        lost: of them, those whose record is not there.
    """

    log: LogId
    size: int
    lost: int


class _Source:
    """The rows of one sequence by log, read once, in order.

    Args:
        name: of the sequence.
        source: of its rows.
        chooser: says which log each belongs to.
    """

    def __init__(self, name: str, source: LeafSource, chooser: LogChooser) -> None:
        self.name = name
        self._source = source
        self._chooser = chooser

    def rows(self, log: LogId | None, after: int = 0) -> Iterator[tuple[LogId, SourceRow]]:
        """Yield the rows of one log, or of all."""
        while found := self._source.rows(self.name, after, ROWS_AT_ONCE):
            for row in found:
                chosen = self._chooser.choose(self.name, row)
                if log in (None, chosen):
                    yield chosen, row
            after = found[-1].seq_n


class Adoption:
    """Writes a new ledger's state from published logs.

    Args:
        store: a new, empty one.
        token: of its lease.
        tiles: where the logs are to be.
        sources: where leaves come from.
        chooser: says which log each row belongs to.
    """

    def __init__(
        self,
        store: LedgerStore,
        token: int,
        tiles: TileStore,
        sources: Sequence[LeafSource],
        chooser: LogChooser,
    ) -> None:
        self._store = store
        self._token = token
        self._tiles = tiles
        self._sources = [
            _Source(name, source, chooser) for source in sources for name in source.names()
        ]
        self._last: dict[str, int] = {}
        """The highest number of each source that stands in a log."""
        self._matched: dict[str, dict[LogId, int]] = {}
        """The same for each log: its rows up to there are in it."""
        self._lost = 0
        rings = [one for one in self._sources if one.name == KEY_RING]
        self._rings = {_entry(row) for source in rings for _, row in source.rows(None)}
        self._last_ring: dict[LogId, tuple[int, bytes]] = {}
        """The last version of the key ring that each log has: its index and entry."""

    def adopt(self, checkpoint: StoredCheckpoint, read: Read) -> Adopted:
        """Take a log over as it is published, its files audited before.

        Args:
            checkpoint: its newest, verified.
            read: its files.

        Raises:
            LedgerForked: a file differs from one that is there already.
            StateError: something cannot be read or written.
        """
        log, lost_before = checkpoint.log, self._lost
        self._copy(log, checkpoint.size, read)
        heads = _Heads(log, self._sources)
        for first in range(0, checkpoint.size, TILE_WIDTH):
            width = min(TILE_WIDTH, checkpoint.size - first)
            entries = read_bundle(_file(read, entries_path(first // TILE_WIDTH, width)))[:width]
            runs = [self._run(log, first + at, one, heads) for at, one in enumerate(entries)]
            cursors = dict.fromkeys({run.source for run in runs}, 0)
            growth = Growth(log, first, b"".join(entries), tuple(_joined(runs)))
            self._store.assign(self._token, [growth], cursors)
            self._store.integrated(self._token, log, first + width)
        self._store.add_checkpoint(self._token, checkpoint)
        return Adopted(log, checkpoint.size, self._lost - lost_before)

    def finish(self) -> int:
        """Append what the logs lack of rows before those that they have; returns how many.

        Call it once every log is adopted.

        Raises:
            StateError: the logs have a newer key ring than there is here.
        """
        self._refuse_newer_ring()
        sizes = {state.log: state.assigned for state in self._store.logs()}
        appended = 0
        for source in self._sources:
            last = self._last.get(source.name, 0)
            for log, row in source.rows(None):
                if row.seq_n > last:
                    break
                if row.seq_n <= self._matched[source.name].get(log, 0):
                    continue
                size = sizes.get(log, 0)
                run = Run(source.name, row.seq_n, 1, log, size)
                growth = Growth(log, size, _entry(row), (run,))
                self._store.assign(self._token, [growth], {source.name: 0})
                sizes[log] = size + 1
                appended += 1
        self._store.assign(self._token, [], self._last)
        return appended

    def _run(self, log: LogId, index: int, entry: bytes, heads: "_Heads") -> Run:
        if entry[0] == LeafType.KEY_RING:
            self._last_ring[log] = index, entry
        found = heads.take(entry)
        if found is None:
            self._lost += 1
            self._last[LOST] = self._lost
            return Run(LOST, self._lost, 1, log, index)
        name, seq_n = found
        self._last[name] = max(self._last.get(name, 0), seq_n)
        self._matched.setdefault(name, {})[log] = seq_n
        return Run(name, seq_n, 1, log, index)

    def _refuse_newer_ring(self) -> None:
        # Only the last one tells: a version that was lost once, and has had others after it since,
        # is behind this gateway. A ring's versions go to the log of their year, in their order.
        year = max((log.year for log in self._last_ring), default=0)
        for log, (index, entry) in self._last_ring.items():
            if log.year == year and entry not in self._rings:
                raise StateError(
                    f"{log.path} has a newer key ring than this data folder: entry {index} is none "
                    "of the versions here, and by them keys that were revoked since sign again",
                    next_step="Run `verismo keys ring --adopt FILE` with the newest keyring.json, "
                    "as a verifier or the archive has it, and then this again. See "
                    "docs/runbooks/ledger-restore.md.",
                )

    def _copy(self, log: LogId, size: int, read: Read) -> None:
        for tile in tiles_between(0, size):
            paths = [(tile.path, tile.full.path, tile.width * 32)]
            if tile.level == 0:
                width = tile.width * (ENTRY_BYTES + 2)
                paths.append(
                    (entries_path(tile.index, tile.width), entries_path(tile.index), width)
                )
            files = []
            for path, full, length in paths:
                content = read(path)
                files.append(TileFile(path, content or _file(read, full)[:length]))
            self._tiles.write(log, files)


class _Heads:
    """The next unmatched entry of each source, by its bytes."""

    def __init__(self, log: LogId, sources: Sequence[_Source]) -> None:
        self._next: dict[bytes, tuple[str, int, Iterator[tuple[LogId, SourceRow]]]] = {}
        for source in sources:
            self._advance(source.name, source.rows(log))

    def take(self, entry: bytes) -> tuple[str, int] | None:
        """Return whose entry this is, None for nobody's."""
        found = self._next.pop(entry, None)
        if found is None:
            return None
        name, seq_n, rows = found
        self._advance(name, rows)
        return name, seq_n

    def _advance(self, name: str, rows: Iterator[tuple[LogId, SourceRow]]) -> None:
        for _, row in rows:
            self._next[_entry(row)] = (name, row.seq_n, rows)
            return


def rebuild_tiles(
    reader: LedgerReader,
    sources: Mapping[str, LeafSource],
    checkpoint: StoredCheckpoint,
    tiles: TileStore,
) -> None:
    """Write a log's tiles and bundles again from the records that they were made from.

    Args:
        reader: of the state that says which record has which index.
        sources: of the records, by name.
        checkpoint: its last one.
        tiles: where to.

    Raises:
        StateError: a record is missing, so the tree cannot be the one that was signed.
    """
    log, edge = checkpoint.log, TreeEdge()
    tail: list[bytes] = []
    for entry in _entries(reader, sources, log, checkpoint.size):
        tail.append(entry)
        files = [TileFile(tile.path, data) for tile, data in edge.extend([leaf_hash(entry)])]
        if len(tail) == TILE_WIDTH:
            files.append(TileFile(entries_path(edge.size // TILE_WIDTH - 1), encode_bundle(tail)))
            tail = []
        if files:
            tiles.write(log, files)
    if edge.size != checkpoint.size or edge.root() != checkpoint.root:
        raise StateError(
            f"the records give another tree for {log.path} than the one that was signed",
            next_step="Restore a backup whose journals are whole, or name the published tiles.",
        )
    files = [TileFile(tile.path, data) for tile, data in edge.partial_tiles()]
    if tail:
        path = entries_path(edge.size // TILE_WIDTH, len(tail))
        files.append(TileFile(path, encode_bundle(tail)))
    tiles.write(log, files)
    tiles.publish(log, checkpoint.note)


def _entries(
    reader: LedgerReader, sources: Mapping[str, LeafSource], log: LogId, size: int
) -> Iterator[bytes]:
    index = 0
    while index < size and (runs := reader.runs(log, index, RUNS_AT_ONCE)):
        for run in runs:
            count = min(run.count, size - run.first_index)
            source = sources.get(run.source)
            rows = [] if source is None else _rows(source, run, count)
            yield from (_entry(row) for row in rows)
            index = run.first_index + count
            if index >= size or len(rows) < count:
                return


def _rows(source: LeafSource, run: Run, count: int) -> list[SourceRow]:
    rows: list[SourceRow] = []
    while len(rows) < count:
        more = source.rows(run.source, run.first_seq - 1 + len(rows), count - len(rows))
        if not more:
            break
        rows += more
    return rows


def _joined(runs: Sequence[Run]) -> Iterator[Run]:
    """Join runs of one row each that follow one another."""
    last: Run | None = None
    for run in runs:
        if (
            last is None
            or run.source != last.source
            or run.first_seq != last.first_seq + last.count
        ):
            if last is not None:
                yield last
            last = run
        else:
            last = msgspec.structs.replace(last, count=last.count + 1)
    if last is not None:
        yield last


def _entry(row: SourceRow) -> bytes:
    return leaf_entry(LeafType(row.leaf_type), row.statement, row.jws)


def _file(read: Read, path: str) -> bytes:
    content = read(path)
    if content is None and ".p/" in path:
        content = read(path.partition(".p/")[0])
    if content is None:
        raise StateError(f"{path} is gone since it was audited", next_step="Run it again.")
    return content
