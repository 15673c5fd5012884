"""The request path: the twelve steps in their order, and the only place that knows it.

1 receive (`app`), 2 identify, 3 resolve, 4 decide, 5 admit, 6 look up, 7 choose, 8 call, 9 settle,
10 seal, 11 commit, 12 reply. Whatever goes wrong after step 2 still runs through 10-12, so that
each identified request leaves exactly one terminal record. If 10 or 11 fails, nothing is served.
"""

import asyncio
import contextlib
from collections.abc import Coroutine

import msgspec
from msgspec import UNSET

from verismo.gateway.aside import Aside
from verismo.gateway.ask import Ask
from verismo.gateway.call import Flowing, Whole
from verismo.gateway.choose import choose
from verismo.gateway.commit import commit_record
from verismo.gateway.decide import decide_for
from verismo.gateway.desk import Desk, Visit
from verismo.gateway.doors import Door
from verismo.gateway.identify import identify
from verismo.gateway.journey import Journey
from verismo.gateway.listing import list_models
from verismo.gateway.lookup import look_up
from verismo.gateway.mcpgate import check_call
from verismo.gateway.openrun import OpenRun
from verismo.gateway.relay import Relay, StreamDesk
from verismo.gateway.reply import (
    Headers,
    refusal_headers,
    stream_reply_headers,
    whole_reply,
)
from verismo.gateway.resolve import Resolved, refuse_write_by_get, resolve
from verismo.gateway.runs import (
    check_called,
    check_root,
    check_sealed,
    reported_answer,
    sealed_run,
)
from verismo.gateway.seal import Sealed, state_body
from verismo.gateway.settle import settle
from verismo.model.errors import (
    IntegrityError,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    RunLimit,
    RunSealed,
    VerismoError,
)
from verismo.model.traffic import Reply, Request
from verismo.ports.cache import CachedAnswer

CLIENT_GONE = 499
"""Not a status that is ever sent: it marks the record of a request whose client left."""

_CACHEABLE_STATUS = 200


class Pipeline:
    """Answers requests; one for each worker.

    Args:
        desk: what it works with.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._aside = Aside(desk.reporter.lost)
        self._is_stopping = False
        self._streams = StreamDesk(
            sealer=desk.sealer,
            journal=desk.journal,
            telemetry=desk.telemetry,
            limits=desk.limits,
            settled=lambda journey: settle(desk.admission, desk.prices, journey),
            captured=desk.capture.of_stream,
            finished=desk.reporter.finished,
            withheld=desk.reporter.withheld,
            departure=self._departure,
            spawn=self._aside.spawn,
            joined=self._join,
            committed=self._commit,
        )

    def identify(self, headers: dict[str, str], now_ms: int) -> Visit:
        """Step 2, before any body is taken from somebody who may be a stranger.

        Raises:
            Unauthenticated: to be answered unsigned and counted (decisions 15).
        """
        snapshot = self._desk.snapshot.current
        return Visit(snapshot, identify(snapshot, headers, now_ms))

    async def handle(self, request: Request, visit: Visit, door: Door) -> Reply:
        """Answer one request for an operation.

        Args:
            request: received whole (step 1).
            visit: who asks, and under which configuration (step 2).
            door: the client protocol it came through.

        Returns:
            A signed and durable answer or refusal.

        Raises:
            IntegrityError: nothing may be served; to be answered by an unsigned 503.
        """
        journey = Journey(request, visit.caller, visit.snapshot, door.kind, self._desk.telemetry)
        terms: Headers = []
        return await self._conduct(journey, door, terms, self._answer(journey, door, terms))

    async def seal_run(self, request: Request, visit: Visit, door: Door) -> Reply:
        """Answer `POST /v1/runs/{operation}`: one reply whose graph is a client's whole run.

        Raises as `handle` does.
        """
        journey = Journey(request, visit.caller, visit.snapshot, door.kind, self._desk.telemetry)
        terms: Headers = []
        return await self._conduct(journey, door, terms, self._seal_run(journey, door, terms))

    async def list_models(self, request: Request, visit: Visit, door: Door) -> Reply:
        """Answer `GET /v1/models`, signed like everything else; raises as `handle` does."""
        journey = Journey(request, visit.caller, visit.snapshot, "models", self._desk.telemetry)
        terms: Headers = []
        return await self._conduct(journey, door, terms, self._list(journey, terms))

    async def _conduct(
        self, journey: Journey, door: Door, terms: Headers, work: Coroutine[None, None, Reply]
    ) -> Reply:
        """See to it that a journey ends in exactly one record, however its work ends."""
        try:
            return await work
        except IntegrityError as error:
            self._withdraw(journey, error)
            raise
        except VerismoError as error:
            return await self._refuse(journey, door, error, terms)
        except asyncio.CancelledError:
            self._aside.spawn(self._record_end(journey, CLIENT_GONE, self._departure()))
            raise
        except BaseException:
            # A mistake of ours. The application answers it; here it gets its record.
            self._aside.spawn(self._record_end(journey, VerismoError.status, VerismoError.code))
            raise

    async def _list(self, journey: Journey, terms: Headers) -> Reply:
        desk = self._desk
        self._arrive(journey)
        desk.admission.check_rate(journey, terms)
        _check_nonce(journey)
        body = list_models(desk.policy, journey.snapshot, journey.caller)
        return await self._finish(journey, (200, "application/json", body), {}, terms)

    async def _answer(self, journey: Journey, door: Door, terms: Headers) -> Reply:
        desk, request = self._desk, journey.request
        self._arrive(journey)
        ask, resolved = self._enter(journey, door, terms)
        is_agent = resolved.operation.kind == "agent"
        if ask.kind == "graphql":
            journey.doc = resolved.operation.id
            refuse_write_by_get(request, resolved)
        if ask.call is not None:
            check_call(resolved.operation, ask.call, request.headers)
        if is_agent:
            check_called(resolved)
        decided = decide_for(desk.policy, journey, resolved)
        cache_key, cached = look_up(desk.cache, journey)
        if cached is not None:
            return await self._serve_cached(journey, cached, terms)
        desk.admission.reserve(journey, decided.possible, terms)
        ready = choose(desk.breakers, journey, decided)
        if not resolved.registered:
            desk.observer.note(journey)
        if is_agent and desk.runs is not None:
            await desk.runs.begin(journey)
        answer = await desk.dispatcher.call(journey, ask, resolved.operation.document, ready)
        if isinstance(answer, Flowing):
            return await self._stream(journey, answer, terms)
        if answer.retry_after:
            terms.append((b"retry-after", answer.retry_after.encode("ascii")))
        return await self._serve(journey, door, answer, cache_key, terms)

    def _arrive(self, journey: Journey) -> None:
        """Find out whether a call of a trace is part of a run; costs nothing without a trace."""
        if self._desk.runs is not None and journey.trace.parent_id:
            self._desk.runs.arrive(journey)

    def _enter(self, journey: Journey, door: Door, terms: Headers) -> tuple[Ask, Resolved]:
        """Take the request from the rates, read what it asks for, and find that (step 3)."""
        desk = self._desk
        desk.admission.check_rate(journey, terms)
        desk.capture.check(journey)
        if journey.standing == "full":
            raise RunLimit("the run that this call belongs to has no room for it")
        _check_nonce(journey)
        ask = journey.ask = door.ask(journey.request)
        caller = journey.caller
        resolved = resolve(journey.snapshot, caller.view, ask, caller.purpose)
        journey.resolved = resolved
        return ask, resolved

    async def _seal_run(self, journey: Journey, door: Door, terms: Headers) -> Reply:
        ask, resolved = self._enter(journey, door, terms)
        root = check_root(journey)
        check_sealed(resolved)
        facts, commitment = reported_answer(ask)
        decide_for(self._desk.policy, journey, resolved)
        runs = self._desk.runs
        if runs is None:  # the plan has this operation, so there are runs
            raise NotFound("no runs are kept here")
        run = journey.run = OpenRun(root)
        facts |= {"agent": journey.operation, "span": root}
        journey.hop("tool", facts, journey.received_ms, commitment or UNSET)
        await runs.join(journey)
        body = msgspec.json.encode(sealed_run(journey, run))
        try:
            return await self._finish(journey, (200, "application/json", body), {}, terms)
        except IntegrityError:
            await runs.reopen(journey, root)
            raise

    async def _serve(
        self, journey: Journey, door: Door, answer: Whole, cache_key: bytes, terms: Headers
    ) -> Reply:
        desk, inbound = self._desk, answer.inbound
        settle(desk.admission, desk.prices, journey)
        if inbound.failure is not None:
            refusal = door.refuse(inbound.failure, f"urn:uuid:{journey.prov_id}", journey.ask)
            spelled = (refusal.status, refusal.media, refusal.body)
            return await self._finish(journey, spelled, {"code": inbound.failure.code}, terms)
        if cache_key and inbound.status == _CACHEABLE_STATUS:
            kept = _kept(journey, answer)
            desk.cache.put(cache_key, kept, journey.caller.view.tenant.cache_ttl_s)
        return await self._finish(journey, (inbound.status, inbound.media, inbound.body), {}, terms)

    async def _serve_cached(self, journey: Journey, cached: CachedAnswer, terms: Headers) -> Reply:
        journey.deployment = journey.snapshot.plan.deployments[cached.deployment]
        journey.model = cached.model
        return await self._finish(journey, (cached.status, cached.media, cached.body), {}, terms)

    async def _stream(self, journey: Journey, flowing: Flowing, terms: Headers) -> Reply:
        relay = Relay(journey, flowing, self._streams)
        try:
            opening = await relay.open()
        except BaseException:
            await relay.aclose()
            relay.note_hop(self._departure())
            raise
        headers = stream_reply_headers(journey) + terms
        return Reply(status=200, headers=headers, events=relay.blocks(opening))

    async def _refuse(
        self, journey: Journey, door: Door, error: VerismoError, terms: Headers
    ) -> Reply:
        """Seal and commit a refusal like any other answer."""
        settle(self._desk.admission, self._desk.prices, journey)
        if isinstance(error, MethodNotAllowed):
            terms.append((b"allow", b"POST"))  # only a GraphQL write by GET gets here
        refusal = door.refuse(error, f"urn:uuid:{journey.prov_id}", journey.ask)
        try:
            return await self._finish(
                journey,
                (refusal.status, refusal.media, refusal.body),
                {"code": error.code},
                terms + refusal_headers(error),
            )
        except IntegrityError as withheld:
            self._withdraw(journey, withheld)
            raise
        except asyncio.CancelledError:
            self._aside.spawn(self._record_end(journey, CLIENT_GONE, self._departure()))
            raise

    async def _finish(
        self,
        journey: Journey,
        answer: tuple[int, str, bytes],
        attrs: dict[str, str | int | bool],
        terms: Headers,
    ) -> Reply:
        """Steps 10 to 12 for a whole answer: seal, commit, reply."""
        desk = self._desk
        status, media, body = answer
        captured = desk.capture.of_body(journey, body)
        if journey.run is not None:
            await self._join(journey)
        stated = state_body(journey, status, media, body)
        sealed = desk.sealer.seal(journey, stated, attrs, captured)
        journey.is_sealed = True
        await self._commit(journey, sealed)
        desk.reporter.finished(journey, status, str(attrs.get("code", "")))
        reply = whole_reply(journey, sealed, status, media, body)
        reply.headers.extend(terms)
        return reply

    async def _join(self, journey: Journey) -> None:
        """Draw what an agent did into the graph of its answer; nothing for all other answers."""
        if self._desk.runs is not None:
            await self._desk.runs.join(journey)

    async def _commit(self, journey: Journey, sealed: Sealed) -> None:
        """Step 11, and then the run that this was part of knows it."""
        desk = self._desk
        is_told = journey.is_noted or journey.run is not None
        try:
            await commit_record(desk.journal, sealed, desk.telemetry)
        except asyncio.CancelledError:
            if is_told and desk.runs is not None:
                # The commit goes on. If it fails, the run finds no such record.
                self._aside.spawn(desk.runs.note(journey, sealed))
            raise
        if is_told and desk.runs is not None:
            await desk.runs.note(journey, sealed)

    async def _record_end(self, journey: Journey, status: int, end: str) -> None:
        """Leave the terminal record of a request that ended without an answer, and say why."""
        settle(self._desk.admission, self._desk.prices, journey)
        try:
            if journey.is_sealed:
                return  # its commit was already under way: that record is the terminal one
            with contextlib.suppress(RunSealed):  # it is not this one's then
                await self._join(journey)
            stated = state_body(journey, status, "", b"")
            sealed = self._desk.sealer.seal(journey, stated, {"end": end})
            await self._commit(journey, sealed)
        finally:
            self._desk.reporter.finished(journey, status, end)

    def _departure(self) -> str:
        """Say why a request is being cancelled."""
        return "gateway_stopped" if self._is_stopping else "client_gone"

    def _withdraw(self, journey: Journey, error: IntegrityError) -> None:
        """Give back what a journey holds; it has a record only if all but its run can be told."""
        self._desk.reporter.withheld(journey, error)
        if journey.run is not None and self._desk.runs is not None:
            self._desk.runs.leave(journey)
            if journey.run.is_open:
                journey.leave_run()
                self._aside.spawn(self._record_end(journey, error.status, error.code))
                return
        settle(self._desk.admission, self._desk.prices, journey)
        self._desk.reporter.finished(journey, error.status, error.code)

    def stop(self) -> None:
        """Note that the gateway is ending: who is cancelled from now on did not leave."""
        self._is_stopping = True

    async def drain(self) -> None:
        """Wait for the terminal records that are still being written."""
        await self._aside.drain()


def _check_nonce(journey: Journey) -> None:
    """Refuse a nonce that cannot be signed back: an answer without it would look like a replay."""
    if journey.nonce_refused:
        raise MalformedRequest("Attest-Nonce must be 1 to 86 characters of base64url")


def _kept(journey: Journey, answer: Whole) -> CachedAnswer:
    inbound = answer.inbound
    return CachedAnswer(
        status=inbound.status,
        media=inbound.media,
        body=inbound.body,
        provider=answer.deployment.provider,
        deployment=answer.deployment.id,
        model=journey.model,
        stored_ms=journey.request.received_ms,
    )
