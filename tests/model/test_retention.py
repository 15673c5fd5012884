from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.model.retention import (
    Lock,
    UploadProof,
    compliance_lock,
    day_of,
    governance_lock,
    midnight_ms,
    years_later,
)

days = st.dates(min_value=date(2000, 1, 1), max_value=date(2200, 12, 31))


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000


@pytest.mark.parametrize(
    ("day", "until"),
    [
        ("2026-11-22", "2033-12-01"),
        ("2026-12-31", "2034-01-09"),
        # The day ends on 29 February, which 2031 has not.
        ("2024-02-28", "2031-03-09"),
        ("2024-02-29", "2031-03-09"),
        ("2028-02-28", "2035-03-09"),
        ("2025-02-28", "2032-03-09"),
        # 1900 and 2100 are no leap years.
        ("2096-02-28", "2103-03-09"),
    ],
)
def test_production_locks_for_seven_calendar_years_and_eight_days_from_the_end_of_the_day(
    day, until
):
    assert compliance_lock(date.fromisoformat(day)) == Lock("COMPLIANCE", moment(until))


@given(days)
def test_lock_is_never_shorter_than_seven_years_of_any_length(day):
    end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    locked_days = (compliance_lock(day).until_ms - end.timestamp() * 1_000) / 86_400_000
    # 7 years hold 1 or 2 leap days (around 2100 perhaps none more than 1), so 7 x 365 is too short.
    assert locked_days in (7 * 365 + 8, 7 * 365 + 1 + 8, 7 * 365 + 2 + 8)
    assert years_later(day, 7) >= date(day.year + 7, day.month, min(day.day, 28))


def test_staging_locks_for_days_and_can_be_lifted():
    assert governance_lock(date(2026, 11, 22), 3) == Lock("GOVERNANCE", moment("2026-11-26"))


@given(days)
def test_day_of_a_moment_is_the_day_that_holds_it(day):
    begin = midnight_ms(day)
    assert day_of(begin) == day_of(begin + 86_399_999) == day
    assert day_of(begin - 1) == day - timedelta(days=1)


@pytest.mark.parametrize(
    ("mode", "until_ms", "is_enough"),
    [
        ("COMPLIANCE", 1_000, True),
        ("COMPLIANCE", 999, False),
        ("GOVERNANCE", 1_000, False),
    ],
)
def test_weaker_or_shorter_lock_is_not_enough(mode, until_ms, is_enough):
    proof = UploadProof("a", "00" * 32, 1, "v", mode, until_ms, "object-lock")
    assert proof.satisfies(Lock("COMPLIANCE", 1_000)) is is_enough
    assert proof.satisfies(Lock("GOVERNANCE", until_ms))
