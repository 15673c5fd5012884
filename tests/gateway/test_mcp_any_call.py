"""Any MCP call at all: the server sees registered calls with true headers, the client a proof."""

import base64
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from tests.support.gateway import TENANTS, Gateway, Setup
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

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

METHODS = ("server/discover", "tools/list", "tools/call")
TOOLS = ("search", "fetch")
NAMES = [*TOOLS, "delete_page", "Search", "", "s\u00e9arch"]
PLAIN = st.text(alphabet="ab\u00e9 =?", max_size=6)
VALUES = st.none() | st.booleans() | st.integers(-3, 2**60) | PLAIN | st.just([1]) | st.just({})


class Server:
    """Answers what a test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.seen = Seen()
        self.answer: tuple[int, str, object] = (200, "application/json", {})

    async def say(self, asked: dict) -> tuple[int, str, list[bytes]]:
        status, media, said = self.answer
        if isinstance(said, bytes):
            return status, media, [said]
        text = json.dumps({"jsonrpc": "2.0", "id": asked.get("id"), **said})
        return status, media, [f"data: {text}\n\n".encode() if "event" in media else text.encode()]


@pytest.fixture(scope="module")
def server() -> Server:
    return Server()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def setup(server: Server) -> AsyncIterator[Setup]:
    async with running_answer(server.say, server.seen) as url:
        tools = operation(deployments=["docs-us"], tools=list(TOOLS))
        yield Setup(
            edits={"# mcp_result_bytes_max = 1048576": "mcp_result_bytes_max = 5000"},
            more=mcp_tables(url),
            files={"operations/tools.toml": tools},
        )


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A call that is as it should be, save for at most two defects."""
    defects = draw(st.sets(st.sampled_from(["method", "name", "more", "head", "text"]), max_size=2))
    method = draw(st.sampled_from([*METHODS, "tools/call", "tools/call"]))
    if "method" in defects:
        method = draw(st.sampled_from(["resources/read", "x", "Tools/call"]))
    params: dict = {"arguments": draw(st.dictionaries(st.sampled_from(["region", "q"]), VALUES))}
    if method == "tools/call":
        params["name"] = draw(st.sampled_from(NAMES if "name" in defects else TOOLS))
    if "more" in defects:
        where = draw(st.sampled_from([params, params["arguments"]]))
        where[draw(st.sampled_from(["Name", "uri", "Region", "x" * 129]))] = draw(VALUES)
    body = message(method, draw(st.sampled_from([1, "a", 0])), **params)
    if "head" in defects:
        body[draw(st.sampled_from(["jsonrpc", "id", "params", "extra"]))] = draw(VALUES)
    text = json.dumps(body)
    if "text" in defects:
        at = draw(st.integers(0, len(text)))
        end = at + draw(st.integers(0, 3))
        text = text[:at] + draw(st.text(alphabet='"{}[],:a\\', max_size=3)) + text[end:]
    return text.encode()


def wrapped(text: str) -> str:
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


HEADERS = st.dictionaries(
    st.sampled_from(
        ["mcp-protocol-version", "mcp-method", "mcp-name", "mcp-param-region", "traceparent"]
    ),
    st.sampled_from([REVISION, "2025-11-25", *METHODS, *TOOLS, "delete_page", "a", "true", "1"])
    | st.sampled_from([wrapped(name) for name in NAMES])
    | st.just(f"00-{'a' * 32}-{'b' * 16}-01"),
    max_size=1,
)
ANSWERS = st.tuples(
    st.sampled_from([200, 200, 200, 400, 404, 429, 500, 302]),
    st.sampled_from(["application/json", "text/event-stream", "text/html"]),
    st.sampled_from(
        [
            {"result": {"content": [], "isError": True}},
            {"result": {"tools": [{"name": "search"}, {"name": "delete_page"}]}},
            {"result": {"supportedVersions": [REVISION], "capabilities": {"tools": {}}}},
            {"result": {"text": "x" * 6_000}},
            {"error": {"code": -32602, "message": "no"}},
            {"id": 9, "result": {}},
            b"<html>",
            b"",
        ]
    ),
)


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=bodies(), changes=HEADERS, key=st.sampled_from(TENANTS[:2]), answer=ANSWERS)
async def test_any_call_reaches_the_server_true_or_not_at_all(
    gateway: Gateway, server: Server, body, changes, key, answer
):
    server.answer = answer
    server.seen.requests.clear()
    gateway.worker.breakers.of("docs-us").succeeded()
    before = gateway.count()
    got = await gateway.send("POST", PATH, body, key=key, headers={**_honest(body), **changes})
    event(f"{got.status}, asked {len(server.seen.requests)}")
    assert got.headers["content-type"] == "application/json"
    assert got.is_signed
    assert gateway.count() == before + 1
    assert got.report(gateway.public).verdict == "VERIFIED"
    assert len(server.seen.requests) <= 1
    for headers, sent in server.seen.requests:
        asked = _true_call(headers, sent)
        if asked["method"] == "tools/list" and got.status == 200:
            assert b"delete_page" not in got.body


def _honest(body: bytes) -> dict[str, str]:
    """Return the headers of a conforming client, as far as the body makes any sense."""
    try:
        found = headers_of(json.loads(body))
    except (ValueError, AttributeError):
        return {}
    return {name: value if value.isascii() else wrapped(value) for name, value in found.items()}


def _true_call(headers: dict[str, str], sent: bytes) -> dict:
    """Return what the server was asked, if its headers say so too."""
    asked = json.loads(sent, object_pairs_hook=_once)
    assert asked["method"] in METHODS
    assert (headers["mcp-method"], headers["mcp-protocol-version"]) == (asked["method"], REVISION)
    assert asked["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == REVISION
    if asked["method"] == "tools/call":
        name = asked["params"]["name"]
        assert name in TOOLS
        assert headers["mcp-name"] in (name, wrapped(name))
    assert "authorization" not in headers
    return asked


def _once(pairs: list) -> dict:
    names = [name for name, _ in pairs]
    assert len(set(names)) == len(names)
    return dict(pairs)
