"""Windows: what this worker counts in each interval, for the controllers to read.

Counting happens on the event loop, once for each request, and is a few look-ups. An interval that
is over is handed out as it is; whoever writes it makes windows of it in a thread.

Intervals begin at multiples of their length by the wall clock, and last by a clock that nobody
sets. A step of the wall clock leaves a hole, or an interval that was written before and is refused:
nothing is made up for time that did not pass.
"""

import time
from collections.abc import Callable, Container, Mapping
from math import isqrt
from typing import Final, Literal

from verismo.gateway.resolve import UNREGISTERED
from verismo.model import canonical
from verismo.model.ids import DeploymentId, OperationId, TenantId
from verismo.model.units import Milliseconds, UsdMicros
from verismo.model.window import Arm, Tally, Window
from verismo.ports.windows import DeploymentLoad, Interval, RouteSpend

Outcome = Literal["answered", "refused", "failed", "left"]
"""How a request ended for its arm: `refused` by a 4xx, `left` by a client that did not wait."""
RouteKey = tuple[TenantId, OperationId, Arm, DeploymentId]
"""Whose a request is: its route, its arm, and the deployment that it was assigned to."""

KEPT_MAX: Final = 360
"""Intervals that wait to be written, an hour of them; of more the oldest are forgotten."""
STEP_MS_MAX: Final = 500
"""A wall clock that is further off than that since the last interval was set."""
COST_USD_MICROS_MAX: Final = isqrt(canonical.MAX_INTEGER)
"""About 95 dollars: the square of a higher cost is no integer that can be signed."""
_NS_PER_MS: Final = 1_000_000


class _Sums:
    """What one route, arm and deployment came to so far."""

    __slots__ = (
        "cost",
        "errors",
        "first_token",
        "latency",
        "refused",
        "requests",
        "squares",
        "unpriced",
    )

    def __init__(self) -> None:
        self.requests = self.errors = self.refused = self.unpriced = self.cost = self.squares = 0
        self.latency, self.first_token = Tally(), Tally()

    def holds(self, cost: int) -> bool:
        """Say whether the sums stay within what can be signed."""
        return self.squares + cost * cost <= canonical.MAX_INTEGER

    def window(self, key: RouteKey, start_ms: int, end_ms: int) -> Window:
        """Return it as a window."""
        return Window(
            *key,
            start_ms=Milliseconds(start_ms),
            end_ms=Milliseconds(end_ms),
            requests=self.requests,
            errors=self.errors,
            cost_usd_micros=UsdMicros(self.cost),
            cost_squares=self.squares,
            latency=self.latency.histogram(),
            first_token=self.first_token.histogram(),
            refused=self.refused,
            unpriced=self.unpriced,
        )


class _Load:
    """How busy a deployment is: requests in flight, and their time so far in the interval."""

    __slots__ = ("busy_ns", "in_flight", "late", "late_ns", "requests", "since_ns")

    def __init__(self, late_ms: int | None, now_ns: int) -> None:
        self.late_ns = None if late_ms is None else late_ms * _NS_PER_MS
        self.in_flight = self.busy_ns = self.requests = self.late = 0
        self.since_ns = now_ns

    def change(self, by: int, now_ns: int) -> None:
        """Let requests begin or end."""
        self.busy_ns += self.in_flight * (now_ns - self.since_ns)
        self.since_ns = now_ns
        self.in_flight += by

    def cut(self, deployment: DeploymentId, at_ns: int) -> DeploymentLoad | None:
        """Begin the next interval; returns this one, None if nothing was in flight in it."""
        self.change(0, at_ns)
        busy_ms = -(-self.busy_ns // _NS_PER_MS)
        found = DeploymentLoad(deployment, Milliseconds(busy_ms), self.requests, self.late)
        is_idle = not (self.busy_ns or self.requests)
        self.busy_ns = self.requests = self.late = 0
        return None if is_idle else found


class Flight:
    """One try at a deployment, from its begin until its answer is whole.

    Args:
        counts: of this worker.
        load: of the deployment.
        began_ns: by the counts' clock.
    """

    __slots__ = ("_began_ns", "_counts", "_is_heard", "_is_over", "_load")

    def __init__(self, counts: "WindowCounts", load: _Load, began_ns: int) -> None:
        self._counts = counts
        self._load = load
        self._began_ns = began_ns
        self._is_heard = self._is_over = False

    def heard(self) -> None:
        """Note the first byte, or that nobody waits for it any more; once."""
        if self._is_heard:
            return
        self._is_heard = True
        load, now_ns = self._load, self._counts.now_ns()
        load.requests += 1
        if load.late_ns is not None and now_ns - self._began_ns > load.late_ns:
            load.late += 1

    def over(self) -> None:
        """Note the end, however it came; once."""
        if self._is_over:
            return
        self.heard()
        self._is_over = True
        self._load.change(-1, self._counts.now_ns())


class Closed:
    """An interval that is over and is no longer added to.

    Args:
        start_ms: Unix ms.
        end_ms: Unix ms, not included.
        sums: of routes; one may stand there more than once.
        spends: what routes offered.
        loads: of deployments that were busy.
    """

    def __init__(
        self,
        start_ms: int,
        end_ms: int,
        sums: list[tuple[RouteKey, _Sums]],
        spends: dict[tuple[TenantId, OperationId], int],
        loads: tuple[DeploymentLoad, ...],
    ) -> None:
        self.start_ms = start_ms
        self.end_ms = end_ms
        self._sums = sums
        self._spends = spends
        self._loads = loads

    def interval(self, writer: str) -> Interval:
        """Return it to be written; takes a while for many routes, so call it in a thread."""
        sums = sorted(self._sums, key=lambda one: one[0])
        return Interval(
            writer=writer,
            start_ms=Milliseconds(self.start_ms),
            end_ms=Milliseconds(self.end_ms),
            windows=tuple(one.window(key, self.start_ms, self.end_ms) for key, one in sums),
            spends=tuple(
                RouteSpend(*route, UsdMicros(min(spent, canonical.MAX_INTEGER)))
                for route, spent in sorted(self._spends.items())
            ),
            loads=self._loads,
        )


class WindowCounts:
    """Counts of one worker; a `ports.meter.SpendMeter`. Everything is called in the event loop.

    Args:
        window_ms: length of an interval, milliseconds.
        operations: the registered ones.
        late_ms: by deployment, how long it may take to its first byte; others are never late.
        clock_ns: the wall clock, Unix ns.
        ticks_ns: a clock that nobody sets, ns.
    """

    def __init__(
        self,
        window_ms: int,
        operations: Container[OperationId],
        late_ms: Mapping[DeploymentId, int] | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
        ticks_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._window_ms = window_ms
        self._operations = operations
        self._late_ms = late_ms or {}
        self._clock_ns = clock_ns
        self._ticks_ns = ticks_ns
        self._loads: dict[DeploymentId, _Load] = {}
        self._closed: list[Closed] = []
        self._empty()
        self._begin_by_clock(ticks_ns())

    def now_ns(self) -> int:
        """Return the time of the clock that nobody sets, after closing what is over by it."""
        now_ns = self._ticks_ns()
        if now_ns >= self._ends_ns:
            self._roll(now_ns)
        return now_ns

    def offered(self, tenant: TenantId, operation: OperationId, usd_micros: UsdMicros) -> None:
        """Count the estimate of one request, whether it is then admitted or not."""
        self.now_ns()
        # Names that clients make up make no routes: they would fill the memory.
        key = (tenant, operation if operation in self._operations else UNREGISTERED)
        self._spends[key] = self._spends.get(key, 0) + usd_micros

    def ended(
        self,
        route: RouteKey,
        outcome: Outcome,
        total_us: int,
        first_us: int,
        cost: UsdMicros | None,
    ) -> None:
        """Count one request.

        Args:
            route: by assignment.
            outcome: how it ended for its arm.
            total_us: until the whole answer was there, or the client left.
            first_us: until a stream's first part was there; 0 for no stream.
            cost: USD micros; None if it is not known.
        """
        self.now_ns()
        sums = self._sums.get(route)
        if sums is None:
            sums = self._sums[route] = _Sums()
        if cost is not None and cost > COST_USD_MICROS_MAX:
            cost = None
        if cost:
            if not sums.holds(cost):
                self._full.append((route, sums))
                sums = self._sums[route] = _Sums()
            sums.cost += cost
            sums.squares += cost * cost
        sums.requests += 1
        if outcome == "failed":
            sums.errors += 1
            return
        if outcome == "refused":
            sums.refused += 1
            return
        if cost is None and outcome == "answered":
            sums.unpriced += 1
        sums.latency.add(total_us)
        if first_us:
            sums.first_token.add(first_us)

    def began(self, deployment: DeploymentId) -> Flight:
        """Count a try as in flight from now until its `over`."""
        now_ns = self.now_ns()
        load = self._loads.get(deployment)
        if load is None:
            load = self._loads[deployment] = _Load(self._late_ms.get(deployment), now_ns)
        load.change(1, now_ns)
        return Flight(self, load, now_ns)

    def take(self) -> list[Closed]:
        """Return the intervals that are over since the last call."""
        self.now_ns()
        taken, self._closed = self._closed, []
        return taken

    def take_rest(self) -> list[Closed]:
        """Return everything, the interval under way too, which counts as over."""
        taken = self.take()
        self._cut(self._ticks_ns())
        rest, self._closed = self._closed, []
        self._begin_by_clock(self._ticks_ns())
        return taken + rest

    def _empty(self) -> None:
        self._sums: dict[RouteKey, _Sums] = {}
        self._full: list[tuple[RouteKey, _Sums]] = []
        self._spends: dict[tuple[TenantId, OperationId], int] = {}

    def _begin_by_clock(self, now_ns: int) -> None:
        """Begin the interval that the wall clock is in; the part before now is not in it."""
        wall_ms = self._clock_ns() // _NS_PER_MS
        self._end_ms = wall_ms - wall_ms % self._window_ms + self._window_ms
        self._ends_ns = now_ns + (self._end_ms - wall_ms) * _NS_PER_MS
        for load in self._loads.values():
            load.since_ns = now_ns

    def _roll(self, now_ns: int) -> None:
        over_ns = now_ns - self._ends_ns
        off_ns = self._clock_ns() - self._end_ms * _NS_PER_MS - over_ns
        window_ns = self._window_ms * _NS_PER_MS
        self._cut(self._ends_ns)
        if abs(off_ns) > STEP_MS_MAX * _NS_PER_MS or over_ns > KEPT_MAX * window_ns:
            self._begin_by_clock(now_ns)
            return
        self._ends_ns += window_ns
        self._end_ms += self._window_ms
        while now_ns >= self._ends_ns:
            # The event loop stood still for a whole interval: nothing ended in it.
            self._cut(self._ends_ns)
            self._ends_ns += window_ns
            self._end_ms += self._window_ms
        # A clock that drifts, or is slewed, is followed.
        self._ends_ns -= off_ns

    def _cut(self, at_ns: int) -> None:
        """Close the interval under way at a time by the clock that nobody sets."""
        found = (load.cut(name, at_ns) for name, load in sorted(self._loads.items()))
        loads = tuple(load for load in found if load is not None)
        sums = [*self._full, *self._sums.items()]
        start_ms = self._end_ms - self._window_ms
        self._closed.append(Closed(start_ms, self._end_ms, sums, self._spends, loads))
        del self._closed[:-KEPT_MAX]
        self._empty()


def outcome_of(status: int, code: str, *, is_failed: bool) -> Outcome:
    """Say how a request that was given to a deployment ended for its arm.

    Args:
        status: HTTP status; 499 for one that was cancelled.
        code: stable error code, or why it was cancelled; empty for an answer.
        is_failed: whether the deployment that it was assigned to failed.
    """
    if is_failed or (status >= 500) or (code and status == 200):
        return "failed"
    if status == 499:
        return "left" if code in ("client_gone", "gateway_stopped") else "failed"
    return "refused" if status >= 400 else "answered"
