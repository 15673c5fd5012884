"""Series of spend for tenants' routes, made from the rates and tokens of the ServeGen clients."""

import csv
import gzip
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DAYS = 14
BIN_S = 10
BINS_PER_DAY = 86_400 // BIN_S
RATE_BINS = 600 // BIN_S
TOKEN_BINS = 21_600 // BIN_S
PRICES_USD_PER_MILLION = {"m-large": (3, 15), "m-mid": (0.8, 4), "m-small": (0.15, 0.6)}
"""Input and output; assumed: the trace has none."""
ACTIVE_SHARE_MIN = 0.5
"""Of the 10-minute windows of each week in which a client has to have sent something."""
RATE_MIN = 0.01
SHARES = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
"""Of the published quantiles that the spread of a request's tokens is read from."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Tenant:
    """One client of the trace: its published rates and its spend for a request."""

    name: str
    rates: NDArray[np.float64]
    variations: NDArray[np.float64]
    cost_means: NDArray[np.float64]
    cost_deviations: NDArray[np.float64]


def tenants(folder: Path) -> list[Tenant]:
    """Return the active clients of the three language models, in the order of their names."""
    tokens = _tokens(folder / "tokens_quantiles.csv.gz")
    rates: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with gzip.open(folder / "rates_10min.csv.gz", "rt") as lines:
        for row in csv.DictReader(lines):
            name = f"{row['model']}/{row['client']}"
            if name in tokens:
                rates[name].append((float(row["rate_rps"]), float(row["cv"])))
    found = []
    for name in sorted(rates):
        table = np.array(rates[name])
        if len(table) == DAYS * 144 and _active(table[:, 0]):
            costs = _filled(tokens[name])
            found.append(Tenant(name, table[:, 0], table[:, 1], costs[:, 0], costs[:, 1]))
    return found


def spend(tenant: Tenant, seed: int) -> Numbers:
    """Return offered USD micros in each 10 s bin of 14 days.

    Counts are negative binomial with the published mean and the variance of a renewal process with
    the published coefficient of variation; the sum of their costs is a gamma variable with the
    mean and variance of so many requests.
    """
    chance = np.random.default_rng([seed, *tenant.name.encode()])
    means = np.repeat(tenant.rates, RATE_BINS) * BIN_S
    excess = np.repeat(np.maximum(tenant.variations**2 - 1, 0.0), RATE_BINS)
    mixed = means.copy()
    wide = (excess > 1e-6) & (means > 0)
    mixed[wide] = chance.gamma(means[wide] / excess[wide], excess[wide])
    counts = chance.poisson(mixed)
    mean = np.repeat(tenant.cost_means, TOKEN_BINS)
    deviation = np.maximum(np.repeat(tenant.cost_deviations, TOKEN_BINS), mean * 1e-3)
    shape = np.maximum(counts * (mean / deviation) ** 2, 1e-9)
    cost = chance.gamma(shape, deviation**2 / mean) * (counts > 0)
    return np.rint(cost).astype(np.int64)


def rolling(bins: Numbers, width: int) -> Numbers:
    """Return the sum of the last `width` bins at the end of each."""
    total = np.cumsum(bins)
    total[width:] -= total[:-width].copy()
    return total


def _active(rates: NDArray[np.float64]) -> bool:
    weeks = np.split(rates > 0, 2)
    return bool(min(week.mean() for week in weeks) >= ACTIVE_SHARE_MIN and rates.mean() >= RATE_MIN)


def _tokens(file: Path) -> dict[str, list[tuple[float, float]]]:
    """Return mean and standard deviation of a request's cost for each 6 h, NaN where unknown."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with gzip.open(file, "rt") as lines:
        for row in csv.DictReader(lines):
            prices = PRICES_USD_PER_MILLION.get(row["model"])
            if prices is None:
                continue
            parts = [_moments(row, side) for side in ("inp", "out")]
            mean = sum(price * part[0] for price, part in zip(prices, parts, strict=True))
            square = sum((price * part[1]) ** 2 for price, part in zip(prices, parts, strict=True))
            found[f"{row['model']}/{row['client']}"].append((mean, math.sqrt(square)))
    return {name: rows for name, rows in found.items() if any(row[0] > 0 for row in rows)}


def _moments(row: dict[str, str], side: str) -> tuple[float, float]:
    """Return the mean and a standard deviation read from the published quantiles."""
    if not row[f"{side}_mean"]:
        return math.nan, math.nan
    middle = [float(row[f"{side}_q{share:02d}"]) for share in SHARES]
    return float(row[f"{side}_mean"]), float(np.std(middle))


def _filled(rows: list[tuple[float, float]]) -> NDArray[np.float64]:
    """Return one row for each 6 h; an unknown one is like the one before it, or the first known."""
    table = np.full((DAYS * 4, 2), np.nan)
    table[: len(rows)] = np.array(rows)[: DAYS * 4]
    known = np.flatnonzero(~np.isnan(table[:, 0]) & (table[:, 0] > 0))
    before = np.maximum(np.searchsorted(known, np.arange(len(table)), side="right") - 1, 0)
    return table[known[before]]
