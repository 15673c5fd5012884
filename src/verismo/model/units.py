"""Units as types, so that a milliseconds value cannot be passed where micro-dollars are meant."""

from datetime import UTC, datetime
from typing import NewType

Milliseconds = NewType("Milliseconds", int)
"""A duration, or a time since the Unix epoch, in whole milliseconds."""

UsdMicros = NewType("UsdMicros", int)
"""Money in millionths of a US dollar. Never a float: it is signed (decisions 1)."""

Ppm = NewType("Ppm", int)
"""A ratio in millionths, 0 to 1,000,000."""


def moment_utc(time_ms: int) -> str:
    """Spell a time for people, UTC to the millisecond.

    Args:
        time_ms: Unix ms; may be anything that somebody signed.

    Returns:
        `2026-11-22 17:01:22.882Z`, or the number where no calendar has that time.
    """
    try:
        spelled = datetime.fromtimestamp(time_ms // 1_000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms after 1970"
    return f"{spelled:%Y-%m-%d %H:%M:%S}.{time_ms % 1_000:03d}Z"
