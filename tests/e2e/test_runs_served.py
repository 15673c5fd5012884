"""Agents behind `verismo serve`: their calls reach any worker, and a worker may die meanwhile."""

import asyncio
import json
from pathlib import Path

import httpx2
import pytest
from tests.support.agentservice import AGENTS, AgentService, Work, running_agents
from tests.support.gateway import Setup, chat_body
from tests.support.process import Serving, serving_process
from tests.support.waiting import until

from verismo.attest.headers import ATTEST_PROV_ID
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings

pytestmark = pytest.mark.slow

AGENT = "/v1/agents/research.agent"
CALLS = 12


def setup_of(agents: AgentService) -> Setup:
    return Setup(more=agents.tables, files={"operations/agents.toml": AGENTS})


def headers_of(serving: Serving, **more: str) -> dict[str, str]:
    key = serving.keys["TENANT_001"]
    return {"authorization": f"Bearer {key}", "content-type": "application/json", **more}


async def chat(serving: Serving, work: Work, number: int) -> str:
    """Call back on a connection of its own, so that any worker may get it."""
    async with httpx2.AsyncClient(timeout=20) as client:
        answer = await client.post(
            f"{serving.url}/v1/chat/completions",
            content=chat_body(f"call {number}"),
            headers=headers_of(serving, **work.carried()),
        )
    assert answer.status_code == 200, answer.text
    return answer.headers[ATTEST_PROV_ID]


def calls_in(graph: bytes) -> set[str]:
    nodes = json.loads(graph)["nodes"]
    return {n["attrs"]["prov_id"] for n in nodes if n["kind"] == "request"} - {
        nodes[0]["attrs"]["prov_id"]
    }


async def test_calls_that_reach_two_workers_are_in_one_answer(tmp_path: Path):
    made: set[str] = set()
    async with (
        running_agents() as agents,
        running_upstream(SimulatorSettings()) as url,
        serving_process(tmp_path, url, setup_of(agents), workers=2) as serving,
    ):

        async def work(work: Work) -> dict:
            made.update(await asyncio.gather(*(chat(serving, work, n) for n in range(CALLS))))
            return {"calls": CALLS}

        agents.does(work)
        slots: set[str] = set()
        # The kernel chooses the worker; that all of so many calls go to one does not last.
        for _ in range(20):
            made.clear()
            answer = await serving.client.post(
                serving.url + AGENT, content=b"{}", headers=headers_of(serving)
            )
            assert answer.json() == {"calls": CALLS}
            by_slot = {slot: serving.records(slot) for slot in ("s0", "s1")}
            found = {one.prov_id: one for rows in by_slot.values() for one in rows}
            assert calls_in(found[answer.headers[ATTEST_PROV_ID]].graph) == made
            slots = {slot for slot, rows in by_slot.items() if made & {r.prov_id for r in rows}}
            if len(slots) == 2:
                break
        assert slots == {"s0", "s1"}


async def test_killed_worker_leaves_the_agents_calls_and_the_next_run_whole(tmp_path: Path):
    made: list[str] = []
    called, killed = asyncio.Event(), asyncio.Event()
    async with (
        running_agents() as agents,
        running_upstream(SimulatorSettings()) as url,
        serving_process(tmp_path, url, setup_of(agents)) as serving,
    ):

        async def work(work: Work) -> dict:
            made.append(await chat(serving, work, 1))
            called.set()
            async with asyncio.timeout(30):
                await killed.wait()
            return {}

        agents.does(work)
        seen: dict[str, str] = {}
        pid = serving.worker_pid()
        with pytest.raises(httpx2.HTTPError):
            await _stream_until_killed(serving, called, seen)
        killed.set()

        async def is_back() -> bool:
            return _owner(serving) != pid and await _answers(serving)

        await until(is_back, 30)
        late = await chat(serving, agents.works[-1], 2)

        async def again(work: Work) -> dict:
            made.append(await chat(serving, work, 3))
            return {}

        agents.does(again)
        answer = await serving.client.post(
            serving.url + AGENT, content=b"{}", headers=headers_of(serving)
        )
        found = {one.prov_id: one for one in serving.records()}
        lost = json.loads(found[seen[ATTEST_PROV_ID]].graph)["nodes"]
        assert lost[-1]["attrs"]["end"] == "gateway_lost"
        assert {made[0], late} <= set(found)
        assert calls_in(found[answer.headers[ATTEST_PROV_ID]].graph) == {made[1]}


async def _stream_until_killed(
    serving: Serving, called: asyncio.Event, seen: dict[str, str]
) -> None:
    headers = headers_of(serving, accept="text/event-stream")
    url = serving.url + AGENT
    async with serving.client.stream("POST", url, content=b"{}", headers=headers) as response:
        seen.update(response.headers)
        async with asyncio.timeout(10):
            await called.wait()
        serving.kill_worker()
        async for _ in response.aiter_bytes():
            pass


def _owner(serving: Serving) -> int:
    text = (serving.config.data / "journal" / "s0.lock").read_text()
    return int(text) if text else 0


async def _answers(serving: Serving) -> bool:
    try:
        return (await serving.client.get(f"{serving.url}/readyz")).status_code == 200
    except httpx2.HTTPError:
        return False
