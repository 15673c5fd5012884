"""Graphs of one shape and about a given number of hops: what the layout has to fit onto a page."""

import math
import random

from tests.support.graphs import Recorded, agent_run, scribble

from verismo.attest.provenance import node_id

INPUTS_MAX = 63


def opened() -> tuple[Recorded, str]:
    """Return a run that has begun, and its last hop."""
    recorded = Recorded()
    return recorded, recorded.opening("/v1/agents/support", recorded.prov_id)


def closed(recorded: Recorded) -> Recorded:
    """Let a response reach all hops."""
    used = {one for node in recorded.builder.nodes for one in node.inputs}
    loose = [one for one in map(node_id, recorded.builder.nodes) if one not in used]
    while len(loose) > INPUTS_MAX:
        gathered = recorded.hop("transform", loose[:INPUTS_MAX], {"gathers": INPUTS_MAX})
        loose = [gathered, *loose[INPUTS_MAX:]]
    recorded.hop("response", loose, {"status": 200})
    return recorded


def flat(hops: int) -> Recorded:
    """All tools are children of one hop."""
    recorded, last = opened()
    for number in range(hops - 5):
        recorded.reported("tool", [last], tool=f"look_up_{number}")
    return closed(recorded)


def shallow(hops: int) -> Recorded:
    """Some tools, each with some more."""
    recorded, last = opened()
    each = max(2, math.isqrt(hops))
    parent = last
    for number in range(hops - 5):
        is_parent = number % each == 0
        made = recorded.reported("tool", [last if is_parent else parent], tool=f"step_{number}")
        parent = made if is_parent else parent
    return closed(recorded)


def deep(hops: int) -> Recorded:
    """One tool after the other."""
    recorded, last = opened()
    for number in range(hops - 5):
        last = recorded.reported("tool", [last], tool=f"step_{number}")
    return closed(recorded)


def chains(hops: int) -> Recorded:
    """Several lines of tools beside one another."""
    recorded, last = opened()
    ends = [last] * 8
    for number in range(hops - 5):
        ends[number % 8] = recorded.reported("tool", [ends[number % 8]], tool=f"step_{number}")
    return closed(recorded)


def tree(hops: int, seed: int = 1) -> Recorded:
    """Each tool is the child of any hop before it."""
    chosen = random.Random(seed)
    recorded, last = opened()
    made = [last]
    for number in range(hops - 5):
        made.append(recorded.reported("tool", [chosen.choice(made)], tool=f"step_{number}"))
    return closed(recorded)


def web(hops: int, seed: int = 1) -> Recorded:
    """Each tool uses some of any hops before it."""
    chosen = random.Random(seed)
    recorded, last = opened()
    made = [last]
    for number in range(hops - 5):
        count = min(len(made), chosen.choice([1, 1, 2, 3]))
        made.append(recorded.reported("tool", chosen.sample(made, count), tool=f"step_{number}"))
    return closed(recorded)


def sources(hops: int) -> Recorded:
    """One search with many sources."""
    recorded, last = opened()
    found = [recorded.hop("source", (), {"uri": f"docs/{n}.md"}) for n in range(hops - 6)]
    while len(found) >= INPUTS_MAX:
        gathered = recorded.hop("transform", found[:INPUTS_MAX], {"gathers": INPUTS_MAX})
        found = [gathered, *found[INPUTS_MAX:]]
    recorded.reported("retrieval", [last, *found], data_source="bm25")
    return closed(recorded)


def calls(hops: int) -> Recorded:
    """Joined calls of models, and nothing else."""
    return agent_run(calls=max(1, hops // 6 - 1), searches=0, tools=0)


def mixed(hops: int) -> Recorded:
    """Joined calls, searches with sources, and tools."""
    return agent_run(calls=hops // 10, searches=max(1, hops // 25), tools=hops // 12)


def tangle(hops: int) -> Recorded:
    """Any graph of hops that use a few of the last ones."""
    return scribble(1, hops - 3)


SHAPES = {
    shape.__name__: shape
    for shape in (flat, shallow, deep, chains, tree, web, sources, calls, mixed, tangle)
}
LIMIT = 970
"""So many hops leave room for those that gather the others."""
