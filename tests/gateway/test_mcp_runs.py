"""A tool that an agent calls over MCP is part of the agent's answer."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
import pytest_asyncio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from tests.support.agentservice import AGENTS, AgentService, Work, running_agents
from tests.support.gateway import Gateway, Setup, running_gateway
from tests.support.mcpserver import PATH, Seen, mcp_tables, operation, running_docs_server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

AGENT = "/v1/agents/research.agent"


@pytest.fixture(scope="module")
def seen() -> Seen:
    return Seen()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agents() -> AsyncIterator[AgentService]:
    async with running_agents() as service:
        yield service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(
    agents: AgentService, seen: Seen, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    async with running_docs_server(seen) as url:
        files = {"operations/agents.toml": AGENTS, "operations/tools.toml": operation()}
        setup = Setup(more=agents.tables + mcp_tables(url), files=files)
        async with running_gateway(tmp_path_factory.mktemp("runs"), setup) as running:
            agents.gateways = [running]
            yield running


@asynccontextmanager
async def client(gateway: Gateway, key: str = "TENANT_001") -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {gateway.keys[key]}"}
    async with httpx2.AsyncClient(headers=headers) as http:
        connection = streamable_http_client(gateway.url + PATH, http_client=http)
        async with Client(connection) as connected:
            yield connected


async def ask(gateway: Gateway):
    return await gateway.send("POST", AGENT, b'{"question": "?"}')


def facts(gateway: Gateway, answer) -> list[dict]:
    return [hop["attrs"] for hop in gateway.hops(answer) if hop["kind"] == "tool"]


async def test_a_tool_call_that_carries_its_trace_in_the_message_joins_the_run(
    gateway: Gateway, agents: AgentService, seen: Seen
):
    async def work(work: Work) -> dict:
        async with client(gateway) as tools:
            found = await tools.call_tool("fetch", {"uri": "docs/a.md"}, meta=work.carried())
        return {"answer": found.content[0].text}

    agents.does(work)
    answer = await ask(gateway)
    assert answer.json() == {"answer": "The page docs/a.md."}
    await gateway.proven(answer)
    tools = [one for one in facts(gateway, answer) if one.get("method") == "tools/call"]
    assert [(one["tool"], one["is_error"]) for one in tools] == [("fetch", False)]
    # What came without a trace, the description of the server, is no part of the run.
    assert [one for one in facts(gateway, answer) if one.get("method") == "server/discover"] == []
    inner = seen.last()[1]["params"]["_meta"]["traceparent"]
    assert inner.split("-")[1] == agents.works[-1].trace_id


async def test_a_refused_tool_call_is_part_of_the_run_too(gateway: Gateway, agents: AgentService):
    async def work(work: Work) -> dict:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search"}}
        got = await work.post(PATH, json.dumps(body).encode(), work.carried())
        return {"status": got.status_code}

    agents.does(work)
    answer = await ask(gateway)
    assert answer.json() == {"status": 400}
    await gateway.proven(answer)
    codes = [hop["attrs"].get("code") for hop in gateway.hops(answer) if hop["kind"] == "response"]
    assert codes == ["malformed_request", None]


async def test_a_tool_call_of_another_tenant_joins_no_run(gateway: Gateway, agents: AgentService):
    async def work(work: Work) -> dict:
        async with client(gateway, "TENANT_002") as tools:
            found = await tools.call_tool("fetch", {"uri": "a"}, meta=work.carried())
        return {"answer": found.content[0].text}

    agents.does(work)
    answer = await ask(gateway)
    assert answer.json() == {"answer": "The page a."}
    assert [one for one in facts(gateway, answer) if "method" in one] == []
