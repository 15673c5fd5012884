"""The HTTP server: uvicorn with httptools and uvloop, and what a public listener needs besides.

Added to uvicorn's protocol: a limit on the octets of request heads (414, 431), limits on how long
a head may take (408) and how long a client may not read (slow clients are cut off), and the
cancellation of a request whose client left, so that the upstream is told to stop.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from socket import socket
from typing import Any
from urllib.parse import unquote

import httptools
import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from verismo.adapters.http_closing import DrainingServer
from verismo.adapters.http_cycle import PIECE_BYTES, WHOLE_BODY, Cycle
from verismo.adapters.http_refusal import Refuse, bare_refusal, refusal_octets
from verismo.model.errors import (
    HeadersTooLarge,
    MalformedRequest,
    MethodNotAllowed,
    RequestTimeout,
    UriTooLong,
    VerismoError,
)

SWEEP_S = 1.0
"""How often slow clients are looked for; so they are cut off up to this much late."""
KEEP_ALIVE_S = 75
"""How long a connection without a request is kept."""
CANCELLED_S_MAX = 2.0
"""How long requests that the end of the drain cancels may take to end."""
URL_BYTES_MAX = 65_535
"""What the parser can tell apart of a request's target; all of a longer one is refused."""
LINGER_S = 2.0
"""How long a refused client may go on sending, so that it gets to read why."""

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
        refuse: counts and spells the refusal of what is no request.
    """

    def __init__(
        self,
        app: AsgiApplication,
        settings: ServerSettings,
        cut_off: Callable[[], None] = lambda: None,
        refuse: Refuse = bare_refusal,
    ) -> None:
        self._settings = settings
        config = uvicorn.Config(
            app,
            http=_protocol_with(settings, refuse),
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
        self._server = DrainingServer(config)
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


class _LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the limits named in the module's docstring."""

    header_bytes_max = 65_536
    refuse: Refuse = staticmethod(bare_refusal)

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **kwargs)
        self._url_bytes_max = min(self.header_bytes_max, URL_BYTES_MAX)
        self._head_bytes = 0
        self._is_refused = False
        self._head_since: float | None = None
        self._idle_since: float | None = None
        self._stalled_since: float | None = None
        self._unread_octets = 0
        self._running: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._head_since = time.monotonic()
        super().connection_made(transport)
        if self.scheme == "https":
            transport.set_write_buffer_limits(PIECE_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._running is not None and not self._running.done():
            self._running.cancel()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._idle_since = None
        if self._head_since is not None:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            if len(self.url or b"") > self._url_bytes_max:
                self._refuse(UriTooLong(f"the target is over {self._url_bytes_max} bytes"))
            else:
                self._refuse(MalformedRequest("what arrived is no request of HTTP/1.1"))
        if self._head_bytes > self.header_bytes_max:
            self._refuse(self._over_limit())

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
        if len(self.url) > self._url_bytes_max:
            raise ValueError("the parser hands this on as its own error")
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
            self._refuse(MethodNotAllowed("CONNECT opens a tunnel, and this is no proxy"))
            return
        lines = [method + b" " + self.url + b" HTTP/1.1"]
        lines += [n + b": " + v for n, v in self.headers if n not in _UPGRADE_HEADERS]
        self.parser = httptools.HttpRequestParser(self)
        self._head_bytes = 0
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _over_limit(self) -> VerismoError:
        """Say what of a head that is over the limit takes most of it."""
        limit = self.header_bytes_max
        if 2 * len(self.url or b"") > limit:
            return UriTooLong(f"the target alone takes most of {limit} bytes")
        return HeadersTooLarge(f"the request's head is over {limit} bytes")

    def _refuse(self, error: VerismoError) -> None:
        """Answer what is no request, and close.

        Closing at once would reset the connection of a client that is still sending, and with it
        what it has not read (RFC 9112, section 9.6). So only our side is closed at first; over TLS
        closing is like that by itself.

        While an answer is under way it is only closed: within that answer a refusal would be read
        as part of it. What was wrong with a request that is being answered is no refusal.
        """
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        is_answering = self._running is not None and not self.cycle.response_complete
        if not is_answering or self._head_since is not None:
            reply = self.refuse(error)
            if not is_answering:
                self.transport.write(refusal_octets(reply, self.server_state.default_headers))
                if self.transport.can_write_eof():
                    self.transport.write_eof()
                    self.loop.call_later(LINGER_S, self.transport.close)
                    return
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
        """Close the connection if its head began before a time and is not complete.

        Who has not sent an octet of it has asked nothing, and is told nothing.
        """
        if self._head_since is not None and self._head_since < oldest:
            if self._head_bytes or self._running is not None:
                self._refuse(RequestTimeout("the request's head did not arrive in time"))
            else:
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


def _protocol_with(
    settings: ServerSettings, refuse: Refuse = bare_refusal
) -> type[asyncio.Protocol]:
    """Return the protocol class with this server's limit; uvicorn makes the objects itself."""
    members: dict[str, object] = {
        "header_bytes_max": settings.header_bytes_max,
        "refuse": staticmethod(refuse),
    }
    return type("LimitedProtocol", (_LimitedProtocol,), members)
