"""A small real agent service on a socket: what it does for an answer is a function of the test."""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.support.gateway import Gateway, chat_body
from tests.support.mcpserver import Seen, running_app

from verismo.attest.headers import ATTEST_PROV_ID

AGENTS = """
[operations."research.agent"]
kind = "agent"
purpose = "support"
deployments = ["research-us", "research-eu"]

[operations."inner.agent"]
kind = "agent"
purpose = "support"
deployments = ["inner-us"]

[operations."chatting.agent"]
kind = "agent"
purpose = "support"
deployments = ["chatting-us"]
aliases = ["my-agent"]

[operations."client.agent"]
kind = "agent"
purpose = "support"
"""


class Work:
    """One answer that an agent is working on.

    Args:
        service: whose.
        headers: of the request that it got.
        body: what it was asked.
    """

    def __init__(self, service: "AgentService", headers: Mapping[str, str], body: dict) -> None:
        self.service = service
        self.headers = headers
        self.body = body

    @property
    def trace_id(self) -> str:
        return self.headers["traceparent"].split("-")[1]

    @property
    def run_span(self) -> str:
        return self.headers["traceparent"].split("-")[2]

    def carried(self, parent: str = "", *, state: bool = True) -> dict[str, str]:
        """Return the trace headers of a call, as a propagator would set them."""
        carried = {"traceparent": f"00-{self.trace_id}-{parent or self.run_span}-01"}
        if state:
            carried["tracestate"] = self.headers["tracestate"]
        return carried

    async def post(
        self, path: str, body: bytes, carried: Mapping[str, str], gateway: Gateway | None = None
    ) -> httpx2.Response:
        """Call back through a gateway; returns its answer."""
        gateway = gateway or self.service.gateways[0]
        key = gateway.keys["TENANT_001"]
        headers = {
            "authorization": f"Bearer {key}",
            "content-type": "application/json",
            "accept-encoding": "identity",
            **carried,
        }
        return await self.service.client.post(gateway.url + path, content=body, headers=headers)

    async def chat(self, content: str, gateway: Gateway | None = None, **carried) -> str:
        """Ask a model through a gateway and return the answer's prov_id."""
        path, body = "/v1/chat/completions", chat_body(content)
        answer = await self.post(path, body, self.carried(**carried), gateway)
        assert answer.status_code == 200, answer.text
        return answer.headers[ATTEST_PROV_ID]


Behaviour = Callable[[Work], Awaitable[dict | Response]]


class AgentService:
    """What its agents do, and what they were asked."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.gateways: list[Gateway] = []
        self.works: list[Work] = []
        self.client: httpx2.AsyncClient
        self.url = ""

    def does(self, behaviour: Behaviour, name: str = "research") -> None:
        """Set what an agent does from now on."""
        self.behaviours[name] = behaviour

    @property
    def tables(self) -> str:
        """The tables of verismo.toml for this service."""
        timeouts = "timeouts = { connect_ms = 2000, first_byte_ms = 5000, total_ms = 8000 }"
        lines = [f'\n[providers.agents]\nkind = "http"\nbase_url = "{self.url}"\n{timeouts}\n']
        lines += [
            f'\n[providers.chatty]\nkind = "openai"\nbase_url = "{self.url}/v1"\n{timeouts}\n'
        ]
        for name, provider, model, region in (
            ("research-us", "agents", "/research", "us"),
            ("research-eu", "agents", "/research", "eu"),
            ("inner-us", "agents", "/inner", "us"),
            ("chatting-us", "chatty", "agent-model", "us"),
        ):
            lines.append(
                f'\n[deployments.{name}]\nprovider = "{provider}"\nmodel = "{model}"\n'
                f'region = "{region}"\n'
            )
        return "".join(lines)

    async def answer(self, request: Request) -> Response:
        """Do what the agent of the path does, and answer JSON or a stream of two events."""
        work = Work(self, dict(request.headers), json.loads(await request.body()))
        self.works.append(work)
        name = request.url.path.strip("/")
        behaviour = self.behaviours.get("chatting" if name.startswith("v1") else name)
        if behaviour is None:
            return JSONResponse({"error": "no such agent"}, status_code=503)
        if "text/event-stream" in request.headers.get("accept", ""):
            return StreamingResponse(_events(work, behaviour), media_type="text/event-stream")
        said = await behaviour(work)
        return said if isinstance(said, Response) else JSONResponse(said)


async def _events(work: Work, behaviour: Behaviour) -> AsyncIterator[bytes]:
    yield b'data: {"step":"begun"}\n\n'
    yield b"data: " + json.dumps(await behaviour(work)).encode() + b"\n\n"
    if work.body.get("model"):
        yield b"data: [DONE]\n\n"


@asynccontextmanager
async def running_agents() -> AsyncIterator[AgentService]:
    """Serve agents while the block runs."""
    service = AgentService()
    app = Starlette(routes=[Route("/{path:path}", service.answer, methods=["POST"])])

    @asynccontextmanager
    async def lifespan(_app) -> AsyncIterator[None]:
        yield

    async with contextlib.AsyncExitStack() as stack:
        service.url = await stack.enter_async_context(running_app(app, lifespan, Seen()))
        service.client = await stack.enter_async_context(httpx2.AsyncClient(timeout=20))
        yield service
