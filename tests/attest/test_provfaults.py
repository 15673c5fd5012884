"""Where a refused graph does not hang together: both ends of what was altered are named."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.graphs import agent_run, plain_answer

from verismo.attest.provenance import GraphRefused, read_graph
from verismo.attest.provfaults import FAULTS_MAX, Claim, find_faults, read_claim

GRAPH = agent_run().document
NODES = [bytes(node) for node in msgspec.json.decode(GRAPH, type=Claim).nodes]


def faults(nodes):
    return find_faults(Claim("x", tuple(msgspec.Raw(node) for node in nodes)))


def test_a_whole_graph_has_no_faults():
    claim = read_claim(GRAPH)
    assert claim is not None
    assert find_faults(claim) == ()


@pytest.mark.parametrize(
    "document",
    [b"", b"5", b"{}", b"[]", b'{"nodes":[],"prov_id":5}', b'{"nodes":5,"prov_id":""}', b"\xff"],
)
def test_what_is_no_graph_at_all_claims_nothing(document):
    assert read_claim(document) is None


@given(st.integers(0, len(NODES) - 2), st.integers(1, 9))
def test_an_altered_node_is_named_with_those_that_used_what_it_was(place, added):
    node = msgspec.json.decode(NODES[place])
    node["t1"] += added
    spoilt = [*NODES]
    spoilt[place] = msgspec.json.encode(node, order="sorted")
    found = faults(spoilt)
    assert found[0].startswith(f"node {place + 1} (")
    assert found[0].endswith(") is used by no node")
    assert len(found) > 1
    assert all(one.endswith("..., and no node has that id") for one in found[1:])


@given(st.permutations(NODES), st.integers(0, len(NODES)))
def test_tampered_order_or_length_has_a_fault_where_verifiers_refuse_the_links(nodes, count):
    kept = nodes[:count]
    document = (
        b'{"nodes":['
        + b",".join(kept)
        + b'],"prov_id":"%s","v":1}' % (agent_run().prov_id.encode())
    )
    found = faults(kept)
    assert len(found) <= FAULTS_MAX
    refusal = refused(document)
    if not refusal:
        assert found == ()
    elif any(words in refusal for words in ("earlier node", "stands twice", "not reached")):
        assert found


def refused(document):
    try:
        read_graph(document)
    except GraphRefused as error:
        return str(error)
    return ""


def test_forged_nodes_are_named_by_their_place():
    nodes = [bytes(one) for one in read_claim(plain_answer().document).nodes]
    assert faults([nodes[0], b'{"kind":"police"}', b"5", *nodes[3:]]) == (
        "node 2 is no node: Invalid enum value 'police' - at `$.kind`",
        "node 3 is no node: Expected `object`, got `int`",
    )
    assert faults([*nodes, nodes[1]])[0] == "node 6 (response) is used by no node"
    assert faults([*nodes, nodes[1]])[1] == "node 7 is node 2 once more"


def test_a_long_list_of_faults_is_cut():
    assert len(faults([b"5"] * 100)) == FAULTS_MAX
    assert len(faults(NODES[::-1])) == FAULTS_MAX
