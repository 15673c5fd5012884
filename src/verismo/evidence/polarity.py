"""Whether two texts that speak of the same say the contrary: negation, opposites, quantifiers.

Every word of what a sentence is about gets a sign: minus under `not`, `no`, `without` and the like
in its clause, or if it is the contrary of another word (`unsigned`, `refuse`); both together give
plus. Then the signs are compared. This is no parser: a clause ends at a mark or at a conjunction.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from verismo.evidence.clauses import (
    clauses_of,
    contrasted,
    is_condition,
    scopes_of,
)
from verismo.evidence.lexicon import (
    DISSUASIONS,
    OPPOSITES,
    PARTIAL,
    UNIVERSAL,
    WHOLE_OF,
    WHOLES,
)
from verismo.evidence.words import Token, related, stem

CLAUSE_MIN: Final = 2
"""Words that two sentences share, at least, if one is to deny the other."""
DENIALS_MAX: Final = 2
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
        is_simple: every negation that covers it stands next to it.
        at: its place.
        is_negative: of such a pair it is the negative side.
        in_denial: something in its clause is denied, itself or another word.
        clause: number of its clause.
    """

    concept: str
    sign: int
    text: str
    cues: frozenset[int]
    heads: frozenset[int]
    is_contrary: bool
    is_simple: bool
    at: int
    is_negative: bool
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
    scopes = scopes_of(sentence)
    clauses = clauses_of(sentence)
    denied = {clauses[cue] for cue in scopes}
    unsigned = contrasted(sentence)
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
                is_contrary=_is_contrary(token, own, phrase is not None),
                is_simple=all(_is_head(sentence, cue, scopes[cue], at) for cue in cues),
                at=at,
                is_negative=own < 0 and phrase is None,
                in_denial=clauses[at] in denied,
                clause=clauses[at],
            )
        )
    return tuple(found)


def contradiction(claim: Sequence[Token], source: Sequence[Sequence[Token]]) -> str:
    """Say where a claim denies what a source affirms or the other way round; empty if nowhere.

    A text that denies twice (`what is not signed never leaves`) is not looked at for its denials:
    what it affirms by them would take a parser.

    Args:
        claim: tokens of the claim.
        source: tokens of each sentence of the source that it is compared with.
    """
    said = readings(claim)
    meant = [readings(sentence) for sentence in source]
    everything = [reading for sentence in meant for reading in sentence]
    if text := _opposite(said, everything) or _opposite(everything, said):
        return f"one says {text!r}, the other the contrary"
    if _denials(said) < DENIALS_MAX:
        for group in _groups(claim, said):
            if _is_denied(group, said, meant):
                return f"denied here, affirmed in the source: {_spell(group.covered)}"
    for sentence, read in zip(source, meant, strict=True):
        for group in _groups(sentence, read):
            # What the source also affirms elsewhere may be what the claim means.
            heads = [one for one in group.covered if one.heads]
            is_firm = all(_exact(one, everything) == {one.sign} for one in heads)
            if is_firm and _is_denied(group, read, [said]):
                return f"denied in the source, affirmed here: {_spell(group.covered)}"
    return ""


def misquantity(claim: Sequence[Token], source: Sequence[Sequence[Token]]) -> str:
    """Say whether a claim has `all` for `some`, or `only some` for `all`; empty if not."""
    partial = {noun for sentence in source for noun in _quantified(sentence, PARTIAL)}
    whole = {noun for sentence in source for noun in _quantified(sentence, UNIVERSAL)}
    for noun in _quantified(claim, UNIVERSAL):
        if noun in partial and noun not in whole:
            return f"the source speaks of some {noun!r} only"
    if text := _all_or_none(claim, source):
        return text
    words = [token.lower for token in claim]
    limits = any(a == "only" and b in PARTIAL for a, b in pairwise(words))
    said = {token.lower for sentence in source for token in sentence}
    if limits and said & WHOLES and not said & PARTIAL:
        return "the source says so without exception"
    return ""


def _all_or_none(claim: Sequence[Token], source: Sequence[Sequence[Token]]) -> str:
    """Say whether a claim has `everybody` where the source has only `nobody`, and the like."""
    said = {token.lower for sentence in source for token in sentence}
    covered = frozenset().union(*scopes_of(claim).values())
    for at, token in enumerate(claim):
        negative = WHOLE_OF.get(token.lower)
        positives = {one for one, other in WHOLE_OF.items() if other == negative}
        if negative in said and at not in covered and not said & positives:
            return f"{token.lower!r} here, {negative!r} in the source"
    for one, other in (("least", "most"), ("most", "least")):
        same = frozenset().union(*(_bounded(sentence, one) for sentence in source))
        contrary = frozenset().union(*(_bounded(sentence, other) for sentence in source))
        if _bounded(claim, one) & (contrary - same):
            return f"at {one} here, at {other} in the source"
    return ""


def _bounded(sentence: Sequence[Token], bound: str) -> frozenset[str]:
    """Return what stands behind `at least` or `at most`."""
    return frozenset(
        sentence[at + 2].lower
        for at in range(len(sentence) - 2)
        if (sentence[at].lower, sentence[at + 1].lower) == ("at", bound)
    )


def is_refusal(sentence: Sequence[Token]) -> bool:
    """Say whether a sentence refuses or forbids something, which turns bounds round."""
    return any(one.concept == _ACCEPT and one.sign < 0 for one in readings(sentence))


def _is_contrary(token: Token, own: int, is_phrase: bool) -> bool:
    return token.kind == "word" and (own < 0 or is_phrase or token.stem in _SIDES)


def _is_head(sentence: Sequence[Token], cue: int, scope: frozenset[int], at: int) -> bool:
    """Say whether a word is the nearest to its negation that says what is denied."""
    between = range(cue + 1, at) if cue < at else range(at + 1, cue)
    return not any(sentence[place].is_content for place in between if place in scope)


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


class _Group(msgspec.Struct, frozen=True):
    """What one negation covers.

    Args:
        word: the negation.
        at: its place.
        covered: the words in its reach.
    """

    word: str
    at: int
    covered: tuple[Reading, ...]


def _groups(sentence: Sequence[Token], read: Sequence[Reading]) -> list[_Group]:
    """Return what each negation covers; conditions of a refusal are left out.

    `refuse a salt that does not have 32 octets` affirms that it has 32.
    """
    clauses = clauses_of(sentence)
    refusing = {one.clause for one in read if one.concept == _ACCEPT and one.sign < 0}
    return [
        _Group(sentence[cue].lower, cue, tuple(one for one in read if cue in one.cues))
        for cue in sorted({cue for one in read for cue in one.cues})
        if not (refusing - {clauses[cue]} and is_condition(sentence, cue))
    ]


def _opposite(some: Sequence[Reading], others: Sequence[Reading]) -> str:
    """Return a word of which others have the contrary only, each without a negation far off."""
    for one in some:
        same = [other for other in others if other.concept == one.concept]
        own = [other for other in some if other.concept == one.concept]
        if (
            one.is_contrary
            and same
            and all(other.is_simple and other.sign == -one.sign for other in same)
            and all(other.is_simple and other.sign == one.sign for other in own)
        ):
            return one.text
    return ""


def _denials(read: Sequence[Reading]) -> int:
    """Return how many negations a sentence has."""
    return len({cue for one in read for cue in one.cues})


def _is_denied(group: _Group, own: Sequence[Reading], others: Sequence[Sequence[Reading]]) -> bool:
    """Say whether others affirm what a negation denies, in a sentence that speaks of the same.

    The word nearest to the negation decides. Whatever it covers that others deny as well, and what
    they say of it in a clause that denies something else, speaks for them: `no label holds a key`
    and `labels never hold a key` deny other words and say the same.

    Args:
        group: what one negation covers.
        own: the whole sentence that it stands in.
        others: the other text, by its sentences.
    """
    heads = [one for one in group.covered if one.heads]
    if not heads or any(
        one.is_negative and one.sign > 0 and not one.heads and not _says(one, others)
        for one in group.covered
    ):
        return False
    before = [one for one in own if one.clause == heads[0].clause and one.at < group.at]
    found = False
    for sentence in others:
        for number in sorted({one.clause for one in sentence}):
            other = [one for one in sentence if one.clause == number]
            if group.word == "no" and before and not _signs(before[-1], other):
                # `loses no record`: it is the losing that is denied, and of that they say nothing.
                continue
            if not _speak_of_the_same(own, sentence):
                continue
            if _denies(other, group.covered) or any(
                one.sign in _signs(one, other) for one in group.covered
            ):
                return False
            found = found or any(_signs(one, other) == {-one.sign} for one in heads)
    return found


def _says(one: Reading, others: Sequence[Sequence[Reading]]) -> bool:
    """Say whether others affirm the very word: `none is outside` is no other way to say it."""
    return any(
        other.is_negative and other.sign < 0 and other.concept == one.concept
        for sentence in others
        for other in sentence
    )


def _denies(clause: Sequence[Reading], covered: Sequence[Reading]) -> bool:
    """Say whether a clause denies something or advises against it, and speaks of what is denied.

    `If the gateway cannot be reached` denies something else than `never breaks the work`.
    """
    if not any(_signs(one, clause) for one in covered):
        return False
    return any(one.in_denial or one.concept in _DISSUASIONS for one in clause)


def _speak_of_the_same(one: Sequence[Reading], other: Sequence[Reading]) -> bool:
    shared = {reading.concept for reading in one if _signs(reading, other)}
    sizes = (len({reading.concept for reading in clause}) for clause in (one, other))
    return len(shared) >= min(CLAUSE_MIN, *sizes)


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
_DISSUASIONS: Final = frozenset(stem(word) for word in DISSUASIONS)
_SWITCH: Final = "switch on"
