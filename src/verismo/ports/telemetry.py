"""Telemetry: what the operators see. It never holds content, and it never decides anything."""

from typing import Protocol

import msgspec


class Hop(msgspec.Struct, frozen=True):
    """One timed hop of a request, as its provenance graph has it; becomes a span.

    Args:
        kind: the hop's kind in the graph: `policy`, `model`, `tool`, ...
        start_ns, end_ns: Unix nanoseconds.
        attributes: the node's facts, by their names in the graph; never content.
    """

    kind: str
    start_ns: int
    end_ns: int
    attributes: dict[str, str | int | bool]


class Answered(msgspec.Struct, frozen=True):
    """One finished request.

    Args:
        kind: `chat`, `embedding`, `graphql`, `http`, `mcp`, `agent`, `models`, or `unknown`.
        tenant: who asked; empty before identification.
        operation: which operation; `-` if none was resolved.
        deployment: which one answered; empty if none.
        status: HTTP status; 499 if the client left.
        code: stable error code; empty for an answer.
        cache: `off`, `miss`, `hit`.
        prov_id: for exemplars, never a label.
        trace_id: 32 hex digits, for exemplars.
        span_id: ours, 16 hex digits; the upstream was given it as parent.
        parent_id: the caller's span, 16 hex digits; empty without one.
        started_ms: when it was received, Unix ms.
        seconds: from the first byte in to the last byte handed out.
        first_byte_seconds: for streams until the first event; else equal to `seconds`.
        own_seconds: `seconds` less the time spent waiting for upstreams.
        input_tokens, output_tokens, cost_usd_micros: as counted; 0 if nothing was said.
        bundle: hex digest of the policy bundle that decided, empty if none did.
        hops: for traces; empty where the request is not sampled.
        run_calls, run_hops, run_refused: of an agent's answer, what was joined and what was not;
            -1 calls mean that it was no run.
    """

    kind: str
    tenant: str
    operation: str
    deployment: str
    status: int
    code: str
    cache: str
    prov_id: str
    trace_id: str
    span_id: str
    parent_id: str
    started_ms: int
    seconds: float
    first_byte_seconds: float
    own_seconds: float
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd_micros: int = 0
    bundle: str = ""
    hops: tuple[Hop, ...] = ()
    run_calls: int = -1
    run_hops: int = 0
    run_refused: int = 0


class SpanTelemetry(Protocol):
    """What came of the spans that agents report. No call may fail or wait."""

    def spans(self, outcome: str, count: int) -> None:
        """Count reported spans: `taken`, or the reason why they were refused."""
        ...


class RunTelemetry(Protocol):
    """How many agents are at work. No call may fail or wait."""

    def runs_open(self, count: int) -> None:
        """Show how many answers of agents are being worked on."""
        ...


class Telemetry(SpanTelemetry, RunTelemetry, Protocol):
    """Counters, histograms and traces. No call may fail or wait."""

    def answered(self, sample: Answered) -> None:
        """Count one finished request and export its trace if it has hops."""
        ...

    def tried(self, deployment: str, outcome: str) -> None:
        """Count one try at a deployment: `ok`, or the stable code of the error."""
        ...

    def failed_closed(self, reason: str) -> None:
        """Count an answer that was withheld: `seal`, `journal`, `open_stream` or `runs`."""
        ...

    def unidentified(self, code: str) -> None:
        """Count a request refused before identification, by stable code."""
        ...

    def breaker(self, deployment: str, is_open: bool) -> None:
        """Show the state of a deployment's circuit breaker."""
        ...

    def in_flight(self, count: int) -> None:
        """Show how many requests are being worked on."""
        ...

    def samples_trace(self, parent_sampled: bool | None) -> bool:
        """Say whether a new request is traced; None means that there is no parent."""
        ...
