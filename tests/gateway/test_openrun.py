"""Hops that wait for a run: the agent's own takes everything that it did, the others their turn."""

from msgspec import UNSET

from verismo.attest.provenance import GraphBuilder, node_id, read_graph
from verismo.gateway.openrun import Held, OpenRun
from verismo.model.hop import HopKind
from verismo.model.ids import prov_id_from

PROV_ID = prov_id_from(1, b"0123456789")


def held(kind: HopKind, number: int) -> Held:
    return Held(kind, {"number": number}, (1, 2), UNSET)


def replayed(*hops: Held, tops: int) -> dict[str, list[str]]:
    """Return for each node what feeds it, both by kind and number."""
    graph = GraphBuilder(PROV_ID)
    last = graph.add("request", [], {"number": 0}, (1, 1))
    done = tuple(graph.add("source", [], {"number": n}, (1, 1)) for n in range(tops))
    run = OpenRun("a" * 16)
    run.held.extend(hops)
    graph.add("response", [run.replay(graph, last, done, 5)], {"number": 9}, (5, 5))
    nodes = read_graph(graph.encode())[0].nodes
    names = {node_id(node): f"{node.kind}{node.attrs.get('number', '')}" for node in nodes}
    return {names[node_id(node)]: [names[one] for one in node.inputs] for node in nodes}


def test_the_last_try_takes_what_the_agent_did():
    fed = replayed(held("tool", 1), held("tool", 2), held("transform", 3), tops=2)
    assert fed["tool1"] == ["request0"]
    assert fed["tool2"] == ["tool1", "source0", "source1"]
    assert fed["transform3"] == ["tool2"]
    assert fed["response9"] == ["transform3"]


def test_what_an_agent_did_that_was_never_heard_of_again_is_gathered():
    fed = replayed(tops=2)
    assert fed["transform"] == ["request0", "source0", "source1"]
    assert fed["response9"] == ["transform"]


def test_a_run_in_which_nothing_happened_adds_nothing():
    assert replayed(held("tool", 1), tops=0) == {
        "request0": [],
        "tool1": ["request0"],
        "response9": ["tool1"],
    }
