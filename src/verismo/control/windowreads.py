"""What all workers counted, put together for the controllers.

An interval is complete once every expected worker has written it, or two intervals after its end. A
worker that is later than that is left out of windows, which harms neither arm, since each request
drew its arm for itself. Spend and load would be too small without it: they are not known then. What
nobody wrote is not known either; it is never taken for silence.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from verismo.adapt.budget import SpendBin
from verismo.control.scaling import Loaded
from verismo.model.ids import DeploymentId, OperationId, TenantId
from verismo.model.units import Milliseconds, UsdMicros
from verismo.model.window import Window, merge_windows, window_fault
from verismo.ports.windows import DeploymentLoad, Interval, WindowSource, Written

BIN_MS: Final = 10_000
"""Length of a bin of spend; intervals divide it."""
PATIENCE: Final = 2
"""Intervals that a writer may be late."""

RouteSpends = Mapping[tuple[TenantId, OperationId], UsdMicros]


class SpentBin(msgspec.Struct, frozen=True):
    """What all routes offered to spend within 10 s.

    Args:
        start_ms: Unix ms, a multiple of 10,000.
        offered: USD micros by tenant and operation, only of routes with requests; None if a
            worker's part is missing.
    """

    start_ms: Milliseconds
    offered: RouteSpends | None


class WindowReads:
    """Reads intervals of all workers; keeps nothing.

    Args:
        source: where workers write.
        writers: returns the slots of the workers that are expected to write.
        window_ms: length of an interval, milliseconds; those of another length are left out.
    """

    def __init__(
        self, source: WindowSource, writers: Callable[[], Sequence[str]], window_ms: int
    ) -> None:
        self._source = source
        self._writers = writers
        self._window_ms = window_ms

    def complete_until(self, now_ms: int) -> int:
        """Return the end of the last interval that nobody is waited for, Unix ms.

        Raises:
            StateError: the intervals cannot be read.
        """
        window_ms = self._window_ms
        until_ms = (now_ms // window_ms - PATIENCE) * window_ms
        written = self._fitting(self._source.written(until_ms, now_ms))
        while self._is_whole(written, until_ms) and until_ms + window_ms <= now_ms:
            until_ms += window_ms
        return until_ms

    def windows(self, from_ms: int, until_ms: int) -> Sequence[Window] | None:
        """Return the windows between two times, those of one key added up.

        Args:
            from_ms: begin of the first interval, Unix ms.
            until_ms: end of the last one, not after `complete_until`.

        Returns:
            By tenant, operation, arm and deployment; None if nobody wrote one of the intervals.

        Raises:
            StateError: they cannot be read.
        """
        read = self._read(from_ms, until_ms)
        if {one.start_ms for one in read} != set(range(from_ms, until_ms, self._window_ms)):
            return None
        return add_up(window for one in read for window in one.windows)

    def known_windows(self, from_ms: int, until_ms: int) -> Sequence[Window] | None:
        """Return the windows between two times as far as they are known, those of one key added up.

        Args:
            from_ms: begin of the first interval, Unix ms.
            until_ms: end of the last one, not after `complete_until`.

        Returns:
            By tenant, operation, arm and deployment; None if nobody wrote any of the intervals.

        Raises:
            StateError: they cannot be read.
        """
        read = [one for one in self._read(from_ms, until_ms) if is_sound(one)]
        return add_up(window for one in read for window in one.windows) if read else None

    def spends(self, from_ms: int, until_ms: int) -> Sequence[SpentBin]:
        """Return the bins of spend between two times.

        Args:
            from_ms: begin of the first bin, Unix ms, a multiple of 10,000.
            until_ms: end of the last one, not after `complete_until`.

        Raises:
            StateError: they cannot be read.
        """
        expected = set(self._writers())
        parts: dict[int, list[Interval]] = {}
        for one in self._read(from_ms, until_ms):
            parts.setdefault(one.start_ms // BIN_MS * BIN_MS, []).append(one)
        starts = range(from_ms, until_ms - BIN_MS + 1, BIN_MS)
        return [self._spent(start_ms, parts.get(start_ms, []), expected) for start_ms in starts]

    def loads(self, from_ms: int, now_ms: int) -> Sequence[Loaded]:
        """Return how busy deployments were in each interval that is complete.

        Args:
            from_ms: the first begins then or later, Unix ms.
            now_ms: Unix ms.

        Raises:
            StateError: they cannot be read.
        """
        window_ms, until_ms = self._window_ms, self.complete_until(now_ms)
        first_ms = -(-from_ms // window_ms) * window_ms
        expected = set(self._writers())
        parts: dict[int, list[Interval]] = {}
        for one in self._read(first_ms, until_ms):
            parts.setdefault(one.start_ms, []).append(one)
        found: list[Loaded] = []
        for start_ms in range(first_ms, until_ms, window_ms):
            part = parts.get(start_ms, [])
            is_whole = expected <= {one.writer for one in part}
            loads = _added(load for one in part for load in one.loads) if is_whole else None
            end_ms = Milliseconds(start_ms + window_ms)
            found.append(Loaded(Milliseconds(start_ms), end_ms, loads))
        return found

    def _read(self, from_ms: int, until_ms: int) -> list[Interval]:
        read = self._source.intervals(from_ms, until_ms)
        return [one for one in read if one.end_ms - one.start_ms == self._window_ms]

    def _fitting(self, written: Sequence[Written]) -> set[tuple[int, str]]:
        return {
            (one.start_ms, one.writer)
            for one in written
            if one.end_ms - one.start_ms == self._window_ms
        }

    def _is_whole(self, written: set[tuple[int, str]], start_ms: int) -> bool:
        return all((start_ms, writer) in written for writer in self._writers())

    def _spent(self, start_ms: int, parts: Sequence[Interval], expected: set[str]) -> SpentBin:
        there = {(one.start_ms, one.writer) for one in parts}
        steps = range(start_ms, start_ms + BIN_MS, self._window_ms)
        if any((step, writer) not in there for step in steps for writer in expected):
            return SpentBin(Milliseconds(start_ms), None)
        offered: dict[tuple[TenantId, OperationId], UsdMicros] = {}
        for part in parts:
            for one in part.spends:
                route = (one.tenant, one.operation)
                offered[route] = UsdMicros(offered.get(route, 0) + one.offered_usd_micros)
        return SpentBin(Milliseconds(start_ms), offered)


class ArmReads:
    """The windows of rollouts: a refusal counts as an error of its arm, and holes are left out.

    Whether the caller or the deployment is to blame for a 4xx cannot be told from one request. The
    arms are drawn at random, so callers' own mistakes come to both alike, and what is left is the
    deployment's. What nobody wrote, because all workers were down, is missing from both alike too.

    Args:
        reads: of all windows.
    """

    def __init__(self, reads: WindowReads) -> None:
        self._reads = reads

    def complete_until(self, now_ms: int) -> int:
        """Return the end of the last interval that nobody is waited for, Unix ms.

        Raises:
            StateError: the intervals cannot be read.
        """
        return self._reads.complete_until(now_ms)

    def windows(self, from_ms: int, until_ms: int) -> Sequence[Window] | None:
        """Return what is known between two times; None if nobody wrote any of the intervals.

        Raises:
            StateError: they cannot be read.
        """
        read = self._reads.known_windows(from_ms, until_ms)
        return None if read is None else [compared(one) for one in read]


def compared(window: Window) -> Window:
    """Return a window of an arm as it is compared: what it refused it failed."""
    if window.arm == "unsplit" or not window.refused:
        return window
    errors = window.errors + window.refused
    return msgspec.structs.replace(window, errors=errors, refused=0)


def is_sound(interval: Interval) -> bool:
    """Say whether the windows of arms in an interval can be counted, and are of its time.

    One that cannot would spoil all that it is added to, in this look and in every later one.
    """
    span = (interval.start_ms, interval.end_ms)
    return all(
        (one.start_ms, one.end_ms) == span and not window_fault(one)
        for one in interval.windows
        if one.arm != "unsplit"
    )


def add_up(windows: Iterable[Window]) -> list[Window]:
    """Return one window for each key, by key."""
    found: dict[tuple[str, str, str, str], list[Window]] = {}
    for window in windows:
        found.setdefault(window.key, []).append(window)
    return [merge_windows(found[key]) for key in sorted(found)]


def bins_of(
    bins: Iterable[SpentBin], tenant: TenantId, operation: OperationId
) -> tuple[SpendBin, ...]:
    """Return the bins of one route; those that are not known are left out, as the rule wants."""
    return tuple(
        SpendBin(one.start_ms, one.offered.get((tenant, operation), UsdMicros(0)))
        for one in bins
        if one.offered is not None
    )


def _added(loads: Iterable[DeploymentLoad]) -> tuple[DeploymentLoad, ...]:
    found: dict[DeploymentId, DeploymentLoad] = {}
    for load in loads:
        known = found.get(load.deployment)
        if known is not None:
            load = DeploymentLoad(
                load.deployment,
                Milliseconds(known.busy_ms + load.busy_ms),
                known.requests + load.requests,
                known.late + load.late,
            )
        found[load.deployment] = load
    return tuple(found[name] for name in sorted(found))
