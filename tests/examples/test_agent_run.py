"""The example through a real gateway: one signed graph holds everything that led to an answer."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from tests.support.answers import Answer as Answered
from tests.support.gateway import Gateway, Setup, running_gateway

from verismo.attest.commitment import commit
from verismo.attest.headers import read_proof_headers
from verismo.cli.served import served
from verismo.examples.agentic_rag.agent import Agent, Answer
from verismo.examples.agentic_rag.retrieval import Index
from verismo.examples.agentic_rag.service import agent_app
from verismo.examples.agentic_rag.tools_server import tools_app

EXAMPLE = files("verismo.examples.agentic_rag")
AGENT = "/v1/agents/docs.agent"
WITNESS = "Why must a witness be outside the gateway's trust domain?"
SALT = "How many octets must the salt have?"

pytestmark = pytest.mark.slow


@pytest.fixture
async def gateway(index: Index, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway with tools, agent and simulated reader, set up by the example's own files."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        agent_port = free.getsockname()[1]
    async with served(tools_app(index)) as tools_url:
        providers = EXAMPLE.joinpath("providers.toml").read_text(encoding="utf-8")
        providers = providers.replace("http://127.0.0.1:9101", tools_url)
        providers = providers.replace("127.0.0.1:9102", f"127.0.0.1:{agent_port}")
        setup = Setup(
            edits={'"gpt-*"': '"gpt-*", "simulated-reader"'},
            more=f"\n{providers}",
            files={"operations/docs.toml": EXAMPLE.joinpath("operations.toml").read_text()},
        )
        async with running_gateway(tmp_path, setup) as running:
            agent = Agent(running.url, running.keys["TENANT_001"])
            async with served(agent_app(agent), agent_port):
                yield running


async def ask(gateway: Gateway, question: str, **headers: str) -> Answered:
    body = json.dumps({"question": question}).encode()
    return await gateway.send("POST", AGENT, body, headers=headers)


def nodes_of(gateway: Gateway, answered: Answered, kind: str) -> list[dict]:
    return [node for node in gateway.hops(answered) if node["kind"] == kind]


def check_sources(gateway: Gateway, answered: Answered, answer: Answer) -> None:
    """Every passage that the model was shown is a source whose commitment the salt opens."""
    proof = read_proof_headers(answered.headers)
    assert proof is not None
    sources = {node["attrs"]["uri"]: node for node in nodes_of(gateway, answered, "source")}
    assert set(sources) == {passage.uri for passage in answer.sources}
    for passage in answer.sources:
        node = sources[passage.uri]
        assert node["commit"] == commit("source", proof.salt, passage.text.encode())
        assert node["commit"] != commit("source", proof.salt, passage.text[:-1].encode())
        assert node["attrs"]["octets"] == len(passage.text.encode())
        assert node["attrs"]["reported"] is True


async def test_the_graph_of_an_answer_holds_what_the_agent_did(gateway: Gateway):
    answered = await ask(gateway, WITNESS)
    assert answered.status == 200, answered.body
    answer = msgspec.json.decode(answered.body, type=Answer)
    assert answer.citations[0].uri == "docs/witnessing.md#why"
    await gateway.proven(answered)
    tools = [node["attrs"] for node in nodes_of(gateway, answered, "tool")]
    called = [facts.get("tool", "") for facts in tools]
    assert called.count("search") == 1
    assert called.count("fetch") == len(answer.sources)
    [retrieved] = nodes_of(gateway, answered, "retrieval")
    assert len(retrieved["in"]) == 1 + 2 * len(answer.sources)
    assert "check_citations" in str(tools)
    assert [node["attrs"]["model"] for node in nodes_of(gateway, answered, "model")] == [
        "simulated-reader"
    ] * 2
    costs = [
        node["attrs"]["cost_usd_micros"]
        for node in nodes_of(gateway, answered, "response")
        if node["attrs"].get("input_tokens")
    ]
    assert len(costs) == 2
    assert min(costs) > 0
    check_sources(gateway, answered, answer)


async def test_each_of_two_runs_at_once_holds_its_own_sources(gateway: Gateway):
    both = await asyncio.gather(ask(gateway, WITNESS), ask(gateway, SALT))
    answers = [msgspec.json.decode(answered.body, type=Answer) for answered in both]
    assert {p.uri for p in answers[0].sources} != {p.uri for p in answers[1].sources}
    for answered, answer in zip(both, answers, strict=True):
        await gateway.proven(answered)
        check_sources(gateway, answered, answer)


async def test_a_stream_is_sealed_with_the_same_graph(gateway: Gateway):
    whole = await ask(gateway, SALT)
    streamed = await ask(gateway, SALT, accept="text/event-stream")
    assert streamed.headers["content-type"].startswith("text/event-stream")
    await gateway.proven(streamed)
    events = [line for line in streamed.body.decode().split("\n\n") if line.startswith("data: {")]
    answer = msgspec.json.decode(events[-1].removeprefix("data: "), type=Answer)
    assert answer == msgspec.json.decode(whole.body, type=Answer)
    kinds = [[node["kind"] for node in gateway.hops(one)] for one in (whole, streamed)]
    assert sorted(kinds[0]) == sorted(kinds[1])
    check_sources(gateway, streamed, answer)


async def test_a_model_that_fails_is_told_and_its_run_is_sealed(gateway: Gateway):
    answered = await ask(gateway, f"{SALT} [simulate: error=400]")
    assert answered.status == 502
    assert "BadRequestError" in answered.body.decode()
    await gateway.proven(answered)
    assert nodes_of(gateway, answered, "source") == []
    assert len(nodes_of(gateway, answered, "model")) >= 1


async def test_another_tenant_cannot_read_what_led_to_an_answer(gateway: Gateway):
    answered = await ask(gateway, SALT)
    read = await gateway.send("GET", f"/v1/prov/{answered.prov_id}", key="TENANT_002")
    assert read.status == 404
