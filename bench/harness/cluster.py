"""A simulated target, one second a step: slots, a queue, replicas that start cold.

Each replica has 16 slots, each request takes 6 s of one, and waits in one queue, first come first
served, until a slot of a replica that serves is free. A replica serves `cold_s` after it was asked
for. One that is taken away finishes its requests and takes no more; those not serving yet go first.
"""

import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SLOTS = 16
SERVICE_S = 6
LATE_S = 2
"""A request that waits longer than that is late."""


class Scaler(Protocol):
    """A rule that is asked every `every_s` seconds."""

    every_s: int

    def replicas(self, now_s: int, seen: "Seen", current: int) -> int:
        """Return the replicas to ask for."""


class Seen:
    """What of one target can be measured: per second, up to now."""

    def __init__(self, length_s: int) -> None:
        self.in_flight = np.zeros(length_s, dtype=np.int64)
        self.queued = np.zeros(length_s, dtype=np.int64)
        self.begun = np.zeros(length_s, dtype=np.int64)
        self.late = np.zeros(length_s, dtype=np.int64)


class Target:
    """One target under one scaler."""

    def __init__(self, arrived: NDArray[np.int64], cold_s: int, scaler: Scaler) -> None:
        self.arrived = arrived
        self.cold_s = cold_s
        self.scaler = scaler
        self.seen = Seen(len(arrived))
        first = int(np.ceil(arrived[:60].mean() * SERVICE_S / (SLOTS * 0.6))) + 1
        self.serving, self.current = first, first
        self.starting: list[list[int]] = []
        self.asked = np.zeros(len(arrived), dtype=np.int64)
        self.actions: list[tuple[int, int]] = []

    def run(self) -> None:
        """Run all of it."""
        seen, total = self.seen, self.arrived.tolist()
        came, begun_total = [0], 0
        begun = [0] * SERVICE_S
        busy = queue = 0
        every_s, length_s = self.scaler.every_s, len(total)
        for second in range(length_s):
            busy -= begun[second]
            while self.starting and self.starting[0][0] <= second:
                self.serving += self.starting.pop(0)[1]
            came.append(came[-1] + total[second])
            waiting = queue + total[second]
            taken = max(0, min(waiting, self.serving * SLOTS - busy))
            # Who begins now and came over two seconds ago is late.
            old = came[max(0, second - LATE_S)]
            seen.late[second] = min(taken, max(0, old - begun_total))
            begun_total += taken
            busy += taken
            queue = waiting - taken
            begun.append(taken)
            seen.in_flight[second], seen.queued[second], seen.begun[second] = busy, queue, taken
            if second % every_s == every_s - 1:
                self._scale(second + 1)
            self.asked[second] = self.current

    def _scale(self, now_s: int) -> None:
        wanted = self.scaler.replicas(now_s, self.seen, self.current)
        change = wanted - self.current
        if change > 0:
            self.starting.append([now_s + self.cold_s, change])
        elif change < 0:
            self._take_away(-change)
        if change:
            self.actions.append((now_s, change))
        self.current = wanted

    def _take_away(self, count: int) -> None:
        while count and self.starting:
            taken = min(count, self.starting[-1][1])
            self.starting[-1][1] -= taken
            count -= taken
            if not self.starting[-1][1]:
                self.starting.pop()
        self.serving -= count


def late_minutes(target: Target, skip_s: int) -> tuple[int, int]:
    """Return minutes in which over 1 % of the requests that came waited too long, and all minutes.

    Args:
        target: after its run.
        skip_s: not counted at the begin.
    """
    length_s = len(target.arrived)
    came = np.concatenate([[0], np.cumsum(target.arrived)])
    begun = np.cumsum(target.seen.begun)
    at = np.minimum(np.arange(length_s) + LATE_S, length_s - 1)
    late = np.clip(came[1:] - begun[at], 0, target.arrived)
    spans = slice(skip_s, skip_s + (length_s - skip_s) // 60 * 60)
    late_sums = late[spans].reshape(-1, 60).sum(axis=1)
    sums = target.arrived[spans].reshape(-1, 60).sum(axis=1)
    return int((late_sums * 100 > sums).sum()), len(sums)


def gaps_below(actions: Sequence[tuple[int, int]], gap_s: int) -> int:
    """Return how many actions follow the one before within less than the gap."""
    return sum(b[0] - a[0] < gap_s for a, b in itertools.pairwise(actions))


def reversals(actions: Sequence[tuple[int, int]], within_s: int = 600) -> int:
    """Return how many actions go against the one before within ten minutes."""
    pairs = itertools.pairwise(actions)
    return sum(b[0] - a[0] < within_s and (a[1] > 0) != (b[1] > 0) for a, b in pairs)
