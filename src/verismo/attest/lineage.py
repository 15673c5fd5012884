"""Lineage: which calls and which reported hops of a trace belong to a run. Pure.

What counts is the chain of parent spans. Only where a call's chain leads nowhere, the run that it
was noted for decides. A hop has nothing but its chain: an orphan, a cycle and a hop under a sealed
call are refused.
"""

from typing import Literal

import msgspec

from verismo.model.run import RUN_DEPTH_MAX, NotedCall, Refused, ReportedHop, Run, flaw_of

Fate = Literal["joined", "elsewhere", "orphan", "cycle", "forged_parent"]


class Selection(msgspec.Struct, frozen=True):
    """What of a trace belongs to a run.

    Args:
        span_id: the run's root span.
        calls: its calls, by their times.
        hops: its hops, parents before what stands under them, else by their times.
        parents: for each of both the hop that it stands under, or the run's root span.
        refused: hops that join no run.
    """

    span_id: str
    calls: tuple[NotedCall, ...]
    hops: tuple[ReportedHop, ...]
    parents: dict[str, str]
    refused: tuple[Refused, ...]


class _Place(msgspec.Struct, frozen=True):
    """Where a hop stands.

    Args:
        fate: whether its chain leads to the run.
        depth: steps on the way, itself included.
        distance: spans on the way, those that only pass included.
    """

    fate: Fate
    depth: int = 0
    distance: int = 0


def select(run: Run) -> Selection:
    """Decide what of a trace belongs to a run.

    Args:
        run: what is known of its trace; any values.
    """
    lineage = _Lineage(run)
    chosen: list[tuple[tuple[int, int, int, str], ReportedHop]] = []
    for hop in lineage.hops.values():
        place = lineage.place(hop.span_id)
        if place.fate == "joined" and place.depth <= RUN_DEPTH_MAX:
            chosen.append(((place.distance, hop.t0_ms, hop.t1_ms, hop.span_id), hop))
        elif place.fate == "joined":
            if not hop.passes:  # what only passes is no step that could be missing
                lineage.refused.append(Refused(hop.span_id, "too_deep"))
        elif place.fate != "elsewhere" and not (place.fate == "orphan" and run.shared):
            # With another run open, a hop without a parent yet may be its.
            lineage.refused.append(Refused(hop.span_id, place.fate))
    hops = tuple(hop for _, hop in sorted(chosen, key=lambda entry: entry[0]))
    parents = {hop.span_id: hop.parent_span for hop in hops}
    owners = {call.span_id: lineage.owner(call) for call in lineage.calls.values()}
    calls = [call for call in lineage.calls.values() if owners[call.span_id]]
    return Selection(
        span_id=run.span_id,
        calls=tuple(sorted(calls, key=lambda one: (one.t0_ms, one.t1_ms, one.span_id))),
        hops=hops,
        parents=parents | {call.span_id: owners[call.span_id] for call in calls},
        refused=tuple(sorted(lineage.refused, key=lambda one: (one.span_id, one.reason))),
    )


class _Lineage:
    """The chains of parent spans in one trace, as seen from one run."""

    def __init__(self, run: Run) -> None:
        self.refused: list[Refused] = []
        self.calls: dict[str, NotedCall] = {}
        self.hops: dict[str, ReportedHop] = {}
        self._run = run
        self._others = frozenset(run.others) - {run.span_id}
        self._places: dict[str, _Place] = {}
        for call in run.calls:
            if call.span_id != run.span_id:
                self.calls.setdefault(call.span_id, call)
        for hop in run.hops:
            self._take(hop)

    def _take(self, hop: ReportedHop) -> None:
        if hop.span_id == self._run.span_id:
            return  # the agent's own span, which stands for the run already
        flaw = flaw_of(hop)
        if flaw is not None:
            self.refused.append(Refused(hop.span_id, flaw))
        elif hop.span_id in self.calls or hop.span_id in self.hops:
            self.refused.append(Refused(hop.span_id, "span_taken"))
        else:
            self.hops[hop.span_id] = hop

    def place(self, span_id: str) -> _Place:
        """Return where a hop stands; each chain is walked once."""
        path: list[str] = []
        while span_id in self.hops and span_id not in self._places:
            path.append(span_id)
            # Whoever comes by here again before the chain's end is known walks in a circle.
            self._places[span_id] = _Place("cycle")
            span_id = self.hops[span_id].parent_span
        place = self._places.get(span_id) or _Place(self._end(span_id))
        for passed in reversed(path):
            steps = 0 if self.hops[passed].passes else 1
            place = _Place(place.fate, place.depth + steps, place.distance + 1)
            self._places[passed] = place
        return place

    def _end(self, span_id: str) -> Fate:
        """Say what a chain that ends at this span leads to."""
        if span_id == self._run.span_id:
            return "joined"
        if span_id in self._others:
            return "elsewhere"
        return "forged_parent" if span_id in self.calls else "orphan"

    def owner(self, call: NotedCall) -> str:
        """Return the hop or root span that a call stands under; empty if it is not this run's.

        A call under a call is that of a service behind the gateway: it stands beside it.
        """
        seen: set[str] = set()
        while call.span_id not in seen:
            seen.add(call.span_id)
            parent = call.parent_span
            if parent == self._run.span_id:
                return parent
            if parent in self.hops:
                return self._owner_by_hop(call, parent)
            if parent in self._others:
                return ""
            if parent not in self.calls:
                break
            call = self.calls[parent]
        return self._noted_for(call)

    def _owner_by_hop(self, call: NotedCall, span_id: str) -> str:
        fate = self.place(span_id).fate
        if fate != "joined":
            return "" if fate == "elsewhere" else self._noted_for(call)
        while self.place(span_id).depth > RUN_DEPTH_MAX:
            span_id = self.hops[span_id].parent_span
        return span_id

    def _noted_for(self, call: NotedCall) -> str:
        return self._run.span_id if call.run_span == self._run.span_id else ""
