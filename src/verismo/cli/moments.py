"""Times on the command line: a moment of the past, named or by how long ago it is."""

from datetime import UTC, datetime
from typing import Final

import click

from verismo.cli.options import Lifetime

_FORMATS: Final = ("%Y-%m-%d", "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%MZ")


class Moment(click.ParamType[int]):
    """A moment such as `24h` ago or `2026-11-22T15:00Z`, as Unix ms.

    Durations are negative, so that they can be told apart before the clock is read.
    """

    name = "time"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return Unix ms, or a negative number of ms ago."""
        text = str(value)
        for form in _FORMATS:
            try:
                found = datetime.strptime(text, form).replace(tzinfo=UTC)
            except ValueError:
                continue
            return int(found.timestamp()) * 1_000
        try:
            return -Lifetime().convert(text, param, ctx)
        except click.BadParameter:
            self.fail(
                f"{value!r} is no time such as 24h (ago), 2026-11-22 or 2026-11-22T15:00Z (UTC)",
                param,
                ctx,
            )


def since(moment_ms: int | None, now_ms: int) -> int:
    """Return the Unix ms that a `Moment` means.

    Args:
        moment_ms: as converted; None for the beginning.
        now_ms: Unix ms.
    """
    if moment_ms is None:
        return 0
    return now_ms + moment_ms if moment_ms < 0 else moment_ms
