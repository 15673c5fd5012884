"""Calls, answers and the fixture that the groups of the upstream's conformance suite share."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.ports.upstream_server import WAIT_S

from verismo.adapters.upstream_settings import UpstreamSettings
from verismo.model.operation import Timeouts
from verismo.ports.upstream import Upstream, UpstreamCall, UpstreamReply

TIMEOUTS = Timeouts(connect_ms=4_000, first_byte_ms=4_000, total_ms=8_000)
SECRET = "sk-this-is-the-credential"
SECOND = b"the second answer"


def call_to(
    url: str,
    *,
    method: str = "POST",
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"{}",
    timeouts: Timeouts = TIMEOUTS,
    response_bytes_max: int = 1_000_000,
) -> UpstreamCall:
    """Return a call that carries a credential, as every real one does."""
    credential = ("authorization", f"Bearer {SECRET}")
    return UpstreamCall(method, url, (credential, *headers), body, timeouts, response_bytes_max)


def answer(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    """Return a well-formed answer with a content-length."""
    head = "\r\n".join((f"HTTP/1.1 {status}", *lines, f"content-length: {len(body)}"))
    return head.encode("latin-1") + b"\r\n\r\n" + body


def chunked(*pieces: bytes, lines: tuple[str, ...] = (), end: bytes = b"0\r\n\r\n") -> bytes:
    """Return a well-formed answer in chunks."""
    head = "\r\n".join(("HTTP/1.1 200 OK", *lines, "transfer-encoding: chunked", "", ""))
    return head.encode("latin-1") + b"".join(chunk(piece) for piece in pieces) + end


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


async def fetch(upstream: Upstream, call: UpstreamCall) -> tuple[int, bytes]:
    """Send, read and close; return status and body."""
    reply = await upstream.send(call)
    try:
        return reply.status, await reply.read()
    finally:
        await reply.aclose()


class Listener:
    """Listens to a reply; a wait of its own is given up as often as one likes."""

    def __init__(self, reply: UpstreamReply) -> None:
        self._reply = reply
        self._news = asyncio.Event()
        self.is_whole = False
        reply.listen(self._news.set)

    async def some(self) -> bytes:
        """Return the next bytes, or nothing at the end."""
        async with asyncio.timeout(WAIT_S):
            while True:
                self._news.clear()
                data, self.is_whole = self._reply.take()
                if data or self.is_whole:
                    return data
                await self._news.wait()

    async def rest(self) -> bytes:
        """Return all bytes up to the end."""
        data = b""
        while not self.is_whole:
            data += await self.some()
        return data


class UpstreamCase:
    """What every group needs: an adapter, closed and checked for leaks after each test."""

    def make(self, settings: UpstreamSettings) -> Upstream:
        raise NotImplementedError

    @pytest.fixture
    async def upstream(self) -> AsyncIterator[Upstream]:
        upstream = self.make(UpstreamSettings())
        yield upstream
        await upstream.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task outlives the client"
