"""Graphs as PROV-JSON: the `prov` package reads them, and every signed id comes back."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prov.model import ProvActivity, ProvAgent, ProvDocument, ProvEntity
from tests.support.graphs import agent_run, graph_of, new_prov_id, plain_answer, scribble

from verismo.attest.provdocument import DocumentRefused
from verismo.attest.provenance import Graph, GraphBuilder, GraphRefused, Node, node_id
from verismo.attest.provjson import (
    ENTITIES,
    ProvClaim,
    ProvRecord,
    read_prov_claim,
    read_prov_json,
    write_prov_json,
)

RECORDED = {"plain": plain_answer(1), "run": agent_run(), "nested": agent_run(depth=2)}
RELATIONS = ("used", "wasInformedBy", "wasGeneratedBy", "wasDerivedFrom")


def written(recorded):
    return write_prov_json(ProvRecord(recorded.graph(), "c3RhdGVk", "aGVhZA..c2lnbmVk"))


def by_prov(data):
    return ProvDocument.deserialize(content=data, format="json")


@pytest.fixture(params=RECORDED.values(), ids=RECORDED)
def recorded(request):
    return request.param


def test_what_is_written_is_read_back_whole(recorded):
    record = read_prov_json(written(recorded))
    assert record == ProvRecord(recorded.graph(), "c3RhdGVk", "aGVhZA..c2lnbmVk")
    assert node_id(record.graph.nodes[-1]) == recorded.builder.root


@pytest.mark.slow
def test_the_prov_package_reads_it_and_round_trips_it(recorded):
    document = by_prov(written(recorded))
    again = document.serialize(format="json").encode()
    assert by_prov(again) == document
    assert read_prov_json(again).graph == recorded.graph()


@pytest.mark.slow
def test_the_prov_package_finds_each_hop_as_what_it_is(recorded):
    document = by_prov(written(recorded))
    kinds = [node.kind for node in recorded.graph().nodes]
    entities = sum(kind in ENTITIES for kind in kinds)
    assert len(list(document.get_records(ProvEntity))) == entities
    assert len(list(document.get_records(ProvActivity))) == len(kinds) - entities
    labels = {str(agent.label) for agent in document.get_records(ProvAgent)}
    assert f"policy bundle {'1f' * 32}" in labels


def test_each_input_is_one_relation_that_fits_its_ends(recorded):
    document = json.loads(written(recorded))
    found = {name: document.get(name, {}) for name in RELATIONS}
    inputs = sum(len(node.inputs) for node in recorded.graph().nodes)
    assert sum(map(len, found.values())) == inputs
    for record in found["used"].values():
        assert record["prov:activity"] in document["activity"]
        assert record["prov:entity"] in document["entity"]
    for record in found["wasGeneratedBy"].values():
        assert record["prov:activity"] in document["activity"]
        assert record["prov:entity"] in document["entity"]
    for record in found["wasInformedBy"].values():
        assert {record["prov:informed"], record["prov:informant"]} <= set(document["activity"])


def test_who_had_a_part_is_associated():
    document = json.loads(written(agent_run(calls=1)))
    associated = {
        (document["activity"][one["prov:activity"]]["prov:type"]["$"], one["prov:agent"])
        for one in document["wasAssociatedWith"].values()
    }
    assert ("vm:policy", f"agent:bundle.{'1f' * 32}") in associated
    assert ("vm:model", "agent:provider.openai") in associated
    assert ("vm:retrieval", "agent:reporter") in associated
    assert {agent for _, agent in associated} == set(document["agent"])


names = st.text(st.characters(max_codepoint=127), max_size=8)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
facts = st.dictionaries(
    names, texts | st.integers(-(2**53) + 1, 2**53 - 1) | st.booleans(), max_size=8
)


@settings(deadline=None)
@given(facts, st.integers(0, 2**53 - 1), st.integers(0, 2**53 - 1))
def test_any_attributes_and_times_come_back(attrs, began_ms, ended_ms):
    builder = GraphBuilder(new_prov_id(0))
    request = builder.add("request", [], attrs, (began_ms, ended_ms), "ab" * 32)
    tool = builder.add("tool", [request], attrs, (began_ms, ended_ms))
    builder.add("response", [tool, request], attrs, (began_ms, ended_ms))
    graph = graph_of(builder, new_prov_id(0))
    assert read_prov_json(write_prov_json(ProvRecord(graph))) == ProvRecord(graph)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(facts)
def test_any_attributes_survive_the_prov_package(attrs):
    builder = GraphBuilder(new_prov_id(0))
    request = builder.add("request", [], attrs, (5, 5), "ab" * 32)
    builder.add("response", [request], {}, (5, 5))
    graph = graph_of(builder, new_prov_id(0))
    again = by_prov(write_prov_json(ProvRecord(graph))).serialize(format="json").encode()
    assert read_prov_json(again).graph == graph


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 30))
def test_any_graph_comes_back_with_its_root(seed, hops):
    graph = scribble(seed, hops).graph()
    assert read_prov_json(write_prov_json(ProvRecord(graph))).graph == graph


def changed(change):
    document = json.loads(written(agent_run(calls=1, searches=0, tools=0)))
    change(document)
    return json.dumps(document).encode()


def first(document, part="activity"):
    return next(iter(document[part].values()))


def kind_of(document, kind):
    parts = {**document["entity"], **document["activity"]}
    return next(one for one in parts.values() if one["prov:type"]["$"] == f"vm:{kind}")


def rename(document):
    name = next(iter(document["activity"]))
    document["activity"]["node:" + "0" * 64] = document["activity"].pop(name)


ATTACKS = {
    "a changed fact": lambda d: kind_of(d, "policy").update({"attr:decision": "deny"}),
    "an added fact": lambda d: first(d).update({"attr:more": 1}),
    "a removed fact": lambda d: kind_of(d, "policy").pop("attr:decision"),
    "a changed time": lambda d: first(d).update({"vm:t1": {"$": "7", "type": "xsd:long"}}),
    "a changed commitment": lambda d: first(d).update({"vm:commit": "00" * 32}),
    "another kind": lambda d: kind_of(d, "route")["prov:type"].update({"$": "vm:cache"}),
    "an unknown kind": lambda d: first(d)["prov:type"].update({"$": "vm:wish"}),
    "a kind of another name space": lambda d: first(d)["prov:type"].update({"$": "attr:model"}),
    "no kind": lambda d: first(d).pop("prov:type"),
    "another name": rename,
    "a removed input": lambda d: d["used"].pop(next(iter(d["used"]))),
    "inputs in another order": lambda d: first(d, "used")["vm:place"].update({"$": "7"}),
    "a relation with more": lambda d: first(d, "used").update({"prov:role": "x"}),
    "an input from nowhere": lambda d: first(d, "used").update({"prov:entity": "node:00"}),
    "an input of nothing": lambda d: d["used"].update(
        {"_:x": {"prov:activity": "node:00", "prov:entity": "node:00", "vm:place": 1}}
    ),
    "the wrong relation": lambda d: d.update(
        {
            "wasInformedBy": {},
            "used": d["used"]
            | {
                key: {
                    "prov:activity": one["prov:informed"],
                    "prov:entity": one["prov:informant"],
                    "vm:place": one["vm:place"],
                }
                for key, one in d["wasInformedBy"].items()
            },
        }
    ),
    "a number twice": lambda d: first(d).update({"vm:number": 1}),
    "a number that leaves a gap": lambda d: kind_of(d, "route").update({"vm:number": 99}),
    "a number in words": lambda d: first(d).update({"vm:number": {"$": "x", "type": "xsd:long"}}),
    "a number that is none": lambda d: first(d).update({"vm:number": True}),
    "a fact that is a list": lambda d: first(d).update({"attr:x": ["a", "b"]}),
    "a fact that is a fraction": lambda d: first(d).update({"attr:x": 0.5}),
    "a truth that is neither": lambda d: first(d).update(
        {"attr:x": {"$": "maybe", "type": "xsd:boolean"}}
    ),
    "a name spelled otherwise": lambda d: first(d).update({"attr:%61": 1}),
    "something unknown": lambda d: first(d).update({"vm:secret": 1}),
    "other prefixes": lambda d: d["prefix"].update({"node": "http://example.org/"}),
    "an activity among the entities": lambda d: d["entity"].update(dict([d["activity"].popitem()])),
    "another version": lambda d: [one.update({"vm:version": 2}) for one in d["entity"].values()],
    "an answer without an id": lambda d: [
        one.update({"vm:answer": "x"}) for one in d["entity"].values() if "vm:answer" in one
    ],
    "a statement that is no text": lambda d: [
        one.update({"vm:statement": 5}) for one in d["entity"].values() if "vm:answer" in one
    ],
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_tampered_documents_are_refused(attack):
    read_prov_json(changed(lambda _: None))
    with pytest.raises((DocumentRefused, GraphRefused)):
        read_prov_json(changed(attack))


def test_labels_calendar_times_and_agents_are_not_read_back():
    def relabel(document):
        document.pop("agent")
        document.pop("wasAssociatedWith")
        for one in (*document["entity"].values(), *document["activity"].values()):
            one["prov:label"] = "something else"
            one.pop("prov:startTime", None)

    original = read_prov_json(changed(lambda _: None))
    assert read_prov_json(changed(relabel)) == original


def test_other_spellings_of_the_same_values_are_read():
    def respell(document):
        for one in (*document["entity"].values(), *document["activity"].values()):
            for name, value in one.items():
                if isinstance(value, dict) and value["type"] == "xsd:long":
                    one[name] = int(value["$"])
                elif isinstance(value, dict) and value["type"] == "xsd:boolean":
                    one[name] = value["$"] == "true"
            if "vm:commit" in one:
                one["vm:commit"] = {"$": one["vm:commit"], "type": "xsd:string"}
            one["prov:type"] = {**one["prov:type"], "type": "xsd:QName"}

    assert read_prov_json(changed(respell)) == read_prov_json(changed(lambda _: None))


@pytest.mark.parametrize("name", ["", "~", ".", "a.b", "a.", "a b:c", "%41", "\x00"])
def test_any_name_has_one_spelling(name):
    builder = GraphBuilder(new_prov_id(0))
    request = builder.add("request", [], {name: 1}, (0, 0))
    builder.add("response", [request], {}, (0, 0))
    record = ProvRecord(graph_of(builder, new_prov_id(0)))
    assert read_prov_json(write_prov_json(record)) == record


def test_a_number_that_no_graph_can_hold_is_refused():
    request = Node(1, "request", (), {"n": 2**53}, 0, 0)
    response = Node(1, "response", (node_id(request),), {}, 0, 0)
    graph = Graph(1, new_prov_id(0), (request, response))
    with pytest.raises(GraphRefused, match="integer"):
        read_prov_json(write_prov_json(ProvRecord(graph)))


def test_times_that_no_calendar_has_are_left_out_and_kept_exactly():
    builder = GraphBuilder(new_prov_id(0))
    request = builder.add("request", [], {}, (0, 0))
    far = 253_402_300_800_000
    tool = builder.add("tool", [request], {}, (5, far))
    builder.add("response", [tool], {}, (0, 0))
    graph = graph_of(builder, new_prov_id(0))
    data = write_prov_json(ProvRecord(graph))
    assert b"prov:endTime" not in data
    assert read_prov_json(data).graph.nodes[1].t1 == far


def test_a_w3c_document_is_no_graph():
    with pytest.raises(DocumentRefused, match="prefixes"):
        read_prov_json(b'{"prefix":{"ex":"http://example.org/"},"entity":{"ex:e1":{}}}')


@pytest.mark.parametrize(
    ("data", "claim"),
    [
        (b"5", None),
        (b"\xff", None),
        (b'{"prefix":{"vm":"urn:other:"}}', None),
        (b'{"prefix":{"vm":"urn:verismo:prov:"}}', ProvClaim()),
        (b'{"prefix":{"a":5,"vm":"urn:verismo:prov:"},"entity":{"a":5}}', ProvClaim()),
        (
            b'{"prefix":{"node":"urn:verismo:node:"},"entity":{"a":{"vm:answer":"x"},"b":'
            b'{"vm:statement":5,"vm:signature":"y"}}}',
            ProvClaim("x", "", "y"),
        ),
    ],
)
def test_what_a_document_claims_to_be_is_read_without_its_hops(data, claim):
    assert read_prov_claim(data) == claim


@pytest.mark.parametrize("attack", [a for n, a in ATTACKS.items() if n != "other prefixes"])
def test_a_tampered_document_still_claims_to_be_of_this_mapping(attack):
    assert read_prov_claim(changed(attack)) is not None
