"""The names of logs: one log for each region and year, and the origin that its checkpoints carry.

Source: C2SP tlog-checkpoint (origin), signed-note (key names).
"""

import re
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

YEAR_MAX = 9_999
ENTRY_BYTES = 33
"""A log entry: one type byte and a SHA-256 (decisions 6)."""
FULL_TILE_ENTRIES = 256
ORIGIN_FILE_BYTES_MAX = 246
"""A file name has 255 at most, and the unfinished file has a dot and a process number as well."""

_MS_PER_S = 1_000
_region = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}").fullmatch
_scheme = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")


class LogId(msgspec.Struct, frozen=True, order=True):
    """One log.

    Args:
        region: home region of the tenants whose answers it holds.
        year: UTC year of the statements' `iat`.
    """

    region: str
    year: int

    @property
    def path(self) -> str:
        """`<region>/<yyyy>`: its folder, and the end of its URL and origin."""
        return f"{self.region}/{self.year:04d}"


def is_log_region(region: str) -> bool:
    """Say whether a region's name may stand in paths and URLs: no leading dot, no slash."""
    return _region(region) is not None


def read_log_id(region: str, year: str) -> LogId | None:
    """Return the log of two path segments, or None if they name none."""
    if not is_log_region(region) or not re.fullmatch("[0-9]{4}", year):
        return None
    return LogId(region, int(year))


def origin_of(issuer: str, log: LogId) -> str:
    """Return the origin of a log: `<issuer host>/log/<region>/<yyyy>`.

    Args:
        issuer: the `iss` of statements; scheme and closing slashes are left away.
        log: which one.
    """
    return f"{_scheme.sub('', issuer).rstrip('/')}/log/{log.path}"


def origin_file(origin: str) -> str:
    """Return the name of the file, beside the log key, that remembers an origin's checkpoint."""
    return quote(origin, safe="")


def is_log_origin(origin: str) -> bool:
    """Say whether an origin is short enough for that file, and so for notes, which carry 255."""
    return len(origin_file(origin)) <= ORIGIN_FILE_BYTES_MAX


def year_start_ms(year: int) -> int:
    """Return when a year begins in UTC, Unix ms."""
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * _MS_PER_S


def year_span_ms(year: int) -> range:
    """Return the times that count to a year, Unix ms; the year 9999 has no end."""
    end_ms = 2**63 if year == YEAR_MAX else year_start_ms(year + 1)
    return range(year_start_ms(year), end_ms)


def year_of(time_ms: int) -> int:
    """Return the UTC year of a time; times past the year 9999 count as that year.

    Args:
        time_ms: Unix ms, 0 or more.
    """
    if time_ms >= year_start_ms(YEAR_MAX):
        return YEAR_MAX
    return datetime.fromtimestamp(time_ms // _MS_PER_S, UTC).year
