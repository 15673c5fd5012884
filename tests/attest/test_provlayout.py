"""The layout: nothing overlaps, edges lead down and through no box, the same every time."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.boxes import boxes

from verismo.attest.provlayers import LAYER_GAP, Box, Plan, assign_layers
from verismo.attest.provlayout import arrange


@st.composite
def planned(draw):
    """Boxes, and a plan for them with layers of any width and columns of any height."""
    made = draw(boxes(with_leaves=True))
    layers = tuple(assign_layers(made, draw(st.integers(50, 2_000))))
    cuts = draw(st.sets(st.integers(1, max(1, max(layers))), max_size=4))
    return made, Plan(layers, tuple(sorted(cut for cut in cuts if cut <= max(layers))))


def column_of(layout, layer):
    return sum(1 for cut in layout.cuts if cut <= layer)


def rectangles(made, layout):
    return [
        (x, y, x + box.width, y + box.height)
        for box, (x, y) in zip(made, layout.corners, strict=True)
    ]


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.mark.slow
@settings(deadline=None)
@given(planned())
def test_no_boxes_overlap_and_all_lie_within_the_whole(planned):
    made, plan = planned
    layout = arrange(made, plan)
    placed = rectangles(made, layout)
    assert len(placed) == len(made)
    for index, one in enumerate(placed):
        assert not any(overlap(one, other) for other in placed[:index])
        assert min(one) >= 0
        assert (one[2] <= layout.width, one[3] <= layout.height) == (True, True)


@pytest.mark.slow
@settings(deadline=None)
@given(planned())
def test_every_edge_leads_downwards_from_box_to_box_but_to_the_next_column(planned):
    made, plan = planned
    layout = arrange(made, plan)
    wanted = {(start, end) for end, box in enumerate(made) for start in box.inputs}
    assert set(layout.routes) == wanted
    for (start, end), points in layout.routes.items():
        left, top = layout.corners[start]
        assert points[0] == (left + made[start].exit, top + made[start].height)
        left, top = layout.corners[end]
        assert points[-1] == (left + made[end].width // 2, top)
        heights = [y for _, y in points]
        climbs = sum(below < above for above, below in pairwise(heights))
        upper, lower = layout.layers[start], layout.layers[end]
        assert climbs == column_of(layout, lower) - column_of(layout, upper)
        assert upper < lower
        assert heights[-2] <= heights[-1]


@pytest.mark.slow
@settings(deadline=None)
@given(planned())
def test_edges_pass_through_no_box_and_turn_at_right_angles(planned):
    made, plan = planned
    layout = arrange(made, plan)
    placed = rectangles(made, layout)
    for points in layout.routes.values():
        for (x, y), (to_x, to_y) in pairwise(points):
            for left, top, right, bottom in placed:
                beside = right <= min(x, to_x) or left >= max(x, to_x)
                assert beside or bottom <= y or top >= to_y
            assert x == to_x or y == to_y


@pytest.mark.slow
@settings(deadline=None)
@given(planned())
def test_the_same_boxes_are_placed_the_same(planned):
    made, plan = planned
    assert arrange(made, plan) == arrange(list(made), plan)
    assert arrange(made) == arrange(list(made))


@pytest.mark.slow
@settings(deadline=None)
@given(planned())
def test_a_box_stands_below_the_one_that_it_comes_after(planned):
    made, plan = planned
    layout = arrange(made, plan)
    for one, box in enumerate(made):
        if box.after is not None:
            assert layout.layers[box.after] < layout.layers[one]


def test_columns_stand_side_by_side():
    layout = arrange(chain(9), Plan(tuple(range(9)), (3, 6)))
    xs = [x for x, _ in layout.corners]
    ys = [y for _, y in layout.corners]
    assert xs == sorted(xs)
    assert len(set(xs)) == 3
    assert (ys[:3], ys[3:6]) == ([0, 74, 148], ys[6:])
    assert layout.height < 4 * (40 + LAYER_GAP)


def chain(count):
    return [Box(100, 40, (position - 1,) if position else ()) for position in range(count)]


def test_a_chain_is_a_straight_line():
    layout = arrange(chain(12), Plan(tuple(range(12))))
    assert {x for x, _ in layout.corners} == {0}
    assert all(len({x for x, _ in points}) == 1 for points in layout.routes.values())


def test_a_long_edge_runs_beside_what_it_passes_and_straight():
    made = [*chain(6), Box(100, 40, (5, 0))]
    layout = arrange(made)
    xs = [x for x, _ in layout.routes[0, 6][2:-2]]
    assert len(set(xs)) == 1


def test_edges_of_a_hub_share_their_way():
    made = [Box(100, 40, ())]
    made += [Box(100, 40, (0,)) for _ in range(30)]
    layout = arrange(made, Plan(tuple(assign_layers(made, 500))))
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
    layout = arrange(made)
    assert layout.layers[5] == layout.layers[6] - 1


def test_two_crossed_pairs_are_uncrossed():
    made = [Box(100, 40, ()), Box(100, 40, ()), Box(100, 40, (1,)), Box(100, 40, (0,))]
    layout = arrange(made)
    (first, _), (second, _), (below_second, _), (below_first, _) = layout.corners
    assert (first < second) == (below_first < below_second)


def test_one_box_alone_is_the_whole():
    layout = arrange([Box(200, 56, ())])
    assert (layout.width, layout.height, layout.corners) == (200, 56, ((0, 0),))


def test_a_jog_is_made_straight_where_there_is_room():
    made = [Box(100, 40, ()), Box(100, 40, (0,)), Box(100, 40, (1,)), Box(104, 40, (1,))]
    layout = arrange(made)
    assert layout.corners[0][0] == layout.corners[1][0]
    assert len({x for x, _ in layout.routes[0, 1]}) == 1
