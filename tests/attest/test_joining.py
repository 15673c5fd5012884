"""Joining: any calls and hops give a graph that verifiers accept, whatever order they came in."""

import hashlib
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.attest.joining import OWN_NODES_MAX, Joined, join
from verismo.attest.lineage import select
from verismo.attest.provenance import (
    GRAPH_BYTES_MAX,
    NODES_MAX,
    PARENTS_MAX,
    Graph,
    GraphBuilder,
    GraphRefused,
    node_id,
    read_graph,
)
from verismo.model.hop import Attribute
from verismo.model.ids import ProvId, prov_id_from
from verismo.model.run import (
    RUN_DEPTH_MAX,
    RUN_ENTRIES_MAX,
    NotedCall,
    ReportedHop,
    ReportedSource,
    Run,
)

ROOT = "a" * 16
OTHER_RUN = "b" * 16
NOWHERE = "c" * 16


def span(number: int) -> str:
    return f"{number + 1:016x}"


def prov(number: int) -> ProvId:
    return prov_id_from(1_790_000_000_000, hashlib.sha256(f"{number}".encode()).digest()[:10])


OWN = prov(-1)


def graph_of(number: int, hops: int = 1) -> bytes:
    """The graph of a call, as the gateway signs it."""
    builder = GraphBuilder(prov(number))
    last = builder.add("request", [], {"prov_id": prov(number)}, (1, 1), "ab" * 32)
    for hop in range(hops):
        last = builder.add("model", [last], {"try": hop}, (1, 2))
    builder.add("response", [last], {"status": 200}, (2, 2), "cd" * 32)
    return builder.encode()


def call(number: int, parent: str = ROOT, run: str = "", hops: int = 1, at: int = 5) -> NotedCall:
    graph = graph_of(number, hops)
    return NotedCall(span(number), parent, run, prov(number), at, at + 1, hops + 2, len(graph))


def hop(number: int, parent: str = ROOT, at: int = 5, **fields: object) -> ReportedHop:
    values: dict = {"kind": "tool", "attrs": {"name": f"step {number}"}, **fields}
    return ReportedHop(span_id=span(number), parent_span=parent, t0_ms=at, t1_ms=at + 1, **values)


def source(number: int) -> ReportedSource:
    return ReportedSource(uri=f"doc:{number}", commit=f"{number:064x}", octets=10)


def run_of(*members: NotedCall | ReportedHop, others: tuple[str, ...] = ()) -> Run:
    calls = tuple(one for one in members if isinstance(one, NotedCall))
    hops = tuple(one for one in members if isinstance(one, ReportedHop))
    return Run(span_id=ROOT, calls=calls, hops=hops, others=others, shared=bool(others))


def drawn(run: Run, graphs: dict[ProvId, bytes] | None = None) -> tuple[Joined, Graph]:
    """Join a run and close its answer as the gateway does; the graph is one that verifiers read."""
    before = GraphBuilder(OWN)
    last = before.add("request", [], {"prov_id": OWN}, (1, 1), "ab" * 32)
    last = before.add("route", [last], {"arm": "baseline"}, (1, 1))
    if graphs is None:
        graphs = {one.prov_id: graph_of(_number(one), one.nodes - 2) for one in run.calls}
    joined = join(before, last, select(run), graphs)
    builder = joined.graph
    agent = builder.add("tool", (last, *joined.tops), {"deployment": "agent"}, (1, 9))
    builder.add("response", [agent], {"status": 200}, (9, 9), "cd" * 32)
    assert len(before) == 2
    graph, root = read_graph(builder.encode())
    assert root == builder.root
    return joined, graph


def _number(one: NotedCall) -> int:
    return int(one.span_id, 16) - 1


def reported(graph: Graph) -> dict[str, dict[str, Attribute]]:
    return {str(n.attrs["span"]): n.attrs for n in graph.nodes if "span" in n.attrs}


def fed(graph: Graph, attribute: str, value: Attribute) -> list[str]:
    """Return the kinds of what feeds the node with an attribute."""
    kinds = {node_id(node): node.kind for node in graph.nodes}
    (found,) = [node for node in graph.nodes if node.attrs.get(attribute) == value]
    return [kinds[one] for one in found.inputs]


def test_a_call_is_embedded_node_for_node_with_its_signed_root():
    joined, graph = drawn(run_of(call(1)))
    inner, root = read_graph(graph_of(1))
    assert all(node in graph.nodes for node in inner.nodes)
    assert joined.tops == (root,)
    assert (joined.calls, joined.hops, joined.spans) == (1, 0, (span(1),))


def test_a_hop_says_that_it_was_reported_and_takes_what_stands_under_it():
    _, graph = drawn(run_of(hop(1, kind="retrieval", sources=(source(1),)), call(2, span(1))))
    assert reported(graph)[span(1)] == {"name": "step 1", "reported": True, "span": span(1)}
    assert sorted(fed(graph, "span", span(1))) == ["response", "source"]
    (found,) = [node for node in graph.nodes if node.kind == "source"]
    assert found.attrs == {"uri": "doc:1", "octets": 10, "reported": True}
    assert found.commit == f"{1:064x}"


def test_a_hop_with_nothing_under_it_follows_the_node_before_the_agent():
    _, graph = drawn(run_of(hop(1, sources=(source(1),)), hop(2, span(1), commit="ef" * 32)))
    assert fed(graph, "span", span(2)) == ["route"]
    assert sorted(fed(graph, "span", span(1))) == ["source", "tool"]


def test_what_only_passes_is_no_node_and_hands_on_what_stands_under_it():
    passing = hop(2, span(1), passes=True, sources=(source(3),))
    _, graph = drawn(run_of(hop(1), passing, call(3, span(2)), hop(4, span(2))))
    assert sorted(fed(graph, "span", span(1))) == ["response", "source", "tool"]
    assert span(2) not in reported(graph)


def test_any_number_of_spans_that_only_pass_adds_no_depth():
    chain = [hop(n, span(n - 1) if n else ROOT, passes=True) for n in range(200)]
    joined, _ = drawn(run_of(*chain, hop(200, span(199))))
    assert (joined.hops, joined.refused) == (1, ())


def test_a_hop_that_names_no_known_parent_is_an_orphan():
    joined, graph = drawn(run_of(hop(1, NOWHERE), hop(2, span(1))))
    assert [(one.span_id, one.reason) for one in joined.refused] == [
        (span(1), "orphan"),
        (span(2), "orphan"),
    ]
    assert not reported(graph)


def test_hops_in_a_circle_are_refused_and_what_hangs_on_it_as_well():
    joined, graph = drawn(
        run_of(hop(1, span(2)), hop(2, span(1)), hop(3, span(1)), hop(4, span(4)))
    )
    assert {one.reason for one in joined.refused} == {"cycle"}
    assert len(joined.refused) == 4
    assert not reported(graph)


def test_forged_parent_a_hop_under_a_sealed_call_is_refused():
    joined, graph = drawn(run_of(call(1), hop(2, span(1))))
    assert [one.reason for one in joined.refused] == ["forged_parent"]
    assert span(2) not in reported(graph)


def test_forged_span_a_hop_that_takes_the_span_of_a_call_is_refused():
    joined, _ = drawn(run_of(hop(1), call(1)))
    assert (joined.calls, [one.reason for one in joined.refused]) == (1, ["span_taken"])


def test_of_two_hops_with_one_span_the_first_counts():
    joined, graph = drawn(run_of(hop(1), hop(1, attrs={"name": "later"})))
    assert reported(graph)[span(1)]["name"] == "step 1"
    assert [one.reason for one in joined.refused] == ["span_taken"]


def test_sixteen_steps_deep_is_the_end():
    chain = [hop(n, span(n - 1) if n else ROOT) for n in range(RUN_DEPTH_MAX + 2)]
    joined, graph = drawn(run_of(*chain, call(100, span(RUN_DEPTH_MAX))))
    assert len(reported(graph)) == RUN_DEPTH_MAX
    assert {one.reason for one in joined.refused} == {"too_deep"}
    assert joined.calls == 1


def test_what_stands_too_deep_hangs_on_the_deepest_step_that_joined():
    depth = RUN_DEPTH_MAX + 4
    chain = [hop(n, span(n - 1) if n else ROOT) for n in range(depth)]
    passing = hop(200, span(depth - 1), passes=True)
    joined, graph = drawn(run_of(*chain, passing, call(100, span(200))))
    assert fed(graph, "span", span(RUN_DEPTH_MAX - 1)) == ["response"]
    assert [one.reason for one in joined.refused] == ["too_deep"] * 4


def test_steps_told_too_deep_when_they_came_give_the_graph_that_the_seal_would_have_given():
    depth = RUN_DEPTH_MAX + 4
    chain = [hop(n, span(n - 1) if n else ROOT) for n in range(depth)]
    links = [msgspec.structs.replace(one, passes=True, attrs={}) for one in chain[RUN_DEPTH_MAX:]]
    late = drawn(run_of(*chain, call(100, span(depth - 1))))
    early = drawn(run_of(*chain[:RUN_DEPTH_MAX], *links, call(100, span(depth - 1))))
    assert late[1] == early[1]


@pytest.mark.parametrize("kind", ["request", "response", "policy", "budget", "route", "cache"])
def test_forged_kind_an_agent_cannot_speak_for_the_gateway(kind: str):
    joined, _ = drawn(run_of(hop(1, kind=kind)))
    assert [one.reason for one in joined.refused] == ["malformed"]


@pytest.mark.parametrize(
    "fields",
    [
        {"attrs": {"ä": 1}},
        {"attrs": {"n": 2**53}},
        {"attrs": {"lone": "\ud800"}},
        {"attrs": {f"a{n}": n for n in range(25)}},
        {"commit": "AB" * 32},
        {"sources": (ReportedSource(uri="u", commit="", octets=1),)},
        {"sources": (ReportedSource(uri="u", commit="ab" * 32, octets=-1),)},
        {"sources": (ReportedSource(uri="\udfff", commit="ab" * 32, octets=1),)},
        {"sources": (ReportedSource(uri="u", commit="ab" * 32, octets=1, attrs={"é": 1}),)},
    ],
)
def test_a_hop_that_no_graph_can_hold_is_refused(fields: dict):
    joined, _ = drawn(run_of(hop(1, **fields)))
    assert [one.reason for one in joined.refused] == ["malformed"]


@pytest.mark.parametrize(("t0", "t1"), [(-1, 5), (6, 5), (0, 2**53)])
def test_a_hop_outside_of_time_is_refused(t0: int, t1: int):
    odd = ReportedHop(span(1), ROOT, "tool", {}, t0, t1)
    assert [one.reason for one in drawn(run_of(odd))[0].refused] == ["bad_time"]


def test_the_agents_own_span_stands_for_the_run():
    own = ReportedHop(ROOT, NOWHERE, "transform", {}, 1, 9)
    joined, graph = drawn(run_of(own, hop(1)))
    assert (joined.refused, list(reported(graph))) == ((), [span(1)])


def test_a_call_that_has_the_runs_own_span_is_the_run_itself():
    own = NotedCall(ROOT, NOWHERE, ROOT, prov(1), 1, 2, 3, 100)
    joined, _ = drawn(run_of(own, call(2)), {prov(1): graph_of(1), prov(2): graph_of(2)})
    assert joined.spans == (span(2),)


def test_a_call_without_a_known_parent_joins_the_run_it_was_noted_for():
    ours, theirs = call(1, NOWHERE, run=ROOT), call(2, NOWHERE, run=OTHER_RUN)
    joined, _ = drawn(run_of(ours, theirs, call(3, NOWHERE), others=(OTHER_RUN,)))
    assert joined.spans == (span(1),)


def test_forged_tracestate_does_not_move_a_call_from_the_run_its_parent_is_in():
    forged = call(1, OTHER_RUN, run=ROOT)
    assert drawn(run_of(forged, others=(OTHER_RUN,)))[0].spans == ()
    under = [hop(2, OTHER_RUN), call(3, span(2), run=ROOT)]
    assert drawn(run_of(*under, others=(OTHER_RUN,)))[0].spans == ()


def test_an_orphan_is_refused_once_no_other_run_can_have_it():
    run = Run(span_id=ROOT, calls=(), hops=(hop(1, NOWHERE),), others=(OTHER_RUN,))
    assert [one.reason for one in drawn(run)[0].refused] == ["orphan"]


def test_hops_of_another_run_are_neither_taken_nor_refused():
    joined, _ = drawn(run_of(hop(1, OTHER_RUN), hop(2, NOWHERE), others=(OTHER_RUN,)))
    assert (joined.spans, joined.refused) == ((), ())


def test_a_call_by_a_service_behind_a_call_stands_beside_it():
    chain = [call(1), call(2, span(1)), call(3, span(2)), call(4, span(4)), call(5, span(9))]
    joined, _ = drawn(run_of(*chain))
    assert joined.spans == (span(1), span(2), span(3))
    assert len(joined.tops) == 3


def test_a_call_under_a_refused_hop_joins_if_it_was_noted_for_the_run():
    members = [hop(1, NOWHERE), call(2, span(1), run=ROOT), call(3, span(1))]
    assert drawn(run_of(*members))[0].spans == (span(2),)


def test_over_64_inputs_are_gathered():
    joined, graph = drawn(run_of(*[hop(n, at=n) for n in range(200)]))
    assert len(joined.tops) <= PARENTS_MAX - 1
    gathering = [node for node in graph.nodes if "gathers" in node.attrs]
    assert [node.attrs["gathers"] for node in gathering] == [64, 64, 64, 8]
    assert (gathering[0].t0, gathering[0].t1) == (0, 64)


def test_a_hop_over_more_children_than_inputs_gathers_them_too():
    joined, graph = drawn(run_of(hop(0), *[hop(n, span(0), at=n) for n in range(1, 66)]))
    assert fed(graph, "span", span(0)) == ["transform", "tool"]
    assert len(joined.tops) == 1


def test_calls_that_do_not_fit_are_named_with_their_root():
    members = [call(n, hops=398, at=n) for n in range(4)]
    joined, graph = drawn(run_of(*members))
    assert (joined.calls, joined.referenced, joined.omitted) == (4, 2, 0)
    named = [node.attrs for node in graph.nodes if node.attrs.get("referenced")]
    assert [(one["prov_id"], one["nodes"]) for one in named] == [(prov(2), 400), (prov(3), 400)]
    assert named[0]["root"] == read_graph(graph_of(2, 398))[1]


def test_calls_of_more_octets_than_a_run_may_have_are_named():
    builder = GraphBuilder(prov(1))
    last = builder.add("request", [], {"prov_id": prov(1)}, (1, 1))
    for number in range(40):
        facts: dict[str, Attribute] = {f"a{n}": f"{number}" + "x" * 500 for n in range(30)}
        last = builder.add("tool", [last], facts, (1, 1))
    builder.add("response", [last], {}, (1, 1))
    joined, graph = drawn(run_of(call(1)), {prov(1): builder.encode()})
    assert joined.referenced == 1
    assert len(graph.nodes) == 5


def test_hops_over_the_limit_are_refused_and_calls_stay_named():
    members = [hop(n, at=n) for n in range(RUN_ENTRIES_MAX)]
    joined, _ = drawn(run_of(*members, call(2_000, hops=5), hop(2_001, span(899))))
    assert (joined.hops, joined.calls, joined.referenced) == (RUN_ENTRIES_MAX - 1, 1, 1)
    assert [one.reason for one in joined.refused] == ["over_limit"] * 2


def test_calls_beyond_every_limit_are_counted():
    run = run_of(*[call(n) for n in range(RUN_ENTRIES_MAX + 7)])
    same = {one.prov_id: graph_of(_number(one)) for one in run.calls}
    joined, _ = drawn(run, same)
    assert (joined.calls, joined.omitted) == (RUN_ENTRIES_MAX, 7)


def test_a_call_whose_graph_is_gone_is_counted():
    joined, _ = drawn(run_of(call(1), call(2)), {prov(1): graph_of(1)})
    assert (joined.calls, joined.omitted) == (1, 1)


def test_a_damaged_graph_is_not_passed_off_as_a_call():
    for damaged in (b"{", b'{"nodes":[]}', b"\xff"):
        with pytest.raises(GraphRefused):
            drawn(run_of(call(1)), {prov(1): damaged})


def test_an_answer_with_many_nodes_before_the_agent_leaves_less_room():
    before = GraphBuilder(OWN)
    last = before.add("request", [], {"prov_id": OWN}, (1, 1))
    for number in range(500):
        last = before.add("tool", [last], {"try": number}, (1, 1))
    joined = join(before, last, select(run_of(*[hop(n) for n in range(900)])), {})
    assert joined.hops == NODES_MAX - OWN_NODES_MAX - 501


def test_an_agent_that_is_tried_very_often_leaves_less_room_for_its_run():
    before = GraphBuilder(OWN)
    last = before.add("request", [], {"prov_id": OWN}, (1, 1))
    many = select(run_of(*[hop(n) for n in range(900)]))
    joined = join(before, last, many, {}, held=200)
    last = joined.graph.add("tool", [last, *joined.tops], {"try": 0}, (1, 1))
    for number in range(1, 200):
        last = joined.graph.add("tool", [last], {"try": number}, (1, 1))
    joined.graph.add("response", [last], {"status": 502}, (1, 1))
    assert len(read_graph(joined.graph.encode())[0].nodes) <= NODES_MAX


spans = st.integers(0, 11).map(span)
parents = spans | st.sampled_from([ROOT, OTHER_RUN, NOWHERE, ""])
facts = st.dictionaries(st.sampled_from(["a", "span", "reported", "ö"]), st.integers(), max_size=2)
kinds = st.sampled_from(
    ["tool", "model", "retrieval", "source", "transform", "request", "response"]
)
times = st.integers(-1, 3)
hops = st.builds(
    ReportedHop,
    spans,
    parents,
    kinds,
    facts,
    times,
    times,
    st.sampled_from(["", "ef" * 32, "x"]),
    st.lists(st.integers(0, 3).map(source), max_size=2).map(tuple),
    st.booleans(),
)
calls = st.builds(
    call, st.integers(0, 11), parents, st.sampled_from(["", ROOT, OTHER_RUN]), st.integers(1, 2)
)
traces = st.builds(
    Run,
    span_id=st.just(ROOT),
    calls=st.lists(calls, max_size=8).map(tuple),
    hops=st.lists(hops, max_size=14).map(tuple),
    others=st.sampled_from([(), (OTHER_RUN,)]),
    shared=st.booleans(),
)


@pytest.mark.slow
@given(traces)
def test_any_trace_gives_a_graph_that_verifiers_accept(run: Run):
    joined, graph = drawn(run)
    taken = set(joined.spans)
    assert taken <= {one.span_id for one in (*run.calls, *run.hops)}
    assert set(reported(graph)) <= taken
    assert not {one.span_id for one in joined.refused if one.reason != "span_taken"} & set(
        reported(graph)
    ) - _repeated(run)


def _repeated(run: Run) -> set[str]:
    """Spans of which one was refused for its own flaws and another may have joined."""
    named = [one.span_id for one in (*run.calls, *run.hops)]
    return {one for one in named if named.count(one) > 1}


@pytest.mark.slow
@given(traces, st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_nothing(run: Run, order: random.Random):
    members = {one.span_id: one for one in (*run.hops, *run.calls)}
    listed = list(members.values())
    first = drawn(run_of(*listed, others=run.others))
    order.shuffle(listed)
    second = drawn(run_of(*listed, others=run.others))
    assert first[1] == second[1]
    assert first[0].refused == second[0].refused


@pytest.mark.slow
@given(st.integers(0, 1_200), st.integers(0, 5), st.integers(0, 4_000))
def test_no_size_makes_joining_fail(hop_count: int, call_count: int, octets: int):
    long = {"text": "x" * octets}
    members = [hop(n, span(n // 70 - 1) if n >= 70 else ROOT, attrs=long) for n in range(hop_count)]
    many = [call(5_000 + n, hops=300) for n in range(call_count)]
    joined, graph = drawn(run_of(*members, *many))
    assert joined.calls == call_count
    assert joined.hops + len(joined.refused) == hop_count
    assert len(graph.nodes) <= NODES_MAX


def test_the_largest_run_stays_within_what_a_graph_may_have():
    facts: dict[str, Attribute] = {f"a{n:02}": "x" * 20 for n in range(8)}
    members = [hop(n, span((n - 1) // 3) if n else ROOT, attrs=facts) for n in range(2_000)]
    joined, _ = drawn(run_of(*members))
    assert joined.hops > 700
    assert len(joined.graph.encode()) < GRAPH_BYTES_MAX
