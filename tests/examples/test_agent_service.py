"""The agent's service: JSON and streams, whose citations exist and whose sentences are sources'."""

import json

import httpx2
import msgspec
import pytest

from verismo.examples.agentic_rag.agent import Answer, query_of
from verismo.simulate.reader import NO_ANSWER, NO_SOURCES

QUESTION = "Why must a witness be outside the gateway's trust domain?"
STREAM = {"accept": "text/event-stream"}
QUESTIONS = (
    QUESTION,
    "How many octets must the salt have?",
    "What happens if the clock of a witness goes back?",
    "Is delivery to a SIEM at least once?",
    "What does a verified answer not show?",
)


@pytest.fixture
async def http(site):
    async with httpx2.AsyncClient(base_url=site[0], timeout=20) as client:
        yield client


async def ask(http: httpx2.AsyncClient, question: str) -> Answer:
    response = await http.post("/answer", json={"question": question})
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=Answer)


def plain(text: str) -> str:
    """Return a text without what Markdown and citations add to its words."""
    return "".join(character for character in text if character.isalnum())


async def test_an_answer_cites_the_passage_that_holds_it(http):
    answer = await ask(http, QUESTION)
    assert "outside the gateway's own trust domain" in answer.text
    assert answer.citations[0].uri == "docs/witnessing.md#why"
    assert f"[{answer.citations[0].number}]" in answer.text


@pytest.mark.slow
async def test_every_citation_exists_and_every_sentence_stands_in_its_source(http):
    for question in QUESTIONS:
        answer = await ask(http, question)
        assert answer.citations, question
        assert answer.unknown_citations == []
        for citation in answer.citations:
            source = answer.sources[citation.number - 1]
            assert (citation.uri, citation.title) == (source.uri, source.title)
            before = answer.text.partition(f" [{citation.number}]")[0]
            said = before.rpartition("]")[2].lstrip(". ")
            assert plain(said) in plain(source.text)


async def test_a_question_that_the_documents_do_not_answer_gets_no_citation(http):
    answer = await ask(http, "What is the capital of France?")
    assert answer.text in (NO_ANSWER, NO_SOURCES)
    assert answer.citations == []


async def test_a_stream_brings_the_same_answer_piece_by_piece(http):
    whole = await ask(http, QUESTION)
    response = await http.post("/answer", json={"question": QUESTION}, headers=STREAM)
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done, rest = response.text.split("\n\n")
    values = [json.loads(event.removeprefix("data: ")) for event in events]
    assert (done, rest) == ("data: [DONE]", "")
    assert "".join(value["delta"] for value in values[:-1]) == whole.text
    assert len(values) > 10
    assert msgspec.convert(values[-1], Answer) == whole


async def test_the_model_is_asked_what_to_search_for_before_it_answers(site, http):
    await ask(http, QUESTION)
    planned, answered = [json.loads(request.body) for request in site[1].kept]
    assert [tool["function"]["name"] for tool in planned["tools"]] == ["search"]
    assert "tools" not in answered
    assert answered["messages"][1]["content"].startswith(f"{QUESTION}\n\n[1] docs/")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"question": ""}', b'{"question": 1}', b"\xff", b'{"question": "   "}']
)
async def test_a_body_without_a_question_is_refused(http, body):
    response = await http.post("/answer", content=body)
    assert response.status_code == 400
    assert "question" in response.json()["error"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_fails_is_an_error_and_no_answer(http, stream):
    question = f"{QUESTION} [simulate: error=400]"
    headers = STREAM if stream else {}
    response = await http.post("/answer", json={"question": question}, headers=headers)
    assert "BadRequestError" in response.text
    assert response.status_code == (200 if stream else 502)
    assert "[DONE]" not in response.text


@pytest.mark.parametrize("written", ["", "{}", '{"query": 1}', '{"query": ""}', "\ud800"])
def test_a_query_that_a_model_spoiled_is_none(written):
    assert query_of(written) == ""
