"""Percentiles of measured times, by the nearest rank: always one of the values that occurred."""

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` percent of the values do not exceed.

    Args:
        values: at least one.
        percent: over 0, at most 100.
    """
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]
