"""The scaling guard beside plain HPA, HPA with a gap, HPA with stabilisation and KPA, simulated.

Rates are those of the ServeGen workloads. Days 1 to 9 were used to choose the guard's settings;
days 11 to 14 were not, and are what the contract keys are about. The four others are
re-implementations of the published rules in one configuration each, untuned. Targets are simulated
second by second; every scaler meets the same arrivals, drawn with the stated seeds.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness import results
from harness.cluster import Scaler, Target, gaps_below, late_minutes, reversals
from harness.machine import cores, describe, versions
from harness.scalers import GAP_S, Hpa, Kpa, guard
from harness.servegen import DAY_S, Rates, aggregate_rates, arrivals
from harness.table import Value

TRACES = Path(__file__).parents[2] / "shared" / "traces" / "adapt"
LEARNING_S = 3_600
"""Before what is counted: nobody starts with a size that fits."""
LONG = ("m-mid", "m-large", "m-small")
SHORT = ("mm-image", "deepseek-r1")
"""Workloads with one day in the trace; none of it was used to choose anything."""
COLUMNS = {
    "days": "days",
    "workload": "workload",
    "cold_s": "cold s",
    "name": "scaler",
    "late_minutes": "violating min",
    "minutes": "of min",
    "vs_hpa": "to HPA's",
    "vs_hpa_gap": "to HPA + gap's",
    "replica_hours": "replica-h",
    "hours_vs_hpa": "to HPA's h",
    "actions": "actions",
    "gap_breaches": "< 120 s apart",
    "reversals": "reversals < 10 min",
}


@dataclass(frozen=True)
class Sizes:
    """What is measured.

    Args:
        long, short: workloads, as far as the trace has them.
        cold_s: seconds until a new replica serves.
        held_out: first and last day.
        tuned: the days that settings were chosen on; None leaves them out.
    """

    long: tuple[str, ...]
    short: tuple[str, ...]
    cold_s: tuple[int, ...]
    held_out: tuple[int, int]
    tuned: tuple[int, int] | None = None


FULL = Sizes(LONG, SHORT, (60, 180), (11, 14), (1, 9))
QUICK = Sizes(LONG, SHORT, (60, 180), (11, 12))
BRIEF = Sizes(LONG[:1], SHORT[1:], (180,), (11, 11))


@dataclass(frozen=True)
class Cell:
    """One workload on some days with one cold start."""

    kind: str
    workload: str
    first_day: int
    last_day: int
    cold_s: int

    @property
    def days(self) -> str:
        """As a reader says it."""
        return f"{self.kind} {self.first_day}-{self.last_day}"

    @property
    def seed(self) -> str:
        """Of the arrivals; the cold start does not change them."""
        return f"{self.workload}/{self.first_day}"


def scalers(cold_s: int) -> dict[str, Callable[[], Scaler]]:
    """Return who is compared, in the order of the table."""
    return {
        "HPA": Hpa,
        "HPA + gap": lambda: Hpa(gap_s=GAP_S),
        "HPA + stabilisation": lambda: Hpa(up_s=GAP_S),
        "KPA": Kpa,
        "guard": lambda: guard(cold_s),
    }


def main() -> None:
    parser = results.options(__doc__ or "")
    parser.add_argument("--traces", type=Path, default=TRACES, help="folder of the public traces")
    asked = parser.parse_args()
    file = asked.traces / "servegen" / "rates_10min.csv.gz"
    if not file.exists():
        results.note(f"skipped: {file} is not there; docs/adapt-scaling.md says what it is")
        sys.exit(77)
    machine = describe(cores())
    rates = aggregate_rates(file)
    sizes = results.sized(asked, full=FULL, quick=QUICK, brief=BRIEF)
    rows = [row for cell in cells(sizes, rates) for row in measure(cell, rates)]
    facts = {
        **contract(rows),
        "seeds": "crc32 of workload/first day, such as m-mid/11",
        "machine": machine,
        "versions": versions(),
    }
    results.publish(asked, COLUMNS, rows, facts)
    results.note(f"held-out days: {contract(rows)}")


def cells(sizes: Sizes, rates: Rates) -> list[Cell]:
    """Return what is measured, as far as the trace has it."""
    long = [name for name in sizes.long if name in rates]
    found = []
    for cold_s in sizes.cold_s:
        if sizes.tuned is not None:
            found += [Cell("tuned", name, *sizes.tuned, cold_s) for name in long]
        found += [Cell("held out", name, *sizes.held_out, cold_s) for name in long]
        found += [Cell("held out", name, 1, 1, cold_s) for name in sizes.short if name in rates]
    return sorted(found, key=lambda cell: (cell.kind, cell.workload, cell.cold_s))


def measure(cell: Cell, rates: Rates) -> list[dict[str, Value]]:
    """Run every scaler on the same arrivals."""
    begin_s = (cell.first_day - 1) * DAY_S
    length_s = (cell.last_day - cell.first_day + 1) * DAY_S
    came = arrivals(rates[cell.workload], begin_s, length_s, cell.seed)
    rows: list[dict[str, Value]] = []
    for name, scaler in scalers(cell.cold_s).items():
        target = Target(came, cell.cold_s, scaler())
        target.run()
        late, minutes = late_minutes(target, LEARNING_S)
        row: dict[str, Value] = {
            "days": cell.days,
            "workload": cell.workload,
            "cold_s": cell.cold_s,
            "name": name,
            "late_minutes": late,
            "minutes": minutes,
            "replica_hours": int(np.sum(target.asked[LEARNING_S:])) // 3_600,
            "actions": len(target.actions),
            "gap_breaches": gaps_below(target.actions, GAP_S),
            "reversals": reversals(target.actions),
        }
        rows.append(row)
        results.note(f"{cell.days} {cell.workload} {cell.cold_s} s {name}: {late} of {minutes} min")
    hpa, gap = rows[0], rows[1]
    for row in rows:
        row["vs_hpa"] = ratio(row["late_minutes"], hpa["late_minutes"])
        row["vs_hpa_gap"] = ratio(row["late_minutes"], gap["late_minutes"])
        row["hours_vs_hpa"] = ratio(row["replica_hours"], hpa["replica_hours"])
    return rows


def ratio(value: Value, of: Value) -> float | None:
    """Return a ratio; None where there is nothing to compare with."""
    if not isinstance(value, int) or not isinstance(of, int) or of == 0:
        return None
    return round(value / of, 3)


def contract(rows: list[dict[str, Value]]) -> dict[str, Value]:
    """Return the promised keys: sums over all held-out cells; gap breaches over all cells."""
    held = [row for row in rows if str(row["days"]).startswith("held out")]
    mine = [row for row in held if row["name"] == "guard"]
    hpa = [row for row in held if row["name"] == "HPA"]
    gap = [row for row in held if row["name"] == "HPA + gap"]
    behind = [
        f"{row['workload']}@{row['cold_s']}"
        for row, other in zip(mine, gap, strict=True)
        if int(row["late_minutes"] or 0) >= max(1, int(other["late_minutes"] or 0))
    ]
    return {
        "gap_breaches": total([row for row in rows if row["name"] == "guard"], "gap_breaches"),
        "violations_vs_hpa": ratio(total(mine, "late_minutes"), total(hpa, "late_minutes")),
        "violations_vs_hpa_gap": ratio(total(mine, "late_minutes"), total(gap, "late_minutes")),
        "replica_hours_vs_hpa": ratio(total(mine, "replica_hours"), total(hpa, "replica_hours")),
        "not_fewer_than_hpa_gap": ", ".join(behind) or "nowhere",
    }


def total(rows: list[dict[str, Value]], key: str) -> int:
    """Return the sum of a column."""
    return sum(int(row[key] or 0) for row in rows)


if __name__ == "__main__":
    main()
