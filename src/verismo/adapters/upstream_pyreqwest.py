"""The upstream port on pyreqwest (hyper, rustls): TLS, HTTP/2, br and zstd beside gzip.

hyper reads some answers that a strict reader refuses: bare LF, a repeated equal content-length,
a transfer coding beside a content-length, lists of transfer codings. What its headers show of
these is refused here; bare LF cannot be seen from outside and passes. Header values beyond visible
ASCII cannot be read through the library; `header` gives an empty text for them.

It falls short of the port in one point: a call that is cancelled, or passes its first-byte
deadline, before the headers are here is abandoned but not broken off. The library detaches its
task then; the provider works on until its answer is there or the total deadline passes, which the
library enforces. So it is for providers that need HTTP/2, br or zstd; others are better served by
the keep-alive client.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    BuilderError,
    DetailedPyreqwestError,
    PyreqwestError,
    RequestTimeoutError,
)
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from verismo.adapters.upstream_request import (
    BODIED_METHODS,
    check_header,
    check_method,
    parse_url,
    refused,
)
from verismo.adapters.upstream_settings import UpstreamSettings
from verismo.model.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from verismo.ports.upstream import UpstreamCall

CLIENTS_MAX = 16
"""Different connect deadlines at once: the library has one for each client, with its own pool."""

READ_AHEAD_BYTES = 65_536
"""Taken from the library before it is asked for; the connection itself then holds back the rest."""


def _translated(error: PyreqwestError) -> UpstreamError:
    """Return our error for the library's, and take the URL out of the library's text.

    A URL's query may hold a provider's key, and the cause is printed with a traceback.
    """
    error.args = (error.message,)
    if isinstance(error, RequestTimeoutError):
        phase = "connect" if _is_while_connecting(error) else "total"
        return UpstreamTimeout(f"{phase}: the upstream took too long")
    if isinstance(error, BuilderError):
        return refused("the call cannot be put into a request")
    if _is_while_connecting(error):
        return UpstreamUnreachable("no connection to the upstream")
    return UpstreamBroken("the connection broke or the answer is not proper HTTP")


def _is_while_connecting(error: PyreqwestError) -> bool:
    """Return whether the error came before anything was sent.

    The library's own classes do not tell: it says ConnectError of a connection that broke while
    the answer was awaited, and ConnectTimeoutError of any deadline before the headers.
    """
    causes = error.details["causes"] if isinstance(error, DetailedPyreqwestError) else None
    return any(cause["message"] == "client error (Connect)" for cause in causes or ())


class PyreqwestReply:
    """An answer whose headers are here; implements `UpstreamReply`.

    Args:
        request: the open request; leaving it gives the connection back or breaks it off.
        response: the library's answer.
        body_bytes_max: more than this, content coding removed, is `UpstreamTooLarge`.
    """

    __slots__ = ("_body", "_claimed", "_left_bytes", "_reader", "_request", "_response", "status")

    def __init__(self, request: StreamRequest, response: Response, body_bytes_max: int) -> None:
        self._request: StreamRequest | None = request
        self._response = response
        self._body = response.body_reader
        self._left_bytes = body_bytes_max
        self._claimed = False
        self._reader: _Reader | None = None
        self.status = response.status

    def header(self, name: str) -> str:
        """Return the first header of that lower-case name, or an empty text."""
        try:
            return self._response.get_header(name) or ""
        except ValueError:
            return ""  # beyond visible ASCII: the library has no way to its octets

    async def read(self) -> bytes:
        """Return the whole body, content coding removed; see `UpstreamReply.read`."""
        pieces = [piece async for piece in self.chunks()]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, content coding removed; see `UpstreamReply.chunks`."""
        self._claim()
        while piece := await self._next():
            yield piece

    def listen(self, heard: Callable[[], None]) -> None:
        """Have a callback told of bytes, the end and errors; see `UpstreamReply.listen`."""
        self._claim()
        self._reader = _Reader(self._next, heard)

    def take(self) -> tuple[bytes, bool]:
        """Return what has come since the last call; see `UpstreamReply.take`."""
        if self._reader is None:
            raise UpstreamBroken("the answer was not listened to", retryable=False)
        return self._reader.take()

    async def aclose(self) -> None:
        """Give the connection back, or break it off if the body was not read to its end."""
        self._claimed = True
        if self._reader is not None:
            await self._reader.aclose()
        await self._leave()

    def _claim(self) -> None:
        if self._claimed:
            raise UpstreamBroken("the answer was read or closed before", retryable=False)
        self._claimed = True

    async def _next(self) -> bytes:
        """Return the next piece of the body, empty after its end."""
        try:
            piece = await self._body.read_chunk()
        except PyreqwestError as error:
            await self._leave()
            raise _translated(error) from error
        except asyncio.CancelledError:
            await self._leave()
            raise
        if self._request is None:  # a closed stream must not look complete
            raise UpstreamBroken("the answer was closed before its end", retryable=False)
        if piece is None:
            await self._leave()
            return b""
        self._left_bytes -= len(piece)
        if self._left_bytes < 0:
            await self._leave()
            raise UpstreamTooLarge("the answer's body is over the limit", retryable=False)
        return piece.to_bytes()

    async def _leave(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            await request.__aexit__(None, None, None)


class _Reader:
    """Reads a body in a task of its own: a wait in the library cannot be given up unharmed.

    Args:
        following: returns the next piece, empty after the last.
        heard: called when `take` has something new.
    """

    def __init__(
        self, following: Callable[[], Awaitable[bytes]], heard: Callable[[], None]
    ) -> None:
        self._following = following
        self._heard = heard
        self._pieces: list[bytes] = []
        self._octets = 0
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._read())
        self._task.add_done_callback(lambda _: heard())

    async def _read(self) -> None:
        while piece := await self._following():
            self._pieces.append(piece)
            self._octets += len(piece)
            self._room.clear()
            self._heard()
            if self._octets >= READ_AHEAD_BYTES:
                await self._room.wait()

    def take(self) -> tuple[bytes, bool]:
        task = self._task
        is_done = task.done()
        if is_done and not self._pieces:
            if task.cancelled():
                raise UpstreamBroken("the answer was closed before its end", retryable=False)
            task.result()
            return b"", True
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._octets = 0
        self._room.set()
        is_whole = is_done and not task.cancelled() and task.exception() is None
        if is_done and not is_whole:
            self._heard()
        return data, is_whole

    async def aclose(self) -> None:
        task = self._task
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        elif not task.cancelled():
            task.exception()  # told by `take`, or no longer of interest


class PyreqwestUpstream:
    """Implements `Upstream`.

    Args:
        settings: pools and limits; gzip, br and zstd are always asked for, as they are removed
            outside the event loop.
    """

    def __init__(self, settings: UpstreamSettings | None = None) -> None:
        self._settings = settings or UpstreamSettings()
        self._clients: dict[int, Client] = {}
        self._closed = False

    async def send(self, call: UpstreamCall) -> PyreqwestReply:
        """Send a call and wait for the answer's headers; see `Upstream.send`.

        Raises:
            UpstreamUnreachable: no connection, or a call that must not be sent.
            UpstreamTimeout: connect or first byte took too long.
            UpstreamBroken: the connection broke or the answer's framing is in doubt.
        """
        check_method(call.method)
        parse_url(call.url)
        for name, value in call.headers:
            check_header(name, value)
        connect_ms = call.timeouts.connect_ms
        client = self._clients.get(connect_ms) or self._client(connect_ms)
        try:
            builder = (
                client.request(call.method, call.url)
                .headers(call.headers)
                .timeout(timedelta(milliseconds=call.timeouts.total_ms))
                .streamed_read_buffer_limit(0)  # else the headers wait for the body
            )
            if call.body:
                builder = builder.body_bytes(call.body)
            elif call.method in BODIED_METHODS:
                builder = builder.header("content-length", "0")  # hyper leaves it away
            request = builder.build_streamed()
            async with asyncio.timeout(call.timeouts.first_byte_ms / 1_000):
                response = await request.__aenter__()
        except PyreqwestError as error:
            raise _translated(error) from error
        except TimeoutError as error:
            raise UpstreamTimeout("first byte: the upstream took too long") from error
        except ValueError as error:
            raise refused("the call cannot be put into a request") from error
        reply = PyreqwestReply(request, response, call.response_bytes_max)
        doubt = _framing_doubt(response)
        if doubt:
            await reply.aclose()
            raise UpstreamBroken(doubt)
        return reply

    def _client(self, connect_ms: int) -> Client:
        if self._closed:
            raise UpstreamUnreachable("the upstream client is closed")
        if len(self._clients) >= CLIENTS_MAX:
            raise refused(f"more than {CLIENTS_MAX} different connect deadlines are in use")
        settings = self._settings
        builder = (
            ClientBuilder()
            .no_proxy()
            .follow_redirects(False)
            .default_cookie_store(False)
            .referer(False)
            .http2(True)
            .http1_lower_case_headers()
            .user_agent("verismo")
            .connect_timeout(timedelta(milliseconds=connect_ms))
            .pool_idle_timeout(timedelta(milliseconds=settings.idle_ms))
            .pool_max_idle_per_host(settings.connections_max)
        )
        if settings.roots_pem:
            builder = builder.add_root_certificate_pem(settings.roots_pem)
        client = builder.build()
        self._clients[connect_ms] = client
        return client

    async def aclose(self) -> None:
        """Close every pooled connection."""
        self._closed = True
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()


def _framing_doubt(response: Response) -> str:
    """Return why an answer's end is in doubt, or an empty text; what hyper itself lets pass."""
    if not 200 <= response.status <= 599:
        return "the upstream does not speak HTTP/1.1"
    try:
        lengths = response.get_header_all("content-length")
        codings = response.get_header_all("transfer-encoding")
    except ValueError:
        return "the answer's length holds characters beyond ASCII"
    if codings and (lengths or len(codings) > 1 or codings[0].lower() != "chunked"):
        return "the answer's transfer coding leaves its length in doubt"
    if len(lengths) > 1 or (lengths and not lengths[0].isdigit()):
        return "the answer's content-length is in doubt"
    return ""
