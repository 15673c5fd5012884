"""One keep-alive connection of HTTP/1.1: a strict reader of answers on llhttp.

States of a connection, and what octets from the peer mean in each:

    IDLE    no call is out: any octet is unsolicited, the connection is dropped
    HEAD    a call is out: status line and headers, interim (1xx) answers are skipped
    BODY    the head was accepted: octets of the body, trailers are dropped
    DONE    the answer is complete: any further octet of the segment is unsolicited
    DEAD    something went wrong: octets are ignored, the socket is closing

Whatever leaves a doubt about where an answer ends is `UpstreamBroken`; whatever is merely unusual
(interim answers, octets after the end, HTTP/1.0, an upload cut short) lets the answer stand and
drops the connection, so that no octet of one answer can ever be taken for part of another's.
This file does not pool, connect, retry or encode.
"""

import asyncio
import re
import select
from collections.abc import Callable
from typing import NamedTuple, cast

import httptools

from verismo.adapters.upstream_exchange import Exchange
from verismo.adapters.upstream_framing import head_bytes, judge
from verismo.adapters.upstream_settings import UpstreamSettings
from verismo.model.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from verismo.ports.upstream import UpstreamCall

INTERIM_ANSWERS_MAX = 8
"""RFC 9110 15.2 lets a server send any number; more than a few is a way to keep us busy."""

JOINED_BYTES_MAX = 65_536
"""Up to this size head and body are joined into one write; above, the copy costs more."""

BODY_FRAME_BYTES_MAX = 65_536
"""Octets of chunk extensions or trailers that may come in a row without one octet of body."""

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search

_SINGLE_HEADERS = frozenset((b"content-encoding", b"content-length", b"transfer-encoding"))

_IDLE, _HEAD, _BODY, _DONE, _DEAD = range(5)


class Deadlines(NamedTuple):
    """Times of the loop's clock, seconds, after which a call has failed."""

    first_byte_s: float
    total_s: float


class Connection(asyncio.Protocol):
    """A connection and the one exchange that it carries.

    Args:
        settings: limits of an answer's frame.
        freed: called when the connection may carry the next call.
        lost: called once when it is closed, for whatever reason, if it ever stood.
        secure: whether it runs over TLS.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        freed: Callable[["Connection"], None],
        lost: Callable[["Connection"], None],
        *,
        secure: bool,
    ) -> None:
        self._settings = settings
        self._freed = freed
        self._lost = lost
        self._secure = secure
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._parser = httptools.HttpResponseParser(self)
        self._state = _IDLE
        self._exchange: Exchange | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        self._deadline_s = 0.0
        self._deadlines = Deadlines(0.0, 0.0)
        self._paused = False
        self._reset("")

    def _reset(self, method: str) -> None:
        self._method = method
        self._reusable = True
        self._until_close = False
        self._doubt = ""
        self._interim = 0
        self._head_bytes = 0
        self._header_count = 0
        self._frame_bytes = 0
        self._advanced = False

    # What the pool calls.

    @property
    def stands(self) -> bool:
        """Whether the connection is made and idle, as far as the loop knows."""
        return self._state == _IDLE and self._transport is not None

    def usable(self) -> bool:
        """Return whether the connection is idle and the peer has neither closed it nor spoken.

        The socket itself is asked, because what the peer did since the loop last looked would
        otherwise be found out only after the request was sent.
        """
        return self._state == _IDLE and self._reusable and not self._poll.poll(0)

    def begin(self, call: UpstreamCall, head: bytes, deadlines: Deadlines) -> Exchange:
        """Send a call; the answer arrives in the exchange that is returned.

        Args:
            call: what to send; its body follows the head.
            head: encoded request line and headers.
            deadlines: when to give up, by the loop's clock.
        """
        exchange = Exchange(self, self._loop, call.response_bytes_max)
        transport = self._transport
        if transport is None or self._state != _IDLE:
            raise RuntimeError("a call was given to a connection that is not idle")
        self._reset(call.method)
        self._exchange = exchange
        self._state = _HEAD
        self._deadlines = deadlines
        self._arm(min(deadlines))
        if len(call.body) <= JOINED_BYTES_MAX:
            transport.write(head + call.body)
        else:
            transport.writelines((head, call.body))
        return exchange

    def abort(self) -> None:
        """Break the connection off at once; the exchange must have been failed before."""
        self._state = _DEAD
        self._exchange = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()

    def break_off(self, error: UpstreamError) -> None:
        """Break the connection off and let the exchange, if there is one, end with an error."""
        exchange = self._exchange
        if exchange is not None:
            exchange.fail(error)
        self.abort()

    def resume(self) -> None:
        """Read the socket again if it was paused because the consumer was slow."""
        if self._paused:
            self._paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Parse octets from the peer."""
        state = self._state
        if state == _IDLE:
            self.abort()  # unsolicited: it would be read as the start of the next answer
            return
        if state == _DEAD:
            return
        if state == _HEAD and not self._head_bytes and data[0] != 0x48:
            # llhttp skips empty lines and speaks RTSP; an answer begins with the H of "HTTP/".
            self.break_off(UpstreamBroken("the upstream does not speak HTTP/1.1"))
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._reusable = False
            if self._state != _DONE:
                self._break_because("the answer is not proper HTTP/1.1", error)
        if self._state == _DONE:
            self._end()
        elif self._state != _DEAD:
            self._check_frame(len(data))

    def eof_received(self) -> None:
        """Take the peer's orderly close; it ends a body that has no other end."""
        if self._state == _BODY and self._until_close:
            self.on_message_complete()
            if self._state == _DONE:
                self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection."""
        if self._state in (_HEAD, _BODY):
            self._break_because("the upstream closed the connection before its answer's end", exc)
        self.abort()
        self._transport = None
        self._lost(self)

    # llhttp's callbacks.

    def on_message_begin(self) -> None:
        """Notice an answer that nobody asked for right behind the one that was."""
        if self._state == _DONE:
            self._reusable = False

    def on_status(self, status: bytes) -> None:
        """Look for control characters in the reason, which llhttp lets pass (RFC 9112 4)."""
        if _CONTROL(status) is not None:
            self._doubt = "the answer's status line holds control characters"

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; the first of a name stands. Trailers are dropped."""
        if self._state != _HEAD or self._exchange is None:
            return
        self._header_count += 1
        headers = self._exchange.headers
        key = name.lower()
        if key not in headers:
            headers[key] = value.strip(b" \t")
        elif key in _SINGLE_HEADERS:
            self._doubt = "a header that frames the answer stands twice"

    def on_headers_complete(self) -> None:
        """Judge the head."""
        exchange = self._exchange
        if self._state != _HEAD or exchange is None:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._skip_interim(status, exchange)
            return
        version = self._parser.get_http_version()
        doubt, reusable, self._until_close = judge(
            status, version, exchange.headers, method=self._method, secure=self._secure
        )
        limit_bytes = self._settings.head_bytes_max
        if self._header_count > self._settings.headers_max or (
            self._head_bytes > limit_bytes and head_bytes(exchange.headers) > limit_bytes
        ):
            doubt = "the answer's headers are over the limit"
        if self._doubt or doubt:
            self.break_off(UpstreamBroken(self._doubt or doubt))
            return
        self._reusable = self._reusable and reusable
        self._state = _BODY
        self._deadline_s = self._deadlines.total_s
        try:
            exchange.open(status)
        except UpstreamError as error:
            self.break_off(error)
            return
        if self._method == "HEAD":
            self.on_message_complete()  # llhttp cannot be told that no body follows

    def on_body(self, body: bytes) -> None:
        """Hand a piece of the body on, and stop reading if nobody takes it."""
        exchange = self._exchange
        if self._state != _BODY or exchange is None:
            return
        self._advanced = True
        try:
            exchange.add(body)
        except UpstreamError as error:
            self.break_off(error)
            return
        if (
            exchange.unread_bytes > self._settings.read_ahead_bytes_max
            and not exchange.collecting
            and not self._paused
            and self._transport is not None
        ):
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Complete the answer; interim ones are not it."""
        exchange = self._exchange
        if self._state != _BODY or exchange is None:
            return
        self._reusable = self._reusable and self._parser.should_keep_alive()
        try:
            exchange.finish()
        except UpstreamError as error:
            self.break_off(error)
            return
        self._state = _DONE

    # Inside.

    def _skip_interim(self, status: int, exchange: Exchange) -> None:
        self._interim += 1
        self._reusable = False
        exchange.headers.clear()
        if status < 100 or status == 101 or self._interim > INTERIM_ANSWERS_MAX:
            self.break_off(UpstreamBroken("the upstream sent an interim answer out of place"))

    def _check_frame(self, received_bytes: int) -> None:
        if self._state == _HEAD:
            if self._head_bytes > self._settings.head_bytes_max:
                self.break_off(UpstreamBroken("the answer's headers are over the limit"))
            return
        self._frame_bytes = 0 if self._advanced else self._frame_bytes + received_bytes
        self._advanced = False
        if self._frame_bytes > BODY_FRAME_BYTES_MAX:
            self.break_off(UpstreamBroken("the answer's chunk extensions or trailers never end"))

    def _end(self) -> None:
        """Free the connection after a complete answer, or drop it if anything was unusual."""
        self._exchange = None
        self.resume()
        transport = self._transport
        if not self._reusable or transport is None or transport.get_write_buffer_size():
            self.abort()
            return
        self._state = _IDLE
        self._arm(self._loop.time() + self._settings.idle_ms / 1_000)
        self._freed(self)

    def _break_because(self, detail: str, cause: BaseException | None) -> None:
        error = UpstreamBroken(detail)
        error.__cause__ = cause
        self.break_off(error)

    def _arm(self, deadline_s: float) -> None:
        # Nearly every deadline is met, so the timer is left alone unless it would ring too late:
        # when it rings early it is set again. A busy connection sets it a few times a minute.
        self._deadline_s = deadline_s
        if self._timer is not None:
            if self._timer_s <= deadline_s:
                return
            self._timer.cancel()
        self._timer_s = deadline_s
        self._timer = self._loop.call_at(deadline_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        if now_s < self._deadline_s:
            self._arm(self._deadline_s)
        elif self._state == _IDLE:
            self.abort()
        else:
            phase = "first byte" if self._deadline_s < self._deadlines.total_s else "total"
            self.break_off(UpstreamTimeout(f"{phase}: the upstream took too long"))
