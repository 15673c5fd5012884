"""Graphs of plain answers and of agent runs, as the gateway draws them."""

from verismo.attest.joining import join
from verismo.attest.lineage import select
from verismo.attest.provenance import Graph, GraphBuilder, read_graph
from verismo.model.ids import ProvId
from verismo.model.run import NotedCall, ReportedHop, ReportedSource, Run

PROV_ID = ProvId("018f3c1d-0000-7000-8000-00000000000a")
CALL_ID = ProvId("018f3c1d-0000-7000-8000-00000000000b")
RUN_SPAN = "a" * 16


def graph_of(name: str) -> Graph:
    """Return the graph of one chat completion."""
    return read_graph(_chat(CALL_ID, 1_000, name))[0]


def run_graph(*, start_ms: int = 1_000, salt: str = "00", tools: int = 1) -> Graph:
    """Return the graph of an agent run: a retrieval with two sources, a call, and some tools.

    Args:
        start_ms: when it began.
        salt: two hex digits that stand in its commitments.
        tools: how often the tool ran.
    """
    before = GraphBuilder(PROV_ID)
    first = before.add(
        "request", (), {"path": "/v1/agents/helper", "prov_id": PROV_ID}, (start_ms, start_ms)
    )
    last = before.add("policy", (first,), {"decision": "allow"}, (start_ms, start_ms))
    commit = salt * 32
    sources = tuple(ReportedSource(f"docs/{name}.md", commit, 10) for name in "ab")
    hops = [
        ReportedHop(
            *("1" * 16, RUN_SPAN, "retrieval", {"data_source": "docs"}, start_ms + 1, start_ms + 2),
            sources=sources,
        )
    ]
    for number in range(tools):
        at = start_ms + 10 + number
        facts: dict[str, str | int | bool] = {"tool": "lookup"}
        hops.append(ReportedHop(f"2{number:015x}", RUN_SPAN, "tool", facts, at, at, commit))
    call = NotedCall("3" * 16, RUN_SPAN, RUN_SPAN, CALL_ID, start_ms + 3, start_ms + 4)
    run = Run(RUN_SPAN, (call,), tuple(hops))
    document = _chat(CALL_ID, start_ms + 3, salt)
    joined = join(before, last, select(run), {CALL_ID: document})
    graph = joined.graph
    own = graph.add(
        "tool", (last, *joined.tops), {"deployment": "helper"}, (start_ms, start_ms + 9)
    )
    graph.add("response", (own,), {"status": 200}, (start_ms + 9, start_ms + 9))
    return read_graph(graph.encode())[0]


def _chat(prov_id: ProvId, at_ms: int, note: str) -> bytes:
    graph = GraphBuilder(prov_id)
    span = (at_ms, at_ms)
    last = graph.add(
        "request", (), {"path": "/v1/chat/completions", "note": note, "prov_id": prov_id}, span
    )
    facts = {"decision": "allow", "operation": "support.answer"}
    last = graph.add("policy", (last,), {**facts}, span)
    last = graph.add("model", (last,), {"model": "small-1", "deployment": "one"}, span)
    graph.add("response", (last,), {"status": 200}, span)
    return graph.encode()
