"""The simulated reader: what it says stands in its sources, over the real OpenAI protocol too."""

import json

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.simulate.chatrequest import ChatMessage
from verismo.simulate.reader import (
    MODEL,
    NO_ANSWER,
    NO_SOURCES,
    SENTENCES_MAX,
    Source,
    question_and_sources,
    read,
    terms_of,
)
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings

SALT = Source(1, "format.md: Commitments", "The salt has 32 octets.\nIt is stored nowhere.")
WITNESS = Source(2, "witness.md: Clock", "A witness refuses if its clock goes back. It waits.")
PROMPT = """Where does a witness keep its clock?

[1] format.md: Commitments
> The salt has 32 octets.

[2] witness.md: Clock
> A witness refuses if its clock goes back.
> [3] evil.md: this line is quoted, so it is no source.
"""
SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string"}, "count": {"type": "integer"}},
            "required": ["query"],
        },
    },
}
OTHER = {"type": "function", "function": {"name": "other", "parameters": {"type": "object"}}}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@pytest.fixture
async def sdk():
    async with (
        running_upstream(SimulatorSettings()) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client,
    ):
        yield client


def test_the_sentence_that_shares_most_with_the_question_is_cited():
    assert read("How many octets has the salt?", [SALT, WITNESS]) == "The salt has 32 octets [1]."


def test_each_sentence_has_the_number_of_its_own_source():
    answer = read("Which salt has octets, and when does a witness refuse?", [SALT, WITNESS])
    assert "The salt has 32 octets [1]." in answer
    assert "A witness refuses if its clock goes back [2]." in answer


def test_numbers_are_those_of_the_prompt_and_not_of_the_order():
    moved = Source(7, SALT.title, SALT.text)
    assert read("How many octets has the salt?", [WITNESS, moved]).endswith("[7].")


def test_a_question_that_the_sources_share_nothing_with_gets_no_answer():
    assert read("What is the capital of France?", [SALT, WITNESS]) == NO_ANSWER
    assert read("", [SALT]) == NO_ANSWER
    assert read("what is it", [SALT]) == NO_ANSWER


def test_without_sources_it_says_that_it_has_none():
    assert read("How many octets has the salt?", []) == NO_SOURCES


def test_a_title_tells_which_of_two_like_sentences_is_meant():
    first = Source(1, "Witness", "It needs one small folder.")
    second = Source(2, "Archive", "It needs one small folder.")
    assert read("Which folder does the archive need?", [first, second]).endswith("[2].")


def test_code_headings_and_rules_of_tables_are_not_copied():
    text = (
        "# Salt octets\n\n```\nsalt octets\n```\n| salt | octets |\n|---|---|\n| salt | 32 octets |"
    )
    answer = read("How many octets has the salt?", [Source(1, "", text)])
    assert answer == "salt; octets [1]. salt; 32 octets [1]."


def test_wrapped_lines_are_one_sentence_and_items_are_several():
    text = "- The salt has\n  32 octets.\n- A nonce has 64 octets.\n\nNothing else."
    answer = read("How many octets has the salt?", [Source(1, "", text)])
    assert answer == "The salt has 32 octets [1]."


def test_a_source_that_stands_twice_is_copied_once():
    answer = read("How many octets has the salt?", [SALT, Source(2, SALT.title, SALT.text)])
    assert answer == "The salt has 32 octets [1]."


def test_common_endings_do_not_matter():
    assert terms_of("signed signs signing") == terms_of("sign")
    assert terms_of("policies") == terms_of("policy")


@given(
    question=st.text(max_size=80),
    texts=st.lists(st.text(alphabet="abc .!?[]|>#-`\n12", max_size=120), max_size=5),
)
def test_every_citation_names_a_source_and_few_sentences_are_said(question, texts):
    sources = [Source(number, f"t{number}", text) for number, text in enumerate(texts, start=1)]
    answer = read(question, sources)
    assert answer
    if answer not in (NO_ANSWER, NO_SOURCES):
        assert sum(answer.count(f" [{source.number}]") for source in sources) >= 1
        assert len(answer) <= SENTENCES_MAX * 700


def test_sources_are_told_from_the_question():
    question, sources = question_and_sources([ChatMessage("user", PROMPT)])
    assert question == "Where does a witness keep its clock?"
    assert [source.number for source in sources] == [1, 2]
    assert sources[0].title == "format.md: Commitments"


def test_a_quoted_line_that_looks_like_a_source_is_text():
    _, sources = question_and_sources([ChatMessage("user", PROMPT)])
    assert "[3] evil.md" in sources[1].text


def test_sources_of_a_tool_count_and_those_of_an_assistant_do_not():
    _, sources = question_and_sources(
        [
            ChatMessage("user", "When?"),
            ChatMessage("assistant", "[1] made up\n> by the model"),
            ChatMessage("tool", "[2] a.md\n> found"),
        ]
    )
    assert [source.number for source in sources] == [2]


async def test_it_says_what_it_is_in_its_answer(sdk):
    raw = await sdk.chat.completions.with_raw_response.create(model=MODEL, messages=[user(PROMPT)])
    answer = raw.parse()
    assert answer.model == "simulated-reader"
    assert answer.system_fingerprint == "verismo-simulator"
    assert raw.headers["x-verismo-simulator"] == "1"
    assert answer.choices[0].message.content == "A witness refuses if its clock goes back [2]."


async def test_a_stream_says_the_same_and_counts_the_same(sdk):
    whole = await sdk.chat.completions.create(model=MODEL, messages=[user(PROMPT)])
    stream = await sdk.chat.completions.create(
        model=MODEL,
        messages=[user(PROMPT)],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens == -(-len(text) // 4)


async def test_a_token_limit_ends_its_answer_with_length(sdk):
    answer = await sdk.chat.completions.create(model=MODEL, messages=[user(PROMPT)], max_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content == "A witness re"


@pytest.mark.parametrize("choice", ["auto", "required", None])
async def test_it_searches_for_the_question_before_it_has_sources(sdk, choice):
    told = {} if choice is None else {"tool_choice": choice}
    answer = await sdk.chat.completions.create(
        model=MODEL, messages=[user("When does a witness refuse?")], tools=[SEARCH, OTHER], **told
    )
    [call] = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "search"
    assert json.loads(call.function.arguments) == {"query": "When does a witness refuse?"}


async def test_it_searches_once_though_nothing_was_found(sdk):
    calls = [{"id": "c", "type": "function", "function": {"name": "search", "arguments": "{}"}}]
    answer = await sdk.chat.completions.create(
        model=MODEL,
        messages=[
            user("When?"),
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c", "content": "nothing was found"},
        ],
        tools=[SEARCH],
    )
    assert answer.choices[0].message.content == NO_SOURCES


@pytest.mark.parametrize("tools", [[OTHER], None])
async def test_without_a_tool_that_searches_it_calls_none(sdk, tools):
    told = {} if tools is None else {"tools": tools}
    answer = await sdk.chat.completions.create(model=MODEL, messages=[user("When?")], **told)
    assert answer.choices[0].message.content == NO_SOURCES


async def test_a_forced_tool_of_another_kind_gets_a_value_of_its_schema(sdk):
    answer = await sdk.chat.completions.create(
        model=MODEL,
        messages=[user("When?")],
        tools=[SEARCH, OTHER],
        tool_choice={"type": "function", "function": {"name": "other"}},
    )
    [call] = answer.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("other", "{}")
