"""Streams: events as they come, signed heads between them, the final statement before the end.

Order on the wire (decisions 16): head 0, then events and heads, then the final statement, then
`data: [DONE]`. The opening is durable before head 0 leaves, the terminal record before the final
statement does. If sealing or commit fails, the connection is cut without both, and the client is
left with a verified prefix. Whatever ends the stream early, one terminal record with `fin: false`
is written.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine

import msgspec

from verismo.attest.commitment import open_commitment
from verismo.attest.statement import StatedResponse
from verismo.attest.stream import (
    DONE_EVENT,
    HEAD_EVERY_EVENTS,
    HEAD_EVERY_MS,
    Chain,
    signed_comment,
)
from verismo.gateway.call import Flowing, add_stream_hop
from verismo.gateway.commit import commit_opening, commit_record
from verismo.gateway.journey import Journey
from verismo.gateway.seal import Sealed, Sealer
from verismo.model.errors import UpstreamBroken, UpstreamError, UpstreamTimeout, VerismoError
from verismo.model.limits import Limits
from verismo.ports.journal import Journal, OpenStream
from verismo.ports.telemetry import Telemetry

MEDIA = "text/event-stream"

Spawn = Callable[[Coroutine[None, None, None]], None]
"""Runs a coroutine to its end even if the request that began it is cancelled."""


class StreamEnd(msgspec.Struct, frozen=True):
    """How a stream ended: `complete`, `client_gone`, or the stable code of an error."""

    code: str

    @property
    def complete(self) -> bool:
        """Whether the provider said everything it had to say."""
        return self.code == "complete"


class Relay:
    """Carries one stream from provider to client.

    Args:
        journey: the request.
        flowing: the provider's open answer; the relay closes it.
        desk: what every stream of this worker shares.
    """

    def __init__(
        self,
        journey: Journey,
        flowing: Flowing,
        desk: "StreamDesk",
    ) -> None:
        self._journey = journey
        self._flowing = flowing
        self._desk = desk
        self._chain = Chain(journey.salt, journey.prov_id, journey.stated.commit)
        self._received = open_commitment("received", journey.salt)
        self._has_marker = journey.kind == "chat"
        self._kept: list[bytes] | None = [] if journey.caller.view.tenant.capture else None
        self._last_head_ns = time.monotonic_ns()
        self._last_head_events = 0
        self._is_ended = False

    async def open(self) -> bytes:
        """Make the opening durable and return the block that carries head 0.

        Raises:
            IntegrityError: it could not be signed or stored; nothing has left.
        """
        journey, desk = self._journey, self._desk
        payload, signature = desk.sealer.head(journey, 0, self._chain.head)
        context = desk.sealer.lost_context(journey, self._stated(fin=False))
        await commit_opening(
            desk.journal,
            OpenStream(
                prov_id=journey.prov_id,
                tenant=journey.caller.view.tenant.id,
                head=payload,
                jws=signature.encode("ascii"),
                context=context,
                written_ms=journey.now_ms(),
            ),
            desk.telemetry,
        )
        return signed_comment(payload, signature)

    async def blocks(self, opening: bytes) -> AsyncGenerator[bytes, None]:
        """Yield everything the client gets, from head 0 to the end marker.

        Raises:
            IntegrityError: the end could not be sealed or stored; the connection is to be cut.
        """
        try:
            yield opening
            end = StreamEnd("complete")
            try:
                async for chunk in self._chunks():
                    if block := self._take(self._flowing.translator.feed(chunk)):
                        yield block
                if block := self._take(self._flowing.translator.finish()):
                    yield block
                if not self._flowing.translator.ended:
                    raise UpstreamBroken("the provider's stream ended before its end marker")
            except UpstreamError as error:
                end = StreamEnd(error.code)
                yield self._take([_error_event(error)])
            yield await self._end(end)
        finally:
            # A client that left closes this generator at a yield, or its task is cancelled at an
            # await; no more may be awaited here then, so the terminal record is written aside.
            if not self._is_ended:
                self._desk.spawn(self._abandon())

    async def _chunks(self) -> AsyncIterator[bytes]:
        """The provider's bytes, hashed, with a limit on its silence."""
        idle_s = self._desk.limits.stream_idle_ms_max / 1_000
        loop, reply = asyncio.get_running_loop(), self._flowing.reply
        chunks = reply.chunks()
        try:
            async with asyncio.timeout(idle_s) as silence:
                async for chunk in chunks:
                    # A client that reads slowly holds us at the yield; that is not its silence.
                    silence.reschedule(None)
                    self._received.update(chunk)
                    yield chunk
                    silence.reschedule(loop.time() + idle_s)
        except TimeoutError as error:
            raise UpstreamTimeout("the provider fell silent within its stream") from error
        finally:
            await reply.aclose()

    def _take(self, events: list[bytes]) -> bytes:
        """Chain events and return them with a signed head after them where one is due."""
        if not events:
            return b""
        journey, chain = self._journey, self._chain
        if not journey.first_byte_ns:
            journey.first_byte_ns = time.monotonic_ns()
        for event in events:
            chain.add(event)
        if self._kept is not None:
            self._kept.extend(events)
        due = chain.events - self._last_head_events >= HEAD_EVERY_EVENTS
        now_ns = time.monotonic_ns()
        if due or now_ns - self._last_head_ns >= HEAD_EVERY_MS * 1_000_000:
            payload, signature = self._desk.sealer.head(journey, chain.events, chain.head)
            self._last_head_events, self._last_head_ns = chain.events, now_ns
            return b"".join(events) + signed_comment(payload, signature)
        return b"".join(events)

    async def _end(self, end: StreamEnd) -> bytes:
        """Settle, seal and commit; return the final statement and the end marker."""
        self._is_ended = True
        marker = DONE_EVENT if self._has_marker and end.complete else b""
        if marker:
            self._chain.add(marker)  # the marker is known before it is sent, so it is covered
        try:
            sealed = self._seal(end)
            await commit_record(self._desk.journal, sealed, self._desk.telemetry)
        except VerismoError as error:
            self._desk.finished(self._journey, 503, error.code)
            raise
        self._desk.finished(self._journey, 200, "" if end.complete else end.code)
        return signed_comment(sealed.statement, sealed.jws) + marker

    async def _abandon(self) -> None:
        """Write the terminal record of a stream whose client left."""
        self._is_ended = True
        await self._flowing.reply.aclose()
        try:
            sealed = self._seal(StreamEnd("client_gone"))
            await commit_record(self._desk.journal, sealed, self._desk.telemetry)
        finally:
            self._desk.finished(self._journey, 499, "client_gone")

    def _seal(self, end: StreamEnd) -> Sealed:
        journey, translator = self._journey, self._flowing.translator
        journey.model = translator.model or self._flowing.deployment.model
        journey.usage = translator.usage
        outcome: dict[str, str | int | bool] = {"status": 200, "streamed": True}
        if not end.complete:
            outcome["error"] = end.code
        add_stream_hop(journey, self._flowing, self._received.hexdigest(), outcome)
        self._desk.settled(journey)
        captured = self._desk.captured(journey, self._kept)
        attrs: dict[str, str | int | bool] = {"end": end.code}
        return self._desk.sealer.seal(journey, self._stated(end.complete), attrs, captured)

    def _stated(self, fin: bool) -> StatedResponse:
        chain = self._chain
        return StatedResponse(
            status=200,
            media=MEDIA,
            mode="sse",
            commit=chain.head.hex(),
            len=chain.octets,
            fin=fin,
            events=chain.events,
        )


class StreamDesk(msgspec.Struct, frozen=True):
    """What every stream of a worker shares.

    Args:
        sealer: signs heads and statements.
        journal: for openings and terminal records.
        telemetry: counts withheld ends.
        limits: silence of the provider.
        settled: settles cost and budget of a journey; called once, before sealing.
        captured: returns the encrypted content to keep, or nothing.
        finished: told the status and error code after the terminal record.
        spawn: runs a coroutine to its end even if the request is cancelled.
    """

    sealer: Sealer
    journal: Journal
    telemetry: Telemetry
    limits: Limits
    settled: Callable[[Journey], None]
    captured: Callable[[Journey, list[bytes] | None], bytes]
    finished: Callable[[Journey, int, str], None]
    spawn: Spawn


def _error_event(error: UpstreamError) -> bytes:
    """Return the event by which OpenAI streams report an error."""
    body = {"error": {"message": error.detail, "type": error.openai_type, "code": error.code}}
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"
