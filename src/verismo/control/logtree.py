"""One log as its writer holds it: the right edge of its tree and the entries beside it."""

from collections.abc import Callable

from verismo.attest.edge import TreeEdge, read_edge
from verismo.attest.merkle import leaf_hash
from verismo.attest.tile import (
    TILE_WIDTH,
    Tile,
    TileRefused,
    encode_bundle,
    entries_path,
)
from verismo.model.ledger import ENTRY_BYTES, LogId
from verismo.ports.ledger import LedgerForked, LogState, TileFile

Pending = Callable[[LogId, int], bytes]
ReadFile = Callable[[LogId, str], bytes | None]


class LogTree:
    """A log's tree while it grows; used from one thread.

    Args:
        log: which log.
        edge: the edge of its tree.
        tail: the entries after the last full bundle.
    """

    def __init__(self, log: LogId, edge: TreeEdge, tail: list[bytes]) -> None:
        self.log = log
        self.assigned = edge.size
        """How many indices were given out, 0 or more beyond what the tree holds."""
        self.published_size = 0
        """Of the checkpoint that this process has published or seen published."""
        self._edge = edge
        self._tail = tail
        self._written: dict[int, Tile] = {}

    @classmethod
    def read(cls, state: LogState, pending: Pending, read: ReadFile) -> "LogTree":
        """Read a log as its stores have it, at the size that was integrated.

        Raises:
            LedgerForked: the stores do not fit together.
            StateError: they cannot be read now.
        """
        log, size = state.log, state.integrated

        def fetch(tile: Tile) -> bytes:
            content = read(log, tile.path)
            if content is None:
                raise LedgerForked(
                    f"the log {log.path} lacks {tile.path}",
                    next_step="Put the tile back from the archive or a mirror of the log; it is "
                    "the same everywhere.",
                )
            return content

        kept = pending(log, size // TILE_WIDTH * TILE_WIDTH)
        tail = split_entries(kept)[: size % TILE_WIDTH]
        try:
            edge = read_edge(size, [leaf_hash(entry) for entry in tail], fetch)
        except TileRefused as error:
            raise LedgerForked(
                f"the log {log.path} is damaged: {error}",
                next_step="`verismo ledger audit` names every tile that is not what it should be.",
            ) from error
        tree = cls(log, edge, tail)
        tree.assigned = state.assigned
        return tree

    @property
    def size(self) -> int:
        """How many entries the tree holds."""
        return self._edge.size

    def root(self) -> bytes:
        """Return the tree's root."""
        return self._edge.root()

    def extend(self, data: bytes) -> list[TileFile]:
        """Add entries; returns the full tiles and bundles that they complete.

        Args:
            data: 33 bytes for each entry.
        """
        entries = split_entries(data)
        first_bundle = self.size // TILE_WIDTH
        files = [
            TileFile(tile.path, content)
            for tile, content in self._edge.extend([leaf_hash(entry) for entry in entries])
        ]
        tail = self._tail + entries
        full = len(tail) // TILE_WIDTH
        files += [
            TileFile(
                entries_path(first_bundle + number),
                encode_bundle(tail[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]),
            )
            for number in range(full)
        ]
        self._tail = tail[full * TILE_WIDTH :]
        return files

    def partial_files(self) -> list[TileFile]:
        """Return the partial tiles and bundle of the present size that were not returned yet."""
        files: list[TileFile] = []
        for tile, content in self._edge.partial_tiles():
            if self._written.get(tile.level) != tile:
                self._written[tile.level] = tile
                files.append(TileFile(tile.path, content))
        if files and self._tail:
            path = entries_path(self.size // TILE_WIDTH, len(self._tail))
            files.append(TileFile(path, encode_bundle(self._tail)))
        return files

    def partial(self, wanted: Tile) -> bytes | None:
        """Return one partial tile of the present size, None for any other."""
        for tile, content in self._edge.partial_tiles():
            if tile == wanted:
                return content
        return None


def split_entries(data: bytes) -> list[bytes]:
    """Return entries that stand behind one another, 33 bytes each."""
    return [data[at : at + ENTRY_BYTES] for at in range(0, len(data), ENTRY_BYTES)]
