"""Graphs: one root fixes all; cycles, orphans and surplus nodes are refused."""

import msgspec
import pytest
from forge import Recipe, prov_id
from hypothesis import given
from hypothesis import strategies as st

from verismo.attest.provenance import (
    ATTRIBUTE_CHARS_MAX,
    ATTRIBUTES_MAX,
    GRAPH_BYTES_MAX,
    NODES_MAX,
    PARENTS_MAX,
    Graph,
    GraphBuilder,
    GraphRefused,
    Node,
    node_id,
    read_graph,
    root_of,
    split_graph,
)
from verismo.model import canonical

PROV_ID = Recipe().prov_id
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=10)
names = st.text(st.characters(max_codepoint=127), max_size=8)
facts = st.dictionaries(names, texts | st.integers(0, 2**53 - 1) | st.booleans(), max_size=3)


@st.composite
def built(draw):
    """A graph as a gateway builds one: any hops in between, the response over all of them."""
    builder = GraphBuilder(PROV_ID)
    ids = [builder.add("request", [], draw(facts), (1, 2), "ab" * 32)]
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["policy", "cache", "tool", "source", "model", "transform"]))
        ids.append(builder.add(kind, draw(st.lists(st.sampled_from(ids))), draw(facts), (1, 2)))
    builder.add("response", ids, draw(facts), (1, 3), "cd" * 32)
    return builder


@pytest.mark.slow
@given(built())
def test_what_is_built_is_read_and_has_the_builders_root(builder):
    graph, root = read_graph(builder.encode())
    assert (root, len(graph.nodes)) == (builder.root, len(builder))
    assert graph.nodes == builder.nodes
    assert canonical.encode(graph) == builder.encode()


@pytest.mark.slow
@given(built(), st.data())
def test_any_changed_fact_changes_the_root(builder, data):
    graph, root = read_graph(builder.encode())
    position = data.draw(st.integers(0, len(graph.nodes) - 1))
    nodes = list(graph.nodes)
    nodes[position] = msgspec.structs.replace(nodes[position], t1=99)
    changed = canonical.encode(msgspec.structs.replace(graph, nodes=tuple(nodes)))
    try:
        _, other = read_graph(changed)
    except GraphRefused:
        return
    assert other != root


def test_node_id_is_the_documented_hash():
    node = Node(v=1, kind="tool", inputs=(), attrs={"b": 1, "a": "x"}, t0=1, t1=2)
    text = b'{"attrs":{"a":"x","b":1},"in":[],"kind":"tool","t0":1,"t1":2,"v":1}'
    assert node_id(node) == canonical.digest(b"attest/v1/node\0" + text)


def test_long_text_is_cut_by_the_builder():
    builder = GraphBuilder(PROV_ID)
    builder.add("request", [], {"name": "x" * 1_000}, (0, 0))
    assert len(str(builder.nodes[0].attrs["name"])) == ATTRIBUTE_CHARS_MAX


def test_a_hop_that_equals_another_is_the_same_node():
    builder = GraphBuilder(PROV_ID)
    request = builder.add("request", [], {}, (0, 0))
    first = builder.add("model", [request], {"try": 1}, (0, 1))
    assert builder.add("model", [request, request], {"try": 1}, (0, 1)) == first
    builder.add("response", [first], {}, (0, 2))
    assert len(read_graph(builder.encode())[0].nodes) == 3


def test_a_fork_is_independent():
    builder = GraphBuilder(PROV_ID)
    request = builder.add("request", [], {}, (0, 0))
    fork = builder.fork()
    fork.add("response", [request], {}, (0, 1))
    assert (len(builder), len(fork)) == (1, 2)
    assert builder.root == request


def test_builder_keeps_to_the_limits_that_verifiers_have():
    builder = GraphBuilder(PROV_ID)
    request = builder.add("request", [], {}, (0, 0))
    with pytest.raises(GraphRefused, match="attributes"):
        builder.add("tool", [request], {f"a{n}": n for n in range(ATTRIBUTES_MAX + 1)}, (0, 0))
    with pytest.raises(GraphRefused, match="inputs"):
        builder.add("tool", [f"{n:064x}" for n in range(PARENTS_MAX + 1)], {}, (0, 0))
    for number in range(NODES_MAX - 1):
        builder.add("tool", [request], {"number": number}, (0, 0))
    with pytest.raises(GraphRefused, match="1000 nodes"):
        builder.add("response", [request], {}, (0, 0))


def inner(hops: int = 1) -> GraphBuilder:
    """The graph of a call."""
    builder = GraphBuilder(prov_id("call"))
    last = builder.add("request", [], {"prov_id": prov_id("call")}, (0, 0))
    for number in range(hops):
        last = builder.add("model", [last], {"try": number}, (0, 0))
    builder.add("response", [last], {}, (0, 0))
    return builder


def test_an_embedded_graph_keeps_its_nodes_and_its_root():
    builder = GraphBuilder(PROV_ID)
    request = builder.add("request", [], {"prov_id": PROV_ID}, (0, 0))
    own, call = builder.ids, inner()
    nodes = split_graph(call.encode())
    assert builder.embed(nodes) == builder.root == root_of(nodes) == call.root
    builder.add("response", [request, call.root], {}, (0, 1))
    graph, _ = read_graph(builder.encode())
    assert graph.nodes[1:-1] == call.nodes
    assert builder.nodes_but(call.ids) == (graph.nodes[0], graph.nodes[-1])
    assert builder.ids - call.ids - own == {builder.root}


def test_a_graph_that_would_grow_over_its_limit_takes_no_call():
    builder = GraphBuilder(PROV_ID)
    builder.add("request", [], {}, (0, 0))
    with pytest.raises(GraphRefused, match="1000 nodes"):
        builder.embed(split_graph(inner(NODES_MAX - 2).encode()))
    assert len(builder) == 1


def test_what_is_no_graph_cannot_be_split():
    for damaged in (b"", b"{}", b'{"nodes":[]}', b'{"nodes":7}', b"\xff"):
        with pytest.raises(GraphRefused):
            split_graph(damaged)


def document(*nodes):
    return canonical.encode_trusted(Graph(v=1, prov_id=prov_id("answer A"), nodes=nodes))


def hop(kind, *inputs, **attrs):
    return Node(v=1, kind=kind, inputs=inputs, attrs=attrs, t0=0, t1=0)


REQUEST = hop("request")


def test_orphan_is_refused_even_if_it_uses_the_request():
    orphan = hop("tool", node_id(REQUEST))
    with pytest.raises(GraphRefused, match="not reached"):
        read_graph(document(REQUEST, orphan, hop("response", node_id(REQUEST))))


def test_an_island_of_two_nodes_is_refused():
    a = hop("tool", name="a")
    b = hop("tool", node_id(a))
    with pytest.raises(GraphRefused, match="not reached"):
        read_graph(document(REQUEST, a, b, hop("response", node_id(REQUEST))))


def test_a_response_that_does_not_use_the_request_is_refused():
    with pytest.raises(GraphRefused, match="not reached"):
        read_graph(document(REQUEST, hop("response")))


def test_self_reference_is_refused():
    with pytest.raises(GraphRefused, match="not an earlier node"):
        read_graph(document(REQUEST, hop("response", "00" * 32)))


def test_huge_document_is_refused_before_it_is_parsed():
    with pytest.raises(GraphRefused, match="longer than"):
        read_graph(b" " * (GRAPH_BYTES_MAX + 1))


@given(st.binary(max_size=80))
def test_any_bytes_raise_the_one_error(data):
    with pytest.raises(GraphRefused):
        read_graph(data)
