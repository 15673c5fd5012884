"""Messages of MCP clients: read strictly, projected for policies, traced on their way out."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.mcpserver import message

from verismo.gateway.mcpmessage import (
    ARGUMENT_CHARS_MAX,
    ARGUMENT_NAME_CHARS_MAX,
    ARGUMENTS_MAX,
    ID_CHARS_MAX,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    BadMessage,
    project,
    read_call,
)
from verismo.model.errors import CallerError, DuplicateMember

TRACE = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
OURS = "00-0af7651916cd43dd8448eb211c80319c-1111111111111111-01"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def refusal(body: bytes) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        read_call(body)
    return caught.value


def test_a_tool_call_is_read_whole():
    body = encoded(message("tools/call", 7, name="search", arguments={"query": "x", "top": 3}))
    call = read_call(body)
    assert (call.id, call.method, call.name) == (7, "tools/call", "search")
    assert (call.revision, call.has_capabilities) == ("2026-07-28", True)
    assert call.arguments == {"query": "x", "top": 3}
    assert json.loads(call.arguments_text) == call.arguments
    assert call.runs_once
    assert call.retraced(OURS) == body


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("tools/list", {}, ""),
        ("tools/list", {"name": "ignored"}, ""),
        ("prompts/get", {"name": "summarise"}, "summarise"),
        ("resources/read", {"uri": "docs://index"}, "docs://index"),
    ],
)
def test_what_a_message_is_about_depends_on_its_method(method, params, name):
    call = read_call(encoded(message(method, **params)))
    assert (call.name, call.arguments_text, call.runs_once) == (name, "", False)


@pytest.mark.parametrize("request_id", [0, -3, 2**53 - 1, "", "a-b", "é", "x" * ID_CHARS_MAX])
def test_an_id_is_a_string_or_an_integer(request_id):
    read = read_call(encoded(message("tools/list", request_id)))
    assert read.id == request_id
    assert type(read.id) is type(request_id)


@pytest.mark.parametrize(
    "request_id",
    [None, True, False, 1.0, 1.5, 2**53, -(2**53), [], {}, "x" * (ID_CHARS_MAX + 1), "\ud800"],
)
def test_an_id_of_another_type_is_refused(request_id):
    error = refusal(encoded(message("tools/list", request_id)))
    assert (error.rpc_code, error.request_id) == (INVALID_REQUEST, None)


def test_a_notification_is_refused():
    body = message("notifications/cancelled")
    del body["id"]
    assert "notifications are not taken" in refusal(encoded(body)).detail


@pytest.mark.parametrize("body", [b"[]", b" \n[%s]" % encoded(message("tools/list"))])
def test_a_batch_is_refused(body):
    error = refusal(body)
    assert error.rpc_code == INVALID_REQUEST
    assert "batch" in error.detail


@pytest.mark.parametrize("body", [b"", b"{", b"nil", b'"x"', b"{}}", b"\xff{}", b'{"a":NaN}'])
def test_what_is_no_json_object_is_a_parse_error(body):
    assert refusal(body).rpc_code == PARSE_ERROR


def test_deep_json_is_refused_and_not_followed():
    body = message("tools/call", name="search", arguments={"a": 0})
    deep = encoded(body).replace(b'"a": 0', b'"a": ' + b"[" * 100_000 + b"]" * 100_000)
    assert refusal(deep).rpc_code == PARSE_ERROR


@pytest.mark.parametrize(
    "change",
    [
        {"jsonrpc": "1.0"},
        {"jsonrpc": 2.0},
        {"method": 1},
        {"method": ""},
        {"method": "x" * 129},
        {"params": []},
        {"params": "x"},
        {"result": {}},
        {"error": {}},
        {"Method": "tools/call"},
        {"extra": 1},
    ],
)
def test_what_is_no_request_is_refused(change):
    assert refusal(encoded({**message("tools/list"), **change})).rpc_code == INVALID_REQUEST


@pytest.mark.parametrize(
    "change",
    [
        {"_meta": []},
        {"arguments": []},
        {"arguments": "x"},
        {"name": 1},
        {"name": None},
    ],
)
def test_parameters_of_another_type_are_refused_with_the_request_s_id(change):
    body = message("tools/call", "me", name="search")
    body["params"] |= change
    error = refusal(encoded(body))
    assert (error.rpc_code, error.request_id) == (INVALID_PARAMS, "me")


@pytest.mark.parametrize(
    "twice",
    [
        b'{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/list","params":{}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","n\\u0061me":"b"}}',
    ],
)
def test_a_member_that_stands_twice_is_refused(twice):
    with pytest.raises(DuplicateMember):
        read_call(twice)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("params", "Name"),
        ("params", "NAME"),
        ("params", "ARGUMENTS"),
        ("params", "_Meta"),
        ("_meta", "TraceParent"),
        ("_meta", "io.modelcontextprotocol/protocolversion"),
        ("arguments", "Path"),
        ("arguments", "pa\u017fh"),
    ],
)
def test_a_name_that_only_its_case_tells_apart_is_refused(place, name):
    body = message("tools/call", name="search", arguments={"path": "/ok", "pash": 1})
    params = body["params"]
    {"params": params, "_meta": params["_meta"], "arguments": params["arguments"]}[place][name] = 1
    assert refusal(encoded(body)).rpc_code == INVALID_PARAMS


def test_scalars_are_shown_to_a_policy_and_everything_else_only_by_name():
    long = "x" * (ARGUMENT_CHARS_MAX + 1)
    seen = project(
        {
            "text": "a",
            "whole": long[1:],
            "long": long,
            "number": 3,
            "ratio": 0.5,
            "flag": True,
            "none": None,
            "list": [1],
            "object": {"a": 1},
            "huge": 2**53,
            "infinite": float("inf"),
        }
    )
    assert seen.values == {
        "text": "a",
        "whole": long[1:],
        "long": long[1:],
        "number": 3,
        "ratio": 0.5,
        "flag": True,
        "none": None,
    }
    assert seen.partial == ("huge", "infinite", "list", "long", "object")
    assert len(seen.names) == 11


@given(st.dictionaries(st.text(max_size=20), JSON, max_size=10))
def test_an_argument_is_either_whole_or_named_as_partial(arguments):
    seen = project(arguments)
    assert set(seen.names) == set(arguments)
    whole = set(seen.values) - set(seen.partial)
    assert whole | set(seen.partial) == set(arguments)
    assert all(seen.values[name] == arguments[name] for name in whole)


def test_more_arguments_than_are_looked_at_are_refused():
    many = {f"a{n}": n for n in range(ARGUMENTS_MAX)}
    assert len(project(many).names) == ARGUMENTS_MAX
    with pytest.raises(BadMessage):
        project({**many, "one": 1})
    with pytest.raises(BadMessage):
        project({"x" * (ARGUMENT_NAME_CHARS_MAX + 1): 1})


def test_the_trace_of_a_message_is_replaced_and_nothing_else():
    meta = {"traceparent": TRACE, "tracestate": "a=b"}
    arguments = {"query": TRACE, "ratio": 1.50}
    body = encoded(message("tools/call", meta=meta, name="search", arguments=arguments))
    call = read_call(body)
    assert (call.traceparent, call.tracestate) == (TRACE, "a=b")
    sent = call.retraced(OURS)
    place = body.index(TRACE.encode())
    assert sent == body[:place] + OURS.encode() + body[place + len(TRACE) :]


@given(st.binary(max_size=80) | JSON.map(encoded))
def test_whatever_is_posted_is_read_or_refused(body):
    with suppress(CallerError):
        assert read_call(body).body.text.encode() == body


@given(JSON, JSON, JSON, JSON, JSON)
def test_whatever_stands_in_a_message_is_read_or_refused(identifier, method, name, meta, arguments):
    body = {"jsonrpc": "2.0", "id": identifier, "method": method}
    body["params"] = {"name": name, "_meta": meta, "arguments": arguments}
    for one in (body, {**body, "method": "tools/call", "id": 1}):
        with suppress(CallerError):
            call = read_call(encoded(one))
            assert json.loads(call.retraced(OURS))["method"] == one["method"]
