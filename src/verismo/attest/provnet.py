"""The boxes of a drawing and the bends of its long edges, linked from layer to layer."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from verismo.attest.provlayers import BEND_WIDTH, Box, Hub, Plan, find_hubs

_WEIGHT_LONG: Final = 8.0
"""Of the link of two bends, where that of two boxes is 1: long edges are to be straight."""


class Net:
    """The boxes and the bends of long edges, linked from layer to layer.

    Args:
        boxes: the boxes.
        plan: their layers and columns.
    """

    def __init__(self, boxes: Sequence[Box], plan: Plan) -> None:
        self.boxes = boxes
        self.plan = plan
        self.layer = list(plan.layers)
        self.width = [box.width for box in boxes]
        self.above: list[list[int]] = [[] for _ in boxes]
        self.below: list[list[int]] = [[] for _ in boxes]
        self.bends: dict[tuple[int, int], list[int]] = {}
        self.hubs = find_hubs(boxes)
        self.links: dict[tuple[int, int], Hub] = {}
        self._bend_at: dict[tuple[Hub, int], int] = {}
        for (start, end), hub in self.hubs.items():
            self._connect(start, end, hub)

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

    def leaves(self, vertex: int, middles: Sequence[int]) -> int:
        """Return where edges leave a vertex, from the left."""
        if self.is_bend(vertex):
            return middles[vertex]
        box = self.boxes[vertex]
        return middles[vertex] - box.width // 2 + box.exit

    def _connect(self, start: int, end: int, hub: Hub) -> None:
        """Link two boxes by way of bends; those of a hub are shared."""
        between = range(self.layer[start] + 1, self.layer[end])
        path = [start, *(self._bend(hub, layer) for layer in between), end]
        self.bends[start, end] = path[1:-1]
        for upper, lower in pairwise(path):
            if (upper, lower) not in self.links:
                self.links[upper, lower] = hub
                self.below[upper].append(lower)
                self.above[lower].append(upper)

    def _bend(self, hub: Hub, layer: int) -> int:
        if (hub, layer) not in self._bend_at:
            self._bend_at[hub, layer] = len(self.layer)
            self.layer.append(layer)
            self.width.append(BEND_WIDTH)
            self.above.append([])
            self.below.append([])
        return self._bend_at[hub, layer]
