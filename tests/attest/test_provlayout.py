"""The layout: nothing overlaps, edges lead down and through no box, the same every time."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verismo.attest.provlayout import BOX_GAP, LAYER_GAP, Box, arrange


@st.composite
def boxes(draw, most=40):
    """Boxes of any size with edges from earlier ones."""
    count = draw(st.integers(1, most))
    made = []
    for position in range(count):
        before = st.lists(st.integers(0, position - 1), max_size=4, unique=True)
        inputs = tuple(draw(before)) if position else ()
        after = draw(st.none() | st.integers(0, position - 1)) if position else None
        width = 2 * draw(st.integers(10, 150))
        leaves = draw(st.none() | st.integers(0, width))
        made.append(Box(width, draw(st.integers(20, 300)), inputs, after, leaves))
    return made


widths = st.integers(50, 2_000)


def rectangles(made, layout):
    return [
        (x, y, x + box.width, y + box.height)
        for box, (x, y) in zip(made, layout.corners, strict=True)
    ]


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.mark.slow
@settings(deadline=None)
@given(boxes(), widths)
def test_no_boxes_overlap_and_all_lie_within_the_whole(made, width_max):
    layout = arrange(made, width_max)
    placed = rectangles(made, layout)
    assert len(placed) == len(made)
    for index, one in enumerate(placed):
        assert not any(overlap(one, other) for other in placed[:index])
        assert min(one) >= 0
        assert (one[2] <= layout.width, one[3] <= layout.height) == (True, True)


@pytest.mark.slow
@settings(deadline=None)
@given(boxes(), widths)
def test_every_edge_leads_only_downwards_from_box_to_box(made, width_max):
    layout = arrange(made, width_max)
    wanted = {(start, end) for end, box in enumerate(made) for start in box.inputs}
    assert set(layout.routes) == wanted
    for (start, end), points in layout.routes.items():
        left, top = layout.corners[start]
        assert points[0] == (left + made[start].exit, top + made[start].height)
        left, top = layout.corners[end]
        assert points[-1] == (left + made[end].width // 2, top)
        heights = [y for _, y in points]
        assert heights == sorted(heights)
        assert heights[0] < heights[-1]
        assert layout.layers[start] < layout.layers[end]


@pytest.mark.slow
@settings(deadline=None)
@given(boxes(), widths)
def test_edges_pass_through_no_box_and_bend_only_between_layers(made, width_max):
    layout = arrange(made, width_max)
    placed = rectangles(made, layout)
    for points in layout.routes.values():
        for (x, y), (to_x, to_y) in pairwise(points):
            for left, top, right, bottom in placed:
                beside = right <= min(x, to_x) or left >= max(x, to_x)
                assert beside or bottom <= y or top >= to_y
            assert x == to_x or to_y - y == LAYER_GAP


@pytest.mark.slow
@settings(deadline=None)
@given(boxes(), widths)
def test_the_same_boxes_are_placed_the_same(made, width_max):
    assert arrange(made, width_max) == arrange(list(made), width_max)


@pytest.mark.slow
@settings(deadline=None)
@given(boxes(), widths)
def test_a_box_stands_below_the_one_that_it_comes_after(made, width_max):
    layout = arrange(made, width_max)
    for one, box in enumerate(made):
        if box.after is not None:
            assert layout.layers[box.after] < layout.layers[one]


@pytest.mark.slow
@settings(deadline=None)
@given(boxes(), st.integers(400, 2_000))
def test_a_layer_of_several_boxes_keeps_to_the_width(made, width_max):
    layout = arrange(made, width_max)
    for layer in set(layout.layers):
        row = [box.width for box, at in zip(made, layout.layers, strict=True) if at == layer]
        assert len(row) == 1 or sum(row) + len(row) * BOX_GAP <= width_max


def chain(count):
    return [Box(100, 40, (position - 1,) if position else ()) for position in range(count)]


def test_a_chain_is_a_straight_line():
    layout = arrange(chain(12), 1_000)
    assert {x for x, _ in layout.corners} == {0}
    assert all(len({x for x, _ in points}) == 1 for points in layout.routes.values())


def test_a_long_edge_runs_beside_what_it_passes_and_straight():
    made = [*chain(6), Box(100, 40, (5, 0))]
    layout = arrange(made, 1_000)
    xs = [x for x, _ in layout.routes[0, 6][2:-1]]
    assert len(set(xs)) == 1


def test_edges_of_a_hub_share_their_way():
    made = [Box(100, 40, ())]
    made += [Box(100, 40, (0,)) for _ in range(30)]
    layout = arrange(made, 500)
    pieces = {
        piece
        for points in layout.routes.values()
        for piece in pairwise(points)
        if piece[0][0] == piece[1][0]
    }
    all_pieces = sum(len(points) - 1 for points in layout.routes.values())
    assert len(pieces) < all_pieces / 3


def test_a_source_stands_right_above_what_uses_it():
    made = [*chain(5), Box(100, 40, ()), Box(100, 40, (4, 5))]
    layout = arrange(made, 1_000)
    assert layout.layers[5] == layout.layers[6] - 1


def test_two_crossed_pairs_are_uncrossed():
    made = [Box(100, 40, ()), Box(100, 40, ()), Box(100, 40, (1,)), Box(100, 40, (0,))]
    layout = arrange(made, 1_000)
    (first, _), (second, _), (below_second, _), (below_first, _) = layout.corners
    assert (first < second) == (below_first < below_second)


def test_one_box_alone_is_the_whole():
    layout = arrange([Box(200, 56, ())], 100)
    assert (layout.width, layout.height, layout.corners) == (200, 56, ((0, 0),))
