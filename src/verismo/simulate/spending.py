"""Spend that nobody spent: what tenants' routes might offer, for a budget simulation without data.

A day's course, calmer weekends, bursts, and calls whose costs differ. It is made up and is named so
wherever it is used.
"""

import math
import random

BIN_S = 10
BINS_PER_DAY = 86_400 // BIN_S
BURST_BINS = 60
"""How long the rate stays at one level: ten minutes."""
CALL_USD_MICROS = 900
"""Mean cost of a call."""


def made_up_spend(seed: int, name: str, days: int, usd_micros_per_day: int) -> tuple[int, ...]:
    """Return what a route offers to spend in each bin of 10 s, USD micros.

    Args:
        seed: the same one gives the same spend.
        name: of the route; each has its own.
        days: how many, from a Monday on.
        usd_micros_per_day: about what a working day comes to.
    """
    chance = random.Random(f"{seed} {name}")
    calls = usd_micros_per_day / CALL_USD_MICROS / BINS_PER_DAY
    found, level = [], 1.0
    for at in range(days * BINS_PER_DAY):
        if at % BURST_BINS == 0:
            level = chance.gammavariate(4, 0.25)
        hour = at % BINS_PER_DAY * BIN_S / 3_600
        course = 1 + 0.7 * math.sin((hour - 8) / 24 * 2 * math.pi)
        weekend = 0.4 if at // BINS_PER_DAY % 7 >= 5 else 1.0
        count = _poisson(chance, calls * level * course * weekend)
        found.append(round(chance.gammavariate(2 * count, CALL_USD_MICROS / 2)) if count else 0)
    return tuple(found)


def _poisson(chance: random.Random, mean: float) -> int:
    """Draw how many calls come; beyond 30 the normal distribution is near enough."""
    if mean > 30:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    edge, count, product = math.exp(-mean), 0, chance.random()
    while product > edge:
        count += 1
        product *= chance.random()
    return count
