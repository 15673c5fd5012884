"""Comparators of the canary benchmark: other rules, re-implemented, one configuration each.

They are not those products. Kayenta-like: Mann-Whitney on the windows' values of both arms with a
98 % interval of the Hodges-Lehmann shift, every 5 minutes from the 10th on, pass 95, marginal 75,
weights 50/30/20. Flagger-like: fixed thresholds on the candidate (1.1 times the baseline's first
ten minutes, 1 % errors), 5 failed checks end it. Peeking: a one-sided test at 5 % at every look.
"""

import math

import numpy as np

from harness.canarytraffic import Minute

WEIGHTS = (50, 30, 20)
Z_98, Z_95 = 2.326, 1.645


def kayenta_like(minutes: list[Minute]) -> int | None:
    """Return the minute at which it fails the candidate, or is marginal at the end; else None."""
    for at in range(10, len(minutes) + 1, 5):
        score = _judge(minutes[:at])
        if score < 75 or (at + 5 > len(minutes) and score < 95):
            return at
    return None


def _judge(minutes: list[Minute]) -> int:
    metrics = zip(*((one.p95_us, one.errors, one.costs) for one in minutes), strict=True)
    score = 0
    for weight, values in zip(WEIGHTS, metrics, strict=True):
        ours, theirs = np.array(values).T
        score += 0 if _is_high(ours, theirs) else weight
    return score


def _is_high(ours: np.ndarray, theirs: np.ndarray) -> bool:
    shifts = np.sort((theirs[:, None] - ours[None, :]).ravel())
    n, m = len(theirs), len(ours)
    rank = int(n * m / 2 - Z_98 * math.sqrt(n * m * (n + m + 1) / 12))
    low, middle = shifts[max(rank, 0)], float(np.median(shifts))
    return bool(low > 0.25 * abs(middle) and theirs.mean() >= ours.mean())


def flagger_like(minutes: list[Minute]) -> int | None:
    """Return the minute of the fifth failed check, if it comes before six good ones in a row."""
    first = minutes[:10]
    p95_max = 1.1 * float(np.mean([one.p95_us[0] for one in first]))
    cost_max = 1.1 * float(np.mean([one.costs[0] for one in first]))
    failed = good = 0
    for at, one in enumerate(minutes[10:], start=11):
        is_bad = one.p95_us[1] > p95_max or one.costs[1] > cost_max or one.errors[1] > 0.01
        failed, good = failed + is_bad, 0 if is_bad else good + 1
        if failed >= 5:
            return at
        if good >= 6:
            return None
    return None


def peeking(minutes: list[Minute]) -> int | None:
    """Return the first minute at which the pooled share of slow requests differs at 5 %."""
    slow, total = np.zeros(2), np.zeros(2)
    for at, one in enumerate(minutes, start=1):
        slow += one.slow
        total += (one.baseline.latency.total, one.candidate.latency.total)
        pooled = slow.sum() / total.sum()
        spread = math.sqrt(max(pooled * (1 - pooled), 1e-12) * (1 / total[0] + 1 / total[1]))
        if (slow[1] / total[1] - slow[0] / total[0]) / spread > Z_95:
            return at
    return None
