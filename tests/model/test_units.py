"""Times for people: they read as UTC, and whatever somebody signed can be spelled."""

from verismo.model.units import moment_utc


def test_a_time_reads_as_utc_to_the_millisecond():
    assert moment_utc(0) == "1970-01-01 00:00:00.000Z"
    assert moment_utc(1_790_000_000_007) == "2026-09-21 14:13:20.007Z"


def test_a_time_before_1970_keeps_its_order():
    assert moment_utc(-1) == "1969-12-31 23:59:59.999Z"


def test_a_time_that_no_calendar_has_is_spelled_as_its_number():
    assert moment_utc(2**53 - 1) == "9007199254740991 ms after 1970"
