"""The public listener's own rules: the end of a drain, refusals, and clients that do not read."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
import uvicorn
from tests.support.waiting import until
from uvicorn.server import ServerState

from verismo.adapters import http_uvicorn
from verismo.adapters.http_refusal import Refuse, bare_refusal
from verismo.adapters.http_uvicorn import HttpServer, ServerSettings
from verismo.model.errors import VerismoError
from verismo.model.traffic import Reply

SETTINGS = ServerSettings(
    header_bytes_max=8_192, head_s_max=5, drain_s_max=1, stall_s_max=60, obeys_signals=False
)
GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Held:
    """An application that begins an answer and holds its end back until it is let go."""

    def __init__(self, cleanup_turns: int = 0) -> None:
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()
        self.ended = 0
        self.cleanup_turns = cleanup_turns

    async def __call__(self, scope, receive, send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            self.begun.set()
            await self.let_go.wait()
            await send({"type": "http.response.body", "body": b"last"})
        except asyncio.CancelledError:
            for _ in range(self.cleanup_turns):
                await asyncio.sleep(0)
        finally:
            self.ended += 1


class Refused:
    """Keeps the codes of what was refused before it was a request."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    def __call__(self, error: VerismoError) -> Reply:
        self.codes.append(error.code)
        return Reply(status=error.status, headers=[(b"a", b"1")], body=error.code.encode())


@asynccontextmanager
async def connected(
    app: Callable, cut_off: Callable[[], None] = lambda: None, refuse: Refuse = bare_refusal
) -> AsyncIterator[tuple[HttpServer, asyncio.Task, asyncio.StreamReader, asyncio.StreamWriter]]:
    """Serve an application and connect to it once."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(app, SETTINGS, cut_off, refuse)
    serving = asyncio.create_task(server.serve(listener))
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        yield server, serving, reader, writer
    finally:
        writer.close()
        server.stop()
        await asyncio.wait_for(serving, 10)


@pytest.mark.slow
async def test_signal_sent_by_who_is_told_ready_ends_the_server_in_good_order():
    """Told any earlier, SIGTERM would end the process at once; here it would end the tests."""
    server = HttpServer(Held(), msgspec.structs.replace(SETTINGS, obeys_signals=True))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await server.serve(listener, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert server.is_draining


async def test_requests_that_the_drain_cancels_have_ended_when_serve_returns():
    app = Held(cleanup_turns=5)
    told: list[int] = []
    async with connected(app, lambda: told.append(app.ended)) as (server, serving, _, writer):
        writer.write(GET)
        await app.begun.wait()
        server.stop()
        assert not told
        await asyncio.wait_for(serving, 10)
        assert app.ended == 1
        assert told == [0], "it is told once, before anything is cancelled"


@pytest.mark.slow
async def test_drain_that_ends_in_time_cuts_nothing_off():
    app = Held()
    told: list[int] = []
    async with connected(app, lambda: told.append(app.ended)) as (server, serving, reader, writer):
        writer.write(GET)
        await app.begun.wait()
        server.stop()
        app.let_go.set()
        assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"4\r\nlast\r\n0\r\n\r\n")
        await asyncio.wait_for(serving, 10)
    assert not told


@pytest.mark.slow
@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param((b"GET / HTTP/1.1\r\nx: ", *[b"a" * 900] * 10), id="oversized head"),
        pytest.param((b"\x00\x01\x02 what\r\n\r\n",), id="garbage"),
    ],
)
async def test_pipelined_head_cannot_write_a_refusal_into_a_running_answer(
    hostile: tuple[bytes, ...],
):
    """Response splitting: what follows the first chunk must be a chunk or the end."""
    app, refused = Held(), Refused()
    async with connected(app, refuse=refused) as (_, _, reader, writer):
        writer.write(GET)
        await app.begun.wait()
        answer = asyncio.create_task(reader.read())
        for piece in hostile:
            writer.write(piece)
            await asyncio.wait({answer}, timeout=0.02)  # so that each arrives by itself
        answered = await asyncio.wait_for(answer, 5)
        assert answered.startswith(b"HTTP/1.1 200 ")
        assert answered.endswith(b"5\r\nfirst\r\n")
        assert answered.count(b"HTTP/1.1") == 1
        await until(lambda: app.ended == 1)
    assert len(refused.codes) == 1, "it is counted although it cannot be told"


@pytest.mark.slow
async def test_fault_in_the_body_of_a_running_request_is_no_refusal_of_another():
    app, refused = Held(), Refused()
    async with connected(app, refuse=refused) as (_, _, reader, writer):
        writer.write(GET.replace(b"GET", b"POST")[:-2] + b"transfer-encoding: chunked\r\n\r\n")
        await app.begun.wait()
        writer.write(b"no length\r\n")
        assert (await asyncio.wait_for(reader.read(), 5)).count(b"HTTP/1.1") == 1
        await until(lambda: app.ended == 1)
    assert refused.codes == []


@pytest.mark.slow
async def test_garbage_after_a_whole_answer_is_told_a_400():
    app, refused = Held(), Refused()
    app.let_go.set()
    async with connected(app, refuse=refused) as (_, _, reader, writer):
        writer.write(GET)
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(b"\x00 what\r\n\r\n")
        answered = await asyncio.wait_for(reader.read(), 5)
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert answered.endswith(
        b"a: 1\r\ncontent-length: 17\r\nconnection: close\r\n\r\nmalformed_request"
    )
    assert refused.codes == ["malformed_request"]


@pytest.mark.slow
async def test_server_that_is_not_told_how_to_refuse_says_the_status_alone():
    async with connected(Held()) as (_, _, reader, writer):
        writer.write(b"\x00 what\r\n\r\n")
        answered = await asyncio.wait_for(reader.read(), 5)
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert b"content-length: 0\r\n" in answered
    assert b"x-request-id: " in answered


class Transport(asyncio.Transport):
    """A transport whose client reads as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.unread_octets = 0
        self.is_aborted = False
        self.is_closed = False

    def get_write_buffer_size(self) -> int:
        return self.unread_octets

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True


@pytest.fixture
async def paused():
    """A connection that waits for its client, who has 1,000,000 octets to read."""
    config = uvicorn.Config(Held(), ws="none", lifespan="off", log_config=None)
    protocol = http_uvicorn._protocol_with(SETTINGS)(config, ServerState(), {})
    transport = Transport()
    protocol.connection_made(transport)
    transport.unread_octets = 1_000_000
    protocol.pause_writing()
    return protocol, transport


async def test_client_that_reads_steadily_is_kept_however_long_it_takes(paused):
    protocol, transport = paused
    began = protocol._stalled_since
    for minute in range(1, 11):
        transport.unread_octets -= 1_000
        now = began + 59 * minute
        protocol.end_if_stalled(now - 60, now)
    assert not transport.is_aborted


async def test_client_that_stops_reading_is_cut_off_after_the_limit_from_then(paused):
    protocol, transport = paused
    began = protocol._stalled_since
    for second, is_aborted in ((1, False), (59, False), (62, True)):
        if second == 1:
            transport.unread_octets -= 1_000
        protocol.end_if_stalled(began + second - 60, began + second)
        assert transport.is_aborted is is_aborted


async def test_closing_waits_for_a_reader_and_not_for_one_that_stalls(paused):
    protocol, transport = paused
    protocol.resume_writing()
    transport.close()
    for second, octets, is_aborted in ((0, 500, False), (50, 400, False), (109, 400, False)):
        transport.unread_octets = octets
        protocol.end_if_stalled(second - 60, second)
        assert transport.is_aborted is is_aborted
    protocol.end_if_stalled(111 - 60, 111)
    assert transport.is_aborted
