"""Anthropic's streams as chunks of a chat completion, read by the openai SDK itself."""

import json
from contextlib import suppress
from itertools import pairwise

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from verismo.gateway.dialects.anthropic import AnthropicDialect
from verismo.gateway.dialects.anthropic_stream import AnthropicTranslator
from verismo.gateway.dialects.dialect import StreamTranslator
from verismo.gateway.jsonbody import parse_object
from verismo.model.errors import UpstreamBroken
from verismo.model.traffic import Usage


def event(name: str, **members: object) -> bytes:
    data = json.dumps({"type": name, **members})
    return f"event: {name}\ndata: {data}\n\n".encode()


def block(index: int, **members: object) -> bytes:
    return event("content_block_start", index=index, content_block=members)


def piece(index: int, **members: object) -> bytes:
    return event("content_block_delta", index=index, delta=members)


def close(index: int) -> bytes:
    return event("content_block_stop", index=index)


START = event(
    "message_start",
    message={
        "id": "msg_1",
        "model": "claude-x-1",
        "usage": {"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 3},
    },
)
STOP = event("message_stop")
TEXT = (
    block(0, type="text", text="")
    + event("ping")
    + piece(0, type="text_delta", text="Hé")
    + piece(0, type="text_delta", text="llo\n")
    + close(0)
)
TOOLS = (
    block(1, type="tool_use", id="t1", name="f", input={})
    + piece(1, type="input_json_delta", partial_json="")
    + piece(1, type="input_json_delta", partial_json='{"a":')
    + piece(1, type="input_json_delta", partial_json=" 1.50}")
    + close(1)
    + block(2, type="tool_use", id="t2", name="g", input={})
    + close(2)
)


def conclusion(stop_reason: str = "end_turn") -> bytes:
    return event("message_delta", delta={"stop_reason": stop_reason}, usage={"output_tokens": 9})


WHOLE = START + TEXT + TOOLS + conclusion("tool_use") + STOP


def translator_for(text: str = "{}") -> StreamTranslator:
    return AnthropicDialect().translator(parse_object(text.encode()))


def chunks_of(events: list[bytes]) -> list[ChatCompletionChunk]:
    for each in events:
        assert each.startswith(b"data: ")
        assert each.endswith(b"\n\n")
        assert each.count(b"\n") == 2
    return [ChatCompletionChunk.model_validate_json(each[6:], strict=True) for each in events]


def test_a_stream_is_said_in_chunks():
    translator = translator_for()
    chunks = chunks_of(translator.feed(START + TEXT + conclusion() + STOP))
    assert {chunk.id for chunk in chunks} == {"msg_1"}
    assert {chunk.model for chunk in chunks} == {"claude-x-1"}
    assert {chunk.created for chunk in chunks} == {0}
    assert [(chunk.choices[0].delta.role, chunk.choices[0].delta.content) for chunk in chunks] == [
        ("assistant", ""),
        (None, "Hé"),
        (None, "llo\n"),
        (None, None),
    ]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, "stop"]
    assert translator.ended
    assert translator.model == "claude-x-1"
    assert translator.usage == Usage(8, 9, 3)


def test_the_exact_octets_of_a_chunk():
    assert translator_for().feed(START) == [
        b'data: {"id":"msg_1","object":"chat.completion.chunk","created":0,"model":"claude-x-1",'
        b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,'
        b'"finish_reason":null}]}\n\n'
    ]


def test_the_openai_sdk_assembles_text_calls_and_usage():
    asked = '{"stream_options":{"include_usage":true}}'
    body = b"".join(translator_for(asked).feed(WHOLE)) + b"data: [DONE]\n\n"

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        openai.OpenAI(
            api_key="vk_x", base_url="http://gateway.test/v1", http_client=http
        ) as client,
        client.chat.completions.stream(
            model="op", messages=[], stream_options={"include_usage": True}
        ) as stream,
    ):
        completion = stream.get_final_completion()
    choice = completion.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Héllo\n"
    assert [
        (call.id, call.function.name, call.function.arguments)
        for call in choice.message.tool_calls or []
    ] == [("t1", "f", '{"a": 1.50}'), ("t2", "g", "{}")]
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (8, 9)
    assert completion.usage.total_tokens == 17


def test_usage_is_shown_only_to_a_client_that_asked():
    silent = chunks_of(translator_for().feed(WHOLE))
    asked = chunks_of(translator_for('{"stream_options":{"include_usage":true}}').feed(WHOLE))
    assert all(chunk.usage is None for chunk in silent)
    assert asked[:-1] == silent
    assert asked[-1].choices == []
    assert asked[-1].usage is not None


def test_a_stream_without_counts_has_no_usage():
    bare = event("message_start", message={"id": "m"}) + STOP
    translator = translator_for('{"stream_options":{"include_usage":true}}')
    assert len(translator.feed(bare)) == 1
    assert translator.usage is None
    assert translator.ended


def test_input_that_comes_at_once_is_passed_on_once():
    opened = block(0, type="tool_use", id="t", name="f", input={"a": 1})
    chunks = chunks_of(translator_for().feed(START + opened + close(0)))
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert [json.loads(call.function.arguments or "") for call in calls if call.function] == [
        {"a": 1}
    ]


def test_text_that_comes_with_its_block_is_passed_on():
    chunks = chunks_of(translator_for().feed(START + block(0, type="text", text="x")))
    assert chunks[-1].choices[0].delta.content == "x"


def test_thinking_and_unknown_events_are_left_out():
    quiet = (
        block(0, type="thinking", thinking="")
        + piece(0, type="thinking_delta", thinking="hm")
        + piece(0, type="signature_delta", signature="s")
        + close(0)
        + event("made_up", index=3)
        + event("content_block_start", index=1)
        + event("content_block_delta", index=1)
        + event("message_delta", delta={}, usage=None)
    )
    assert len(translator_for().feed(START + quiet)) == 1


def test_an_error_event_becomes_an_openai_error_and_the_stream_stays_unended():
    failure = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    translator = translator_for()
    events = translator.feed(START + failure + STOP)
    assert json.loads(events[-1].removeprefix(b"data: "))["error"] == {
        "message": "Overloaded",
        "type": "server_error",
        "param": None,
        "code": "overloaded_error",
    }
    assert len(events) == 2
    assert translator.feed(STOP) == []
    assert not translator.ended


def test_an_error_without_a_cause_is_still_an_error():
    [only] = translator_for().feed(event("error"))
    assert json.loads(only.removeprefix(b"data: "))["error"]["code"] == "api_error"


def test_a_cut_stream_keeps_what_was_counted_so_far():
    translator = AnthropicTranslator(shows_usage=True)
    translator.feed(START + TEXT)
    assert translator.finish() == []
    assert not translator.ended
    assert translator.usage == Usage(8, 1, 3)


def test_nothing_after_the_end_is_passed_on():
    translator = translator_for()
    count = len(translator.feed(WHOLE + TEXT))
    assert count == len(translator_for().feed(WHOLE))
    assert translator.feed(TEXT) == []


@pytest.mark.parametrize(
    "data",
    [
        b"data: hello\n\n",
        b"data: []\n\n",
        b"data: {}\n\n",
        START + START,
        event("message_start"),
        piece(0, type="text_delta", text="x"),
        conclusion(),
        START + piece(7, type="input_json_delta", partial_json="{"),
        event("message_start", message={"id": "m", "usage": {"input_tokens": -1}}),
    ],
)
def test_what_is_not_anthropic_s_protocol_is_broken(data: bytes):
    with pytest.raises(UpstreamBroken):
        translator_for().feed(data)


@given(st.lists(st.integers(0, len(WHOLE)), max_size=20), st.booleans())
def test_any_cut_of_a_stream_gives_the_same_events(places: list[int], carriage_returns: bool):
    data = WHOLE.replace(b"\n", b"\r\n") if carriage_returns else WHOLE
    translator = translator_for()
    events: list[bytes] = []
    for start, end in pairwise([0, *sorted(places), len(data)]):
        events += translator.feed(data[start:end])
    assert events == translator_for().feed(WHOLE)
    assert translator.ended


PIECES = st.sampled_from([START, TEXT, TOOLS, STOP, conclusion(), event("error"), close(1)])


@settings(max_examples=60)
@given(st.lists(PIECES | st.binary(max_size=40).map(lambda raw: b"data: " + raw + b"\n\n")))
def test_any_stream_is_translated_or_refused(parts: list[bytes]):
    translator = translator_for()
    with suppress(UpstreamBroken):
        for part in parts:
            for each in translator.feed(part):
                assert json.loads(each.removeprefix(b"data: "))
