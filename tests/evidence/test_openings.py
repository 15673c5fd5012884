"""Capitalised words at the head of a sentence: which of them are names."""

import pytest

from verismo.evidence.openings import lower_stems, with_opening
from verismo.evidence.words import tokens


def opens_with_name(claim: str, *sources: str) -> bool:
    lower = frozenset().union(*(lower_stems(source) for source in sources))
    return with_opening(claim, tokens(claim), lower)[0].kind == "name"


@pytest.mark.parametrize(
    "claim",
    [
        "Einstein discovered polonium and radium.",
        "Einstein also wrote letters.",
        "Redis keeps the profiles.",
        "Redis never stores profiles.",
        "Oslo hosts the main data centre.",
        "Jenkins is what runs the job.",
        "Kafka carries orders.",
        "Cassandra keeps three copies.",
        "Athena can query them.",
        "Berlin lies on the Spree.",
        "Italy hosts the second data centre.",
        "Koch and Chain made a medicine of it.",
        "**Redis** keeps the profiles.",
        "Newton's theory explains the tides.",
    ],
)
def test_a_word_without_an_article_before_a_verb_of_one_thing_is_a_name(claim: str) -> None:
    assert opens_with_name(claim)


@pytest.mark.parametrize(
    "claim",
    [
        "Answers are signed before they leave.",
        "Bananas grow in Ecuador.",
        "Ships can come by a canal.",
        "Journal files grow by a megabyte.",
        "Provider keys are never logged.",
        "Weekly reports go to the owner.",
        "Retention is thirty days.",
        "Running it takes a clock.",
        "Traffic rises at noon.",
        "Latency was measured on one core.",
        "Unfortunately the disk was full.",
        "Deleted records stay in the log.",
        "Salt has 32 octets.",
        "Twenty was his age.",
        "Seconds are counted.",
        "Children's books are printed there.",
        "Nobody is asked.",
        "Event logs",
        "Redis",
        "",
        "`Redis` keeps it.",
    ],
)
def test_an_ordinary_word_is_none(claim: str) -> None:
    assert not any(
        one.text != other.text
        for one, other in zip(
            with_opening(claim, tokens(claim), frozenset()), tokens(claim), strict=True
        )
    )


@pytest.mark.parametrize(
    ("claim", "source"),
    [
        ("Witness was asked twice.", "A witness is asked."),
        ("Witnessed was asked twice.", "It is witnessing."),
        ("Reply is sent.", "Each answer is sent."),
    ],
)
def test_what_a_source_spells_in_lower_case_is_no_name(claim: str, source: str) -> None:
    assert not opens_with_name(claim, source)


def test_what_the_claim_itself_spells_in_lower_case_is_no_name() -> None:
    assert opens_with_name("Gizmo was asked.")
    assert not opens_with_name("Gizmo was asked for by a gizmo.")


def test_a_source_that_spells_a_name_as_one_leaves_it_a_name() -> None:
    assert opens_with_name("Oslo hosts the copy.", "OSLO and Oslo host it.")
