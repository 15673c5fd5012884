"""The metrics of rollouts as OpenMetrics lines. `docs/metrics.md` lists every name."""

from collections.abc import Mapping, Sequence

import msgspec

from verismo.adapters.telemetry_text import gauge_family

_MILLION = 1_000_000
_ROUTE = ("tenant", "operation", "candidate")


class RolloutFigures(msgspec.Struct, frozen=True):
    """How a rollout stands.

    Args:
        route: tenant (empty for all), operation and candidate.
        verdict: of the last decision.
        traffic_ppm: share of the requests that the candidate is given.
        holds: HOLDs so far.
        threshold_ppm: the score from which on the candidate is good.
        score_ppm: the composite score; None where a metric with a weight has no data.
        scores_ppm: by metric, over the whole epoch; those without data are left out.
        weights_ppm: of the score, by metric.
    """

    route: tuple[str, str, str]
    verdict: str
    traffic_ppm: int
    holds: int
    threshold_ppm: int
    score_ppm: int | None
    scores_ppm: Mapping[str, int]
    weights_ppm: Mapping[str, int]


def canary_lines(figures: Sequence[RolloutFigures]) -> list[str]:
    """Return the lines of every family; what is not known has no sample.

    Args:
        figures: of each rollout that runs or ended lately.
    """
    scores = {(*one.route, name): ppm for one in figures for name, ppm in one.scores_ppm.items()}
    weights = {(*one.route, name): ppm for one in figures for name, ppm in one.weights_ppm.items()}
    return [
        *gauge_family(
            "verismo_canary_score_ratio",
            "Composite score of a candidate, the lower of the whole epoch's and the last windows'.",
            _ROUTE,
            {one.route: one.score_ppm / _MILLION for one in figures if one.score_ppm is not None},
        ),
        *gauge_family(
            "verismo_canary_threshold_ratio",
            "Composite score from which on a candidate is good.",
            _ROUTE,
            {one.route: one.threshold_ppm / _MILLION for one in figures},
        ),
        *gauge_family(
            "verismo_canary_metric_score_ratio",
            "Score of one metric over the epoch: 0 harmful, 1 within tolerance.",
            (*_ROUTE, "metric"),
            {key: ppm / _MILLION for key, ppm in scores.items()},
        ),
        *gauge_family(
            "verismo_canary_metric_weight_ratio",
            "Weight of one metric in the composite score.",
            (*_ROUTE, "metric"),
            {key: ppm / _MILLION for key, ppm in weights.items()},
        ),
        *gauge_family(
            "verismo_canary_traffic_ratio",
            "Share of a route's requests that the candidate is given.",
            _ROUTE,
            {one.route: one.traffic_ppm / _MILLION for one in figures},
        ),
        *gauge_family(
            "verismo_canary_holds",
            "How often a rollout was held.",
            _ROUTE,
            {one.route: one.holds for one in figures},
        ),
        *gauge_family(
            "verismo_canary_verdict",
            "1 for the verdict of the last decision about a rollout.",
            (*_ROUTE, "verdict"),
            {(*one.route, one.verdict): 1 for one in figures},
        ),
    ]
