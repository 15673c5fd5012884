"""The right edge of a tiled tree: what its writer keeps in memory to let it grow.

For each level the hashes of the one tile that is not full yet, at most 255 of 32 octets. Growing
hands out each full tile once; the partial tiles and the root can be asked for at any size.

Source: C2SP tlog-tiles; RFC 6962, section 2.1.
"""

from collections.abc import Callable, Iterator, Sequence

from verismo.attest.merkle import EMPTY_ROOT, node_hash
from verismo.attest.tile import TILE_WIDTH, Tile, TileRefused, read_tile, tile_root

Fetch = Callable[[Tile], bytes]
"""Returns a full tile's octets."""


class TreeEdge:
    """The unfinished tiles of a tree; not safe for several threads.

    Args:
        size: leaves so far.
        rows: for each level from 0 up the hashes of its unfinished tile.

    Raises:
        TileRefused: rows that no tree of that size has.
    """

    def __init__(self, size: int = 0, rows: Sequence[Sequence[bytes]] = ()) -> None:
        self._size = size
        self._rows = [list(row) for row in rows]
        rest = size
        for row in self._rows:
            if len(row) != rest % TILE_WIDTH:
                raise TileRefused(f"a tree of {size} leaves has no edge of {len(row)} hashes")
            rest //= TILE_WIDTH
        if rest:
            raise TileRefused(f"a tree of {size} leaves has more than {len(self._rows)} levels")

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self._size

    def extend(self, leaves: Sequence[bytes]) -> list[tuple[Tile, bytes]]:
        """Add leaf hashes; returns the tiles that became full, with their octets."""
        finished: list[tuple[Tile, bytes]] = []
        begin = 0
        while begin < len(leaves):
            row = self._row(0)
            taken = leaves[begin : begin + TILE_WIDTH - len(row)]
            row += taken
            begin += len(taken)
            self._size += len(taken)
            if len(row) == TILE_WIDTH:
                self._finish(0, finished)
        return finished

    def partial_tiles(self) -> Iterator[tuple[Tile, bytes]]:
        """Yield the partial tiles of the present size, with their octets."""
        below = self._size
        for level, row in enumerate(self._rows):
            if row:
                yield Tile(level, below // TILE_WIDTH, len(row)), b"".join(row)
            below //= TILE_WIDTH

    def root(self) -> bytes:
        """Return the root of the tree at its present size."""
        carried: bytes | None = None
        for row in self._rows:
            # What is carried up spans fewer leaves than each hash of this row and stands to their
            # right, so RFC 6962 splits the row and it as it splits that many leaves.
            hashes = row if carried is None else [*row, carried]
            carried = _tree_hash(hashes) if hashes else None
        return EMPTY_ROOT if carried is None else carried

    def _row(self, level: int) -> list[bytes]:
        if level == len(self._rows):
            self._rows.append([])
        return self._rows[level]

    def _finish(self, level: int, finished: list[tuple[Tile, bytes]]) -> None:
        while len(row := self._row(level)) == TILE_WIDTH:
            index = self._size // TILE_WIDTH ** (level + 1) - 1
            finished.append((Tile(level, index), b"".join(row)))
            self._row(level + 1).append(tile_root(row))
            row.clear()
            level += 1


def read_edge(size: int, leaves: Sequence[bytes], fetch: Fetch) -> TreeEdge:
    """Return the edge of a tree from its full tiles and the leaves after the last of them.

    Args:
        size: leaves of the tree.
        leaves: hashes of the last `size % 256` leaves.
        fetch: reads full tiles; at most 255 for each level.

    Raises:
        TileRefused: a tile is damaged, or the leaves are not that many.
    """
    rows: list[list[bytes]] = [list(leaves)]
    level, below = 0, size // TILE_WIDTH
    while below:
        first = below // TILE_WIDTH * TILE_WIDTH
        tiles = (fetch(Tile(level, index)) for index in range(first, below))
        rows.append([tile_root(read_tile(tile, TILE_WIDTH)) for tile in tiles])
        level, below = level + 1, below // TILE_WIDTH
    return TreeEdge(size, rows)


def _tree_hash(hashes: Sequence[bytes]) -> bytes:
    """Return MTH of RFC 6962, 2.1, over hashes that stand for leaves; 1 to 256 of them."""
    level = list(hashes)
    while len(level) > 1:
        # Pairing from the left and lifting an odd last one up is the split at powers of two.
        paired = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level = paired + level[len(paired) * 2 :]
    return level[0]
