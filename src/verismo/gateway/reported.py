"""What a reported span becomes: a hop of a run, or a mere link between two of them.

Spans with a `gen_ai.operation.name` that is known are hops. All others (HTTP servers, queues,
frameworks) are passed through: they become no node, and what stands under them belongs to their
parent. Facts are copied by name, so nothing that an agent adds can bring content into a graph.
"""

import re

from verismo.attest.provenance import ATTRIBUTE_CHARS_MAX
from verismo.model import semconv
from verismo.model.canonical import MAX_INTEGER, is_digest
from verismo.model.hop import Attribute
from verismo.model.run import RefusedReason, ReportedHop, ReportedSource, is_span_id
from verismo.ports.spans import ReceivedSpan

_is_trace_id = re.compile("(?!0{32})[0-9a-f]{32}").fullmatch
_NS_PER_MS = 1_000_000


class UnusableSpan(ValueError):
    """A span that cannot be a hop.

    Args:
        reason: `malformed`, `bad_time` or `orphan`.
    """

    def __init__(self, reason: RefusedReason) -> None:
        super().__init__(reason)
        self.reason = reason


def reported_hop(span: ReceivedSpan) -> ReportedHop:
    """Return the hop that a span reports.

    Args:
        span: as it was read; its trace id is checked too.

    Raises:
        UnusableSpan: an id is malformed, it has no parent, or its times go backwards.
    """
    if not _is_trace_id(span.trace_id) or not is_span_id(span.span_id):
        raise UnusableSpan("malformed")
    if not span.parent_span or span.parent_span == "0" * 16:
        raise UnusableSpan("orphan")
    if not is_span_id(span.parent_span):
        raise UnusableSpan("malformed")
    t0_ms, t1_ms = span.start_ns // _NS_PER_MS, span.end_ns // _NS_PER_MS
    if not 0 <= t0_ms <= t1_ms <= MAX_INTEGER:
        raise UnusableSpan("bad_time")
    kind = semconv.REPORTED_KINDS.get(str(span.attrs.get(semconv.GEN_AI_OPERATION_NAME, "")))
    if kind is None:
        return ReportedHop(
            span.span_id, span.parent_span, "transform", {}, t0_ms, t1_ms, passes=True
        )
    commit = span.attrs.get(semconv.VERISMO_COMMIT, "")
    return ReportedHop(
        span_id=span.span_id,
        parent_span=span.parent_span,
        kind=kind,
        attrs=_facts(span),
        t0_ms=t0_ms,
        t1_ms=t1_ms,
        commit=commit if isinstance(commit, str) and is_digest(commit) else "",
        sources=_sources(span),
    )


def _facts(span: ReceivedSpan) -> dict[str, Attribute]:
    facts: dict[str, Attribute] = {}
    for name, known in semconv.REPORTED_FACTS.items():
        value = span.attrs.get(name)
        if value is not None and known not in facts and _has_place(name, value):
            facts[known] = _cleaned(value)
    if span.is_failed:
        facts.setdefault("error", "failed")
    return facts


def _has_place(name: str, value: Attribute) -> bool:
    """Say whether a fact has the type that its name demands."""
    if name in semconv.REPORTED_COUNTS:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER
    if name == semconv.VERISMO_ARGUMENTS_COMMIT:
        return isinstance(value, str) and is_digest(value)
    return isinstance(value, str)


def _cleaned(value: Attribute) -> Attribute:
    """Cut a text to what a node may hold; a lone surrogate, which UTF-8 cannot spell, is a `?`."""
    if not isinstance(value, str):
        return value
    return value[:ATTRIBUTE_CHARS_MAX].encode("utf-8", "replace").decode("utf-8")


def _sources(span: ReceivedSpan) -> tuple[ReportedSource, ...]:
    """Return the sources that are named by address and digest; others say nothing provable."""
    found = []
    for facts in span.sources:
        uri = facts.get(semconv.VERISMO_SOURCE_URI, "")
        commit = facts.get(semconv.VERISMO_SOURCE_COMMIT, "")
        octets = facts.get(semconv.VERISMO_SOURCE_OCTETS, -1)
        if not isinstance(uri, str) or not isinstance(commit, str) or not is_digest(commit):
            continue
        if isinstance(octets, int) and not isinstance(octets, bool) and 0 <= octets <= MAX_INTEGER:
            found.append(ReportedSource(str(_cleaned(uri)), commit, octets))
    return tuple(found)
