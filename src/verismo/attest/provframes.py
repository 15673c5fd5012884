"""Where the hops of a graph stand: each joined call in a frame of its own, laid out like a box.

A joined call is linked to what is around it by its response alone, so its frame can be laid out
first and then placed as a whole. Nothing in it can overlap anything outside.
"""

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Final

import msgspec

from verismo.attest.provlayers import Box
from verismo.attest.provlayout import Layout, arrange
from verismo.attest.provtracks import Point
from verismo.attest.provview import View

FRAME_PADDING: Final = 12
FRAME_TITLE: Final = 26
"""Height of a frame's first line."""


class Frame(msgspec.Struct, frozen=True):
    """The frame of a joined call.

    Args:
        response: position of the call's response.
        x, y: its upper left corner.
        width, height: its size.
    """

    response: int
    x: int
    y: int
    width: int
    height: int


class Drawing(msgspec.Struct, frozen=True):
    """Where everything stands, in pixels.

    Args:
        width, height: of the whole.
        corners: for each hop the upper left corner of its box.
        frames: of the joined calls, outer ones first.
        routes: for each edge (from, to) its points.
    """

    width: int
    height: int
    corners: tuple[Point, ...]
    frames: tuple[Frame, ...]
    routes: Mapping[tuple[int, int], tuple[Point, ...]]


class _Inside(msgspec.Struct, frozen=True):
    """A call laid out by itself: its own hops and, as boxes, the calls directly inside."""

    members: tuple[int, ...]
    layout: Layout
    leaves: int


def draw_frames(view: View, hop_width: int, hop_height: int) -> Drawing:
    """Place the hops and frames of a graph.

    Args:
        view: as `view_graph` returns it.
        hop_width: width of a hop's box in pixels, even.
        hop_height: its height in pixels.
    """
    inside: dict[int, _Inside] = {}
    after = view.come_after()
    for response in sorted(view.calls):
        inside[response] = _lay_out(view, response, inside, after, (hop_width, hop_height))
    answer = len(view.nodes) - 1
    origins: dict[int, Point] = {answer: (0, 0)}
    corners: dict[int, Point] = {}
    frames: list[Frame] = []
    depths = {answer: 0}
    routes: dict[tuple[int, int], tuple[Point, ...]] = {}
    for response in sorted(view.calls, reverse=True):
        call, (left, top) = inside[response], origins[response]
        for member, (x, y) in zip(call.members, call.layout.corners, strict=True):
            if member in view.calls and member != response:
                width, height = _frame_size(inside[member].layout)
                frames.append(Frame(member, left + x, top + y, width, height))
                depths[member] = depths[response] + 1
                origins[member] = (left + x + FRAME_PADDING, top + y + FRAME_TITLE)
            else:
                corners[member] = (left + x, top + y)
        for (start, end), points in call.layout.routes.items():
            edge = call.members[start], call.members[end]
            routes[edge] = tuple((left + x, top + y) for x, y in points)
    _lead_out(view, corners, routes, (hop_width, hop_height))
    whole = inside[answer].layout
    ordered = tuple(corners[hop] for hop in range(len(view.nodes)))
    frames.sort(key=lambda frame: (depths[frame.response], frame.response))
    return Drawing(whole.width, whole.height, ordered, tuple(frames), dict(sorted(routes.items())))


def _lay_out(
    view: View,
    response: int,
    inside: Mapping[int, _Inside],
    after: Sequence[int | None],
    size: tuple[int, int],
) -> _Inside:
    call = view.calls[response]
    own = set(call.hops)
    joined = {used for hop in call.hops for used in view.inputs[hop]} - own
    members = _in_time(view, call.hops, joined)
    rank = {member: rank for rank, member in enumerate(members)}
    boxes: list[Box] = []
    for member in members:
        below = rank.get(-1 if (before := after[member]) is None else before)
        # A source may be needed before what it is shown after: then it stands where it is used.
        below = None if below is None or below > rank[member] else below
        if member in joined:
            width, height = _frame_size(inside[member].layout)
            leaves = inside[member].leaves + FRAME_PADDING
            boxes.append(Box(width, height, (), below, leaves))
        else:
            inputs = tuple(rank[used] for used in dict.fromkeys(view.inputs[member]))
            boxes.append(Box(*size, inputs, None if inputs else below))
    layout = arrange(boxes)
    return _Inside(members, layout, layout.corners[-1][0] + size[0] // 2)


def _in_time(view: View, hops: Sequence[int], joined: set[int]) -> tuple[int, ...]:
    """Return a call's hops and the calls inside, inputs first, else in the order of their begin."""
    users: dict[int, list[int]] = {}
    wanting = {hop: len(view.inputs[hop]) for hop in hops}
    for hop in hops:
        for used in view.inputs[hop]:
            users.setdefault(used, []).append(hop)
    ready = [(_began(view, one), one) for one in joined]
    ready += [(_began(view, hop), hop) for hop in hops if not wanting[hop]]
    heapify(ready)
    order: list[int] = []
    while ready:
        _, one = heappop(ready)
        order.append(one)
        for user in users.get(one, ()):
            wanting[user] -= 1
            if not wanting[user]:
                heappush(ready, (_began(view, user), user))
    return tuple(order)


def _began(view: View, member: int) -> int:
    """Return when a hop began, Unix ms; a call began with its request."""
    call = view.calls.get(member)
    return view.nodes[member if call is None else call.hops[0]].t0


def _frame_size(layout: Layout) -> Point:
    width = layout.width + 2 * FRAME_PADDING
    return width + width % 2, layout.height + FRAME_TITLE + FRAME_PADDING


def _lead_out(
    view: View,
    corners: Mapping[int, Point],
    routes: dict[tuple[int, int], tuple[Point, ...]],
    size: tuple[int, int],
) -> None:
    """Let the edges that leave a frame begin at the response inside it, not at the frame."""
    for edge, points in routes.items():
        start = edge[0]
        if view.owner[start] != view.owner[edge[1]]:
            x, y = corners[start]
            routes[edge] = ((x + size[0] // 2, y + size[1]), *points)
