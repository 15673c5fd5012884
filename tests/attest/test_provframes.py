"""Frames: a joined call stands in one, whole, apart from all others; drawing stays quick."""

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.graphs import agent_run, plain_answer, scribble

from verismo.attest.provframes import draw_frames
from verismo.attest.provsvg import HOP_HEIGHT, HOP_WIDTH
from verismo.attest.provview import view_graph

runs = st.builds(
    agent_run, st.integers(0, 4), st.integers(0, 2), st.integers(0, 3), st.integers(0, 2)
)
graphs = runs | st.builds(scribble, st.integers(0, 10**6), st.integers(0, 40))


def draw(recorded):
    view = view_graph(recorded.graph())
    return view, draw_frames(view, HOP_WIDTH, HOP_HEIGHT)


def hop_rectangles(drawing):
    return [(x, y, x + HOP_WIDTH, y + HOP_HEIGHT) for x, y in drawing.corners]


def frame_rectangles(drawing):
    return {
        one.response: (one.x, one.y, one.x + one.width, one.y + one.height)
        for one in drawing.frames
    }


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def inside(inner, outer):
    return (
        outer[0] <= inner[0]
        and outer[1] <= inner[1]
        and inner[2] <= outer[2]
        and inner[3] <= outer[3]
    )


def is_within(view, hop, response):
    """Whether a hop belongs to a call, or to one inside it."""
    place = view.owner[hop]
    while place not in (response, view.answer.response):
        place = view.calls[place].parent
    return place == response


@pytest.mark.slow
@settings(deadline=None)
@given(graphs)
def test_hops_do_not_overlap_and_all_lie_within_the_whole(recorded):
    view, drawing = draw(recorded)
    placed = hop_rectangles(drawing)
    assert len(placed) == len(view.nodes)
    for index, one in enumerate(placed):
        assert not any(overlap(one, other) for other in placed[:index])
        assert inside(one, (0, 0, drawing.width, drawing.height))


@pytest.mark.slow
@settings(deadline=None)
@given(graphs)
def test_a_frame_holds_exactly_its_call(recorded):
    view, drawing = draw(recorded)
    frames = frame_rectangles(drawing)
    assert set(frames) == set(view.calls) - {view.answer.response}
    for response, frame in frames.items():
        for hop, placed in enumerate(hop_rectangles(drawing)):
            if is_within(view, hop, response):
                assert inside(placed, frame)
            else:
                assert not overlap(placed, frame)
        for other, placed in frames.items():
            nested = inside(placed, frame) or inside(frame, placed)
            assert other == response or nested or not overlap(placed, frame)


@pytest.mark.slow
@settings(deadline=None)
@given(graphs)
def test_every_input_is_an_edge_from_below_one_hop_to_above_the_other(recorded):
    view, drawing = draw(recorded)
    wanted = {(used, user) for user, all_used in enumerate(view.inputs) for used in all_used}
    assert set(drawing.routes) == wanted
    for (used, user), points in drawing.routes.items():
        x, y = drawing.corners[used]
        assert points[0] == (x + HOP_WIDTH // 2, y + HOP_HEIGHT)
        x, y = drawing.corners[user]
        assert points[-1] == (x + HOP_WIDTH // 2, y)
        assert points[1][1] >= points[0][1]
        assert points[-2][1] <= points[-1][1]


@pytest.mark.slow
@settings(deadline=None)
@given(graphs)
def test_edges_pass_through_no_hop(recorded):
    _, drawing = draw(recorded)
    placed = hop_rectangles(drawing)
    for points in drawing.routes.values():
        for (x, y), (to_x, to_y) in pairwise(points):
            for left, top, right, bottom in placed:
                beside = right <= min(x, to_x) or left >= max(x, to_x)
                assert beside or bottom <= y or top >= to_y


def test_a_joined_call_stands_below_the_opening_of_the_run():
    view, drawing = draw(agent_run(calls=3, searches=1, tools=1))
    opening = max(drawing.corners[hop][1] for hop in view.answer.spine[:4])
    assert all(frame.y > opening for frame in drawing.frames)


def test_a_small_graph_fits_a_screen():
    _, drawing = draw(plain_answer())
    assert drawing.width == HOP_WIDTH
    _, drawing = draw(agent_run(calls=1, searches=1, tools=0))
    assert (drawing.width < 1_300, drawing.height < 1_300) == (True, True)


@pytest.mark.slow
def test_drawing_time_grows_little_faster_than_the_graph():
    def cpu_s(recorded):
        view = view_graph(recorded.graph())
        taken = []
        for _ in range(5):
            began = time.thread_time()
            draw_frames(view, HOP_WIDTH, HOP_HEIGHT)
            taken.append(time.thread_time() - began)
        return min(taken) / len(view.nodes)

    small = cpu_s(agent_run(calls=10, searches=4, tools=6))
    large = cpu_s(agent_run(calls=80, searches=32, tools=48))
    assert large < 6 * small, "eight times the hops, at most six times the time for each"
