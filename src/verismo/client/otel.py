"""An OpenTelemetry span processor that reports an instrumented agent's spans to its run.

    provider.add_span_processor(RunSpanProcessor("https://gate.example", api_key))
    set_global_textmap(
        CompositePropagator([TraceContextTextMapPropagator(), RunSaltPropagator()])
    )

Only spans of runs are taken: those whose `tracestate` names one. Content attributes are digested
here and not sent; an exporter beside this one does as it is configured to. Needs opentelemetry-sdk,
which Verismo's client does not install.

Source: OpenTelemetry specification, SDK, span processors; GenAI conventions.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import httpx2

from verismo.attest.commitment import SALT_BYTES
from verismo.client.delivery import Delivery
from verismo.client.recorder import Recorder, here, octets_of
from verismo.client.runs import RunState
from verismo.client.spanreport import ToldSource, ToldSpan
from verismo.client.tracecontext import RUN_SALT, VENDOR, RunContext, read_salt
from verismo.model import semconv
from verismo.model.hop import Attribute

try:
    from opentelemetry import context as otel_context
    from opentelemetry import trace as otel_trace
    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import (
        CarrierT,
        Getter,
        Setter,
        TextMapPropagator,
        default_getter,
        default_setter,
    )
    from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor
    from opentelemetry.trace import SpanContext, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise ImportError(
        "verismo.client.otel needs OpenTelemetry: install opentelemetry-sdk"
    ) from error

TRACES_MAX = 1_024
"""Runs that may be open at once; the oldest is given up for another one."""
REST_S = 5.0
"""After a gateway that did not answer, for how long spans are given up without waiting for it."""

_SALT = otel_context.create_key("verismo-run-salt")


class RunSaltPropagator(TextMapPropagator):
    """Takes `attest-run-salt` from a request, so that commitments can be checked by its client.

    It goes nowhere else: the salt of a run is between the gateway, its agent and its client.
    """

    def extract(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        getter: Getter[CarrierT] = default_getter,
    ) -> Context:
        """Return the context with the salt that a request carries, if it carries one."""
        context = otel_context.get_current() if context is None else context
        values = getter.get(carrier, RUN_SALT) or [""]
        salt = read_salt(values[0])
        return otel_context.set_value(_SALT, salt, context) if salt else context

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        """Add nothing."""

    @property
    def fields(self) -> set[str]:
        """Headers that it sets: none."""
        return set()


@contextmanager
def traced(run: RunState) -> Iterator[None]:
    """Let OpenTelemetry spans stand under a run of the recorder while the block runs.

    Args:
        run: as `with run(...)` gives it; its salt is used.
    """
    headers = run.headers()
    token = otel_context.attach(TraceContextTextMapPropagator().extract(headers))
    try:
        yield
    finally:
        otel_context.detach(token)


class _Trace:
    """The spans of one run in this process."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.open: dict[int, Span] = {}
        self.linked: set[int] = set()
        self.roots = 0


class RunSpanProcessor(SpanProcessor):
    """Reports the spans of runs, digests in place of content. Safe for threads.

    Spans are sent when the outermost agent span ends, when the process's own root span does, and
    by `force_flush`. The thread that ends such a span waits for the gateway, at most
    `delivery.SEND_S_MAX` twice: what comes after the run's answer counts no more. In asyncio,
    `await asyncio.to_thread(processor.force_flush)` before answering leaves nothing to wait for.

    Args:
        gateway: its address without `/v1`.
        api_key: of the tenant whose runs they are.
        service: name of the agent.
        http_client: sends the reports; one that is given stays open.
        clock_s: a monotonic clock, seconds.
        traces_max: how many runs may be open at once.

    Raises:
        ConfigError: the address or the key cannot be used.
    """

    def __init__(
        self,
        gateway: str,
        api_key: str,
        service: str = "agent",
        http_client: httpx2.Client | None = None,
        clock_s: Callable[[], float] = time.monotonic,
        traces_max: int = TRACES_MAX,
    ) -> None:
        self._delivery = Delivery(gateway, api_key, http_client)
        self._service = service
        self._clock_s = clock_s
        self._traces_max = traces_max
        self._rests_until_s = 0.0
        self._traces: dict[int, _Trace] = {}
        self._lock = threading.Lock()
        self.lost = 0
        """Spans of runs that are over here and that the gateway did not get."""
        self.refused = 0
        """Spans of such runs that the gateway refused."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Take note of a span that begins, if it belongs to a run."""
        context = span.get_span_context()
        run_span = context.trace_state.get(VENDOR)
        if run_span is None:
            return
        evicted = None
        with self._lock:
            trace = self._traces.get(context.trace_id)
            if trace is None:
                if not _is_root(span):
                    return
                if len(self._traces) >= self._traces_max:
                    evicted = self._traces.pop(next(iter(self._traces)))
                trace = _Trace(self._recorder(span, run_span, parent_context))
                self._traces[context.trace_id] = trace
            trace.open[context.span_id] = span
            trace.roots += _is_root(span)
        if evicted is not None:
            self._close(evicted)

    def on_end(self, span: ReadableSpan) -> None:
        """Keep what a span says of its step, and send where the step was the last of its run."""
        context = span.get_span_context()
        trace = self._traces.get(context.trace_id) if context is not None else None
        if context is None or trace is None:
            return
        with self._lock:
            if trace.open.pop(context.span_id, None) is None:
                return
            trace.roots -= _is_root(span)
            is_over = not trace.roots
            if is_over:
                self._traces.pop(context.trace_id, None)
            is_linked = context.span_id in trace.linked
        if not is_linked:
            trace.recorder.keep(told_span(span, trace.recorder))
        if is_over:
            self._flush(trace)
            self._close(trace)
        elif _operation(span) in semconv.AGENT_OPERATIONS:
            above = _above(span, trace)
            if not any(_operation(one) in semconv.REPORTED_KINDS for one in above):
                self._link(trace, above)
                self._flush(trace)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send everything that has ended; a span still open is only a link to what is above it.

        Args:
            timeout_millis: not looked at; each run takes as long as `Delivery.send` may.

        Returns:
            Whether everything arrived.
        """
        with self._lock:
            traces = tuple(self._traces.values())
        for trace in traces:
            if trace.recorder.waiting:
                self._link(trace, list(trace.open.values()))
            self._flush(trace)
        return not any(trace.recorder.waiting for trace in traces)

    def shutdown(self) -> None:
        """Send everything, and give up what does not arrive."""
        self.force_flush()
        with self._lock:
            traces, self._traces = self._traces, {}
        for trace in traces.values():
            self._close(trace)
        self._delivery.close()

    def source(self, uri: str, content: object) -> str:
        """Note content that feeds the present span: its address, digest and length.

        Args:
            uri: where it is; it stands in the graph in clear.
            content: text, bytes, or anything that has JSON; stays here.

        Returns:
            The commitment, hex; empty outside any run.
        """
        span = otel_trace.get_current_span()
        trace = self._traces.get(span.get_span_context().trace_id)
        octets = octets_of(content)
        if trace is None or octets is None:
            return ""
        commit = trace.recorder.commit(octets)
        facts: dict[str, Attribute] = {
            semconv.VERISMO_SOURCE_URI: uri,
            semconv.VERISMO_SOURCE_COMMIT: commit,
            semconv.VERISMO_SOURCE_OCTETS: len(octets),
        }
        span.add_event(semconv.VERISMO_SOURCE, facts)
        return commit

    def _recorder(self, span: Span, run_span: str, parent_context: Context | None) -> Recorder:
        salt = otel_context.get_value(_SALT, parent_context)
        step = here()
        trace_id = f"{span.get_span_context().trace_id:032x}"
        if step is not None and step.recorder.context.trace_id == trace_id:
            salt = step.recorder.context.salt
        if not isinstance(salt, bytes):
            salt = secrets.token_bytes(SALT_BYTES)
        return Recorder(RunContext(trace_id, "", run_span, salt, ""), self._service, self._delivery)

    def _link(self, trace: _Trace, spans: list[Span]) -> None:
        """Say where open spans stand, so that what has ended under them is connected."""
        for span in spans:
            span_id = span.get_span_context().span_id
            if span_id not in trace.linked:
                trace.linked.add(span_id)
                trace.recorder.keep(link(span, trace.recorder))

    def _flush(self, trace: _Trace) -> None:
        if self._clock_s() < self._rests_until_s:
            return
        trace.recorder.flush()
        if trace.recorder.waiting:
            self._rests_until_s = self._clock_s() + REST_S

    def _close(self, trace: _Trace) -> None:
        trace.recorder.give_up()
        with self._lock:
            self.lost += trace.recorder.lost
            self.refused += trace.recorder.refused


def told_span(span: ReadableSpan, recorder: Recorder) -> ToldSpan:
    """Return what is told of a span: facts and digests if it is a step, else its place alone."""
    attributes = span.attributes or {}
    if _operation(span) not in semconv.REPORTED_KINDS:
        return link(span, recorder)
    facts: dict[str, Attribute] = {}
    for name in semconv.READ_OF_SPANS:
        value = attributes.get(name)
        if isinstance(value, str | int | bool):
            facts[name] = value
    produced = _content(attributes, semconv.CONTENT)
    if produced is not None and semconv.VERISMO_COMMIT not in facts:
        facts[semconv.VERISMO_COMMIT] = recorder.commit(produced)
        facts[semconv.VERISMO_OCTETS] = len(produced)
    asked = _content(attributes, semconv.ASKED)
    if asked is not None and semconv.VERISMO_ARGUMENTS_COMMIT not in facts:
        facts[semconv.VERISMO_ARGUMENTS_COMMIT] = recorder.commit(asked)
    sources = [_source(event) for event in span.events if event.name == semconv.VERISMO_SOURCE]
    place = link(span, recorder)
    return ToldSpan(
        trace_id=place.trace_id,
        span_id=place.span_id,
        parent_span=place.parent_span,
        name=_operation(span),
        started_ns=place.started_ns,
        ended_ns=place.ended_ns,
        attributes=facts,
        sources=sources,
        is_failed=span.status.status_code is StatusCode.ERROR,
    )


def link(span: ReadableSpan, recorder: Recorder) -> ToldSpan:
    """Return a span's place in its trace and nothing else of it; an open one ends now."""
    context: SpanContext | None = span.get_span_context()
    started_ns = span.start_time or 0
    return ToldSpan(
        trace_id=recorder.context.trace_id,
        span_id=f"{context.span_id:016x}" if context is not None else "",
        parent_span=f"{span.parent.span_id:016x}" if span.parent is not None else "",
        name="",
        started_ns=started_ns,
        ended_ns=span.end_time or max(started_ns, recorder.now_ns()),
        attributes={},
    )


def _operation(span: ReadableSpan) -> str:
    value = (span.attributes or {}).get(semconv.GEN_AI_OPERATION_NAME)
    return value if isinstance(value, str) else ""


def _is_root(span: ReadableSpan) -> bool:
    """Say whether a span is the first of its trace in this process."""
    return span.parent is None or span.parent.is_remote


def _above(span: ReadableSpan, trace: _Trace) -> list[Span]:
    """Return the open spans that a span stands under."""
    found: list[Span] = []
    parent = span.parent
    while parent is not None and parent.span_id in trace.open:
        found.append(trace.open[parent.span_id])
        parent = found[-1].parent
    return found


def _content(attributes: Mapping[str, object], names: tuple[str, ...]) -> bytes | None:
    """Return the octets of the first of these attributes that is there."""
    for name in names:
        if name in attributes:
            return octets_of(attributes[name])
    return None


def _source(event: Event) -> ToldSource:
    facts = event.attributes or {}
    octets = facts.get(semconv.VERISMO_SOURCE_OCTETS, 0)
    return ToldSource(
        uri=str(facts.get(semconv.VERISMO_SOURCE_URI, "")),
        commit=str(facts.get(semconv.VERISMO_SOURCE_COMMIT, "")),
        octets=octets if isinstance(octets, int) else 0,
    )
