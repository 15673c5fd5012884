"""What a canary has evidence of: being worse, being severely worse, being no worse.

Source: docs/adapt-canary.md has the formulas.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from verismo.adapt.canaryscore import weights_of
from verismo.adapt.canarysettings import PPM, CanarySettings, buckets_down, buckets_up
from verismo.adapt.sequential import (
    PSI_BETTER,
    PSI_FAILING,
    PSI_WORSE,
    Difference,
    Evidence,
    MeanEvidence,
    Tails,
    average_log_ppm,
    mean_log_ppm,
    mixed_log_ppm,
    update_mean,
    update_rate,
    update_tails,
    whole_log_ppm,
)
from verismo.model.window import Histogram, Window

SHARES: Final = {"p95": 40, "error": 40, "cost": 20}
"""How the evidence of being worse is averaged: failures are few, so they get as much as p95."""


class Worse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Evidence that a metric is beyond a tolerance, ordinary or severe."""

    p95: Evidence = Evidence()
    error: Evidence = Evidence()
    cost: MeanEvidence = MeanEvidence()
    p99: Evidence = Evidence()


class Better(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Evidence that a metric is within its harm margin.

    Args:
        p95: of latency.
        error: exact, from the candidate alone; strong where the baseline seldom fails.
        error_mean: asymptotic, from the difference; needed where the baseline fails often.
        cost: asymptotic.
        p99: of latency, asked for where it has a weight.
    """

    p95: Evidence = Evidence()
    error: Evidence = Evidence()
    error_mean: MeanEvidence = MeanEvidence()
    cost: MeanEvidence = MeanEvidence()
    p99: Evidence = Evidence()


class Look(msgspec.Struct, frozen=True):
    """One pair of windows that is looked at.

    Args:
        baseline: with requests.
        candidate: of the same interval, with requests.
        edges: reference edges of p95 and p99, known before this look.
        unit_micros: the baseline's cost of one request at first, USD micros; 0 if unknown.
    """

    baseline: Window
    candidate: Window
    edges: tuple[int, int]
    unit_micros: int


def add_worse(found: Worse, look: Look, settings: CanarySettings) -> Worse:
    """Add a look to the evidence against the ordinary tolerances."""
    return Worse(
        _tails(found.p95, look, 0, buckets_up(PPM + settings.p95_tolerance_ppm), PSI_WORSE),
        update_tails(found.error, _failures(look), PSI_FAILING, settings.error_odds_ppm),
        _dearer(
            found.cost,
            look,
            settings.cost_tolerance_ppm,
            settings.cost_harm_ppm - settings.cost_tolerance_ppm,
        ),
        _tails(found.p99, look, 1, buckets_up(PPM + settings.p99_tolerance_ppm), PSI_WORSE),
    )


def add_severe(found: Worse, look: Look, settings: CanarySettings) -> Worse:
    """Add a look to the evidence against the severe tolerances."""
    ratio = settings.severe_ratio_ppm
    return Worse(
        _tails(found.p95, look, 0, buckets_up(ratio), PSI_WORSE),
        update_tails(found.error, _failures(look), PSI_FAILING, settings.severe_odds_ppm),
        _dearer(found.cost, look, ratio - PPM, ratio - PPM),
    )


def add_better(found: Better, look: Look, settings: CanarySettings) -> Better:
    """Add a look to the evidence of being no worse."""
    candidate = look.candidate
    harm = settings.error_harm_ppm / PPM
    return Better(
        _tails(found.p95, look, 0, buckets_down(PPM + settings.p95_harm_ppm), PSI_BETTER),
        update_rate(found.error, candidate.errors, candidate.requests, harm, PSI_BETTER),
        update_mean(found.error_mean, _fewer_failures(look, harm), 1.0),
        _cheaper(found.cost, look, settings.cost_harm_ppm),
        _tails(found.p99, look, 1, buckets_down(PPM + settings.p99_harm_ppm), PSI_BETTER),
    )


def worse_logs(found: Worse) -> dict[str, int]:
    """Return the log of the evidence of being worse for each metric, in millionths."""
    return {
        "p95": mixed_log_ppm(found.p95),
        "error": mixed_log_ppm(found.error),
        "cost": mean_log_ppm(found.cost),
        "p99": mixed_log_ppm(found.p99),
    }


def composite_log_ppm(logs: Mapping[str, int]) -> int:
    """Return the log of the weighted mean of the evidence of being worse, p99 apart."""
    return average_log_ppm([(share, logs[name]) for name, share in SHARES.items()])


def better_logs(found: Better) -> dict[str, int]:
    """Return the log of the evidence of being no worse for each metric, in millionths."""
    failures = [(1, whole_log_ppm(found.error)), (1, mean_log_ppm(found.error_mean))]
    return {
        "p95": whole_log_ppm(found.p95),
        "error": average_log_ppm(failures),
        "cost": mean_log_ppm(found.cost),
        "p99": whole_log_ppm(found.p99),
    }


def least_log_ppm(logs: Mapping[str, int], settings: CanarySettings) -> int:
    """Return the weakest evidence among the metrics that have a weight."""
    return min(logs[name] for name in weights_of(settings))


def _tails(
    found: Evidence, look: Look, quantile: int, shift: int, bets: tuple[float, ...]
) -> Evidence:
    edge = look.edges[quantile]
    ours: Histogram = look.baseline.latency
    theirs: Histogram = look.candidate.latency
    above = (ours.count_above(edge), theirs.count_above(edge + shift))
    return update_tails(found, Tails(*above, ours.total, theirs.total), bets)


def _failures(look: Look) -> Tails:
    ours, theirs = look.baseline, look.candidate
    return Tails(ours.errors, theirs.errors, ours.requests, theirs.requests)


def _weight(look: Look) -> float:
    ours, theirs = look.baseline.requests, look.candidate.requests
    return ours * theirs / (ours + theirs)


def _fewer_failures(look: Look, harm: float) -> Difference:
    """Return by how much the difference in failures stays below its harm margin, in margins.

    The variance is that of the null hypothesis: without failures an estimated one would be 0, and
    nothing would look like proof.
    """
    ours, theirs = look.baseline, look.candidate
    share, candidate = ours.errors / ours.requests, theirs.errors / theirs.requests
    likely = (ours.errors + 0.5) / (ours.requests + 1)
    feared = min(max(likely + harm, candidate), 1.0)
    variance = likely * (1 - likely) / ours.requests + feared * (1 - feared) / theirs.requests
    return Difference(1 - (candidate - share) / harm, variance / harm**2, _weight(look))


def _dearer(found: MeanEvidence, look: Look, tolerance_ppm: int, wanted_ppm: int) -> MeanEvidence:
    if not look.unit_micros:
        return found
    return update_mean(found, _cost_difference(look, 1 + tolerance_ppm / PPM), wanted_ppm / PPM)


def _cheaper(found: MeanEvidence, look: Look, harm_ppm: int) -> MeanEvidence:
    if not look.unit_micros:
        return found
    dearer = _cost_difference(look, 1 + harm_ppm / PPM)
    cheaper = Difference(-dearer.mean, dearer.variance, dearer.weight)
    return update_mean(found, cheaper, harm_ppm / PPM)


def _cost_difference(look: Look, ratio: float) -> Difference:
    ours, our_variance = _cost_of(look.baseline)
    theirs, their_variance = _cost_of(look.candidate)
    return Difference(
        (theirs - ratio * ours) / look.unit_micros,
        (their_variance + ratio**2 * our_variance) / look.unit_micros**2,
        _weight(look),
    )


def _cost_of(window: Window) -> tuple[float, float]:
    """Return the mean cost of a request and that mean's variance, in USD micros.

    Costs are whole micros, so each has at least the variance of its rounding, 1/12.
    """
    number = window.requests
    # In integers until the division: the difference of two large sums would lose its digits.
    squared = number * window.cost_squares - window.cost_usd_micros**2
    spread = max(squared / (number * max(number - 1, 1)), 1 / 12)
    return window.cost_usd_micros / number, spread / number
