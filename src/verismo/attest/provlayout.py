"""A layered layout of boxes and the edges between them: downwards, with few crossings, no overlap.

In four steps: each box gets a layer below those of its inputs, as many as fit beside one another;
an edge that passes layers gets a bend in each of them, shared by all edges of one hub; the order
in the layers is improved by barycentres, downwards and upwards; positions are the least squares
solution of "below the mean of its neighbours" that keeps order and distances. Edges leave a box
downwards and bend only between layers, so they cross no box. Same boxes, same layout.

Source: Sugiyama, Tagawa, Toda 1981; the positions by isotonic regression (pool adjacent violators).
"""

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

BOX_GAP: Final = 28
BEND_GAP: Final = 14
BEND_WIDTH: Final = 4
LAYER_GAP: Final = 34
_ORDER_SWEEPS: Final = 12
_STARTS: Final = (1, 2, 0)
"""First orders: bends in the middle of their layer, at its right, at its left end."""
_POSITION_SWEEPS: Final = 24
_ALIGN_SWEEPS: Final = 4
_WEIGHT_LONG: Final = 8.0
"""Of the link of two bends, where that of two boxes is 1: long edges are to be straight."""
_UNEVEN: Final = 3
"""How many times as high as another a box in the same layer may be: room above is lost."""
_WEIGHT_ALONE: Final = 0.01

Point = tuple[int, int]


class Box(msgspec.Struct, frozen=True):
    """A box to be placed.

    Args:
        width, height: its size, in pixels; the width is even.
        inputs: positions of the boxes that it has edges from; all smaller than its own.
        after: position of an earlier box that it is to stand below without an edge, or None.
        leaves: where edges leave it, from its left side; None for its middle.
    """

    width: int
    height: int
    inputs: tuple[int, ...]
    after: int | None = None
    leaves: int | None = None

    @property
    def exit(self) -> int:
        """Where edges leave it, from its left side."""
        return self.width // 2 if self.leaves is None else self.leaves


class Layout(msgspec.Struct, frozen=True):
    """Where everything stands.

    Args:
        width, height: of the whole.
        corners: for each box its upper left corner.
        layers: for each box its layer, from 0.
        routes: for each edge (from, to) its points from the lower side of one box to the upper
            side of the other; between two of them it goes straight down or bends.
    """

    width: int
    height: int
    corners: tuple[Point, ...]
    layers: tuple[int, ...]
    routes: Mapping[tuple[int, int], tuple[Point, ...]]


class _Net:
    """The boxes and the bends of long edges, linked from layer to layer.

    Args:
        boxes: the boxes.
        layer_of: for each box its layer.
    """

    def __init__(self, boxes: Sequence[Box], layer_of: Sequence[int]) -> None:
        self.boxes = boxes
        self.layer = list(layer_of)
        self.width = [box.width for box in boxes]
        self.above: list[list[int]] = [[] for _ in boxes]
        self.below: list[list[int]] = [[] for _ in boxes]
        self.bends: dict[tuple[int, int], list[int]] = {}
        self._hubs: dict[tuple[int, bool, int], int] = {}
        self._links: set[tuple[int, int]] = set()
        used = [0] * len(boxes)
        for box in boxes:
            for start in box.inputs:
                used[start] += 1
        for end, box in enumerate(boxes):
            for start in box.inputs:
                self._connect(start, end, used[start] > len(box.inputs))

    def rows(self, share_left: int) -> list[list[int]]:
        """Return boxes and bends by layer, in the order in which they came.

        Args:
            share_left: how many halves of a layer's boxes stand to the left of its bends.
        """
        rows: list[list[int]] = [[] for _ in range(max(self.layer) + 1)]
        for vertex, layer in enumerate(self.layer[: len(self.boxes)]):
            rows[layer].append(vertex)
        halves = [len(row) * share_left // 2 for row in rows]
        for vertex in range(len(self.boxes), len(self.layer)):
            layer = self.layer[vertex]
            rows[layer].insert(halves[layer], vertex)
        return rows

    def is_bend(self, vertex: int) -> bool:
        """Say whether a vertex is a bend."""
        return vertex >= len(self.boxes)

    def weight(self, one: int, other: int) -> float:
        """Return how straight the link of two vertices is to be; one of many in a fan less so."""
        if self.is_bend(one) and self.is_bend(other):
            return _WEIGHT_LONG
        upper, lower = (one, other) if self.layer[one] < self.layer[other] else (other, one)
        fan = max(len(self.below[upper]), len(self.above[lower]))
        return 1 / fan

    def _connect(self, start: int, end: int, is_from_start: bool) -> None:
        """Link two boxes by way of bends; those of the busier end are shared."""
        hub = start if is_from_start else end
        between = range(self.layer[start] + 1, self.layer[end])
        path = [start, *(self._bend(hub, is_from_start, layer) for layer in between), end]
        self.bends[start, end] = path[1:-1]
        for upper, lower in pairwise(path):
            if (upper, lower) not in self._links:
                self._links.add((upper, lower))
                self.below[upper].append(lower)
                self.above[lower].append(upper)

    def _bend(self, hub: int, is_from_start: bool, layer: int) -> int:
        key = (hub, is_from_start, layer)
        if key not in self._hubs:
            self._hubs[key] = len(self.layer)
            self.layer.append(layer)
            self.width.append(BEND_WIDTH)
            self.above.append([])
            self.below.append([])
        return self._hubs[key]


def arrange(boxes: Sequence[Box], width_max: int) -> Layout:
    """Place boxes.

    Args:
        boxes: at least one; inputs before the boxes that use them.
        width_max: how wide a layer of several boxes may be, in pixels; bends come on top.
    """
    net = _Net(boxes, _assign_layers(boxes, width_max))
    rows = _uncross(net)
    middles = _position(net, rows)
    tops: list[int] = []
    bottoms: list[int] = []
    y = 0
    for row in rows:
        height = max((boxes[one].height for one in row if not net.is_bend(one)), default=0)
        tops.append(y)
        bottoms.append(y + height)
        y += height + LAYER_GAP
    left = min(middle - width // 2 for middle, width in zip(middles, net.width, strict=True))
    right = max(middle + width // 2 for middle, width in zip(middles, net.width, strict=True))
    middles = [middle - left for middle in middles]
    corners = tuple(
        (middles[one] - box.width // 2, tops[net.layer[one]]) for one, box in enumerate(boxes)
    )
    routes = {
        (start, end): _route(net, (start, end), middles, (tops, bottoms))
        for start, end in net.bends
    }
    return Layout(right - left, bottoms[-1], corners, tuple(net.layer[: len(boxes)]), routes)


class _Layers:
    """Layers as they fill up: each as wide as allowed, with boxes of about the same height.

    Args:
        width_max: of a layer with several boxes.
    """

    def __init__(self, width_max: int) -> None:
        self._width_max = width_max
        self._taken: dict[int, int] = {}
        self._heights: dict[int, int] = {}

    def has_room(self, layer: int, box: Box) -> bool:
        """Say whether a box fits into a layer; an empty one has room for any."""
        taken = self._taken.get(layer, 0)
        if not taken:
            return True
        low, high = sorted((box.height, self._heights[layer]))
        return taken + box.width + BOX_GAP <= self._width_max and high <= _UNEVEN * low

    def put(self, layer: int, box: Box) -> None:
        """Take the room of a box."""
        self._heights.setdefault(layer, box.height)
        self._taken[layer] = self._taken.get(layer, 0) + box.width + BOX_GAP

    def free(self, layer: int, box: Box) -> None:
        """Give the room of a box back."""
        self._taken[layer] -= box.width + BOX_GAP


def _assign_layers(boxes: Sequence[Box], width_max: int) -> list[int]:
    """Give each box the first layer below its inputs that has room for it."""
    layers: list[int] = []
    room = _Layers(width_max)
    for box in boxes:
        layer = max((layers[one] + 1 for one in _above(box)), default=0)
        while not room.has_room(layer, box):
            layer += 1
        room.put(layer, box)
        layers.append(layer)
    _lower_sources(boxes, layers, room)
    return _without_gaps(layers)


def _above(box: Box) -> tuple[int, ...]:
    """Return what a box has to stand below."""
    return box.inputs if box.after is None else (*box.inputs, box.after)


def _lower_sources(boxes: Sequence[Box], layers: list[int], room: _Layers) -> None:
    """Move boxes that may stand anywhere above their users down to the first, if there is room."""
    first_below: dict[int, int] = {}
    for user, box in enumerate(boxes):
        for used in _above(box):
            first_below[used] = min(layers[user], first_below.get(used, layers[user]))
    for one, box in enumerate(boxes):
        if _above(box) or one not in first_below:
            continue
        lower = range(first_below[one] - 1, layers[one], -1)
        found = next((layer for layer in lower if room.has_room(layer, box)), None)
        if found is not None:
            room.free(layers[one], box)
            room.put(found, box)
            layers[one] = found


def _without_gaps(layers: Sequence[int]) -> list[int]:
    """Number the layers that hold a box from 0 on."""
    number = {layer: rank for rank, layer in enumerate(sorted(set(layers)))}
    return [number[layer] for layer in layers]


def _uncross(net: _Net) -> list[list[int]]:
    """Return the order that crosses least, of those that are reached from some first ones."""
    reached = [_improve(net, net.rows(share_left)) for share_left in _STARTS]
    return min(reached, key=lambda found: found[0])[1]


def _improve(net: _Net, rows: list[list[int]]) -> tuple[int, list[list[int]]]:
    """Order each layer by the barycentres of its neighbours; keep what crosses least, and count."""
    best, fewest = [row[:] for row in rows], _crossings(net, rows)
    for sweep in range(_ORDER_SWEEPS):
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


def _crossings(net: _Net, rows: Sequence[Sequence[int]]) -> int:
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


def _position(net: _Net, rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the middle of each box and bend: near those above and below, in order, apart."""
    middles = [0.0] * len(net.layer)
    offsets = [_offsets(net, row) for row in rows]
    for row, offset in zip(rows, offsets, strict=True):
        for one, least in zip(row, offset, strict=True):
            middles[one] = least - offset[-1] / 2
    both = [[*above, *below] for above, below in zip(net.above, net.below, strict=True)]
    down = range(len(rows))
    up = range(len(rows) - 1, -1, -1)
    for sweep in range(_POSITION_SWEEPS):
        near = both if sweep >= _ALIGN_SWEEPS else (net.above, net.below)[sweep % 2]
        for layer in (down, up)[sweep % 2]:
            _fit(net, rows[layer], offsets[layer], near, middles)
    # Whole distances stay whole when both ends are rounded down.
    return [int(middle // 1) for middle in middles]


def _offsets(net: _Net, row: Sequence[int]) -> list[int]:
    """Return how far right of the first one each may begin, at least."""
    offsets = [0]
    for left, right in pairwise(row):
        is_beside_bend = net.is_bend(left) or net.is_bend(right)
        gap = BEND_GAP if is_beside_bend else BOX_GAP
        offsets.append(offsets[-1] + net.width[left] // 2 + gap + net.width[right] // 2)
    return offsets


def _fit(
    net: _Net,
    row: Sequence[int],
    offsets: Sequence[int],
    near: Sequence[Sequence[int]],
    middles: list[float],
) -> None:
    """Move a layer as near to its neighbours as order and distances allow, by least squares."""
    pools: list[tuple[float, float, int]] = []
    for one, offset in zip(row, offsets, strict=True):
        weights = [net.weight(one, other) for other in near[one]]
        total = sum(weights)
        if total:
            pull = sum(w * middles[other] for w, other in zip(weights, near[one], strict=True))
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
        for _ in range(count):
            middles[row[index]] = pull / total + offsets[index]
            index += 1


def _route(
    net: _Net,
    edge: tuple[int, int],
    middles: Sequence[int],
    heights: tuple[Sequence[int], Sequence[int]],
) -> tuple[Point, ...]:
    tops, bottoms = heights
    start, end = edge
    box, layer = net.boxes[start], net.layer[start]
    x = middles[start] - box.width // 2 + box.exit
    points = [(x, tops[layer] + box.height), (x, bottoms[layer])]
    for bend in net.bends[edge]:
        points.append((middles[bend], tops[net.layer[bend]]))
        points.append((middles[bend], bottoms[net.layer[bend]]))
    points.append((middles[end], tops[net.layer[end]]))
    # A box as high as its layer has no way to go down within it.
    return tuple(dict.fromkeys(points))
