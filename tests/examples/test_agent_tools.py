"""The tools server, as the official MCP client sees it."""

import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from verismo.examples.agentic_rag.agent import MCP_REVISION, AgentFailure, Hit, call
from verismo.examples.agentic_rag.passages import Passage

QUESTION = "How many octets must the salt have?"


def connected(tools_url: str) -> Client:
    return Client(streamable_http_client(f"{tools_url}/mcp"), mode=MCP_REVISION)


async def test_both_tools_are_offered_with_what_they_take_and_give(tools_url):
    async with connected(tools_url) as tools:
        offered = {tool.name: tool for tool in (await tools.list_tools()).tools}
    assert set(offered) == {"search", "fetch"}
    assert offered["search"].input_schema["required"] == ["query"]
    assert offered["fetch"].output_schema["required"] == ["uri", "title", "text"]
    assert all(tool.description for tool in offered.values())


async def test_a_search_says_where_and_why_and_a_fetch_gives_the_whole_passage(tools_url, index):
    async with connected(tools_url) as tools:
        hits = await call(tools, "search", list[Hit], query=QUESTION, count=3)
        assert len(hits) == 3
        assert hits[0].why.startswith("score ")
        for hit in hits:
            passage = await call(tools, "fetch", Passage, uri=hit.uri)
            assert passage == index.fetch(hit.uri)


@pytest.mark.parametrize(("count", "found"), [(-1, 1), (0, 1), (10_000, 10)])
async def test_a_search_gives_one_to_ten_passages_whatever_it_is_asked_for(tools_url, count, found):
    async with connected(tools_url) as tools:
        hits = await call(tools, "search", list[Hit], query=QUESTION, count=count)
    assert len(hits) == found


async def test_a_search_that_finds_nothing_gives_an_empty_list(tools_url):
    async with connected(tools_url) as tools:
        assert await call(tools, "search", list[Hit], query="zzyzx") == []


@pytest.mark.parametrize("uri", ["docs/nowhere.md", "/etc/passwd", "../pyproject.toml", ""])
async def test_a_fetch_of_anything_but_a_passage_is_refused(tools_url, uri):
    async with connected(tools_url) as tools:
        with pytest.raises(AgentFailure, match="there is no passage"):
            await call(tools, "fetch", Passage, uri=uri)


async def test_a_tool_that_gives_something_else_is_named(tools_url):
    async with connected(tools_url) as tools:
        with pytest.raises(AgentFailure, match="search gave something else"):
            await call(tools, "search", Passage, query=QUESTION)
