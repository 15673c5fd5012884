"""The picture of a run of any shape is like a page: not a band, nothing in it lost."""

import re
import time
from collections import defaultdict
from itertools import combinations, pairwise

import pytest
from tests.support.shapes import LIMIT, SHAPES, tree, web

from verismo.attest.provenance import NODES_MAX
from verismo.attest.provframes import draw_frames
from verismo.attest.provsvg import HOP_HEIGHT, HOP_WIDTH, write_svg
from verismo.attest.provview import view_graph

GAP_LEAST = 12


def view_of(shape, hops):
    return view_graph(SHAPES[shape](hops).graph())


def size(svg):
    width, height = re.search(rb'<svg [^>]*width="(\d+)" height="(\d+)"', svg).groups()
    return int(width), int(height)


@pytest.mark.slow
@pytest.mark.parametrize("hops", [10, 60, 200, LIMIT])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_picture_is_at_most_twice_as_wide_as_high_or_as_high_as_wide(shape, hops):
    view = view_of(shape, hops)
    assert 0.7 * hops < len(view.nodes) <= min(NODES_MAX, 1.7 * hops)
    width, height = size(write_svg(view))
    assert 1 / 2 <= width / height <= 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
@pytest.mark.parametrize("shape", [tree, web])
def test_so_is_that_of_any_run_by_chance(shape, seed):
    width, height = size(write_svg(view_graph(shape(200, seed).graph())))
    assert 1 / 2 <= width / height <= 2


@pytest.mark.parametrize("shape", sorted(SHAPES.keys() - {"web", "tangle"}))
def test_a_picture_of_200_hops_is_legible_at_a_few_screens(shape):
    width, _ = size(write_svg(view_of(shape, 200)))
    assert width < 4_000


@pytest.mark.slow
@pytest.mark.parametrize("hops", [10, 60, 200, LIMIT])
@pytest.mark.parametrize("shape", SHAPES)
def test_hops_stand_apart(shape, hops):
    view = view_of(shape, hops)
    drawing = draw_frames(view, HOP_WIDTH, HOP_HEIGHT)
    for (x, y), (to_x, to_y) in combinations(drawing.corners, 2):
        aside, apart = abs(x - to_x) - HOP_WIDTH, abs(y - to_y) - HOP_HEIGHT
        assert aside >= GAP_LEAST or apart >= GAP_LEAST
    xs, ys = zip(*drawing.corners, strict=True)
    assert min(*xs, *ys) >= 0
    assert max(xs) + HOP_WIDTH <= drawing.width
    assert max(ys) + HOP_HEIGHT <= drawing.height


@pytest.mark.slow
@pytest.mark.parametrize("hops", [10, 60, 200])
@pytest.mark.parametrize("shape", SHAPES)
def test_edges_without_a_common_hop_share_no_piece_of_their_way(shape, hops):
    drawing = draw_frames(view_of(shape, hops), HOP_WIDTH, HOP_HEIGHT)
    lines = defaultdict(set)
    for edge, points in drawing.routes.items():
        for (x, y), (to_x, to_y) in pairwise(points):
            assert x == to_x or y == to_y
            along = (y, to_y) if x == to_x else (x, to_x)
            lines[("down", x) if x == to_x else ("across", y)].add((*sorted(along), edge))
    for pieces in lines.values():
        ordered = sorted(pieces)
        for index, (_, end, edge) in enumerate(ordered):
            for begin, _, other in ordered[index + 1 :]:
                if begin >= end:
                    break
                assert edge[0] == other[0] or edge[1] == other[1]


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_run_has_the_same_picture(shape):
    assert write_svg(view_of(shape, 200)) == write_svg(view_of(shape, 200))


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_a_picture_is_drawn_quickly(shape):
    def cpu_s(hops):
        view = view_of(shape, hops)
        taken = []
        for _ in range(3):
            began = time.thread_time()
            write_svg(view)
            taken.append(time.thread_time() - began)
        return min(taken)

    assert cpu_s(200) < 0.25, "about 0.1 s is meant, and the machine may be slow"
    assert cpu_s(LIMIT) < 2.5, "about 1 s is meant, and the machine may be slow"
