"""The inflow of one stream: the provider's bytes as they come, without losing the time.

Waiting for a provider can be left to sign a head and taken up again, which an async iterator does
not allow: giving up its next item breaks the exchange off. So the exchange calls when something
is there, and whoever relays takes all that has come. What has come together is relayed together.
"""

import asyncio
from typing import TYPE_CHECKING

from verismo.model.errors import UpstreamTimeout
from verismo.ports.upstream import UpstreamReply

if TYPE_CHECKING:
    from hashlib import _Hash


class Inflow:
    """What one provider stream says, for its relay.

    Args:
        reply: the open exchange; the inflow closes it.
        received: hash that every byte is added to, in order.
        silence_s_max: longest silence of the provider. Time in which the relay does not take what
            is there does not count.
    """

    def __init__(self, reply: UpstreamReply, received: "_Hash", silence_s_max: float) -> None:
        self.ended = False
        """Whether the provider's answer is complete, and all of it was taken."""
        self._reply = reply
        self._received = received
        self._silence_s_max = silence_s_max
        self._loop = asyncio.get_running_loop()
        self._is_listening = False
        self._has_news = False
        self._is_silent = False
        self._heard_s = 0.0
        self._taker: asyncio.Future[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._alarm: asyncio.TimerHandle | None = None

    async def take(self, until_s: float | None) -> bytes:
        """Return everything that has come, waiting for it if nothing has.

        The first call waits for nothing.

        Args:
            until_s: when to stop waiting, by the loop's clock; None to wait until something comes.
                It never goes back from one call to the next.

        Returns:
            Bytes; empty at the end, if the time came first, or if nothing came before the first
            call. An earlier call's time may still ring.

        Raises:
            UpstreamError: the exchange failed, or the provider fell silent.
        """
        if not self._is_listening:
            self._is_listening = True
            self._heard_s = self._loop.time()
            self._reply.listen(self._heard)
        elif not self._has_news:
            self._taker = self._awaited(until_s)
            try:
                await self._taker
            finally:
                self._taker = None
        self._has_news = False
        data, self.ended = self._reply.take()
        if data:
            self._heard_s = self._loop.time()
            self._received.update(data)
        elif self._is_silent and not self.ended:
            raise UpstreamTimeout("the provider fell silent within its stream")
        self._is_silent = False
        return data

    async def aclose(self) -> None:
        """Stop reading and close the exchange; breaks it off if it is not complete."""
        for timer in (self._watch, self._alarm):
            if timer is not None:
                timer.cancel()
        self._watch = self._alarm = None
        await self._reply.aclose()

    def _awaited(self, until_s: float | None) -> "asyncio.Future[None]":
        # Timers are left to ring, early if need be, rather than set anew for each wait.
        if until_s is not None and self._alarm is None:
            self._alarm = self._loop.call_at(until_s, self._ring)
        if self._watch is None:
            self._watch = self._loop.call_later(self._silence_s_max, self._check_silence)
        return self._loop.create_future()

    def _heard(self) -> None:
        self._has_news = True
        self._wake()

    def _ring(self) -> None:
        self._alarm = None
        self._wake()

    def _wake(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)

    def _check_silence(self) -> None:
        """Give up a silent provider; looks again when its time would be over, not at each chunk."""
        self._watch = None
        if self._taker is None:
            return  # the relay is not waiting; once it does, the time begins anew
        left_s = self._heard_s + self._silence_s_max - self._loop.time()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._check_silence)
            return
        self._is_silent = True
        self._wake()
