"""An upper bound on a chance from how often it happened (Clopper and Pearson 1934)."""

import math


def upper_bound(happened: int, runs: int, confidence: float = 0.95) -> float:
    """Return the one-sided upper bound of a chance.

    Args:
        happened: 0 to `runs`.
        runs: at least 1.
        confidence: that the chance is not larger.
    """
    if happened >= runs:
        return 1.0
    low, high = happened / runs, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(happened, runs, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(happened: int, runs: int, chance: float) -> float:
    return math.fsum(
        math.comb(runs, one) * chance**one * (1 - chance) ** (runs - one)
        for one in range(happened + 1)
    )
