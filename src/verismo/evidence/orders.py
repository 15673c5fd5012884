"""Whether a claim turns round what a source says is before and after."""

from collections.abc import Sequence
from typing import Final

import msgspec

from verismo.evidence.clauses import ends_clause
from verismo.evidence.polarity import concept
from verismo.evidence.words import Token

NEIGHBOURS: Final = 4
"""Words on each side of `before` and `after` that say what they relate."""


def misorder(claim: Sequence[Token], source: Sequence[Sequence[Token]]) -> str:
    """Say whether a claim turns a `before` of the source into an `after`; empty if not."""
    for one in _orders(claim):
        verdicts = {
            verdict
            for sentence in source
            for other in _orders(sentence)
            if (verdict := _compare(one, other))
        }
        if verdicts == {-1}:
            return "before and after are turned round"
    return ""


class _Order(msgspec.Struct, frozen=True):
    sign: int
    left: frozenset[str]
    right: frozenset[str]


def _orders(sentence: Sequence[Token]) -> list[_Order]:
    """Return what stands on both sides of each `before` and `after` in its clause."""
    found = []
    for at, token in enumerate(sentence):
        sign = _ORDERS.get(token.lower, 0)
        if token.lower == "then" and (not at or sentence[at - 1].lower not in ("only", "and")):
            sign = 0
        left = _near(sentence, range(at - 1, -1, -1))
        right = _near(sentence, range(at + 1, len(sentence)))
        if sign and left and right:
            found.append(_Order(sign, left, right))
    return found


def _near(sentence: Sequence[Token], places: range) -> frozenset[str]:
    """Return what the nearest words of a side speak of, up to the clause's end; or its pronoun."""
    near: list[str] = []
    for at in places:
        if ends_clause(sentence, at) or len(near) == NEIGHBOURS:
            break
        if sentence[at].is_content:
            near.append(concept(sentence[at])[0])
    first = sentence[places[0]].lower if places else ""
    return frozenset([*near, first] if first in _PRONOUNS else near)


def _compare(one: _Order, other: _Order) -> int:
    """Return 1 if two orders agree, -1 if they are contrary, 0 if they relate other things."""
    straight = min(len(one.left & other.left), len(one.right & other.right))
    crossed = min(len(one.left & other.right), len(one.right & other.left))
    if straight == crossed:
        return 0
    return one.sign * other.sign * (1 if straight > crossed else -1)


_ORDERS: Final = {"before": 1, "after": -1, "then": 1}
"""`checks it and only then parses it`: the checking is before the parsing."""
_PRONOUNS: Final = frozenset(("it", "them", "this", "that"))
