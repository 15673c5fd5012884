"""The inflow of one stream: the provider's bytes as they come, without losing the time.

Waiting for a provider can be left to sign a head and taken up again, which an async iterator alone
does not allow: giving up its next item breaks the exchange off. So one task reads, and whoever
relays takes all that has come. What has come together is relayed together.
"""

import asyncio
from typing import TYPE_CHECKING

from verismo.model.errors import UpstreamTimeout
from verismo.ports.upstream import UpstreamReply

if TYPE_CHECKING:
    from hashlib import _Hash

READ_AHEAD_BYTES = 65_536
"""Read before the client takes it; the connection itself then holds back what is more."""


class Inflow:
    """Reads one provider stream ahead of its relay.

    Args:
        reply: the open exchange; the inflow closes it.
        received: hash that every byte is added to, in order.
        silence_s_max: longest silence of the provider. Time in which the relay does not take what
            is there does not count.
    """

    def __init__(self, reply: UpstreamReply, received: "_Hash", silence_s_max: float) -> None:
        self._reply = reply
        self._received = received
        self._silence_s_max = silence_s_max
        self._loop = asyncio.get_running_loop()
        self._pieces: list[bytes] = []
        self._octets = 0
        self._taker: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._heard_s = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._is_silent = False

    @property
    def ended(self) -> bool:
        """Whether the provider's answer is complete, and all of it was taken."""
        reader = self._reader
        return (
            not self._pieces
            and reader is not None
            and reader.done()
            and not reader.cancelled()
            and reader.exception() is None
        )

    async def take(self, until_s: float | None) -> bytes:
        """Return everything that has come, waiting for it if nothing has.

        The first call begins to read and waits for nothing. Until then whatever comes stays with
        the exchange, which costs less than reading along.

        Args:
            until_s: when to stop waiting, by the loop's clock; None to wait until something comes.
                It never goes back from one call to the next.

        Returns:
            Bytes; empty at the end, if the time came first, or if nothing came before the first
            call. An earlier call's time may still ring.

        Raises:
            UpstreamError: the exchange failed, or the provider fell silent.
        """
        reader = self._reader
        if reader is None:
            reader = self._begin()
            await asyncio.sleep(0)  # one turn, in which it takes what the exchange holds
        elif not self._pieces and not reader.done():
            await self._wait(until_s)
        if not self._pieces and reader.done():
            if self._is_silent:
                raise UpstreamTimeout("the provider fell silent within its stream")
            reader.result()
        return self._taken()

    async def aclose(self) -> None:
        """Stop reading and close the exchange; breaks it off if it is not complete."""
        for timer in (self._watch, self._alarm):
            if timer is not None:
                timer.cancel()
        reader = self._reader
        if reader is not None and not reader.done():
            reader.cancel()
            await asyncio.wait({reader})
        elif reader is not None and not reader.cancelled():
            reader.exception()  # told by `take`, or no longer of interest
        await self._reply.aclose()

    def _begin(self) -> asyncio.Task[None]:
        self._heard_s = self._loop.time()
        self._reader = self._loop.create_task(self._read())
        self._reader.add_done_callback(self._wake)
        return self._reader

    def _taken(self) -> bytes:
        pieces = self._pieces
        if not pieces:
            return b""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._octets = 0
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        return data

    async def _wait(self, until_s: float | None) -> None:
        # Timers are left to ring, early if need be, rather than set anew for each wait.
        if until_s is not None and self._alarm is None:
            self._alarm = self._loop.call_at(until_s, self._ring)
        if self._watch is None:
            self._watch = self._loop.call_later(self._silence_s_max, self._check_silence)
        self._taker = self._loop.create_future()
        try:
            await self._taker
        finally:
            self._taker = None

    def _ring(self) -> None:
        self._alarm = None
        self._wake()

    def _wake(self, _: object = None) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)

    async def _read(self) -> None:
        async for chunk in self._reply.chunks():
            self._heard_s = self._loop.time()
            self._received.update(chunk)
            self._pieces.append(chunk)
            self._octets += len(chunk)
            self._wake()
            if self._octets >= READ_AHEAD_BYTES:
                self._room = self._loop.create_future()
                await self._room
                self._room = None
                self._heard_s = self._loop.time()

    def _check_silence(self) -> None:
        """Give up a silent provider; looks again when its time would be over, not at each chunk."""
        if self._room is not None:
            self._heard_s = self._loop.time()
        left_s = self._heard_s + self._silence_s_max - self._loop.time()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._check_silence)
            return
        self._is_silent = True
        if self._reader is not None:
            self._reader.cancel()
