"""A graph in the order in which people read it: calls, the spine of each, and what hangs on it.

A run joins whole graphs of other calls (docs/attestation-format.md, section 8). A *call* is what a
response stands for: the hops it reaches, without those that a call inside of it reaches. The
answer itself is the outermost call. The *spine* of a call leads from its request to its response by
the first input of each hop; every other hop is shown beneath the first hop that used it.
"""

from collections.abc import Mapping, Sequence

import msgspec

from verismo.attest.provenance import Graph, Node, node_id
from verismo.attest.provwords import COST, PROV_ID, whole, word
from verismo.model.ids import is_prov_id


class Call(msgspec.Struct, frozen=True):
    """One call: the answer itself, or one that a run has joined.

    Args:
        prov_id: of the answer that it gave; empty if its request does not say.
        response: position of its last hop.
        parent: position of the response of the call around it; itself for the outermost.
        hops: positions of its own hops, in order; those of calls inside are not among them.
        spine: positions of the hops that lead to the response, in order.
        cost_usd_micros: what it cost with all calls inside, as far as their responses say; None if
            none does.
    """

    prov_id: str
    response: int
    parent: int
    hops: tuple[int, ...]
    spine: tuple[int, ...]
    cost_usd_micros: int | None


class View(msgspec.Struct, frozen=True):
    """A graph with its calls. Positions count from 0 in the order of the graph.

    Args:
        prov_id: the answer.
        nodes: the hops, inputs before the hops that use them.
        ids: their ids.
        inputs: for each hop the positions of its inputs, as it names them.
        owner: for each hop the position of the response of its call.
        calls: by the position of their response; a call inside another comes before it.
        beneath: for each hop what is shown beneath it: other hops of its call that it is the first
            to use, and responses of joined calls, in the order in which they began.
    """

    prov_id: str
    nodes: tuple[Node, ...]
    ids: tuple[str, ...]
    inputs: tuple[tuple[int, ...], ...]
    owner: tuple[int, ...]
    calls: Mapping[int, Call]
    beneath: tuple[tuple[int, ...], ...]

    @property
    def answer(self) -> Call:
        """The outermost call."""
        return self.calls[len(self.nodes) - 1]

    def come_after(self) -> tuple[int | None, ...]:
        """Return for each hop the spine's hop that stands before the place where it is shown.

        For the response of a joined call this is a hop of the call around it. None where nothing
        stands before the place, and for the hops of a spine.
        """
        shown = {below: hop for hop, all_below in enumerate(self.beneath) for below in all_below}
        spines = {hop: call.spine for call in self.calls.values() for hop in call.spine}
        rank = {hop: rank for spine in set(spines.values()) for rank, hop in enumerate(spine)}
        before: list[int | None] = []
        for position in range(len(self.nodes)):
            place = shown.get(position)
            while place is not None and place not in spines:
                place = shown[place]
            rank_of = 0 if place is None else rank[place]
            before.append(spines[place][rank_of - 1] if place is not None and rank_of else None)
        return tuple(before)


def view_graph(graph: Graph) -> View:
    """Find the calls of a graph and how they are read.

    Where a call uses more of another one than its response, its graph was not joined whole: then
    no calls are told apart and all hops belong to the answer.

    Args:
        graph: as `read_graph` returns it.
    """
    ids = tuple(node_id(node) for node in graph.nodes)
    position_of = {one: position for position, one in enumerate(ids)}
    inputs = tuple(tuple(position_of[one] for one in node.inputs) for node in graph.nodes)
    owner = _owners(graph.nodes, inputs)
    first_used = _first_used(inputs)
    if not _are_apart(inputs, owner, first_used):
        owner = (len(ids) - 1,) * len(ids)
    members: dict[int, list[int]] = {}
    for position, response in enumerate(owner):
        members.setdefault(response, []).append(position)
    parents = {response: owner[first_used.get(response, response)] for response in members}
    costs = _costs(graph.nodes, parents)
    calls = {
        response: Call(
            prov_id=_prov_id(graph, hops, response),
            response=response,
            parent=parents[response],
            hops=tuple(hops),
            spine=_spine(inputs, owner, response),
            cost_usd_micros=costs.get(response),
        )
        for response, hops in sorted(members.items())
    }
    began = [node.t0 for node in graph.nodes]
    for response, call in calls.items():
        began[response] = graph.nodes[call.hops[0]].t0
    beneath = _beneath(inputs, first_used, calls, began)
    return View(graph.prov_id, graph.nodes, ids, inputs, owner, calls, beneath)


def _owners(nodes: Sequence[Node], inputs: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Give each hop to the first response that reaches it: inner calls are whole before outer."""
    last = len(nodes) - 1
    owner = [-1] * len(nodes)
    for response, node in enumerate(nodes):
        if node.kind != "response" and response != last:
            continue
        waiting = [response]
        while waiting:
            position = waiting.pop()
            if owner[position] < 0:
                owner[position] = response
                waiting.extend(inputs[position])
    return tuple(owner)


def _first_used(inputs: Sequence[Sequence[int]]) -> dict[int, int]:
    first: dict[int, int] = {}
    for user, used in enumerate(inputs):
        for position in used:
            first.setdefault(position, user)
    return first


def _are_apart(
    inputs: Sequence[Sequence[int]], owner: Sequence[int], first_used: Mapping[int, int]
) -> bool:
    """Say whether nothing of a call but its response is used outside, and that by one call."""
    return all(
        owner[used] == owner[user]
        or (owner[used] == used and owner[first_used[used]] == owner[user])
        for user, all_used in enumerate(inputs)
        for used in all_used
    )


def _costs(nodes: Sequence[Node], parents: Mapping[int, int]) -> dict[int, int]:
    """Return what each call cost with those inside; none where no response says anything."""
    costs: dict[int, int] = {}
    for response in sorted(parents):
        own = whole(nodes[response].attrs, COST)
        if own is not None:
            costs[response] = costs.get(response, 0) + own
        if response in costs and parents[response] != response:
            costs[parents[response]] = costs.get(parents[response], 0) + costs[response]
    return costs


def _prov_id(graph: Graph, hops: Sequence[int], response: int) -> str:
    if response == len(graph.nodes) - 1:
        return graph.prov_id
    requests = (graph.nodes[hop] for hop in hops if graph.nodes[hop].kind == "request")
    stated = next((word(node.attrs, PROV_ID) for node in requests), "")
    return stated if is_prov_id(stated) else ""


def _spine(inputs: Sequence[Sequence[int]], owner: Sequence[int], response: int) -> tuple[int, ...]:
    spine = [response]
    while True:
        own = (used for used in inputs[spine[-1]] if owner[used] == response)
        first = next(own, None)
        if first is None:
            return tuple(reversed(spine))
        spine.append(first)


def _beneath(
    inputs: Sequence[Sequence[int]],
    first_used: Mapping[int, int],
    calls: Mapping[int, Call],
    began: Sequence[int],
) -> tuple[tuple[int, ...], ...]:
    """Return what stands beneath each hop, in the order in which it began."""
    on_spine = {hop for call in calls.values() for hop in call.spine if hop != call.response}
    return tuple(
        tuple(
            sorted(
                (used for used in all_used if used not in on_spine and first_used[used] == user),
                key=lambda used: (began[used], used),
            )
        )
        for user, all_used in enumerate(inputs)
    )
