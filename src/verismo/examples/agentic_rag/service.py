"""The agent behind HTTP: `POST /answer` with a question; JSON, or a stream for who accepts one.

    python -m verismo.examples.agentic_rag.service --gateway http://127.0.0.1:8080 \\
        --key-file agent.key --port 9102

It is registered at the gateway as an operation of kind `agent`. The gateway calls it with a trace
context and the answer's salt in its headers, by which everything that it does joins one graph.
"""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from .agent import Agent, AgentFailure, Answer

EVENTS = "text/event-stream"
QUESTION_CHARACTERS_MAX = 2_000


class Asked(msgspec.Struct, frozen=True):
    """The body of a request.

    Args:
        question: in words.
    """

    question: str


class Delta(msgspec.Struct, frozen=True):
    """A piece of the answer's text."""

    delta: str


class Failure(msgspec.Struct, frozen=True):
    """Why there is no answer."""

    error: str


def agent_app(agent: Agent) -> Starlette:
    """Return the service as an ASGI application."""

    async def answer(request: Request) -> Response:
        try:
            asked = msgspec.json.decode(await request.body(), type=Asked)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _json(Failure(f'the body must be {{"question": "..."}}: {error}'), 400)
        if not 0 < len(asked.question.strip()) <= QUESTION_CHARACTERS_MAX:
            return _json(Failure(f"a question has 1 to {QUESTION_CHARACTERS_MAX} characters"), 400)
        pieces = agent.answer(asked.question, request.headers)
        if EVENTS in request.headers.get("accept", ""):
            return StreamingResponse(_events(pieces), media_type=EVENTS)
        try:
            whole = [piece async for piece in pieces if isinstance(piece, Answer)]
        except AgentFailure as error:
            return _json(Failure(str(error)), 502)
        return _json(whole[0], 200)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await agent.close()

    return Starlette(routes=[Route("/answer", answer, methods=["POST"])], lifespan=lifespan)


async def _events(pieces: AsyncIterator[str | Answer]) -> AsyncIterator[bytes]:
    """Yield the text as it comes, then the whole answer; a stream without the latter failed."""
    try:
        async for piece in pieces:
            yield _event(Delta(piece) if isinstance(piece, str) else piece)
    except AgentFailure as error:
        yield _event(Failure(str(error)))
        return
    yield b"data: [DONE]\n\n"


def _event(value: Delta | Answer | Failure) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _json(value: Answer | Failure, status: int) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def main() -> None:
    """Serve the agent until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gateway", required=True, help="the gateway's URL without a path")
    parser.add_argument("--key-file", type=Path, required=True, help="file with the agent's key")
    parser.add_argument("--port", type=int, default=9102)
    options = parser.parse_args()
    agent = Agent(options.gateway, options.key_file.read_text(encoding="utf-8").strip())
    uvicorn.run(agent_app(agent), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
