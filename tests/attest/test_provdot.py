"""DOT: a strict reader of the language's quoted strings and statements understands all of it, and
finds the graph's hops, edges and texts.
"""

import html
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.graphs import agent_run, graph_of, new_prov_id, plain_answer, scribble

from verismo.attest.provdot import quoted, write_dot
from verismo.attest.provenance import GraphBuilder
from verismo.attest.provview import view_graph
from verismo.attest.provwords import plain

TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|(->)|([A-Za-z_][A-Za-z_0-9]*|[0-9]+)|([{}\[\]=;,]))')
ATTACKS = (
    '"]; evil [label="',
    "\\",
    '\\"',
    "a\\nb",
    "<b>x</b>",
    "&quot;",
    "line\nline",
    "}\0",
    "*/",
)


def tokens(document):
    """Split a document into strings, arrows, names and signs; nothing else may stand in it."""
    text, at, found = document.decode("utf-8").rstrip(), 0, []
    while at < len(text):
        match = TOKEN.match(text, at)
        assert match, f"not DOT: {text[at : at + 40]!r}"
        found.append(next(group for group in match.groups() if group))
        at = match.end()
    return found


class Reader:
    """Reads the part of DOT that is written: statements, attribute lists, clusters."""

    def __init__(self, document):
        self.rest = tokens(document)
        self.nodes, self.edges, self.inside, self.labels = {}, [], {}, {}
        assert self.take() == "digraph"
        self.take()
        self.body("")
        assert self.rest == []

    def take(self, wanted=None):
        token = self.rest.pop(0)
        assert wanted in (None, token), f"{token} where {wanted} belongs"
        return token

    def body(self, cluster):
        self.take("{")
        while self.rest[0] != "}":
            self.statement(cluster)
        self.take("}")

    def statement(self, cluster):
        name = self.take()
        if name == "subgraph":
            inner = self.take()
            assert inner.startswith("cluster_")
            self.body(inner)
            return
        if self.rest[0] == "=":
            self.take()
            self.labels[cluster, name] = self.take()
        elif self.rest[0] == "->":
            self.take()
            self.edges.append((name, self.take()))
        else:
            assert name not in self.nodes
            self.nodes[name] = self.attributes()
            self.inside[name] = cluster
        self.take(";")

    def attributes(self):
        found = {}
        self.take("[")
        while self.rest[0] != "]":
            name = self.take()
            self.take("=")
            found[name] = self.take()
            if self.rest[0] == ",":
                self.take()
        self.take("]")
        return found


def meant(string):
    """Return what Graphviz shows for a quoted string: entities and escapes resolved."""
    inner = string[1:-1]
    return html.unescape(re.sub(r"\\(.)", lambda found: found[1], inner))


def read(recorded):
    return Reader(write_dot(view_graph(recorded.graph())))


@pytest.mark.parametrize("recorded", [plain_answer(), agent_run(), agent_run(depth=2)])
def test_every_hop_and_every_edge_is_there(recorded):
    view = view_graph(recorded.graph())
    found = read(recorded)
    hops = {name: one for name, one in found.nodes.items() if name != "node"}
    assert set(hops) == {f"n{number + 1}" for number in range(len(view.nodes))}
    wanted = [
        (f"n{used + 1}", f"n{user + 1}")
        for user, all_used in enumerate(view.inputs)
        for used in all_used
    ]
    assert found.edges == wanted
    for number, node in enumerate(view.nodes):
        assert node.kind in hops[f"n{number + 1}"]["label"]
        assert hops[f"n{number + 1}"]["tooltip"] == f'"{view.ids[number]}"'


def test_a_joined_call_is_a_cluster_with_its_prov_id():
    recorded = agent_run(calls=2, searches=0, tools=0, depth=1)
    view, found = view_graph(recorded.graph()), read(recorded)
    for position, owner in enumerate(view.owner):
        cluster = "" if owner == view.answer.response else f"cluster_{owner + 1}"
        assert found.inside[f"n{position + 1}"] == cluster
        if cluster:
            assert view.calls[owner].prov_id in found.labels[cluster, "label"]


def test_reported_and_failed_hops_have_a_line_and_a_word_of_their_own():
    recorded = agent_run(calls=2)
    found = read(recorded)
    for number, node in enumerate(recorded.graph().nodes):
        one = found.nodes[f"n{number + 1}"]
        assert ("reported" in one["label"]) == (one["style"] == "dashed")
        assert ("reported" in one["label"]) == bool(node.attrs.get("reported"))
        assert ("failed" in one["label"]) == (one["style"] == "bold")


@pytest.mark.parametrize("attack", ATTACKS)
def test_foreign_text_cannot_leave_its_string(attack):
    builder = GraphBuilder(new_prov_id(0))
    request = builder.add("request", [], {"method": attack, "path": attack}, (0, 0))
    tool = builder.add("tool", [request], {"name": attack, "error": attack}, (0, 0))
    builder.add("response", [tool], {"status": 200, "code": attack}, (0, 0))
    found = Reader(write_dot(view_graph(graph_of(builder, new_prov_id(0)))))
    assert set(found.nodes) == {"node", "n1", "n2", "n3"}
    assert len(found.edges) == 2


@settings(deadline=None)
@given(st.text())
def test_a_quoted_text_means_itself(text):
    string = quoted(text)
    assert TOKEN.fullmatch(string)
    assert meant(string) == plain(text)


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 40))
def test_any_graph_is_read_back_whole(seed, hops):
    recorded = scribble(seed, hops)
    found = read(recorded)
    assert len(found.nodes) == len(recorded.builder) + 1
    assert len(found.edges) == sum(len(node.inputs) for node in recorded.graph().nodes)


def test_a_wrong_document_is_not_read():
    with pytest.raises(AssertionError):
        Reader(b'digraph provenance {\n n1 [label="a" b"];\n}')
