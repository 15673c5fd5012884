"""The request path: the twelve steps in their order, and the only place that knows it.

1 receive (`app`), 2 identify, 3 resolve, 4 decide, 5 admit, 6 look up, 7 choose, 8 call, 9 settle,
10 seal, 11 commit, 12 reply. Whatever goes wrong after step 2 still runs through 10-12, so that
each identified request leaves exactly one terminal record. If 10 or 11 fails, nothing is served.
"""

import asyncio
import re
import time
from collections.abc import Coroutine

import msgspec

from verismo.gateway.admit import Admission
from verismo.gateway.call import Dispatcher, Flowing, Whole
from verismo.gateway.capture import Capture
from verismo.gateway.choose import Breakers, choose
from verismo.gateway.commit import commit_record
from verismo.gateway.decide import Decided, Denied, decide
from verismo.gateway.doors import Door
from verismo.gateway.identify import identify
from verismo.gateway.journey import Journey
from verismo.gateway.listing import list_models
from verismo.gateway.lookup import look_up
from verismo.gateway.observe import Observer
from verismo.gateway.relay import Relay, StreamDesk
from verismo.gateway.reply import (
    Headers,
    refusal_headers,
    stream_reply_headers,
    whole_reply,
)
from verismo.gateway.report import Reporter
from verismo.gateway.resolve import Resolved, resolve
from verismo.gateway.seal import Sealer, state_body
from verismo.gateway.settle import settle
from verismo.gateway.snapshot import SnapshotCell
from verismo.model.errors import (
    IntegrityError,
    MalformedRequest,
    MethodNotAllowed,
    VerismoError,
)
from verismo.model.limits import Limits
from verismo.model.traffic import Reply, Request
from verismo.ports.cache import AnswerCache, CachedAnswer
from verismo.ports.journal import Journal
from verismo.ports.policy import PolicyEngine
from verismo.ports.prices import Prices
from verismo.ports.telemetry import Telemetry

CLIENT_GONE = 499
"""Not a status that is ever sent: it marks the record of a request whose client left."""

_CACHEABLE_STATUS = 200
_GRAPHQL_NOISE = re.compile(r'"""(?:[^\\]|\\.)*?"""|"(?:[^"\\\n]|\\.)*"|#[^\n\r]*', re.DOTALL)
_GRAPHQL_WRITES = re.compile(r"\b(?:mutation|subscription)\b")


class Desk(msgspec.Struct, frozen=True):
    """Everything that the request path of one worker works with.

    Args:
        snapshot: the configuration and keys in force.
        sealer: signs answers.
        journal: makes them durable.
        policy: decides.
        admission: rates and budgets.
        cache: exact answers.
        breakers: state of the deployments.
        dispatcher: calls them.
        prices: for costs.
        capture: encrypts content for tenants that want it kept.
        observer: counts what observe mode lets through.
        reporter: tells telemetry how each request ended.
        telemetry: counters.
        limits: named limits.
    """

    snapshot: SnapshotCell
    sealer: Sealer
    journal: Journal
    policy: PolicyEngine
    admission: Admission
    cache: AnswerCache
    breakers: Breakers
    dispatcher: Dispatcher
    prices: Prices
    capture: Capture
    observer: Observer
    reporter: Reporter
    telemetry: Telemetry
    limits: Limits


class Pipeline:
    """Answers requests; one for each worker.

    Args:
        desk: what it works with.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._aside: set[asyncio.Task[None]] = set()
        self._streams = StreamDesk(
            sealer=desk.sealer,
            journal=desk.journal,
            telemetry=desk.telemetry,
            limits=desk.limits,
            settled=lambda journey: settle(desk.admission, desk.prices, journey),
            captured=desk.capture.of_stream,
            finished=desk.reporter.finished,
            spawn=self._spawn,
        )

    async def handle(self, request: Request, door: Door) -> Reply:
        """Answer one request.

        Args:
            request: received whole (step 1).
            door: the client protocol it came through.

        Returns:
            A signed and durable answer or refusal.

        Raises:
            Unauthenticated: before identification; to be answered unsigned and counted.
            IntegrityError: nothing may be served; to be answered by an unsigned 503.
        """
        desk = self._desk
        snapshot = desk.snapshot.current
        caller = identify(snapshot, request)
        journey = Journey(request, caller, snapshot, door.kind, desk.telemetry)
        terms: Headers = []
        try:
            return await self._answer(journey, door, terms)
        except IntegrityError as error:
            self._withdraw(journey, 503, error.code)
            raise
        except VerismoError as error:
            return await self._refuse(journey, door, error, terms)
        except asyncio.CancelledError:
            self._spawn(self._record_departure(journey))
            raise

    async def list_models(self, request: Request, door: Door) -> Reply:
        """Answer `GET /v1/models`, signed like everything else; raises as `handle` does."""
        desk = self._desk
        snapshot = desk.snapshot.current
        caller = identify(snapshot, request)
        journey = Journey(request, caller, snapshot, "models", desk.telemetry)
        terms: Headers = []
        try:
            desk.admission.check_rate(journey, terms)
            body = list_models(desk.policy, snapshot, caller)
            return await self._finish(journey, (200, "application/json", body), {}, terms)
        except IntegrityError as error:
            self._withdraw(journey, 503, error.code)
            raise
        except VerismoError as error:
            return await self._refuse(journey, door, error, terms)
        except asyncio.CancelledError:
            self._spawn(self._record_departure(journey))
            raise

    async def _answer(self, journey: Journey, door: Door, terms: Headers) -> Reply:
        desk, request = self._desk, journey.request
        if journey.nonce_refused:
            raise MalformedRequest("Attest-Nonce must be 1 to 86 characters of base64url")
        ask = journey.ask = door.ask(request)
        view = journey.caller.view
        resolved = resolve(journey.snapshot, view, ask, journey.caller.purpose)
        journey.resolved = resolved
        if ask.kind == "graphql":
            journey.doc = ask.name
            _refuse_write_by_get(request, resolved)
        decided = self._decide(journey, resolved)
        desk.admission.check_rate(journey, terms)
        cache_key, cached = look_up(desk.cache, journey)
        if cached is not None:
            return await self._serve_cached(journey, cached, terms)
        desk.admission.reserve(journey, decided.allowed)
        ready = choose(desk.breakers, journey, decided.allowed)
        if not resolved.registered:
            desk.observer.note(journey)
        answer = await desk.dispatcher.call(journey, ask, resolved.operation.document, ready)
        if isinstance(answer, Flowing):
            return await self._stream(journey, answer, terms)
        return await self._serve(journey, answer, cache_key, terms)

    def _decide(self, journey: Journey, resolved: Resolved) -> Decided:
        """Step 4, with the policy's hop whichever way it goes."""
        began = journey.now_ms()
        try:
            decided = decide(self._desk.policy, journey.snapshot, journey.caller, resolved)
        except Denied as error:
            journey.bundle, journey.decision = error.verdict.bundle, "deny"
            attrs: dict[str, str | int | bool] = {
                "bundle": error.verdict.bundle,
                "decision": "deny",
                "reasons": " ".join(error.reasons),
            }
            journey.hop("policy", attrs, began)
            raise
        journey.bundle, journey.decision = decided.verdict.bundle, "allow"
        journey.hop(
            "policy",
            {
                "bundle": decided.verdict.bundle,
                "decision": "allow",
                "asked": journey.asked,
                "operation": journey.operation,
                "registered": resolved.registered,
                "purpose": journey.caller.purpose,
            },
            began,
        )
        return decided

    async def _serve(
        self, journey: Journey, answer: Whole, cache_key: bytes, terms: Headers
    ) -> Reply:
        desk, inbound = self._desk, answer.inbound
        settle(desk.admission, desk.prices, journey)
        if cache_key and inbound.status == _CACHEABLE_STATUS:
            kept = CachedAnswer(
                status=inbound.status,
                media=inbound.media,
                body=inbound.body,
                provider=answer.deployment.provider,
                deployment=answer.deployment.id,
                model=journey.model,
                stored_ms=journey.request.received_ms,
            )
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
            await flowing.reply.aclose()
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
            self._withdraw(journey, 503, withheld.code)
            raise
        except asyncio.CancelledError:
            self._withdraw(journey, CLIENT_GONE, "client_gone")
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
        sealed = desk.sealer.seal(
            journey, state_body(journey, status, media, body), attrs, captured
        )
        journey.is_sealed = True
        await commit_record(desk.journal, sealed, desk.telemetry)
        desk.reporter.finished(journey, status, str(attrs.get("code", "")))
        reply = whole_reply(journey, sealed, status, media, body)
        reply.headers.extend(terms)
        return reply

    async def _record_departure(self, journey: Journey) -> None:
        """Leave the terminal record of a request whose client left before its answer."""
        settle(self._desk.admission, self._desk.prices, journey)
        if journey.is_sealed:
            # Sealed, and its commit was already under way: that record is the terminal one.
            self._desk.reporter.finished(journey, CLIENT_GONE, "client_gone")
            return
        attrs: dict[str, str | int | bool] = {"end": "client_gone"}
        try:
            sealed = self._desk.sealer.seal(
                journey, state_body(journey, CLIENT_GONE, "", b""), attrs
            )
            await commit_record(self._desk.journal, sealed, self._desk.telemetry)
        finally:
            self._desk.reporter.finished(journey, CLIENT_GONE, "client_gone")

    def _withdraw(self, journey: Journey, status: int, code: str) -> None:
        """Give back what a journey holds when no record of it could be made."""
        settle(self._desk.admission, self._desk.prices, journey)
        self._desk.reporter.finished(journey, status, code)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run something to its end although the request that began it is cancelled."""
        task = asyncio.create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._set_aside)

    def _set_aside(self, task: asyncio.Task[None]) -> None:
        self._aside.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # The failure was counted where it arose; nobody is left to be told.
            self._desk.reporter.lost(type(task.exception()).__name__)

    async def drain(self) -> None:
        """Wait for the terminal records that are still being written."""
        while self._aside:
            await asyncio.wait(self._aside)


def recover(sealer: Sealer, journal: Journal) -> list[Coroutine[None, None, None]]:
    """Return the appends that close the streams which were open when the process died.

    The same sealing as in the normal path; run them before the first request.
    """
    now_ms = time.time_ns() // 1_000_000
    return [journal.append(sealer.seal_lost(stream, now_ms)) for stream in journal.lost_streams()]


def _refuse_write_by_get(request: Request, resolved: Resolved) -> None:
    """A GET must not write (GraphQL over HTTP): mutations by GET are a 405."""
    if request.method != "GET":
        return
    operation = resolved.operation
    writes = operation.document_type in ("mutation", "subscription") or (
        not operation.document_type
        and _GRAPHQL_WRITES.search(_GRAPHQL_NOISE.sub(" ", operation.document)) is not None
    )
    if writes:
        raise MethodNotAllowed("a mutation or subscription needs POST")
