"""Rows of values as a Markdown table, for the terminal and for the page."""

from collections.abc import Mapping, Sequence

Value = str | int | float | None
Row = Mapping[str, Value]


def table(columns: Mapping[str, str], rows: Sequence[Row]) -> list[str]:
    """Return rows as the lines of a Markdown table; a missing value is a dash.

    Args:
        columns: headings by key; a column without any value is left out.
        rows: values by key.
    """
    used = {key: heading for key, heading in columns.items() if any(key in row for row in rows)}
    cells = [[_cell(row.get(key)) for key in used] for row in rows]
    widths = [
        max(len(text) for text in (heading, *(line[index] for line in cells)))
        for index, heading in enumerate(used.values())
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [_line(list(used.values()), widths), rule, *(_line(line, widths) for line in cells)]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "| " + " | ".join(padded) + " |"


def _cell(value: Value) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else value
