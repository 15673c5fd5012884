"""Where in the sources a claim's words stand together."""

from verismo.evidence.overlap import Library
from verismo.evidence.words import tokens

SOURCES = (
    "The journal is a file. Each answer is written to it. Then the reply leaves.",
    "Bread is made of flour. It needs water.",
)
BOTH = frozenset((0, 1))


def test_the_best_window_is_the_shortest_that_speaks_of_the_claim() -> None:
    best = Library(SOURCES).windows(tokens("Flour makes bread."), BOTH)[0]
    assert (best.source, [sentence.text for sentence in best.sentences]) == (
        1,
        ["Bread is made of flour."],
    )


def test_neighbours_may_support_a_claim_together() -> None:
    claim = tokens("The answer is written to the journal before the reply leaves.")
    best = Library(SOURCES).windows(claim, BOTH)[0]
    assert len(best.sentences) == 3


def test_only_allowed_sources_are_looked_at() -> None:
    windows = Library(SOURCES).windows(tokens("Flour makes bread."), frozenset((0,)))
    assert {window.source for window in windows} == {0}


def test_what_no_source_speaks_of_scores_nothing() -> None:
    assert Library(SOURCES).windows(tokens("Quantum chromodynamics."), BOTH)[0].score == 0.0


def test_words_elsewhere_in_the_source_count_less_than_near_ones() -> None:
    library = Library(("Keys rotate daily. Nothing else happens. Nobody looks. Disks fail.",))
    windows = library.windows(tokens("Keys fail."), frozenset((0,)))
    alone = [window.score for window in windows if len(window.sentences) == 1]
    assert 0.4 < max(alone) < 1.0


def test_parts_of_names_are_spoken_of() -> None:
    library = Library(("`cache_ttl_s` is 0.",))
    assert library.windows(tokens("The cache is off."), frozenset((0,)))[0].score > 0.0


def test_without_sources_there_is_no_window() -> None:
    assert Library(()).windows(tokens("Anything at all."), frozenset()) == []
