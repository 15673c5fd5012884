"""What several commands share: their options, tables for people, times for people."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., object])

_UNITS_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_LIFETIME_MS_MAX: Final = 100 * 366 * 86_400_000
"""A lifetime over a century is a slip of the keyboard."""


class Lifetime(click.ParamType[int]):
    """A duration such as `90d`, as milliseconds."""

    name = "duration"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return milliseconds for a number with a unit: m, h, d or w."""
        match = re.fullmatch(r"([1-9][0-9]{0,9})([mhdw])", str(value))
        if match is None:
            self.fail(f"{value!r} is not a duration such as 30m, 12h, 90d or 52w", param, ctx)
        milliseconds = int(match[1]) * _UNITS_MS[match[2]]
        if milliseconds > _LIFETIME_MS_MAX:
            self.fail(f"{value!r} is over a hundred years", param, ctx)
        return milliseconds


def config_option(command: Command) -> Command:
    """Add `-c/--config FILE`; the command takes it as `config`."""
    return click.option(
        "-c",
        "--config",
        "config",
        type=click.Path(path_type=Path),
        default=Path("verismo.toml"),
        show_default=True,
        help="The configuration file.",
    )(command)


def json_option(command: Command) -> Command:
    """Add `--json`; the command takes it as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")(command)


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out under a header; what cannot be printed (client text!) becomes `?`."""
    cells = [[printable(cell) or "-" for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
    return "\n".join(lines)


def moment(time_ms: int) -> str:
    """Spell a time for people: UTC to the minute; empty for 0."""
    if time_ms == 0:
        return ""
    return datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%MZ")


def printable(text: str) -> str:
    """Return a client's text with everything that a terminal might obey replaced by `?`."""
    return "".join(character if character.isprintable() else "?" for character in text)
