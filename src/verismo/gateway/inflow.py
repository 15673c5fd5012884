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
        self._heard_s = self._loop.time()
        self._watch = self._loop.call_later(silence_s_max, self._check_silence)
        self._is_silent = False
        self._reader = self._loop.create_task(self._read())
        self._reader.add_done_callback(self._wake)

    async def take(self, until_s: float | None) -> bytes | None:
        """Return everything that has come, waiting for it if nothing has.

        Args:
            until_s: when to stop waiting, by the loop's clock; None to wait until something comes.

        Returns:
            Bytes; empty if the time came first; None at the end.

        Raises:
            UpstreamError: the exchange failed, or the provider fell silent.
        """
        if not self._pieces and not self._reader.done():
            await self._wait(until_s)
        if self._pieces:
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._octets = 0
            if self._room is not None and not self._room.done():
                self._room.set_result(None)
            return data
        if not self._reader.done():
            return b""
        if self._is_silent:
            raise UpstreamTimeout("the provider fell silent within its stream")
        self._reader.result()
        return None

    async def aclose(self) -> None:
        """Stop reading and close the exchange; breaks it off if it is not complete."""
        self._watch.cancel()
        if not self._reader.done():
            self._reader.cancel()
            await asyncio.wait({self._reader})
        elif not self._reader.cancelled():
            self._reader.exception()  # told by `take`, or no longer of interest
        await self._reply.aclose()

    async def _wait(self, until_s: float | None) -> None:
        self._taker = self._loop.create_future()
        alarm = None if until_s is None else self._loop.call_at(until_s, self._wake)
        try:
            await self._taker
        finally:
            if alarm is not None:
                alarm.cancel()
            self._taker = None

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
        self._reader.cancel()
