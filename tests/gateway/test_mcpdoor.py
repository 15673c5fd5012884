"""The MCP door: where a trace is read, and how each error of ours is spelled in JSON-RPC."""

import json

import pytest
from tests.support.mcpserver import message

from verismo.gateway.mcpdoor import McpDoor, with_trace
from verismo.gateway.mcpmessage import BadMessage
from verismo.model.errors import (
    BodyTooLarge,
    DuplicateMember,
    HeaderMismatch,
    IntegrityError,
    MethodUnregistered,
    PolicyRefusal,
    RateLimited,
    RevisionUnsupported,
    StateError,
    ToolUnregistered,
    VerismoError,
)
from verismo.model.traffic import Request

DOOR = McpDoor("https://docs.example/errors", frozenset())
INNER = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
OUTER = "00-11111111111111111111111111111111-1111111111111111-01"


def request(meta: dict, body: bytes = b"", **headers: str) -> Request:
    data = body or json.dumps(message("tools/list", meta=meta)).encode()
    return Request("POST", "/mcp/a", b"", headers, data, 0, "r")


def test_a_trace_that_stands_in_the_message_alone_becomes_the_request_s():
    traced = with_trace(request({"traceparent": INNER, "tracestate": "a=b"}, tracestate="old=1"))
    assert traced.headers == {"traceparent": INNER, "tracestate": "a=b"}
    traced = with_trace(request({"traceparent": INNER}, traceparent="broken", tracestate="old=1"))
    assert traced.headers == {"traceparent": INNER}


def test_exhaustion_before_the_rate_is_checked_ends_at_the_trace():
    """What is over every limit of a message costs nothing here: nothing but the trace is read."""
    body = json.dumps(message("tools/list", meta={"traceparent": INNER, "tracestate": 7})).encode()
    body = body.replace(b'"tools/list"', b'"tools/list", "a": [' + b"0," * 500_000 + b"0]")
    assert with_trace(request({}, body)).headers == {"traceparent": INNER}


@pytest.mark.parametrize("state", ["", "a=b\nc", "\u00e9=1"])
def test_state_that_no_header_could_carry_is_left_out(state: str):
    traced = with_trace(request({"traceparent": INNER, "tracestate": state}))
    assert traced.headers == {"traceparent": INNER}


@pytest.mark.parametrize(
    "given",
    [
        request({"traceparent": INNER}, traceparent=OUTER),
        request({}),
        request({"traceparent": "broken"}),
        request({"traceparent": 7}),
        request({}, b'{"traceparent": '),
        request({}, b'["traceparent"]'),
    ],
    ids=str,
)
def test_every_other_request_stays_as_it_is(given: Request):
    assert with_trace(given) is given


@pytest.mark.parametrize(
    ("error", "status", "rpc"),
    [
        (BadMessage("x", -32700), 400, -32700),
        (DuplicateMember("x"), 400, -32600),
        (HeaderMismatch("x"), 400, -32020),
        (RevisionUnsupported("x", requested="1", supported=("2",)), 400, -32022),
        (MethodUnregistered("x"), 404, -32601),
        (ToolUnregistered("x"), 400, -32602),
        (PolicyRefusal("x", reasons=("tool",)), 403, 403),
        (BodyTooLarge("x"), 413, 413),
        (RateLimited("x", retry_after_s=3), 429, 429),
        (IntegrityError("x"), 503, 503),
        (StateError("x", next_step="Mend it."), 500, 500),
        (VerismoError("\ud800"), 500, 500),
    ],
    ids=lambda value: getattr(value, "code", value),
)
def test_each_error_has_one_number_and_its_own_code(error: VerismoError, status: int, rpc: int):
    refusal = DOOR.refuse(error, "urn:x")
    said = json.loads(refusal.body)
    assert (refusal.status, refusal.media, said["id"]) == (status, "application/json", None)
    assert said["error"]["code"] == rpc
    data = said["error"]["data"]
    assert (data["code"], data["status"], data["instance"]) == (error.code, status, "urn:x")
    assert data["type"] == f"https://docs.example/errors#{error.code}"
    assert data.get("retry_after_s") == error.retry_after_s
    assert data.get("reasons", []) == list(getattr(error, "reasons", ()))
    assert data["next_step"] == getattr(error, "advice", error.next_step)


def test_the_id_is_repeated_where_it_could_be_read():
    refusal = DOOR.refuse(BadMessage("x", -32602, "me"), "urn:x")
    assert json.loads(refusal.body)["id"] == "me"
