"""Tiles: paths, what a growth creates, and proofs that read only the tiles they need."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.tilelog import TileLog, entry_of

from verismo.attest.merkle import (
    SIZE_MAX,
    NodeCoordinate,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from verismo.attest.tile import (
    ENTRY_BYTES_MAX,
    TILE_HEIGHT,
    TILE_LEVEL_MAX,
    TILE_WIDTH,
    Tile,
    TileMissing,
    TilePosition,
    TileRefused,
    TileTree,
    encode_bundle,
    entries_path,
    grown_tiles,
    parse_entries_path,
    read_bundle,
    read_tile,
    tile_of,
    tile_root,
    tiles_between,
)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999, 1), "tile/0/999.p/1"),
        (Tile(1, 1_000, 255), "tile/1/x001/000.p/255"),
        (Tile(0, 1_234_067, 8), "tile/0/x001/x234/067.p/8"),
        (Tile(7, 0, 127), "tile/7/000.p/127"),
    ],
)
def test_a_path_is_that_of_the_specification(tile, path):
    assert tile.path == path
    assert Tile.from_path(path) == tile


@given(
    st.integers(0, TILE_LEVEL_MAX).flatmap(
        lambda level: st.builds(
            Tile,
            st.just(level),
            st.integers(0, SIZE_MAX >> (8 * (level + 1))),
            st.integers(1, TILE_WIDTH),
        )
    )
)
def test_a_path_is_read_back(tile):
    assert Tile.from_path(tile.path) == tile
    assert tile.full.path == tile.path.partition(".p/")[0]
    if tile.level == 0:
        path = entries_path(tile.index, tile.width)
        assert parse_entries_path(path) == (tile.index, tile.width)


BAD_INDEX = [
    "",
    "0",
    "00",
    "0000",
    "x000",
    "x000/001",
    "001/002",
    "x001/x002",
    "x001/",
    "-01",
    "000.p/0",
    "000.p/01",
    "000.p/256",
    "000.p/",
    "000.p/1/",
    "000.P/1",
    "000\n",
    "٠٠٠",
    "../000",
    "000/../../checkpoint",
    "x001/x001/x001/x001/x001/x001/x001/001",
    "x036/x028/x797/x018/x963/968",
]


@pytest.mark.parametrize("index", BAD_INDEX)
def test_another_spelling_of_a_path_is_refused(index):
    with pytest.raises(TileRefused, match=r"^not the path of a tile: "):
        Tile.from_path(f"tile/0/{index}")
    with pytest.raises(TileRefused, match=r"^not the path of an entry bundle: "):
        parse_entries_path(f"tile/entries/{index}")


@pytest.mark.parametrize(
    "path",
    ["", "checkpoint", "/tile/0/000", "tile/00/000", "tile/8/000", "tile/63/000"],
)
def test_what_is_no_tile_is_refused(path):
    with pytest.raises(TileRefused, match=r"^not the path of a tile: "):
        Tile.from_path(path)


def test_the_tiles_of_the_specification_s_example_of_70000_leaves():
    tiles = list(tiles_between(0, 70_000))
    assert [tile for tile in tiles if tile.level == 0][:273] == [Tile(0, n) for n in range(273)]
    assert tiles[273:] == [Tile(0, 273, 112), Tile(1, 0), Tile(1, 1, 17), Tile(2, 0, 1)]


def test_a_tree_of_256_leaves_has_one_full_tile_and_one_hash_above():
    assert list(tiles_between(0, 256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(tiles_between(255, 256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(tiles_between(256, 257)) == [Tile(0, 1, 1)]
    assert list(tiles_between(300, 300)) == []


def test_the_largest_tree_has_no_tile_above_the_highest_level():
    *_, last = tiles_between(SIZE_MAX - 1, SIZE_MAX)
    assert last.level == 0
    assert tile_of(NodeCoordinate(62, 0), SIZE_MAX).tile.level == TILE_LEVEL_MAX


@pytest.mark.parametrize(("old", "new"), [(2, 1), (-1, 1), (0, SIZE_MAX + 1)])
def test_a_tree_that_shrinks_has_no_tiles(old, new):
    with pytest.raises(TileRefused, match=rf"^a tree does not grow from {old} to {new} leaves"):
        list(tiles_between(old, new))


def test_a_tree_grows_within_its_limit_only():
    with pytest.raises(TileRefused, match="does not grow"):
        list(grown_tiles(SIZE_MAX, [bytes(32)], TileLog().fetch))


@given(st.lists(st.integers(0, 700), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_growing_in_steps_makes_the_tiles_of_growing_at_once(steps):
    stepped, whole = TileLog(), TileLog()
    for step in steps:
        before = stepped.size
        stepped.grow(step)
        assert all(tile in stepped.tiles for tile in tiles_between(before, stepped.size))
    whole.grow(stepped.size)
    assert all(stepped.tiles[tile] == octets for tile, octets in whole.tiles.items())
    assert root_of(whole.size, stepped.tree) == whole.range.root()


@pytest.fixture(scope="module")
def log():
    """A log whose tiles have three levels."""
    log = TileLog()
    log.grow(65_000)
    log.grow(5_000)
    return log


@pytest.mark.slow
@given(st.data())
@settings(max_examples=40, deadline=None)
def test_proofs_from_tiles_verify(log, data):
    index = data.draw(st.integers(0, log.size - 1))
    root = log.range.root()
    path = inclusion_proof(index, log.size, log.tree)
    verify_inclusion(leaf_hash(entry_of(index)), index, log.size, path, root)
    proof = consistency_proof(index + 1, log.size, log.tree)
    verify_consistency(index + 1, log.size, proof, root_of(index + 1, log.tree), root)


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 255, 256, 65_535, 65_536, 69_999])
def test_a_proof_reads_only_the_tiles_it_needs_each_once(log, index):
    """One tile of each level on the leaf's way up, and the right edge."""
    log.fetched.clear()
    inclusion_proof(index, log.size, log.tree)
    edge = {Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)}
    way = {Tile(0, index // 256), Tile(1, index // 65_536)}
    assert len(log.fetched) == len(set(log.fetched)) <= 5
    assert {tile.full for tile in log.fetched} <= {tile.full for tile in edge | way}


def test_a_partial_tile_that_was_deleted_is_read_from_the_full_one():
    log = TileLog()
    log.grow(200)
    root = log.range.root()
    log.grow(100)
    del log.tiles[Tile(0, 0, 200)]
    log.fetched.clear()
    assert root_of(200, TileTree(log.fetch, 200)) == root
    assert log.fetched == [Tile(0, 0, 200), Tile(0, 0)]


@pytest.mark.parametrize("gone", [Tile(0, 0), Tile(0, 1, 44)])
def test_a_tile_that_is_gone_is_said(gone):
    log = TileLog()
    log.grow(300)
    del log.tiles[gone]
    with pytest.raises(TileMissing, match=gone.full.path):
        inclusion_proof(0, 300, log.tree)


def test_a_tree_does_not_grow_over_a_damaged_edge():
    log = TileLog()
    log.grow(10)
    log.tiles[Tile(0, 0, 10)] = log.tiles[Tile(0, 0, 10)][:-1]
    with pytest.raises(TileRefused, match=r"^a tile of width 10 has 320 octets, not 319$"):
        log.grow(1)


def test_an_altered_tile_makes_no_proof_that_verifies():
    log = TileLog()
    log.grow(300)
    octets = bytearray(log.tiles[Tile(0, 0)])
    octets[40] ^= 1
    log.tiles[Tile(0, 0)] = bytes(octets)
    path = inclusion_proof(0, 300, log.tree)
    with pytest.raises(ValueError, match="leads to another root"):
        verify_inclusion(leaf_hash(entry_of(0)), 0, 300, path, log.range.root())


@pytest.mark.parametrize(
    ("node", "size", "position"),
    [
        (NodeCoordinate(0, 5), 6, TilePosition(Tile(0, 0, 6), 5, 6)),
        (NodeCoordinate(7, 1), 300, TilePosition(Tile(0, 0), 128, 256)),
        (NodeCoordinate(8, 0), 256, TilePosition(Tile(1, 0, 1), 0, 1)),
        (NodeCoordinate(9, 1), 70_000, TilePosition(Tile(1, 0), 2, 4)),
    ],
)
def test_a_node_stands_where_the_specification_puts_it(node, size, position):
    assert TILE_HEIGHT == 8
    assert tile_of(node, size) == position


@pytest.mark.parametrize(
    "node",
    [NodeCoordinate(*at) for at in ((0, 6), (1, 3), (8, 0), (-1, 0))],
)
def test_a_node_beyond_the_tree_is_refused(node):
    with pytest.raises(TileRefused, match=r"^no node "):
        tile_of(node, 6)


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=TILE_WIDTH))
def test_a_bundle_is_read_back(entries):
    data = encode_bundle(entries)
    assert read_bundle(data) == tuple(entries)
    assert encode_bundle(read_bundle(data)) == data


def test_a_bundle_is_lengths_and_entries():
    assert encode_bundle([b"one", b""]) == b"\x00\x03one\x00\x00"
    assert len(encode_bundle([bytes(33)] * 256)) == 256 * 35


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([], "a bundle has 1 to 256 entries, not 0"),
        ([b""] * 257, "a bundle has 1 to 256 entries, not 257"),
        ([bytes(ENTRY_BYTES_MAX + 1)], "an entry of more than 65535 octets"),
    ],
)
def test_what_fits_no_bundle_is_refused(entries, says):
    with pytest.raises(TileRefused, match=rf"^{says}$"):
        encode_bundle(entries)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the bundle is empty"),
        (b"\x00", "the bundle is cut off in entry 0"),
        (b"\x00\x03on", "the bundle is cut off in entry 0"),
        (b"\x00\x03one\x00", "the bundle is cut off in entry 1"),
        (b"\x00\x00" * 257, "a bundle of more than 256 entries"),
    ],
)
def test_a_damaged_bundle_is_refused(data, says):
    with pytest.raises(TileRefused, match=rf"^{says}$"):
        read_bundle(data)


def test_the_root_of_hashes_that_are_no_perfect_subtree_is_refused():
    with pytest.raises(TileRefused, match=r"^3 hashes are no perfect subtree$"):
        tile_root([bytes(32)] * 3)
    with pytest.raises(TileRefused, match=r"^0 hashes are no perfect subtree$"):
        tile_root([])


def test_the_log_that_tessera_published_is_read(published):
    folder = published / "tessera-testlog" / "testdata" / "log"
    names = "one two three four five six seven eit nain ten ileven twelf threeten fourten fivten"
    entries = tuple(name.encode() for name in names.split())
    ours = dict(grown_tiles(0, [leaf_hash(entry) for entry in entries], TileLog().fetch))
    for width in range(1, 16):
        path = folder / entries_path(0, width)
        assert read_bundle(path.read_bytes()) == entries[:width]
        assert encode_bundle(entries[:width]) == path.read_bytes()
        tile = folder / Tile(0, 0, width).path
        assert read_tile(tile.read_bytes(), width) == read_tile(ours[Tile(0, 0, 15)], 15)[:width]
