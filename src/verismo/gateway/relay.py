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
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine

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
from verismo.gateway.capture import CAPTURED_BYTES_MAX
from verismo.gateway.commit import commit_opening
from verismo.gateway.inflow import Inflow
from verismo.gateway.journey import Journey
from verismo.gateway.seal import Sealed, Sealer
from verismo.model.errors import IntegrityError, UpstreamBroken, UpstreamError, VerismoError
from verismo.model.limits import Limits
from verismo.ports.journal import Journal, OpenStream
from verismo.ports.telemetry import Telemetry

MEDIA = "text/event-stream"
COMPLETE = "complete"
HEAD_EVERY_S = HEAD_EVERY_MS / 1_000

Spawn = Callable[[Coroutine[None, None, None]], None]
"""Runs a coroutine to its end even if the request that began it is cancelled."""


class StreamEnd(msgspec.Struct, frozen=True):
    """How a stream ended: `complete`, `client_gone`, or the stable code of an error."""

    code: str

    @property
    def complete(self) -> bool:
        """Whether the provider said everything it had to say."""
        return self.code == COMPLETE


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
        self._kept_octets = 0
        self._loop = asyncio.get_running_loop()
        self._headed = 0
        self._head_due_s: float | None = None
        silence_s_max = desk.limits.stream_idle_ms_max / 1_000
        self._inflow = Inflow(flowing.reply, self._received, silence_s_max)
        self._is_ended = False
        self._is_noted = False

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
            IntegrityError: a head or the end could not be sealed or stored; the connection is to
                be cut.
        """
        cause, block = VerismoError.code, opening
        try:
            end = StreamEnd(COMPLETE)
            try:
                while not self._inflow.ended:
                    block += self._relayed(await self._inflow.take(self._head_due_s))
                    if block:
                        yield block
                    block = b""
                if not self._flowing.translator.ended:
                    raise UpstreamBroken("the provider's stream ended before its end marker")
            except UpstreamError as error:
                end = StreamEnd(error.code)
                yield block + self._chained([_error_event(error)])
                block = b""
            await self._inflow.aclose()
            yield await self._end(end)
        except (asyncio.CancelledError, GeneratorExit):
            cause = self._desk.departure()
            raise
        except VerismoError as error:
            cause = error.code
            if isinstance(error, IntegrityError):
                self._desk.withheld(self._journey, error)
            if block:
                yield block  # the opening, which is proven, without the events that came with it
            raise
        finally:
            # Whoever closes or cancels this generator must not be kept waiting, so the terminal
            # record of a stream that did not come to its end is written aside.
            if not self._is_ended:
                self._desk.spawn(self._abandon(cause))

    def _relayed(self, data: bytes) -> bytes:
        """Return what the client gets for bytes that came at once: their events, a head if owed.

        If they end the answer, the final statement follows, which says all that a head would.
        """
        translator = self._flowing.translator
        events = translator.feed(data) if data else []
        if self._inflow.ended:
            return self._chained(events + translator.finish())
        return self._chained(events) + self._owed_head()

    def _chained(self, events: list[bytes]) -> bytes:
        if events:
            self._note_arrival(events)
            self._chain.extend(events)
        return b"".join(events)

    def _owed_head(self) -> bytes:
        """Return a head if the client would wait with too many events, or for too long, without.

        The time runs from the first event without a head, so that a quiet stream costs nothing.
        """
        due_s = self._head_due_s
        if due_s is None or (
            self._chain.events - self._headed < HEAD_EVERY_EVENTS and self._loop.time() < due_s
        ):
            return b""
        return self._head()

    def _note_arrival(self, events: list[bytes]) -> None:
        if not self._journey.first_byte_ns:
            self._journey.first_byte_ns = time.monotonic_ns()
        if self._head_due_s is None:
            self._head_due_s = self._loop.time() + HEAD_EVERY_S
        if self._kept is not None and self._kept_octets <= CAPTURED_BYTES_MAX:
            self._kept.extend(events)
            self._kept_octets += sum(map(len, events))

    def _head(self) -> bytes:
        journey, chain = self._journey, self._chain
        payload, signature = self._desk.sealer.head(journey, chain.events, chain.head)
        self._headed, self._head_due_s = chain.events, None
        return signed_comment(payload, signature)

    async def _end(self, end: StreamEnd) -> bytes:
        """Settle, seal and commit; return the final statement and the end marker."""
        try:
            await self._close_run(end)
            self._is_ended = True
            marker = DONE_EVENT if self._has_marker and end.complete else b""
            if marker:
                self._chain.add(marker)  # the marker is known before it is sent, so it is covered
                if self._kept is not None:
                    self._kept.append(marker)
            sealed = self._seal(end)
            await self._desk.committed(self._journey, sealed)
        except VerismoError as error:
            if not self._is_ended:
                # Its run cannot be read; the record that is written aside goes without.
                self._journey.leave_run()
                raise
            self._desk.finished(self._journey, 503, error.code)
            raise
        except asyncio.CancelledError:
            if self._is_ended:
                # The record is sealed and its commit under way: it is the terminal one.
                self._desk.finished(self._journey, 499, self._desk.departure())
            raise
        self._desk.finished(self._journey, 200, "" if end.complete else end.code)
        return signed_comment(sealed.statement, sealed.jws) + marker

    async def aclose(self) -> None:
        """Stop reading and close the exchange with the provider."""
        await self._inflow.aclose()

    async def _abandon(self, cause: str) -> None:
        """Write the terminal record of a stream that ended before its end, and say why."""
        self._is_ended = True
        await self._inflow.aclose()
        try:
            await self._close_run(StreamEnd(cause))
            sealed = self._seal(StreamEnd(cause))
            await self._desk.committed(self._journey, sealed)
        finally:
            self._desk.finished(self._journey, 499, cause)

    async def _close_run(self, end: StreamEnd) -> None:
        """Add the provider's hop, and draw what the agent did before it if this was one."""
        if not self._is_noted:
            self._is_noted = True
            self.note_hop(end.code)
        await self._desk.joined(self._journey)

    def _seal(self, end: StreamEnd) -> Sealed:
        self._desk.settled(self._journey)
        captured = self._desk.captured(self._journey, self._kept)
        attrs: dict[str, str | int | bool] = {"end": end.code}
        stated = self._stated(end.complete)
        return self._desk.sealer.seal(self._journey, stated, attrs, captured)

    def note_hop(self, end: str) -> None:
        """Add the provider's hop to the graph, with what came of it so far.

        Args:
            end: `complete`, or the stable code of what ended it.
        """
        journey, translator = self._journey, self._flowing.translator
        journey.model, journey.usage = translator.model, translator.usage
        outcome: dict[str, str | int | bool] = {"status": 200, "streamed": True}
        if end != COMPLETE:
            outcome["error"] = end
        add_stream_hop(journey, self._flowing, self._received.hexdigest(), outcome)

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
        withheld: told why a stream is cut without its end.
        departure: says why a stream is being closed: `client_gone` or `gateway_stopped`.
        spawn: runs a coroutine to its end even if the request is cancelled.
        joined: draws the run of an agent's answer into its graph; nothing for all others.
        committed: makes the terminal record durable.
    """

    sealer: Sealer
    journal: Journal
    telemetry: Telemetry
    limits: Limits
    settled: Callable[[Journey], None]
    captured: Callable[[Journey, list[bytes] | None], bytes]
    finished: Callable[[Journey, int, str], None]
    withheld: Callable[[Journey, IntegrityError], None]
    departure: Callable[[], str]
    spawn: Spawn
    joined: Callable[[Journey], Awaitable[None]]
    committed: Callable[[Journey, Sealed], Awaitable[None]]


def _error_event(error: UpstreamError) -> bytes:
    """Return the event by which OpenAI streams report an error."""
    body = {"error": {"message": error.detail, "type": error.openai_type, "code": error.code}}
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"
