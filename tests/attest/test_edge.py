"""The right edge of a tree: its tiles and roots are those of the core, however it grew."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verismo.attest.edge import TreeEdge, read_edge
from verismo.attest.merkle import EMPTY_ROOT, CompactRange
from verismo.attest.tile import TILE_WIDTH, TileRefused, grown_tiles, tiles_between


def leaves(count, first=0):
    return [hashlib.sha256(b"%d" % n).digest() for n in range(first, first + count)]


def grown(steps):
    """Grow an edge by steps; returns it and every full tile that it handed out."""
    edge, full = TreeEdge(), {}
    for step in steps:
        full.update(edge.extend(leaves(step, edge.size)))
    return edge, full


def check(steps):
    edge, full = grown(steps)
    size = sum(steps)
    frontier = CompactRange()
    frontier.extend(leaves(size))
    assert (edge.size, edge.root()) == (size, frontier.root())
    tiles = {**full, **dict(edge.partial_tiles())}
    assert list(tiles) and set(tiles) == set(tiles_between(0, size)) if size else not tiles
    assert tiles == dict(grown_tiles(0, leaves(size), lambda tile: b""))


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 513, 1_000])
def test_an_edge_grown_at_once_gives_the_tiles_and_the_root_of_the_core(size):
    check([size])


@pytest.mark.slow
@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 65_536 + 256])
def test_levels_above_the_first_fill_up_alike(size):
    check([size])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=8))
def test_how_it_grew_leaves_no_trace(steps):
    check(steps)


def test_an_empty_tree_has_no_tiles_and_the_empty_root():
    assert TreeEdge().root() == EMPTY_ROOT
    assert list(TreeEdge().partial_tiles()) == []


@pytest.mark.parametrize("size", [0, 1, 256, 257, 1_000])
def test_an_edge_that_is_read_back_goes_on_as_before(size):
    edge, full = grown([size])
    again = read_edge(size, leaves(size % TILE_WIDTH, size - size % TILE_WIDTH), full.__getitem__)
    assert again.root() == edge.root()
    more = leaves(700, size)
    assert again.extend(more) == edge.extend(more)
    assert again.root() == edge.root()


def test_an_edge_that_does_not_fit_its_size_is_refused():
    for size, rows in ((1, []), (256, [[]]), (0, [[b"h"]]), (257, [leaves(1)]), (2, [leaves(1)])):
        with pytest.raises(TileRefused):
            TreeEdge(size, rows)


def test_a_damaged_tile_is_refused_when_the_edge_is_read():
    with pytest.raises(TileRefused):
        read_edge(256, [], lambda tile: b"short")
    with pytest.raises(TileRefused):
        read_edge(257, [], lambda tile: b"h" * 8_192)
