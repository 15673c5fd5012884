"""MCP servers: the client's bytes out; one response back, checked and cut to what is registered."""

import json
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.mcpserver import headers_of, message

from verismo.attest.commitment import commit
from verismo.gateway.dialects.dialect import Inbound, ProviderDialect
from verismo.gateway.jsonbody import parse_object
from verismo.gateway.mcpanswer import read_stream
from verismo.gateway.mcpdialect import Errand, McpDialect
from verismo.gateway.mcpmessage import read_call
from verismo.model.errors import MalformedRequest, ResultTooLarge, UpstreamBroken
from verismo.model.ids import DeploymentId, OperationId, ProviderId
from verismo.model.operation import Deployment, Operation

DIALECT: ProviderDialect = McpDialect()
SALT = bytes(range(32))
OURS = "00-0af7651916cd43dd8448eb211c80319c-1111111111111111-01"
DEPLOYMENT = Deployment(DeploymentId("d"), ProviderId("p"), "/mcp", "eu")
METHODS = ("server/discover", "tools/list", "tools/call")


def bound(body: dict, methods=METHODS, **headers: str) -> McpDialect:
    operation = Operation(
        OperationId("docs.tools"),
        "docs.tools",
        "mcp",
        "support",
        (DEPLOYMENT.id,),
        methods=methods,
        tools=("search", "fetch"),
    )
    call = read_call(json.dumps(body).encode())
    return McpDialect().on(Errand(call, operation, headers_of(body, **headers), SALT, OURS))


def answered(
    body: dict, answer: object, *, status: int = 200, media: str = "application/json", **options
) -> Inbound:
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return bound(body, **options).inbound("mcp", status, media, data)


def result(value: object, request_id: object = 1) -> dict:
    return {"jsonrpc": "2.0", "id": request_id, "result": value}


CALL = message("tools/call", name="search", arguments={"query": "x"})
LIST = message("tools/list")
DISCOVER = message("server/discover")
DONE = result({"resultType": "complete", "content": [], "isError": False})


def events(*messages: object, end: str = "\n\n") -> bytes:
    return "".join(f"event: message\ndata: {json.dumps(one)}{end}" for one in messages).encode()


def test_the_client_s_bytes_go_out_with_the_headers_that_repeat_them():
    sent = bound(CALL, mcp_param_a="x", cookie="c").outbound(
        "mcp", parse_object(b"{}"), DEPLOYMENT, False
    )
    assert (sent.method, sent.path) == ("POST", "/mcp")
    assert sent.body == json.dumps(CALL).encode()
    assert dict(sent.headers) == {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "search",
        "mcp-param-a": "x",
    }
    assert not DIALECT.transforms


def test_nothing_but_a_call_is_spelled():
    body = parse_object(b"{}")
    with pytest.raises(MalformedRequest):
        DIALECT.outbound("mcp", body, DEPLOYMENT, False)
    for kind, stream in (("http", False), ("mcp", True)):
        with pytest.raises(MalformedRequest):
            bound(CALL).outbound(kind, body, DEPLOYMENT, stream)
    with pytest.raises(MalformedRequest):
        bound(CALL).translator(body)


def test_a_call_s_facts_hold_commitments_and_no_content():
    facts = bound(message("tools/call", name="search", arguments={"query": "secret"})).facts
    text = b'{"query": "secret"}'
    assert facts == {
        "method": "tools/call",
        "tool": "search",
        "arguments": commit("arguments", SALT, text),
    }
    assert bound(LIST).facts == {"method": "tools/list"}


def test_a_result_is_passed_on_byte_for_byte():
    body = b' {"jsonrpc":"2.0", "id" : 1,"result":{"isError":true,"ratio":1.50}} '
    answer = answered(CALL, body)
    assert (answer.status, answer.media, answer.body) == (200, "application/json", body)
    assert answer.facts == {
        "result_type": "complete",
        "is_error": True,
        "result": commit("result", SALT, b'{"isError":true,"ratio":1.50}'),
    }


def test_a_result_that_asks_for_input_says_so_in_the_graph():
    answer = answered(CALL, result({"resultType": "input_required", "requestState": "s"}))
    assert answer.facts["result_type"] == "input_required"
    assert answer.facts["is_error"] is False


def test_a_json_rpc_error_keeps_its_status_and_its_code():
    error = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "Unknown tool"}}
    answer = answered(CALL, error, status=400)
    assert (answer.status, json.loads(answer.body)) == (400, error)
    assert answer.facts["rpc_error"] == -32602
    assert "is_error" not in answer.facts
    odd = {**error, "error": {"code": "x", "message": "odd"}}
    assert "rpc_error" not in answered(CALL, odd, status=400).facts
    nameless = {**error, "id": None}
    assert json.loads(answered(CALL, nameless, status=400).body) == nameless


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"a":NaN}}',
        b'{"jsonrpc":"2.0","id":1,"result":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        {"id": 1, "result": {}},
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}},
        {"jsonrpc": "2.0", "id": 1, "result": []},
        {"jsonrpc": "2.0", "id": 1, "result": {}, "method": "tools/call"},
        result({}, 2),
        result({}, "1"),
        result({}, 1.0),
        result({}, True),
        result({}, None),
        {"jsonrpc": "2.0", "id": 2, "error": {}},
        {"jsonrpc": "2.0", "method": "notifications/progress"},
    ],
)
def test_what_is_no_response_to_the_request_is_refused(answer):
    with pytest.raises(UpstreamBroken):
        answered(CALL, answer)


@pytest.mark.parametrize("status", [100, 302, 400, 500])
def test_a_result_with_a_status_that_is_no_success_is_refused(status):
    with pytest.raises(UpstreamBroken):
        answered(CALL, DONE, status=status)


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r"])
def test_an_event_stream_is_read_to_its_response(end):
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"id": 1}}
    stream = b": ping\n\n" + events(progress, progress, DONE, end=end)
    answer = answered(CALL, stream, media="text/event-stream; charset=utf-8")
    assert (answer.media, json.loads(answer.body)) == ("application/json", DONE)


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b": ping\n\n",
        events({"jsonrpc": "2.0", "method": "x"}),
        events(DONE)[:-2],
        b"data: x\n\n",
    ],
)
def test_an_event_stream_that_ends_without_a_response_is_refused(stream):
    with pytest.raises(UpstreamBroken, match="without a response"):
        answered(CALL, stream, media="text/event-stream")


def test_the_list_of_tools_shows_registered_ones_only():
    tools = [{"name": name, "ratio": 1.5} for name in ("search", "delete_page", "fetch")]
    tools += [{"name": ["search"]}, {"title": "search"}, "search"]
    listed = result({"resultType": "complete", "tools": tools, "nextCursor": "c"})
    answer = answered(LIST, listed)
    assert json.loads(answer.body)["result"] == {
        "resultType": "complete",
        "tools": [tools[0], tools[2]],
        "nextCursor": "c",
    }
    assert answer.facts["hidden"] == 4
    assert answer.facts["result"] == commit("result", SALT, json.dumps(listed["result"]).encode())


def test_a_list_of_registered_tools_alone_keeps_its_bytes():
    body = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[ {"name":"search"} ]}}'
    answer = answered(LIST, body)
    assert (answer.body, answer.facts["hidden"]) == (body, 0)


@pytest.mark.parametrize("value", [{}, {"tools": None}, {"tools": {"name": "search"}}])
def test_a_list_of_tools_that_is_none_is_refused(value):
    with pytest.raises(UpstreamBroken):
        answered(LIST, result(value))


def test_a_list_with_a_number_beyond_all_bounds_is_refused():
    body = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"x"}],"ttlMs":1e999}}'
    with pytest.raises(UpstreamBroken, match="too large"):
        answered(LIST, body)


CAPABLE = {
    "supportedVersions": ["2025-11-25", "2026-07-28"],
    "capabilities": {
        "tools": {"listChanged": True},
        "resources": {"subscribe": True},
        "prompts": {},
        "logging": {},
        "extensions": {"io.example/x": {}},
    },
    "instructions": "Search.",
}


@pytest.mark.parametrize(
    ("methods", "kept"),
    [
        (METHODS, {"tools": {}}),
        (
            (*METHODS, "resources/read", "prompts/get"),
            {"tools": {}, "resources": {}, "prompts": {}},
        ),
        (("server/discover", "completion/complete"), {}),
    ],
)
def test_a_server_s_description_promises_what_is_let_through(methods, kept):
    answer = answered(DISCOVER, result(CAPABLE), methods=methods)
    assert json.loads(answer.body)["result"] == {
        "supportedVersions": ["2026-07-28"],
        "capabilities": kept,
        "instructions": "Search.",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"supportedVersions": ["2025-11-25"]},
        {"supportedVersions": "2026-07-28"},
        {"capabilities": None},
    ],
)
def test_a_server_that_speaks_another_revision_is_refused(change):
    with pytest.raises(UpstreamBroken):
        answered(DISCOVER, result({**CAPABLE, **change}))


@pytest.mark.slow
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_exhaustion_of_the_stack_by_a_server_is_its_own_fault(opening: str, closing: str):
    """Some depth can be read and not be spelled again: wherever that is, it is refused."""
    limit = sys.getrecursionlimit()
    for depth in range(limit - 150, limit):
        deep = opening * depth + "1" + closing * depth
        body = json.dumps(result({"tools": [{"name": "x"}], "a": 0})).replace(": 0}", f": {deep}}}")
        with suppress(UpstreamBroken):
            answered(LIST, body.encode())


FOREIGN = {"jsonrpc": "2.0", "id": "server-error", "error": {"code": -32600, "message": "?"}}
"""What servers of older revisions say of a request that has no session."""


@pytest.mark.parametrize(
    ("status", "answer"), [(404, b"Not Found"), (400, FOREIGN), (500, b""), (405, b"{}")], ids=str
)
def test_a_wrong_path_and_an_older_server_are_named_by_their_status(status: int, answer):
    with pytest.raises(UpstreamBroken, match=f"answered {status} .* path .* revision 2026-07-28"):
        answered(CALL, answer, status=status)


@pytest.mark.parametrize(("body", "code"), [(DISCOVER, -32601), (DISCOVER, -32022), (CALL, -32022)])
def test_a_server_that_refuses_our_revision_is_broken_and_not_the_client(body, code: int):
    error = {"code": code, "message": "?", "data": {"supported": ["2025-11-25"]}}
    with pytest.raises(UpstreamBroken, match="does not speak revision 2026-07-28"):
        answered(body, {"jsonrpc": "2.0", "id": 1, "error": error}, status=400)


class Stream:
    """An exchange whose body comes in pieces; says how much of it was taken."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.taken = 0

    async def chunks(self):
        for piece in self.pieces:
            self.taken += 1
            yield piece


async def test_nothing_is_waited_for_behind_the_response():
    pieces = [b": ping\n\n", events(DONE)[:9], events(DONE)[9:], b": ping\n\n"]
    stream = Stream(pieces)
    assert await read_stream(stream) == b"".join(pieces[:3])
    assert stream.taken == 3


async def test_an_event_over_its_limit_is_refused_as_a_result_that_is_too_large():
    with pytest.raises(ResultTooLarge, match="over 1048576 bytes"):
        await read_stream(Stream([b"data: " + b"x" * 1_048_576, b"\n\n"]))


@given(st.binary(max_size=60), st.sampled_from(["application/json", "text/event-stream"]))
def test_whatever_a_server_says_is_passed_on_or_refused(body, media):
    for asked in (CALL, LIST, DISCOVER):
        with suppress(UpstreamBroken):
            assert json.loads(answered(asked, body, media=media).body)["jsonrpc"] == "2.0"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["tools", "supportedVersions", "capabilities", "resultType", "isError"]),
        JSON,
    )
)
def test_whatever_a_result_holds_is_passed_on_or_refused(value):
    for asked in (CALL, LIST, DISCOVER):
        try:
            answer = answered(asked, result(value))
        except UpstreamBroken:
            continue
        assert json.loads(answer.body)["id"] == 1
