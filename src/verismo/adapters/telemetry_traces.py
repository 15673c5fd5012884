"""Finished requests as OpenTelemetry spans, sent to an OTLP/HTTP collector.

The journey has already timed everything, so spans are built whole, after the answer is out: no
tracer, no context, nothing on the request path while it runs. A thread of the SDK sends them;
where the collector is slow or away the queue drops the oldest, and requests notice nothing.

Besides the endpoint the exporter obeys the standard OTEL_EXPORTER_OTLP_* variables for headers,
certificates and compression, and OTEL_RESOURCE_ATTRIBUTES.

Source: OpenTelemetry specification, traces and OTLP; names in `verismo.model.semconv`.
"""

import threading
from collections.abc import Iterator
from random import Random

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from verismo import __version__
from verismo.model import semconv
from verismo.ports.telemetry import Answered, Hop

QUEUE_SPANS_MAX = 8_192
BATCH_SPANS_MAX = 512
SEND_EVERY_MS = 1_000
EXPORT_S = 5
"""How long one batch may take, its retries included."""
CLOSE_S = 5.0
"""How long `close` may take: a drain must not wait for a collector that is away."""

_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_TOOL_CALL = "tools/call"
"""The method of MCP that runs a tool."""
_POINTS = frozenset({"request", "response"})
"""Hops that are the request itself: the root span shows them."""

_Value = str | int | bool


class OtlpTraces:
    """Builds and sends spans; one for each worker.

    Args:
        endpoint: base URL of the collector; `/v1/traces` is added.
        worker: the slot; becomes `service.instance.id`.
        random: gives span ids.
        send_every_ms: how long spans may wait for company.
    """

    def __init__(
        self, endpoint: str, worker: str, random: Random, send_every_ms: int = SEND_EVERY_MS
    ) -> None:
        self._random = random
        self._resource = Resource.create(
            {
                semconv.SERVICE_NAME: "verismo",
                semconv.SERVICE_VERSION: __version__,
                semconv.SERVICE_INSTANCE_ID: worker,
            }
        )
        self._scope = InstrumentationScope(semconv.SCOPE, __version__, semconv.SCHEMA_URL)
        self._exporter = OTLPSpanExporter(
            endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S
        )
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=QUEUE_SPANS_MAX,
            schedule_delay_millis=send_every_ms,
            max_export_batch_size=BATCH_SPANS_MAX,
        )

    def export(self, sample: Answered) -> None:
        """Queue a request's spans; the oldest ones go where the queue is full."""
        for span in self._spans(sample):
            self._processor.on_end(span)

    def close(self) -> None:
        """Send what is queued, but let go of a collector that is away."""
        limit = threading.Timer(CLOSE_S, self._exporter.shutdown)
        limit.start()
        try:
            self._processor.shutdown()  # type: ignore[no-untyped-call]
        finally:
            limit.cancel()

    def _spans(self, sample: Answered) -> Iterator[ReadableSpan]:
        trace_id = int(sample.trace_id, 16)
        root = SpanContext(trace_id, int(sample.span_id, 16), is_remote=False, trace_flags=_SAMPLED)
        started_ns = sample.started_ms * _NS_PER_MS
        parent = None
        if sample.parent_id:
            parent = SpanContext(
                trace_id, int(sample.parent_id, 16), is_remote=True, trace_flags=_SAMPLED
            )
        yield ReadableSpan(
            name=f"{sample.kind} {sample.operation}",
            context=root,
            parent=parent,
            resource=self._resource,
            attributes=_root_attributes(sample),
            kind=SpanKind.SERVER,
            # The caller's mistakes are not the server's errors (HTTP conventions).
            status=Status(StatusCode.ERROR if sample.status >= 500 else StatusCode.UNSET),
            start_time=started_ns,
            end_time=started_ns + round(sample.seconds * _NS_PER_S),
            instrumentation_scope=self._scope,
        )
        answering = _answering_hop(sample.hops)
        for hop in sample.hops:
            if hop.kind not in _POINTS:
                yield self._hop_span(sample, hop, root, hop is answering)

    def _hop_span(
        self, sample: Answered, hop: Hop, root: SpanContext, answered: bool
    ) -> ReadableSpan:
        attributes = _hop_attributes(hop)
        operation = semconv.gen_ai_operation(sample.kind)
        name, kind = hop.kind, SpanKind.INTERNAL
        if hop.kind == "model" and operation:
            name, kind = f"{operation} {hop.attributes.get('model', '')}".rstrip(), SpanKind.CLIENT
            attributes |= _gen_ai_attributes(operation, hop)
            if answered:
                attributes[semconv.GEN_AI_USAGE_INPUT_TOKENS] = sample.input_tokens
                attributes[semconv.GEN_AI_USAGE_OUTPUT_TOKENS] = sample.output_tokens
        elif hop.attributes.get("method") == _TOOL_CALL and "deployment" in hop.attributes:
            tool = hop.attributes.get("tool", "")
            name, kind = f"{semconv.OPERATION_EXECUTE_TOOL} {tool}", SpanKind.CLIENT
            attributes[semconv.GEN_AI_OPERATION_NAME] = semconv.OPERATION_EXECUTE_TOOL
            attributes[semconv.GEN_AI_TOOL_NAME] = tool
        elif "deployment" in hop.attributes:
            name, kind = f"{sample.kind} {hop.attributes['deployment']}", SpanKind.CLIENT
        failure = _failure(hop)
        if failure:
            attributes[semconv.ERROR_TYPE] = failure
        return ReadableSpan(
            name=name,
            context=SpanContext(
                root.trace_id,
                self._random.getrandbits(64) or 1,
                is_remote=False,
                trace_flags=_SAMPLED,
            ),
            parent=root,
            resource=self._resource,
            attributes=attributes,
            kind=kind,
            status=Status(StatusCode.ERROR if failure else StatusCode.UNSET),
            start_time=hop.start_ns,
            end_time=hop.end_ns,
            instrumentation_scope=self._scope,
        )


def _root_attributes(sample: Answered) -> dict[str, _Value]:
    attributes: dict[str, _Value] = {
        semconv.HTTP_RESPONSE_STATUS_CODE: sample.status,
        semconv.VERISMO_PROV_ID: sample.prov_id,
        semconv.VERISMO_TENANT: sample.tenant,
        semconv.VERISMO_OPERATION: sample.operation,
        semconv.VERISMO_CACHE: sample.cache,
        semconv.VERISMO_COST_USD_MICROS: sample.cost_usd_micros,
    }
    if sample.deployment:
        attributes[semconv.VERISMO_DEPLOYMENT] = sample.deployment
    if sample.bundle:
        attributes[semconv.VERISMO_POLICY_REVISION] = sample.bundle
    if sample.code:
        attributes[semconv.ERROR_TYPE] = sample.code
    return attributes


def _hop_attributes(hop: Hop) -> dict[str, _Value]:
    return {semconv.VERISMO + name: value for name, value in hop.attributes.items()}


def _gen_ai_attributes(operation: str, hop: Hop) -> dict[str, _Value]:
    """The conventions' names; the provider's is the one that the configuration gives it."""
    facts = hop.attributes
    attributes: dict[str, _Value] = {
        semconv.GEN_AI_OPERATION_NAME: operation,
        semconv.GEN_AI_PROVIDER_NAME: facts.get("provider", ""),
        semconv.GEN_AI_REQUEST_MODEL: facts.get("model", ""),
    }
    if "answered_by" in facts:
        attributes[semconv.GEN_AI_RESPONSE_MODEL] = facts["answered_by"]
    if "status" in facts:
        attributes[semconv.HTTP_RESPONSE_STATUS_CODE] = facts["status"]
    return attributes


def _failure(hop: Hop) -> str:
    """Return why a hop failed, empty if it did not."""
    error, status = hop.attributes.get("error"), hop.attributes.get("status")
    if error is not None:
        return str(error)
    return str(status) if isinstance(status, int) and status >= 400 else ""


def _answering_hop(hops: tuple[Hop, ...]) -> Hop | None:
    """Return the last try at a model that did not fail: its tokens are the request's."""
    for hop in reversed(hops):
        if hop.kind == "model" and not _failure(hop):
            return hop
    return None
