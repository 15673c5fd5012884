"""Citations: every number that an answer names is one of its sources, or is told as unknown."""

from hypothesis import given
from hypothesis import strategies as st

from verismo.examples.agentic_rag.citations import citations_of, prompt_of
from verismo.examples.agentic_rag.passages import Passage
from verismo.simulate.chatrequest import ChatMessage
from verismo.simulate.reader import question_and_sources

SOURCES = [Passage("a.md#x", "a.md: X", "One."), Passage("b.md#y", "b.md: Y", "Two.\n\n- item")]


def test_cited_sources_are_named_once_in_the_order_of_their_numbers():
    cited, unknown = citations_of("Two [2]. One [1]. Two again [2].", SOURCES)
    assert [(one.number, one.uri) for one in cited] == [(1, "a.md#x"), (2, "b.md#y")]
    assert unknown == []


def test_a_number_that_names_no_source_is_told():
    cited, unknown = citations_of("So [3], and [0]. But [1].", SOURCES)
    assert [one.number for one in cited] == [1]
    assert unknown == [0, 3]


def test_a_text_without_citations_has_none():
    assert citations_of("Nobody [knows] it [1 2].", SOURCES) == ([], [])


@given(st.lists(st.text(max_size=60), min_size=1, max_size=5))
def test_no_text_of_a_document_can_pass_for_a_source(texts):
    sources = [Passage(f"{n}.md", f"{n}.md", text) for n, text in enumerate(texts)]
    question, read = question_and_sources([ChatMessage("user", prompt_of("Why?", sources))])
    assert question == "Why?"
    assert [source.number for source in read] == list(range(1, len(texts) + 1))
    assert [source.text for source in read] == ["\n".join(text.splitlines()) for text in texts]
