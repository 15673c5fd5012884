"""Which boxes of a drawing stand beside one another: layers of bounded width, and their columns.

Layers fill from the top. Where more boxes wait than fit, those come first that could not wait
without making the drawing longer, then those that end a long edge. Layers that stack too high are
cut into columns that stand side by side, where the fewest edges pass.

Source: Coffman and Graham 1972 (list scheduling); Rüegg and von Hanxleden 2018, "Wrapping layered
graphs" (columns, and the size of the page as the measure).
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from math import isqrt
from typing import Final

import msgspec

BOX_GAP: Final = 28
BEND_GAP: Final = 14
BEND_WIDTH: Final = 4
LAYER_GAP: Final = 34
TRACK_GAP: Final = 8
COLUMN_GAP: Final = 40
_UNEVEN: Final = 3
"""How many times as high as another a box in the same layer may be: room above is lost."""
WIDTH_MIN: Final = 1_100
"""A layer, and a single column, may always be this wide."""
_SCREEN: Final = 1_250
"""A drawing may always be this wide, and as high as a page of this width."""
_PAGE: Final = 1.25
"""How many times as wide as high a large drawing is meant to be."""
_WIDTH_STEPS: Final = (45, 65, 90, 130, 190)
"""Widths of layers that are tried, in hundredths of the root of the area of all boxes."""
_CUT_COST: Final = 1.1
"""How much smaller columns have to make a drawing: one is easier to follow."""
_CUT_ROOM: Final = 0.75
"""From which part of its height on a column may end early, where fewer edges pass."""

Hub = tuple[int, bool]


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

    @property
    def above(self) -> tuple[int, ...]:
        """What it has to stand below."""
        return self.inputs if self.after is None else (*self.inputs, self.after)


class Plan(msgspec.Struct, frozen=True):
    """What stands beside what.

    Args:
        layers: for each box its layer, from 0.
        cuts: the layers with which a further column begins, ascending.
    """

    layers: tuple[int, ...]
    cuts: tuple[int, ...] = ()


def find_hubs(boxes: Sequence[Box]) -> dict[tuple[int, int], Hub]:
    """Return for each edge (from, to) its busier end, and whether that is where it begins."""
    used = [0] * len(boxes)
    for box in boxes:
        for start in box.inputs:
            used[start] += 1
    return {
        (start, end): (start, True) if used[start] > len(box.inputs) else (end, False)
        for end, box in enumerate(boxes)
        for start in box.inputs
    }


def plan_page(boxes: Sequence[Box]) -> Plan:
    """Return the plan whose drawing fills a page best.

    Args:
        boxes: at least one; inputs before the boxes that use them.
    """
    area = sum((box.width + BOX_GAP) * (box.height + 2 * LAYER_GAP) for box in boxes)
    widths = {max(WIDTH_MIN, isqrt(area) * step // 100) for step in _WIDTH_STEPS}
    hubs = find_hubs(boxes)
    found: list[tuple[float, int, Plan]] = []
    for width_max in sorted(widths, reverse=True):
        layers = assign_layers(boxes, width_max)
        sizes = _Sizes(boxes, layers, hubs)
        for columns in sizes.columns_worth_trying():
            cuts = sizes.cut(columns)
            worth = sizes.measure(cuts) * (_CUT_COST if cuts else 1)
            found.append((worth, len(cuts), Plan(tuple(layers), cuts)))
    return min(found, key=lambda one: one[:2])[2]


class _Sizes:
    """How large a drawing becomes, before it is drawn.

    Args:
        boxes: the boxes.
        layers: for each its layer.
        hubs: as `find_hubs` returns them.
    """

    def __init__(
        self, boxes: Sequence[Box], layers: Sequence[int], hubs: Mapping[tuple[int, int], Hub]
    ) -> None:
        count = max(layers) + 1
        self._widths = [0] * count
        self._heights = [0] * count
        for box, layer in zip(boxes, layers, strict=True):
            self._widths[layer] += box.width + BOX_GAP
            self._heights[layer] = max(self._heights[layer], box.height)
        first: dict[Hub, int] = {}
        last: dict[Hub, int] = {}
        busy: list[set[Hub]] = [set() for _ in range(count)]
        for (start, end), hub in hubs.items():
            upper, lower = layers[start], layers[end]
            first[hub] = min(upper, first.get(hub, upper))
            last[hub] = max(lower, last.get(hub, lower))
            busy[upper].add(hub)
            busy[lower - 1].add(hub)
        self._passing = _count_over(count, [(upper, last[hub]) for hub, upper in first.items()])
        """How many hubs have edges from a layer to the next."""
        bends = _count_over(count, [(upper + 1, last[hub]) for hub, upper in first.items()])
        self._widths = [
            width + lanes * (BEND_GAP + BEND_WIDTH)
            for width, lanes in zip(self._widths, bends, strict=True)
        ]
        for layer, crowd in enumerate(busy):
            self._heights[layer] += LAYER_GAP + len(crowd) * TRACK_GAP // 2

    def columns_worth_trying(self) -> Iterable[int]:
        """Return numbers of columns, one first."""
        best = isqrt(max(1, int(sum(self._heights) * _PAGE) // max(self._widths)))
        return sorted({1, max(1, best - 1), max(1, best), best + 1, best + 2})

    def cut(self, columns: int) -> tuple[int, ...]:
        """Return where columns begin so that about as many have about the same height."""
        most = sum(self._heights) / columns
        if columns == 1:
            return ()
        cuts: list[int] = []
        begun, height = 0, 0
        for layer, own in enumerate(self._heights):
            if height + own > most * 1.02 and layer > begun and len(cuts) < columns - 1:
                begun = self._cut_before(begun, layer, most * _CUT_ROOM)
                cuts.append(begun)
                height = sum(self._heights[begun:layer])
            height += own
        return tuple(cuts)

    def _cut_before(self, begun: int, layer: int, enough: float) -> int:
        """Return the layer that fewest edges lead to, of the last ones up to this one."""
        best, height = layer, sum(self._heights[begun:layer])
        for earlier in range(layer - 1, begun, -1):
            height -= self._heights[earlier]
            if height < enough:
                break
            if self._passing[earlier - 1] < self._passing[best - 1]:
                best = earlier
        return best

    def measure(self, cuts: Sequence[int]) -> float:
        """Return how wide a page has to be that the drawing fits."""
        begins = [0, *cuts]
        ends = [*cuts, len(self._widths)]
        width = height = 0
        for begin, end in zip(begins, ends, strict=True):
            gutter = 0
            if end < len(self._widths):
                gutter = COLUMN_GAP + self._passing[end - 1] * TRACK_GAP
            width += max(self._widths[begin:end]) + gutter
            height = max(height, sum(self._heights[begin:end]))
        return max(width, height * _PAGE, float(_SCREEN))


def _count_over(count: int, spans: Iterable[tuple[int, int]]) -> list[int]:
    """Return how many spans (first, behind the last) each of some layers is in."""
    steps = [0] * (count + 1)
    for first, behind in spans:
        steps[first] += 1
        steps[behind] -= 1
    return list(accumulate(steps))[:count]


class _Layer:
    """A layer as it fills up: as wide as allowed, with boxes of about the same height.

    Args:
        width_max: with several boxes.
    """

    def __init__(self, width_max: int) -> None:
        self._width_max = width_max
        self._taken = 0
        self._height = 0

    def take(self, box: Box) -> bool:
        """Take a box in if there is room; an empty layer has room for any."""
        if self._taken:
            low, high = sorted((box.height, self._height))
            if self._taken + box.width + BOX_GAP > self._width_max or high > _UNEVEN * low:
                return False
        else:
            self._height = box.height
        self._taken += box.width + BOX_GAP
        return True


def assign_layers(boxes: Sequence[Box], width_max: int) -> list[int]:
    """Give each box a layer below all that it has to stand below.

    Args:
        boxes: at least one; inputs before the boxes that use them.
        width_max: how wide a layer of several boxes may be, in pixels; bends come on top.
    """
    queue = _Queue(boxes, width_max)
    layers = [-1] * len(boxes)
    layer = 0
    while queue.ready:
        room = _Layer(width_max)
        placed: list[int] = []
        left: list[int] = []
        waiting = queue.ordered(layer)
        for one in waiting:
            if room.take(boxes[one]):
                layers[one] = layer
                placed.append(one)
                # What stands free is let in beside the last of what it is used with.
                waiting.extend(queue.released_beside(one))
            else:
                left.append(one)
        queue.ready = [*left, *queue.released_below(placed)]
        layer += 1
    return layers


class _Queue:
    """The boxes that may be placed next.

    Args:
        boxes: the boxes.
        width_max: of a layer with several boxes.
    """

    def __init__(self, boxes: Sequence[Box], width_max: int) -> None:
        self._boxes = boxes
        self._users: list[list[int]] = [[] for _ in boxes]
        for user, box in enumerate(boxes):
            for one in dict.fromkeys(box.above):
                self._users[one].append(user)
        self._wanting = [len(set(box.above)) for box in boxes]
        self._left = [len(users) for users in self._users]
        self._latest = self._find_latest(width_max)
        self._companions = self._find_companions()
        self._wanting_beside = [0] * len(boxes)
        self.ready: list[int] = []
        for user, free in self._companions.items():
            self._wanting_beside[user] = len(set(boxes[user].above)) - len(free)
            if not self._wanting_beside[user]:
                self.ready += free
        lonely = (one for one, box in enumerate(boxes) if not box.above)
        beside = {one for free in self._companions.values() for one in free}
        self.ready += [one for one in lonely if one not in beside]

    def ordered(self, layer: int) -> list[int]:
        """Return the boxes that may stand in a layer, the most pressing first."""
        return sorted(self.ready, key=lambda one: self._press(one, layer))

    def released_beside(self, placed: int) -> list[int]:
        """Return boxes that may stand in the same layer as one, now that it is placed."""
        released: list[int] = []
        for user in self._users[placed]:
            if user in self._companions and placed not in self._companions[user]:
                self._wanting_beside[user] -= 1
                if not self._wanting_beside[user]:
                    released += self._companions[user]
        return released

    def released_below(self, placed: Sequence[int]) -> list[int]:
        """Return boxes that may stand below those that have just been placed."""
        released: list[int] = []
        for one in placed:
            for above in set(self._boxes[one].above):
                self._left[above] -= 1
            for user in self._users[one]:
                self._wanting[user] -= 1
                if not self._wanting[user]:
                    released.append(user)
        return released

    def _press(self, one: int, layer: int) -> tuple[int, int, int, int]:
        """Return what to order by: who ends a hub's edges soonest, and all of one hub together."""
        hubs = ((self._left[above], above) for above in self._boxes[one].inputs)
        left, hub = min(hubs, default=(0, 0))
        # Who is in time comes after all who are not.
        return (min(self._latest[one], layer + 1), left, hub, one)

    def _find_latest(self, width_max: int) -> list[int]:
        """Return for each box the layer in which it has to be if no room is lost."""
        below = [1] * len(self._boxes)
        for one in range(len(self._boxes) - 1, -1, -1):
            below[one] = 1 + max((below[user] for user in self._users[one]), default=0)
        total = sum(box.width + BOX_GAP for box in self._boxes)
        layers = max(max(below), -(-total // width_max))
        return [layers - one for one in below]

    def _find_companions(self) -> dict[int, list[int]]:
        """Return the boxes that stand free by the first box that uses them."""
        companions: dict[int, list[int]] = {}
        for one, box in enumerate(self._boxes):
            if not box.above and self._users[one]:
                companions.setdefault(self._users[one][0], []).append(one)
        return companions
