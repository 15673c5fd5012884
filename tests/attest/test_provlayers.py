"""Layers and columns: below what they use, no wider than allowed, as large as a page."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.boxes import boxes

from verismo.attest.provlayers import BOX_GAP, Box, Plan, assign_layers, find_hubs, plan_page


def chain(count):
    return [Box(100, 40, (position - 1,) if position else ()) for position in range(count)]


def fan(count):
    return [Box(100, 40, ()), *(Box(100, 40, (0,)) for _ in range(count))]


@pytest.mark.slow
@settings(deadline=None)
@given(boxes(), st.integers(50, 2_000))
def test_every_box_has_a_layer_below_all_that_it_has_to_stand_below(made, width_max):
    layers = assign_layers(made, width_max)
    assert len(layers) == len(made)
    assert set(layers) == set(range(max(layers) + 1))
    for one, box in enumerate(made):
        assert all(layers[above] < layers[one] for above in box.above)


@pytest.mark.slow
@settings(deadline=None)
@given(boxes(), st.integers(50, 2_000))
def test_a_layer_of_several_boxes_keeps_to_the_width(made, width_max):
    layers = assign_layers(made, width_max)
    for layer in set(layers):
        row = [box.width for box, at in zip(made, layers, strict=True) if at == layer]
        assert len(row) == 1 or sum(row) + len(row) * BOX_GAP <= width_max


@pytest.mark.slow
@settings(deadline=None)
@given(boxes())
def test_a_column_begins_with_a_layer_and_none_is_empty(made):
    plan = plan_page(made)
    assert list(plan.cuts) == sorted(set(plan.cuts))
    assert all(0 < cut <= max(plan.layers) for cut in plan.cuts)


def test_siblings_fill_rows_in_their_order():
    assert assign_layers(fan(7), 3 * (100 + BOX_GAP)) == [0, 1, 1, 1, 2, 2, 2, 3]


def test_a_long_line_is_not_kept_waiting_by_many_short_ones():
    made = [*chain(10), *(Box(100, 40, (0,)) for _ in range(30))]
    layers = assign_layers(made, 4 * (100 + BOX_GAP))
    assert layers[9] == 9 + max(0, max(layers) - 10)


def test_a_parent_gets_all_its_children_before_the_next_one_does():
    parents = [Box(100, 40, (0,)) for _ in range(2)]
    children = [Box(100, 40, (1 + number % 2,)) for number in range(6)]
    layers = assign_layers([Box(100, 40, ()), *parents, *children], 3 * (100 + BOX_GAP))
    assert [layers[3], layers[5], layers[7]] == [2, 2, 2]
    assert [layers[4], layers[6], layers[8]] == [3, 3, 3]


def test_a_source_stands_beside_the_last_of_what_it_is_used_with():
    made = [*chain(5), Box(100, 40, ()), Box(100, 40, (4, 5))]
    assert assign_layers(made, 1_000)[5] == 4


def test_boxes_of_very_different_heights_do_not_share_a_layer():
    made = [Box(100, 40, ()), Box(100, 400, ()), Box(100, 50, ())]
    layers = assign_layers(made, 1_000)
    assert layers[0] == layers[2] != layers[1]


def test_a_small_drawing_has_one_column():
    assert plan_page(chain(12)) == Plan(tuple(range(12)))


def test_a_long_line_gets_columns_of_about_the_same_height():
    begins = [0, *plan_page(chain(200)).cuts, 200]
    heights = [end - begin for begin, end in pairwise(begins)]
    assert len(heights) > 4
    assert max(heights) - min(heights) < 0.3 * max(heights)


def test_a_column_ends_where_fewer_edges_pass():
    # Ladders of four lines, each joined by one box: it is there that a column may end.
    made = [Box(100, 40, ())]
    for _ in range(12):
        joint = len(made) - 1
        for _ in range(4):
            made.append(Box(100, 40, (joint,)))
            made += [Box(100, 40, (len(made) - 1,))]
        first = joint + 1
        made.append(Box(100, 40, tuple(range(first + 1, first + 8, 2))))
    plan = plan_page(made)
    assert plan.cuts
    for cut in plan.cuts:
        crossing = {
            hub
            for (start, end), hub in find_hubs(made).items()
            if plan.layers[start] < cut <= plan.layers[end]
        }
        assert len(crossing) == 1


def test_the_busier_end_of_an_edge_is_its_hub():
    made = [*fan(3), Box(100, 40, (1, 2, 3))]
    assert find_hubs(made) == {
        (0, 1): (0, True),
        (0, 2): (0, True),
        (0, 3): (0, True),
        (1, 4): (4, False),
        (2, 4): (4, False),
        (3, 4): (4, False),
    }
