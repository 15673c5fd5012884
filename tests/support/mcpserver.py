"""A real MCP server of the official SDK on a socket of this event loop, and one that misbehaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated

from mcp.server.mcpserver import Context, MCPServer
from pydantic import Field
from starlette.applications import Starlette
from tests.support.waiting import until
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

REVISION = "2026-07-28"
OPERATION = "docs.tools"
PATH = f"/mcp/{OPERATION}"


class Seen:
    """What reached the server: the tools that ran, and the requests as they came."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []

    def last(self, method: str = "tools/call") -> tuple[dict[str, str], dict]:
        """Return headers and message of the last request for a method."""
        asked = [(headers, json.loads(body)) for headers, body in self.requests]
        return [one for one in asked if one[1]["method"] == method][-1]


def docs_server(seen: Seen) -> MCPServer:
    """Return a server with tools, a resource and a prompt."""
    server = MCPServer("docs", version="1", instructions="Search, then fetch.")

    @server.tool()
    def search(
        query: str,
        region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "eu",
    ) -> list[str]:
        """Find pages."""
        seen.ran.append("search")
        return [f"{query} in {region}", "docs/mcp.md"]

    @server.tool()
    def fetch(uri: str) -> str:
        """Read a page."""
        seen.ran.append("fetch")
        if uri.startswith("missing:"):
            raise ValueError("no such page")
        return f"The page {uri}."

    @server.tool()
    async def crawl(pages: int, context: Context) -> str:
        """Read pages one after another, and tell how far it got."""
        seen.ran.append("crawl")
        for page in range(pages):
            await context.report_progress(page + 1, pages, f"page {page + 1}")
        return f"{pages} pages"

    @server.tool()
    def dump(octets: int) -> str:
        """Return a long text."""
        seen.ran.append("dump")
        return "x" * octets

    @server.tool()
    def delete_page(uri: str) -> str:
        """Delete a page: nobody registers this."""
        seen.ran.append("delete_page")
        return f"{uri} is gone"

    @server.resource("docs://index")
    def index() -> str:
        return "docs/mcp.md"

    @server.prompt()
    def summarise(uri: str) -> str:
        return f"Summarise {uri}."

    return server


@asynccontextmanager
async def running_docs_server(seen: Seen) -> AsyncIterator[str]:
    """Serve the docs server while the block runs; yields its base URL, without the path."""
    app = docs_server(seen).streamable_http_app()
    async with running_app(app, app.router.lifespan_context, seen) as url:
        yield url


@asynccontextmanager
async def running_answer(
    answer: Callable[[dict], Awaitable[tuple[int, str, list[bytes]]]],
    seen: Seen,
    open_until: asyncio.Event | None = None,
) -> AsyncIterator[str]:
    """Serve what a function answers to each message: status, content type, pieces of the body.

    Args:
        answer: the function.
        seen: gets the requests.
        open_until: answers are not ended before this is set.
    """

    async def app(scope, receive, send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        status, media, pieces = await answer(json.loads(body))
        headers = [(b"content-type", media.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if open_until is not None:
            await open_until.wait()
        await send({"type": "http.response.body", "body": b""})

    @asynccontextmanager
    async def lifespan(_app) -> AsyncIterator[None]:
        yield

    async with running_app(app, lifespan, seen) as url:
        yield url


@asynccontextmanager
async def running_app(app, lifespan, seen: Seen) -> AsyncIterator[str]:
    """Serve an ASGI application in a task of its own, as its task groups need."""
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    ending = asyncio.Event()
    running = asyncio.create_task(_run(_recording(app, seen), lifespan(app), address, ending))
    await asyncio.wait({running, address}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    try:
        yield await address
    finally:
        ending.set()
        await asyncio.wait_for(running, 10)


async def _run(app, lifespan, address: asyncio.Future[str], ending: asyncio.Event) -> None:
    config = Config(app, http="httptools", ws="none", lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    async with lifespan:
        server = await asyncio.get_running_loop().create_server(
            lambda: HttpToolsProtocol(config=config, server_state=state, app_state={}),
            "127.0.0.1",
            0,
        )
        address.set_result(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await ending.wait()
        server.close()
        for connection in list(state.connections):
            connection.transport.close()
        await until(lambda: not state.connections and not state.tasks)


def _recording(app: Starlette, seen: Seen):
    async def recording(scope, receive, send) -> None:
        pieces: list[bytes] = []
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}

        async def listening():
            message = await receive()
            if message["type"] == "http.request":
                pieces.append(message.get("body", b""))
                if not message.get("more_body"):
                    seen.requests.append((headers, b"".join(pieces)))
            return message

        await app(scope, listening, send)

    return recording


def mcp_tables(url: str, **providers: str) -> str:
    """Return the tables of verismo.toml for an MCP server at a URL, in the regions of the samples.

    Args:
        url: of the server.
        providers: further servers by name; each gets a deployment of its own in the US.
    """
    tables = [
        _provider("docs-server", url),
        _deployment("docs-us", "docs-server", "us"),
        _deployment("docs-eu", "docs-server", "eu"),
    ]
    for name, other in providers.items():
        tables += [_provider(name, other), _deployment(f"{name}-us", name, "us")]
    return "".join(tables)


def _provider(name: str, url: str) -> str:
    timeouts = "timeouts = { connect_ms = 2000, first_byte_ms = 5000, total_ms = 8000 }"
    return f'\n[providers.{name}]\nkind = "mcp"\nbase_url = "{url}"\n{timeouts}\n'


def _deployment(name: str, provider: str, region: str) -> str:
    return f'\n[deployments.{name}]\nprovider = "{provider}"\nmodel = "/mcp"\nregion = "{region}"\n'


def operation(name: str = OPERATION, **keys: object) -> str:
    """Return the table of an MCP operation; TOML spells lists and texts as JSON does."""
    table = {
        "kind": "mcp",
        "purpose": "support",
        "deployments": ["docs-us", "docs-eu"],
        "tools": ["search", "fetch", "crawl", "dump"],
        **keys,
    }
    lines = [f"{key} = {_toml(value)}" for key, value in table.items()]
    return f'[operations."{name}"]\n' + "\n".join(lines) + "\n\n"


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)


def message(method: str, request_id: object = 1, meta: object = None, **params: object) -> dict:
    """Return a message as the official client spells it."""
    envelope = {
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return {
        "jsonrpc": "2.0",
        "id": request_id,
        "method": method,
        "params": {"_meta": {**envelope, **(meta or {})}, **params},
    }


def headers_of(body: dict, **more: str | None) -> dict[str, str]:
    """Return the headers that belong to a message; None takes one away."""
    params = body.get("params", {})
    headers = {"mcp-protocol-version": REVISION, "mcp-method": str(body.get("method"))}
    name = params.get("name", params.get("uri")) if isinstance(params, dict) else None
    if name is not None:
        headers["mcp-name"] = str(name)
    headers |= {key.replace("_", "-"): value for key, value in more.items()}
    return {key: value for key, value in headers.items() if value is not None}
