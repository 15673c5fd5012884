"""The agent: a model says what to search for, tools find it, the model answers from what was found.

Models and tools are reached through the gateway, so their calls are signed. What the agent does by
itself it records: each step by name and digest, never its content. Both end up in one graph.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TypeVar

import httpx2
import msgspec
import openai
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import Tool
from openai.types.chat import ChatCompletionToolParam

from verismo.client import carry_async, retrieval, run, tool

from .citations import INSTRUCTIONS, Citation, citations_of, prompt_of
from .passages import Passage

MCP_REVISION = "2026-07-28"
SOURCES_MAX = 4
QUERY_TOKENS_MAX = 48
ANSWER_TOKENS_MAX = 192
TIMEOUT_S = 120.0

FAILURES = (openai.OpenAIError, MCPError, httpx2.HTTPError)

T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True):
    """What the agent answers.

    Args:
        text: with citations such as [1].
        citations: the sources that it names.
        unknown_citations: numbers in the text that name no source: the model made them up.
        sources: every passage that the model was shown, in the order of their numbers.
    """

    text: str
    citations: list[Citation]
    unknown_citations: list[int]
    sources: list[Passage]


class Hit(msgspec.Struct, frozen=True):
    """What a search tells of a passage."""

    uri: str
    title: str
    why: str


class _Query(msgspec.Struct, frozen=True):
    query: str


class AgentFailure(Exception):
    """A model or a tool did not answer; the text says which and why."""


class Agent:
    """Answers questions about documents.

    Args:
        gateway: its URL, without a path.
        api_key: of the tenant whose answers these are.
        model: the operation that writes the answer.
        tools: the operation that has the tools `search` and `fetch`.
    """

    def __init__(
        self, gateway: str, api_key: str, model: str = "docs.reader", tools: str = "docs.tools"
    ) -> None:
        self._gateway = gateway
        self._api_key = api_key
        self._model = model
        self._tools_url = f"{gateway}/mcp/{tools}"
        # The hook says in each request which run and which step of it made the call.
        self._http = httpx2.AsyncClient(
            headers={"authorization": f"Bearer {api_key}"},
            event_hooks={"request": [carry_async]},
            timeout=TIMEOUT_S,
        )
        self._models = openai.AsyncOpenAI(
            base_url=f"{gateway}/v1", api_key=api_key, http_client=self._http, max_retries=1
        )

    async def answer(
        self, question: str, headers: Mapping[str, str]
    ) -> AsyncIterator[str | Answer]:
        """Answer a question: yields the text piece by piece, then the whole answer.

        Args:
            question: in words.
            headers: of the request that asks; they name the run that this answer belongs to.

        Raises:
            AgentFailure: a model or a tool did not answer.
        """
        text = ""
        try:
            async with run.continued(headers, gateway=self._gateway, api_key=self._api_key):
                sources = await self._find(question)
                async for piece in self._write(question, sources):
                    text += piece
                    yield piece
                citations, unknown = check_citations(text, sources)
        except (*FAILURES, ExceptionGroup) as error:
            raise failure_of(error) from error
        # Behind the run's end, which has told the gateway every step: now the answer may be sealed.
        yield Answer(text, citations, unknown, sources)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def _find(self, question: str) -> list[Passage]:
        """Find what may answer a question, by the gateway's tools."""
        transport = streamable_http_client(self._tools_url, http_client=self._http)
        async with Client(transport, mode=MCP_REVISION) as tools:
            offered = [one for one in (await tools.list_tools()).tools if one.name == "search"]
            query = await self._plan(question, offered)
            async with retrieval("docs", query) as found:
                hits = await call(tools, "search", list[Hit], query=query, count=SOURCES_MAX)
                fetches = (call(tools, "fetch", Passage, uri=hit.uri) for hit in hits)
                sources = await asyncio.gather(*fetches)
                for passage in sources:
                    found.source(passage.uri, passage.text)
        return sources

    async def _plan(self, question: str, offered: list[Tool]) -> str:
        """Let the model say what to search for; the question itself if it says nothing usable."""
        completion = await self._models.chat.completions.create(
            model=self._model,
            messages=[{"role": "user", "content": question}],
            tools=[described(one) for one in offered],
            tool_choice="required",
            max_tokens=QUERY_TOKENS_MAX,
        )
        calls = completion.choices[0].message.tool_calls or []
        for asked in calls:
            if asked.type == "function" and asked.function.name == "search":
                return query_of(asked.function.arguments) or question
        return question

    async def _write(self, question: str, sources: list[Passage]) -> AsyncIterator[str]:
        """Let the model answer from the sources, piece by piece."""
        stream = await self._models.chat.completions.create(
            model=self._model,
            messages=[
                {"role": "system", "content": INSTRUCTIONS},
                {"role": "user", "content": prompt_of(question, sources)},
            ],
            max_tokens=ANSWER_TOKENS_MAX,
            stream=True,
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content


def failure_of(error: Exception) -> Exception:
    """Return the failure in what was raised: the MCP client raises groups around it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return (
        AgentFailure(f"{type(error).__name__}: {error}") if isinstance(error, FAILURES) else error
    )


async def call(tools: Client, name: str, type_: type[T], **arguments: str | int) -> T:
    """Call a tool and return what it gives, as a value of a type.

    Raises:
        AgentFailure: the tool failed, or gave something else.
    """
    result = await tools.call_tool(name, arguments)
    given = result.structured_content or {}
    try:
        if not result.is_error:
            return msgspec.convert(given.get("result", given), type_)
    except msgspec.ValidationError as error:
        raise AgentFailure(f"the tool {name} gave something else than it says: {error}") from error
    raise AgentFailure(f"the tool {name} failed: {result.content}")


def described(offered: Tool) -> ChatCompletionToolParam:
    """Return an MCP tool as models are told of it."""
    return {
        "type": "function",
        "function": {
            "name": offered.name,
            "description": offered.description or "",
            "parameters": offered.input_schema,
        },
    }


def query_of(arguments: str) -> str:
    """Return the query in a tool call's arguments, empty if a model wrote something else."""
    try:
        return msgspec.json.decode(arguments, type=_Query).query.strip()
    except (msgspec.DecodeError, UnicodeError):
        return ""


@tool
def check_citations(text: str, sources: list[Passage]) -> tuple[list[Citation], list[int]]:
    """Tell the citations that name a source from those that a model made up."""
    return citations_of(text, sources)
