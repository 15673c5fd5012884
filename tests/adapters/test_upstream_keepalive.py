"""The own keep-alive client behind the upstream port: conformance, and where it is stricter."""

import asyncio
import gzip
import inspect
import socket
from pathlib import Path

import pytest
import uvloop
from tests.ports.upstream_calls import SECOND, answer, call_to, chunked, fetch
from tests.ports.upstream_conformance import UpstreamConformance
from tests.ports.upstream_framing import AMBIGUOUS, CHUNKED, REFUSED, Framing, hostile
from tests.ports.upstream_server import (
    WAIT_S,
    Connection,
    answering,
    closing,
    refused_port,
    serving,
)
from tests.ports.upstream_tls import authority, server_context

from verismo.adapters.upstream_keepalive import KeepAliveUpstream
from verismo.adapters.upstream_settings import UpstreamSettings
from verismo.model.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from verismo.model.operation import Timeouts
from verismo.ports.upstream import Upstream

READ_ANYWAY = frozenset(
    (
        "204 with a length",
        "204 with chunks",
        "304 with a body",
        "HTTP/1.0 with a length",
        "chunk extension",
        "continue",
        "early hints",
        "empty lines after the end",
        "octets after the end",
        "quoted chunk extension",
        "response splitting behind a close",
        "response splitting behind chunks",
        "response splitting in half",
        "response splitting",
        "space after the length",
    )
)
"""Of the ambiguous answers, those whose end is not in doubt."""

KEPT = frozenset(
    (
        "chunk extension",
        "quoted chunk extension",
        "space after the length",
        "empty lines after the end",
    )
)
"""Of those, the ones that say nothing against using the connection again."""


class TestConformance(UpstreamConformance):
    def make(self, settings: UpstreamSettings) -> Upstream:
        return KeepAliveUpstream(settings)


PLAIN_TESTS = sorted(
    name
    for name, function in inspect.getmembers(TestConformance, inspect.iscoroutinefunction)
    if name.startswith("test_") and list(inspect.signature(function).parameters)[1:] == ["upstream"]
)


@pytest.mark.parametrize("name", PLAIN_TESTS)
def test_conformance_holds_on_uvloop(name: str) -> None:
    async def run() -> None:
        case = TestConformance()
        upstream = case.make(UpstreamSettings())
        await getattr(case, name)(upstream)
        await upstream.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    uvloop.run(run())


def test_framing_holds_on_uvloop() -> None:
    async def run() -> None:
        upstream = KeepAliveUpstream()
        framing = Framing()
        for raw in REFUSED.values():
            await framing.test_bad_framing_is_refused(upstream, raw)
        for raw, body in AMBIGUOUS.values():
            await framing.test_ambiguous_framing_never_mixes_answers(upstream, raw, body)
        await upstream.aclose()

    uvloop.run(run())


@pytest.fixture
async def upstream():
    upstream = KeepAliveUpstream()
    yield upstream
    await upstream.aclose()


@pytest.mark.parametrize("name", AMBIGUOUS.keys())
async def test_an_answer_whose_end_is_in_doubt_is_refused(
    upstream: KeepAliveUpstream, name: str
) -> None:
    raw, body = AMBIGUOUS[name]
    async with serving(hostile(raw)) as server:
        if name in READ_ANYWAY:
            assert (await fetch(upstream, call_to(server.url)))[1] == body
        else:
            with pytest.raises(UpstreamBroken):
                await fetch(upstream, call_to(server.url))
        assert await fetch(upstream, call_to(server.url)) == (200, SECOND)
        assert server.accepted == (1 if name in KEPT else 2), "used again after something unusual"


async def test_a_header_value_is_read_as_latin_1(upstream: KeepAliveUpstream) -> None:
    async with serving(answering(answer(b"", "x-name: caf\xe9"))) as server:
        reply = await upstream.send(call_to(server.url))
        assert reply.header("x-name") == "caf\xe9"


async def test_a_header_value_is_sent_as_latin_1(upstream: KeepAliveUpstream) -> None:
    async with serving(answering(answer(b""))) as server:
        await fetch(upstream, call_to(server.url, headers=(("x-name", "caf\xe9"),)))
        assert server.requests[0].header("x-name") == "caf\xe9"


@pytest.mark.parametrize(("asked", "sent"), [(False, "identity"), (True, "gzip")])
async def test_compression_is_asked_for_only_if_set(asked: bool, sent: str) -> None:
    upstream = KeepAliveUpstream(UpstreamSettings(accept_gzip=asked))
    async with serving(answering(answer(b""))) as server:
        await fetch(upstream, call_to(server.url))
        assert server.requests[0].header("accept-encoding") == sent
    await upstream.aclose()


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress", ""])
async def test_a_coding_that_was_not_asked_for_is_refused(
    upstream: KeepAliveUpstream, coding: str
) -> None:
    async with serving(answering(answer(b"ok", f"content-encoding: {coding}"))) as server:
        with pytest.raises(UpstreamBroken, match="coding"):
            await fetch(upstream, call_to(server.url))


async def test_two_content_codings_are_refused(upstream: KeepAliveUpstream) -> None:
    lines = ("content-encoding: gzip", "content-encoding: gzip")
    async with serving(answering(answer(gzip.compress(b"ok"), *lines))) as server:
        with pytest.raises(UpstreamBroken):
            await fetch(upstream, call_to(server.url))


async def test_a_close_or_an_octet_on_an_idle_connection_is_noticed_at_once(
    upstream: KeepAliveUpstream,
) -> None:
    """The loop gets no chance to look at the socket between the provider's act and the call."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

        async def serve_one(body: bytes) -> socket.socket:
            accepted, _ = await loop.sock_accept(listener)
            assert await loop.sock_recv(accepted, 65_536)
            await loop.sock_sendall(accepted, answer(body))
            return accepted

        acts = (
            lambda accepted: accepted.close(),
            lambda accepted: accepted.send(answer(b"evil")),
            lambda accepted: accepted.send(b"\r\n"),
        )
        for number, act in enumerate(acts):
            body = b"answer %d" % number
            (status, received), accepted = await asyncio.gather(
                fetch(upstream, call_to(url)), serve_one(body)
            )
            assert (status, received) == (200, body)
            act(accepted)
            accepted.close()


async def test_an_unused_connection_is_closed_after_its_time() -> None:
    upstream = KeepAliveUpstream(UpstreamSettings(idle_ms=30))
    async with serving(answering(answer(b"ok"))) as server:
        await fetch(upstream, call_to(server.url))
        await server.until(lambda state: state.open == 0)
        assert await fetch(upstream, call_to(server.url)) == (200, b"ok")
        assert server.accepted == 2
    await upstream.aclose()


async def test_callers_wait_their_turn_in_order() -> None:
    upstream = KeepAliveUpstream(UpstreamSettings(connections_max=2))
    async with serving(answering(answer(b"ok"))) as server:
        bodies = [b"%d" % number for number in range(30)]
        await asyncio.gather(*[fetch(upstream, call_to(server.url, body=body)) for body in bodies])
        assert server.accepted == 2
        received = [int(request.body) for request in server.requests]
        assert all(abs(number - place) <= 1 for place, number in enumerate(received))
    await upstream.aclose()


async def test_a_connection_closed_while_it_is_handed_over_is_replaced() -> None:
    upstream = KeepAliveUpstream(UpstreamSettings(connections_max=1))
    async with serving(closing(answer(b"ok"))) as server:
        calls = [fetch(upstream, call_to(server.url)) for _ in range(8)]
        assert await asyncio.gather(*calls) == [(200, b"ok")] * 8
        assert server.accepted == 8
    await upstream.aclose()


async def test_a_body_over_tls_must_say_where_it_ends(tmp_path: Path) -> None:
    root = authority()
    upstream = KeepAliveUpstream(UpstreamSettings(roots_pem=root.pem))
    raw = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nwhole, but who knows"
    async with serving(closing(raw), server_context(root, tmp_path)) as server:
        with pytest.raises(UpstreamBroken, match="does not say where it ends"):
            await fetch(upstream, call_to(server.url))
    await upstream.aclose()


async def test_a_caller_that_waits_too_long_gets_a_timeout() -> None:
    upstream = KeepAliveUpstream(UpstreamSettings(connections_max=1))
    short = Timeouts(connect_ms=40, first_byte_ms=4_000, total_ms=4_000)

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.gone()

    async with serving(script) as server:
        first = asyncio.create_task(upstream.send(call_to(server.url)))
        await server.until(lambda state: len(state.requests) == 1)
        with pytest.raises(UpstreamTimeout, match=r"^connect:"):
            await upstream.send(call_to(server.url, timeouts=short))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert server.accepted == 1
    await upstream.aclose()


async def test_a_turn_that_comes_with_a_cancellation_is_passed_on() -> None:
    upstream = KeepAliveUpstream(UpstreamSettings(connections_max=1))
    async with serving(answering(answer(b"ok"))) as server:
        for cancelled in range(4):
            tasks = [
                asyncio.create_task(fetch(upstream, call_to(server.url, body=b"%d" % number)))
                for number in range(4)
            ]
            seen = len(server.requests)
            await server.until(lambda state, seen=seen: len(state.requests) > seen)
            tasks[cancelled].cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert [one for one in done if not isinstance(one, BaseException)] == [(200, b"ok")] * (
                3 if isinstance(done[cancelled], BaseException) else 4
            )
    await upstream.aclose()


async def test_failures_give_their_slot_back() -> None:
    upstream = KeepAliveUpstream(UpstreamSettings(connections_max=1))
    with refused_port() as port:
        for _ in range(3):
            with pytest.raises(UpstreamUnreachable):
                await upstream.send(call_to(f"http://127.0.0.1:{port}"))
    async with serving(closing(b"garbage")) as server:
        for _ in range(3):
            with pytest.raises(UpstreamBroken):
                await upstream.send(call_to(server.url))
    await upstream.aclose()


async def test_closing_the_client_ends_calls_in_flight_and_in_the_queue() -> None:
    upstream = KeepAliveUpstream(UpstreamSettings(connections_max=1))

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.gone()

    async with serving(script) as server:
        tasks = [asyncio.create_task(upstream.send(call_to(server.url))) for _ in range(2)]
        await server.until(lambda state: len(state.requests) == 1)
        await upstream.aclose()
        in_flight, queued = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(in_flight, UpstreamBroken)
        assert isinstance(queued, UpstreamUnreachable)
        await server.until(lambda state: state.open == 0)


async def test_a_connection_whose_upload_was_cut_short_is_not_used_again(
    upstream: KeepAliveUpstream,
) -> None:
    async def script(connection: Connection) -> None:
        if connection.number > 1:
            await answering(answer(SECOND))(connection)
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(answer(b"enough"))
        await connection.gone()

    async with serving(script) as server:
        call = call_to(server.url, body=bytes(30_000_000))
        assert await fetch(upstream, call) == (200, b"enough")
        assert await fetch(upstream, call_to(server.url)) == (200, SECOND)
        assert server.accepted == 2


async def test_a_slow_reader_keeps_memory_bounded() -> None:
    upstream = KeepAliveUpstream(UpstreamSettings(read_ahead_bytes_max=1_000))
    body = bytes(range(250)) * 40_000
    async with serving(answering(chunked(*[body[:50_000]] * 200))) as server:
        reply = await upstream.send(call_to(server.url, response_bytes_max=len(body)))
        received = []
        async for piece in reply.chunks():
            # One read of the socket may be parsed at a time, beside what was there before.
            assert len(piece) <= 1_000 + 300_000
            received.append(piece)
        assert b"".join(received) == body[:50_000] * 200
        assert await fetch(upstream, call_to(server.url, response_bytes_max=len(body)))
        assert server.accepted == 1
    await upstream.aclose()


async def test_what_came_before_an_error_is_yielded_first(upstream: KeepAliveUpstream) -> None:
    raw = CHUNKED + b"3\r\none\r\n3\r\ntwo\r\nzz\r\n"
    async with serving(answering(raw)) as server:
        reply = await upstream.send(call_to(server.url))
        pieces = reply.chunks()
        async with asyncio.timeout(WAIT_S):
            assert await anext(pieces) == b"onetwo"
            with pytest.raises(UpstreamBroken):
                await anext(pieces)
