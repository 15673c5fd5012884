"""Conformance of an upstream adapter: what fails, with which error, and what is left behind."""

import asyncio
import contextlib
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import msgspec
import pytest
from tests.ports.upstream_calls import (
    SECOND,
    SECRET,
    TIMEOUTS,
    Listener,
    UpstreamCase,
    answer,
    call_to,
    chunked,
    fetch,
)
from tests.ports.upstream_server import (
    WAIT_S,
    Connection,
    answering,
    closing,
    full_backlog,
    refused_port,
    serving,
)

from verismo.model.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from verismo.model.operation import Timeouts
from verismo.ports.upstream import Upstream, UpstreamReply

CONNECT_SHORT = Timeouts(connect_ms=60, first_byte_ms=4_000, total_ms=8_000)
FIRST_BYTE_SHORT = Timeouts(connect_ms=4_000, first_byte_ms=60, total_ms=8_000)
TOTAL_SHORT = Timeouts(connect_ms=4_000, first_byte_ms=4_000, total_ms=90)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"
T = TypeVar("T")


async def patiently(exchange: Callable[[int], Awaitable[T]]) -> T:
    """Begin an exchange that a deadline must not hit yet; one it hits gets ten times as long.

    A machine may stand still at any time, for longer than a test would like to wait.

    Args:
        exchange: begins it with deadlines that are so many times the short ones; must leave nothing
            open when it raises.
    """
    for times in (1, 10):
        with contextlib.suppress(UpstreamTimeout):
            return await exchange(times)
    return await exchange(100)


def total_short(times: int) -> Timeouts:
    return msgspec.structs.replace(TOTAL_SHORT, total_ms=times * TOTAL_SHORT.total_ms)


class Faults(UpstreamCase):
    """Connecting, deadlines, resets and cancelling.

    An adapter that cannot break an exchange off before the headers are here sets the two deadlines
    below so that the total one does it, and says so in its docstring.
    """

    slow_head_timeouts = FIRST_BYTE_SHORT
    cancelled_timeouts = TIMEOUTS

    async def test_a_refused_connection_is_unreachable(self, upstream: Upstream) -> None:
        with refused_port() as port, pytest.raises(UpstreamUnreachable) as caught:
            await upstream.send(call_to(f"http://127.0.0.1:{port}"))
        assert caught.value.retryable
        assert caught.value.__cause__ is not None

    async def test_an_unknown_name_is_unreachable(self, upstream: Upstream) -> None:
        # RFC 6761 6.4: `invalid` never resolves.
        with pytest.raises(UpstreamUnreachable):
            await upstream.send(call_to("http://upstream.invalid/"))

    async def test_a_connection_that_does_not_come_about_is_a_timeout(
        self, upstream: Upstream
    ) -> None:
        with full_backlog() as port, pytest.raises(UpstreamTimeout, match=r"^connect:"):
            await upstream.send(call_to(f"http://127.0.0.1:{port}", timeouts=CONNECT_SHORT))

    @pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nx-a: "], ids=["silent", "begun"])
    async def test_a_slow_head_is_a_timeout_and_breaks_the_exchange_off(
        self, upstream: Upstream, raw: bytes
    ) -> None:
        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(raw)
            await connection.gone()

        short = self.slow_head_timeouts
        async with serving(script) as server:
            for times in (1, 10, 100):
                timeouts = Timeouts(
                    connect_ms=short.connect_ms,
                    first_byte_ms=times * short.first_byte_ms,
                    total_ms=times * short.total_ms,
                )
                with pytest.raises(UpstreamTimeout) as caught:
                    await upstream.send(call_to(server.url, timeouts=timeouts))
                if not str(caught.value).startswith("total:"):
                    break  # else the machine stood still between the two deadlines
            assert str(caught.value).startswith("first byte:")
            await server.until(lambda state: state.open == 0)

    async def test_the_first_byte_deadline_ends_with_the_headers(self, upstream: Upstream) -> None:
        late = asyncio.Event()

        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(HEAD + b"12345")
            await late.wait()
            await connection.send(b"67890")
            await connection.gone()

        async def begin(times: int) -> tuple[int, UpstreamReply]:
            first_byte_ms = times * FIRST_BYTE_SHORT.first_byte_ms
            timeouts = Timeouts(connect_ms=4_000, first_byte_ms=first_byte_ms, total_ms=18_000)
            return first_byte_ms, await upstream.send(call_to(server.url, timeouts=timeouts))

        async with serving(script) as server:
            first_byte_ms, reply = await patiently(begin)
            asyncio.get_running_loop().call_later(1.5 * first_byte_ms / 1_000, late.set)
            assert await reply.read() == b"1234567890"
            await reply.aclose()
            await upstream.aclose()

    async def test_the_total_deadline_may_pass_before_the_head(self, upstream: Upstream) -> None:
        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.gone()

        async with serving(script) as server:
            with pytest.raises(UpstreamTimeout, match=r"^total:"):
                await upstream.send(call_to(server.url, timeouts=TOTAL_SHORT))
            await server.until(lambda state: state.open == 0)

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_a_slow_body_passes_the_total_deadline(
        self, upstream: Upstream, streamed: bool
    ) -> None:
        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(HEAD + b"12345")
            await connection.gone()

        async def begin(times: int) -> tuple[UpstreamReply, AsyncIterator[bytes]]:
            reply = await upstream.send(call_to(server.url, timeouts=total_short(times)))
            pieces = reply.chunks()
            try:
                if streamed:
                    assert await anext(pieces) == b"12345"
            except UpstreamTimeout:
                await reply.aclose()
                raise
            return reply, pieces

        async with serving(script) as server:
            reply, pieces = await patiently(begin)
            with pytest.raises(UpstreamTimeout, match=r"^total:"):
                await (anext(pieces) if streamed else reply.read())
            await reply.aclose()
            await server.until(lambda state: state.open == 0)

    async def test_a_deadline_that_is_met_leaves_no_timer(self, upstream: Upstream) -> None:
        async def fetched(times: int) -> Timeouts:
            timeouts = Timeouts(connect_ms=2_000, first_byte_ms=60 * times, total_ms=90 * times)
            await fetch(upstream, call_to(server.url, timeouts=timeouts))
            return timeouts

        async with serving(answering(answer(b"ok"))) as server:
            short = await patiently(fetched)
            # What comes after the first call's deadlines must not be hit by them.
            deadline_s = asyncio.get_running_loop().time() + short.total_ms / 1_000
            while asyncio.get_running_loop().time() < deadline_s:
                await patiently(fetched)
            assert await fetch(upstream, call_to(server.url)) == (200, b"ok")

    @pytest.mark.parametrize(
        "raw",
        [
            pytest.param(b"", id="before the head"),
            pytest.param(b"HTTP/1.1 200 OK\r\ncontent-le", id="within the head"),
            pytest.param(HEAD, id="after the head"),
            pytest.param(HEAD + b"12345", id="within the body"),
            pytest.param(chunked(b"12345", end=b""), id="between chunks"),
            pytest.param(chunked(b"12345", end=b"5\r\n12"), id="within a chunk"),
            pytest.param(chunked(b"12345", end=b"0\r\n"), id="before the trailers' end"),
        ],
    )
    @pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
    async def test_a_broken_connection_is_broken(
        self, upstream: Upstream, raw: bytes, reset: bool
    ) -> None:
        async def script(connection: Connection) -> None:
            if await connection.request() is not None:
                await connection.send(raw)
                if reset:
                    connection.reset()

        async with serving(script) as server:
            with pytest.raises(UpstreamBroken) as caught:
                await fetch(upstream, call_to(server.url))
            assert caught.value.retryable

    async def test_nothing_is_sent_twice(self, upstream: Upstream) -> None:
        """A call may cost money: once it was sent, only the pipeline may repeat it."""

        async def script(connection: Connection) -> None:
            if await connection.request() is not None:
                await connection.send(answer(b"ok"))
            await connection.request()  # the second is taken and never answered

        async with serving(script) as server:
            await fetch(upstream, call_to(server.url))
            with pytest.raises(UpstreamBroken):
                await fetch(upstream, call_to(server.url, body=b"paid for"))
            assert [received.body for received in server.requests].count(b"paid for") == 1

    async def test_an_early_answer_to_an_unread_request_is_taken_or_broken(
        self, upstream: Upstream
    ) -> None:
        async def script(connection: Connection) -> None:
            await connection.reader.readuntil(b"\r\n\r\n")
            await connection.send(answer(b"no", "connection: close", status="413 Too Large"))

        async with serving(script) as server:
            call = call_to(server.url, body=bytes(20_000_000))
            with contextlib.suppress(UpstreamBroken):
                # The reset that answers unread octets may overtake the answer.
                assert await fetch(upstream, call) == (413, b"no")
            await server.until(lambda state: state.open == 0)

    @pytest.mark.parametrize("secure", [False, True])
    async def test_no_error_tells_the_credential(self, upstream: Upstream, secure: bool) -> None:
        async def script(connection: Connection) -> None:
            await connection.reader.read(1)
            await connection.send(b"garbage\r\n\r\n")

        async with serving(script) as server:
            scheme = "https" if secure else "http"
            url = f"{scheme}://127.0.0.1:{server.port}/?key={SECRET}"
            with pytest.raises(UpstreamError) as caught:
                await fetch(upstream, call_to(url))
        assert SECRET not in "".join(traceback.format_exception(caught.value))

    async def test_cancelling_while_connecting_leaves_nothing(self, upstream: Upstream) -> None:
        with full_backlog() as port:
            task = asyncio.create_task(upstream.send(call_to(f"http://127.0.0.1:{port}")))
            await asyncio.sleep(0)
            await self._cancel(task)

    async def test_cancelling_before_the_head_breaks_the_exchange_off(
        self, upstream: Upstream
    ) -> None:
        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.gone()

        async with serving(script) as server:
            call = call_to(server.url, timeouts=self.cancelled_timeouts)
            task = asyncio.create_task(upstream.send(call))
            await server.until(lambda state: len(state.requests) == 1)
            await self._cancel(task)
            await server.until(lambda state: state.open == 0)

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_cancelling_within_the_body_breaks_the_exchange_off(
        self, upstream: Upstream, streamed: bool
    ) -> None:
        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(HEAD + b"12345")
            await connection.gone()

        async with serving(script) as server:
            reply = await upstream.send(call_to(server.url))
            waiting = asyncio.Event()

            async def consume() -> None:
                if not streamed:
                    waiting.set()
                    await reply.read()
                async for _ in reply.chunks():
                    waiting.set()

            task = asyncio.create_task(consume())
            async with asyncio.timeout(WAIT_S):
                await waiting.wait()
            await self._cancel(task)
            await server.until(lambda state: state.open == 0)
            await reply.aclose()

    async def _cancel(self, task: asyncio.Task[object]) -> None:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    @pytest.mark.parametrize("chunks_read", [0, 1])
    async def test_closing_before_the_end_breaks_the_exchange_off(
        self, upstream: Upstream, chunks_read: int
    ) -> None:
        async def script(connection: Connection) -> None:
            if await connection.request() is not None and connection.number == 1:
                await connection.send(HEAD + b"12345")
                await connection.gone()
            else:
                await connection.send(answer(SECOND))

        async with serving(script) as server:
            reply = await upstream.send(call_to(server.url))
            pieces = reply.chunks()
            for _ in range(chunks_read):
                assert await anext(pieces) == b"12345"
            await reply.aclose()
            with pytest.raises(UpstreamError):  # a closed stream never looks complete
                await anext(pieces)
            await server.until(lambda state: state.open == 0)
            # The rest of the first answer can never become part of the second.
            assert await fetch(upstream, call_to(server.url)) == (200, SECOND)

    async def test_closing_what_is_listened_to_breaks_the_exchange_off(
        self, upstream: Upstream
    ) -> None:
        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(HEAD + b"12345")
            await connection.gone()

        async with serving(script) as server:
            reply = await upstream.send(call_to(server.url))
            listener = Listener(reply)
            assert await listener.some() == b"12345"
            await reply.aclose()
            await reply.aclose()
            with pytest.raises(UpstreamError):  # a closed stream never looks complete
                await listener.some()
            await server.until(lambda state: state.open == 0)

    async def test_an_end_before_its_time_is_told_after_the_bytes_before_it(
        self, upstream: Upstream
    ) -> None:
        async with serving(closing(HEAD + b"12345")) as server:
            reply = await upstream.send(call_to(server.url))
            await server.until(lambda state: state.open == 0)
            listener = Listener(reply)
            assert await listener.some() == b"12345"
            assert not listener.is_whole
            with pytest.raises(UpstreamBroken):
                await listener.some()
            await reply.aclose()

    async def test_the_total_deadline_ends_what_is_listened_to(self, upstream: Upstream) -> None:
        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(HEAD + b"12345")
            await connection.gone()

        async with serving(script) as server:

            async def begin(times: int) -> UpstreamReply:
                return await upstream.send(call_to(server.url, timeouts=total_short(times)))

            reply = await patiently(begin)
            with pytest.raises(UpstreamTimeout, match=r"^total:"):
                await Listener(reply).rest()
            await reply.aclose()
            await server.until(lambda state: state.open == 0)

    async def test_what_is_listened_to_and_not_taken_stops_the_sender(
        self, upstream: Upstream
    ) -> None:
        sent_bytes = 0
        piece = bytes(262_144)

        async def script(connection: Connection) -> None:
            nonlocal sent_bytes
            await connection.request()
            await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 900000000\r\n\r\n")
            for _ in range(3_000):
                await connection.send(piece)
                sent_bytes += len(piece)

        async with serving(script) as server:
            reply = await upstream.send(call_to(server.url, response_bytes_max=900_000_000))
            listener = Listener(reply)
            settled_bytes = -1
            async with asyncio.timeout(WAIT_S):
                while settled_bytes != sent_bytes:
                    settled_bytes = sent_bytes
                    for _ in range(50):
                        await fetch_nothing()
            assert sent_bytes < 60_000_000, "the client takes in what nobody takes"
            read_bytes = 0
            while read_bytes <= settled_bytes + len(piece):  # taking on lets the sender go on
                read_bytes += len(await listener.some())
            await reply.aclose()
            await server.until(lambda state: state.open == 0)

    async def test_a_consumer_that_does_not_read_stops_the_sender(self, upstream: Upstream) -> None:
        sent_bytes = 0
        piece = bytes(262_144)

        async def script(connection: Connection) -> None:
            nonlocal sent_bytes
            await connection.request()
            await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 900000000\r\n\r\n")
            for _ in range(3_000):
                await connection.send(piece)
                sent_bytes += len(piece)

        async with serving(script) as server:
            reply = await upstream.send(call_to(server.url, response_bytes_max=900_000_000))
            settled_bytes = -1
            async with asyncio.timeout(WAIT_S):
                while settled_bytes != sent_bytes:
                    settled_bytes = sent_bytes
                    for _ in range(50):
                        await fetch_nothing()
            assert sent_bytes < 60_000_000, "the client takes in what nobody reads"
            read_bytes = 0
            pieces = reply.chunks()
            while read_bytes <= settled_bytes + len(piece):  # reading on lets the sender go on
                read_bytes += len(await anext(pieces))
            await reply.aclose()
            with pytest.raises(UpstreamError):
                await anext(pieces)
            await server.until(lambda state: state.open == 0)

    async def test_a_trickled_answer_is_whole(self, upstream: Upstream) -> None:
        body = b"data: {}\n\n" * 300

        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.trickle(chunked(*[body[i : i + 3] for i in range(0, 3_000, 3)]), 7)
            await connection.gone()

        async with serving(script) as server:
            assert await fetch(upstream, call_to(server.url)) == (200, body)
            await upstream.aclose()


async def fetch_nothing() -> None:
    """Let the loop poll its sockets once."""
    await asyncio.sleep(0.002)
