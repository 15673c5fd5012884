"""OpenAI-compatible providers: bytes stay what they are, usage is read, the end is known."""

import json
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.gateway.dialects.dialect import ProviderDialect, StreamTranslator
from verismo.gateway.dialects.openai import OpenAiDialect, OpenAiTranslator
from verismo.gateway.jsonbody import parse_object
from verismo.model.errors import MalformedRequest, UpstreamBroken, VerismoError
from verismo.model.ids import DeploymentId, ProviderId
from verismo.model.operation import Deployment
from verismo.model.traffic import Usage

DEPLOYMENT = Deployment(DeploymentId("d"), ProviderId("p"), 'gpt-"4o"', "eu")
DIALECT: ProviderDialect = OpenAiDialect()

CHUNK = b'data: {"model":"gpt-4o","choices":[{"delta":{"content":"Hi"}}],"usage":null}\n\n'
LAST = b'data: {"model":"gpt-4o","choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
COUNT = (
    b'data: {"model":"gpt-4o-2024","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,'
    b'"total_tokens":9,"prompt_tokens_details":{"cached_tokens":5}}}\n\n'
)
DONE = b"data: [DONE]\n\n"
STREAM = CHUNK + b": attest forged h..s\n\n" + LAST + COUNT + DONE


def outbound_body(text: str, *, kind: str = "chat", stream: bool = False) -> str:
    return DIALECT.outbound(kind, parse_object(text.encode()), DEPLOYMENT, stream).body.decode()


def translator_for(text: str = "{}") -> StreamTranslator:
    return DIALECT.translator(parse_object(text.encode()))


def test_only_the_model_is_spliced():
    text = '{ "messages" : [ {"role":"user","content":"é\\u00e9 1e3"} ],"model":"op" ,"n":1.50}'
    expected = text.replace('"op"', '"gpt-\\"4o\\""')
    assert outbound_body(text) == expected
    assert outbound_body(text, kind="embedding", stream=True) == expected


@pytest.mark.parametrize(
    ("kind", "stream", "path", "accept"),
    [
        ("chat", False, "/chat/completions", "application/json"),
        ("chat", True, "/chat/completions", "text/event-stream"),
        ("embedding", False, "/embeddings", "application/json"),
    ],
)
def test_paths_and_headers_follow_the_kind(kind: str, stream: bool, path: str, accept: str):
    sent = DIALECT.outbound(kind, parse_object(b"{}"), DEPLOYMENT, stream)
    assert (sent.method, sent.path) == ("POST", path)
    assert dict(sent.headers) == {"content-type": "application/json", "accept": accept}
    assert not DIALECT.transforms


@pytest.mark.parametrize(
    ("client", "sent"),
    [
        ("", ',"stream_options":{"include_usage":true}'),
        (',"stream_options":null', ',"stream_options":{"include_usage":true}'),
        (',"stream_options":{}', ',"stream_options":{"include_usage":true}'),
        (
            ',"stream_options":{"x" : 1.0,"include_usage":false}',
            ',"stream_options":{"x" : 1.0,"include_usage":true}',
        ),
        (
            ',"stream_options":{ "include_usage" : true }',
            ',"stream_options":{ "include_usage" : true }',
        ),
    ],
)
def test_streams_ask_for_the_usage_and_keep_other_options(client: str, sent: str):
    assert outbound_body('{"model":"op"' + client + "}", stream=True) == (
        '{"model":"gpt-\\"4o\\""' + sent + "}"
    )


@pytest.mark.parametrize("options", ["[]", "1", '"x"', '{"include_usage":"yes"}'])
def test_stream_options_of_a_wrong_type_are_refused(options: str):
    with pytest.raises(MalformedRequest):
        outbound_body('{"stream_options":' + options + "}", stream=True)


def test_other_kinds_are_refused():
    with pytest.raises(MalformedRequest, match="graphql"):
        outbound_body("{}", kind="graphql")


def test_an_answer_keeps_its_bytes_and_tells_its_usage():
    body = (
        b'{ "model":"gpt-4o-2024","choices":[{"message":{"content":"\xff"}}],"usage":'
        b'{"prompt_tokens":7,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":5}}}'
    )
    answer = DIALECT.inbound("chat", 200, "application/json; charset=utf-8", body)
    assert answer.body == body
    assert answer.media == "application/json; charset=utf-8"
    assert answer.usage == Usage(7, 2, 5)
    assert answer.model == "gpt-4o-2024"


def test_embeddings_have_no_output_tokens():
    body = b'{"model":"e","data":[],"usage":{"prompt_tokens":3,"total_tokens":3}}'
    assert DIALECT.inbound("embedding", 200, "", body).usage == Usage(3, 0)


@pytest.mark.parametrize(
    "member",
    [
        "",
        '"usage":null',
        '"usage":{}',
        '"usage":[1]',
        '"usage":{"prompt_tokens":-1}',
        '"usage":{"prompt_tokens":1.5,"completion_tokens":1}',
        '"usage":{"prompt_tokens":9007199254740992}',
        '"usage":"many"',
    ],
)
def test_usage_that_is_missing_or_wrong_is_none(member: str):
    body = '{"model":"m"' + ("," + member if member else "") + "}"
    answer = DIALECT.inbound("chat", 200, "application/json", body.encode())
    assert (answer.usage, answer.model) == (None, "m")


def test_one_wrong_member_does_not_hide_the_others():
    body = b'{"model":7,"choices":"x","usage":{"prompt_tokens":1,"completion_tokens":2}}'
    answer = DIALECT.inbound("chat", 200, "application/json", body)
    assert (answer.usage, answer.model) == (Usage(1, 2), "")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"<html>", b'{"a":', b"{}x", b"\xff", b'{"a":' + b"[" * 99_999]
)
def test_a_success_that_is_no_object_is_broken(body: bytes):
    with pytest.raises(UpstreamBroken):
        DIALECT.inbound("chat", 200, "application/json", body)


@pytest.mark.parametrize("status", [0, 101, 301, 304, 600])
def test_a_status_that_is_no_answer_is_broken(status: int):
    with pytest.raises(UpstreamBroken, match=str(status)):
        DIALECT.inbound("chat", status, "application/json", b"{}")


def test_a_stream_is_passed_on_without_comment_usage_chunk_and_end_marker():
    translator = translator_for()
    assert translator.feed(STREAM) == [CHUNK, LAST]
    assert translator.usage == Usage(7, 2, 5)
    assert translator.model == "gpt-4o-2024"
    assert translator.ended


def test_the_usage_chunk_is_shown_to_a_client_that_asked():
    translator = translator_for('{"stream_options":{"include_usage":true}}')
    assert translator.feed(STREAM) == [CHUNK, LAST, COUNT]
    assert translator.usage == Usage(7, 2, 5)


def test_usage_beside_content_is_counted_and_shown():
    event = (
        b'data: {"choices":[{"delta":{}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
    )
    translator = translator_for()
    assert translator.feed(CHUNK + event) == [CHUNK, event]
    assert translator.usage == Usage(1, 2)
    assert translator.model == "gpt-4o"


def test_empty_choices_without_a_count_are_shown():
    event = b'data: {"choices":[],"prompt_filter_results":[],"usage":null}\n\n'
    uncounted = b'data: {"choices":[],"usage":{}}\n\n'
    assert translator_for().feed(event + uncounted) == [event, uncounted]


def test_content_that_quotes_a_usage_chunk_is_content():
    text = json.dumps({"choices": [], "usage": {"prompt_tokens": 999}})
    event = b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"
    translator = translator_for()
    assert translator.feed(CHUNK + event) == [CHUNK, event]
    assert translator.usage is None


def test_deltas_are_not_decoded():
    garbled = b'data: {"choices":[{"delta":{"content":"cut\n\n'
    assert translator_for().feed(CHUNK + garbled) == [CHUNK, garbled]


def test_nothing_after_the_end_marker_is_passed_on():
    translator = translator_for()
    assert translator.feed(CHUNK + DONE + LAST) == [CHUNK]
    assert translator.feed(LAST) == []


def test_a_stream_without_its_end_marker_was_cut():
    translator = OpenAiTranslator(shows_usage=False)
    assert translator.feed(CHUNK + b"data: [DO") == [CHUNK]
    assert translator.finish() == []
    assert not translator.ended
    assert translator.usage is None


def test_an_end_marker_without_its_blank_line_is_an_end():
    translator = OpenAiTranslator(shows_usage=False)
    translator.feed(CHUNK + b"data: [DONE]\n")
    assert not translator.ended
    assert translator.finish() == []
    assert translator.ended


def test_what_is_no_event_stream_never_ends():
    translator = OpenAiTranslator(shows_usage=False)
    assert translator.feed(b'{"error":{"message":"no"}}\n\n') == []
    translator.finish()
    assert not translator.ended


@pytest.mark.parametrize("event", [b"data: hello\n\n", b"data: []\n\n", b"data: {\n\n"])
def test_a_first_event_that_is_no_object_is_broken(event: bytes):
    with pytest.raises(UpstreamBroken):
        translator_for().feed(event)


@given(st.lists(st.integers(0, len(STREAM)), max_size=20), st.booleans())
def test_any_cut_of_a_stream_gives_the_same_events(places: list[int], carriage_returns: bool):
    data = STREAM.replace(b"\n", b"\r\n") if carriage_returns else STREAM
    edges = [0, *sorted(places), len(data)]
    translator = translator_for()
    events: list[bytes] = []
    for start, end in pairwise(edges):
        events += translator.feed(data[start:end])
    assert events == [CHUNK, LAST]
    assert translator.ended
    assert translator.usage == Usage(7, 2, 5)


QUOTING = b'data: {"choices":[{"delta":{"content":"[DONE] \\"usage\\":{"}}]}\n\n'
BESIDE = b'data: {"choices":[{"delta":{}}],"usage": {"prompt_tokens":1,"completion_tokens":2}}\n\n'
TWO_LINES = b'event: x\ndata: {"choices":[],\ndata: "usage":{}}\n\n'
EVENTS = st.sampled_from([CHUNK, LAST, COUNT, QUOTING, BESIDE, TWO_LINES, DONE])


@given(st.lists(EVENTS, max_size=12), st.booleans())
def test_events_that_come_together_are_read_like_single_ones(events: list[bytes], asks: bool):
    together = OpenAiTranslator(shows_usage=asks)
    singly = OpenAiTranslator(shows_usage=asks)
    shown = [one for event in events for one in singly.feed(event)]
    assert together.feed(b"".join(events)) == shown
    assert (together.usage, together.model) == (singly.usage, singly.model)
    assert together.ended is singly.ended is (DONE in events)


@given(st.binary(max_size=200), st.integers(0, 700))
def test_any_answer_is_read_or_refused(body: bytes, status: int):
    for candidate in (body, b'{"usage":' + body + b"}", b'{"model":"' + body + b'"}'):
        try:
            answer = DIALECT.inbound("chat", status, "application/json", candidate)
        except VerismoError:
            continue
        assert answer.usage is None or answer.usage.input_tokens >= 0


@given(st.lists(st.binary(max_size=60) | st.sampled_from([CHUNK, COUNT, b"\n\n"]), max_size=8))
def test_any_stream_is_translated_or_refused(chunks: list[bytes]):
    translator = OpenAiTranslator(shows_usage=False)
    with suppress(UpstreamBroken):
        for chunk in chunks:
            for event in translator.feed(b"data: " + chunk):
                assert event.endswith(b"\n\n")
        translator.finish()
