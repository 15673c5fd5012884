"""Joining: from what is known of a trace to the nodes of one run in its answer's graph.

`select` decides what belongs to the run, `join` draws it. Both are pure, and the order in which
things were noted changes nothing, save that of two with one span id the first counts.

A call's own graph is embedded node for node. A reported hop becomes a node that says so; its inputs
are what stands under it, or the node before the agent where nothing does.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import UNSET

from verismo.attest.lineage import Selection
from verismo.attest.provenance import NODES_MAX, PARENTS_MAX, GraphBuilder, root_of, split_graph
from verismo.model.hop import Attribute
from verismo.model.ids import ProvId
from verismo.model.run import (
    RUN_BYTES_MAX,
    RUN_ENTRIES_MAX,
    NotedCall,
    Refused,
    ReportedHop,
    ReportedSource,
    hop_nodes,
    hop_octets,
)

OWN_NODES_MAX = 64
"""Kept for what a run's nodes are gathered by and the response."""
REFERENCE_OCTETS = 512
"""More than a node has that only names a call."""


class Joined(msgspec.Struct, frozen=True):
    """A run as it was drawn.

    Args:
        graph: the answer's graph with the run's nodes at its end.
        tops: ids of the nodes that the agent's own hop takes besides the one before it, at most 63.
        spans: every span that this run took.
        calls, hops: how many of them were drawn.
        refused: hops that were not, and why.
        referenced: calls that are named and not embedded.
        omitted: calls that are not there at all.
        ids: of the run's nodes.
    """

    graph: GraphBuilder
    tops: tuple[str, ...]
    spans: tuple[str, ...]
    calls: int
    hops: int
    refused: tuple[Refused, ...]
    referenced: int
    omitted: int
    ids: frozenset[str]


class _Drawn(msgspec.Struct, frozen=True, order=True):
    """A node that something may take as its input; sorted by its times."""

    t0: int
    t1: int
    key: str
    id: str


class _Room(msgspec.Struct):
    """What of the limits is left."""

    nodes: int
    octets: int

    def take(self, nodes: int, octets: int) -> bool:
        """Take as much, or nothing if it is not there."""
        if nodes > self.nodes or octets > self.octets:
            return False
        self.nodes -= nodes
        self.octets -= octets
        return True


def join(
    before: GraphBuilder,
    last: str,
    selection: Selection,
    graphs: Mapping[ProvId, bytes],
    held: int = 0,
) -> Joined:
    """Draw a run after the nodes that its answer has so far; never fails for its size.

    Hops go before calls where room is short: a call that is only named is still bound by its root,
    a hop that is left out is lost.

    Args:
        before: the answer's graph up to the call of the agent; left as it is.
        last: id of its last node.
        selection: what belongs to the run.
        graphs: of its calls, as they were signed; a call without one is omitted.
        held: how many nodes the answer adds afterwards, besides its response.

    Raises:
        GraphRefused: the graph of a call cannot be read, or `before` is nearly full.
    """
    drawing = _Drawing(before, last, selection, held)
    calls = [call for call in selection.calls if call.prov_id in graphs][: drawing.room.nodes]
    spared = _Room(len(calls), len(calls) * REFERENCE_OCTETS)
    drawing.room.take(spared.nodes, spared.octets)
    hops = drawing.admit(selection.hops)
    for call in calls:
        # What was kept for naming it is its own now.
        drawing.room.nodes += 1
        drawing.room.octets += REFERENCE_OCTETS
        drawing.draw_call(call, graphs[call.prov_id])
    for hop in reversed(hops):
        drawing.draw_hop(hop)
    tops = drawing.gathered(sorted(drawing.under[selection.span_id]), PARENTS_MAX - 1)
    return Joined(
        graph=drawing.graph,
        tops=tops,
        spans=tuple(sorted(selection.parents)),
        calls=len(calls),
        hops=sum(not hop.passes for hop in hops),
        refused=selection.refused + tuple(drawing.refused),
        referenced=drawing.referenced,
        omitted=len(selection.calls) - len(calls),
        ids=drawing.graph.ids - before.ids,
    )


class _Drawing:
    """A graph to which a run is being added, from the leaves to its root span."""

    def __init__(self, before: GraphBuilder, last: str, selection: Selection, held: int) -> None:
        self.graph = before.fork()
        left = NODES_MAX - OWN_NODES_MAX - len(before) - held
        self.room = _Room(max(0, min(RUN_ENTRIES_MAX, left)), RUN_BYTES_MAX)
        self.refused: list[Refused] = []
        self.referenced = 0
        self.under: dict[str, list[_Drawn]] = {selection.span_id: []}
        self._last = last
        self._top = selection.span_id
        self._parents = selection.parents

    def admit(self, hops: Sequence[ReportedHop]) -> list[ReportedHop]:
        """Return the hops that there is room for; parents come first, so none loses its own."""
        admitted: list[ReportedHop] = []
        for hop in hops:
            is_above = self._parents[hop.span_id] in self.under
            if is_above and self.room.take(hop_nodes(hop), hop_octets(hop)):
                self.under[hop.span_id] = []
                admitted.append(hop)
            else:
                self.refused.append(Refused(hop.span_id, "over_limit"))
        return admitted

    def draw_call(self, call: NotedCall, document: bytes) -> None:
        """Embed a call, or name it where there is no room."""
        nodes = split_graph(document)
        span = (call.t0_ms, max(call.t0_ms, call.t1_ms))
        if self.room.take(len(nodes), len(document)):
            root = self.graph.embed(nodes)
        else:
            self.room.take(1, REFERENCE_OCTETS)
            self.referenced += 1
            facts: dict[str, Attribute] = {
                "prov_id": call.prov_id,
                "root": root_of(nodes),
                "nodes": len(nodes),
                "referenced": True,
            }
            root = self.graph.add("tool", (self._last,), facts, span)
        self._take(call.span_id, _Drawn(*span, call.span_id, root))

    def draw_hop(self, hop: ReportedHop) -> None:
        """Add a hop over what stands under it; what only passes hands that on."""
        below = self.under.pop(hop.span_id)
        sources = [self._draw_source(hop, source) for source in hop.sources]
        if hop.passes:
            self._take(hop.span_id, *below, *sources)
            return
        facts: dict[str, Attribute] = {**hop.attrs, "reported": True, "span": hop.span_id}
        used = self.gathered(sorted(below) + sources, PARENTS_MAX - 1)
        inputs = used if below else (self._last, *used)
        span = (hop.t0_ms, hop.t1_ms)
        root = self.graph.add(hop.kind, inputs, facts, span, hop.commit or UNSET)
        self._take(hop.span_id, _Drawn(*span, hop.span_id, root))

    def _draw_source(self, hop: ReportedHop, source: ReportedSource) -> _Drawn:
        facts: dict[str, Attribute] = {
            **source.attrs,
            "uri": source.uri,
            "octets": source.octets,
            "reported": True,
        }
        span = (hop.t0_ms, hop.t1_ms)
        return _Drawn(*span, source.uri, self.graph.add("source", (), facts, span, source.commit))

    def _take(self, span_id: str, *drawn: _Drawn) -> None:
        parent = self._parents[span_id]
        self.under.get(parent, self.under[self._top]).extend(drawn)

    def gathered(self, drawn: Sequence[_Drawn], limit: int) -> tuple[str, ...]:
        """Return ids for these nodes, at most `limit`: of more, some stand for many."""
        wanted = list({one.id: one for one in drawn}.values())
        while len(wanted) > limit:
            groups = [wanted[at : at + PARENTS_MAX] for at in range(0, len(wanted), PARENTS_MAX)]
            wanted = [self._gather(group) for group in groups]
        return tuple(one.id for one in wanted)

    def _gather(self, group: Sequence[_Drawn]) -> _Drawn:
        if len(group) == 1:
            return group[0]
        span = (min(one.t0 for one in group), max(one.t1 for one in group))
        facts: dict[str, Attribute] = {"gathers": len(group)}
        root = self.graph.add("transform", [one.id for one in group], facts, span)
        return _Drawn(*span, group[0].key, root)
