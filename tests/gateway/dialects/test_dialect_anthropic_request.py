"""OpenAI's chat requests in Anthropic's words: all of it is said, or it is refused by name."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.gateway.dialects.anthropic import AnthropicDialect
from verismo.gateway.dialects.dialect import ProviderDialect
from verismo.gateway.jsonbody import parse_object
from verismo.model.errors import MalformedRequest, VerismoError
from verismo.model.ids import DeploymentId, ProviderId
from verismo.model.operation import Deployment

DEPLOYMENT = Deployment(DeploymentId("d"), ProviderId("p"), "claude-x", "eu")
DIALECT: ProviderDialect = AnthropicDialect()

HELLO = {"role": "user", "content": "hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.50}'}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def sent_for(members: dict[str, object], *, stream: bool = False) -> dict[str, object]:
    body = parse_object(json.dumps({"model": "op", "messages": [HELLO], **members}).encode())
    return json.loads(DIALECT.outbound("chat", body, DEPLOYMENT, stream).body)


def turns_for(*messages: dict[str, object]) -> object:
    return sent_for({"messages": list(messages)})["messages"]


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


def refusal_of(members: dict[str, object]) -> str:
    with pytest.raises(MalformedRequest) as caught:
        sent_for(members)
    return caught.value.detail


def test_a_plain_request_has_the_least_that_anthropic_takes():
    assert sent_for({}) == {
        "model": "claude-x",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [text("hello")]}],
    }


def test_address_and_headers_are_those_of_the_messages_api():
    body = parse_object(json.dumps({"messages": [HELLO]}).encode())
    sent = DIALECT.outbound("chat", body, DEPLOYMENT, True)
    assert (sent.method, sent.path) == ("POST", "/messages")
    assert dict(sent.headers) == {
        "content-type": "application/json",
        "accept": "text/event-stream",
        "anthropic-version": "2023-06-01",
    }
    assert DIALECT.transforms
    assert sent_for({"stream": True, "stream_options": {"include_usage": True}}, stream=True)[
        "stream"
    ]


@pytest.mark.parametrize("kind", ["embedding", "graphql", "http"])
def test_other_kinds_are_refused(kind: str):
    with pytest.raises(MalformedRequest, match=kind):
        DIALECT.outbound(kind, parse_object(b"{}"), DEPLOYMENT, False)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 6, "max_tokens": 5}, {"max_tokens": 6}),
        ({"temperature": 0, "top_p": 0.5}, {"temperature": 0, "top_p": 0.5}),
        ({"stop": "a"}, {"stop_sequences": ["a"]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"user": "u", "safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
        ({"reasoning_effort": "high"}, {"output_config": {"effort": "high"}}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}},
                }
            },
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        ({"n": 1, "logprobs": False, "store": None, "logit_bias": {}, "seed": None}, {}),
        ({"metadata": {"a": "b"}, "prompt_cache_key": "k", "prediction": {}}, {}),
        ({"presence_penalty": 0.0, "modalities": ["text"], "service_tier": "auto"}, {}),
    ],
)
def test_members_are_said_in_anthropic_s_words(
    members: dict[str, object], expected: dict[str, object]
):
    assert sent_for(members) == {**sent_for({}), **expected}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("frequency_penalty", 0.1),
        ("logit_bias", {"5": 1}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "x"}),
        ("seed", 7),
        ("service_tier", "flex"),
        ("web_search_options", {}),
        ("functions", []),
        ("verbosity", "low"),
        ("made_up", 1),
        ("temperature", 1.5),
        ("reasoning_effort", "minimal"),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema"}),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": None}}),
        ("tools", [{"type": "custom", "custom": {"name": "x"}}]),
        ("tools", [{"type": "function"}]),
        ("tool_choice", "required"),
        ("max_tokens", "many"),
        ("stop", [1]),
        ("messages", [{"role": "user", "content": ""}]),
        ("messages", []),
        ("messages", "hello"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(name: str, value: object):
    assert name in refusal_of({name: value})


def test_a_refusal_does_not_quote_content():
    detail = refusal_of({"messages": [{"role": "my secret", "content": "x"}]})
    assert "secret" not in detail
    assert "$.messages[0].role" in detail


def test_system_and_developer_messages_become_the_system_text():
    sent = sent_for(
        {
            "messages": [
                {"role": "system", "content": "one"},
                {"role": "developer", "content": [text("two"), text("")]},
                HELLO,
                {"role": "system", "content": ""},
                {"role": "system", "content": "three"},
            ]
        }
    )
    assert sent["system"] == [text("one"), text("two"), text("three")]
    assert sent["messages"] == [{"role": "user", "content": [text("hello")]}]


def test_a_tool_conversation_alternates():
    assert turns_for(
        HELLO,
        {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "c2"}]},
        {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": [text("two")]},
        {"role": "user", "content": "go on"},
        {"role": "assistant", "content": "so", "refusal": "no"},
        {"role": "assistant", "content": ""},
    ) == [
        {"role": "user", "content": [text("hello")]},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1.5}},
                {"type": "tool_use", "id": "c2", "name": "f", "input": {"a": 1.5}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [text("one")]},
                {"type": "tool_result", "tool_use_id": "c2", "content": [text("two")]},
                text("go on"),
            ],
        },
        {"role": "assistant", "content": [text("so"), text("no")]},
    ]


def test_arguments_keep_their_bytes_and_none_become_an_empty_object():
    called = {"role": "assistant", "tool_calls": [CALL]}
    body = parse_object(json.dumps({"messages": [called]}).encode())
    sent = DIALECT.outbound("chat", body, DEPLOYMENT, False).body
    assert b'"input":{"a": 1.50}' in sent
    empty = {**CALL, "function": {"name": "f", "arguments": ""}}
    [turn] = turns_for({"role": "assistant", "tool_calls": [empty]})
    assert turn["content"][0]["input"] == {}


def test_a_result_without_content_is_still_a_result():
    [turn] = turns_for({"role": "tool", "tool_call_id": "c1", "content": ""})
    assert turn["content"] == [{"type": "tool_result", "tool_use_id": "c1"}]


def test_images_and_documents_become_sources():
    [turn] = turns_for(
        {
            "role": "user",
            "content": [
                text("see"),
                {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}},
                {"type": "image_url", "image_url": {"url": "data:image/PNG;base64,AAAA"}},
                {
                    "type": "file",
                    "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BB=="},
                },
            ],
        }
    )
    assert turn["content"] == [
        text("see"),
        {"type": "image", "source": {"type": "url", "url": "https://a.test/b.png"}},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
        },
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "BB=="},
            "title": "a.pdf",
        },
    ]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "function", "name": "f", "content": "x"},
        {"role": "assistant", "function_call": {"name": "f", "arguments": ""}},
        {"role": "assistant", "audio": {"id": "a"}},
        {"role": "user", "name": "ann", "content": "x"},
        {"role": "tool", "content": "x"},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom"}]},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "[1]"}}],
        },
        {"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://a"}}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
        {"role": "user", "content": [{"type": "video"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a"}}]},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA"}}],
        },
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "data:image/png,AA"}}],
        },
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]},
    ],
)
def test_messages_that_cannot_be_said_are_refused_with_their_place(message: dict[str, object]):
    assert "messages[1]" in refusal_of({"messages": [HELLO, message]})


def test_tools_become_definitions_with_a_schema():
    full = {"name": "g", "description": "d", "parameters": {"a": 1}, "strict": True}
    sent = sent_for(
        {"tools": [TOOL, {"type": "function", "function": full}, function_tool(parameters=None)]}
    )
    assert sent["tools"] == [
        {"name": "f", "input_schema": {"type": "object"}},
        {"name": "g", "input_schema": {"a": 1}, "description": "d", "strict": True},
        {"name": "h", "input_schema": {"type": "object", "properties": {}}},
    ]


def function_tool(**members: object) -> dict[str, object]:
    return {"type": "function", "function": {"name": "h", "strict": False, **members}}


@pytest.mark.parametrize(
    ("members", "choice"),
    [
        ({}, None),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"type": "tool", "name": "f"},
        ),
    ],
)
def test_the_choice_of_tools_is_said_in_one_member(
    members: dict[str, object], choice: dict[str, object] | None
):
    assert sent_for({"tools": [TOOL], **members}).get("tool_choice") == choice


@pytest.mark.parametrize("choice", ["some", {"type": "allowed_tools"}, {"type": "function"}])
def test_unknown_choices_of_tools_are_refused(choice: object):
    assert "tool_choice" in refusal_of({"tools": [TOOL], "tool_choice": choice})


def test_a_choice_that_demands_nothing_needs_no_tools():
    for choice in (None, "auto", "none"):
        assert "tool_choice" not in sent_for({"tool_choice": choice, "parallel_tool_calls": False})


VALUES = st.sampled_from(
    [None, True, 0, 1.5, "", "auto", "text", [], {}, [HELLO], [TOOL], {"type": "function"}, [[{}]]]
)
NAMES = st.sampled_from(
    [
        "messages",
        "max_tokens",
        "temperature",
        "stop",
        "tools",
        "tool_choice",
        "user",
        "reasoning_effort",
        "response_format",
        "n",
    ]
)


@given(st.dictionaries(NAMES, VALUES))
def test_any_members_are_said_or_refused(members: dict[str, object]):
    with suppress(VerismoError):
        assert sent_for(members)["model"] == "claude-x"


@given(st.binary(max_size=60))
def test_any_body_is_said_or_refused(body: bytes):
    for raw in (body, b'{"messages":[' + body + b"]}", b'{"messages":[{"role":"user",' + body):
        with suppress(VerismoError):
            DIALECT.outbound("chat", parse_object(raw), DEPLOYMENT, False)


def test_half_a_surrogate_pair_is_refused():
    body = parse_object(b'{"messages":[{"role":"user","content":"\\ud800"}]}')
    with pytest.raises(MalformedRequest):
        DIALECT.outbound("chat", body, DEPLOYMENT, False)
