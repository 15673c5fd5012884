"""The examples of docs/agents.md run against a real gateway; its tables are those of the code."""

import asyncio
import json
import re
import tomllib
from collections import Counter
from pathlib import PurePosixPath

import msgspec
import pytest
from tests.support.agentservice import AGENTS, Work, running_agents
from tests.support.gateway import Gateway, Setup, running_gateway
from tests.tidy import prose

from verismo.gateway.spans import KEPT_BYTES_PER_MINUTE, SPANS_MAX, TRACES_BYTES_MAX
from verismo.model import semconv
from verismo.model.run import RUN_BYTES_MAX, RUN_DEPTH_MAX, RUN_ENTRIES_MAX, RefusedReason

PAGE = prose.read(PurePosixPath("docs/agents.md"))
BLOCKS = prose.blocks(PAGE)
EXAMPLES = [block for language, block in BLOCKS if language == "python"]
[OPERATION] = [block for language, block in BLOCKS if language == "toml" and '"desk"' in block]

REPORTED = {
    "lookup": {"tool": 1, "retrieval": 1, "source": 1},
    "plan": {"transform": 3, "tool": 1, "source": 1},
    "RunSpanProcessor": {"transform": 1, "tool": 1, "source": 1},
}


def example(name: str) -> dict[str, object]:
    """Run an example's block and return what it defines."""
    [block] = [block for block in EXAMPLES if name in block]
    namespace: dict[str, object] = {"__name__": name}
    exec(compile(block, "docs/agents.md", "exec"), namespace)
    return namespace


async def nodes_of(gateway: Gateway, prov_id: str) -> list[dict]:
    read = await gateway.send("GET", f"/v1/prov/{prov_id}")
    assert read.status == 200
    return json.loads(read.body)["graph"]["nodes"]


def is_run(node: dict) -> bool:
    return "agent" in node["attrs"] and "action" not in node["attrs"]


@pytest.mark.slow
async def test_the_examples_of_a_client_run_leave_the_steps_that_they_show(tmp_path):
    setup = Setup(files={"operations/agents.toml": OPERATION})
    async with running_gateway(tmp_path, setup) as gateway:
        for name, expected in REPORTED.items():
            answer = example(name)["answer"]
            prov_id = await asyncio.to_thread(
                answer, gateway.url, gateway.keys["TENANT_001"], "How long?"
            )
            nodes = await nodes_of(gateway, prov_id)
            steps = [n for n in nodes if n["attrs"].get("reported")]
            # The seal's own hop is the run as a whole: it has no action.
            found = Counter(n["kind"] for n in steps if not is_run(n))
            assert found == expected, name
            assert "Refunds take" not in json.dumps(nodes)
            embedded = [n for n in nodes if n["kind"] == "model" and "reported" not in n["attrs"]]
            assert len(embedded) == (name == "lookup")
        assert set(gateway.telemetry.reported) == {"taken"}


@pytest.mark.slow
async def test_the_example_of_a_service_is_in_the_answers_graph(tmp_path):
    serve = example("serve")["serve"]
    async with running_agents() as agents:
        setup = Setup(more=agents.tables, files={"operations/agents.toml": AGENTS})
        async with running_gateway(tmp_path, setup) as gateway:
            agents.gateways = [gateway]

            async def behave(work: Work) -> dict:
                key = gateway.keys["TENANT_001"]
                events = serve(gateway.url, key, work.headers, work.body["question"])
                return {"events": [event.decode() async for event in events]}

            agents.does(behave)
            body = b'{"question":"how long"}'
            answer = await gateway.send("POST", "/v1/agents/research.agent", body)
            assert answer.json()["events"][-1] == "data: [DONE]\n\n"
            await gateway.proven(answer)
            [used] = [n for n in gateway.hops(answer) if n["attrs"].get("tool") == "search"]
            assert used["attrs"]["reported"]


def rows(heading: str) -> list[list[str]]:
    """Return the rows of the table with a heading's first cell."""
    table = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    lines = table.splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_kinds_of_spans_are_those_of_the_code():
    documented = {
        action: kind.strip("`")
        for actions, kind in rows("`gen_ai.operation.name`")[:4]
        for action in re.findall(r"`([a-z_]+)`", actions)
    }
    assert documented == dict(semconv.REPORTED_KINDS)


def test_the_attributes_that_are_kept_are_those_of_the_code():
    documented = {}
    for attributes, names in rows("attribute"):
        keys, values = re.findall(r"`([a-z_.]+)`", attributes), re.findall(r"`([a-z_]+)`", names)
        if " or " in attributes and len(keys) > len(values):
            values = values * len(keys)
        documented |= dict(zip(keys, values, strict=False))
    kept = {name: documented.get(name) for name in semconv.REPORTED_FACTS}
    assert kept == dict(semconv.REPORTED_FACTS)
    assert set(documented) - set(kept) <= {semconv.VERISMO_COMMIT, semconv.VERISMO_SOURCE}


def test_the_reasons_are_those_of_the_code():
    documented = {reason.strip("`") for reason, _ in rows("reason")}
    assert documented == set(RefusedReason.__args__)


def test_the_limits_are_those_of_the_code():
    assert f"over {RUN_ENTRIES_MAX} nodes or {RUN_BYTES_MAX // 1024} KiB" in PAGE
    assert f"{KEPT_BYTES_PER_MINUTE // 2**20} MiB of hops kept in a minute" in PAGE
    assert f"over {RUN_DEPTH_MAX} steps below its run" in PAGE
    assert (
        f"{TRACES_BYTES_MAX // 2**20} MiB, before and after unpacking, and {SPANS_MAX:,} spans"
        in PAGE
    )


def test_the_operation_of_the_examples_is_read_as_toml():
    assert msgspec.convert(tomllib.loads(OPERATION)["operations"]["desk"], dict[str, str]) == {
        "kind": "agent",
        "purpose": "support",
    }
