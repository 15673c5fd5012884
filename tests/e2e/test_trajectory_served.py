"""Trajectories of real agent runs behind `verismo serve`."""

from pathlib import Path

import pytest
from tests.e2e.test_runs_served import AGENT, chat, headers_of, setup_of
from tests.support.agentservice import Work, running_agents
from tests.support.process import Serving, serving_process

from verismo.attest.headers import ATTEST_PROV_ID
from verismo.attest.provenance import read_graph
from verismo.evidence.trajectory import Hop, read_golden, trajectory, write_golden
from verismo.evidence.trajectorydiff import compare, spell
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings

pytestmark = pytest.mark.slow


async def run(serving: Serving) -> tuple[Hop, ...]:
    """Call the agent and return its run's trajectory."""
    answer = await serving.client.post(
        serving.url + AGENT, content=b"{}", headers=headers_of(serving)
    )
    assert answer.status_code == 200, answer.text
    records = {record.prov_id: record for record in serving.records("s0")}
    return trajectory(read_graph(records[answer.headers[ATTEST_PROV_ID]].graph)[0])


async def test_a_run_matches_the_golden_of_another_and_one_call_more_differs(tmp_path: Path):
    async with (
        running_agents() as agents,
        running_upstream(SimulatorSettings()) as url,
        serving_process(tmp_path, url, setup_of(agents), workers=1) as serving,
    ):
        calls = 2

        async def work(work: Work) -> dict:
            for number in range(calls):
                await chat(serving, work, number)
            return {}

        agents.does(work)
        first = await run(serving)
        golden = read_golden(write_golden(first, "first run"))
        assert compare(golden, await run(serving)).matches
        (agent,) = [hop for hop in first if hop.hops]
        assert (agent.kind, [hop.kind for hop in agent.hops]) == ("tool", ["call", "call"])
        assert [hop.kind for hop in agent.hops[0].hops][:2] == ["request", "policy"]
        assert agent.hops[0].hops[-1] == Hop("response", "200")

        calls = 3
        difference = compare(golden, await run(serving))
    assert not difference.matches
    assert "not expected here" in spell(difference)
