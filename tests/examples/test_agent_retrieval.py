"""Retrieval: the right passage is found for questions about our own documents."""

from pathlib import Path

import pytest

from verismo.examples.agentic_rag.passages import Passage, cut_documents, read_documents
from verismo.examples.agentic_rag.retrieval import Index, rerank, terms_of

ROOT = Path(__file__).parents[2]
FOUND_AMONG = 4
"""As many passages as the agent reads."""
FORMAT, WITNESS = "docs/attestation-format.md", "docs/witnessing.md"
GOLD = {
    "Where is the salt of an answer stored?": f"{FORMAT}#1-in-short",
    "How many octets must the salt have?": f"{FORMAT}#3-commitments",
    "Which three members does the JWS header have?": f"{FORMAT}#6-signature",
    "What must a verifier refuse in the history of a key ring?": f"{FORMAT}#the-key-ring",
    "What does VERIFIED_PREFIX mean for a stream?": f"{FORMAT}#7-streams",
    "How is the id of a node of the provenance graph computed?": f"{FORMAT}#8-provenance-graph",
    "What does a saved exchange keep?": f"{FORMAT}#9-saved-exchanges",
    "How long does a retired key stay in the key set?": "docs/configuration.md#keys",
    "Why must a witness be outside the gateway's trust domain?": f"{WITNESS}#why",
    "What happens if the clock of a witness goes back?": f"{WITNESS}#its-clock",
    "Which permissions does the gateway need for the bucket?": "docs/archive.md#a-bucket",
    "Is delivery to a SIEM at least once?": "docs/siem.md#delivery",
    "What is a dead letter of a sink?": "docs/siem.md#delivery",
    "How is the parity of an hour compared with a sink?": "docs/siem.md#parity",
    "What should I do about budget_exhausted?": "docs/errors.md#budget_exhausted",
    "What does the error rate_limited mean?": "docs/errors.md#rate_limited",
    "Which status says that a tenant's records were erased?": "docs/errors.md#erased",
    "What may run under the enforcement safelist?": "README.md#with-your-own-provider",
    "What does a verified answer not show?": "README.md#what-is-proven-and-what-is-not",
    "How often is the control process killed while it answers?": "docs/reliability.md#the-ledger",
}


@pytest.fixture(scope="module")
def index() -> Index:
    return Index(cut_documents(read_documents(ROOT)))


def found(index: Index, question: str) -> list[str]:
    """Return the sections that are found, without the numbers of their pieces."""
    return [one.passage.uri.partition("~")[0] for one in index.search(question, FOUND_AMONG)]


def test_nineteen_of_twenty_questions_find_their_passage_among_four(index):
    missed = {q: found(index, q) for q, uri in GOLD.items() if uri not in found(index, q)}
    assert len(GOLD) == 20
    assert len(missed) <= 1, missed


def test_most_questions_find_their_passage_first(index):
    first = [q for q, uri in GOLD.items() if found(index, q)[0] == uri]
    assert len(first) >= 12, sorted(set(GOLD) - set(first))


@pytest.mark.parametrize("query", ["", "what is the", "zzyzx quux", "日本"])
def test_a_query_that_shares_nothing_finds_nothing(index, query):
    assert index.search(query, 4) == []


def test_what_is_found_can_be_fetched_by_its_address(index):
    for one in index.search("How many octets must the salt have?", 4):
        assert index.fetch(one.passage.uri) == one.passage
    assert index.fetch("docs/nowhere.md") is None


def test_the_same_question_finds_the_same_in_the_same_order(index):
    question = "Why must a witness be outside?"
    assert index.search(question, 8) == index.search(question, 8)


def test_a_heading_that_holds_the_question_lifts_a_passage():
    told = Passage("a.md#dead-letters", "a.md: Dead letters", "They are kept and sent again.")
    other = Passage("a.md#other", "a.md: Other", "They are kept and sent again.")
    ranked = rerank(terms_of("dead letters kept"), [(other, 1.0), (told, 1.0)])
    assert ranked[0].passage == told
    assert ranked[0].heading > ranked[1].heading


def test_neighbouring_words_lift_a_passage():
    phrase = Passage("a.md", "a.md", "The key ring is public.")
    apart = Passage("b.md", "b.md", "The ring is public, and so is the key.")
    ranked = rerank(terms_of("key ring"), [(apart, 1.0), (phrase, 1.0)])
    assert ranked[0].passage == phrase
    assert (ranked[0].phrases, ranked[1].phrases) == (1.0, 0.0)


def test_a_score_is_explained_by_its_parts():
    [one] = rerank(["salt"], [(Passage("a.md", "a.md: Salt", "The salt."), 3.0)])
    assert (one.bm25, one.terms, one.phrases, one.heading) == (1.0, 1.0, 0.0, 1.0)
    assert one.score == pytest.approx(0.4 + 0.25 + 0.2)
