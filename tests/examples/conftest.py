"""The example's parts on real sockets: its tools, a simulated model, its service."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from verismo.cli.served import served
from verismo.examples.agentic_rag.agent import Agent
from verismo.examples.agentic_rag.passages import cut_documents, read_documents
from verismo.examples.agentic_rag.retrieval import Index
from verismo.examples.agentic_rag.service import agent_app
from verismo.examples.agentic_rag.tools_server import tools_app
from verismo.simulate.record import Record
from verismo.simulate.settings import SimulatorSettings
from verismo.simulate.simulator import Simulator

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def index() -> Index:
    return Index(cut_documents(read_documents(ROOT)))


@pytest.fixture
async def tools_url(index) -> AsyncIterator[str]:
    async with served(tools_app(index)) as url:
        yield url


class Unproven:
    """The paths of a gateway without one: models are simulated, tools answer by themselves."""

    def __init__(self, tools: ASGIApp, models: Simulator) -> None:
        self._tools = tools
        self.models = models

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._tools(scope, receive, send)
        elif scope["path"] == "/mcp/docs.tools":
            await self._tools({**scope, "path": "/mcp"}, receive, send)
        else:
            await self.models(scope, receive, send)


@pytest.fixture
async def site(index) -> AsyncIterator[tuple[str, Record]]:
    """A service whose agent has models and tools, and what the model was asked."""
    record = Record(keep_requests=10)
    unproven = Unproven(tools_app(index), Simulator(SimulatorSettings(), record))
    async with served(unproven) as url:
        agent = Agent(url, "vk_test", model="simulated-reader")
        async with served(agent_app(agent)) as service:
            yield service, record
