"""Arrivals of the ServeGen workloads: published rates, made bursty, drawn with a stated seed."""

import csv
import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

STEP_S = 600
DAY_S = 86_400
BURST_S = 30
BURST_SD = 0.1
"""Of an Ornstein-Uhlenbeck process over the aggregate; the clients' own published coefficients of
variation, taken as independent, give a median of 0.02 and a 95th percentile up to 0.19."""

Rates = dict[str, NDArray[np.float64]]


def aggregate_rates(file: Path) -> Rates:
    """Return the requests per second of each workload in each 600 s, all clients together.

    Args:
        file: `servegen/rates_10min.csv.gz`.
    """
    sums: dict[str, dict[int, float]] = {}
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            span = sums.setdefault(row["model"], {})
            at = int(row["t_s"]) // STEP_S
            span[at] = span.get(at, 0.0) + float(row["rate_rps"])
    return {name: np.array([span[at] for at in sorted(span)]) for name, span in sums.items()}


def arrivals(
    rates: NDArray[np.float64], begin_s: int, length_s: int, seed: str
) -> NDArray[np.int64]:
    """Draw the requests of each second.

    Args:
        rates: of one workload, for each 600 s.
        begin_s: first second.
        length_s: how many.
        seed: a text; the same one gives the same arrivals to every scaler.
    """
    random = np.random.default_rng(zlib.crc32(seed.encode()))
    at_s = np.arange(begin_s, begin_s + length_s)
    # Between the middles of the published spans, so that no jump is made by the file's grid.
    middle = (np.arange(len(rates)) + 0.5) * STEP_S
    level = np.interp(at_s, middle, rates)
    shocks = random.normal(size=length_s) * BURST_SD * np.sqrt(1 - np.exp(-2 / BURST_S))
    keep, burst = float(np.exp(-1 / BURST_S)), np.empty(length_s)
    value = 0.0
    for index in range(length_s):
        value = keep * value + shocks[index]
        burst[index] = value
    return random.poisson(level * np.exp(burst - BURST_SD**2 / 2))
