"""Whether two texts that speak of the same say the contrary: negation, opposites, order,
quantifiers.

Every word of what a sentence is about gets a sign: minus under `not`, `no`, `without` and the like
in its clause, or if it is the contrary of another word (`unsigned`, `refuse`); both together give
plus. Then the signs are compared. This is no parser: a clause ends at a mark or at a conjunction.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from verismo.evidence.lexicon import (
    CLAUSE_NEGATIONS,
    CLAUSE_WORDS,
    EXCEPTIONS,
    FORWARD_NEGATIONS,
    OPPOSITES,
    PARTIAL,
    UNIVERSAL,
    WHOLES,
    word_set,
)
from verismo.evidence.words import Token, related, stem

CLAUSE_MARKS: Final = frozenset(",;:()[]—–.!?|")
COMPARED: Final = word_set("more less fewer over under longer later older only necessarily")
"""`no more than 5` and `not only` deny nothing."""
NEIGHBOURS: Final = 4
"""Words on each side of `before` and `after` that say what they relate."""
LIST_DISTANCE: Final = 6
"""Words between a comma and the `or` that joins a list."""
FURTHER_MIN: Final = 2
UN_CHARS_MIN: Final = 6
"""Shorter words that begin with `un` are no contraries: unit, union."""


class Reading(msgspec.Struct, frozen=True):
    """One word of what a sentence is about.

    Args:
        concept: stem of what it speaks of, the same for a word and its contrary.
        sign: 1 as it stands, -1 if denied.
        text: the word.
        cues: places of the negations that cover it.
        heads: those of them of which it is the nearest word.
        is_contrary: it is one side of a pair of opposites.
        in_denial: something in its clause is denied, itself or another word.
        clause: number of its clause.
    """

    concept: str
    sign: int
    text: str
    cues: frozenset[int]
    heads: frozenset[int]
    is_contrary: bool
    in_denial: bool
    clause: int


def concept(token: Token) -> tuple[str, int]:
    """Return what a word speaks of, and -1 if the word itself is the contrary of that."""
    if token.stem in _SIDES:
        return _SIDES[token.stem]
    if token.kind == "word" and token.lower.startswith("un") and len(token.lower) >= UN_CHARS_MIN:
        return _SIDES.get(stem(token.lower[2:]), (stem(token.lower[2:]), 1))[0], -1
    return token.stem, 1


def readings(sentence: Sequence[Token]) -> tuple[Reading, ...]:
    """Return the words of a sentence that have a sign; what stands behind `instead of` has none."""
    scopes = _scopes(sentence)
    clauses = _clauses(sentence)
    denied = _denied(sentence, clauses, {clauses[cue] for cue in scopes})
    unsigned = _contrasted(sentence)
    found = []
    for at, token in enumerate(sentence):
        phrase = _phrase(sentence, at)
        if at in unsigned or not (token.is_content or phrase or token.stem in _SIDES):
            continue
        spoken, own = phrase or concept(token)
        cues = frozenset(cue for cue, scope in scopes.items() if at in scope)
        found.append(
            Reading(
                concept=spoken,
                sign=own * (-1) ** len(cues),
                text=token.text,
                cues=cues,
                heads=frozenset(cue for cue in cues if _is_head(sentence, cue, scopes[cue], at)),
                is_contrary=token.kind == "word"
                and (own < 0 or token.stem in _SIDES or phrase is not None),
                in_denial=clauses[at] in denied,
                clause=clauses[at],
            )
        )
    return tuple(found)


def contradiction(claim: Sequence[Token], source: Sequence[Sequence[Token]]) -> str:
    """Say where a claim denies what a source affirms or the other way round; empty if nowhere.

    Args:
        claim: tokens of the claim.
        source: tokens of each sentence of the source that it is compared with.
    """
    said = readings(claim)
    meant = [reading for sentence in source for reading in readings(sentence)]
    for one in said:
        if one.is_contrary and _exact(one, said) == {one.sign} == _opposed(_exact(one, meant)):
            return f"the source says the contrary of {one.text!r}"
    for one in meant:
        if one.is_contrary and _exact(one, meant) == {one.sign} == _opposed(_exact(one, said)):
            return f"the source says {one.text!r}, the contrary"
    for group in _groups(claim):
        if text := _contradicted(group, meant):
            return f"denied here, affirmed in the source: {text}"
    for sentence in source:
        for group in _groups(sentence):
            # What the source also affirms elsewhere may be what the claim means.
            firm = [one for one in group if _signs(one, meant) == {one.sign}]
            if text := _contradicted(firm, said):
                return f"denied in the source, affirmed here: {text}"
    return ""


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


def misquantity(claim: Sequence[Token], source: Sequence[Sequence[Token]]) -> str:
    """Say whether a claim has `all` for `some`, or `only some` for `all`; empty if not."""
    partial = {noun for sentence in source for noun in _quantified(sentence, PARTIAL)}
    whole = {noun for sentence in source for noun in _quantified(sentence, UNIVERSAL)}
    for noun in _quantified(claim, UNIVERSAL):
        if noun in partial and noun not in whole:
            return f"the source speaks of some {noun!r} only"
    words = [token.lower for token in claim]
    limits = any(a == "only" and b in PARTIAL for a, b in pairwise(words))
    said = {token.lower for sentence in source for token in sentence}
    if limits and said & WHOLES and not said & PARTIAL:
        return "the source says so without exception"
    return ""


def is_refusal(sentence: Sequence[Token]) -> bool:
    """Say whether a sentence refuses or forbids something, which turns bounds round."""
    return any(one.concept == _ACCEPT and one.sign < 0 for one in readings(sentence))


def _scopes(sentence: Sequence[Token]) -> dict[int, frozenset[int]]:
    """Return for each negation, by its place, the places of the tokens that it covers."""
    scopes: dict[int, frozenset[int]] = {}
    for at, token in enumerate(sentence):
        following = sentence[at + 1].lower if at + 1 < len(sentence) else ""
        forward = _reach(sentence, at)
        if token.lower in CLAUSE_NEGATIONS and not (token.lower == "none" and following != "of"):
            covers = any(sentence[place].is_content for place in forward)
            scopes[at] = forward if covers else _back(sentence, at)
        elif (token.lower in FORWARD_NEGATIONS and following not in COMPARED) or _excepts(
            sentence, at
        ):
            scopes[at] = forward
    return scopes


def _reach(sentence: Sequence[Token], cue: int) -> frozenset[int]:
    """Return the places from behind a negation to the end of its clause."""
    places = []
    for at in range(cue + 1, len(sentence)):
        lower = sentence[at].lower
        if _ends_clause(sentence, at) or lower in _VERB_NEGATIONS:
            break
        if lower == "nor" or (lower in ("and", "or") and _is_cue(sentence, at + 1)):
            break
        places.append(at)
    return frozenset(places)


def _back(sentence: Sequence[Token], cue: int) -> frozenset[int]:
    """Return the places from the beginning of its clause to a negation at its end."""
    places = []
    for at in range(cue - 1, -1, -1):
        if _ends_clause(sentence, at) or sentence[at].lower in ("and", "or"):
            break
        places.append(at)
    return frozenset(places)


def _ends_clause(sentence: Sequence[Token], at: int) -> bool:
    lower = sentence[at].lower
    if lower == ",":
        # `no name, no key or content`: within a list joined by `or` a comma ends nothing.
        ahead = [token.lower for token in sentence[at + 1 : at + 1 + LIST_DISTANCE]]
        stops = [index for index, word in enumerate(ahead) if word in CLAUSE_MARKS]
        return "or" not in ahead[: stops[0] if stops else None]
    return lower in CLAUSE_MARKS or lower in CLAUSE_WORDS


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


def _is_head(sentence: Sequence[Token], cue: int, scope: frozenset[int], at: int) -> bool:
    """Say whether a word is the nearest to its negation that says what is denied."""
    between = range(cue + 1, at) if cue < at else range(at + 1, cue)
    return not any(sentence[place].is_content for place in between if place in scope)


def _clauses(sentence: Sequence[Token]) -> list[int]:
    """Return for each token the number of its clause."""
    numbers: list[int] = []
    for at in range(len(sentence)):
        numbers.append((numbers[-1] if numbers else 0) + _ends_clause(sentence, at))
    return numbers


def _contrasted(sentence: Sequence[Token]) -> frozenset[int]:
    """Return the places behind `instead of` and `rather than`."""
    return frozenset(
        place
        for at, token in enumerate(sentence[:-1])
        if (token.lower, sentence[at + 1].lower) in (("instead", "of"), ("rather", "than"))
        for place in _reach(sentence, at + 1)
    )


def _denied(sentence: Sequence[Token], clauses: Sequence[int], denied: set[int]) -> set[int]:
    """Return the clauses in which something is denied, with those that say more of it.

    `without a witness that somebody runs` denies the running as well.
    """
    found = set(denied)
    for at, token in enumerate(sentence):
        if token.lower in _RELATIVES and clauses[at] - 1 in found:
            found.add(clauses[at])
    return found


def _phrase(sentence: Sequence[Token], at: int) -> tuple[str, int] | None:
    """Return what `off`, `on` and `goes on` say, None for other words."""
    lower = sentence[at].lower
    if lower == "off":
        return _SWITCH, -1
    if lower != "on" or not at:
        return None
    before = sentence[at - 1]
    if before.stem == stem("go"):
        return _SIDES[stem("continue")]
    is_state = before.lower in ("is", "are") or before.stem in (stem("turn"), stem("switch"))
    return (_SWITCH, 1) if is_state else None


def _groups(sentence: Sequence[Token]) -> list[list[Reading]]:
    """Return what each negation covers, its head first; conditions of a refusal are left out.

    `refuse a salt that does not have 32 octets` affirms that it has 32.
    """
    read = readings(sentence)
    cues = sorted({cue for reading in read for cue in reading.cues})
    clauses = _clauses(sentence)
    refusing = {one.clause for one in read if one.concept == _ACCEPT and one.sign < 0}
    cues = [cue for cue in cues if not (refusing - {clauses[cue]} and _is_condition(sentence, cue))]
    groups = ([reading for reading in read if cue in reading.cues] for cue in cues)
    return [sorted(group, key=lambda one: not one.heads) for group in groups]


def _is_condition(sentence: Sequence[Token], cue: int) -> bool:
    """Say whether a negation stands in a clause that begins with `that`, `if` and the like."""
    for at in range(cue - 1, -1, -1):
        if _ends_clause(sentence, at):
            return sentence[at].lower in CLAUSE_WORDS
    return False


def _contradicted(group: Sequence[Reading], others: Sequence[Reading]) -> str:
    """Return the words of a denied group that others affirm.

    What stands first behind the negation decides, if the others speak of it at all. If they do not,
    two of the further words have to be affirmed and none denied: `does not alter the verdict` and
    `the verdict does not depend on it` share a word with two signs.
    """
    if any(one.is_contrary and one.sign > 0 for one in group):
        # `nothing leaves unsigned`: denied twice, so the clause affirms.
        return ""
    found = [(one, _signs(one, others) | _doubt(one, others)) for one in group]
    for one, signs in found:
        if one.heads and signs:
            return one.text if signs == {-one.sign} else ""
    against = [one for one, signs in found if signs == {-one.sign}]
    agreeing = [one for one, signs in found if one.sign in signs]
    return _spell(against) if len(against) >= FURTHER_MIN and not agreeing else ""


def _doubt(one: Reading, others: Iterable[Reading]) -> set[int]:
    """Return both signs if what others say of the same stands in a clause that denies something.

    `no label holds a key` and `labels never hold a key` deny other words and say the same.
    """
    near = related(one.concept)
    same = [other for other in others if other.concept in near]
    return {1, -1} if any(other.in_denial for other in same) else set()


def _opposed(signs: set[int]) -> set[int]:
    return {-sign for sign in signs}


def _exact(one: Reading, others: Iterable[Reading]) -> set[int]:
    """Return with which signs others use the same word or its contrary."""
    return {other.sign for other in others if other.concept == one.concept}


def _signs(one: Reading, others: Iterable[Reading]) -> set[int]:
    """Return with which signs others speak of the same."""
    exact = _exact(one, others)
    if exact:
        return exact
    near = related(one.concept)
    return {other.sign for other in others if other.concept in near}


def _spell(read: Sequence[Reading]) -> str:
    return ", ".join(dict.fromkeys(reading.text for reading in read))


class _Order(msgspec.Struct, frozen=True):
    sign: int
    left: frozenset[str]
    right: frozenset[str]


def _orders(sentence: Sequence[Token]) -> list[_Order]:
    found = []
    for at, token in enumerate(sentence):
        sign = _ORDERS.get(token.lower, 0)
        if token.lower == "then" and (not at or sentence[at - 1].lower not in ("only", "and")):
            sign = 0
        if sign:
            found.append(
                _Order(
                    sign,
                    _near(reversed(sentence[:at])),
                    _near(sentence[at + 1 :]),
                )
            )
    return found


def _near(side: Iterable[Token]) -> frozenset[str]:
    content = [concept(token)[0] for token in side if token.is_content]
    return frozenset(content[:NEIGHBOURS])


def _compare(one: _Order, other: _Order) -> int:
    """Return 1 if two orders agree, -1 if they are contrary, 0 if they relate other things."""
    straight = len(one.left & other.left) + len(one.right & other.right)
    crossed = len(one.left & other.right) + len(one.right & other.left)
    if straight == crossed:
        return 0
    return one.sign * other.sign * (1 if straight > crossed else -1)


def _quantified(sentence: Sequence[Token], words: frozenset[str]) -> list[str]:
    """Return the stems of the words right behind some of these quantifiers."""
    return [
        following.stem
        for token, following in pairwise(sentence)
        if token.lower in words and following.is_content
    ]


_SIDES: Final = {
    stem(word): (min(stem(one) for one in pair[0]), sign)
    for pair in OPPOSITES
    for side, sign in ((pair[0], 1), (pair[1], -1))
    for word in side
}
_ACCEPT: Final = _SIDES[stem("accept")][0]
_SWITCH: Final = "switch on"
_ORDERS: Final = {"before": 1, "after": -1, "then": 1}
"""`checks it and only then parses it`: the checking is before the parsing."""
_VERB_NEGATIONS: Final = frozenset(("not", "never", "cannot"))
"""Within the reach of another negation they begin a clause of their own."""
_RELATIVES: Final = word_set("that which who whose")
