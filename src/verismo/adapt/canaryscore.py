"""The score of a candidate: point estimates on a scale from harmful to within tolerance.

Every window has its own weight and both arms are weighted alike, so that drift and a changing split
cancel out. Sums are integers and do not depend on the order of the windows.
"""

import math
from collections.abc import Sequence

import msgspec

from verismo.adapt.canarysettings import PPM, CanarySettings, buckets_down, buckets_up
from verismo.model.window import Histogram, Window


class LatencyPoints(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weighted shares above the reference edge; empty without values.

    Args:
        baseline: of the baseline, in millionths.
        candidate: of the candidate, above the edge moved on by 0, 1, 2 ... buckets.
    """

    baseline: int = 0
    candidate: tuple[int, ...] = ()


class Points(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one window, or a sum of windows, adds to the score.

    Args:
        p95: above the edge of the baseline's 95th percentile.
        p99: above the edge of its 99th.
        weight: of the requests, in thousandths.
        error_baseline: weighted share of failures, in millionths.
        error_candidate: the same.
        cost_baseline: weighted mean of costs, in thousandths of USD micros.
        cost_candidate: the same.
    """

    p95: LatencyPoints = LatencyPoints()
    p99: LatencyPoints = LatencyPoints()
    weight: int = 0
    error_baseline: int = 0
    error_candidate: int = 0
    cost_baseline: int = 0
    cost_candidate: int = 0


class Effect(msgspec.Struct, frozen=True):
    """One metric's point estimate.

    Args:
        value_ppm: how much worse the candidate is; latencies are told from 0 to their harm margin.
        score_ppm: 0 harmful, 1,000,000 within tolerance.
    """

    value_ppm: int
    score_ppm: int


def points_of(
    baseline: Window, candidate: Window, edges: tuple[int, int], settings: CanarySettings
) -> Points:
    """Return what a pair of windows adds; both have requests.

    Args:
        baseline: of one interval.
        candidate: of the same.
        edges: reference edges of p95 and p99.
        settings: for the margins.
    """
    weight = (
        baseline.requests * candidate.requests * 1_000 // (baseline.requests + candidate.requests)
    )
    harms = (settings.p95_harm_ppm, settings.p99_harm_ppm)
    p95, p99 = (
        latency_points(baseline.latency, candidate.latency, edge, buckets_down(PPM + harm))
        for edge, harm in zip(edges, harms, strict=True)
    )
    return Points(
        p95,
        p99,
        weight,
        *(weight * one.errors * PPM // (one.requests * 1_000) for one in (baseline, candidate)),
        *(weight * one.cost_usd_micros // one.requests for one in (baseline, candidate)),
    )


def latency_points(
    baseline: Histogram, candidate: Histogram, edge: int, buckets: int
) -> LatencyPoints:
    """Return the weighted tails of one window, with the edge moved on by up to `buckets`."""
    ours, theirs = baseline.total, candidate.total
    if not ours or not theirs:
        return LatencyPoints()
    # The weight is n_B n_C / (n_B + n_C); divided by an arm's n it leaves the other arm's.
    return LatencyPoints(
        baseline.count_above(edge) * theirs * PPM // (ours + theirs),
        tuple(
            candidate.count_above(edge + shift) * ours * PPM // (ours + theirs)
            for shift in range(buckets + 1)
        ),
    )


def total(points: Sequence[Points]) -> Points:
    """Add up points, in any order."""
    return Points(
        _total_latency([one.p95 for one in points]),
        _total_latency([one.p99 for one in points]),
        sum(one.weight for one in points),
        sum(one.error_baseline for one in points),
        sum(one.error_candidate for one in points),
        sum(one.cost_baseline for one in points),
        sum(one.cost_candidate for one in points),
    )


def _total_latency(points: Sequence[LatencyPoints]) -> LatencyPoints:
    found = [one for one in points if one.candidate]
    if not found:
        return LatencyPoints()
    columns = zip(*(one.candidate for one in found), strict=True)
    return LatencyPoints(sum(one.baseline for one in found), tuple(sum(one) for one in columns))


def effects(points: Points, settings: CanarySettings) -> dict[str, Effect]:
    """Return the estimates that the points allow; a metric without data is not there."""
    found = {
        "p95": _latency_effect(points.p95, settings.p95_tolerance_ppm),
        "error": _error_effect(points, settings),
        "cost": _cost_effect(points, settings),
        "p99": _latency_effect(points.p99, settings.p99_tolerance_ppm),
    }
    return {name: effect for name, effect in found.items() if effect is not None}


def _latency_effect(points: LatencyPoints, tolerance_ppm: int) -> Effect | None:
    if not points.candidate:
        return None
    harm = len(points.candidate) - 1
    tolerance = buckets_up(PPM + tolerance_ppm)
    within = [at for at, above in enumerate(points.candidate) if above <= points.baseline]
    shift = within[0] if within else harm
    score = PPM * (harm - shift) // (harm - tolerance)
    return Effect(round((1.01**shift - 1) * PPM), min(score, PPM))


def _error_effect(points: Points, settings: CanarySettings) -> Effect | None:
    if not points.weight:
        return None
    more = (points.error_candidate - points.error_baseline) * 1_000 // points.weight
    span = settings.error_harm_ppm - settings.error_tolerance_ppm
    return Effect(more, _clip(PPM * (settings.error_harm_ppm - more) // span))


def _cost_effect(points: Points, settings: CanarySettings) -> Effect | None:
    if not points.cost_baseline:
        return None
    ratio = points.cost_candidate / points.cost_baseline
    tolerance = math.log1p(settings.cost_tolerance_ppm / PPM)
    harm = math.log1p(settings.cost_harm_ppm / PPM)
    score = (harm - math.log(ratio)) / (harm - tolerance) if ratio else 1.0
    return Effect(math.floor((ratio - 1) * PPM), _clip(math.floor(score * PPM)))


def _clip(score_ppm: int) -> int:
    return max(0, min(PPM, score_ppm))


def score_ppm(found: dict[str, Effect], settings: CanarySettings) -> int | None:
    """Return the weighted score, 0 to 1,000,000; None where a metric with a weight has no data."""
    weights = weights_of(settings)
    if any(name not in found for name in weights):
        return None
    return sum(weight * found[name].score_ppm for name, weight in weights.items()) // PPM


def weights_of(settings: CanarySettings) -> dict[str, int]:
    """Return the metrics that have a weight, with it."""
    weights = settings.weights
    given = {
        "p95": weights.p95_ppm,
        "error": weights.error_ppm,
        "cost": weights.cost_ppm,
        "p99": weights.p99_ppm,
    }
    return {name: weight for name, weight in given.items() if weight}
