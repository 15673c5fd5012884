"""Error budgets of routes, minute by minute, from what gateways counted.

A minute counts once nobody's windows of it are waited for. One that nobody wrote is not seen; it is
never taken for silence. What was counted before this process began stands in the burns, as far as
windows are kept, and not in the counters: to Prometheus a counter that begins high has just risen.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from verismo.adapt.burn import (
    MINUTE_MS,
    SPANS_MS,
    Alarm,
    Burn,
    Count,
    Objectives,
    alarms,
    burns,
    count_windows,
)
from verismo.control.windowreads import WindowReads
from verismo.model.ids import OperationId, TenantId
from verismo.model.units import Milliseconds
from verismo.model.window import Window

MINUTES_MAX: Final = max(SPANS_MS) // MINUTE_MS + 1
"""That many minutes are kept: the longest span, and one."""
ROUND_MINUTES_MAX: Final = 240
"""Minutes that one round reads, so that a long past does not hold others up. Those that nobody
wrote cost next to nothing and are not among them."""


class Promise(msgspec.Struct, frozen=True):
    """What one route promises.

    Args:
        name: of the objective.
        operation: whose requests.
        tenant: of the route; empty for all.
        objectives: what is promised.
    """

    name: str
    operation: OperationId
    tenant: TenantId
    objectives: Objectives

    def covers(self, window: Window) -> bool:
        """Say whether a window is of this route."""
        return window.operation == self.operation and self.tenant in ("", window.tenant)


class Totals(msgspec.Struct, frozen=True):
    """What was counted since this process began."""

    requests: int = 0
    errors: int = 0
    answered: int = 0
    late: int = 0


class Standing(msgspec.Struct, frozen=True):
    """How one route stands.

    Args:
        promise: of the route.
        burns: by objective and span.
        alarms: what burns too fast.
        totals: since this process began.
    """

    promise: Promise
    burns: tuple[Burn, ...]
    alarms: tuple[Alarm, ...]
    totals: Totals


class SloMeter:
    """Counts the minutes of each route; used from one thread.

    Args:
        promises: of the routes.
        reads: what gateways counted.
        began_ms: Unix ms; minutes that began earlier are not in the totals.
    """

    def __init__(self, promises: Sequence[Promise], reads: WindowReads, began_ms: int) -> None:
        self._promises = tuple(promises)
        self._reads = reads
        self._began_ms = began_ms
        self._next_ms: int | None = None
        self._counts: Mapping[str, deque[Count]] = {
            one.name: deque(maxlen=MINUTES_MAX) for one in self._promises
        }
        self._totals = {one.name: Totals() for one in self._promises}

    def catch_up(self, now_ms: int) -> bool:
        """Count minutes that are over; some of them at once.

        Args:
            now_ms: Unix ms.

        Returns:
            Whether all of them are counted.

        Raises:
            StateError: the windows cannot be read now.
        """
        until_ms = self._reads.complete_until(now_ms)
        oldest_ms = now_ms - now_ms % MINUTE_MS - max(SPANS_MS)
        if self._next_ms is not None and self._next_ms > now_ms + MINUTE_MS:
            # The clock was set back: the minutes are counted anew, and for the totals from now on.
            for kept in self._counts.values():
                kept.clear()
            self._next_ms, self._began_ms = None, now_ms
        first_ms = max(self._next_ms or oldest_ms, oldest_ms)
        read = 0
        while read < ROUND_MINUTES_MAX and first_ms + MINUTE_MS <= until_ms:
            read += self._count(first_ms)
            first_ms += MINUTE_MS
        self._next_ms = first_ms
        return first_ms + MINUTE_MS > until_ms

    def standings(self, now_ms: int) -> list[Standing]:
        """Return how each route stands, by name.

        Args:
            now_ms: Unix ms.
        """
        # Minutes that are not over yet are in no span, or each span would end with a hole.
        end_ms = now_ms if self._next_ms is None else min(now_ms, self._next_ms)
        found: list[Standing] = []
        for one in self._promises:
            burned = burns(self._counts[one.name], one.objectives, end_ms)
            found.append(Standing(one, burned, alarms(burned), self._totals[one.name]))
        return found

    def _count(self, start_ms: int) -> bool:
        """Count one minute; returns whether somebody wrote it."""
        windows = self._reads.windows(start_ms, start_ms + MINUTE_MS)
        if windows is None:
            return False
        for one in self._promises:
            mine = [window for window in windows if one.covers(window)]
            count = count_windows(mine, one.objectives, start_ms, MINUTE_MS)
            self._counts[one.name].append(count)
            if start_ms >= self._began_ms:
                self._totals[one.name] = _more(self._totals[one.name], count)
        return True


def _more(totals: Totals, count: Count) -> Totals:
    return Totals(
        totals.requests + count.requests,
        totals.errors + count.errors,
        totals.answered + count.answered,
        totals.late + count.late,
    )


def span_text(span_ms: Milliseconds) -> str:
    """Spell a span as Prometheus does: `5m`, `6h`, `3d`."""
    minutes = span_ms // MINUTE_MS
    if minutes % 1_440 == 0:
        return f"{minutes // 1_440}d"
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"
