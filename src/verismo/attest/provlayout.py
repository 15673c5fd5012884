"""A layered layout of boxes and the edges between them: downwards, with few crossings, no overlap.

In five steps: each box gets a layer below those of its inputs, and layers that stack too high get
columns; an edge that passes layers gets a bend in each of them, shared by all edges of one hub; the
order in the layers is improved by barycentres, downwards and upwards; positions are the least
squares solution of "below the mean of its neighbours" that keeps order, distances and the width of
the column; between layers edges run in tracks. Edges leave a box downwards and come in from above,
so they cross no box. Same boxes, same layout.

Source: Sugiyama, Tagawa, Toda 1981; the positions by isotonic regression (pool adjacent violators).
"""

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from verismo.attest.provlayers import BEND_GAP, BOX_GAP, WIDTH_MIN, Box, Plan, plan_page
from verismo.attest.provnet import Net
from verismo.attest.provtracks import (
    DETOUR,
    Point,
    Tracks,
    Wire,
    height_beneath,
    height_over,
    lay_around,
    lay_between,
    track_beside,
    track_over,
    track_within,
    width_beside,
)

_ORDER_SWEEPS: Final = 12
_ORDER_SWEEPS_MIN: Final = 4
_STARTS: Final = (1, 2, 0)
"""First orders: bends in the middle of their layer, at its right, at its left end."""
_POSITION_SWEEPS: Final = 24
_POSITION_SWEEPS_MIN: Final = 10
_ALIGN_SWEEPS: Final = 4
_EASY: Final = 400
"""Drawings with more links than this get fewer sweeps, so that the largest stay quick."""
_JOG: Final = 20
"""A jog of so many pixels is made straight if possible."""
_WEIGHT_ALONE: Final = 0.01
_ROOM: Final = 1.1
"""How many times as wide as its widest layer a column may be, so that edges can be straight."""


class Layout(msgspec.Struct, frozen=True):
    """Where everything stands.

    Args:
        width, height: of the whole.
        corners: for each box its upper left corner.
        layers: for each box its layer, from 0.
        cuts: the layers with which a further column begins.
        routes: for each edge (from, to) its points from the lower side of one box to the upper
            side of the other; between two of them it goes straight down or across, and up only
            beside a column.
    """

    width: int
    height: int
    corners: tuple[Point, ...]
    layers: tuple[int, ...]
    cuts: tuple[int, ...]
    routes: Mapping[tuple[int, int], tuple[Point, ...]]


def arrange(boxes: Sequence[Box], plan: Plan | None = None) -> Layout:
    """Place boxes.

    Args:
        boxes: at least one; inputs before the boxes that use them.
        plan: their layers and columns; None for those that fill a page best.
    """
    net = Net(boxes, plan_page(boxes) if plan is None else plan)
    rows = _uncross(net)
    middles = _position(net, rows)
    frame = _Frame(net, rows, middles)
    corners = tuple(
        (middles[one] - box.width // 2, frame.tops[net.layer[one]]) for one, box in enumerate(boxes)
    )
    routes = {edge: _route(net, edge, middles, frame) for edge in net.bends}
    return Layout(frame.width, frame.height, corners, net.plan.layers, net.plan.cuts, routes)


class _Frame:
    """Where layers, columns and tracks are.

    Args:
        net: the boxes and bends.
        rows: them by layer.
        middles: where each stands; set apart by columns here.
    """

    def __init__(self, net: Net, rows: Sequence[Sequence[int]], middles: list[int]) -> None:
        links: list[list[tuple[int, int]]] = [[] for _ in rows]
        for upper, lower in net.links:
            links[net.layer[upper]].append((upper, lower))
        self.tops: list[int] = []
        self.bottoms: list[int] = []
        self.tracks: list[Tracks] = []
        self.ends: list[int] = []
        """For each layer the right side of its column."""
        self.width = self.height = 0
        begins = [0, *net.plan.cuts]
        stops = [*net.plan.cuts, len(rows)]
        y = beside = 0
        for begin, stop in zip(begins, stops, strict=True):
            self._set_column(net, [one for row in rows[begin:stop] for one in row], middles, beside)
            self.ends += [self.width] * (stop - begin)
            for layer in range(begin, stop):
                heights = (net.boxes[one].height for one in rows[layer] if not net.is_bend(one))
                self.tops.append(y)
                self.bottoms.append(y + max(heights, default=0))
                wires = [
                    Wire(net.links[link], net.leaves(link[0], middles), middles[link[1]])
                    for link in links[layer]
                ]
                is_last = layer == stop - 1
                self.tracks.append(lay_around(wires) if is_last else lay_between(wires))
                y = self.bottoms[-1] + height_beneath(self.tracks[-1].count)
            crossing = self.tracks[-1].count
            self.height = max(self.height, y if crossing else self.bottoms[-1])
            y, beside = height_over(crossing), width_beside(crossing)

    def _set_column(
        self, net: Net, members: Sequence[int], middles: list[int], beside: int
    ) -> None:
        """Move a column to the right of those before it."""
        left = min(middles[one] - net.width[one] // 2 for one in members)
        shift = self.width + beside - left
        for one in members:
            middles[one] += shift
        self.width = max(middles[one] + net.width[one] // 2 for one in members)


def _sweeps(net: Net, most: int, least: int) -> int:
    """Return how often a drawing is gone through."""
    return max(least, most * min(_EASY, len(net.links)) // max(1, len(net.links)))


def _uncross(net: Net) -> list[list[int]]:
    """Return the order that crosses least, of those that are reached from some first ones."""
    starts = _STARTS[: _sweeps(net, len(_STARTS), 1)]
    reached = [_improve(net, net.rows(share_left)) for share_left in starts]
    return min(reached, key=lambda found: found[0])[1]


def _improve(net: Net, rows: list[list[int]]) -> tuple[int, list[list[int]]]:
    """Order each layer by the barycentres of its neighbours; keep what crosses least, and count."""
    best, fewest = [row[:] for row in rows], _crossings(net, rows)
    for sweep in range(_sweeps(net, _ORDER_SWEEPS, _ORDER_SWEEPS_MIN)):
        if not fewest:
            break
        is_down = sweep % 2 == 0
        near = net.above if is_down else net.below
        inner = range(1, len(rows)) if is_down else range(len(rows) - 2, -1, -1)
        for layer in inner:
            beside = rows[layer - 1 if is_down else layer + 1]
            rows[layer] = _by_barycentre(rows[layer], near, beside)
        crossings = _crossings(net, rows)
        if crossings < fewest:
            best, fewest = [row[:] for row in rows], crossings
    return fewest, best


def _by_barycentre(
    row: Sequence[int], near: Sequence[Sequence[int]], beside: Sequence[int]
) -> list[int]:
    """Sort a layer by where its neighbours stand; who has none keeps the place that it has."""
    place = {one: index for index, one in enumerate(beside)}
    scale = len(beside) / len(row)

    def barycentre(indexed: tuple[int, int]) -> float:
        index, one = indexed
        if not near[one]:
            return index * scale
        return sum(place[other] for other in near[one]) / len(near[one])

    return [one for _, one in sorted(enumerate(row), key=barycentre)]


def _crossings(net: Net, rows: Sequence[Sequence[int]]) -> int:
    """Count the pairs of links that cross."""
    count = 0
    for upper, lower in pairwise(rows):
        place = {one: index for index, one in enumerate(lower)}
        seen: list[int] = []
        for one in upper:
            ends = sorted(place[other] for other in net.below[one])
            count += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return count


def _position(net: Net, rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the middle of each box and bend within its column: near its neighbours, in order."""
    middles = [0.0] * len(net.layer)
    offsets = [_offsets(net, row) for row in rows]
    rooms = _rooms(net, rows, offsets)
    for row, offset, room in zip(rows, offsets, rooms, strict=True):
        for one, least in zip(row, offset, strict=True):
            middles[one] = sum(room) / 2 + least
    above = [_within(net, one, net.above[one]) for one in range(len(net.layer))]
    below = [_within(net, one, net.below[one]) for one in range(len(net.layer))]
    both = [[*ones, *others] for ones, others in zip(above, below, strict=True)]
    pulls = [
        [[(other, net.weight(one, other)) for other in near] for one, near in enumerate(side)]
        for side in (above, below, both)
    ]
    down = range(len(rows))
    up = range(len(rows) - 1, -1, -1)
    for sweep in range(_sweeps(net, _POSITION_SWEEPS, _POSITION_SWEEPS_MIN)):
        near = pulls[2 if sweep >= _ALIGN_SWEEPS else sweep % 2]
        for layer in (down, up)[sweep % 2]:
            _fit(rows[layer], offsets[layer], near, middles, rooms[layer])
    # Whole distances stay whole when both ends are rounded down.
    whole = [int(middle // 1) for middle in middles]
    for row, offset, room in zip(rows, offsets, rooms, strict=True):
        _straighten(net, (row, offset, room), above, whole)
    return whole


def _straighten(
    net: Net,
    layer: tuple[Sequence[int], Sequence[int], tuple[float, float]],
    above: Sequence[Sequence[int]],
    middles: list[int],
) -> None:
    """Take small jogs out of edges that go on alone, where there is room to."""
    row, offsets, (least, most) = layer
    for index, one in enumerate(row):
        if len(above[one]) != 1 and not net.is_bend(one):
            continue
        # A bend that gathers follows the bend above it.
        wanted = [
            net.leaves(other, middles)
            for other in above[one]
            if len(above[one]) == 1 or net.is_bend(other)
        ]
        if not wanted or not 0 < abs(wanted[0] - middles[one]) <= _JOG:
            continue
        left, right = least + offsets[index], most + offsets[index]
        if index:
            left = middles[row[index - 1]] + offsets[index] - offsets[index - 1]
        if index + 1 < len(row):
            right = middles[row[index + 1]] + offsets[index] - offsets[index + 1]
        if left <= wanted[0] <= right:
            middles[one] = wanted[0]


def _within(net: Net, one: int, near: Sequence[int]) -> list[int]:
    """Leave out what stands in another column: that is nowhere near."""
    layer = net.layer[one]
    cuts = net.plan.cuts
    column = bisect_right(cuts, layer)
    return [other for other in near if bisect_right(cuts, net.layer[other]) == column]


def _rooms(
    net: Net, rows: Sequence[Sequence[int]], offsets: Sequence[Sequence[int]]
) -> list[tuple[float, float]]:
    """Return for each layer how far left and how far right its first box or bend may be."""
    ends = [(net.width[row[0]] / 2, net.width[row[-1]] / 2) for row in rows]
    needed = [
        left + offset[-1] + right for (left, right), offset in zip(ends, offsets, strict=True)
    ]
    rooms: list[tuple[float, float]] = []
    cuts = net.plan.cuts
    for begin, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        width = max(max(needed[begin:stop]) * _ROOM, 0 if cuts else WIDTH_MIN)
        for layer in range(begin, stop):
            left, _ = ends[layer]
            rooms.append((left, left + width - needed[layer]))
    return rooms


def _offsets(net: Net, row: Sequence[int]) -> list[int]:
    """Return how far right of the first one each may begin, at least."""
    offsets = [0]
    for left, right in pairwise(row):
        is_beside_bend = net.is_bend(left) or net.is_bend(right)
        gap = BEND_GAP if is_beside_bend else BOX_GAP
        offsets.append(offsets[-1] + net.width[left] // 2 + gap + net.width[right] // 2)
    return offsets


def _fit(
    row: Sequence[int],
    offsets: Sequence[int],
    pulls: Sequence[Sequence[tuple[int, float]]],
    middles: list[float],
    room: tuple[float, float],
) -> None:
    """Move a layer as near to its neighbours as order, distances and room allow: least squares."""
    pools: list[tuple[float, float, int]] = []
    for one, offset in zip(row, offsets, strict=True):
        near = pulls[one]
        total = sum(weight for _, weight in near)
        if total:
            pull = sum(weight * middles[other] for other, weight in near)
        else:
            total = _WEIGHT_ALONE
            pull = total * middles[one]
        pool = (pull - total * offset, total, 1)
        while pools and pools[-1][0] / pools[-1][1] > pool[0] / pool[1]:
            left = pools.pop()
            pool = (left[0] + pool[0], left[1] + pool[1], left[2] + pool[2])
        pools.append(pool)
    index = 0
    for pull, total, count in pools:
        # The best within bounds is the best without them, moved to the nearest bound.
        at = min(max(pull / total, room[0]), room[1])
        for _ in range(count):
            middles[row[index]] = at + offsets[index]
            index += 1


def _route(
    net: Net, edge: tuple[int, int], middles: Sequence[int], frame: _Frame
) -> tuple[Point, ...]:
    start, end = edge
    layer = net.layer[start]
    points = [(net.leaves(start, middles), frame.tops[layer] + net.boxes[start].height)]
    hub = net.hubs[edge]
    cuts = set(net.plan.cuts)
    for upper, lower in pairwise([start, *net.bends[edge], end]):
        layer = net.layer[upper]
        x, to_x = net.leaves(upper, middles), middles[lower]
        bottom = frame.bottoms[layer]
        points.append((x, bottom))
        tracks = frame.tracks[layer]
        track = tracks.of.get(hub, 0)
        y = bottom + track_within(track)
        if layer + 1 in cuts:
            beside, over = frame.ends[layer] + track_beside(track), track_over(track)
            points += [(x, y), (beside, y), (beside, over), (to_x, over)]
        elif (hub, to_x) in tracks.detours:
            lower_y = bottom + track_within(tracks.detours[hub, to_x])
            around = to_x + DETOUR
            points += [(x, y), (around, y), (around, lower_y), (to_x, lower_y)]
        elif x != to_x:
            points += [(x, y), (to_x, y)]
        points.append((to_x, frame.tops[layer + 1]))
    # A box as high as its layer has no way to go down within it.
    return tuple(dict.fromkeys(points))
