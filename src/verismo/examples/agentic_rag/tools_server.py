"""The agent's tools as an MCP server: search the documents, fetch a passage.

    python -m verismo.examples.agentic_rag.tools_server --root . --port 9101

It is registered at the gateway as an operation of kind `mcp`, and reached through it.
"""

import argparse
from pathlib import Path

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from starlette.applications import Starlette
from typing_extensions import TypedDict

from .passages import cut_documents, read_documents
from .retrieval import Index, Ranked

FOUND_MAX = 10
SNIPPET_CHARACTERS = 160


class Hit(TypedDict):
    """What a search tells of a passage: where it is, how it begins, why it was found."""

    uri: str
    title: str
    snippet: str
    why: str


class Found(TypedDict):
    """A whole passage."""

    uri: str
    title: str
    text: str


def tools_app(index: Index) -> Starlette:
    """Return the MCP server as an ASGI application; it answers POST /mcp.

    Args:
        index: of the documents that may be searched.
    """
    server = MCPServer("documents", log_level="WARNING")

    @server.tool()
    def search(query: str, count: int = 4) -> list[Hit]:
        """Find the passages of the documents that fit a question best."""
        ranked = index.search(query, min(max(count, 1), FOUND_MAX))
        return [_hit(entry) for entry in ranked]

    @server.tool()
    def fetch(uri: str) -> Found:
        """Return the passage at an address that a search has given."""
        passage = index.fetch(uri)
        if passage is None:
            raise ToolError(f"there is no passage {uri}; search first")
        return {"uri": passage.uri, "title": passage.title, "text": passage.text}

    return server.streamable_http_app(json_response=True, stateless_http=True)


def _hit(entry: Ranked) -> Hit:
    passage = entry.passage
    return {
        "uri": passage.uri,
        "title": passage.title,
        "snippet": passage.text[:SNIPPET_CHARACTERS],
        "why": f"score {entry.score:.2f}: bm25 {entry.bm25:.2f}, terms {entry.terms:.2f}, "
        f"phrases {entry.phrases:.2f}, heading {entry.heading:.2f}",
    }


def main() -> None:
    """Serve the tools until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder with README.md and docs/*.md")
    parser.add_argument("--port", type=int, default=9101)
    options = parser.parse_args()
    index = Index(cut_documents(read_documents(options.root)))
    uvicorn.run(tools_app(index), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
