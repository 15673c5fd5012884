"""Where edges run between layers: each hub's in a track of its own, so that they can be told apart.

In a gap a hub has one upper end and many lower ones or the other way round: its edges share a
horizontal piece, and each vertical piece belongs to one end. A gap is as high as its tracks need.
Edges to the next column run beneath the column, up beside it and over the next one.

Source: Hashimoto and Stevens 1971 (channel routing by the left edge).
"""

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Final

import msgspec

from verismo.attest.provlayers import COLUMN_GAP, LAYER_GAP, TRACK_GAP, Hub

TRACKS_BEGIN: Final = 14
TRACKS_END: Final = LAYER_GAP - TRACKS_BEGIN
"""Room between the last track and the next layer: for the arrow."""
_MARGIN: Final = 6
DETOUR: Final = 12
"""How far beside its place an edge goes around what leaves there."""
_BESIDE: Final = 10
"""How far apart two hubs in one track stay."""

Point = tuple[int, int]


class Wire(msgspec.Struct, frozen=True):
    """A piece of an edge between two layers.

    Args:
        hub: of the edge.
        x: where it leaves the upper layer.
        to_x: where it reaches the lower one.
    """

    hub: Hub
    x: int
    to_x: int


class Tracks(msgspec.Struct, frozen=True):
    """Which tracks the hubs of a gap have, from 0 at the top.

    Args:
        of: for each hub its track; none for those that only lead straight down.
        detours: for a hub and where it arrives a second track, in which it goes around what leaves
            there.
        count: how many tracks there are.
    """

    of: Mapping[Hub, int]
    detours: Mapping[tuple[Hub, int], int]
    count: int


class _Net:
    """The wires of one hub in a gap.

    Args:
        hub: whose they are.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.tops: set[int] = set()
        self.bottoms: set[int] = set()

    @property
    def ends(self) -> tuple[int, int]:
        """How far it reaches from left to right."""
        both = self.tops | self.bottoms
        return min(both), max(both)

    @property
    def order(self) -> tuple[bool, int, int, int]:
        """In which order nets get tracks: what gathers is above what spreads."""
        left, right = self.ends
        return (self.hub[1], right - left, left, self.hub[0])


def height_beneath(count: int) -> int:
    """Return how high the gap between two layers is that has so many tracks."""
    return LAYER_GAP + max(0, count - 1) * TRACK_GAP


def height_over(count: int) -> int:
    """Return how far below the upper side of a column its first layer begins."""
    return _MARGIN + (count - 1) * TRACK_GAP + TRACKS_END if count else 0


def width_beside(count: int) -> int:
    """Return how far apart two columns are between which so many hubs pass."""
    return COLUMN_GAP + count * TRACK_GAP


def track_within(track: int) -> int:
    """Return how far below a layer a track runs."""
    return TRACKS_BEGIN + track * TRACK_GAP


def track_over(track: int) -> int:
    """Return how far below the upper side of a column a track runs."""
    return _MARGIN + track * TRACK_GAP


def track_beside(track: int) -> int:
    """Return how far right of a column a track runs."""
    return COLUMN_GAP // 2 + track * TRACK_GAP


def lay_around(wires: Sequence[Wire]) -> Tracks:
    """Return the tracks of the hubs that lead to the next column; none crosses another there.

    Args:
        wires: that leave the last layer of a column.
    """
    rightmost: dict[Hub, int] = {}
    for wire in wires:
        rightmost[wire.hub] = max(wire.x, rightmost.get(wire.hub, wire.x))
    ranked = sorted(rightmost, key=lambda hub: (-rightmost[hub], hub))
    return Tracks({hub: track for track, hub in enumerate(ranked)}, {}, len(ranked))


def lay_between(wires: Sequence[Wire]) -> Tracks:
    """Return the tracks of the hubs in a gap.

    Args:
        wires: between two layers.
    """
    nets: dict[Hub, _Net] = {}
    for wire in wires:
        net = nets.setdefault(wire.hub, _Net(wire.hub))
        net.tops.add(wire.x)
        net.bottoms.add(wire.to_x)
    bent = {hub: net for hub, net in nets.items() if net.ends[0] != net.ends[1]}
    over = _find_over(bent)
    of: dict[Hub, int] = {}
    taken: list[list[Point]] = []
    for hub in _from_above(bent, over):
        least = max((of[one] + 1 for one in over[hub] if one in of), default=0)
        of[hub] = _take(taken, bent[hub].ends, least)
    detours: dict[tuple[Hub, int], int] = {}
    for hub, others in over.items():
        # Two nets that both want to be above the other: one of them goes around.
        for x in sorted(bent[hub].bottoms):
            lowest = max((of[one] for one in others if x in bent[one].tops), default=-1)
            if lowest > of[hub]:
                detours[hub, x] = _take(taken, (x, x + DETOUR), lowest + 1)
    return Tracks(of, detours, len(taken))


def _take(taken: list[list[Point]], ends: Point, least: int) -> int:
    """Take the first track from one on that is free from left to right."""
    left, right = ends
    track = least
    while track < len(taken) and any(
        left < to + _BESIDE and begin < right + _BESIDE for begin, to in taken[track]
    ):
        track += 1
    taken.extend([] for _ in range(track + 1 - len(taken)))
    taken[track].append(ends)
    return track


def _find_over(nets: Mapping[Hub, _Net]) -> dict[Hub, set[Hub]]:
    """Return for each net those that leave where it arrives: above it, or their pieces overlap."""
    leaving: dict[int, set[Hub]] = {}
    for hub, net in nets.items():
        for x in net.tops:
            leaving.setdefault(x, set()).add(hub)
    return {
        hub: {other for x in net.bottoms for other in leaving.get(x, ()) if other != hub}
        for hub, net in nets.items()
    }


def _from_above(nets: Mapping[Hub, _Net], over: Mapping[Hub, set[Hub]]) -> list[Hub]:
    """Return the nets in an order in which each comes after those over it, where there is one."""
    under: dict[Hub, list[Hub]] = {}
    wanting = {hub: len(above) for hub, above in over.items()}
    for hub, above in over.items():
        for one in above:
            under.setdefault(one, []).append(hub)
    free = [(nets[hub].order, hub) for hub, count in wanting.items() if not count]
    heapify(free)
    waiting = sorted(nets, key=lambda hub: nets[hub].order, reverse=True)
    ordered: dict[Hub, None] = {}
    while len(ordered) < len(nets):
        if free:
            _, hub = heappop(free)
        else:
            hub = waiting.pop()
        if hub in ordered:
            continue
        ordered[hub] = None
        for below in under.get(hub, ()):
            wanting[below] -= 1
            if not wanting[below]:
                heappush(free, (nets[below].order, below))
    return list(ordered)
