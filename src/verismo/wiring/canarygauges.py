"""Shows how rollouts stand, from the records, so that each control process shows the same."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from verismo.adapt.canarysettings import METRICS
from verismo.adapters.adapt_file import FILE_NAME, AdaptFile
from verismo.adapters.decisions_sqlite import SqliteDecisions
from verismo.adapters.telemetry_canary import RolloutFigures, canary_lines
from verismo.control.rollouts import Rollouts, Standing
from verismo.model.errors import StateError
from verismo.wiring.rounds import Rounds

ENDED_MS_MAX = 3_600_000
"""A rollout that ended is shown for an hour, so that a rollback is seen."""


class CanaryGauges:
    """The metrics of rollouts.

    Args:
        data: the data folder.
        now_ms: the clock.
    """

    def __init__(self, data: Path, now_ms: Callable[[], int] | None = None) -> None:
        self._file = AdaptFile(data / FILE_NAME, read_only=True)
        self._now_ms = now_ms or _now_ms

    def begin(self, rounds: Rounds) -> None:
        """Nothing has to be begun: the metrics are read when they are asked for."""

    async def expose(self) -> list[str]:
        """Return the metrics of every rollout that runs or ended lately."""
        return canary_lines(await asyncio.to_thread(self._figures))

    async def close(self) -> None:
        """Close the file."""
        await asyncio.to_thread(self._file.close)

    def _figures(self) -> list[RolloutFigures]:
        now_ms = self._now_ms()
        try:
            found = Rollouts(SqliteDecisions(self._file)).all()
        except StateError:
            # Unknown is no number; the controllers' own round says what is wrong with the records.
            return []
        return [
            figures_of(one)
            for one in found
            if one.is_running or 0 <= now_ms - one.decision.at_ms <= ENDED_MS_MAX
        ]


def figures_of(standing: Standing) -> RolloutFigures:
    """Return what is shown of a rollout."""
    decision, settings = standing.decision, standing.settings
    rows = {row.name: row.values for row in decision.metrics}
    scores = {name: rows.get(name, {}).get("score_ppm") for name in METRICS}
    weights: dict[str, int] = msgspec.structs.asdict(settings.weights)
    subject = decision.subject
    return RolloutFigures(
        route=(subject.tenant, subject.operation, subject.candidate),
        verdict=decision.verdict,
        traffic_ppm=decision.state.weight_ppm,
        holds=decision.state.holds,
        threshold_ppm=settings.threshold_ppm,
        score_ppm=rows.get("score", {}).get("score_ppm"),
        scores_ppm={name: ppm for name, ppm in scores.items() if ppm is not None},
        weights_ppm={name: weights[f"{name}_ppm"] for name in METRICS},
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
