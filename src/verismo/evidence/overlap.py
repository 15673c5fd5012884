"""How much of a claim's words stands in which sentences of which source.

This alone never shows support: a claim with one number or one `not` changed shares nearly all its
words with its source. It only finds where to look, and what is not spoken of at all.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from verismo.evidence.lexicon import UNITS
from verismo.evidence.openings import lower_stems
from verismo.evidence.polarity import concept
from verismo.evidence.sentences import CELL, sentences
from verismo.evidence.words import Token, parts, related, singular, stem, tokens

WINDOW_MAX: Final = 3
"""Sentences that may support a claim together; they stand side by side in one source."""
ROWS_MAX: Final = 6
"""Rows of a table before and after those looked at in which their numbers may stand."""
SYNONYM_WORTH: Final = 0.9
ELSEWHERE_WORTH: Final = 0.4
"""A word that stands in the source, but not in the sentences looked at."""


class Sentence(msgspec.Struct, frozen=True):
    """One sentence of a source.

    Args:
        text: as it stands there.
        tokens: what it is made of.
        concepts: what it speaks of.
    """

    text: str
    tokens: tuple[Token, ...]
    concepts: frozenset[str]


class Window(msgspec.Struct, frozen=True):
    """Neighbouring sentences of one source, held against a claim.

    Args:
        source: index of the source.
        start: number of its first sentence there.
        sentences: one to three of them.
        around: these, and the rows near them if they are rows of a table.
        score: share of the claim's words that they speak of, 0 to 1.
    """

    source: int
    start: int
    sentences: tuple[Sentence, ...]
    around: tuple[Sentence, ...]
    score: float

    def holds(self, other: "Window") -> bool:
        """Say whether this place is another one with more sentences around it.

        Args:
            other: a window of the same library.
        """
        inside = range(self.start, self.start + len(self.sentences))
        return self.source == other.source and {
            other.start,
            other.start + len(other.sentences) - 1,
        } <= set(inside)

    @property
    def spelled(self) -> str:
        """Their letters and digits, for finding names."""
        return parts(" ".join(sentence.text for sentence in self.sentences))


class Library:
    """The sources of an answer, read once.

    Args:
        sources: their texts.

    Attributes:
        lower: stems of all words that they spell in lower case.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        self.lower = frozenset().union(*(lower_stems(text) for text in sources))
        self._sources = tuple(tuple(_sentence(s) for s in sentences(text)) for text in sources)
        everything = [sentence for source in self._sources for sentence in source]
        counts = Counter(spoken for sentence in everything for spoken in sentence.concepts)
        self._weights = {
            spoken: math.log(1 + len(everything) / count) for spoken, count in counts.items()
        }
        self._unknown = math.log(1 + len(everything))

    def __len__(self) -> int:
        return len(self._sources)

    def windows(self, claim: Sequence[Token], allowed: frozenset[int]) -> list[Window]:
        """Return all windows of the allowed sources, the best first.

        Args:
            claim: tokens of one sentence.
            allowed: indices of sources.
        """
        wanted = sorted({concept(token)[0] for token in claim if token.is_content})
        units = frozenset(t.stem for t in claim if singular(t.lower) in UNITS)
        found = []
        for index in sorted(allowed):
            source = self._sources[index]
            spoken = frozenset().union(*(sentence.concepts for sentence in source))
            for start in range(len(source)):
                for length in range(1, min(WINDOW_MAX, len(source) - start) + 1):
                    chosen = source[start : start + length]
                    score = self._score(wanted, units, chosen, spoken)
                    around = _around(source, start, start + length)
                    found.append(Window(index, start, chosen, around, score))
        return sorted(found, key=_rank)

    def _score(
        self,
        wanted: Sequence[str],
        units: frozenset[str],
        chosen: Sequence[Sentence],
        source: frozenset[str],
    ) -> float:
        near = frozenset().union(*(sentence.concepts for sentence in chosen))
        # Units are compared with their numbers, so one that is spelled otherwise is no lack.
        counted = [spoken for spoken in wanted if spoken not in units or spoken in near]
        weights = [self._weight(spoken) for spoken in counted]
        worths = [_worth(spoken, near, source) for spoken in counted]
        total = math.fsum(weights)
        met = math.fsum(weight * worth for weight, worth in zip(weights, worths, strict=True))
        return met / total if total else 0.0

    def _weight(self, spoken: str) -> float:
        known = [self._weights[one] for one in sorted(related(spoken)) if one in self._weights]
        return self._weights.get(spoken, max(known, default=self._unknown))


def _sentence(text: str) -> Sentence:
    read = tokens(text)
    spoken = {concept(token)[0] for token in read if token.is_content}
    # `cache_ttl_s` speaks of a cache, too.
    inner = {stem(part) for t in read if t.kind == "name" for part in parts(t.text).split()}
    return Sentence(text, read, frozenset(spoken | inner))


def _rank(window: Window) -> tuple[float, int, tuple[str, ...]]:
    """Order windows by score, then the shortest first, and never by where their sources stand."""
    texts = tuple(sentence.text for sentence in window.sentences)
    return -window.score, len(texts), texts


def _around(source: Sequence[Sentence], start: int, end: int) -> tuple[Sentence, ...]:
    """Return a window with the rows near it: a table is read as a whole, prose is not."""
    chosen = tuple(source[start:end])
    if not any(CELL in one.text for one in chosen):
        return chosen
    near = (*source[max(start - ROWS_MAX, 0) : start], *source[end : end + ROWS_MAX])
    return (*chosen, *(one for one in near if CELL in one.text))


def _worth(spoken: str, near: frozenset[str], source: frozenset[str]) -> float:
    """Return how well a word of a claim is met."""
    if spoken in near:
        return 1.0
    alike = related(spoken)
    if alike & near:
        return SYNONYM_WORTH
    return ELSEWHERE_WORTH if alike & source else 0.0
