"""Numbers of a sentence as exact values with units and bounds, however they are spelled.

1,000 = 1000 = one thousand; 5 % = 5 percent = 0.05; 90 s = 1.5 minutes; 1 MiB = 1,048,576 octets.
Not read: roman numerals, fractions in words, dates as such (their digits are compared one by one).
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Final, Literal

import msgspec

from verismo.evidence.lexicon import (
    DIGIT_WORDS,
    LARGER_BOUNDS,
    LARGER_ENDS,
    MULTIPLIERS,
    ORDINALS,
    REPETITIONS,
    SMALLER_BOUNDS,
    SMALLER_ENDS,
    SYMBOLS,
    TENS_WORDS,
    UNITS,
    word_set,
)
from verismo.evidence.words import Token, singular

Bound = Literal["", "larger", "smaller"]

FILLERS: Final = word_set("about a an exactly all each every some the only its any in")
"""May stand between a bound and its number."""
JOINERS: Final = frozenset(("to", "–", "-", "and", "or"))
"""Between two numbers that share a unit."""
UNIT_DISTANCE_MAX: Final = 2
"""`seven calendar years`: one word may stand between a number and its unit."""


class Quantity(msgspec.Struct, frozen=True):
    """One number.

    Args:
        value: exact, in the unit as written.
        unit: singular name, as in `lexicon.UNITS`, or empty.
        bound: whether the text says at least (`larger`) or at most (`smaller`).
        text: as it is written.
        at: index of its first token.
        is_weak: a `one` or `once`, which is often no number; it is looked at for its bound only.
    """

    value: Fraction
    unit: str
    bound: Bound
    text: str
    at: int
    is_weak: bool = False

    @property
    def base(self) -> tuple[str, Fraction]:
        """The dimension and the value in its base unit; without a unit, the dimension is empty."""
        dimension, factor = UNITS.get(self.unit, ("", Fraction(1)))
        return (
            ("", self.value * factor) if dimension == "ratio" else (dimension, self.value * factor)
        )


def quantities(sentence: Sequence[Token]) -> tuple[Quantity, ...]:
    """Return the numbers of a sentence in order.

    Args:
        sentence: tokens of one sentence.
    """
    found = [*_read(sentence)]
    for index, one in enumerate(found[:-1]):
        # `10 to 13 us`, `32 or 64 octets`: the unit stands once.
        following = found[index + 1]
        between = sentence[one.at + 1 : following.at]
        if not one.unit and following.unit and [t.lower for t in between] in _JOINED:
            found[index] = msgspec.structs.replace(one, unit=following.unit)
    return tuple(found)


def units_of(sentence: Sequence[Token]) -> frozenset[str]:
    """Return the units that a sentence names, with or without a number."""
    named = {
        singular(token.lower)
        for token in sentence
        if token.kind == "word" and singular(token.lower) not in SYMBOLS
    }
    behind = {
        singular(token.lower) for before, token in pairwise(sentence) if before.kind == "number"
    }
    suffixes = {
        part for token in sentence if token.kind == "name" for part in token.lower.split("_")[1:]
    }
    plural = {singular(suffix) for suffix in suffixes}
    return frozenset((named | behind | plural) & UNITS.keys())


def equals(one: Quantity, other: Quantity, units: frozenset[str]) -> bool:
    """Say whether two numbers are the same.

    Args:
        one: a number.
        other: another one.
        units: that the text of `other` names anywhere, since in tables and in names such as
            `connect_ms` the unit stands apart from its number.
    """
    if one.base == other.base or (one.value == other.value and not (one.unit and other.unit)):
        return True
    if other.unit:
        return False
    return any(msgspec.structs.replace(other, unit=unit).base == one.base for unit in units)


def _read(sentence: Sequence[Token]) -> Iterator[Quantity]:
    at = 0
    while at < len(sentence):
        value, length = _value(sentence, at)
        if value is None:
            at += 1
            continue
        text = " ".join(token.text for token in sentence[at : at + length])
        lower = sentence[at].lower
        unit, unit_text = _unit(sentence, at + length)
        if lower in REPETITIONS:
            unit = "time"
        yield Quantity(
            value=value,
            unit=unit or _currency(sentence, at),
            bound=_bound(sentence, at, at + length),
            text=f"{text}{unit_text}",
            at=at,
            is_weak=value == 1 and lower in ("one", "once"),
        )
        at += length


def _value(sentence: Sequence[Token], at: int) -> tuple[Fraction | None, int]:
    """Return the number that begins at a token, and how many tokens it takes."""
    token = sentence[at]
    if token.kind == "number":
        value = Fraction(token.text.replace(",", ""))
        following = sentence[at + 1].lower if at + 1 < len(sentence) else ""
        if following in MULTIPLIERS:
            return value * MULTIPLIERS[following], 2
        return value, 1
    if token.kind != "word":
        return None, 1
    if token.lower in REPETITIONS:
        return Fraction(REPETITIONS[token.lower]), 1
    if token.lower in ORDINALS:
        return Fraction(ORDINALS[token.lower]), 1
    return _spelled(sentence, at)


def _spelled(sentence: Sequence[Token], at: int) -> tuple[Fraction | None, int]:
    """Return a number in words: `two`, `twenty-four`, `three hundred and five`, `a million`."""
    total, group, end = 0, 0, at
    is_number = False
    while end < len(sentence):
        word = sentence[end].lower
        if word in DIGIT_WORDS and group % 10 == 0 and not (is_number and group % 100 == 10):
            group += DIGIT_WORDS[word]
        elif word in TENS_WORDS and group % 100 == 0:
            group += TENS_WORDS[word]
        elif word in MULTIPLIERS and (is_number or _before(sentence, end) == "a"):
            group = max(group, 1) * MULTIPLIERS[word]
            if MULTIPLIERS[word] > 100:
                total, group = total + group, 0
        elif word == "-" or (word == "and" and is_number and total + group >= 100):
            if not is_number or not _spells(sentence, end + 1):
                break
        else:
            break
        is_number = is_number or word not in ("-", "and")
        end += 1
    return (Fraction(total + group), end - at) if is_number else (None, 1)


def _spells(sentence: Sequence[Token], at: int) -> bool:
    return at < len(sentence) and sentence[at].lower in DIGIT_WORDS.keys() | TENS_WORDS.keys()


def _before(sentence: Sequence[Token], at: int) -> str:
    return sentence[at - 1].lower if at else ""


def _unit(sentence: Sequence[Token], at: int) -> tuple[str, str]:
    """Return the unit behind a number, and its text with a space before it."""
    behind = [t for t in sentence[at : at + UNIT_DISTANCE_MAX + 1] if t.lower != "-"]
    for index, token in enumerate(behind[:UNIT_DISTANCE_MAX]):
        unit = singular(token.lower)
        if token.kind == "number" or token.lower in (*JOINERS, ",", ";", ":", "("):
            break
        if unit in UNITS and (index == 0 or unit not in SYMBOLS):
            return unit, f" {token.text}"
        if index == 0 and token.lower == "per" and behind[1:2] and behind[1].lower == "cent":
            return "percent", " per cent"
    return "", ""


def _currency(sentence: Sequence[Token], at: int) -> str:
    before = _before(sentence, at)
    return before if before in ("$", "€") else ""


def _bound(sentence: Sequence[Token], start: int, end: int) -> Bound:
    """Return what the words around a number say of its direction."""
    words = [token.lower for token in sentence[max(start - 5, 0) : start]]
    while words and words[-1] in FILLERS:
        words.pop()
    before = " ".join(words)
    after = " ".join(token.lower for token in sentence[end : end + 3])
    # The longest phrase wins: `no more than` is not `more than`.
    for phrases, bound in _BOUNDS:
        if before == phrases or before.endswith(f" {phrases}"):
            return bound
    for phrases, bound in _ENDS:
        if phrases in after:
            return bound
    return ""


_JOINED: Final = tuple([joiner] for joiner in sorted(JOINERS))
_BOUNDS: Final[tuple[tuple[str, Bound], ...]] = tuple(
    sorted(
        [
            *((phrase, "larger") for phrase in LARGER_BOUNDS),
            *((phrase, "smaller") for phrase in SMALLER_BOUNDS),
        ],
        key=lambda pair: -len(pair[0]),
    )
)
_ENDS: Final[tuple[tuple[str, Bound], ...]] = (
    *((phrase, "larger") for phrase in LARGER_ENDS),
    *((phrase, "smaller") for phrase in SMALLER_ENDS),
)
