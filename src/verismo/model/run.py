"""Runs: everything that one agent did for one answer, before it is joined into one graph.

A run has a root span. Calls through the gateway and hops that the agent reports stand in a trace
under it; what joins them is their parent spans, and where those are unknown a call's `tracestate`.
"""

from typing import Final, Literal

import msgspec

from verismo.model.canonical import MAX_INTEGER, is_digest
from verismo.model.hop import Attribute, HopKind
from verismo.model.ids import ProvId

REPORTED_KINDS: Final[frozenset[HopKind]] = frozenset(
    {"retrieval", "source", "tool", "model", "transform", "approval"}
)
"""What an agent may say that it did; the other kinds are the gateway's own words."""
REPORTED_ATTRIBUTES_MAX: Final = 24
"""Of the 32 that a node may have."""

RUN_DEPTH_MAX: Final = 16
"""Steps on the way from a reported hop to its run; deeper ones are refused."""
RUN_ENTRIES_MAX: Final = 900
"""Nodes of one run's calls and hops together; the rest of a graph's 1,000 are the answer's own."""
RUN_BYTES_MAX: Final = 524_288
"""Their octets; half of what a graph may have."""
_NODE_OCTETS: Final = 256
"""More than a node has besides what was reported for it, its mention as an input included."""

RefusedReason = Literal[
    "bad_time",
    "cycle",
    "forged_parent",
    "malformed",
    "orphan",
    "over_limit",
    "run_sealed",
    "span_taken",
    "too_deep",
]


class ReportedSource(msgspec.Struct, frozen=True):
    """Content that fed a reported hop, by its digest.

    Args:
        uri: where it is, for people.
        commit: salted commitment to it, hex.
        octets: its length.
        attrs: further facts; never content.
    """

    uri: str
    commit: str
    octets: int
    attrs: dict[str, Attribute] = {}


class ReportedHop(msgspec.Struct, frozen=True):
    """A step that an agent says it took; nothing but its own word stands for it.

    Args:
        span_id: 16 hex digits, not all zero; names it within its trace.
        parent_span: the step that it belongs to: another hop, or a run's root span.
        kind: what kind of step.
        attrs: facts about it; keys ASCII, never content.
        t0_ms, t1_ms: when it began and ended, Unix ms.
        commit: commitment to what it produced, salted with the run's salt, hex; or empty.
        sources: what fed it.
        passes: it is no step and becomes no node: what stands under it belongs to its parent.
    """

    span_id: str
    parent_span: str
    kind: HopKind
    attrs: dict[str, Attribute]
    t0_ms: int
    t1_ms: int
    commit: str = ""
    sources: tuple[ReportedSource, ...] = ()
    passes: bool = False


class BegunRun(msgspec.Struct, frozen=True):
    """A run whose agent is about to be called.

    Args:
        span_id: its root span: the gateway's own, which the agent is given as parent.
        parent_span: who called it, empty if unknown; its siblings are no part of it.
        run_span: the run that the caller's `tracestate` names, or empty.
        at_ms: Unix ms.
        prov_id: the answer that seals it; empty if it is nobody's yet.
    """

    span_id: str
    parent_span: str
    run_span: str
    at_ms: int
    prov_id: ProvId = ProvId("")


class NotedCall(msgspec.Struct, frozen=True):
    """A sealed call through the gateway that stands in a trace.

    Args:
        span_id: the gateway's own span, 16 hex digits.
        parent_span: the span that made the call.
        run_span: the run that the caller's `tracestate` names, or empty.
        prov_id: its answer; the graph is read back from the journal.
        t0_ms, t1_ms: when it began and was sealed, Unix ms.
        nodes: nodes of its graph.
        octets: length of its graph.
    """

    span_id: str
    parent_span: str
    run_span: str
    prov_id: ProvId
    t0_ms: int
    t1_ms: int
    nodes: int = 0
    octets: int = 0


class Refused(msgspec.Struct, frozen=True):
    """A reported hop that does not join, and why.

    Args:
        span_id: which.
        reason: stable code.
    """

    span_id: str
    reason: RefusedReason


class Run(msgspec.Struct, frozen=True):
    """What is known of a trace when one of its runs is sealed; joining picks the run's own.

    Args:
        span_id: the run's root span.
        calls: sealed calls of the trace that no run has joined yet, as they were noted.
        hops: reported hops of the trace that no run has joined yet, as they were reported.
        others: root spans of the trace's other runs, sealed ones included.
        shared: whether one of the others is still open, so that what leads nowhere may be its.
        refused: hops of this trace that were refused since the run began.
        omitted: calls of this trace that were not noted since the run began, over the limits.
    """

    span_id: str
    calls: tuple[NotedCall, ...]
    hops: tuple[ReportedHop, ...]
    others: tuple[str, ...] = ()
    shared: bool = False
    refused: int = 0
    omitted: int = 0


def flaw_of(hop: ReportedHop) -> RefusedReason | None:
    """Say why a hop cannot become nodes of a graph whatever stands around it, None if it can.

    Args:
        hop: as reported; any values.
    """
    if not 0 <= hop.t0_ms <= hop.t1_ms <= MAX_INTEGER:
        return "bad_time"
    is_sound = (
        hop.kind in REPORTED_KINDS
        and is_span_id(hop.span_id)
        and is_span_id(hop.parent_span)
        and (not hop.commit or is_digest(hop.commit))
        and _are_facts(hop.attrs)
        and all(_is_source(source) for source in hop.sources)
    )
    return None if is_sound else "malformed"


def is_span_id(text: str) -> bool:
    """Say whether a text is a span id: 16 lower-case hex digits, not all zero (Trace Context)."""
    return len(text) == 16 and _HEX.issuperset(text) and text != "0" * 16


def hop_nodes(hop: ReportedHop) -> int:
    """Return how many nodes a hop becomes."""
    return len(hop.sources) + (0 if hop.passes else 1)


def hop_octets(hop: ReportedHop) -> int:
    """Return a bound on the octets of a sound hop's nodes."""
    return len(msgspec.json.encode(hop)) + _NODE_OCTETS * (1 + len(hop.sources))


_HEX: Final = frozenset("0123456789abcdef")


def _is_source(source: ReportedSource) -> bool:
    return (
        is_digest(source.commit)
        and 0 <= source.octets <= MAX_INTEGER
        and _is_text(source.uri)
        and _are_facts(source.attrs)
    )


def _are_facts(attrs: dict[str, Attribute]) -> bool:
    return len(attrs) <= REPORTED_ATTRIBUTES_MAX and all(
        name.isascii() and _is_fact(value) for name, value in attrs.items()
    )


def _is_fact(value: Attribute) -> bool:
    return _is_text(value) if isinstance(value, str) else -MAX_INTEGER <= value <= MAX_INTEGER


def _is_text(text: str) -> bool:
    """Lone surrogates have no octets, so a graph cannot hold them."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)
