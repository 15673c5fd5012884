"""The official MCP client through the gateway to a server of the official SDK."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
import pytest_asyncio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from tests.support.answers import Answer, KeepingTransport
from tests.support.gateway import Gateway, Setup, running_gateway
from tests.support.mcpserver import (
    OPERATION,
    PATH,
    REVISION,
    Seen,
    headers_of,
    mcp_tables,
    message,
    operation,
    running_docs_server,
)

from verismo.attest.commitment import commit
from verismo.attest.headers import read_proof_headers
from verismo.attest.report import Report
from verismo.client.settings import FetchedKeys
from verismo.client.settings import Gateway as TrustedGateway
from verismo.client.transport import AsyncVerifyingTransport

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
OPERATIONS = (
    operation(param_headers={"search": {"Region": "region"}})
    + operation("docs.eu", tenants=["TENANT_002"])
    + operation("docs.far", deployments=["docs-eu"])
    + operation("docs.all", methods=["server/discover", "resources/read", "prompts/get"], tools=[])
)


@pytest.fixture(scope="module")
def seen() -> Seen:
    return Seen()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def setup(seen: Seen) -> AsyncIterator[Setup]:
    async with running_docs_server(seen) as url:
        yield Setup(more=mcp_tables(url), files={"operations/tools.toml": OPERATIONS})


class Connected:
    """An unmodified client whose exchanges are kept."""

    def __init__(self, client: Client, transport: KeepingTransport, gateway: Gateway) -> None:
        self.client = client
        self.transport = transport
        self.gateway = gateway

    def last(self, method: str = "tools/call") -> Answer:
        """Return the last exchange for a method: the client may ask for the list afterwards."""
        asked = [(json.loads(one.request.body), one) for one in self.transport.answers]
        return [answer for body, answer in asked if body["method"] == method][-1]

    async def tool_hop(self, method: str = "tools/call", **options: str) -> dict:
        """Verify the last exchange for a method, and return the server's hop in its graph."""
        answer = self.last(method)
        await self.gateway.proven(answer, **options)
        (hop,) = [one for one in self.gateway.hops(answer) if one["kind"] == "tool"]
        return hop


@asynccontextmanager
async def connected(
    gateway: Gateway, key: str = "TENANT_001", path: str = PATH, **options: object
) -> AsyncIterator[Connected]:
    transport = KeepingTransport()
    headers = {"authorization": f"Bearer {gateway.keys[key]}"}
    async with httpx2.AsyncClient(transport=transport, headers=headers) as http:
        connection = streamable_http_client(gateway.url + path, http_client=http)
        async with Client(connection, **options) as client:
            yield Connected(client, transport, gateway)


async def test_a_client_that_is_refused_at_first_is_told_where_to_look(gateway: Gateway):
    """It shows what its handshake of an older revision got, and not what came before."""
    with pytest.raises(ExceptionGroup) as caught:
        async with connected(gateway, path="/mcp/docs.far"):
            pass
    assert caught.group_contains(MCPError, match="the refusal before this one names the cause")


@pytest.mark.parametrize("mode", ["auto", REVISION])
async def test_a_client_lists_and_calls_registered_tools(gateway: Gateway, seen: Seen, mode: str):
    async with connected(gateway, mode=mode) as mcp:
        listed = await mcp.client.list_tools()
        assert {tool.name for tool in listed.tools} == {"search", "fetch", "crawl", "dump"}
        hop = await mcp.tool_hop("tools/list")
        assert (hop["attrs"]["method"], hop["attrs"]["hidden"]) == ("tools/list", 1)
        found = await mcp.client.call_tool("search", {"query": "limits", "region": "us"})
        assert found.structured_content == {"result": ["limits in us", "docs/mcp.md"]}
        hop = await mcp.tool_hop()
    assert seen.ran[-1] == "search"
    facts = hop["attrs"]
    assert (facts["server"], facts["tool"]) == ("docs-server", "search")
    assert (facts["status"], facts["is_error"], facts["result_type"]) == (200, False, "complete")
    sent, got = seen.requests[-1][1], mcp.last()
    salt = read_proof_headers(got.headers).salt
    assert facts["sent"] == commit("sent", salt, sent)
    assert facts["arguments"] == commit("arguments", salt, _member(sent, "arguments"))
    assert facts["result"] == commit("result", salt, _member(got.body, "result"))
    assert hop["commit"] == commit("received", salt, got.body)
    assert seen.last()[0]["mcp-param-region"] == "us"


def _member(body: bytes, name: str) -> bytes:
    """Return a member's text in JSON that is spelled without spaces."""
    decoded = json.loads(body)
    value = decoded[name] if name in decoded else decoded["params"][name]
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    assert text in body
    return text


async def test_the_server_hears_our_key_and_session_from_nobody(gateway: Gateway, seen: Seen):
    async with connected(gateway) as mcp:
        await mcp.client.call_tool("fetch", {"uri": "docs/a.md"})
    headers, _ = seen.last()
    assert gateway.keys["TENANT_001"] not in str(headers)
    assert "mcp-session-id" not in headers


async def test_a_client_that_lists_nothing_first_finds_its_headers(gateway: Gateway):
    """It is told that a header is missing, lists the tools, and calls again."""
    async with connected(gateway, mode=REVISION) as mcp:
        found = await mcp.client.call_tool("search", {"query": "x", "region": "us"})
        statuses = [answer.status for answer in mcp.transport.answers]
    assert found.structured_content == {"result": ["x in us", "docs/mcp.md"]}
    assert statuses == [400, 200, 200]


async def test_the_verifying_transport_carries_mcp(gateway: Gateway):
    reports: list[Report] = []
    trusted = TrustedGateway(gateway.url, FetchedKeys())
    transport = AsyncVerifyingTransport(
        trusted, on_report=lambda report, _request: reports.append(report)
    )
    headers = {"authorization": f"Bearer {gateway.keys['TENANT_001']}"}
    async with httpx2.AsyncClient(transport=transport, headers=headers) as http:
        connection = streamable_http_client(gateway.url + PATH, http_client=http)
        async with Client(connection) as client:
            found = await client.call_tool("crawl", {"pages": 1})
    assert found.content[0].text == "1 pages"
    assert len(reports) >= 2
    assert {report.verdict for report in reports} == {"VERIFIED"}


async def test_a_tool_that_fails_is_an_answer_that_says_so(gateway: Gateway):
    async with connected(gateway) as mcp:
        found = await mcp.client.call_tool("fetch", {"uri": "missing:a"})
        assert found.is_error
        hop = await mcp.tool_hop()
    assert hop["attrs"]["is_error"] is True


async def test_an_answer_in_an_event_stream_comes_as_json(gateway: Gateway, seen: Seen):
    told: list[float] = []

    async def progress(done: float, total: float | None, text: str | None) -> None:
        told.append(done)

    async with connected(gateway) as mcp:
        found = await mcp.client.call_tool("crawl", {"pages": 3}, progress_callback=progress)
        assert found.content[0].text == "3 pages"
        hop = await mcp.tool_hop()
        got = mcp.last()
    assert got.headers["content-type"] == "application/json"
    assert "progressToken" in seen.last()[1]["params"]["_meta"]
    # What came was a stream, and the graph commits to that; what it held is not passed on.
    assert hop["commit"] != commit("received", read_proof_headers(got.headers).salt, got.body)
    assert told == []


async def test_a_tool_that_is_not_registered_never_runs(gateway: Gateway, seen: Seen):
    async with connected(gateway) as mcp:
        with pytest.raises(MCPError, match="no tool 'delete_page'") as caught:
            await mcp.client.call_tool("delete_page", {"uri": "a"})
        await gateway.proven(mcp.last())
        assert mcp.last().status == 400
    assert caught.value.code == -32602
    assert "delete_page" not in seen.ran


async def test_a_result_over_the_limit_is_refused_with_a_next_step(gateway: Gateway):
    async with connected(gateway) as mcp:
        with pytest.raises(MCPError, match=r"limits\.mcp_result_bytes_max"):
            await mcp.client.call_tool("dump", {"octets": 1_048_576})
        hop = await mcp.tool_hop()
    assert hop["attrs"]["error"] == "result_too_large"


async def test_a_server_s_description_hides_what_is_not_let_through(gateway: Gateway):
    async with connected(gateway) as mcp:
        offered = mcp.client.server_capabilities
        assert offered.tools is not None
        assert (offered.resources, offered.prompts, offered.logging) == (None, None, None)
        assert mcp.client.instructions == "Search, then fetch."
        with pytest.raises(MCPError, match="is not let through") as caught:
            await mcp.client.list_resources()
        assert (caught.value.code, mcp.last("resources/list").status) == (-32601, 404)
        await gateway.proven(mcp.last("resources/list"))


async def test_methods_that_are_named_are_let_through(gateway: Gateway):
    async with connected(gateway, path="/mcp/docs.all") as mcp:
        page = await mcp.client.read_resource("docs://index")
        assert page.contents[0].text == "docs/mcp.md"
        assert (await mcp.tool_hop("resources/read"))["attrs"]["result_type"] == "complete"
        prompt = await mcp.client.get_prompt("summarise", {"uri": "a"})
        assert prompt.messages[0].content.text == "Summarise a."
        with pytest.raises(MCPError, match="is not let through"):
            await mcp.client.list_tools()


async def test_an_older_client_is_told_which_revision_is_spoken(gateway: Gateway, seen: Seen):
    before = len(seen.requests)
    with pytest.RaisesGroup(MCPError, flatten_subgroups=True) as caught:
        async with connected(gateway, mode="legacy"):
            pass
    error = caught.value.exceptions[0]
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert error.code == -32022
    assert error.error.data["supported"] == [REVISION]
    assert len(seen.requests) == before


async def test_a_tenant_s_operation_is_not_there_for_another(gateway: Gateway, seen: Seen):
    async with connected(gateway, "TENANT_002", "/mcp/docs.eu") as mcp:
        await mcp.client.call_tool("fetch", {"uri": "a"})
        assert (await mcp.tool_hop(key="TENANT_002"))["attrs"]["region"] == "eu"
        theirs = mcp.last()
    before = len(seen.requests)
    body = message("tools/call", name="fetch", arguments={"uri": "a"})
    answer = await post(gateway, body, path="/mcp/docs.eu")
    assert (answer.status, answer.json()["error"]["code"]) == (404, 404)
    assert answer.json()["error"]["data"]["code"] == "operation_unregistered"
    await gateway.proven(answer)
    assert len(seen.requests) == before
    read = await gateway.send("GET", f"/v1/prov/{theirs.prov_id}")
    assert read.status == 404


async def post(gateway: Gateway, body: dict, path: str = PATH, **headers: str):
    return await gateway.send(
        "POST", path, json.dumps(body).encode(), headers=headers_of(body, **headers)
    )


async def test_a_call_joins_the_trace_that_its_message_names(gateway: Gateway, seen: Seen):
    meta = {"traceparent": PARENT, "tracestate": "verismo=00f067aa0ba902b7"}
    body = message("tools/call", meta=meta, name="fetch", arguments={"uri": "a"})
    answer = await post(gateway, body)
    assert answer.status == 200
    (request,) = [hop for hop in gateway.hops(answer) if hop["kind"] == "request"]
    assert request["attrs"]["trace"] == TRACE
    assert request["attrs"]["parent_span"] == "00f067aa0ba902b7"
    headers, sent = seen.last()
    assert headers["traceparent"].split("-")[1] == TRACE
    assert sent["params"]["_meta"]["traceparent"] == headers["traceparent"] != PARENT


async def test_of_two_spans_in_one_trace_the_header_s_is_nearer(gateway: Gateway):
    body = message("tools/list", meta={"traceparent": PARENT})
    answer = await post(gateway, body, traceparent=f"00-{TRACE}-{'1' * 16}-01")
    assert gateway.hops(answer)[0]["attrs"]["parent_span"] == "1" * 16


RULES = {
    "deny": {"*": ["*/du*"], "TENANT_002": [f"{OPERATION}/fetch"]},
    "arguments": {f"{OPERATION}/search": {"region": ["eu", "us"]}},
}


@pytest.mark.slow
async def test_the_policy_refuses_tools_and_arguments(tmp_path, seen: Seen):
    async with running_docs_server(seen) as url:
        setup = Setup(more=mcp_tables(url), files={"operations/tools.toml": OPERATIONS})
        async with running_gateway(tmp_path, setup) as gateway:
            data = json.loads((gateway.config.policy / "data.json").read_text())
            data["verismo"]["tools"] = RULES
            (gateway.config.policy / "data.json").write_text(json.dumps(data))
            assert gateway.worker._policy.reload()
            del seen.ran[:]
            assert await refused(gateway, "dump", octets=1) == {"tool"}
            assert await refused(gateway, "search", query="x", region="ap") == {"tool_argument"}
            assert await refused(gateway, "search", query="x") == {"tool_argument"}
            assert await refused(gateway, "search", query="x", region=["eu"]) == {"tool_argument"}
            assert await refused(gateway, "fetch", key="TENANT_002", uri="a") == {"tool"}
            assert seen.ran == []
            assert await refused(gateway, "search", query="x", region="eu") == set()
            assert await refused(gateway, "fetch", uri="a") == set()
            assert seen.ran == ["search", "fetch"]


async def refused(
    gateway: Gateway, tool: str, key: str = "TENANT_001", **arguments: object
) -> set[str]:
    """Call a tool and return the policy's reasons; the answer is signed either way."""
    body = message("tools/call", name=tool, arguments=arguments)
    region = arguments.get("region")
    headers = headers_of(body, mcp_param_region=region if isinstance(region, str) else None)
    answer = await gateway.send("POST", PATH, json.dumps(body).encode(), key=key, headers=headers)
    await gateway.proven(answer, key=key)
    (policy,) = [hop["attrs"] for hop in gateway.hops(answer) if hop["kind"] == "policy"]
    assert (policy["method"], policy["tool"]) == ("tools/call", tool)
    if answer.status == 200:
        return set()
    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (403, 403)
    return set(error["data"]["reasons"])
