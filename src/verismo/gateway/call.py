"""Step 8, call: one try at each deployment in turn until one answers; every try is a hop.

Another deployment is tried on connect errors, 429, 5xx and time-outs before the first byte
(decisions 22). Once the first byte of a stream is here, nothing is tried again.
"""

import asyncio
import time
from collections.abc import Mapping

import msgspec

from verismo.attest.commitment import commit
from verismo.gateway.ask import Ask
from verismo.gateway.choose import Breakers
from verismo.gateway.dialects.dialect import (
    Inbound,
    Outbound,
    ProviderDialect,
    StreamTranslator,
)
from verismo.gateway.dialects.graphql import GraphqlDialect
from verismo.gateway.journey import Journey, cut
from verismo.gateway.mcpanswer import read_stream
from verismo.gateway.mcpdialect import McpDialect
from verismo.gateway.mcperrand import answer_bytes_max, errand_of, may_have_run
from verismo.model.errors import (
    NoDeployment,
    ResultTooLarge,
    UpstreamBroken,
    UpstreamError,
    UpstreamTooLarge,
)
from verismo.model.hop import Attribute, HopKind
from verismo.model.ids import ProviderId
from verismo.model.limits import Limits
from verismo.model.operation import Deployment, Provider, ProviderKind
from verismo.ports.telemetry import Telemetry
from verismo.ports.upstream import Upstream, UpstreamCall, UpstreamReply

RETRYABLE_STATUSES = frozenset({408, 429, 500, 502, 503, 504, 529})
CREDENTIAL_STATUSES = frozenset({401, 403, 407})
_MEDIA_CHARS_MAX = 100


class Credentials:
    """The providers' credentials as ready-made headers. Never shown by `repr`.

    Args:
        headers: for each provider the header's name and value.
    """

    def __init__(self, headers: Mapping[ProviderId, tuple[str, str]]) -> None:
        self._headers = dict(headers)

    def header(self, provider: ProviderId) -> tuple[tuple[str, str], ...]:
        """Return the credential header of a provider, or nothing if it needs none."""
        pair = self._headers.get(provider)
        return (pair,) if pair is not None else ()

    def __repr__(self) -> str:
        return f"Credentials({', '.join(sorted(self._headers))})"


class Whole(msgspec.Struct, frozen=True):
    """A provider's whole answer.

    Args:
        deployment: who answered.
        inbound: the answer for the client.
        retry_after: seconds that the provider asks to wait, as text; empty if it does not.
    """

    deployment: Deployment
    inbound: Inbound
    retry_after: str = ""


class Flowing(msgspec.Struct, frozen=True):
    """A provider's answer whose events are still to come.

    Args:
        deployment: who answers.
        reply: the open exchange; whoever holds it closes it.
        translator: for its bytes.
        began_ms: when the try began, Unix ms.
        sent: commitment to what was sent, hex.
        attempt: number of the try, from 1.
        transforms: whether the dialect translates.
    """

    deployment: Deployment
    reply: UpstreamReply
    translator: StreamTranslator
    began_ms: int
    sent: str
    attempt: int
    transforms: bool


class _Try(msgspec.Struct, frozen=True):
    """One try: where it goes and what was said."""

    deployment: Deployment
    provider: Provider
    dialect: ProviderDialect
    outbound: Outbound
    sent: str
    began_ms: int
    attempt: int
    facts: dict[str, Attribute]


class Dispatcher:
    """Calls deployments for one worker.

    Args:
        upstream: the HTTP client.
        dialects: how each kind of provider is spoken to.
        credentials: the providers' keys.
        breakers: told how each try went.
        limits: response size.
        telemetry: counts tries.
    """

    def __init__(
        self,
        upstream: Upstream,
        dialects: Mapping[ProviderKind, ProviderDialect],
        credentials: Credentials,
        breakers: Breakers,
        limits: Limits,
        telemetry: Telemetry,
    ) -> None:
        self._upstream = upstream
        self._dialects = dialects
        self._credentials = credentials
        self._breakers = breakers
        self._limits = limits
        self._telemetry = telemetry

    async def call(
        self, journey: Journey, ask: Ask, document: str, ready: tuple[Deployment, ...]
    ) -> Whole | Flowing:
        """Try deployments in order and return the first answer.

        Args:
            journey: gets a hop for each try.
            ask: the client's call.
            document: for GraphQL the registered text.
            ready: deployments to try; at least one.

        Raises:
            UpstreamError: of the last try, when none answered.
            MalformedRequest: the provider cannot be asked what the client asks.
        """
        failure: UpstreamError | None = None
        refused: Whole | None = None
        for attempt, deployment in enumerate(ready, start=1):
            # Before the breaker is asked: a call that cannot be spelled must not be its probe.
            tried = self._prepare(journey, ask, document, deployment, attempt)
            if not self._breakers.of(deployment.id).admits(journey.now_ms()):
                journey.failed_at(deployment.id)
                continue
            journey.deployment, journey.model, journey.usage = deployment, "", None
            try:
                answer = await self._try(journey, ask, tried)
            except UpstreamError as error:
                if not error.retryable or may_have_run(ask, error):
                    raise
                failure = error
                continue
            if isinstance(answer, Flowing) or ask.runs_once:
                return answer
            if answer.inbound.status not in RETRYABLE_STATUSES:
                return answer
            refused = answer
        if refused is not None:
            # Nobody answered; the last provider that said why says more than an error of ours.
            journey.deployment = refused.deployment
            journey.model, journey.usage = refused.inbound.model, refused.inbound.usage
            return refused
        raise failure or NoDeployment("no deployment could be tried", retry_after_s=1)

    async def _try(self, journey: Journey, ask: Ask, tried: _Try) -> Whole | Flowing:
        """Make one try; its breaker, its hop and its counter know how it went."""
        deployment = tried.deployment
        is_judged = is_flowing = False
        flight = journey.flight = self._breakers.began(deployment.id)
        try:
            answer = await self._send(journey, ask, tried)
        except UpstreamTooLarge as error:
            # It answers, and the caller may have asked for that much: no reason to avoid it.
            is_judged = True
            self._note_success(deployment, error.code)
            _add_hop(journey, tried, {"error": error.code})
            raise
        except UpstreamError as error:
            is_judged, journey.is_owed = True, False
            self._note_failure(journey, deployment, error.code)
            _add_hop(journey, tried, {"error": error.code})
            raise
        except asyncio.CancelledError:
            _add_hop(journey, tried, {"error": "client_gone"})
            raise
        else:
            is_judged, is_flowing = True, isinstance(answer, Flowing)
            status = answer.inbound.status if isinstance(answer, Whole) else 200
            journey.is_owed = status < 400
            if status in RETRYABLE_STATUSES:
                self._note_failure(journey, deployment, f"status_{status}")
            else:
                self._note_success(deployment)
            return answer
        finally:
            if not is_judged:
                self._breakers.of(deployment.id).released()
            if not is_flowing:  # a stream is over once its last event is relayed
                flight.over()

    def _prepare(
        self, journey: Journey, ask: Ask, document: str, deployment: Deployment, attempt: int
    ) -> _Try:
        provider = journey.snapshot.plan.providers[deployment.provider]
        dialect = self._dialects[provider.kind]
        facts: dict[str, Attribute] = {}
        if isinstance(dialect, GraphqlDialect):
            dialect = dialect.with_document(document)
        elif isinstance(dialect, McpDialect) and ask.call is not None:
            dialect = dialect.on(errand_of(journey, ask.call))
            facts = {"server": provider.id, **dialect.facts}
        outbound = dialect.outbound(ask.kind, ask.body, deployment, ask.stream)
        return _Try(
            deployment=deployment,
            provider=provider,
            dialect=dialect,
            outbound=outbound,
            sent=commit("sent", journey.salt, outbound.body),
            began_ms=journey.now_ms(),
            attempt=attempt,
            facts=facts,
        )

    async def _send(self, journey: Journey, ask: Ask, tried: _Try) -> Whole | Flowing:
        began_ns = time.monotonic_ns()
        journey.is_owed = True
        try:
            reply = await self._upstream.send(self._spell(journey, tried))
            if journey.flight is not None:
                journey.flight.heard()
            if ask.stream and reply.status == 200 and _is_event_stream(reply):
                return Flowing(
                    deployment=tried.deployment,
                    reply=reply,
                    translator=tried.dialect.translator(ask.body),
                    began_ms=tried.began_ms,
                    sent=tried.sent,
                    attempt=tried.attempt,
                    transforms=tried.dialect.transforms,
                )
            try:
                is_stream = ask.call is not None and _is_event_stream(reply)
                body = await (read_stream(reply) if is_stream else reply.read())
            finally:
                await reply.aclose()
        except UpstreamTooLarge as error:
            if ask.call is None or isinstance(error, ResultTooLarge):
                raise
            raise ResultTooLarge("the MCP server's answer is over the limit") from error
        finally:
            journey.waited_ns += time.monotonic_ns() - began_ns
        return self._read(journey, ask, tried, reply, body)

    def _spell(self, journey: Journey, tried: _Try) -> UpstreamCall:
        outbound, provider = tried.outbound, tried.provider
        return UpstreamCall(
            method=outbound.method,
            url=provider.base_url + outbound.path,
            headers=(
                *outbound.headers,
                *self._credentials.header(provider.id),
                ("traceparent", journey.trace.traceparent(within_run=journey.run is not None)),
                *(() if journey.run is None else journey.run.headers),
            ),
            body=outbound.body,
            timeouts=provider.timeouts,
            response_bytes_max=answer_bytes_max(self._limits, provider),
        )

    def _read(
        self, journey: Journey, ask: Ask, tried: _Try, reply: UpstreamReply, body: bytes
    ) -> Whole:
        tried.facts["status"] = reply.status  # of an answer that is refused, too
        if reply.status in CREDENTIAL_STATUSES:
            raise UpstreamBroken(
                f"the provider of {tried.deployment.id} refused the gateway's credential "
                f"({reply.status})"
            )
        if reply.status < 200 or 300 <= reply.status < 400:
            raise UpstreamBroken(f"the provider answered {reply.status}, which is not followed")
        inbound = tried.dialect.inbound(
            ask.kind, reply.status, reply.header("content-type")[:_MEDIA_CHARS_MAX], body
        )
        received = commit("received", journey.salt, body)
        outcome = {"status": reply.status, **inbound.facts}
        _add_hop(journey, tried, outcome, received, inbound.model)
        if tried.dialect.transforms:
            add_transform(journey, tried.provider.kind)
        journey.model, journey.usage = inbound.model, inbound.usage
        retry_after = reply.header("retry-after")
        return Whole(
            deployment=tried.deployment,
            inbound=inbound,
            retry_after=retry_after if retry_after.isdecimal() and len(retry_after) < 7 else "",
        )

    def _note_success(self, deployment: Deployment, code: str = "ok") -> None:
        breaker = self._breakers.of(deployment.id)
        if breaker.is_open:
            self._telemetry.breaker(deployment.id, False)
        breaker.succeeded()
        self._telemetry.tried(deployment.id, code)

    def _note_failure(self, journey: Journey, deployment: Deployment, code: str) -> None:
        breaker = self._breakers.of(deployment.id)
        breaker.failed(journey.now_ms())
        journey.failed_at(deployment.id)
        if breaker.is_open:
            self._telemetry.breaker(deployment.id, True)
        self._telemetry.tried(deployment.id, code)


def add_stream_hop(
    journey: Journey, flowing: Flowing, received: str, outcome: dict[str, str | int | bool]
) -> None:
    """Add the hop of a streamed answer once its last byte is here.

    Args:
        journey: the request.
        flowing: the stream.
        received: commitment to the provider's bytes, hex.
        outcome: status, and the error's code if it was cut.
    """
    provider = journey.snapshot.plan.providers[flowing.deployment.provider]
    attrs = _attributes(flowing.deployment, provider, flowing.attempt, flowing.sent)
    attrs |= outcome
    if flowing.translator.model:
        attrs["answered_by"] = cut(flowing.translator.model)
    journey.hop(_hop_kind(journey), attrs, flowing.began_ms, received)
    if flowing.transforms:
        add_transform(journey, provider.kind)


def add_transform(journey: Journey, kind: str) -> None:
    """Show in the graph that bodies were translated between protocols."""
    now_ms = journey.now_ms()
    journey.hop("transform", {"from": kind, "to": "openai"}, now_ms)


def _add_hop(
    journey: Journey,
    tried: _Try,
    outcome: dict[str, str | int | bool],
    received: str = "",
    model: str = "",
) -> None:
    attrs = _attributes(tried.deployment, tried.provider, tried.attempt, tried.sent)
    attrs |= tried.facts | outcome
    if model:
        attrs["answered_by"] = cut(model)
    journey.hop(_hop_kind(journey), attrs, tried.began_ms, received or msgspec.UNSET)


def _hop_kind(journey: Journey) -> HopKind:
    """A model for chats and embeddings; whatever else answers, agents too, is a tool."""
    is_model = journey.kind in ("chat", "embedding") and journey.run is None
    return "model" if is_model else "tool"


def _attributes(
    deployment: Deployment, provider: Provider, attempt: int, sent: str
) -> dict[str, str | int | bool]:
    return {
        "deployment": deployment.id,
        "provider": provider.id,
        "region": deployment.region,
        "model": cut(deployment.model),
        "try": attempt,
        "sent": sent,
    }


def _is_event_stream(reply: UpstreamReply) -> bool:
    return reply.header("content-type").partition(";")[0].strip().lower() == "text/event-stream"
