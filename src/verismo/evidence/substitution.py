"""Whether a claim has another noun where the source has one: `the mean over the rounds` for `the
median over the rounds`.

A noun that is written in lower case is spelled like any other word, so only its place tells: both
of its neighbours stand in the source, in one clause and this order, with another noun between them,
and the claim's is not there at all. The end of a clause counts as a neighbour. No tagger: a
noun is what an article or a preposition leads to and no ending of a verb or an adjective ends.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from verismo.evidence.clauses import ends_clause
from verismo.evidence.lexicon import IRREGULAR, UNITS, word_set
from verismo.evidence.polarity import concept
from verismo.evidence.words import Token, related, singular

_EDGE: Final = "|"
"""Stands for the neighbour of a clause's first and last word."""
_LEADS: Final = word_set("""
    a all an and another any at between both by each every for from her his in into its like no
    of on only or other our per some that the their these this those to whose with
    """)
_OTHER_ENDINGS: Final = ("ed", "ing", "ly", "able", "ful", "ible", "ive", "less", "ous")


def substituted(claim: Sequence[Token], source: Sequence[Sequence[Token]]) -> str:
    """Say which noun of a claim stands for another one of the source; empty if none does.

    Args:
        claim: tokens of the claim.
        source: tokens of each sentence of the source that it is compared with.
    """
    said = frozenset().union(*(_alike(token) for token in claim if token.is_content))
    spoken = {concept(token)[0] for sentence in source for token in sentence if token.is_content}
    for left, at, right in _places(claim):
        if not _is_noun(claim, at) or left == right == {_EDGE} or _alike(claim[at]) & spoken:
            continue
        for sentence in source:
            for before, place, after in _places(sentence):
                is_other = concept(sentence[place])[0] not in said and _is_noun(sentence, place)
                if is_other and left & before and right & after:
                    return f"{sentence[place].text!r} stands there for {claim[at].text!r}"
    return ""


def _places(sentence: Sequence[Token]) -> Iterator[tuple[frozenset[str], int, frozenset[str]]]:
    """Yield each word of content by its place, with what its neighbours speak of."""
    clauses: list[list[int]] = [[]]
    for at, token in enumerate(sentence):
        if ends_clause(sentence, at) or token.lower in ("and", "or", "than"):
            clauses.append([])
        if token.is_content or token.kind == "number":
            clauses[-1].append(at)
    edge = frozenset((_EDGE,))
    for clause in clauses:
        spoken = [edge, *(_alike(sentence[at]) for at in clause), edge]
        for index, at in enumerate(clause):
            yield spoken[index], at, spoken[index + 2]


def _alike(token: Token) -> frozenset[str]:
    return related(concept(token)[0])


def _is_noun(sentence: Sequence[Token], at: int) -> bool:
    """Say whether a word is a noun, as far as its ending and the word before it tell."""
    token = sentence[at]
    if token.kind != "word" or token.lower in IRREGULAR or token.lower.endswith(_OTHER_ENDINGS):
        return False
    before = sentence[at - 1] if at else token
    return before.lower in _LEADS and singular(token.lower) not in UNITS
