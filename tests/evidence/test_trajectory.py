"""Trajectories of graphs, and golden files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evidence.runs import graph_of, run_graph

from verismo.attest.provenance import GraphBuilder, read_graph
from verismo.evidence.trajectory import (
    DEPTH_MAX,
    Golden,
    Hop,
    Step,
    TrajectoryRefused,
    read_golden,
    read_times,
    trajectory,
    write_golden,
)
from verismo.evidence.trajectorydiff import compare


def test_a_plain_answer_is_its_own_hops_in_order() -> None:
    assert [(hop.kind, hop.name) for hop in trajectory(graph_of("plain"))] == [
        ("request", "/v1/chat/completions"),
        ("policy", "allow"),
        ("model", "small-1"),
        ("response", "200"),
    ]


def test_what_an_agent_did_stands_under_its_hop() -> None:
    hops = trajectory(run_graph())
    agent = hops[2]
    assert (agent.kind, [hop.kind for hop in agent.hops]) == ("tool", ["retrieval", "call", "tool"])
    retrieval, call, tool = agent.hops
    assert [(hop.kind, hop.name) for hop in retrieval.hops] == [
        ("source", "docs/a.md"),
        ("source", "docs/b.md"),
    ]
    assert call.name == "support.answer"
    assert [hop.kind for hop in call.hops] == ["request", "policy", "model", "response"]
    assert (tool.name, tool.hops) == ("lookup", ())


def test_times_ids_and_commitments_change_nothing() -> None:
    assert trajectory(run_graph(start_ms=5_000, salt="11")) == trajectory(run_graph())


def test_what_only_gathers_others_stands_for_them() -> None:
    many = trajectory(run_graph(tools=130))
    assert [hop.name for hop in many[2].hops].count("lookup") == 130


def test_every_node_of_a_graph_stands_in_its_tree_once() -> None:
    graph = run_graph(tools=5)
    calls = 1
    assert sum(hop.size for hop in trajectory(graph)) == len(graph.nodes) + calls


def test_a_graph_nested_deeper_than_a_tree_is_shown_is_refused() -> None:
    builder = GraphBuilder("018f3c1d-0000-7000-8000-000000000000")
    first = builder.add("request", (), {}, (0, 0))
    deep = builder.add("tool", (), {"n": 0}, (0, 0))
    for number in range(1, DEPTH_MAX + 1):
        deep = builder.add("tool", (deep,), {"n": number}, (0, 0))
    builder.add("response", (first, deep), {}, (0, 0))
    with pytest.raises(TrajectoryRefused, match="deeper"):
        trajectory(read_graph(builder.encode())[0])


def test_a_recorded_golden_takes_its_own_run_and_reads_back() -> None:
    hops = trajectory(run_graph(tools=3))
    golden = read_golden(write_golden(hops, 'A "run"\nof three'))
    assert compare(golden, hops).matches
    assert golden.hop[2].hop[2].times == 3


_names = st.text(max_size=12)
_hops = st.recursive(
    st.builds(Hop, st.sampled_from(("tool", "model", "source")), _names),
    lambda below: st.builds(
        Hop, st.sampled_from(("tool", "call")), _names, st.lists(below, max_size=4).map(tuple)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@given(st.lists(_hops, min_size=1, max_size=5).map(tuple))
def test_any_trajectory_matches_the_golden_that_was_written_of_it(hops: tuple[Hop, ...]) -> None:
    # A star at a name's end would be read as a pattern, which takes the name as well.
    assert compare(read_golden(write_golden(hops, "any")), hops).matches


@pytest.mark.parametrize(
    ("times", "expected"),
    [(2, (2, 2)), ("2", (2, 2)), ("1..3", (1, 3)), ("0..1", (0, 1)), ("2..", (2, 1_000))],
)
def test_times_are_a_number_or_a_range(times: int | str, expected: tuple[int, int]) -> None:
    assert read_times(times) == expected


@pytest.mark.parametrize("times", ["", "..3", "3..1", "0", 0, -1, "x", "1..2..3", "1...3", 2_000])
def test_other_times_are_refused(times: int | str) -> None:
    with pytest.raises(TrajectoryRefused, match="times"):
        read_times(times)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("v = 1", "hop"),
        ("v = 1\nhop = []", "at least one"),
        ('v = 2\n[[hop]]\nkind = "tool"', "version 2"),
        ('v = 1\n[[hop]]\nkind = "tol"', "no kind"),
        ('v = 1\n[[hop]]\nkind = "tool"\ntime = 2', "time"),
        ('v = 1\n[[hop]]\nkind = "tool"\n[[hop.hop]]\nkind = "x"', "no kind"),
        ("v = ", "Invalid"),
    ],
)
def test_a_golden_that_is_none_is_refused_with_the_reason(document: str, said: str) -> None:
    with pytest.raises(TrajectoryRefused, match=said):
        read_golden(document)


def test_a_step_takes_names_by_their_beginning() -> None:
    hop = Hop("tool", "search.web")
    assert Step("tool", "search*").takes(hop)
    assert Step("tool", "*").takes(hop)
    assert not Step("tool", "search").takes(hop)
    assert not Step("model", "*").takes(hop)
    assert Golden(1, (Step("tool", "*"),)).hop[0].label == "tool *"


def test_a_star_at_the_end_of_a_recorded_name_is_taken_as_a_pattern() -> None:
    hops = (Hop("source", "docs/*"),)
    assert compare(read_golden(write_golden(hops, "any")), (Hop("source", "docs/a"),)).matches
