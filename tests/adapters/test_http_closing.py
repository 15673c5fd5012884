"""The end of a drain over TLS: who has everything is not waited for, who has not gets it whole."""

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

import msgspec
import pytest
import uvloop
from tests.ports.upstream_tls import authority, server_context
from tests.support.waiting import until

from verismo.adapters.http_closing import has_said_all
from verismo.adapters.http_uvicorn import HttpServer, ServerSettings

pytestmark = pytest.mark.slow

SETTINGS = ServerSettings(header_bytes_max=8_192, head_s_max=5, drain_s_max=20, obeys_signals=False)
GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
GET_ONE = GET[:-2] + b"connection: close\r\n\r\n"
LARGE = b"x" * 8_000_000
PROMPT_S = 1.0
"""What the end may take beyond the requests in flight."""

LOOPS = [
    pytest.param(asyncio.new_event_loop, id="asyncio"),
    pytest.param(uvloop.new_event_loop, id="uvloop"),
]
Play = Callable[["Served"], Coroutine[None, None, None]]


class Served:
    """A server over TLS whose answers a test lets go, and clients that never say goodbye."""

    def __init__(self, folder: Path) -> None:
        root = authority()
        server_context(root, folder)  # writes server.pem
        self._trust = ssl.create_default_context(cadata=root.pem.decode())
        self.begun = asyncio.Event()
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.let_go = asyncio.Event()
        self.body = b"answer"
        pem = folder / "server.pem"
        settings = msgspec.structs.replace(SETTINGS, tls_cert=pem, tls_key=pem)
        self.server = HttpServer(self._answer, settings)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._address = self._listener.getsockname()
        self._serving = asyncio.create_task(self.server.serve(self._listener))

    async def _answer(self, scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        self.begun.set()
        await self.let_go.wait()
        await send({"type": "http.response.body", "body": self.body})
        self.answered.set_result(None)

    async def asked(self, request: bytes = GET) -> ssl.SSLSocket:
        """Return a connection that has sent a request; nothing reads it until the test does."""
        return await asyncio.to_thread(self._ask, request)

    def _ask(self, request: bytes) -> ssl.SSLSocket:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        plain.settimeout(15)
        plain.connect(self._address)
        connection = self._trust.wrap_socket(plain, server_hostname="127.0.0.1")
        connection.sendall(request)
        return connection

    async def seconds_to_end(self, meanwhile: Awaitable[None] | None = None) -> float:
        """Stop the server, do something meanwhile, and return how long the end took after it."""
        self.server.stop()
        if meanwhile is not None:
            await meanwhile
        began = time.monotonic()
        await asyncio.wait_for(self._serving, 25)
        return time.monotonic() - began


def play(loop_factory: Callable[[], asyncio.AbstractEventLoop], folder: Path, what: Play) -> None:
    async def begin() -> None:
        await what(Served(folder))

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(begin())


def read_all(connection: ssl.SSLSocket) -> bytes:
    """Return what comes until the server says that it is all; a cut connection raises."""
    pieces = []
    while piece := connection.recv(65_536):
        pieces.append(piece)
    return b"".join(pieces)


def read_until(connection: ssl.SSLSocket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        piece = connection.recv(65_536)
        assert piece, "the server hung up first"
        data += piece
    return data


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_idle_connection_that_never_says_goodbye_does_not_hold_the_end(loop_factory, tmp_path):
    async def what(served: Served) -> None:
        served.let_go.set()
        with await served.asked() as connection:
            await asyncio.to_thread(read_until, connection, b"0\r\n\r\n")
            assert await served.seconds_to_end() < PROMPT_S
            assert read_all(connection) == b"", "it is told in good order, not reset"

    play(loop_factory, tmp_path, what)


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_answer_in_flight_ends_whole_and_its_connection_does_not_hold_the_end(
    loop_factory, tmp_path
):
    async def what(served: Served) -> None:
        served.body = LARGE
        with await served.asked() as connection:
            await served.begun.wait()
            whole: list[bytes] = []

            async def finish() -> None:
                await asyncio.sleep(0)
                served.let_go.set()
                whole.append(await asyncio.to_thread(read_until, connection, b"0\r\n\r\n"))

            assert await served.seconds_to_end(finish()) < PROMPT_S
            assert whole[0].count(b"x") == len(LARGE)
            assert read_all(connection) == b""

    play(loop_factory, tmp_path, what)


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_answer_that_its_client_has_not_read_yet_is_not_cut_off_by_the_end(loop_factory, tmp_path):
    async def what(served: Served) -> None:
        served.body = LARGE
        served.let_go.set()
        with await served.asked() as connection:
            await served.begun.wait()
            ended = asyncio.create_task(served.seconds_to_end())
            done, _ = await asyncio.wait({ended}, timeout=0.5)
            assert not done, "the client has not even begun to read"
            whole = await asyncio.to_thread(read_all, connection)
            assert whole.endswith(b"\r\n0\r\n\r\n")
            assert whole.count(b"x") == len(LARGE)
            await ended

    play(loop_factory, tmp_path, what)


@pytest.mark.parametrize("loop_factory", LOOPS)
@pytest.mark.parametrize("request_octets", [GET, GET_ONE], ids=["kept", "closed"])
def test_answer_is_handed_on_no_faster_than_its_client_reads(
    loop_factory, tmp_path, request_octets
):
    """Else the connection would count as idle, or be closed, with most of it below TLS."""

    async def what(served: Served) -> None:
        served.body = LARGE
        served.let_go.set()
        with await served.asked(request_octets) as connection:
            await served.begun.wait()
            (protocol,) = served.server._server.server_state.connections
            await until(lambda: protocol.flow.write_paused)
            done, _ = await asyncio.wait({served.answered}, timeout=0.3)
            assert not done, "its client has not begun to read"
            whole = await asyncio.to_thread(read_until, connection, b"\r\n0\r\n\r\n")
            assert whole.count(b"x") == len(LARGE)
            await served.answered
        await served.seconds_to_end()

    play(loop_factory, tmp_path, what)


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_client_that_leaves_within_a_large_answer_ends_it(loop_factory, tmp_path):
    async def what(served: Served) -> None:
        served.body = LARGE
        served.let_go.set()
        with await served.asked() as connection:
            await served.begun.wait()
            (protocol,) = served.server._server.server_state.connections
            await until(lambda: protocol.flow.write_paused)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await until(lambda: served.server.connections == 0)
        await until(lambda: not served.server._server.server_state.tasks)
        assert not served.answered.done(), "the application's task is cancelled"
        await served.seconds_to_end()

    play(loop_factory, tmp_path, what)


async def test_transport_without_a_socket_or_with_one_of_another_kind_is_waited_for(tmp_path):
    class Closing(asyncio.Transport):
        unread_octets = 0
        is_closed = True

        def get_write_buffer_size(self) -> int:
            return self.unread_octets

        def is_closing(self) -> bool:
            return self.is_closed

    assert not has_said_all(Closing())
    with (tmp_path / "file").open("w") as file:
        assert not has_said_all(Closing({"socket": file}))
    near, far = socket.socketpair()
    with near, far:
        transport = Closing({"socket": near})
        assert has_said_all(transport)
        transport.unread_octets = 1
        assert not has_said_all(transport)
        transport.unread_octets, transport.is_closed = 0, False
        assert not has_said_all(transport)
