"""Traffic of a rollout, simulated: windows of both arms, minute by minute, from a seed.

Latencies and costs follow the tokens of a public trace of conversations (time for the prompt, time
for each token of the answer, a random factor); without the trace they are log-normal, and the
result says so. Both arms share a level that wanders; each may have noise of its own.
"""

import csv
import gzip
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.results import note
from verismo.model.ids import DeploymentId, OperationId, TenantId
from verismo.model.units import Milliseconds, UsdMicros
from verismo.model.window import LOWER_EDGES_US, Arm, Histogram, Window

WINDOW_MS = 60_000
EDGES = np.array(LOWER_EDGES_US)
TRACES = Path(__file__).parents[3] / "shared" / "traces" / "adapt"
CONVERSATIONS = "azure-llm-2023/conv_first_half.csv.gz"
PROMPT_US_PER_TOKEN, ANSWER_US_PER_TOKEN = 120, 18_000
PROMPT_MICROS_PER_KTOKEN, ANSWER_MICROS_PER_KTOKEN = 3_000, 15_000


@dataclass(frozen=True)
class Scenario:
    """What the candidate does and what happens around it.

    Args:
        name: of the row.
        requests_per_s: of both arms together, at the start.
        slower: factor on the candidate's latencies.
        error: share of the candidate's failures; the baseline fails in 0.1 %.
        dearer: factor on the candidate's costs.
        onset_minute: before it the candidate is like the baseline.
        drift_per_h: factor on traffic and latency of both arms in an hour.
        arm_noise: standard deviation of each arm's own level.
    """

    name: str
    requests_per_s: float = 20.0
    slower: float = 1.0
    error: float = 0.001
    dearer: float = 1.0
    onset_minute: int = 0
    drift_per_h: float = 1.0
    arm_noise: float = 0.0


@dataclass(frozen=True)
class Requests:
    """Latencies (us) and costs (micros) that requests are drawn from; `source` names them."""

    latency_us: np.ndarray
    cost_micros: np.ndarray
    source: str


@dataclass(frozen=True)
class Minute:
    """Both windows, and what the comparators read of the baseline and the candidate.

    Args:
        baseline: its window.
        candidate: its window.
        p95_us: of latencies.
        errors: shares of failures.
        costs: means, USD micros.
        slow: requests above the baseline's p95 of the minutes before.
    """

    baseline: Window
    candidate: Window
    p95_us: tuple[float, float]
    errors: tuple[float, float]
    costs: tuple[float, float]
    slow: tuple[int, int]


def requests_of(folder: Path) -> Requests:
    """Read the trace, or say that it is not there and draw log-normal requests."""
    file = folder / CONVERSATIONS
    if not file.is_file():
        note("no trace found: latencies and costs are log-normal")
        drawn = np.random.default_rng(1).lognormal(15, 0.7, 20_000)
        return Requests(drawn, np.maximum(drawn / 1_000, 1), "log-normal")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [(int(r["ContextTokens"]), int(r["GeneratedTokens"])) for r in csv.DictReader(lines)]
    prompt, answer = np.array(rows).T
    latency = 50_000 + prompt * PROMPT_US_PER_TOKEN + answer * ANSWER_US_PER_TOKEN
    cost = (prompt * PROMPT_MICROS_PER_KTOKEN + answer * ANSWER_MICROS_PER_KTOKEN) / 1_000
    return Requests(latency, cost, CONVERSATIONS)


class Traffic:
    """One run of a scenario; the same seed gives the same requests."""

    def __init__(self, scenario: Scenario, requests: Requests, seed: int) -> None:
        self._scenario = scenario
        self._requests = requests
        self._random = np.random.default_rng(seed)
        self._level = 0.0
        self._arm_levels = [0.0, 0.0]
        self._before_us = math.inf
        self._at = 0

    def minute(self, weight_ppm: int) -> Minute:
        """Simulate the next minute with a share of the traffic at the candidate."""
        scenario, chance = self._scenario, self._random
        self._level = 0.9 * self._level + chance.normal(0, 0.15 * math.sqrt(1 - 0.81))
        drift = scenario.drift_per_h ** (self._at / 60)
        wanted = scenario.requests_per_s * 60 * drift
        number = int(chance.poisson(wanted))
        theirs = int(chance.binomial(number, weight_ppm / 1_000_000))
        healthy = replace(scenario, slower=1.0, error=0.001, dearer=1.0)
        candidate = scenario if self._at >= scenario.onset_minute else healthy
        arms = [
            self._arm("baseline", number - theirs, healthy, drift),
            self._arm("candidate", theirs, candidate, drift),
        ]
        p95 = tuple(float(np.quantile(one[1], 0.95)) if len(one[1]) else 0.0 for one in arms)
        slow = tuple(int((one[1] > self._before_us).sum()) for one in arms)
        known = self._before_us
        self._before_us = p95[0] if math.isinf(known) else 0.9 * known + 0.1 * p95[0]
        self._at += 1
        windows = [one[0] for one in arms]
        return Minute(
            windows[0],
            windows[1],
            (p95[0], p95[1]),
            (_share(windows[0].errors, windows[0]), _share(windows[1].errors, windows[1])),
            (
                _share(windows[0].cost_usd_micros, windows[0]),
                _share(windows[1].cost_usd_micros, windows[1]),
            ),
            (slow[0], slow[1]),
        )

    def _arm(self, arm: Arm, number: int, scenario: Scenario, drift: float):
        index = 0 if arm == "baseline" else 1
        chance = self._random
        own = scenario.arm_noise
        self._arm_levels[index] = 0.9 * self._arm_levels[index] + chance.normal(
            0, own * math.sqrt(1 - 0.81)
        )
        level = math.exp(self._level + self._arm_levels[index]) * drift * scenario.slower
        drawn = chance.integers(0, len(self._requests.latency_us), number)
        factors = chance.lognormal(0, 0.2, number)
        latency = self._requests.latency_us[drawn] * factors * level
        failed = chance.random(number) < scenario.error
        costs = np.rint(self._requests.cost_micros[drawn] * scenario.dearer).astype(np.int64)
        answered = latency[~failed]
        counts = np.bincount(np.searchsorted(EDGES, answered, side="right") - 1)
        used = np.flatnonzero(counts)
        start = self._at * WINDOW_MS
        window = Window(
            *(TenantId("BENCH"), OperationId("bench"), arm, DeploymentId(arm)),
            start_ms=Milliseconds(start),
            end_ms=Milliseconds(start + WINDOW_MS),
            requests=number,
            errors=int(failed.sum()),
            cost_usd_micros=UsdMicros(int(costs.sum())),
            cost_squares=int((costs * costs).sum()),
            latency=Histogram(tuple(used.tolist()), tuple(counts[used].tolist())),
        )
        return window, answered


def _share(value: int, window: Window) -> float:
    return value / window.requests if window.requests else 0.0
