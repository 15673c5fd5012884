"""The HTTP server: uvicorn with httptools and uvloop, and what a public listener needs besides.

Added to uvicorn's protocol: a limit on the octets of request heads (431), limits on how long a
head may take and how long a client may not read (slow clients are cut off), and the cancellation of
a request whose client left, so that the upstream is told to stop.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import Any
from urllib.parse import unquote

import httptools
import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from verismo.adapters.http_closing import has_said_all
from verismo.adapters.http_cycle import WHOLE_BODY, Cycle

SWEEP_S = 1.0
"""How often slow clients are looked for; so they are cut off up to this much late."""
KEEP_ALIVE_S = 75
"""How long a connection without a request is kept."""
CANCELLED_S_MAX = 2.0
"""How long requests that the end of the drain cancels may take to end."""
HANG_UP_S = 0.05
"""How often the drain looks for connections that have said all, twice before it ends one."""

_UPGRADE_HEADERS = frozenset({b"connection", b"upgrade", b"http2-settings"})

AsgiApplication = Callable[[Any, Any, Any], Awaitable[None]]


class ServerSettings(msgspec.Struct, frozen=True):
    """What the server needs to know.

    Args:
        header_bytes_max: octets of a request head, request line included.
        head_s_max: how long a head may take, from its connection or first byte.
        drain_s_max: how long answers in flight may take to end after SIGTERM.
        stall_s_max: how long a client may not read what waits for it.
        tls_cert, tls_key: PEM files; both or neither.
        obeys_signals: whether SIGTERM and SIGINT end it; off where it is not the process's own.
    """

    header_bytes_max: int
    head_s_max: float
    drain_s_max: int
    stall_s_max: float = 60.0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    obeys_signals: bool = True


class HttpServer:
    """One listening server in this process.

    Args:
        app: the ASGI application.
        settings: limits and TLS.
        cut_off: told when the drain's time is over, before the requests still in flight are
            cancelled.
    """

    def __init__(
        self,
        app: AsgiApplication,
        settings: ServerSettings,
        cut_off: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        config = uvicorn.Config(
            app,
            http=_protocol_with(settings),
            ws="none",
            loop="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=settings.drain_s_max,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
        )
        self._server = _Server(config)
        self._server.cut_off = cut_off

    @property
    def is_draining(self) -> bool:
        """Whether it was told to end: it takes no new connections."""
        return self._server.should_exit

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._server.server_state.connections)

    def stop(self) -> None:
        """Begin the graceful end, as SIGTERM does."""
        self._server.should_exit = True

    async def serve(self, listener: socket, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGTERM, SIGINT or `stop`, then let answers in flight end.

        Args:
            listener: a bound and listening socket.
            ready: called once signals are obeyed. Whoever is told before could end the process
                without its cleaning up.
        """
        loop = asyncio.get_running_loop()
        sweeper = asyncio.create_task(self._sweep())
        if self._settings.obeys_signals:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop)
        try:
            ready()
            await self._server.serve(sockets=[listener])
            await self._wait_cancelled()
        finally:
            sweeper.cancel()
            if self._settings.obeys_signals:
                for number in (signal.SIGTERM, signal.SIGINT):
                    loop.remove_signal_handler(number)

    async def _wait_cancelled(self) -> None:
        """Wait for the requests that uvicorn cancelled: it only asks them to end."""
        tasks = self._server.server_state.tasks
        if tasks:
            await asyncio.wait(set(tasks), timeout=CANCELLED_S_MAX)

    async def _sweep(self) -> None:
        """Cut off connections whose request head takes too long, or that do not read."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for connection in list(self._server.server_state.connections):
                if isinstance(connection, _LimitedProtocol):
                    connection.end_if_idle(now - KEEP_ALIVE_S)
                    connection.end_if_slow(now - self._settings.head_s_max)
                    connection.end_if_stalled(now - self._settings.stall_s_max, now)


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handling, and telling when it cuts requests off.

    uvicorn raises a caught signal again once it has drained, which would end the process before
    the journal is closed.
    """

    cut_off: Callable[[], None]

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to `HttpServer.serve`."""
        yield

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Drain; uvicorn begins to count the time a moment later than this timer does."""
        drain_s_max = self.config.timeout_graceful_shutdown or 0
        timer = asyncio.get_running_loop().call_later(drain_s_max, self.cut_off)
        hanging_up = asyncio.create_task(self._hang_up())
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()
            hanging_up.cancel()

    async def _hang_up(self) -> None:
        """End connections that have said all; over TLS they would wait for the client's goodbye."""
        before: set[object] = set()
        while True:
            await asyncio.sleep(HANG_UP_S)
            said = {one for one in self.server_state.connections if has_said_all(one.transport)}
            for connection in said & before:
                connection.transport.abort()
            before = {*said}


class _LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the limits named in the module's docstring."""

    header_bytes_max = 65_536

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._head_since: float | None = None
        self._idle_since: float | None = None
        self._stalled_since: float | None = None
        self._unread_octets = 0
        self._running: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._head_since = time.monotonic()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._running is not None and not self._running.done():
            self._running.cancel()

    def data_received(self, data: bytes) -> None:
        self._idle_since = None
        if self._head_since is not None:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(b"400 Bad Request")
        if self._head_bytes > self.header_bytes_max:
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        if self._head_since is None:
            self._head_since = time.monotonic()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        parser = self.parser
        if parser.should_upgrade():
            return  # `_decline` has it parsed once more
        self._head_since = None
        self._head_bytes = 0
        version = parser.get_http_version()
        url = httptools.parse_url(self.url)
        scope = self.scope
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"] = unquote(url.path.decode("ascii"))
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        before = self.cycle
        self.cycle = cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        scope["extensions"] = {WHOLE_BODY: {"take": cycle.whole_body}}
        if self._running is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        if not self.pipeline:
            # A large body pauses reading; nobody would see the client leave if it stayed so.
            self.flow.resume_reading()

    def _decline(self, rest: bytes) -> None:
        """Parse a request again without the upgrade that it offers.

        The parser takes what follows such a head for another protocol: the body would be lost, or,
        arriving later, be parsed as the next request.

        Source: RFC 9110, section 7.8: a server may ignore an Upgrade.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(b"501 Not Implemented")
            return
        lines = [method + b" " + self.url + b" HTTP/1.1"]
        lines += [n + b": " + v for n, v in self.headers if n not in _UPGRADE_HEADERS]
        self.parser = httptools.HttpRequestParser(self)
        self._head_bytes = 0
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _refuse(self, status: bytes) -> None:
        """Answer what is no request, and close.

        While an answer is under way it is only closed: within that answer a refusal would be read
        as part of it.
        """
        if self.transport.is_closing():
            return
        if self._running is None or self.cycle.response_complete:
            lines = (
                b"HTTP/1.1 " + status,
                b"content-length: 0",
                b"x-request-id: " + os.urandom(12).hex().encode("ascii"),
                b"connection: close",
            )
            self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n")
        self.transport.close()

    def pause_writing(self) -> None:
        self._stalled_since = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stalled_since = None
        super().resume_writing()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle_since = time.monotonic()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        self._running = task

    def end_if_idle(self, oldest: float) -> None:
        """Close the connection if it has had no request since a time."""
        if self._idle_since is not None and self._idle_since < oldest:
            self.transport.close()

    def end_if_slow(self, oldest: float) -> None:
        """Close the connection if its head began before a time and is not complete."""
        if self._head_since is not None and self._head_since < oldest:
            self.transport.close()

    def end_if_stalled(self, oldest: float, now: float) -> None:
        """Break the connection off if its client has read nothing since a time.

        A paused connection takes nothing new, so what waits in it shrinks only as the client
        reads. Closing waits for what is still to be sent; that too may stall no longer.
        """
        unread_octets = self.transport.get_write_buffer_size()
        has_read = unread_octets < self._unread_octets
        self._unread_octets = unread_octets
        is_waiting = self._stalled_since is not None or self.transport.is_closing()
        if is_waiting and (has_read or self._stalled_since is None):
            self._stalled_since = now
        if self._stalled_since is not None and self._stalled_since < oldest:
            self.transport.abort()


def _protocol_with(settings: ServerSettings) -> type[asyncio.Protocol]:
    """Return the protocol class with this server's limit; uvicorn makes the objects itself."""
    members: dict[str, object] = {"header_bytes_max": settings.header_bytes_max}
    return type("LimitedProtocol", (_LimitedProtocol,), members)
