"""Draws the controllers' tables of docs/performance.md: `plots.py [PAGE] [--out FOLDER]`.

A figure holds what the table beside it holds, and no other number. The same tables give the same
bytes: no date, a fixed salt for names, and the fonts that come with matplotlib. Figures have a
white ground, so that they are read on dark pages too; colours are those of Okabe and Ito, and no
two series differ by colour alone.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from machine import ROOT
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
STYLE: Mapping[str, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "verismo",
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
}
INK = "#333333"
SIZE = 7.0
OFFSETS = (0.27, 0.09, -0.09, -0.27)
"""Of the series of one row, so that none hides another."""

PEERS = ("Kayenta-like", "Flagger-like", "peeking")
Row = Mapping[str, str]


@dataclass(frozen=True)
class Mark:
    """How a series looks: by shape and colour, never by colour alone."""

    shape: str
    colour: str

    def draw(
        self, axes: Axes, x: float, y: float, *, label: str = "", hollow: bool = False
    ) -> None:
        """Put one point on the axes."""
        inside = "white" if hollow else self.colour
        axes.plot(
            [x], [y], self.shape, color=self.colour, markerfacecolor=inside, markersize=SIZE,
            markeredgewidth=1.4, linestyle="", label=label, clip_on=False, zorder=3,
        )  # fmt: skip


OWN = Mark("o", "#0072b2")
OTHERS = (Mark("s", "#d55e00"), Mark("^", "#009e73"), Mark("D", "#cc79a7"), Mark("v", "#e69f00"))


def rows_of(page: str, name: str) -> list[Row]:
    """Return the rows of the table between a name's marks, by heading.

    Of two columns with one heading the second is called by the heading before it and its own.

    Raises:
        LookupError: there is no such table; `document.py` writes it from a run.
    """
    part = page.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    lines = [line.strip("| ").split("|") for line in part.splitlines() if line.startswith("|")]
    if len(lines) < 3:
        raise LookupError(f"no table of {name}")
    heading = [cell.strip() for cell in lines[0]]
    keys = [
        f"{heading[n - 1]} {cell}" if heading.count(cell) > 1 else cell
        for n, cell in enumerate(heading)
    ]
    return [dict(zip(keys, (cell.strip() for cell in line), strict=True)) for line in lines[2:]]


def number(cell: str) -> float:
    """Return a cell as a number.

    Raises:
        ValueError: it is a dash; what was not measured is not drawn.
    """
    return float(cell.replace(",", ""))


def canary_peers(rows: Sequence[Row]) -> Figure:
    """Draw how often each rule stops a candidate at a fixed split."""
    shown = [row for row in rows if row[PEERS[0]] != "-"]
    names = {"HOLD": "Verismo", **{name: name for name in PEERS}}
    marks = (OWN, *OTHERS)
    figure = Figure(figsize=(8.2, 3.9), layout="constrained")
    axes = figure.subplots()
    for y, row in enumerate(reversed(shown)):
        for off, mark, (rule, name) in zip(OFFSETS, marks, names.items(), strict=False):
            mark.draw(axes, number(row[rule]), y + off, label="" if y else name)
    label_rows(axes, [row["scenario"] for row in reversed(shown)])
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of candidates stopped within an hour")
    axes.set_title(
        f"Stopped by each rule, both arms alike, {shown[0]['runs']} runs a row\n"
        "First row: an equal candidate, 0 is right; the others are worse, 1 is right"
    )
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def canary_ladder(rows: Sequence[Row]) -> Figure:
    """Draw how often and when the canary stops a candidate on the ladder."""
    shown = [row for row in rows if row["scenario"].startswith("ladder: ")]
    figure = Figure(figsize=(8.2, 3.4), layout="constrained")
    shares, times = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for y, row in enumerate(reversed(shown)):
        for mark, verdict, off in ((OWN, "HOLD", 0.12), (OTHERS[0], "PROMOTE first", -0.12)):
            share, bound = number(row[verdict]), number(row[f"{verdict} bound"])
            shares.plot([share, bound], [y + off] * 2, color=mark.colour, linewidth=2)
            named = {"HOLD": "held", "PROMOTE first": "promoted first, one rung or more"}[verdict]
            mark.draw(shares, share, y + off, label=named if y == 0 else "")
        if row["median minutes to HOLD"] != "-":
            minutes = number(row["median minutes to HOLD"])
            times.barh(y, minutes, height=0.5, color=OWN.colour)
            times.annotate(
                row["median minutes to HOLD"], (minutes, y), (3, 0),
                textcoords="offset points", va="center", color=INK,
            )  # fmt: skip
    label_rows(shares, [row["scenario"].removeprefix("ladder: ") for row in reversed(shown)])
    goal(shares, 0.05, "5 %")
    shares.set_xlim(0, 1)
    shares.set_xlabel("share of rollouts; line: upper 95 % bound")
    shares.set_title(f"Verdicts over the ladder 5, 20, 50, 100 %\n{shown[0]['runs']} runs a row")
    times.set_xlabel("minutes, of those held")
    times.set_title("Median minutes to HOLD\nwindows of one minute")
    times.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def budget_rules(rows: Sequence[Row]) -> Figure:
    """Draw what each rule throttles wrongly, sheds and finds, on the held-out tenants."""
    shown = [row for row in reversed(rows) if row["tenants"] == "held-out"]
    figure = Figure(figsize=(9.2, 3.9), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    pairs = (
        (("false mean", "mean"), ("false p90 tenant", "90th percentile of tenants"), (0.05,)),
        (("shed median", "median of tenants"), ("shed mean", "mean"), (0.02,)),
        (("x5", "5 times the usual"), ("x2", "twice the usual"), (0.65, 0.95)),
    )
    for axes, (solid, hollow, goals) in zip(panels, pairs, strict=True):
        for y, row in enumerate(shown):
            mark = OWN if row["rule"].startswith("verismo") else OTHERS[0]
            values = [number(row[key]) for key, _ in (solid, hollow)]
            axes.plot(values, [y, y], color=mark.colour, linewidth=1.4)
            mark.draw(axes, values[0], y)
            mark.draw(axes, values[1], y, hollow=True)
        axes.set_xlabel(f"filled: {solid[1]}\nhollow: {hollow[1]}")
        for at in goals:
            goal(axes, at, f"{at:.0%}".replace("%", " %"))
    label_rows(panels[0], [row["rule"] for row in shown])
    for axes in panels[:2]:
        axes.set_xlim(left=0)
    panels[2].set_xlim(0, 1)
    panels[0].set_title("Throttled wrongly\nshare of a tenant's hours")
    panels[1].set_title("Shed in the second week\nshare of what was offered")
    panels[2].set_title("Planted runaways throttled\nshare within 120 s")
    return figure


def scaling_cost(rows: Sequence[Row]) -> Figure:
    """Draw violating minutes over replica-hours by scaler, on the held-out days."""
    held = [row for row in rows if row["days"].startswith("held out")]
    workloads = list(dict.fromkeys(row["workload"] for row in held))
    colds = list(dict.fromkeys(row["cold s"] for row in held))
    names = list(dict.fromkeys(row["scaler"] for row in held if row["scaler"] != "guard"))
    marks = {**dict(zip(names, OTHERS, strict=True)), "guard": OWN}
    figure = Figure(figsize=(10.5, 5.2), layout="constrained")
    grid = figure.subplots(len(colds), len(workloads), squeeze=False)
    hours = [number(row["to HPA's h"]) for row in held]
    for down, cold in enumerate(colds):
        for across, workload in enumerate(workloads):
            axes = grid[down, across]
            cell = [row for row in held if (row["workload"], row["cold s"]) == (workload, cold)]
            for row in cell:
                label = row["scaler"] if down == across == 0 else ""
                place = [number(row[key]) for key in ("to HPA's h", "violating min")]
                marks[row["scaler"]].draw(axes, *place, label=label)
            most = max(number(row["violating min"]) for row in cell)
            axes.set_ylim(0, max(most * 1.1, 5))
            axes.set_xlim(min(hours) - 0.05, max(hours) + 0.05)
            axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
            axes.set_title(f"{workload}, start {cold} s\nof {cell[0]['of min']} min")
        grid[down, 0].set_ylabel("violating minutes")
    grid[-1, len(workloads) // 2].set_xlabel("replica-hours, plain HPA = 1")
    figure.legend(loc="outside lower center", ncols=5)
    return figure


def goal(axes: Axes, at: float, label: str) -> None:
    """Draw the line that was to be reached."""
    axes.axvline(at, color=INK, linewidth=0.9, linestyle="--", zorder=2)
    axes.annotate(
        label, (at, 1), (2, -1), xycoords=("data", "axes fraction"),
        textcoords="offset points", va="top", color=INK, fontsize=8,
    )  # fmt: skip


def label_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows at the left, from the bottom."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.3)
    axes.tick_params(axis="y", length=0)


FIGURES = {
    "canary-peers": ("canary", canary_peers),
    "canary-ladder": ("canary", canary_ladder),
    "budget-rules": ("budget", budget_rules),
    "scaling-cost": ("scaling", scaling_cost),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("page", type=Path, nargs="?", default=PAGE)
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the figures")
    asked = parser.parse_args()
    page = asked.page.read_text(encoding="utf-8")
    for name, (table, draw) in FIGURES.items():
        with mpl.rc_context(STYLE):
            figure = draw(rows_of(page, table))
            unnamed = {"Date": None, "Creator": None, "Title": name}
            figure.savefig(asked.out / f"{name}.svg", metadata=unnamed)


if __name__ == "__main__":
    main()
