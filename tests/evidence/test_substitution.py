"""A noun in the place of another one is found by its neighbours."""

import pytest

from verismo.evidence.substitution import substituted
from verismo.evidence.words import tokens


@pytest.mark.parametrize(
    ("claim", "source", "other"),
    [
        ("Its result is the mean over rounds.", "The result is the median over rounds.", "median"),
        ("A proof checks with the token keys.", "A proof is checked with rollup keys.", "rollup"),
        (
            "It counts only if a client cosigned the tree.",
            "It is one that a witness has cosigned.",
            "witness",
        ),
    ],
)
def test_a_noun_between_the_neighbours_of_another_one_is_found(
    claim: str, source: str, other: str
) -> None:
    said = substituted(tokens(claim), [tokens(source)])
    assert said.startswith(f"{other!r} stands there for ")


@pytest.mark.parametrize(
    ("claim", "source"),
    [
        # The same noun, or one that may stand for it.
        ("Its result is the median over rounds.", "The result is the median over rounds."),
        ("Write it to the folder of keys.", "Write it to the directory of keys."),
        # The noun stands elsewhere in the place: the claim may be put together otherwise.
        ("The result is the mean over rounds.", "A mean: the result is the median over rounds."),
        # Verbs and adjectives may be paraphrased.
        ("The worker quickly taking keys ends.", "The worker holding keys ends."),
        ("A defective bundle ends.", "A broken bundle ends."),
        # Neighbours that the source has in different clauses say nothing.
        ("The result is the mean over rounds.", "The result is a median, with rounds."),
        # A clause of its own has no neighbour at all.
        ("A witness.", "A client."),
    ],
)
def test_what_may_be_a_paraphrase_is_let_through(claim: str, source: str) -> None:
    assert substituted(tokens(claim), [tokens(source)]) == ""


def test_units_are_left_to_the_check_of_units() -> None:
    assert substituted(tokens("Once in a day it ends."), [tokens("Once in an hour it ends.")]) == ""
