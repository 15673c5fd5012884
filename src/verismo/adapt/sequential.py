"""Evidence that may be looked at as often as one likes: e-processes, in logarithms.

An e-process starts at 1 and, while its null hypothesis is true, is not expected to grow. So the
chance that it ever reaches 1/alpha is at most alpha, whenever and however often one looks (Ville).
Three kinds are here, all of them stratified by window, so that common drift of both arms and a
changing split of the traffic do not matter:

* tails: how many of the slow (or failed) requests of both arms fell to the candidate. Exact.
* rates: failures of one arm against a bound. Exact.
* means: a sum of differences with its estimated variance. Asymptotic only.

Recorded logarithms are natural ones in millionths, rounded down: rounding never adds evidence.
"""

import math
from collections.abc import Iterable
from typing import Final

import msgspec

PSI_WORSE: Final = (1.2, 1.4, 1.7, 2.2, 3.0)
"""Bets on heavier tails: a candidate that is slower by half has three times as much beyond p95."""
PSI_FAILING: Final = (1.5, 2.5, 4.0, 7.0)
"""Bets on more failures: they are few at first, and a fault makes many times as many."""
PSI_BETTER: Final = tuple(1 / psi for psi in (1.15, 1.4, 1.8, 2.5, 4.0, 8.0))
PSI_SPLIT: Final = (1 / 2, 1 / 1.25, 1 / 1.05, 1.05, 1.25, 2.0)
PPM: Final = 1_000_000
LOOKS_BEFORE_MEAN: Final = 5
"""How many looks set the scale of a mean's mixture; before them there is no evidence."""
_TINY: Final = -745 * PPM
"""exp(-745) is the smallest number above 0 that there is: less is no evidence at all."""


class Tails(msgspec.Struct, frozen=True):
    """What lay above an edge in one window.

    Args:
        baseline_above: how many of the baseline's values.
        candidate_above: how many of the candidate's.
        baseline_total: values of the baseline, at least `baseline_above`.
        candidate_total: values of the candidate, at least `candidate_above`.
    """

    baseline_above: int
    candidate_above: int
    baseline_total: int
    candidate_total: int


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An e-process: one product for each bet, and the same for bets that start later.

    Args:
        looks: how many windows it has seen.
        whole: for each bet the log of its product over all looks, in millionths.
        late: for each bet the log of the weighted sum of its products since each later look.
    """

    looks: int = 0
    whole: tuple[int, ...] = ()
    late: tuple[int, ...] = ()


def update_tails(
    evidence: Evidence, tails: Tails, bets: tuple[float, ...], odds_ppm: int = PPM
) -> Evidence:
    """Add one window's tails.

    With bets above 1 the null hypothesis is that the candidate's odds of lying above the edge are
    at most `odds_ppm` times the baseline's; with bets below 1, that they are at least that.

    Args:
        evidence: so far.
        tails: of one window; without values in one arm nothing is learned.
        bets: the same for all updates of one e-process.
        odds_ppm: 1,000,000 for equal odds.

    Returns:
        The evidence after this window.

    Source: Hoeffding 1963, theorem 4; Turner and Grunwald, arXiv 2302.11401.
    """
    if tails.baseline_total < 1 or tails.candidate_total < 1:
        return evidence
    weighted = tails.candidate_total * odds_ppm / PPM
    share = weighted / (tails.baseline_total + weighted)
    above = tails.baseline_above + tails.candidate_above
    return _grow(evidence, [_log_bet(psi, tails.candidate_above, above, share) for psi in bets])


def update_rate(
    evidence: Evidence, hits: int, trials: int, rate: float, bets: tuple[float, ...]
) -> Evidence:
    """Add one window's hits among its trials.

    With bets above 1 the null hypothesis is that the rate is at most `rate`; below 1, at least.

    Args:
        evidence: so far.
        hits: 0 to `trials`.
        trials: of this window.
        rate: between 0 and 1, both excluded.
        bets: the same for all updates of one e-process.
    """
    return _grow(evidence, [_log_bet(psi, hits, trials, rate) for psi in bets])


def _log_bet(psi: float, hits: int, trials: int, share: float) -> float:
    return hits * math.log(psi) - trials * math.log1p(share * (psi - 1))


def _grow(evidence: Evidence, growth: list[float]) -> Evidence:
    steps = [math.floor(one * PPM) for one in growth]
    look = evidence.looks + 1
    whole = evidence.whole or (0,) * len(steps)
    late = evidence.late
    if look > 1:
        begun = math.log(1 / (look * (look + 1)))
        before = late or (_TINY,) * len(steps)
        late = tuple(
            _log_sum((one / PPM, begun)) + step for one, step in zip(before, steps, strict=True)
        )
    return Evidence(look, tuple(a + b for a, b in zip(whole, steps, strict=True)), late)


def whole_log_ppm(evidence: Evidence) -> int:
    """Return the log of the mean over all bets since the first look, in millionths."""
    return _mean_log(evidence.whole)


def mixed_log_ppm(evidence: Evidence) -> int:
    """Return the same, half of it set aside for bets that begin later: it sees a late onset."""
    if not evidence.late:
        return average_log_ppm([(1, whole_log_ppm(evidence)), (1, _TINY)])
    return average_log_ppm([(1, _mean_log(evidence.whole)), (1, _mean_log(evidence.late))])


def _mean_log(logs: tuple[int, ...]) -> int:
    return average_log_ppm([(1, one) for one in logs]) if logs else 0


def average_log_ppm(weighted: Iterable[tuple[int, int]]) -> int:
    """Return the log of a weighted mean of e-values: an e-value again.

    Args:
        weighted: weights of 0 or more, not all 0, and logs in millionths.
    """
    pairs = [(weight, log) for weight, log in weighted if weight]
    total = math.log(sum(weight for weight, _ in pairs))
    return _log_sum([math.log(weight) - total + log / PPM for weight, log in pairs])


def _log_sum(logs: Iterable[float]) -> int:
    """Return the log of a sum of numbers whose logs are given, in millionths, rounded down."""
    found = list(logs)
    largest = max(found)
    return math.floor(
        (largest + math.log(math.fsum(math.exp(one - largest) for one in found))) * PPM
    )


def log_threshold_ppm(alpha_ppm: int) -> int:
    """Return the log of 1/alpha in millionths, rounded up.

    Args:
        alpha_ppm: the chance of an error, 1 to 1,000,000.
    """
    return math.ceil(math.log(PPM / alpha_ppm) * PPM)


class MeanEvidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An asymptotic e-process for a mean: the null hypothesis is that it is at most 0.

    Args:
        looks: how many windows it has seen.
        weight_ppm: sum of their weights, in millionths.
        sum_ppm: weighted sum of their differences, in millionths.
        variance_ppm: estimated variance of that sum, in millionths.
        scale_ppm: of the bets, in millionths; 0 until enough looks have set it.
    """

    looks: int = 0
    weight_ppm: int = 0
    sum_ppm: int = 0
    variance_ppm: int = 0
    scale_ppm: int = 0


class Difference(msgspec.Struct, frozen=True):
    """One window's estimate of a mean.

    Args:
        mean: the difference, in a unit near 1.
        variance: estimated variance of that mean, above 0.
        weight: the window's.
    """

    mean: float
    variance: float
    weight: float


def update_mean(evidence: MeanEvidence, found: Difference, wanted: float) -> MeanEvidence:
    """Add one window's difference.

    Args:
        evidence: so far.
        found: of one window.
        wanted: the size of difference that the mixture is made to find, above 0.
    """
    looks = evidence.looks + 1
    weight = evidence.weight_ppm + math.floor(found.weight * PPM)
    variance = evidence.variance_ppm + math.ceil(found.weight**2 * found.variance * PPM)
    scale = evidence.scale_ppm
    if looks == LOOKS_BEFORE_MEAN:
        scale = max(1, math.floor(wanted * weight / variance * PPM)) if variance else 0
    return MeanEvidence(
        looks,
        weight,
        evidence.sum_ppm + math.floor(found.weight * found.mean * PPM),
        variance,
        scale,
    )


def mean_log_ppm(evidence: MeanEvidence) -> int:
    """Return the log of the half-normal mixture, in millionths; 0 before enough looks.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, asymptotic confidence sequences.
    """
    if not evidence.scale_ppm:
        return 0
    scale = evidence.scale_ppm / PPM
    spread = 1 + evidence.variance_ppm / PPM * scale**2
    z = evidence.sum_ppm / PPM * scale / math.sqrt(spread)
    log = math.log(2) - math.log(spread) / 2 + z * z / 2 + _log_normal(z)
    return math.floor(log * PPM)


def _log_normal(z: float) -> float:
    """Return the log of the normal distribution function at `z`."""
    if z > -30:
        return math.log(math.erfc(-z / math.sqrt(2)) / 2)
    # Mills' ratio: erfc is 0 there in floating point.
    return -z * z / 2 - math.log(-z * math.sqrt(2 * math.pi))
