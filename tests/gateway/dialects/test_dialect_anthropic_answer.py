"""Anthropic's answers and errors in OpenAI's words, read by OpenAI's own types."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from verismo.gateway.dialects.anthropic import AnthropicDialect
from verismo.gateway.dialects.dialect import Inbound
from verismo.model.errors import UpstreamBroken, VerismoError
from verismo.model.traffic import Usage

DIALECT = AnthropicDialect()
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x-1",
    "content": [{"type": "text", "text": "Hé"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 5,
        "output_tokens": 7,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 2,
    },
}


def answer_for(**members: object) -> Inbound:
    body = json.dumps({**MESSAGE, **members}).encode()
    return DIALECT.inbound("chat", 200, "application/json", body)


def completion_for(**members: object) -> ChatCompletion:
    return ChatCompletion.model_validate_json(answer_for(**members).body, strict=True)


def test_an_answer_becomes_a_completion():
    answer = answer_for()
    assert (answer.status, answer.media) == (200, "application/json")
    assert (answer.usage, answer.model) == (Usage(10, 7, 3), "claude-x-1")
    assert json.loads(answer.body) == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 0,
        "model": "claude-x-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hé", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 7,
            "total_tokens": 17,
            "prompt_tokens_details": {"cached_tokens": 3},
        },
    }
    assert completion_for().choices[0].message.content == "Hé"


def test_the_same_answer_gives_the_same_bytes():
    assert answer_for().body == answer_for().body


def test_tool_uses_become_calls_whose_arguments_keep_their_bytes():
    body = json.dumps({**MESSAGE, "stop_reason": "tool_use", "content": []}).replace(
        '"content": []',
        '"content": [{"type":"thinking","thinking":"hm"},'
        '{"type":"tool_use","id":"t1","name":"f","input":{ "a" : 1.50 }},'
        '{"type":"tool_use","id":"t2","name":"g","input":null}]',
    )
    answer = DIALECT.inbound("chat", 200, "application/json", body.encode())
    choice = ChatCompletion.model_validate_json(answer.body, strict=True).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert [
        (call.id, call.type, call.function.name, call.function.arguments)
        for call in choice.message.tool_calls or []
        if call.type == "function"
    ] == [("t1", "function", "f", '{ "a" : 1.50 }'), ("t2", "function", "g", "{}")]


def test_text_blocks_are_joined_and_thinking_is_left_out():
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]
    assert completion_for(content=content).choices[0].message.content == "ab"
    assert completion_for(content=[]).choices[0].message.content == ""


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "stop"),
        ("made_up", "stop"),
        (None, "stop"),
    ],
)
def test_stop_reasons_have_openai_s_names(stop_reason: str | None, finish_reason: str):
    assert completion_for(stop_reason=stop_reason).choices[0].finish_reason == finish_reason


@pytest.mark.parametrize("usage", [None, {}, {"output_tokens": 1}])
def test_usage_that_is_missing_is_none(usage: object):
    answer = answer_for(usage=usage)
    assert answer.usage is None
    assert "usage" not in json.loads(answer.body)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"id":1,"content":[]}'])
def test_a_success_that_is_no_message_is_broken(body: bytes):
    with pytest.raises(UpstreamBroken):
        DIALECT.inbound("chat", 200, "application/json", body)


@pytest.mark.parametrize(
    ("status", "error_type", "client_status", "client_type"),
    [
        (400, "invalid_request_error", 400, "invalid_request_error"),
        (403, "permission_error", 403, "permission_error"),
        (404, "not_found_error", 404, "invalid_request_error"),
        (413, "request_too_large", 413, "invalid_request_error"),
        (429, "rate_limit_error", 429, "rate_limit_error"),
        (500, "api_error", 500, "server_error"),
        (529, "overloaded_error", 503, "server_error"),
    ],
)
def test_errors_become_openai_errors(
    status: int, error_type: str, client_status: int, client_type: str
):
    body = json.dumps({"type": "error", "error": {"type": error_type, "message": "why"}})
    answer = DIALECT.inbound("chat", status, "application/json", body.encode())
    assert (answer.status, answer.media) == (client_status, "application/json")
    assert json.loads(answer.body)["error"] == {
        "message": "why",
        "type": client_type,
        "param": None,
        "code": error_type,
    }


def test_a_refused_credential_is_not_quoted_to_the_client():
    body = b'{"error":{"type":"authentication_error","message":"invalid x-api-key sk-ant"}}'
    answer = DIALECT.inbound("chat", 401, "application/json", body)
    assert answer.status == 502
    assert b"sk-ant" not in answer.body


@pytest.mark.parametrize(("status", "client_status"), [(529, 503), (502, 502)])
def test_errors_of_another_shape_become_a_failure(status: int, client_status: int):
    answer = DIALECT.inbound("chat", status, "text/html", b"<html>")
    assert answer.status == client_status
    assert answer.failure is not None
    assert (answer.failure.code, answer.failure.status) == ("upstream_failed", client_status)
    assert str(status) in answer.failure.detail


def test_redirects_are_broken():
    with pytest.raises(UpstreamBroken):
        DIALECT.inbound("chat", 307, "application/json", b"{}")


@given(st.binary(max_size=80), st.integers(0, 650))
def test_any_answer_is_translated_or_refused(body: bytes, status: int):
    for candidate in (
        body,
        b'{"id":"' + body + b'","content":[]}',
        b'{"id":"","content":[' + body + b"]}",
        b'{"error":' + body + b"}",
    ):
        with suppress(VerismoError):
            answer = DIALECT.inbound("chat", status, "", candidate)
            assert answer.failure is not None or json.loads(answer.body)
