"""Windows: what each gateway worker counted in each interval, for the controllers to read."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from verismo.model.errors import StateError
from verismo.model.ids import DeploymentId, OperationId, TenantId
from verismo.model.units import Milliseconds, UsdMicros
from verismo.model.window import Window


class RouteSpend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one route offered to spend in one interval at one worker.

    Args:
        tenant: of the route.
        operation: of the route.
        offered_usd_micros: estimates of all its requests, admitted or not.
    """

    tenant: TenantId
    operation: OperationId
    offered_usd_micros: UsdMicros


class DeploymentLoad(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How busy one deployment was in one interval, as one worker saw it.

    Args:
        deployment: which.
        busy_ms: sum over its requests of how long each was in flight within the interval.
        requests: that got their first byte, or gave up, in it.
        late: those of them that waited longer for it than `[scaling]` promises.
    """

    deployment: DeploymentId
    busy_ms: Milliseconds
    requests: int
    late: int


class Interval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that one worker counted in one interval; empty lists say that nothing came.

    Args:
        writer: the worker's slot.
        start_ms: Unix ms, a multiple of the interval's length.
        end_ms: Unix ms, not included.
        windows: of routes whose requests were split between arms or answered by one deployment.
        spends: of routes with requests.
        loads: of deployments with requests in flight.
    """

    writer: str
    start_ms: Milliseconds
    end_ms: Milliseconds
    windows: tuple[Window, ...] = ()
    spends: tuple[RouteSpend, ...] = ()
    loads: tuple[DeploymentLoad, ...] = ()


class Written(msgspec.Struct, frozen=True):
    """That an interval was written.

    Args:
        start_ms: Unix ms.
        end_ms: Unix ms, not included.
        writer: the worker's slot.
    """

    start_ms: Milliseconds
    end_ms: Milliseconds
    writer: str


class IntervalThere(StateError):
    """The writer wrote an interval of this start before; trying again does not help."""


class WindowSink(Protocol):
    """Where workers write. Not durable across a power cut: what decisions read is kept with them.

    Atomicity: an interval is seen whole or not at all. An interval of the same writer and start is
    refused: it was written before.
    """

    def write(self, interval: Interval) -> None:
        """Store one interval.

        Raises:
            IntervalThere: it was written before; do not try again.
            StateError: it cannot be written now.
        """
        ...


class WindowSource(Protocol):
    """Where controllers read; any process."""

    def intervals(self, from_ms: int, until_ms: int) -> Sequence[Interval]:
        """Return every worker's intervals with `from_ms <= start_ms < until_ms`, by start.

        Raises:
            StateError: they cannot be read.
        """
        ...

    def written(self, from_ms: int, until_ms: int) -> Sequence[Written]:
        """Return who wrote which of those intervals, by start; quicker than reading them.

        Raises:
            StateError: they cannot be read.
        """
        ...

    def prune(self, before_ms: int) -> None:
        """Forget intervals that ended before a time."""
        ...
