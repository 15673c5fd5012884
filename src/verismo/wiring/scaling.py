"""Composes scaling: where each target's numbers come from, and what sets its replicas."""

import asyncio
import time
from collections.abc import Callable

import msgspec

from verismo.adapt.scaling import ScalingDecision
from verismo.adapters.adapt_file import FILE_NAME, AdaptFile
from verismo.adapters.decisions_sqlite import SqliteDecisions
from verismo.adapters.kubernetes_scale import KubernetesScale, ScalePlace
from verismo.adapters.prometheus_query import PrometheusNumber
from verismo.adapters.telemetry_scaling import TargetFigures, scaling_lines
from verismo.config.scalingtable import ScalingTarget
from verismo.config.schema import Config
from verismo.control.scaling import (
    ScalingDesk,
    ScalingShell,
    TargetDesk,
    missing_numbers,
    newest_decision,
)
from verismo.control.windowreads import WindowReads
from verismo.model.errors import StateError
from verismo.ports.decisions import DecisionReader
from verismo.wiring.rounds import Rounds

SHOWN_MS_MAX = 40_000
"""Two decisions that fell due and were not made: what was decided before is not of now."""


class Standing(msgspec.Struct, frozen=True):
    """What was decided last about a target; None where nothing was.

    Args:
        target: of the configuration.
        decision: the newest.
        missing: fields of its sample that could not be read.
    """

    target: ScalingTarget
    decision: ScalingDecision | None
    missing: tuple[str, ...] = ()


def open_scaling(
    config: Config, decisions: DecisionReader, reads: WindowReads, now_ms: Callable[[], int]
) -> ScalingShell:
    """Return the shell of every `[scaling.NAME]`; nothing is connected yet.

    Args:
        config: the validated configuration.
        decisions: what was decided.
        reads: what gateways counted.
        now_ms: returns Unix ms.
    """
    targets = tuple(_target(target, now_ms) for target in config.scaling)
    return ScalingShell(ScalingDesk(targets, reads.loads, decisions, now_ms))


def _target(target: ScalingTarget, now_ms: Callable[[], int]) -> TargetDesk:
    place = ScalePlace(
        api_url=target.api_url,
        namespace=target.namespace,
        name=target.workload,
        token_file=target.token_file,
        ca_file=target.ca_file,
    )
    scale = KubernetesScale(place, now_ms) if target.replicas_from == "scale" else None
    replicas = None if scale is None else scale.replicas
    if target.replicas_from == "prometheus":
        replicas = PrometheusNumber(
            target.prometheus_url, target.replicas_query, time.time
        ).replicas
    queue_milli = None
    if target.queue_query:
        queue_milli = PrometheusNumber(target.prometheus_url, target.queue_query, time.time).milli
    return TargetDesk(
        settings=target.settings,
        deployment=target.deployment,
        replicas=replicas,
        queue_milli=queue_milli,
        platform=scale if target.mode == "strict" else None,
    )


def read_standings(config: Config) -> list[Standing]:
    """Return what was decided last about each target, from the records.

    Args:
        config: the validated configuration.

    Raises:
        StateError: the records cannot be read.
    """
    file = AdaptFile(config.data / FILE_NAME, read_only=True)
    try:
        decisions = SqliteDecisions(file)
        return [
            Standing(
                one, newest_decision(decisions, one.name), missing_numbers(decisions, one.name)
            )
            for one in config.scaling
        ]
    finally:
        file.close()


class ScalingGauges:
    """Shows what is decided; from the records, so that each control process shows the same.

    Args:
        config: the validated configuration; it has at least one target.
        now_ms: the clock.
    """

    def __init__(self, config: Config, now_ms: Callable[[], int] | None = None) -> None:
        self._config = config
        self._now_ms = now_ms or _now_ms
        self._file = AdaptFile(config.data / FILE_NAME, read_only=True)

    def begin(self, rounds: Rounds) -> None:
        """Nothing has to be begun: the metrics are read when they are asked for."""

    async def expose(self) -> list[str]:
        """Return the metrics of every target that something was decided about lately."""
        return scaling_lines(await asyncio.to_thread(self._figures))

    async def close(self) -> None:
        """Close the file."""
        await asyncio.to_thread(self._file.close)

    def _figures(self) -> list[TargetFigures]:
        decisions, now_ms = SqliteDecisions(self._file), self._now_ms()
        try:
            found = [newest_decision(decisions, one.name) for one in self._config.scaling]
        except StateError:
            # Unknown is no number: an HPA without its metric keeps the replicas as they are.
            return []
        return [
            figures_of(one)
            for one in found
            if one is not None and 0 <= now_ms - one.at_ms <= SHOWN_MS_MAX
        ]


def figures_of(decision: ScalingDecision) -> TargetFigures:
    """Return what is shown of a decision."""
    return TargetFigures(
        target=decision.subject.target,
        replicas=decision.action.after or None,
        verdict=decision.verdict,
        reason=decision.reasons[0].partition("=")[0],
        headroom_ppm=decision.state.headroom_ppm,
        wait_ms=decision.state.wait_ms,
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
