"""Retrieval: BM25 finds candidates among all passages, re-ranking orders them for a reason."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import bm25s
import msgspec
from bm25s.stopwords import STOPWORDS_EN
from bm25s.tokenization import tokenize

from .passages import Passage

CANDIDATES = 12
"""How many passages BM25 hands to re-ranking."""
_STOP_WORDS = [
    *STOPWORDS_EN,
    *("am", "can", "could", "did", "do", "does", "from", "had", "has", "have", "how", "its", "may"),
    *(
        "me",
        "must",
        "my",
        "our",
        "shall",
        "should",
        "so",
        "than",
        "those",
        "up",
        "us",
        "we",
        "were",
    ),
    *("what", "when", "where", "which", "who", "whom", "whose", "why", "would", "you", "your"),
]
_ENDING = re.compile(r"(?<=[a-z]{3})(?:ing|ies|ied|es|ed|s|e|y)$")


class Ranked(msgspec.Struct, frozen=True):
    """A passage and why it stands where it stands; scores are 0 to 1.

    Args:
        passage: what was found.
        bm25: its BM25 score as a share of the best candidate's.
        terms: share of the question's terms that stand in its text.
        phrases: share of the question's neighbouring terms that are neighbours in its text too.
        heading: share of the question's terms that stand in its title.
    """

    passage: Passage
    bm25: float
    terms: float
    phrases: float
    heading: float

    @property
    def score(self) -> float:
        """The weighted sum."""
        return 0.4 * self.bm25 + 0.25 * self.terms + 0.15 * self.phrases + 0.2 * self.heading


class Index:
    """Passages in memory, searched by BM25.

    Args:
        passages: at least one.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._by_uri = {passage.uri: passage for passage in passages}
        self._bm25 = bm25s.BM25()  # type: ignore[no-untyped-call]
        self._bm25.index(
            [terms_of(f"{passage.title}\n{passage.text}") for passage in passages],
            show_progress=False,
        )

    def fetch(self, uri: str) -> Passage | None:
        """Return the passage at an address."""
        return self._by_uri.get(uri)

    def search(self, query: str, count: int) -> list[Ranked]:
        """Return the passages that fit a query best; fewer, or none, where few share a term.

        Args:
            query: in words.
            count: at least 1.
        """
        terms = terms_of(query)
        if not terms:
            return []
        scores = self._bm25.get_scores(terms)
        order = sorted(range(len(self._passages)), key=lambda at: -scores[at])[:CANDIDATES]
        found = [(self._passages[at], float(scores[at])) for at in order if scores[at] > 0]
        return rerank(terms, found)[:count]


def rerank(terms: Sequence[str], found: Sequence[tuple[Passage, float]]) -> list[Ranked]:
    """Order candidates by how much of the question they hold, and where.

    Args:
        terms: the question's, in order.
        found: passages with their BM25 scores, the best first.
    """
    asked = set(terms)
    pairs = set(pairwise(terms))
    ranked = []
    for passage, score in found:
        words = terms_of(passage.text)
        neighbours = set(pairwise(words))
        ranked.append(
            Ranked(
                passage=passage,
                bm25=score / found[0][1],
                terms=len(asked & set(words)) / len(asked),
                phrases=len(pairs & neighbours) / len(pairs) if pairs else 0.0,
                heading=len(asked & set(terms_of(passage.title))) / len(asked),
            )
        )
    return sorted(ranked, key=lambda entry: -entry.score)


def terms_of(text: str) -> list[str]:
    """Return a text's words in order, in lower case, without stop words and common endings."""
    tokens = tokenize(text, stopwords=_STOP_WORDS, return_ids=False, show_progress=False)
    return [_ENDING.sub("", word) for word in cast("list[list[str]]", tokens)[0]]
