"""Whoever says one thing to a proxy and another to the server is refused, signed, on the record."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.answers import Answer
from tests.support.gateway import Gateway, Setup, running_gateway
from tests.support.mcpserver import (
    PATH,
    REVISION,
    Seen,
    headers_of,
    mcp_tables,
    message,
    operation,
    running_answer,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALL = message("tools/call", name="search", arguments={"query": "x"})
ORIGIN = "https://app.example"


class Servers:
    """Two servers in fallback order: what the first answers, and whether the second was asked."""

    def __init__(self) -> None:
        self.first = Seen()
        self.second = Seen()
        self.answer = (200, "application/json", b"")

    async def say(self, asked: dict) -> tuple[int, str, list[bytes]]:
        status, media, body = self.answer
        return status, media, [body or _result(asked)]

    async def stand_in(self, asked: dict) -> tuple[int, str, list[bytes]]:
        return 200, "application/json", [_result(asked)]

    @property
    def asked(self) -> int:
        return len(self.first.requests) + len(self.second.requests)


def _result(asked: dict) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {"content": []}}).encode()


@pytest.fixture(scope="module")
def servers() -> Servers:
    return Servers()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def setup(servers: Servers) -> AsyncIterator[Setup]:
    async with (
        running_answer(servers.say, servers.first) as first,
        running_answer(servers.stand_in, servers.second) as second,
    ):
        tools = operation(deployments=["docs-us", "other-us"])
        lost = operation("docs.lost", deployments=["lost-us", "other-us"])
        yield Setup(
            edits={"# cors_origins = []": f'cors_origins = ["{ORIGIN}"]'},
            more=mcp_tables(first, other=second, lost="http://127.0.0.1:9"),
            files={"operations/tools.toml": tools + lost},
        )


@pytest.fixture(autouse=True)
def _reset(servers: Servers, gateway: Gateway) -> None:
    servers.answer = (200, "application/json", b"")
    servers.first.requests.clear()
    servers.second.requests.clear()
    for name in ("docs-us", "other-us", "lost-us"):
        gateway.worker.breakers.of(name).succeeded()


async def post(
    gateway: Gateway, body: dict | bytes, headers: dict[str, str] | None = None, path: str = PATH
) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = headers_of(body) if isinstance(body, dict) else headers_of(CALL)
    return await gateway.send("POST", path, data, headers={**given, **(headers or {})})


async def refusal(gateway: Gateway, answer: Answer, status: int, code: str, rpc: int) -> dict:
    """Check that an answer is a signed JSON-RPC error with one record, and return its error."""
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert (answer.status, error["data"]["code"], error["code"]) == (status, code, rpc)
    assert answer.json()["jsonrpc"] == "2.0"
    assert error["data"]["next_step"] in error["message"]
    await gateway.proven(answer)
    assert [hop for hop in gateway.hops(answer) if hop["kind"] == "tool"] == []
    return error


async def test_what_is_whole_is_answered(gateway: Gateway, servers: Servers):
    answer = await post(gateway, CALL)
    assert (answer.status, answer.json()["id"]) == (200, 1)
    await gateway.proven(answer)
    assert servers.asked == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mcp-method", "tools/list"),
        ("mcp-name", "fetch"),
        ("mcp-protocol-version", "2025-11-25"),
        ("mcp-param-region", "us"),
        ("mcp-name", "=?base64?ZmV0Y2g=?="),
    ],
)
async def test_smuggling_by_headers_is_refused(gateway, servers, name: str, value: str):
    answer = await post(gateway, CALL, {name: value})
    await refusal(gateway, answer, 400, "header_mismatch", -32020)
    assert answer.json()["id"] == 1
    assert servers.asked == 0


@pytest.mark.parametrize("name", ["mcp-name", "mcp-method", "mcp-param-region"])
async def test_smuggling_by_a_header_that_stands_twice_is_refused(gateway, servers, name: str):
    body = json.dumps(CALL).encode()
    headers = {**headers_of(CALL), "mcp-param-region": "x"}
    lines = [f"{key}: {value}" for key, value in headers.items()]
    lines += [f"{name}: {headers[name]}", f"authorization: Bearer {gateway.keys['TENANT_001']}"]
    lines += ["host: gateway", "content-type: application/json", f"content-length: {len(body)}"]
    head = "\r\n".join([f"POST {PATH} HTTP/1.1", *lines, "connection: close", "", ""])
    answer = await gateway.raw(head.encode() + body)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"stands twice" in answer
    assert servers.asked == 0


async def test_smuggling_by_two_traces_is_refused(gateway, servers):
    one, other = (f"00-{digit * 32}-{'1' * 16}-01" for digit in "ab")
    body = message("tools/list", meta={"traceparent": one})
    answer = await post(gateway, body, {"traceparent": other})
    await refusal(gateway, answer, 400, "header_mismatch", -32020)
    assert servers.asked == 0


TWICE = json.dumps(CALL).encode().replace(b'"name"', b'"name": "fetch", "name"')
LOOKALIKE = json.dumps(CALL).encode().replace(b'"name"', b'"Name": "fetch", "name"')
DEEP = json.dumps(CALL).encode().replace(b'"x"', b"[" * 50_000 + b"]" * 50_000)


@pytest.mark.parametrize(
    ("body", "code", "rpc"),
    [
        (TWICE, "duplicate_member", -32600),
        (LOOKALIKE, "malformed_request", -32602),
        (DEEP, "malformed_request", -32700),
        (b"{", "malformed_request", -32700),
        (b"[" + json.dumps(CALL).encode() + b"]", "malformed_request", -32600),
        ({**CALL, "id": None}, "malformed_request", -32600),
        ({**CALL, "id": 1.0}, "malformed_request", -32600),
        ({**CALL, "id": [1]}, "malformed_request", -32600),
        ({"jsonrpc": "2.0", "method": "notifications/initialized"}, "malformed_request", -32600),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, "malformed_request", -32600),
        ({**CALL, "params": {"name": "search"}}, "malformed_request", -32602),
        (message("tools/call", arguments={}), "malformed_request", -32602),
        (message("tools/call", name="search", arguments=[]), "malformed_request", -32602),
    ],
    ids=str,
)
async def test_messages_that_can_be_read_in_two_ways_are_refused(
    gateway, servers, body, code: str, rpc: int
):
    answer = await post(gateway, body)
    await refusal(gateway, answer, 400, code, rpc)
    assert servers.asked == 0


@pytest.mark.parametrize("method", ["subscriptions/listen", "logging/setLevel", "tools/Call"])
async def test_methods_that_are_not_let_through_are_refused_by_name(gateway, servers, method: str):
    answer = await post(gateway, message(method))
    error = await refusal(gateway, answer, 404, "method_unregistered", -32601)
    assert repr(method) in error["message"]
    assert servers.asked == 0


async def test_half_a_surrogate_pair_is_refused_and_not_repeated(gateway, servers):
    answer = await post(gateway, message("\ud800"), {"mcp-method": "?"})
    await refusal(gateway, answer, 400, "header_mismatch", -32020)
    assert servers.asked == 0


@pytest.mark.parametrize(
    ("headers", "requested"),
    [
        ({"mcp-protocol-version": "2025-11-25"}, "2025-11-25"),
        ({"mcp-protocol-version": "2025-06-18", "mcp-session-id": "s"}, "2025-06-18"),
        ({"mcp-protocol-version": "2030-01-01"}, "2030-01-01"),
    ],
)
async def test_other_revisions_are_refused_by_name(gateway, servers, headers, requested: str):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    error = await refusal(
        gateway, await post(gateway, body, headers), 400, "revision_unsupported", -32022
    )
    assert (error["data"]["supported"], error["data"]["requested"]) == ([REVISION], requested)
    assert servers.asked == 0


async def test_a_revision_that_body_and_header_agree_on_is_refused_by_name(gateway, servers):
    meta = {"io.modelcontextprotocol/protocolVersion": "2027-01-01"}
    answer = await post(
        gateway, message("tools/list", meta=meta), {"mcp-protocol-version": "2027-01-01"}
    )
    error = await refusal(gateway, answer, 400, "revision_unsupported", -32022)
    assert error["data"]["requested"] == "2027-01-01"
    assert servers.asked == 0


async def test_a_handshake_is_refused_with_the_revision_that_is_spoken(gateway, servers):
    params = {"protocolVersion": "2025-06-18", "capabilities": {}}
    body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    answer = await gateway.send("POST", PATH, json.dumps(body).encode())
    error = await refusal(gateway, answer, 400, "revision_unsupported", -32022)
    assert error["data"]["requested"] == "2025-06-18"
    assert "`server/discover` was refused" in error["message"]
    assert answer.json()["id"] == 0


async def test_a_handshake_with_half_a_surrogate_pair_is_refused_on_the_record(gateway, servers):
    params = {"protocolVersion": "\ud800", "capabilities": {}}
    body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    answer = await gateway.send("POST", PATH, json.dumps(body).encode())
    error = await refusal(gateway, answer, 400, "revision_unsupported", -32022)
    assert error["data"]["requested"] == "?"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://app.example"])
async def test_rebinding_by_a_page_of_another_origin_is_refused(gateway, servers, origin: str):
    answer = await post(gateway, CALL, {"origin": origin})
    await refusal(gateway, answer, 403, "origin_refused", 403)
    assert servers.asked == 0


async def test_a_page_of_a_listed_origin_may_call(gateway, servers):
    answer = await post(gateway, CALL, {"origin": ORIGIN})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_a_body_that_is_not_json_by_its_own_word_is_refused(gateway, servers):
    answer = await post(gateway, CALL, {"content-type": "text/plain"})
    await refusal(gateway, answer, 415, "unsupported_media_type", 415)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
async def test_streams_and_sessions_of_older_revisions_are_not_offered(gateway, method: str):
    answer = await gateway.send(method, PATH)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_a_stranger_is_told_so_in_json_rpc(gateway, servers):
    body = json.dumps(CALL).encode()
    answer = await gateway.send("POST", PATH, body, key=None, headers=headers_of(CALL))
    assert (answer.status, answer.json()["error"]["code"]) == (401, 401)
    assert not answer.is_signed
    assert servers.asked == 0


async def test_a_session_id_is_ignored(gateway, servers):
    answer = await post(gateway, CALL, {"mcp-session-id": "stolen", "last-event-id": "7"})
    assert answer.status == 200
    headers, _ = servers.first.requests[-1]
    assert not {"mcp-session-id", "last-event-id"} & set(headers)
    assert "mcp-session-id" not in answer.headers


LIST = message("tools/list")
BROKEN = [
    (200, "application/json", b"{"),
    (200, "application/json", b'{"jsonrpc":"2.0","id":2,"result":{}}'),
    (200, "application/json", b'{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}'),
    (200, "text/event-stream", b"data: {}"),
    (202, "application/json", b" "),
    (302, "text/html", b"x"),
    (401, "application/json", b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}'),
    (503, "text/html", b"x"),
]


@pytest.mark.parametrize("answer", BROKEN, ids=str)
async def test_a_tool_that_may_have_run_is_not_called_again(gateway, servers, answer):
    servers.answer = answer
    got = await post(gateway, CALL)
    error = got.json()["error"]
    assert (got.status, error["data"]["code"]) == (502, "upstream_broken")
    assert error["message"].count("The tool may have run") == 1
    assert "Retry" not in error["message"]
    await gateway.proven(got)
    (hop,) = gateway.tries(got)
    assert (hop["error"], hop["tool"]) == ("upstream_broken", "search")
    assert hop["status"] == answer[0]
    assert (len(servers.first.requests), len(servers.second.requests)) == (1, 0)


async def test_an_overloaded_server_s_own_words_are_passed_on_once(gateway, servers):
    error = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "busy"}}
    servers.answer = (503, "application/json", json.dumps(error).encode())
    got = await post(gateway, CALL)
    assert (got.status, got.json()) == (503, error)
    await gateway.proven(got)
    assert servers.asked == 1


async def test_what_only_reads_is_asked_of_the_next_server(gateway, servers):
    servers.answer = (503, "text/html", b"x")
    body = message("server/discover")
    got = await post(gateway, body)
    assert len(servers.second.requests) == 1
    # The stand-in gives no description, so this is what is told; both were asked.
    assert got.json()["error"]["data"]["code"] == "upstream_broken"
    assert got.json()["error"]["data"]["next_step"].startswith("Retry")


async def test_a_call_that_never_left_goes_to_the_next_server(gateway, servers):
    got = await post(gateway, CALL, path="/mcp/docs.lost")
    assert got.status == 200
    await gateway.proven(got)
    tried = gateway.tries(got)
    assert [one.get("error") for one in tried] == ["upstream_unreachable", None]
    assert len(servers.second.requests) == 1


@pytest.mark.slow
@pytest.mark.parametrize("upstream", ["keepalive", "pyreqwest"])
async def test_a_server_that_holds_its_stream_open_holds_nobody(tmp_path, upstream: str):
    async def say(asked: dict) -> tuple[int, str, list[bytes]]:
        progress = b'data: {"jsonrpc":"2.0","method":"notifications/progress"}\n\n'
        return 200, "text/event-stream", [progress, b"data: " + _result(asked) + b"\n\n: ping\n\n"]

    ending = asyncio.Event()
    async with running_answer(say, Seen(), ending) as url:
        setup = Setup(
            edits={'# client = "keepalive"': f'client = "{upstream}"'},
            more=mcp_tables(url),
            files={"operations/tools.toml": operation()},
        )
        async with running_gateway(tmp_path, setup) as gateway:
            got = await post(gateway, CALL)
            assert (got.status, got.json()["result"]) == (200, {"content": []})
            await gateway.proven(got)
        ending.set()


@pytest.mark.slow
@pytest.mark.parametrize("media", ["application/json", "text/event-stream"])
async def test_a_result_over_a_smaller_limit_is_refused(tmp_path, media: str):
    async def say(asked: dict) -> tuple[int, str, list[bytes]]:
        text = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {"a": "x" * 3_000}})
        return 200, media, [text.encode() if "json" in media else f"data: {text}\n\n".encode()]

    async with running_answer(say, Seen()) as url:
        setup = Setup(
            edits={"# mcp_result_bytes_max = 1048576": "mcp_result_bytes_max = 2000"},
            more=mcp_tables(url),
            files={"operations/tools.toml": operation()},
        )
        async with running_gateway(tmp_path, setup) as gateway:
            got = await post(gateway, CALL)
            error = got.json()["error"]
            assert (got.status, error["data"]["code"]) == (502, "result_too_large")
            await gateway.proven(got)
