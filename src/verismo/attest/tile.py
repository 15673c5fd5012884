"""Tiles and entry bundles: the form in which a ledger is published (C2SP tlog-tiles).

A tile holds up to 256 hashes of one level, 8 levels above those of the tiles below it. Full tiles
never change; a partial one stands at the right edge of its level and is named by its width, so it
never changes either. Nothing here reads or writes: `TileTree` is given a function that fetches.

Source: C2SP tlog-tiles.
"""

import re
import struct
from collections.abc import Callable, Iterator, Sequence

import msgspec

from verismo.attest.merkle import HASH_BYTES, SIZE_MAX, NodeCoordinate, node_hash

TILE_HEIGHT = 8
TILE_WIDTH = 256
TILE_LEVEL_MAX = 7
"""The format counts to 63; a tree of at most 2^63 - 1 leaves has no tile above level 7."""
ENTRY_BYTES_MAX = 2**16 - 1
BUNDLE_BYTES_MAX = TILE_WIDTH * (ENTRY_BYTES_MAX + 2)

_INDEX = r"((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
_TILE_PATH = re.compile(rf"tile/([0-9])/{_INDEX}", re.ASCII)
_ENTRIES_PATH = re.compile(rf"tile/entries/{_INDEX}", re.ASCII)


class TileRefused(ValueError):
    """A path, a tile or a bundle that no ledger has, and why."""


class TileMissing(LookupError):
    """The tile is not there. What fetches raises it; for a partial one the full one is tried."""


class Tile(msgspec.Struct, frozen=True):
    """Which hashes: `width` of them, from `index * 256` on, at level `8 * level` of the tree.

    Args:
        level: of the tile, 0 to 7; its hashes are roots of 256**level leaves each.
        index: how many full tiles stand to its left.
        width: hashes in it, 1 to 256; 256 is a full tile.
    """

    level: int
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """Its path below the ledger's prefix, `tile/0/x001/x234/067.p/8`."""
        return f"tile/{self.level}/{_index_path(self.index, self.width)}"

    @property
    def full(self) -> "Tile":
        """The full tile that takes its place once it is filled."""
        return Tile(self.level, self.index)

    @classmethod
    def from_path(cls, path: str) -> "Tile":
        """Read a path, in its one spelling.

        Args:
            path: below the ledger's prefix, without a leading slash.

        Raises:
            TileRefused: not the path of a tile; answer 404.
        """
        matched = _TILE_PATH.fullmatch(path)
        if matched is None:
            raise TileRefused(f"not the path of a tile: {path[:64]!r}")
        tile = cls(int(matched[1]), *_read_index(matched[2], matched[3]))
        if tile.level > TILE_LEVEL_MAX or tile.index > _index_max(tile.level) or tile.path != path:
            raise TileRefused(f"not the path of a tile: {path[:64]!r}")
        return tile


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of an entry bundle, `tile/entries/x001/x234/067.p/8`.

    Args:
        index: how many full bundles stand before it.
        width: entries in it, 1 to 256.
    """
    return f"tile/entries/{_index_path(index, width)}"


def parse_entries_path(path: str) -> tuple[int, int]:
    """Read the path of an entry bundle, in its one spelling.

    Returns:
        Index and width.

    Raises:
        TileRefused: not the path of a bundle; answer 404.
    """
    matched = _ENTRIES_PATH.fullmatch(path)
    if matched is None:
        raise TileRefused(f"not the path of an entry bundle: {path[:64]!r}")
    index, width = _read_index(matched[1], matched[2])
    if index > _index_max(0) or entries_path(index, width) != path:
        raise TileRefused(f"not the path of an entry bundle: {path[:64]!r}")
    return index, width


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return an entry bundle: each entry behind its length, uint16 big-endian.

    Args:
        entries: 1 to 256, each of at most 65,535 octets.

    Raises:
        TileRefused: none, too many, or one that is too long.
    """
    if not 0 < len(entries) <= TILE_WIDTH:
        raise TileRefused(f"a bundle has 1 to {TILE_WIDTH} entries, not {len(entries)}")
    if any(len(entry) > ENTRY_BYTES_MAX for entry in entries):
        raise TileRefused(f"an entry of more than {ENTRY_BYTES_MAX} octets")
    return b"".join([struct.pack(">H", len(entry)) + entry for entry in entries])


def read_bundle(data: bytes) -> tuple[bytes, ...]:
    """Return the entries of a bundle; its path says how many there have to be.

    Raises:
        TileRefused: empty, cut off, or of more than 256 entries.
    """
    entries: list[bytes] = []
    position, end = 0, len(data)
    while position < end:
        begin = position + 2
        position = begin + int.from_bytes(data[position:begin], "big")
        if begin > end or position > end:
            raise TileRefused(f"the bundle is cut off in entry {len(entries)}")
        if len(entries) == TILE_WIDTH:
            raise TileRefused(f"a bundle of more than {TILE_WIDTH} entries")
        entries.append(data[begin:position])
    if not entries:
        raise TileRefused("the bundle is empty")
    return tuple(entries)


def read_tile(data: bytes, width: int) -> tuple[bytes, ...]:
    """Return the hashes of a tile.

    Args:
        data: its octets.
        width: how many hashes it has to hold.

    Raises:
        TileRefused: another length. The tile is damaged or is another one.
    """
    if len(data) != width * HASH_BYTES:
        raise TileRefused(
            f"a tile of width {width} has {width * HASH_BYTES} octets, not {len(data)}"
        )
    return tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


def tile_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root of a perfect subtree: of a full tile it is one hash of the tile above.

    Args:
        hashes: 1, 2, 4, ... or 256 of them.

    Raises:
        TileRefused: no power of two.
    """
    if len(hashes).bit_count() != 1:
        raise TileRefused(f"{len(hashes)} hashes are no perfect subtree")
    level = list(hashes)
    while len(level) > 1:
        level = [node_hash(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    return level[0]


def tiles_between(old_size: int, new_size: int) -> Iterator[Tile]:
    """Yield the tiles that a growth creates, lower levels first, each level left to right.

    Those of the levels where `new_size` ends partial are partial. The entry bundles that a growth
    creates have the index and width of its tiles of level 0.

    Args:
        old_size: leaves before.
        new_size: leaves after.

    Raises:
        TileRefused: the tree would shrink or be too large.
    """
    if not 0 <= old_size <= new_size <= SIZE_MAX:
        raise TileRefused(f"a tree does not grow from {old_size} to {new_size} leaves")
    level, old, new = 0, old_size, new_size
    while new > old:
        for index in range(old // TILE_WIDTH, new // TILE_WIDTH):
            yield Tile(level, index)
        if new % TILE_WIDTH:
            yield Tile(level, new // TILE_WIDTH, new % TILE_WIDTH)
        level, old, new = level + 1, old // TILE_WIDTH, new // TILE_WIDTH


Fetch = Callable[[Tile], bytes]
"""Returns a tile's octets; raises `TileMissing` where there is none."""


def grown_tiles(
    old_size: int, leaves: Sequence[bytes], fetch: Fetch
) -> Iterator[tuple[Tile, bytes]]:
    """Yield the tiles of `tiles_between` with their octets, in the same order.

    The partial tiles at the old right edge are fetched, one for each level that changes.

    Args:
        old_size: leaves before.
        leaves: hashes of the leaves that are added, in their order; they and the result of one
            level are held in memory at once, so grow in batches.
        fetch: reads the tiles of the old tree.

    Raises:
        TileMissing, TileRefused: the old right edge is gone or damaged: rebuild it from the
            entries before the tree may grow.
    """
    new_size = old_size + len(leaves)
    if not 0 <= old_size <= new_size <= SIZE_MAX:
        raise TileRefused(f"a tree does not grow from {old_size} to {new_size} leaves")
    level, old, added = 0, old_size, list(leaves)
    while added:
        first, kept = divmod(old, TILE_WIDTH)
        if kept:
            added = [*_fetch_hashes(Tile(level, first, kept), fetch), *added]
        above: list[bytes] = []
        for at in range(0, len(added), TILE_WIDTH):
            hashes = added[at : at + TILE_WIDTH]
            yield Tile(level, first + at // TILE_WIDTH, len(hashes)), b"".join(hashes)
            if len(hashes) == TILE_WIDTH:
                above.append(tile_root(hashes))
        level, old, added = level + 1, first, above


class TilePosition(msgspec.Struct, frozen=True):
    """Where a node stands: hashes `begin` to `end`, not included, of a tile fold into it."""

    tile: Tile
    begin: int
    end: int


def tile_of(node: NodeCoordinate, size: int) -> TilePosition:
    """Say which tile holds a node, in a tree of a given size.

    Args:
        node: a perfect subtree within the tree.
        size: leaves of the tree; says how wide the tile is.

    Raises:
        TileRefused: the tree has no such node.
    """
    if node.level < 0 or node.index < 0:
        raise TileRefused(f"no node {node.index} at level {node.level} in {size} leaves")
    level, height = divmod(node.level, TILE_HEIGHT)
    index, begin = divmod(node.index << height, TILE_WIDTH)
    end = begin + (1 << height)
    width = min(TILE_WIDTH, (size >> (level * TILE_HEIGHT)) - index * TILE_WIDTH)
    if end > width:
        raise TileRefused(f"no node {node.index} at level {node.level} in {size} leaves")
    return TilePosition(Tile(level, index, width), begin, end)


class TileTree:
    """Reads the nodes of a tree from its tiles; an instance is a `merkle.HashReader`.

    The tiles are believed: verify what was made from them against a signed root.

    Args:
        fetch: called once for each tile that a call needs; for a partial tile that is missing it
            is called again for the full one.
        size: leaves of the tree. Smaller trees are read with the size of one whose partial tiles
            are there: every node of a tree is a node of each larger one.
    """

    def __init__(self, fetch: Fetch, size: int) -> None:
        self._fetch = fetch
        self._size = size

    def __call__(self, nodes: Sequence[NodeCoordinate]) -> list[bytes]:
        """Return the hashes of nodes, in the order asked for.

        Raises:
            TileMissing, TileRefused: a tile is not there, or is damaged.
        """
        positions = [tile_of(node, self._size) for node in nodes]
        tiles = {
            tile: _fetch_hashes(tile, self._fetch)
            for tile in dict.fromkeys(position.tile for position in positions)
        }
        return [tile_root(tiles[one.tile][one.begin : one.end]) for one in positions]


def _fetch_hashes(tile: Tile, fetch: Fetch) -> tuple[bytes, ...]:
    try:
        return read_tile(fetch(tile), tile.width)
    except TileMissing:
        if tile.width == TILE_WIDTH:
            raise
    # A log may delete a partial tile once the full one is there (tlog-tiles, "Partial Tiles").
    return read_tile(fetch(tile.full), TILE_WIDTH)[: tile.width]


def _index_path(index: int, width: int) -> str:
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([f"x{part}" for part in parts[:-1]] + parts[-1:])
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def _read_index(path: str, width: str | None) -> tuple[int, int]:
    return int(path.replace("x", "").replace("/", "")), int(width) if width else TILE_WIDTH


def _index_max(level: int) -> int:
    return SIZE_MAX >> (TILE_HEIGHT * (level + 1))
