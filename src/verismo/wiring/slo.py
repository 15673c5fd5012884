"""Composes the error budgets: what gateways counted, read by the control process and by people."""

import asyncio
import time

import msgspec

from verismo.adapt.burn import KINDS, Objectives
from verismo.adapters.journal_slot import next_slot_name
from verismo.adapters.telemetry_slo import ObjectiveFigures, slo_lines
from verismo.adapters.windows_sqlite import FILE_NAME, SqliteWindows
from verismo.config.schema import Config
from verismo.control.slo import Promise, SloMeter, Standing, span_text
from verismo.control.windowreads import WindowReads
from verismo.model.errors import StateError
from verismo.wiring.rounds import Rounds

ROUND_S = 5.0


class SloDesk:
    """The meter over a data folder's windows; close it.

    Args:
        config: the validated configuration.
        now_ms: Unix ms.
    """

    def __init__(self, config: Config, now_ms: int) -> None:
        self._windows = SqliteWindows(config.data / FILE_NAME)
        slots = [next_slot_name(config.data, at) for at in range(config.listen.workers)]
        reads = WindowReads(self._windows, lambda: slots, config.adapt.window_s * 1_000)
        promises = [
            Promise(one.name, one.operation, one.tenant, one.objectives) for one in config.slos
        ]
        self.meter = SloMeter(promises, reads, now_ms)

    def close(self) -> None:
        """Close the file."""
        self._windows.close()


def read_standings(config: Config, now_ms: int) -> list[Standing]:
    """Return how each route stands, from all windows that are kept.

    Args:
        config: the validated configuration.
        now_ms: Unix ms.

    Raises:
        StateError: the windows cannot be read.
    """
    desk = SloDesk(config, now_ms)
    try:
        while not desk.meter.catch_up(now_ms):
            pass
        return desk.meter.standings(now_ms)
    finally:
        desk.close()


class SloLoop:
    """Keeps the budgets of the control process; it needs no lease, since it decides nothing.

    Args:
        config: the validated configuration; it has at least one objective.
    """

    def __init__(self, config: Config) -> None:
        self._desk = SloDesk(config, _now_ms())
        self._figures: list[ObjectiveFigures] = []

    def begin(self, rounds: Rounds) -> None:
        """Begin the loop."""
        rounds.begin("slo", ROUND_S, self.round)

    async def round(self) -> None:
        """Count what is over.

        Raises:
            StateError: the windows cannot be read now.
        """
        await asyncio.to_thread(self._count)

    async def expose(self) -> list[str]:
        """Return the budgets' metrics as of the last round."""
        return slo_lines(self._figures)

    async def close(self) -> None:
        """Close the file; the loop has ended."""
        await asyncio.to_thread(self._desk.close)

    def _count(self) -> None:
        now_ms = _now_ms()
        try:
            self._desk.meter.catch_up(now_ms)
        except StateError:
            # The burns that were shown are no longer of now; what was counted was counted.
            self._figures = [msgspec.structs.replace(one, burns_milli={}) for one in self._figures]
            raise
        self._figures = [
            one for found in self._desk.meter.standings(now_ms) for one in figures_of(found)
        ]


def figures_of(standing: Standing) -> list[ObjectiveFigures]:
    """Return what is shown of a route, by objective."""
    objectives, totals = standing.promise.objectives, standing.totals
    kept = [kind for kind in KINDS if kind == "errors" or objectives.latency_ms]
    return [
        ObjectiveFigures(
            slo=standing.promise.name,
            objective=kind,
            objective_ppm=_promised(objectives, kind),
            total=totals.answered if kind == "latency" else totals.requests,
            bad=totals.late if kind == "latency" else totals.errors,
            burns_milli={
                span_text(one.span_ms): one.burn_milli
                for one in standing.burns
                if one.kind == kind and one.burn_milli is not None
            },
        )
        for kind in kept
    ]


def _promised(objectives: Objectives, kind: str) -> int:
    return objectives.latency_ppm if kind == "latency" else objectives.error_ppm


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
