"""Walks a published log from its first entry to its checkpoint and names everything that is wrong.

It needs the files of the log and its verifier key, nothing else: whoever runs it need not trust, or
ask, the gateway. Memory does not grow with the log.

Source: C2SP tlog-tiles, tlog-checkpoint; RFC 6962, section 2.1.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

import msgspec

from verismo.attest.checkpoint import Checkpoint, open_checkpoint
from verismo.attest.edge import TreeEdge
from verismo.attest.leaf import LeafRefused, leaf_type
from verismo.attest.merkle import leaf_hash
from verismo.attest.note import NoteRefused, VerifierKey
from verismo.attest.tile import TILE_WIDTH, Tile, TileRefused, entries_path, read_bundle

CHECKPOINT = "checkpoint"

Read = Callable[[str], bytes | None]
"""Returns a file of the log by its path, None if it is not there."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    Args:
        kind: what sort, stable: `checkpoint`, `tile`, `bundle`, `leaf`, `root`, `history`,
            `foreign`, `record`, `sequence`, `missing`, `key`, `column`, `cosigned`, `rollup`,
            `unknown` or `witness`.
        where: the log's origin, or the source.
        detail: exactly what.
    """

    kind: str
    where: str
    detail: str


SeeEntries = Callable[[int, Sequence[bytes]], Iterator[Finding]]
"""Is given the entries from an index on, in order, and says what is wrong with them."""


def audit_older(paths: Sequence[str], read: Read, key: VerifierKey) -> Iterator[Finding]:
    """Compare partial tiles and bundles of older checkpoints with the files that follow on them.

    Args:
        paths: of every partial file that is there.
        read: reads them.
        key: the log's, for its name.

    Yields:
        Each file that is no beginning of the widest one in its place.
    """
    widest: dict[str, bytes] = {}
    for path in sorted(paths, key=_width, reverse=True):
        place = path.partition(".p/")[0]
        content = read(path)
        if content is None:
            continue  # pruned in this moment, as the full one came
        if place not in widest:
            widest[place] = read(place) or content
        if not widest[place].startswith(content):
            yield Finding("tile", key.name, f"{path} has other bytes than the tree that followed")


def _width(path: str) -> int:
    width = path.rpartition("/")[2]
    return int(width) if width.isdecimal() else 0


class TreeAudit:
    """One walk over one log.

    Args:
        read: reads its files.
        log_key: its verifier key; its name is the origin that the checkpoint must have.
        history: roots that earlier checkpoints gave, by size; each is compared.
        see: is shown every entry.
    """

    def __init__(
        self,
        read: Read,
        log_key: VerifierKey,
        history: Mapping[int, bytes] | None = None,
        see: SeeEntries | None = None,
    ) -> None:
        self._read = read
        self._key = log_key
        self._history = dict(history or {})
        self._see = see
        self._edge = TreeEdge()
        self.checkpoint: Checkpoint | None = None

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong, in the order of the tree; nothing if all is well.

        Raises:
            StateError: a file cannot be read now, so nothing can be said.
        """
        note = self._read(CHECKPOINT)
        if note is None:
            yield self._found("checkpoint", "there is no checkpoint")
            return
        try:
            self.checkpoint, _ = open_checkpoint(note, self._key)
        except NoteRefused as error:
            yield self._found("checkpoint", str(error))
            return
        size = self.checkpoint.size
        for first in range(0, size, TILE_WIDTH):
            width = min(TILE_WIDTH, size - first)
            entries = yield from self._bundle(first // TILE_WIDTH, width)
            if entries is None:
                yield self._found("root", f"nothing can be said from entry {first} on")
                return
            yield from self._grow(first, entries)
        for tile, content in self._edge.partial_tiles():
            yield from self._compare(tile, content)
        if self._edge.root() != self.checkpoint.root:
            yield self._found(
                "root", f"the entries have another root than the checkpoint of {size}"
            )
        largest = max(self._history, default=0)
        if largest > self._published_size():
            yield self._found(
                "history", f"a checkpoint of size {largest} was signed, larger than the published"
            )

    def _bundle(self, index: int, width: int) -> Generator[Finding, None, tuple[bytes, ...] | None]:
        """Return the entries of a bundle, None if it is missing or damaged."""
        path = entries_path(index, width)
        data = self._read(path)
        if data is None and width < TILE_WIDTH:
            data = self._read(entries_path(index))
        if data is None:
            yield self._found("bundle", f"{path} is not there")
            return None
        try:
            entries = read_bundle(data)[:width]
        except TileRefused as error:
            yield self._found("bundle", f"{path}: {error}")
            return None
        if len(entries) != width:
            yield self._found("bundle", f"{path} has {len(entries)} entries")
            return None
        return entries

    def _grow(self, first: int, entries: Sequence[bytes]) -> Iterator[Finding]:
        """Add entries, stopping at each size whose root was signed before."""
        for at, entry in enumerate(entries):
            try:
                leaf_type(entry)
            except LeafRefused as error:
                yield self._found("leaf", f"entry {first + at}: {error}")
        if self._see is not None:
            yield from self._see(first, entries)
        hashes = [leaf_hash(entry) for entry in entries]
        stops = [size - first for size in self._history if first < size <= first + len(hashes)]
        begin = 0
        for stop in sorted({*stops, len(hashes)}):
            for tile, content in self._edge.extend(hashes[begin:stop]):
                yield from self._compare(tile, content)
            begin = stop
            signed = self._history.get(first + stop)
            if signed is not None and signed != self._edge.root():
                yield self._found(
                    "history", f"the checkpoint of size {first + stop} had another root"
                )

    def _compare(self, tile: Tile, content: bytes) -> Iterator[Finding]:
        found = self._read(tile.path)
        if found is None and tile.width < TILE_WIDTH:
            full = self._read(tile.full.path)
            found = None if full is None else full[: len(content)]
        if found is None:
            yield self._found("tile", f"{tile.path} is not there")
        elif found != content:
            yield self._found("tile", f"{tile.path} has other bytes than the entries give")

    def _published_size(self) -> int:
        """Return the size that is published by now: while the gateway runs it goes on growing."""
        note = self._read(CHECKPOINT)
        try:
            return 0 if note is None else open_checkpoint(note, self._key)[0].size
        except NoteRefused:
            return 0

    def _found(self, kind: str, detail: str) -> Finding:
        return Finding(kind, self._key.name, detail)
