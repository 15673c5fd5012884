"""Clauses of a sentence and what its negations cover: no parser, marks and conjunctions."""

from collections.abc import Sequence
from typing import Final

from verismo.evidence.lexicon import (
    CLAUSE_NEGATIONS,
    CLAUSE_WORDS,
    EXCEPTIONS,
    FORWARD_NEGATIONS,
    WHOLES,
    word_set,
)
from verismo.evidence.words import Token

CLAUSE_MARKS: Final = frozenset(",;:()[]—–.!?|")
COMPARED: Final = word_set("more less fewer over under longer later older only necessarily")
"""`no more than 5` and `not only` deny nothing."""
LIST_DISTANCE: Final = 6
"""Words between a comma and the `or` that joins a list."""
_VERB_NEGATIONS: Final = frozenset(("not", "never", "cannot"))
"""Within the reach of another negation they begin a clause of their own."""


def scopes_of(sentence: Sequence[Token]) -> dict[int, frozenset[int]]:
    """Return for each negation, by its place, the places of the tokens that it covers."""
    scopes: dict[int, frozenset[int]] = {}
    for at, token in enumerate(sentence):
        following = sentence[at + 1].lower if at + 1 < len(sentence) else ""
        forward = _reach(sentence, at)
        if token.lower in CLAUSE_NEGATIONS and not (token.lower == "none" and following != "of"):
            # `adds nothing to it`: it is the adding that is denied.
            is_object = bool(at) and sentence[at - 1].is_content
            covers = not is_object and any(sentence[place].is_content for place in forward)
            scopes[at] = forward if covers else _back(sentence, at)
        elif (token.lower in FORWARD_NEGATIONS and following not in COMPARED) or _excepts(
            sentence, at
        ):
            scopes[at] = forward
    return scopes


def clauses_of(sentence: Sequence[Token]) -> list[int]:
    """Return for each token the number of its clause."""
    numbers: list[int] = []
    for at in range(len(sentence)):
        numbers.append((numbers[-1] if numbers else 0) + ends_clause(sentence, at))
    return numbers


def contrasted(sentence: Sequence[Token]) -> frozenset[int]:
    """Return the places behind `instead of` and `rather than`."""
    return frozenset(
        place
        for at, token in enumerate(sentence[:-1])
        if (token.lower, sentence[at + 1].lower) in (("instead", "of"), ("rather", "than"))
        for place in _reach(sentence, at + 1)
    )


def is_condition(sentence: Sequence[Token], cue: int) -> bool:
    """Say whether a negation stands in a clause that begins with `that`, `if` and the like."""
    for at in range(cue - 1, -1, -1):
        if ends_clause(sentence, at):
            return sentence[at].lower in CLAUSE_WORDS
    return False


def ends_clause(sentence: Sequence[Token], at: int) -> bool:
    """Say whether a clause ends before a token."""
    lower = sentence[at].lower
    if lower == ",":
        # `no name, no key or content`: within a list joined by `or` a comma ends nothing.
        ahead = [token.lower for token in sentence[at + 1 : at + 1 + LIST_DISTANCE]]
        stops = [index for index, word in enumerate(ahead) if word in CLAUSE_MARKS]
        return "or" not in ahead[: stops[0] if stops else None]
    return lower in CLAUSE_MARKS or lower in CLAUSE_WORDS


def _reach(sentence: Sequence[Token], cue: int) -> frozenset[int]:
    """Return the places from behind a negation to the end of its clause."""
    places = []
    for at in range(cue + 1, len(sentence)):
        lower = sentence[at].lower
        if ends_clause(sentence, at) or lower in _VERB_NEGATIONS:
            break
        if lower == "nor" or (lower in ("and", "or") and _is_cue(sentence, at + 1)):
            break
        places.append(at)
    return frozenset(places)


def _back(sentence: Sequence[Token], cue: int) -> frozenset[int]:
    """Return the places from the beginning of its clause to a negation at its end."""
    places = []
    for at in range(cue - 1, -1, -1):
        if ends_clause(sentence, at) or sentence[at].lower in ("and", "or"):
            break
        places.append(at)
    return frozenset(places)


def _excepts(sentence: Sequence[Token], at: int) -> bool:
    """Say whether a word excepts something, as `but` does behind `all`."""
    lower = sentence[at].lower
    if lower == "except":
        return True
    before = [token.lower for token in sentence[:at]]
    return lower in EXCEPTIONS and any(
        word in WHOLES or word in CLAUSE_NEGATIONS for word in before
    )


def _is_cue(sentence: Sequence[Token], at: int) -> bool:
    lower = sentence[at].lower if at < len(sentence) else ""
    return lower in FORWARD_NEGATIONS or lower in CLAUSE_NEGATIONS
