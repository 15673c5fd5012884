"""How long an archived object may not be changed, and what an upload proved about it.

Seven years are seven calendar years: 7 x 365 days would be short by the leap days.
"""

import calendar
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import msgspec

LockMode = Literal["COMPLIANCE", "GOVERNANCE"]
"""S3 Object Lock's two modes: nobody may shorten the first; the second yields to a right."""
Enforcement = Literal["object-lock", "folder"]
"""Who keeps the lock: the object store, or a folder that whoever owns it can still empty."""

MS_PER_DAY = 86_400_000
YEARS = 7
EXTRA_DAYS = 8
"""So that the lock outlasts clock differences, a late rollup and a week's notice."""


class Lock(msgspec.Struct, frozen=True):
    """A lock to be put on an object.

    Args:
        mode: `COMPLIANCE`, or `GOVERNANCE` in staging.
        until_ms: the object may not be changed or deleted before; Unix ms, whole seconds.
    """

    mode: LockMode
    until_ms: int


class UploadProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was read back of an object after it was stored.

    Args:
        name: of the object within the archive.
        sha256: hex digest that the store gave for its content.
        bytes: its size.
        version: the store's name for exactly this content; empty where a store has no versions.
        mode: the lock's mode.
        until_ms: the lock's end, Unix ms.
        enforced_by: who keeps the lock.
    """

    name: str
    sha256: str
    bytes: int
    version: str
    mode: LockMode
    until_ms: int
    enforced_by: Enforcement

    def satisfies(self, lock: Lock) -> bool:
        """Say whether the object is locked at least as a lock demands."""
        strong_enough = self.mode == lock.mode or self.mode == "COMPLIANCE"
        return strong_enough and self.until_ms >= lock.until_ms


def compliance_lock(day: date) -> Lock:
    """Return the lock of production: day end + 7 calendar years + 8 days.

    Args:
        day: the UTC day that the archived object is of.

    Source: notes on Object Lock in docs/adr/adr-021-archive.md.
    """
    end = day_end(day)
    locked = years_later(end, YEARS) + timedelta(days=EXTRA_DAYS)
    return Lock(mode="COMPLIANCE", until_ms=midnight_ms(locked))


def governance_lock(day: date, days: int) -> Lock:
    """Return the lock of staging, which a right may lift: day end + `days` days (at least 1)."""
    return Lock(mode="GOVERNANCE", until_ms=midnight_ms(day_end(day) + timedelta(days=days)))


def years_later(day: date, years: int) -> date:
    """Return the same calendar day some years later; 29 February becomes 1 March elsewhere.

    Rounding up to March keeps the promise of whole years; 28 February would be a day short.
    """
    year = day.year + years
    if (day.month, day.day) == (2, 29) and not calendar.isleap(year):
        return date(year, 3, 1)
    return day.replace(year=year)


def day_end(day: date) -> date:
    """Return the day whose midnight (UTC) ends a day."""
    return day + timedelta(days=1)


def midnight_ms(day: date) -> int:
    """Return the Unix ms at which a UTC day begins."""
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return (begin - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def day_of(moment_ms: int) -> date:
    """Return the UTC day of a Unix time in ms."""
    return date(1970, 1, 1) + timedelta(days=moment_ms // MS_PER_DAY)
