"""The metrics of scaling as OpenMetrics lines. `docs/metrics.md` lists every name."""

from collections.abc import Sequence

import msgspec

from verismo.adapters.telemetry_text import gauge_family

_MILLION = 1_000_000
_TARGET = ("target",)


class TargetFigures(msgspec.Struct, frozen=True):
    """What was decided last about one target.

    Args:
        target: its name.
        replicas: that it is to have; None where they are not known.
        verdict: of the decision.
        reason: its first reason, without numbers.
        headroom_ppm: asked for above the forecast.
        wait_ms: what is left of the gap.
    """

    target: str
    replicas: int | None
    verdict: str
    reason: str
    headroom_ppm: int
    wait_ms: int


def scaling_lines(figures: Sequence[TargetFigures]) -> list[str]:
    """Return the lines of every family; what is not known has no sample.

    Args:
        figures: of each target that something was decided about lately.
    """
    return [
        *gauge_family(
            "verismo_desired_replicas",
            "Replicas that a target is to have; absent where nothing was decided lately.",
            _TARGET,
            {(one.target,): one.replicas for one in figures if one.replicas is not None},
        ),
        *gauge_family(
            "verismo_scaling_reason",
            "1 for the verdict and the first reason of the last decision about a target.",
            ("target", "verdict", "reason"),
            {(one.target, one.verdict, one.reason): 1 for one in figures},
        ),
        *gauge_family(
            "verismo_scaling_headroom_ratio",
            "What is asked for above the forecast of a target's load.",
            _TARGET,
            {(one.target,): one.headroom_ppm / _MILLION for one in figures},
        ),
        *gauge_family(
            "verismo_scaling_gap_seconds",
            "What is left of the gap before the next action on a target.",
            _TARGET,
            {(one.target,): one.wait_ms / 1_000 for one in figures},
        ),
    ]
