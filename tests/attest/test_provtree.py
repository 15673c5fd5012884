"""The tree: every hop once, in its place, with what it cost; the rest is referred to by number."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.graphs import agent_run, graph_of, new_prov_id, plain_answer, scribble

from verismo.attest.provenance import GraphBuilder
from verismo.attest.provtree import draw_tree, lay_out
from verismo.attest.provview import view_graph


def lines_of(recorded):
    return draw_tree(view_graph(recorded.graph()))


def line(lines, number):
    return next(one for one in lines if one.number == number)


def test_a_plain_answer_is_a_flat_list_in_the_order_of_events():
    lines = lines_of(plain_answer())
    assert [one.number for one in lines] == [0, 1, 2, 3, 4, 5, 6]
    assert {one.branches for one in lines[1:-1]} == {"├─ "}
    assert lines[-1].branches == "└─ "
    assert lines[0].label == f"answer {new_prov_id(0)}"
    assert lines[0].facts == (
        "POST /v1/chat/completions 200",
        "311 ms",
        "$0.0021",
        "812 in, 96 out",
    )
    assert lines[5].label == "model     gpt-4o-mini"
    assert lines[5].offset_ms == 1


def test_policy_decisions_and_failed_tries_are_said():
    lines = lines_of(plain_answer(failed=1))
    assert line(lines, 2).label == "policy    allow"
    assert line(lines, 5).facts == ("310 ms", "upstream_timeout")
    assert line(lines, 5).marks == ("failed",)
    assert line(lines, 6).marks == ()


def test_a_joined_call_is_a_subtree_under_its_own_prov_id():
    lines = lines_of(agent_run(calls=1, searches=0, tools=0))
    text = lay_out(lines).splitlines()
    heading = next(at for at, row in enumerate(text) if f"call {new_prov_id(1)}" in row)
    assert "│  └─ call" in text[heading]
    assert "│     ├─ request   POST /v1/chat/completions" in text[heading + 1]
    assert "$0.0021" in text[heading]


def test_reported_hops_are_marked_and_the_others_are_not():
    recorded = agent_run(calls=1, searches=1, tools=1)
    nodes = recorded.graph().nodes
    for one in lines_of(recorded):
        if one.number:
            said = "reported" in one.marks
            assert said == bool(nodes[one.number - 1].attrs.get("reported"))


def test_a_shared_hop_is_shown_once_and_referred_to():
    builder = GraphBuilder(new_prov_id(0))
    request = builder.add("request", [], {}, (0, 0))
    shared = builder.add("source", [], {"uri": "a"}, (1, 1))
    first = builder.add("retrieval", [request, shared], {"name": "x"}, (1, 2))
    second = builder.add("retrieval", [request, shared], {"name": "y"}, (1, 3))
    builder.add("response", [request, first, second], {}, (4, 4))
    lines = draw_tree(view_graph(graph_of(builder, new_prov_id(0))))
    assert [one.number for one in lines] == [0, 1, 5, 3, 2, 4]
    assert "uses 1" in line(lines, 3).facts
    assert "uses 1, 2" in line(lines, 4).facts
    assert not any("uses" in fact for fact in line(lines, 5).facts)


@pytest.mark.parametrize("attack", ["\x1b]0;owned\x07", "a\nb", "\u202e"])
def test_foreign_text_brings_no_control_characters_into_the_tree(attack):
    builder = GraphBuilder(new_prov_id(0))
    request = builder.add("request", [], {"method": attack, "path": attack}, (0, 0))
    tool = builder.add("tool", [request], {"name": attack, "error": attack}, (0, 0))
    builder.add("response", [tool], {"status": 200, "code": attack}, (0, 0))
    text = lay_out(draw_tree(view_graph(graph_of(builder, new_prov_id(0)))))
    assert all(row.isprintable() for row in text.split("\n"))
    assert text.count("\n") == 3


def test_a_long_title_is_cut_and_the_columns_stay():
    builder = GraphBuilder(new_prov_id(0))
    request = builder.add("request", [], {"method": "GET", "path": "/" + "x" * 500}, (0, 0))
    builder.add("response", [request], {"status": 200}, (0, 0))
    rows = lay_out(draw_tree(view_graph(graph_of(builder, new_prov_id(0))))).splitlines()
    assert max(map(len, rows[1:])) < 100
    assert len({row.index("+0 ms") for row in rows}) == 1


def test_what_began_before_the_seal_of_a_run_at_the_client_has_one_sign():
    builder = GraphBuilder(new_prov_id(0))
    request = builder.add("request", [], {}, (1_000, 1_000))
    tool = builder.add("tool", [request], {"tool": "search", "reported": True}, (930, 940))
    builder.add("response", [tool], {"status": 200}, (1_001, 1_001))
    rows = lay_out(draw_tree(view_graph(graph_of(builder, new_prov_id(0))))).splitlines()
    assert " -70 ms  10 ms" in next(row for row in rows if "search" in row)
    assert " +1 ms" in rows[-1]


def test_a_chain_as_long_as_a_graph_may_be_is_drawn():
    builder = GraphBuilder(new_prov_id(0))
    last = builder.add("request", [], {}, (0, 0))
    side = builder.add("source", [], {}, (0, 0))
    for number in range(996):
        side = builder.add("transform", [side], {"n": number}, (0, 0))
    builder.add("response", [last, side], {}, (0, 0))
    lines = draw_tree(view_graph(graph_of(builder, new_prov_id(0))))
    assert len(lines) == 1_000


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 40))
def test_every_hop_stands_in_the_tree_exactly_once(seed, hops):
    recorded = scribble(seed, hops)
    numbers = [one.number for one in lines_of(recorded)]
    assert sorted(numbers) == list(range(len(recorded.builder) + 1))


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 40))
def test_every_input_is_shown_beneath_before_or_by_number(seed, hops):
    view = view_graph(scribble(seed, hops).graph())
    lines = {one.number: one for one in draw_tree(view)}
    for position, used in enumerate(view.inputs):
        spine = view.answer.spine
        shown = set(view.beneath[position])
        if position in spine[1:]:
            shown.add(spine[spine.index(position) - 1])
        named = [fact for fact in lines[position + 1].facts if fact.startswith("uses ")]
        numbers = {int(text) - 1 for text in named[0][5:].split(", ")} if named else set()
        assert shown | numbers >= set(used)
        assert numbers <= set(used)
