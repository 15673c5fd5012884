"""One answer of the keep-alive client: filled by its connection, read by the pipeline.

It outlives its connection's interest in it: once the last octet is parsed, the connection serves
another call while this object keeps the body. So nothing of a later answer can get in here.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from verismo.adapters.upstream_coding import Inflater
from verismo.model.errors import UpstreamBroken, UpstreamError, UpstreamTooLarge


class Link(Protocol):
    """What an answer may ask of its connection while it is being received."""

    def abort(self) -> None:
        """Break the connection off."""
        ...

    def resume(self) -> None:
        """Read the socket again after a pause."""
        ...


class Exchange:
    """An answer being received; implements `UpstreamReply`.

    Args:
        link: the connection it comes over.
        loop: the running loop.
        body_bytes_max: more than this, content coding removed, is `UpstreamTooLarge`.
    """

    __slots__ = (
        "_claimed",
        "_error",
        "_heard",
        "_inflater",
        "_left_bytes",
        "_link",
        "_loop",
        "_pieces",
        "_waiter",
        "collecting",
        "headers",
        "status",
        "unread_bytes",
    )

    def __init__(self, link: Link, loop: asyncio.AbstractEventLoop, body_bytes_max: int) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.collecting = False
        self.unread_bytes = 0
        self._link: Link | None = link
        self._loop = loop
        self._left_bytes = body_bytes_max
        self._pieces: list[bytes] = []
        self._inflater: Inflater | None = None
        self._error: UpstreamError | None = None
        self._heard: Callable[[], None] | None = None
        self._claimed = False
        self._waiter: asyncio.Future[None] | None = None

    # What the connection calls.

    def open(self, status: int) -> None:
        """Note that the head is complete; `headers` are final.

        Raises:
            UpstreamBroken: a content coding that was never asked for.
        """
        coding = self.headers.get(b"content-encoding")
        if coding is not None and coding.lower() != b"identity":
            self._inflater = Inflater(coding)
        self.status = status
        self._wake()

    def add(self, data: bytes) -> None:
        """Take a piece of the body.

        Raises:
            UpstreamBroken: its coding is damaged.
            UpstreamTooLarge: the body is over the limit.
        """
        if self._inflater is not None:
            data = self._inflater.feed(data, self._left_bytes)
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise UpstreamTooLarge("the answer's body is over the limit", retryable=False)
        is_first = not self._pieces  # whoever is woken takes all that is here by then
        self._pieces.append(data)
        self.unread_bytes += len(data)
        if is_first and not self.collecting:
            self._wake()

    def finish(self) -> None:
        """Take the end of the body; the connection is free for another call after this.

        Raises:
            UpstreamBroken: its coding was cut short.
        """
        if self._inflater is not None:
            self._inflater.finish()
        self._link = None
        self._wake()

    def fail(self, error: UpstreamError) -> None:
        """Take the error with which the exchange ended; whoever waits gets it."""
        self._link = None
        self._error = error
        self._wake()

    # What the pipeline calls.

    def header(self, name: str) -> str:
        """Return the first header of that lower-case name, or an empty text."""
        return self.headers.get(name.encode("latin-1", "replace"), b"").decode("latin-1")

    async def opened(self) -> None:
        """Wait for the head.

        Raises:
            UpstreamError: what went wrong instead.
        """
        while self.status == 0 and self._error is None:
            await self._changed()
        if self.status == 0 and self._error is not None:
            raise self._error

    async def read(self) -> bytes:
        """Return the whole body, content coding removed; see `UpstreamReply.read`."""
        self._claim()
        link = self._link
        if link is not None:
            self.collecting = True
            link.resume()
            while self._link is not None:
                await self._changed()
        if self._error is not None:
            raise self._error
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, content coding removed; see `UpstreamReply.chunks`."""
        self._claim()
        is_whole = False
        while not is_whole:
            data, is_whole = self.take()
            if data:
                yield data
            elif not is_whole:
                await self._changed()

    def listen(self, heard: Callable[[], None]) -> None:
        """Have a callback told of bytes, the end and errors; see `UpstreamReply.listen`."""
        self._claim()
        self._heard = heard

    def take(self) -> tuple[bytes, bool]:
        """Return what has come since the last call; see `UpstreamReply.take`."""
        pieces, link = self._pieces, self._link
        if not pieces:
            if self._error is not None:
                raise self._error
            return b"", link is None
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.unread_bytes = 0
        if link is not None:
            link.resume()
        if self._error is not None and self._heard is not None:
            self._heard()
        return data, link is None and self._error is None

    async def aclose(self) -> None:
        """Break the exchange off if it is not complete; forget what was not read."""
        link = self._link
        self._claimed = True
        is_unread = bool(self._pieces)
        self._pieces.clear()
        if is_unread or link is not None:
            self.fail(UpstreamBroken("the answer was closed before its end", retryable=False))
        if link is not None:
            link.abort()
        self._heard = None

    def _claim(self) -> None:
        if self._claimed:
            raise UpstreamBroken("the answer was read or closed before", retryable=False)
        self._claimed = True

    def _wake(self) -> None:
        if self._heard is not None:
            self._heard()
            return
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _changed(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            link = self._link
            if link is not None:
                self.fail(UpstreamBroken("the call was cancelled", retryable=False))
                link.abort()
            raise
        finally:
            self._waiter = None
