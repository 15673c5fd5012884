"""Vectors about graphs of agents' answers, which hold the graphs of the agent's calls."""

from collections.abc import Iterator, Sequence

from forge import ANSWER, QUESTION, TIME_MS, Recipe, Vector, invalid, prov_id, valid
from forge_graphs import Nodes, graph_nodes, signed_over

from verismo.attest.commitment import commit
from verismo.attest.provenance import GraphBuilder, split_graph
from verismo.model.hop import Attribute

BEGUN_MS = TIME_MS - 150
SPAN = (BEGUN_MS, BEGUN_MS + 50)


def vectors() -> Iterator[Vector]:
    """Return them all."""
    yield from _valid()
    yield from _forged()


def _call(name: str, inner: Sequence[bytes] = (), named: str | None = None) -> bytes:
    """Return the graph of a call through the gateway.

    Args:
        name: gives the identifier of its answer.
        inner: graphs of the calls that it made itself.
        named: what its request says its answer is called; None for the truth, empty for nothing.
    """
    builder = GraphBuilder(prov_id(name))
    salt = Recipe(name=name).salt
    called = prov_id(name) if named is None else named
    facts: dict[str, Attribute] = {"operation": "search"}
    if called:
        facts["prov_id"] = called
    request = builder.add("request", [], facts, SPAN, commit("req", salt, QUESTION))
    tops = [builder.embed(split_graph(graph)) for graph in inner]
    tool = builder.add("tool", [request, *tops], {"deployment": "search-eu"}, SPAN)
    builder.add("response", [tool], {"status": 200}, SPAN, commit("res", salt, ANSWER))
    return builder.encode()


def _run(*calls: bytes, own: str | None = None) -> Nodes:
    """Return the nodes of an agent's answer that made some calls, and reported a step."""
    recipe = Recipe()
    builder = GraphBuilder(recipe.prov_id)
    facts: dict[str, Attribute] = {"prov_id": recipe.prov_id if own is None else own}
    request = builder.add("request", [], facts, SPAN, recipe.request_commit)
    route = builder.add("route", [request], {"arm": "baseline"}, SPAN)
    tops = [builder.embed(split_graph(call)) for call in calls]
    source = builder.add("source", [], {"reported": True, "uri": "doc:1"}, SPAN, "ab" * 32)
    hop = {"reported": True, "span": "00f067aa0ba902b7"}
    tops.append(builder.add("retrieval", [source], hop, SPAN))
    agent = builder.add("tool", [route, *tops], {"deployment": "agent-eu"}, SPAN)
    answered = commit("res", recipe.salt, ANSWER)
    builder.add("response", [agent], {"status": 200, "hops_refused": 1}, SPAN, answered)
    return graph_nodes(builder.encode().decode("utf-8"))


def _valid() -> Iterator[Vector]:
    leaf = _call("call 1")
    yield valid("graph-joined", "an agent's answer with a call in it", signed_over(_run(leaf)))
    yield valid("graph-joined-none", "an agent that made no call", signed_over(_run()))
    yield valid(
        "graph-joined-nested",
        "an agent that called an agent that made two calls",
        signed_over(_run(_call("call 2", [leaf, _call("call 3")]), _call("call 4"))),
    )


def _forged() -> Iterator[Vector]:
    """The gateway's own key signed the root of a graph that is not well formed."""
    leaf = _call("call 1")
    for name, shows, nodes in (
        ("unnamed", "a call's request names no answer", _run(_call("call 1", named=""))),
        (
            "malformed",
            "a call's request names what is no prov_id",
            _run(_call("call 1", named="x")),
        ),
        (
            "own",
            "a call's request names the answer itself",
            _run(_call("call 1", named=Recipe().prov_id)),
        ),
        (
            "twice",
            "two calls name one answer",
            _run(leaf, _call("call 2", named=prov_id("call 1"))),
        ),
        ("request-of-another", "the request names another answer", _run(own=prov_id("call 1"))),
        ("name-number", "a call's name is a number", _run(_other_request({"prov_id": 7}))),
        ("no-response", "a call without its response", _run(_unanswered())),
        (
            "request-inputs",
            "a call's request has an input",
            _run(_other_request({"prov_id": prov_id("call 1")}, with_input=True)),
        ),
    ):
        yield invalid(f"graph-joined-{name}", shows, signed_over(nodes), 13)


def _other_request(facts: dict[str, Attribute], *, with_input: bool = False) -> bytes:
    """Return a call whose request is not what it has to be."""
    builder = GraphBuilder(prov_id("call 1"))
    inputs = [builder.add("source", [], {"uri": "doc:2"}, SPAN)] if with_input else []
    request = builder.add("request", inputs, facts, SPAN, "cd" * 32)
    builder.add("response", [request], {"status": 200}, SPAN, "ef" * 32)
    return builder.encode()


def _unanswered() -> bytes:
    """Return what a call would leave if its response did not belong to it."""
    builder = GraphBuilder(prov_id("call 1"))
    request = builder.add("request", [], {"prov_id": prov_id("call 1")}, SPAN, "cd" * 32)
    builder.add("tool", [request], {"deployment": "search-eu"}, SPAN)
    return builder.encode()
