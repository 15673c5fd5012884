"""Calls within a graph: told apart by their responses, or not at all where they are not apart."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.graphs import Recorded, agent_run, graph_of, new_prov_id, plain_answer, scribble

from verismo.attest.provenance import GraphBuilder
from verismo.attest.provview import view_graph


def test_a_plain_answer_is_one_call_and_all_of_it_is_its_spine():
    view = view_graph(plain_answer().graph())
    assert list(view.calls) == [5]
    assert view.answer.prov_id == view.prov_id
    assert view.answer.spine == view.answer.hops == tuple(range(6))
    assert view.beneath == ((),) * 6
    assert view.come_after() == (None,) * 6


def test_joined_calls_are_told_apart_and_keep_their_prov_id():
    recorded = agent_run(calls=2, searches=1, tools=1)
    view = view_graph(recorded.graph())
    inner = [call for call in view.calls.values() if call.response != view.answer.response]
    assert [call.prov_id for call in inner] == [new_prov_id(n) for n in (1, 2, 3)]
    assert {call.parent for call in inner} == {view.answer.response}
    for call in inner:
        assert view.nodes[call.hops[0]].kind == "request"
        assert view.nodes[call.response].kind == "response"


def test_a_run_within_a_run_is_inside_it():
    view = view_graph(agent_run(calls=1, searches=0, tools=0, depth=2).graph())
    parents = {response: call.parent for response, call in view.calls.items()}
    last = view.answer.response
    depths = set()
    for response in parents:
        depth, place = 0, response
        while place != last:
            depth, place = depth + 1, parents[place]
        depths.add(depth)
    assert depths == {0, 1, 2, 3}
    assert parents[last] == last


def test_the_spine_of_a_run_leads_by_the_exchange_with_the_agent():
    view = view_graph(agent_run().graph())
    kinds = [view.nodes[hop].kind for hop in view.answer.spine]
    assert kinds == ["request", "policy", "budget", "route", "tool", "response"]


def test_what_an_agent_did_stands_beneath_the_exchange_with_it():
    view = view_graph(agent_run(calls=1, searches=1, tools=1).graph())
    exchange = view.answer.spine[-2]
    assert [view.nodes[hop].kind for hop in view.beneath[exchange]] == [
        "retrieval",
        "response",
        "tool",
    ]
    after = view.come_after()
    route = view.answer.spine[-3]
    assert {after[hop] for hop in view.beneath[exchange]} == {route}
    sources = [hop for hop, node in enumerate(view.nodes) if node.kind == "source"]
    assert {after[hop] for hop in sources} == {route}


def test_a_run_costs_what_it_and_the_calls_inside_cost():
    view = view_graph(agent_run(calls=2, searches=0, tools=1, depth=1).graph())
    costs = sorted(call.cost_usd_micros for call in view.calls.values())
    inner = 9_400 + 3 * 2_100
    assert costs == [*(2_100,) * 6, inner, 9_400 + 3 * 2_100 + inner]
    asked = Recorded()
    asked.hop("response", [asked.hop("request", (), {})], {"status": 200})
    assert view_graph(asked.graph()).answer.cost_usd_micros is None


def test_a_hop_used_twice_is_shown_once_beneath_the_first_user():
    builder = GraphBuilder(new_prov_id(0))
    request = builder.add("request", [], {}, (0, 0))
    shared = builder.add("source", [], {"uri": "a"}, (1, 1))
    first = builder.add("retrieval", [request, shared], {"name": "x"}, (1, 2))
    second = builder.add("retrieval", [request, shared], {"name": "y"}, (1, 3))
    builder.add("response", [request, first, second], {}, (4, 4))
    view = view_graph(graph_of(builder, new_prov_id(0)))
    assert view.beneath == ((), (), (1,), (), (2, 3))


def test_calls_are_not_told_apart_where_an_inner_hop_is_used_outside():
    recorded = Recorded()
    last = recorded.opening("/a", recorded.prov_id)
    inner = recorded.model_call()
    leaked = recorded.builder.nodes[-2].inputs[0]
    recorded.hop("tool", [last, inner, leaked], {"name": "peeks"})
    recorded.hop("response", [recorded.builder.root], {"status": 200})
    view = view_graph(recorded.graph())
    assert list(view.calls) == [len(view.nodes) - 1]
    assert set(view.owner) == {len(view.nodes) - 1}


def test_calls_are_not_told_apart_where_one_is_used_by_two_others():
    recorded = Recorded()
    last = recorded.opening("/a", recorded.prov_id)
    inner = recorded.model_call()
    other = recorded.hop("tool", [inner], {"name": "in another"})
    outer = recorded.answered(other)
    recorded.hop("response", [last, outer, inner], {"status": 200})
    view = view_graph(recorded.graph())
    assert len(view.calls) == 1


@pytest.mark.parametrize("stated", ["", "x" * 36, "javascript:alert(1)", 7])
def test_a_call_whose_request_names_no_prov_id_has_none(stated):
    recorded = Recorded()
    last = recorded.opening("/a", recorded.prov_id)
    asked = recorded.hop("request", (), {"prov_id": stated})
    inner = recorded.hop("response", [asked], {"status": 200})
    recorded.answered(recorded.hop("tool", [last, inner], {}))
    view = view_graph(recorded.graph())
    assert [call.prov_id for call in view.calls.values()] == ["", recorded.prov_id]


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 40))
def test_every_hop_has_one_place_in_any_graph(seed, hops):
    view = view_graph(scribble(seed, hops).graph())
    on_spines = [hop for call in view.calls.values() for hop in call.spine]
    below = [hop for places in view.beneath for hop in places]
    places = [*(hop for hop in on_spines if hop not in view.calls), *below]
    assert sorted([*places, view.answer.response]) == list(range(len(view.nodes)))


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))
def test_every_hop_of_a_run_belongs_to_one_call(calls, searches, tools, depth):
    view = view_graph(agent_run(calls, searches, tools, depth).graph())
    owned = sorted(hop for call in view.calls.values() for hop in call.hops)
    assert owned == list(range(len(view.nodes)))
    below = [hop for places in view.beneath for hop in places]
    assert len(set(below)) == len(below)
