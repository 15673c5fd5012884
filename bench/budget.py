"""How budgets tune themselves, on spend made from the ServeGen clients, beside other rules.

A week of history, then a week in which no breach is planted: every throttled tenant-hour of it is
counted as false, though real bursts are among them. Then runaway callers are planted, 20 minutes
each, at 2, 5 and 20 times the 95th percentile of the tenant's W60. Settings were chosen on the
development half of the tenants only; the held-out half has other tenants and another seed.
"""

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness import results
from harness.bounds import upper_bound
from harness.budgets import HISTORY, HOUR_BINS, DailyBudget, Ewma, Rule, Series, Stepped, series_of
from harness.machine import ROOT, cores, describe, versions
from harness.spending import Tenant, spend, tenants
from harness.table import Value
from verismo.adapt.budgetlimit import LimitSettings

TRACES = ROOT.parent / "shared" / "traces" / "adapt"
CAP = 2.5
LEVELS = (2, 5, 20)
INJECTIONS = 6
INJECTION_BINS = 120
BRIEF_SHARE = 8
"""The brief run has every eighth tenant."""
THROTTLED_S_MAX = 120
HALVES = {"development": 1, "held-out": 101}
"""With the first seed of each."""
AS_IN_NOTES = LimitSettings(
    kappa_ppm_min=1_500_000, kappa_ppm_max=1_500_000, ceiling_ppm=1_000_000_000
)
COLUMNS = {
    "name": "rule",
    "half": "tenants",
    "runs": "runs",
    "false_positive_mean": "false mean",
    "false_positive_bound": "bound",
    "false_positive_p90_tenant": "false p90 tenant",
    "tenants_over_5_pct": "tenants > 5 %",
    "shed_mean": "shed mean",
    "shed_median": "shed median",
    "throttled_x2_120s": "x2",
    "throttled_x5_120s": "x5",
    "throttled_x5_bound": "x5 lower bound",
    "throttled_x20_120s": "x20",
    "toggles_per_hour_max": "toggles/h max",
}


@dataclass(frozen=True)
class Run:
    """One tenant under one rule with one seed."""

    false_share: float
    shed_share: float
    toggles_per_hour_max: int
    throttled: dict[int, int]


def main() -> None:
    parser = results.options(__doc__ or "")
    parser.add_argument("--traces", type=Path, default=TRACES, help="folder of the public traces")
    parser.add_argument(
        "--cap", type=float, default=CAP, help="static cap above the tuned limit, times P99"
    )
    asked = parser.parse_args()
    folder = asked.traces / "servegen"
    facts = {"machine": describe(cores()), "versions": versions()}
    if not folder.is_dir():
        results.note(f"left out: no traces in {folder}; name their folder with --traces")
        results.publish(asked, COLUMNS, [], facts | {"missing": {"servegen": str(folder)}})
        return
    everyone = tenants(folder)
    step = results.sized(asked, full=2, quick=2, brief=2 * BRIEF_SHARE)
    halves = {"development": everyone[0::step], "held-out": everyone[1::step]}
    seeds = results.sized(asked, full=3, quick=1, brief=1)
    rows = [
        row_of(name, half, [run for tenant in chosen for run in runs_of(rule, tenant, half, seeds)])
        for name, rule in rules(asked).items()
        for half, chosen in halves.items()
    ]
    publish(asked, rows, facts | {"tenants": {name: len(half) for name, half in halves.items()}})


def rules(asked: argparse.Namespace) -> dict[str, Rule]:
    """Return the rules under test; smaller runs leave out the second learner."""
    found: dict[str, Rule] = {
        "static 2 x P99": Stepped(2),
        f"static {asked.cap:g} x P99": Stepped(asked.cap),
        "daily budget, 1.3 x dearest day": DailyBudget(),
        "EWMA z=4": Ewma(),
        f"verismo, cap {asked.cap:g} x P99": Stepped(asked.cap, LimitSettings()),
    }
    if results.sized(asked, full=True, quick=False, brief=False):
        found["one kappa of 1.5, cap 2 x P99"] = Stepped(2, AS_IN_NOTES)
    return found


def publish(
    asked: argparse.Namespace, rows: list[dict[str, Value]], facts: dict[str, object]
) -> None:
    """Print the table; the contract's numbers are those of the held-out half."""
    own = [row for row in rows if str(row["name"]).startswith("verismo")]
    held_out = next(row for row in own if row["half"] == "held-out")
    contract = {key: value for key, value in held_out.items() if key not in ("name", "half")}
    stated = {"seeds": HALVES, "injections": INJECTIONS, "settings": repr(LimitSettings())}
    results.publish(asked, COLUMNS, rows, {**contract, **stated, **facts})


def runs_of(rule: Rule, tenant: Tenant, half: str, seeds: int) -> list[Run]:
    """Run one tenant with each seed."""
    return [run_of(rule, tenant, HALVES[half] + n) for n in range(seeds)]


def run_of(rule: Rule, tenant: Tenant, seed: int) -> Run:
    """Run a rule over one tenant's week, then plant the runaway callers."""
    series = series_of(spend(tenant, seed))
    done = rule.run(series)
    hours = done.throttled.reshape(-1, HOUR_BINS).any(axis=1)
    total = float(series.bins[HISTORY:].sum())
    toggles = np.flatnonzero(np.diff(done.throttled.astype(int)))
    within = np.searchsorted(toggles, toggles + HOUR_BINS) - np.arange(len(toggles))
    free = np.flatnonzero(~done.throttled)
    free = free[(free > 60) & (free < len(done.throttled) - INJECTION_BINS)]
    chance = np.random.default_rng([seed, 7])
    starts = chance.choice(free, INJECTIONS) + HISTORY if len(free) else []
    usual = float(np.percentile(series.short[:HISTORY], 95))
    return Run(
        float(hours.mean()),
        1 - float(done.admitted.sum()) / total if total else 0.0,
        int(within.max(initial=0)),
        {level: caught(rule, series, starts, int(level * usual / 6)) for level in LEVELS},
    )


def caught(rule: Rule, series: Series, starts: list[int], extra: int) -> int:
    """Count the injections that are throttled within 120 s."""
    times = [rule.seconds_to_throttle(series, int(at), extra, INJECTION_BINS) for at in starts]
    return sum(time is not None and time <= THROTTLED_S_MAX for time in times)


def row_of(name: str, half: str, runs: list[Run]) -> dict[str, Value]:
    """Return the figures of one rule on one half; shares are of 1."""
    false = np.array([run.false_share for run in runs])
    sheds = [run.shed_share for run in runs]
    planted = INJECTIONS * len(runs)
    hits = {level: sum(run.throttled[level] for run in runs) for level in LEVELS}
    drawn = np.random.default_rng(9).choice(false, (2_000, len(false))).mean(axis=1)
    return {
        "name": name,
        "half": half,
        "runs": len(runs),
        "false_positive_mean": round(float(false.mean()), 4),
        "false_positive_bound": round(float(np.percentile(drawn, 95)), 4),
        "false_positive_p90_tenant": round(float(np.percentile(false, 90)), 4),
        "tenants_over_5_pct": round(float((false > 0.05).mean()), 3),
        "shed_mean": round(statistics.mean(sheds), 4),
        "shed_median": round(statistics.median(sheds), 4),
        "shed_below_2_pct": round(float(np.mean(np.array(sheds) < 0.02)), 3),
        "throttled_x5_bound": round(1 - upper_bound(planted - hits[5], planted), 3),
        "toggles_per_hour_max": max(run.toggles_per_hour_max for run in runs),
        **{f"throttled_x{level}_120s": round(count / planted, 3) for level, count in hits.items()},
    }


if __name__ == "__main__":
    main()
