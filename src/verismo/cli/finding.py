"""One line of the doctor's report."""

from typing import Literal

import msgspec

Level = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """One line of the doctor's report.

    Args:
        level: `fail` makes the exit code 1.
        what: what was looked at.
        detail: what was found.
        next_step: what to do; empty if nothing need be done.
    """

    level: Level
    what: str
    detail: str
    next_step: str = ""
