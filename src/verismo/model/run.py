"""Runs: everything that one agent did for one answer, before it is joined into one graph.

A run has a root span. Calls through the gateway and hops that the agent reports stand in a trace
under it; what joins them is their parent spans, and where those are unknown a call's `tracestate`.
"""

import msgspec

from verismo.model.hop import Attribute, HopKind
from verismo.model.ids import ProvId

RUN_DEPTH_MAX = 16
"""Hops on the way from a reported hop to its run; deeper ones are refused."""
RUN_ENTRIES_MAX = 900
"""Nodes of one run's calls and hops together; the rest of a graph's 1,000 are the answer's own."""
RUN_BYTES_MAX = 524_288
"""Their octets; half of what a graph may have."""


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
        reason: `bad_time`, `cycle`, `forged_parent`, `over_limit`, `run_sealed`, `span_taken`,
            `too_deep` or `orphan`.
    """

    span_id: str
    reason: str


class Run(msgspec.Struct, frozen=True):
    """What is known of a trace when one of its runs is sealed; joining picks the run's own.

    Args:
        span_id: the run's root span.
        calls: sealed calls of the trace that no run has joined yet, as they were noted.
        hops: reported hops of the trace that no run has joined yet, as they were reported.
        others: root spans of the trace's other runs.
        refused: hops of this trace that were refused since the run began.
        omitted: calls of this trace that were not noted since the run began, over the limits.
    """

    span_id: str
    calls: tuple[NotedCall, ...]
    hops: tuple[ReportedHop, ...]
    others: tuple[str, ...] = ()
    refused: int = 0
    omitted: int = 0
