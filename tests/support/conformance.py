"""docs/conformance.md: tests compare what they find with it, or note it so that it is written."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from scripts.conformance import NOTES, PAGE, VERDICTS, Note, Table, tables


def conforms(section: str, found: Table) -> None:
    """Compare what a test found with the page's table; or note it, where that is asked for.

    Args:
        section: heading of the table.
        found: the cells that the test knows, of every row of the table.
    """
    rows = {label: dict(cells) for label, cells in found.items()}
    notes = os.environ.get(NOTES)
    if notes is not None:
        test = os.environ["PYTEST_CURRENT_TEST"].split(" ")[0]
        with Path(notes).open("ab") as file:
            file.write(msgspec.json.encode(Note(section, test, rows)) + b"\n")
        return
    stated = tables(PAGE.read_text(encoding="utf-8")).get(section, {})
    told = {
        label: {name: value for name, value in cells.items() if name in rows.get(label, {})}
        for label, cells in stated.items()
    }
    assert told == rows, f"docs/conformance.md, {section}: run `make conformance`"


def counted(names: Iterable[str], group_of: Callable[[str], str], column: str) -> Table:
    """Return how many of the names there are in each group, and in all.

    Args:
        names: of the cases to be counted.
        group_of: the row of a case.
        column: where the numbers stand.
    """
    counts = Counter(group_of(name) for name in names)
    rows = {group: {column: count} for group, count in sorted(counts.items())}
    return {**rows, "all": {column: counts.total()}}


def joined(*parts: Table) -> Table:
    """Return tables side by side; a cell that stands in none of them is 0."""
    labels = dict.fromkeys(label for part in parts for label in part if label != "all")
    columns = dict.fromkeys(column for part in parts for cells in part.values() for column in cells)
    return {
        label: {
            column: sum(part.get(label, {}).get(column, 0) for part in parts) for column in columns
        }
        for label in (*labels, "all")
    }


def by_verdict(verdicts: dict[str, str], group_of: Callable[[str], str]) -> Table:
    """Return how many cases of each group have which verdict."""
    return joined(
        *(
            counted((name for name, one in verdicts.items() if one == verdict), group_of, verdict)
            for verdict in VERDICTS
        )
    )
