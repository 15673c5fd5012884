"""Numbers, however they are spelled."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.evidence.lexicon import DIGIT_WORDS
from verismo.evidence.quantities import equals, quantities, units_of
from verismo.evidence.words import tokens

NONE: frozenset[str] = frozenset()


def values(sentence: str) -> list[tuple[Fraction, str]]:
    return [(one.value, one.unit) for one in quantities(tokens(sentence))]


def same(one: str, other: str) -> bool:
    (first,), (second,) = quantities(tokens(one)), quantities(tokens(other))
    return equals(first, second, units_of(tokens(other)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,000 events", "1000 events"),
        ("1,000 events", "one thousand events"),
        ("5 %", "5 percent"),
        ("5 %", "5 per cent"),
        ("5 %", "a share of 0.05"),
        ("10000 ppm", "1 %"),
        ("90 seconds", "1.5 minutes"),
        ("500 ms", "0.5 s"),
        ("24 hours", "a time of 1 day"),
        ("1,048,576 octets", "1 MiB"),
        ("32 bytes", "32 octets"),
        ("12-byte nonce", "twelve bytes"),
        ("seven calendar years", "7 years"),
        ("twenty-four hours", "24 h"),
        ("two hundred and five rows", "205 rows"),
        ("three million leaves", "3,000,000 leaves"),
        ("2 million leaves", "two million leaves"),
        ("it comes twice", "it comes two times"),
        ("$ 5", "5 dollars"),
        ("the third row", "3rd row"),
        ("3 seconds", "`connect_ms` is 3000"),
        ("thirty-two octets", "32-octet salts"),
    ],
)
def test_one_number_in_two_spellings_is_the_same(one: str, other: str) -> None:
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,000 events", "100 events"),
        ("5 seconds", "5 minutes"),
        ("5 %", "5 ppm"),
        ("5 hours", "5 octets"),
        ("1.5 minutes", "15 minutes"),
        ("1 KiB", "1 KB"),
        ("3 seconds", "`connect_ms` is 300"),
        ("seven days", "seven years"),
        ("64 workers", "46 workers"),
    ],
)
def test_other_numbers_and_other_units_are_not_the_same(one: str, other: str) -> None:
    assert not same(one, other)


@pytest.mark.parametrize(
    ("sentence", "bound"),
    [
        ("at least 95 rows", "larger"),
        ("no less than 95 rows", "larger"),
        ("more than 95 rows", "larger"),
        ("over 95 rows", "larger"),
        ("95 rows or more", "larger"),
        ("at most 95 rows", "smaller"),
        ("no more than 95 rows", "smaller"),
        ("not over 95 rows", "smaller"),
        ("up to 95 rows", "smaller"),
        ("within 95 s", "smaller"),
        ("at most every 95 ms", "smaller"),
        ("95 rows or fewer", "smaller"),
        ("exactly 95 rows", ""),
        ("left over, 95 rows", ""),
    ],
)
def test_bounds_are_read_from_the_words_around(sentence: str, bound: str) -> None:
    assert [one.bound for one in quantities(tokens(sentence))] == [bound]


def test_numbers_of_a_range_share_their_unit() -> None:
    assert values("10 to 13 us") == [(Fraction(10), "us"), (Fraction(13), "us")]
    assert values("32 or 64 octets") == [(Fraction(32), "octet"), (Fraction(64), "octet")]
    assert values("5 ms to 60 s") == [(Fraction(5), "ms"), (Fraction(60), "s")]


def test_digits_within_names_are_no_numbers() -> None:
    assert values("Ed25519, SHA-256, UUIDv7, 2^63 and version 3.11.2") == []


def test_a_single_one_is_weak_and_the_digit_is_not() -> None:
    assert [one.is_weak for one in quantities(tokens("one log, once, 1 log"))] == [
        True,
        True,
        False,
    ]


def test_units_are_found_without_numbers_and_in_names() -> None:
    assert units_of(tokens("every second, `total_ms`, 5 h, a `limit_bytes` of s")) == {
        *("second", "ms", "h", "byte")
    }


_ONES = tuple(DIGIT_WORDS)


@given(st.integers(0, 12))
def test_small_numbers_are_the_same_in_words(number: int) -> None:
    assert same(f"{number} rows", f"{_ONES[number]} rows")


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_integers_are_the_same_only_if_they_are(one: int, other: int) -> None:
    assert same(f"{one:,} rows", f"{other} rows") == (one == other)
