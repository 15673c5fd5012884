"""A signed agent run with embedded calls, reported steps and words, for what shows graphs.

The forge of the test vectors signs it; its keys are public test keys.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "vectors"))

import forge

from verismo.attest.commitment import commit
from verismo.attest.provenance import GraphBuilder, HopKind

QUESTION = "How long are rollups kept, and can anybody shorten that?"
ANSWER = (
    "Rollups are kept for seven calendar years [1]. Nobody can shorten that: the archive is locked "
    "in compliance mode, which its owner cannot lift either [2]."
)
_BEGAN_MS = forge.TIME_MS - 2_640


class Run:
    """The graph of a run while it is put together.

    Args:
        builder: collects its nodes.
    """

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder

    def add(
        self, kind: HopKind, inputs: list[str], span: tuple[int, int], commitment: str = "", **attrs
    ) -> str:
        """Add a step; times are ms since the run began."""
        times = (_BEGAN_MS + span[0], _BEGAN_MS + span[1])
        named = {name.replace("__", "."): value for name, value in attrs.items()}
        if not commitment:
            return self.builder.add(kind, inputs, named, times)
        return self.builder.add(kind, inputs, named, times, commitment)

    def call(self, name: str, begin: int, end: int, **model) -> str:
        """Add a call through the gateway, with its request and answer; returns its answer's id."""
        salt = forge.text_bytes(f"salt of {name}")
        asked = commit("req", salt, name.encode())
        request = self.add(
            "request",
            [],
            (begin, begin),
            asked,
            prov_id=forge.prov_id(name),
            method="POST",
            path="/v1/chat/completions",
        )
        allowed = self.add(
            "policy", [request], (begin, begin + 1), decision="allow", operation=name
        )
        budget = self.add("budget", [allowed], (begin + 1, begin + 1), reserved_usd_micros=900)
        answered = self.add("model", [budget], (begin + 2, end), status=200, **model)
        return self.add(
            "response",
            [answered],
            (end, end),
            commit("res", salt, name.encode()),
            status=200,
            cost_usd_micros=412,
            input_tokens=1_204,
            output_tokens=96,
        )


def agent_run(sources: int = 3) -> forge.Case:
    """Return the signed answer of an agent that searched, read sources, used a tool and two models.

    Args:
        sources: how many sources it read.
    """
    question = json.dumps(
        {"model": "docs.answer", "messages": [{"role": "user", "content": QUESTION}]}
    )
    answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": ANSWER}}]})
    recipe = forge.Recipe(name="agent run", question=question.encode(), answer=answer.encode())
    graph, root, nodes = _graph(recipe, sources)

    def name_it(statement) -> None:
        statement["dag"] = {"root": root, "nodes": nodes}
        statement["op"] = "docs.answer"
        statement["usage"] = {"in": 2_911, "out": 208}
        statement["cost_usd_micros"] = 1_318

    case = forge.whole(
        forge.Recipe(
            name=recipe.name, question=recipe.question, answer=recipe.answer, change=name_it
        )
    )
    case.graph = graph
    return case


def _graph(recipe: forge.Recipe, sources: int) -> tuple[str, str, int]:
    run = Run(GraphBuilder(recipe.prov_id))
    request = run.add(
        "request",
        [],
        (0, 0),
        recipe.request_commit,
        prov_id=recipe.prov_id,
        method="POST",
        path="/v1/agents/docs.answer",
    )
    allowed = run.add("policy", [request], (0, 1), decision="allow", operation="docs.answer")
    budget = run.add("budget", [allowed], (1, 1), reserved_usd_micros=5_000)
    route = run.add("route", [budget], (1, 2), candidates=1, arm="baseline")
    embedded = run.call("docs.embed", 38, 121, answered_by="text-embedding-3-small")
    read = [
        run.add(
            "source",
            [],
            (140, 140),
            forge.text_bytes(f"source {number}").hex(),
            uri=f"docs/{('archive', 'ledger-format', 'reliability')[number % 3]}.md#{number}",
            octets=1_800 + 37 * number,
            reported=True,
        )
        for number in range(sources)
    ]
    while len(read) > 60:
        first, read = read[:60], read[60:]
        read.append(run.add("transform", first, (141, 142), gathers=len(first)))
    found = run.add(
        "retrieval", [route, embedded, *read], (130, 171), reported=True, name="BM25, top 3"
    )
    looked = run.add(
        "tool",
        [found],
        (190, 402),
        reported=True,
        tool="rerank",
    )
    drafted = run.call("docs.draft", 420, 2_188, answered_by="gpt-4o-2026-08-06")
    checked = run.add(
        "transform", [drafted, looked], (2_190, 2_204), reported=True, name="cite sources"
    )
    agent = run.add(
        "tool", [route, checked], (3, 2_610), deployment="docs-agent", status=200, region="eu"
    )
    answer = commit("res", recipe.salt, recipe.answer)
    root = run.add("response", [agent], (2_610, 2_640), answer, status=200, cost_usd_micros=1_318)
    return run.builder.encode().decode("utf-8"), root, len(run.builder)
