"""Vectors about provenance graphs: each belongs to a rightly signed answer."""

from collections.abc import Callable, Iterator

import msgspec
from forge import Case, Json, Recipe, Stream, Vector, encode, invalid, stream, valid, whole

from verismo.attest.provenance import Node, node_id
from verismo.model import canonical

Nodes = list[dict[str, Json]]


def vectors() -> Iterator[Vector]:
    """Return them all."""
    yield from _valid()
    yield from _unsigned_changes()
    yield from _signed_shapes()
    yield from _signed_nodes()
    yield from _spelling()


def graph_nodes(text: str) -> Nodes:
    """Return the nodes of a graph's text."""
    document: dict[str, Nodes] = msgspec.json.decode(text)
    return document["nodes"]


def _document(nodes: Nodes, **members: Json) -> str:
    listed: list[Json] = list(nodes)
    document: dict[str, Json] = {"v": 1, "prov_id": Recipe().prov_id, "nodes": listed, **members}
    return encode(document).decode("utf-8")


def _id(node: dict[str, Json]) -> str:
    return node_id(msgspec.convert(node, Node))


def _replaced(change: Callable[[Nodes], Nodes | None]) -> Case:
    """Return the valid answer with a changed graph; the statement still names the old one."""
    case = whole()
    nodes = graph_nodes(str(case.graph))
    changed = change(nodes)
    case.graph = _document(nodes if changed is None else changed)
    return case


def _relinked(change: Callable[[Nodes], Nodes | None]) -> Case:
    """Return an answer whose statement names the changed graph: only its shape is wrong."""
    source = whole()
    nodes = graph_nodes(str(source.graph))
    changed = change(nodes)
    return signed_over(nodes if changed is None else changed)


def signed_over(nodes: Nodes) -> Case:
    """Return an answer whose statement names a graph of these nodes."""

    def name_it(statement: dict[str, Json]) -> None:
        try:
            root = _id(nodes[-1])
        except msgspec.ValidationError:
            root = canonical.digest(encode(nodes[-1]))
        statement["dag"] = {"root": root, "nodes": len(nodes)}

    case = whole(Recipe(change=name_it))
    case.graph = _document(nodes)
    return case


def _add_source(nodes: Nodes, inputs: list[Json]) -> dict[str, Json]:
    node = {**nodes[1], "kind": "source", "in": inputs, "attrs": {"name": "added"}}
    nodes.insert(len(nodes) - 1, node)
    return node


def _link(nodes: Nodes, *ids: str) -> None:
    inputs = nodes[-1]["in"]
    if isinstance(inputs, list):
        inputs.extend(ids)


def _valid() -> Iterator[Vector]:
    hops = ("policy", "budget", "cache", "route", "retrieval", "source", "tool", "transform")
    yield valid(
        "graph-all-hops", "many kinds of hops", whole(Recipe(hops=(*hops, "model", "approval")))
    )
    yield valid("graph-smallest", "a request and a response", whole(Recipe(hops=())))
    letters = "🙂" * 512  # 512 code points, 1,024 UTF-16 units, 2,048 octets
    yield valid(
        "graph-attribute-512",
        "characters are code points",
        _relinked(lambda n: n[-1].update({"attrs": {"a": letters}})),
    )
    many = whole(Recipe(hops=("tool",) * 998))

    def swap(nodes: Nodes) -> None:
        _link(nodes, _id(_add_source(nodes, [])), _id(_add_tool(nodes)))
        nodes[-2], nodes[-3] = nodes[-3], nodes[-2]

    yield valid("graph-largest", "1,000 nodes", _chained(many, 1_000))
    yield valid(
        "graph-other-order",
        "two nodes that do not depend on each other change places",
        _relinked(swap),
    )


def _add_tool(nodes: Nodes) -> dict[str, Json]:
    node: dict[str, Json] = {**nodes[1], "kind": "tool", "attrs": {"name": "added tool"}}
    nodes.insert(len(nodes) - 1, node)
    return node


def _chained(case: Case, count: int) -> Case:
    """Give a graph of a row of nodes a response over the last one only."""
    nodes = graph_nodes(str(case.graph))
    first, last = nodes[0], nodes[-1]
    row = [first]
    for number in range(count - 2):
        row.append({**nodes[1], "in": [_id(row[-1])], "attrs": {"number": number}})
    row.append({**last, "in": [_id(row[-1])]})
    return _relinked(lambda _: row)


def _unsigned_changes() -> Iterator[Vector]:
    """The graph was changed after signing."""

    def attribute(nodes: Nodes) -> None:
        nodes[1]["attrs"] = {"number": 7}

    def response_attribute(nodes: Nodes) -> None:
        nodes[-1]["attrs"] = {"status": 500}

    def drop_input(nodes: Nodes) -> None:
        _unlink(nodes)
        nodes.pop(1)

    for name, shows, change in (
        ("attribute", "a fact about a hop was changed", attribute),
        ("response-attribute", "a fact about the response was changed", response_attribute),
        ("node-dropped", "a hop was dropped", drop_input),
        ("node-missing", "a hop is missing that others name", lambda n: n[:1] + n[2:]),
        ("extra-node", "a hop was added that nobody names", lambda n: _ignore(_add_source(n, []))),
        ("root-missing", "the response is missing", lambda n: n[:-1]),
        ("empty", "no nodes", lambda _: []),
    ):
        yield invalid(f"graph-{name}", shows, _replaced(change), 13)
    other = whole(Recipe(name="answer B"))
    case = whole()
    case.graph = other.graph
    yield invalid("graph-of-another", "the graph of another answer", case, 13)
    case = whole()
    case.graph = _document(graph_nodes(str(case.graph)), prov_id=Recipe(name="answer B").prov_id)
    yield invalid("graph-prov-id", "the graph names another answer", case, 13)
    streamed: Stream = stream()
    swapped = streamed.case()
    swapped.graph = whole().graph
    yield invalid("graph-of-another-stream", "a stream with another graph", swapped, 13, events=6)


def _ignore(node: dict[str, Json]) -> None:
    """The list was changed in place; keep it."""


def _unlink(nodes: Nodes) -> None:
    """Take the first hop out of all inputs."""
    gone = _id(nodes[1])
    for node in nodes:
        inputs = node["in"]
        if isinstance(inputs, list) and gone in inputs:
            inputs.remove(gone)


def _signed_shapes() -> Iterator[Vector]:
    """The gateway's own key signed the root of a graph that is not well formed."""

    def forward(nodes: Nodes) -> None:
        nodes[1]["in"] = [_id(nodes[-1])]

    def unknown(nodes: Nodes) -> None:
        _link(nodes, "00" * 32)

    def twice(nodes: Nodes) -> None:
        nodes.insert(2, dict(nodes[1]))

    def response_first(nodes: Nodes) -> None:
        nodes.insert(0, nodes.pop())

    def two_requests(nodes: Nodes) -> None:
        added = _add_source(nodes, [])
        added["kind"] = "request"
        _link(nodes, _id(added))

    def two_responses(nodes: Nodes) -> None:
        added = _add_source(nodes, [])
        added["kind"] = "response"
        _link(nodes, _id(added))

    def request_later(nodes: Nodes) -> None:
        nodes.insert(0, {**nodes[1], "kind": "source", "in": []})
        _link(nodes, _id(nodes[0]))

    for name, shows, change in (
        ("cycle", "a node names the response as its input", forward),
        ("self", "a node whose input is not there", lambda n: n[1].update({"in": ["11" * 32]})),
        ("missing-parent", "the response names a node that is not there", unknown),
        (
            "orphan",
            "a signed graph with a node nobody names",
            lambda n: _ignore(_add_source(n, [])),
        ),
        ("node-twice", "a node stands twice", twice),
        ("response-first", "the response is not last", response_first),
        ("two-requests", "two requests", two_requests),
        ("two-responses", "two responses", two_responses),
        ("request-later", "the request is not first", request_later),
        ("no-request", "no request", lambda n: n[1:]),
    ):
        yield invalid(f"graph-signed-{name}", shows, _relinked(change), 13)
    yield invalid("graph-signed-1001-nodes", "more than 1,000 nodes", _chained(whole(), 1_001), 13)
    for name, members in (("root", {"root": "00" * 32}), ("count", {"nodes": 5})):
        case = whole(Recipe(change=lambda s, m=members: _dag(s, m)))
        yield invalid(
            f"graph-signed-{name}-lies", f"the signed {name} is not the graph's", case, 13
        )


def _dag(statement: dict[str, Json], members: dict[str, Json]) -> None:
    dag = statement["dag"]
    if isinstance(dag, dict):
        dag.update(members)


def _signed_nodes() -> Iterator[Vector]:
    def commit(position: int, value: str | None) -> Callable[[Nodes], None]:
        def change(nodes: Nodes) -> None:
            if value is None:
                del nodes[position]["commit"]
            else:
                nodes[position]["commit"] = value
            for node in nodes[1:]:
                if position == 0:
                    node["in"] = []
            ids: list[Json] = [_id(node) for node in nodes[:-1]]
            nodes[-1]["in"] = ids

        return change

    for name, shows, change in (
        ("request-commit", "the graph's request is another", commit(0, "ab" * 32)),
        ("response-commit", "the graph's response is another", commit(-1, "ab" * 32)),
        ("no-request-commit", "the graph's request has no commitment", commit(0, None)),
        ("no-response-commit", "the graph's response has no commitment", commit(-1, None)),
        ("commit-upper-case", "a commitment in upper case", commit(1, "AB" * 32)),
        ("commit-short", "a commitment of 31 bytes", commit(1, "ab" * 31)),
    ):
        yield invalid(f"graph-node-{name}", shows, _relinked(change), 13)
    for name, shows, members in (
        ("version", "a node of version 2", {"v": 2}),
        ("kind", "a kind not known", {"kind": "magic"}),
        ("member", "a member not known", {"note": "x"}),
        ("float", "a fact that is a float", {"attrs": {"score": 0.5}}),
        ("nested", "a fact that is an object", {"attrs": {"a": {}}}),
        ("began-negative", "a time before 1970", {"t0": -1}),
        ("ended-negative", "a time before 1970", {"t1": -1}),
        ("key-not-ascii", "a fact's name beyond ASCII", {"attrs": {"ä": 1}}),
        ("attribute-long", "a fact of over 512 characters", {"attrs": {"a": "x" * 513}}),
        ("attributes-many", "33 facts", {"attrs": {f"a{n}": n for n in range(33)}}),
        ("inputs-twice", "one input twice", {"in": ["11" * 32, "11" * 32]}),
        ("inputs-many", "65 inputs", {"in": [f"{n:064x}" for n in range(65)]}),
    ):
        case = _relinked(lambda n, m=members: n[-1].update(m))
        yield invalid(f"graph-node-{name}", shows, case, 13)


def _spelling() -> Iterator[Vector]:
    text = str(whole().graph)
    for name, shows, graph in (
        ("spaced", "white space", text.replace(",", ", ")),
        ("line-end", "a line end after it", text + "\n"),
        ("key-twice", "a member stands twice", text.replace('"v":1}', '"v":1,"v":1}')),
        ("version-2", "version 2", _document(graph_nodes(text), v=2)),
        ("prov-id-malformed", "a prov_id that is none", _document(graph_nodes(text), prov_id="x")),
        ("member", "a member not known", _document(graph_nodes(text), extra=1)),
        ("not-json", "not JSON", "graph"),
        ("null", "null", "null"),
        ("text-empty", "an empty document", ""),
        ("deep", "nested 2,000 times", "[" * 2_000 + "]" * 2_000),
    ):
        case = whole()
        case.graph = graph
        yield invalid(f"graph-{name}", shows, case, 13)
