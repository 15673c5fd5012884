"""The demo's agent and its tools on their ports."""

import asyncio
from pathlib import Path

from verismo.cli.served import served
from verismo.examples.agentic_rag.agent import Agent
from verismo.examples.agentic_rag.passages import cut_documents, read_documents
from verismo.examples.agentic_rag.retrieval import Index
from verismo.examples.agentic_rag.service import agent_app
from verismo.examples.agentic_rag.tools_server import tools_app

CHECKOUT = Path(__file__).parents[3]


async def serve_parts(
    gateway: str, api_key: str, agent_port: int, tools_port: int, ended: asyncio.Event
) -> None:
    """Serve the agent and its tools until they are told to end.

    Args:
        gateway: its URL, without a path.
        api_key: of the agent.
        agent_port: on loopback; somebody listens there once everything is ready.
        tools_port: on loopback.
        ended: is set when it is time.
    """
    agent = Agent(gateway, api_key)
    index = Index(cut_documents(read_documents(documents_root())))
    async with served(tools_app(index), tools_port), served(agent_app(agent), agent_port):
        await ended.wait()


def documents_root() -> Path | None:
    """Return the checkout's folder; None where an installed package has but its README."""
    return CHECKOUT if (CHECKOUT / "docs" / "README.md").is_file() else None
