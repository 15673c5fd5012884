"""Graphs as a gateway builds them: single answers, and runs with joined calls and reported hops."""

import random

from msgspec import UNSET

from verismo.attest.provenance import Graph, GraphBuilder
from verismo.model.ids import prov_id_from

BEGAN_MS = 1_790_000_000_000


def new_prov_id(number: int) -> str:
    """Return the same prov_id for the same number."""
    return prov_id_from(BEGAN_MS + number, number.to_bytes(10, "big"))


def graph_of(builder: GraphBuilder, prov_id: str) -> Graph:
    """Return what was built, parsed."""
    return Graph(1, prov_id, builder.nodes)


class Recorded:
    """Builds one graph, like the gateway and an agent together.

    Args:
        number: gives its prov_id.
    """

    def __init__(self, number: int = 0) -> None:
        self.prov_id = new_prov_id(number)
        self.builder = GraphBuilder(self.prov_id)
        self.now_ms = BEGAN_MS
        self._called = number

    def hop(self, kind, inputs, attrs, took_ms=0, commit="ab" * 32):
        span = (self.now_ms, self.now_ms + took_ms)
        self.now_ms += took_ms
        return self.builder.add(kind, inputs, attrs, span, commit)

    def opening(self, path, prov_id):
        """Add request, policy, budget and route; return the last."""
        attrs = {"method": "POST", "path": path, "prov_id": prov_id, "trace": "0" * 31 + "1"}
        last = self.hop("request", (), attrs)
        facts = {"bundle": "1f" * 32, "decision": "allow", "registered": True, "purpose": "support"}
        last = self.hop("policy", [last], facts, 1)
        last = self.hop("budget", [last], {"reserved_usd_micros": 12_000})
        return self.hop("route", [last], {"arm": "baseline", "candidates": 2})

    def answered(self, last, cost=2_100):
        attrs = {"status": 200, "cost_usd_micros": cost, "input_tokens": 812, "output_tokens": 96}
        return self.hop("response", [last], attrs)

    def model_call(self, failed=0, path="/v1/chat/completions", prov_id=None):
        """Add a whole chat, as it is joined or by itself; return its response."""
        if prov_id is None:
            self._called += 1
            prov_id = new_prov_id(self._called)
        last = self.opening(path, prov_id)
        for number in range(failed + 1):
            attrs = {"deployment": "small-eu", "provider": "openai", "model": "gpt-4o-mini"}
            attrs |= {"try": number + 1, "region": "eu", "sent": "cd" * 32}
            attrs |= {"error": "upstream_timeout"} if number < failed else {"status": 200}
            last = self.hop("model", [last], attrs, 310)
        return self.answered(last)

    def reported(self, kind, inputs, **attrs):
        return self.hop(kind, inputs, {"reported": True, **attrs}, 23, UNSET)

    def search(self, last, sources=3):
        """Add a reported retrieval with its sources; return it."""
        found = [
            self.hop("source", (), {"uri": f"docs/page-{self.now_ms % 97}-{n}.md", "octets": 4_812})
            for n in range(sources)
        ]
        return self.reported("retrieval", [last, *found], data_source="bm25 over docs")

    def graph(self) -> Graph:
        return graph_of(self.builder, self.prov_id)

    @property
    def document(self) -> bytes:
        return self.builder.encode()


def plain_answer(failed: int = 0) -> Recorded:
    """One chat: six hops, and one more for each failed try."""
    recorded = Recorded()
    recorded.model_call(failed, prov_id=recorded.prov_id)
    return recorded


def agent_run(calls: int = 2, searches: int = 1, tools: int = 1, depth: int = 0) -> Recorded:
    """A run: joined calls, reported searches with sources, reported tools; `depth` runs inside."""
    recorded = Recorded()
    _run(recorded, recorded.prov_id, (calls, searches, tools), depth)
    return recorded


def _run(recorded, prov_id, counts, depth):
    calls, searches, tools = counts
    last = recorded.opening("/v1/agents/support", prov_id)
    top = [recorded.search(last) for _ in range(searches)]
    top += [recorded.model_call(failed=int(number == 1)) for number in range(calls)]
    for number in range(tools):
        below = [recorded.model_call()] if number == 0 else [last]
        top.append(recorded.reported("tool", below, tool=f"look_up_order_{number}"))
    if depth:
        recorded._called += 1
        top.append(_run(recorded, new_prov_id(recorded._called), counts, depth - 1))
    while len(top) > 63:
        rest = [recorded.hop("transform", top[:32], {"gathers": 32})]
        top = rest + top[32:]
    facts = {"deployment": "helper", "provider": "agents", "status": 200}
    tool = recorded.hop("tool", [last, *top], facts, 1_240)
    return recorded.answered(tool, 9_400)


def scribble(seed: int, hops: int = 30) -> Recorded:
    """Any graph: a request, hops that use a few of those before, a response that reaches all."""
    chosen = random.Random(seed)
    recorded = Recorded(seed % 1_000)
    ids = [recorded.hop("request", (), {"method": "GET", "path": "/"})]
    for number in range(hops):
        kind = chosen.choice(["policy", "cache", "tool", "source", "model", "transform", "route"])
        count = chosen.choice([0, 1, 1, 1, 2, 2, 3])
        used = chosen.sample(ids[-12:], min(count, len(ids)))
        ids.append(recorded.hop(kind, used, {"name": f"hop {number}", "n": number}, number))
    used = {one for node in recorded.builder.nodes for one in node.inputs}
    loose = [one for one in ids if one not in used]
    while len(loose) > 60:
        loose = [recorded.hop("transform", loose[:60], {"gathers": 60}), *loose[60:]]
    recorded.hop("response", loose, {"status": 200})
    return recorded
