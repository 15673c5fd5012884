"""How the canary decides, on simulated traffic, beside other rules.

Each run has its own seed. First the whole ladder (5, 20, 50, 100 %) with traffic that drifts and
arms that differ by noise; then a fixed split with both arms alike, where the comparators see the
same minutes. `bound` is the upper 95 % bound (Clopper and Pearson) of the share before it.
"""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from harness import results
from harness.bounds import upper_bound
from harness.canarypeers import flagger_like, kayenta_like, peeking
from harness.canarytraffic import (
    TRACES,
    WINDOW_MS,
    Minute,
    Requests,
    Scenario,
    Traffic,
    requests_of,
)
from harness.machine import cores, describe, versions
from harness.table import Value
from verismo.adapt.canary import decide
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapt.canarysettings import CanarySettings
from verismo.adapt.canarystate import start
from verismo.model.decision import Subject

FIRST_SEED = 41_000
LADDER = CanarySettings()
FIXED = CanarySettings(ladder_ppm=(500_000, 1_000_000))
WATCHED = CanarySettings(ladder_ppm=(500_000, 1_000_000), windows_min=1_000)
NOISE = {"drift_per_h": 2.0, "arm_noise": 0.03}
LADDER_ROWS = (
    Scenario("ladder: none, drift, noise", **NOISE),
    Scenario("ladder: p95 +20 %, the harm", slower=1.2, **NOISE),
    Scenario("ladder: errors +0.5 pp, the harm", error=0.006, **NOISE),
    Scenario("ladder: cost +10 %, the harm", dearer=1.1, **NOISE),
    Scenario("ladder: p95 +10 %", slower=1.1, **NOISE),
)
FIXED_ROWS = (
    Scenario("none, noise 3 %", 10.0, arm_noise=0.03),
    Scenario("p95 +10 %", 10.0, slower=1.1),
    Scenario("p95 +20 %", 10.0, slower=1.2),
    Scenario("errors 0.1 to 1 %, 1/s", 2.0, error=0.01),
    Scenario("cost +10 %", 10.0, dearer=1.1),
)
LATE = Scenario("p95 +50 % from minute 30", 10.0, slower=1.5, onset_minute=30)
MINUTES_MAX = 60
LADDER_MINUTES_MAX = 120
COLUMNS = {
    "name": "scenario",
    "runs": "runs",
    "hold": "HOLD",
    "hold_bound": "bound",
    "promote": "PROMOTE first",
    "promote_bound": "bound",
    "done": "at 100 %",
    "minutes": "median minutes to HOLD",
    "requests": "median requests",
    "kayenta_like": "Kayenta-like",
    "flagger_like": "Flagger-like",
    "peeking": "peeking",
}


@dataclass(frozen=True)
class Run:
    """How one rollout went; minutes from 1, None where it did not happen."""

    held_at: int | None
    requests: int
    has_promoted: bool
    is_done: bool
    look_ms: list[float]


def main() -> None:
    parser = results.options(__doc__ or "")
    parser.add_argument("--traces", type=Path, default=TRACES, help="folder of the public traces")
    asked = parser.parse_args()
    runs = results.sized(asked, full=300, quick=24, brief=4)
    requests = requests_of(asked.traces)
    look_ms: list[float] = []
    rows: list[dict[str, Value]] = []
    cells: dict[str, list[Run]] = {}
    for scenario in LADDER_ROWS:
        cells[scenario.name] = [
            roll_out(Traffic(scenario, requests, seed), LADDER, LADDER_MINUTES_MAX)
            for seed in seeds(runs)
        ]
        rows.append(row_of(scenario, cells[scenario.name]))
    for scenario, settings in [*((one, FIXED) for one in FIXED_ROWS), (LATE, WATCHED)]:
        cells[scenario.name] = []
        fails = {rule.__name__: 0 for rule in (kayenta_like, flagger_like, peeking)}
        for seed in seeds(runs):
            minutes = watch(scenario, requests, seed)
            cells[scenario.name].append(roll_out(Recorded(minutes), settings, MINUTES_MAX))
            for rule in (kayenta_like, flagger_like, peeking):
                fails[rule.__name__] += rule(minutes) is not None
        shares = {name: results.rounded(count / runs) for name, count in fails.items()}
        rows.append(row_of(scenario, cells[scenario.name]) | shares)
    for cell in cells.values():
        look_ms += [one for run in cell for one in run.look_ms]
    facts = {
        **contract(cells),
        "look_ms_median": results.rounded(statistics.median(look_ms)),
        "look_ms_p99": results.rounded(sorted(look_ms)[len(look_ms) * 99 // 100]),
        "seeds": [FIRST_SEED, FIRST_SEED + runs - 1],
        "requests_from": requests.source,
        "machine": describe(cores()),
        "versions": versions(),
    }
    results.publish(asked, COLUMNS, rows, facts)


class Recorded:
    """Minutes that were simulated before, played at the split they were made for."""

    def __init__(self, minutes: list[Minute]) -> None:
        self._left = iter(minutes)

    def minute(self, weight_ppm: int) -> Minute | None:
        """Return the next one; None at the end or where the rule wants another split."""
        return next(self._left, None) if weight_ppm == FIXED.ladder_ppm[0] else None


def watch(scenario: Scenario, requests: Requests, seed: int) -> list[Minute]:
    """Simulate an hour at a fixed split."""
    traffic = Traffic(scenario, requests, seed)
    return [traffic.minute(FIXED.ladder_ppm[0]) for _ in range(MINUTES_MAX)]


def roll_out(traffic: Traffic | Recorded, settings: CanarySettings, minutes_max: int) -> Run:
    """Let the canary decide until the first HOLD or ROLLBACK, or until it is done."""
    state = start(Subject("BENCH", "bench", "baseline", "candidate"), settings, 0)
    count, has_promoted, look_ms = 0, False, []
    for at in range(1, minutes_max + 1):
        minute = traffic.minute(state.weight_ppm)
        if minute is None:
            break
        count += minute.candidate.requests
        shown = CanaryObservation(minute.baseline, minute.candidate)
        began = time.thread_time()
        decision = decide(state, shown, settings, at * WINDOW_MS)
        look_ms.append(1_000 * (time.thread_time() - began))
        state = decision.state
        if decision.verdict in ("HOLD", "ROLLBACK"):
            return Run(at, count, has_promoted, False, look_ms)
        has_promoted = has_promoted or decision.verdict == "PROMOTE"
        if state.ended:
            break
    return Run(None, count, has_promoted, state.ended == "promoted", look_ms)


def seeds(runs: int) -> range:
    """Return the seeds of a cell."""
    return range(FIRST_SEED, FIRST_SEED + runs)


def row_of(scenario: Scenario, cell: list[Run]) -> dict[str, Value]:
    """Return a cell as a row of the table."""
    held = [run for run in cell if run.held_at is not None]
    promoted = sum(run.has_promoted for run in cell)
    minutes = [run.held_at for run in held if run.held_at is not None]
    return {
        "name": scenario.name,
        "runs": len(cell),
        "hold": results.rounded(len(held) / len(cell)),
        "hold_bound": results.rounded(upper_bound(len(held), len(cell))),
        "promote": results.rounded(promoted / len(cell)),
        "promote_bound": results.rounded(upper_bound(promoted, len(cell))),
        "done": results.rounded(sum(run.is_done for run in cell) / len(cell)),
        "minutes": statistics.median(minutes) if minutes else None,
        "requests": statistics.median(run.requests for run in held) if held else None,
    }


def contract(cells: dict[str, list[Run]]) -> dict[str, object]:
    """Return the figures that other programs read."""
    calm, p95, errors, cost, slower = (cells[one.name] for one in LADDER_ROWS)
    held = sum(run.held_at is not None for run in calm)
    harms = [sum(run.has_promoted for run in cell) for cell in (p95, errors, cost)]
    early = sum(run.held_at is not None and run.requests <= 1_000 for run in p95)
    minutes = [run.held_at for run in slower if run.held_at is not None]
    _, _, _, failing, dear = (cells[one.name] for one in FIXED_ROWS)
    return {
        "false_hold": held / len(calm),
        "false_hold_bound": upper_bound(held, len(calm)),
        "false_promote": max(harms) / len(calm),
        "false_promote_bound": upper_bound(max(harms), len(calm)),
        "hold_p95_plus20": early / len(p95),
        "hold_p95_plus20_bound": 1 - upper_bound(len(p95) - early, len(p95)),
        "median_minutes_p95_plus10": statistics.median(minutes) if minutes else None,
        "hold_errors_45_minutes": share_held(failing, 45),
        "hold_cost_60_minutes": share_held(dear, 60),
        "hold_late_3_looks": share_held(cells[LATE.name], LATE.onset_minute + 3),
    }


def share_held(cell: list[Run], minutes_max: int) -> float:
    """Return the share of runs that were held within some minutes."""
    return sum(run.held_at is not None and run.held_at <= minutes_max for run in cell) / len(cell)


if __name__ == "__main__":
    main()
