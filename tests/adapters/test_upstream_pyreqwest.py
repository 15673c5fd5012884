"""pyreqwest behind the upstream port: conformance, and HTTP/2 with a server of single frames."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.ports.upstream_calls import call_to, fetch
from tests.ports.upstream_conformance import UpstreamConformance
from tests.ports.upstream_server import Connection, UpstreamServer, serving
from tests.ports.upstream_tls import authority, server_context

from verismo.adapters.upstream_pyreqwest import CLIENTS_MAX, PyreqwestUpstream
from verismo.adapters.upstream_settings import UpstreamSettings
from verismo.model.errors import UpstreamBroken, UpstreamUnreachable
from verismo.model.operation import Timeouts
from verismo.ports.upstream import Upstream

DATA, HEADERS, RST_STREAM, SETTINGS = 0, 1, 3, 4
END_STREAM, ACK, END_HEADERS = 1, 1, 4
STATUS_200 = b"\x88"
"""RFC 7541 Appendix A: index 8 of the static table is `:status: 200`."""


class TestConformance(UpstreamConformance):
    """Falls short: before the headers, only the total deadline breaks an exchange off."""

    slow_head_timeouts = Timeouts(connect_ms=4_000, first_byte_ms=60, total_ms=150)
    cancelled_timeouts = Timeouts(connect_ms=4_000, first_byte_ms=4_000, total_ms=150)

    def make(self, settings: UpstreamSettings) -> Upstream:
        return PyreqwestUpstream(settings)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return an HTTP/2 frame (RFC 9113 4.1)."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


async def frames(connection: Connection) -> AsyncIterator[tuple[int, int, int, bytes]]:
    """Yield kind, flags, stream and payload of each frame after the preface."""
    assert (await connection.reader.readexactly(24)).startswith(b"PRI * HTTP/2.0")
    await connection.send(frame(SETTINGS, 0, 0))
    while True:
        head = await connection.reader.readexactly(9)
        payload = await connection.reader.readexactly(int.from_bytes(head[:3], "big"))
        yield head[3], head[4], int.from_bytes(head[5:], "big"), payload


class Http2Server:
    """Answers each stream with what it was sent; the bodies `reset` and `stall` misbehave."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    async def script(self, connection: Connection) -> None:
        bodies: dict[int, bytes] = {}
        async for kind, flags, stream, payload in frames(connection):
            if kind == SETTINGS and not flags & ACK:
                await connection.send(frame(SETTINGS, ACK, 0))
            elif kind == RST_STREAM:
                self.cancelled.set()
            elif kind in (HEADERS, DATA):
                bodies[stream] = bodies.get(stream, b"") + (payload if kind == DATA else b"")
                if flags & END_STREAM:
                    await self._answer(connection, stream, bodies.pop(stream))

    async def _answer(self, connection: Connection, stream: int, body: bytes) -> None:
        await connection.send(frame(HEADERS, END_HEADERS, stream, STATUS_200))
        if body == b"reset":
            await connection.send(frame(DATA, 0, stream, b"half"))
            await connection.send(frame(RST_STREAM, 0, stream, b"\0\0\0\2"))
        elif body == b"stall":
            await connection.send(frame(DATA, 0, stream, b"half"))
        else:
            await connection.send(frame(DATA, END_STREAM, stream, body))

    @contextlib.asynccontextmanager
    async def serving(self, folder: Path) -> AsyncIterator[tuple[UpstreamServer, Upstream]]:
        root = authority()
        context = server_context(root, folder)
        context.set_alpn_protocols(["h2"])
        upstream = PyreqwestUpstream(UpstreamSettings(roots_pem=root.pem))
        async with serving(self.script, context) as server:
            yield server, upstream
            await upstream.aclose()


async def test_http2_is_spoken_where_the_provider_negotiates_it(tmp_path: Path) -> None:
    async with Http2Server().serving(tmp_path) as (server, upstream):
        await fetch(upstream, call_to(server.url, body=b"first"))
        bodies = [b"call %d" % number for number in range(50)]
        answers = await asyncio.gather(
            *[fetch(upstream, call_to(server.url, body=body)) for body in bodies]
        )
        assert answers == [(200, body) for body in bodies]
        assert server.accepted == 1


async def test_an_http2_stream_that_is_reset_is_broken_and_the_others_live(tmp_path: Path) -> None:
    async with Http2Server().serving(tmp_path) as (server, upstream):
        with pytest.raises(UpstreamBroken):
            await fetch(upstream, call_to(server.url, body=b"reset"))
        assert await fetch(upstream, call_to(server.url, body=b"next")) == (200, b"next")
        assert server.accepted == 1


async def test_breaking_off_resets_the_http2_stream_alone(tmp_path: Path) -> None:
    provider = Http2Server()
    async with provider.serving(tmp_path) as (server, upstream):
        reply = await upstream.send(call_to(server.url, body=b"stall"))
        assert await anext(reply.chunks()) == b"half"
        await reply.aclose()
        async with asyncio.timeout(5):
            await provider.cancelled.wait()
        assert await fetch(upstream, call_to(server.url, body=b"next")) == (200, b"next")
        assert server.accepted == 1


async def test_the_number_of_clients_is_bounded() -> None:
    upstream = PyreqwestUpstream()
    for number in range(CLIENTS_MAX + 1):
        timeouts = Timeouts(connect_ms=100 + number, first_byte_ms=1_000, total_ms=1_000)
        with pytest.raises(UpstreamUnreachable) as caught:
            await upstream.send(call_to("http://upstream.invalid/", timeouts=timeouts))
        assert caught.value.retryable == (number < CLIENTS_MAX)
    await upstream.aclose()
