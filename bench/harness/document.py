"""Fills the tables of docs/performance.md from results: `document.py FILE.json ...`.

Each file's name says which table it is for: `gateway.json` goes between `<!-- gateway -->` and
`<!-- /gateway -->`. So every number in that page was written by the run that it names.
"""

import json
import re
import sys
from pathlib import Path

from machine import ROOT
from table import table

PAGE = ROOT / "docs" / "performance.md"


def filled(page: str, name: str, lines: list[str]) -> str:
    """Return the page with what stands between a name's marks replaced.

    Raises:
        LookupError: the page has no such marks.
    """
    marks = (f"<!-- {name} -->", f"<!-- /{name} -->")
    if not all(page.count(mark) == 1 for mark in marks):
        raise LookupError(f"{PAGE.name} has no place for {name}: {marks[0]} ... {marks[1]}")
    before, _, rest = page.partition(marks[0])
    after = rest.partition(marks[1])[2]
    return "\n".join([before + marks[0], "", *lines, "", marks[1] + after])


def lines_of(result: dict[str, dict]) -> list[str]:
    """Return a result as Markdown: command, table, ratios, single figures, machine, versions."""
    lines = [f"`{result['command']}`", "", *table(result["columns"], result["rows"]), ""]
    for name, by_load in result.get("ratios", {}).items():
        said = ", ".join(f"{load} {ratio:g}" for load, ratio in by_load.items())
        lines.append(f"- {name}: {said}")
    for name, why in result.get("missing", {}).items():
        lines.append(f"- {name} was not measured: {why.splitlines()[0]}")
    facts = {name: is_ for name, is_ in result.items() if isinstance(is_, int | float | str)}
    said = ", ".join(f"{name} {shown(is_)}" for name, is_ in facts.items() if name != "command")
    if said:
        lines.append(f"- figures: {said}")
    for title in ("machine", "versions"):
        said = ", ".join(f"{name.replace('_', ' ')} {is_}" for name, is_ in result[title].items())
        lines.append(f"- {title}: {said}")
    return lines


def shown(value: str | float) -> str:
    """Return a single figure as it is read: four significant digits, or its words."""
    return f"`{value}`" if isinstance(value, str) else f"{value:.4g}"


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in sys.argv[1:]:
        file = Path(name)
        result = json.loads(file.read_text(encoding="utf-8"))
        page = filled(page, re.sub(r"[^a-z]", "", file.stem), lines_of(result))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
