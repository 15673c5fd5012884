"""Fail closed around runs: what would be missing in an agent's answer is not served."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from starlette.responses import Response
from tests.gateway.test_fail_closed import Storage
from tests.support.agentservice import AGENTS, AgentService, Work, running_agents
from tests.support.answers import Answer
from tests.support.gateway import Gateway, Setup, chat_body, running_gateway
from tests.support.waiting import until

from verismo.adapters.runs_sqlite import FILE_NAME

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

CHAT = "/v1/chat/completions"
AGENT = "/v1/agents/research.agent"
SEAL = "/v1/runs/client.agent"
CALLED = {"traceparent": f"00-{'ab' * 16}-{'1' * 16}-01"}
BODY = json.dumps({"answer_sha256": "ab" * 32}).encode()


@pytest.fixture(scope="module")
def storage() -> Storage:
    return Storage(stored=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agents() -> AsyncIterator[AgentService]:
    async with running_agents() as service:
        yield service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(
    agents: AgentService, storage: Storage, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    files = {"operations/agents.toml": AGENTS}
    setup = Setup(more=agents.tables, files=files, commit=storage)
    async with running_gateway(tmp_path_factory.mktemp("runs"), setup) as running:
        agents.gateways = [running]
        yield running


class Held:
    """Keeps the write lock of `runs.db` while the block runs."""

    def __init__(self, gateway: Gateway) -> None:
        self.connection = sqlite3.connect(
            gateway.config.data / FILE_NAME, isolation_level=None, check_same_thread=False
        )

    def __enter__(self) -> "Held":
        self.connection.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(self, *_: object) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        self.connection.close()


def check_withheld(answer: Answer, gateway: Gateway) -> None:
    assert (answer.status, answer.is_signed) == (503, False)
    assert answer.json()["code"] == "attestation_unavailable"
    assert gateway.telemetry.withheld["runs"] > 0
    gateway.telemetry.withheld.clear()


async def test_a_call_that_cannot_be_noted_is_not_served(gateway: Gateway):
    with Held(gateway):
        answer = await gateway.send("POST", CHAT, chat_body("x"), headers=CALLED)
        check_withheld(answer, gateway)
        assert (await gateway.chat("without a trace")).status == 200
    assert (await gateway.send("POST", CHAT, chat_body("x"), headers=CALLED)).status == 200


async def test_calls_that_wait_for_the_store_hold_up_nothing_else_and_end_soon(gateway: Gateway):
    with Held(gateway):
        waiting = [
            asyncio.create_task(gateway.send("POST", CHAT, chat_body("x"), headers=CALLED))
            for _ in range(30)
        ]
        await until(lambda: gateway.telemetry.now_in_flight == len(waiting))
        await until(lambda: gateway.telemetry.withheld["runs"] > 0)
        async with asyncio.timeout(0.5):  # names are looked up in the loop's own threads
            await asyncio.to_thread(lambda: None)
        async with asyncio.timeout(9):
            answers = await asyncio.gather(*waiting)
    assert {answer.status for answer in answers} == {503}
    gateway.telemetry.withheld.clear()


async def test_an_agent_whose_run_cannot_be_opened_is_not_called(
    gateway: Gateway, agents: AgentService
):
    async def nothing(work: Work) -> dict:
        return {}

    agents.does(nothing)
    before = len(agents.works)
    with Held(gateway):
        check_withheld(await gateway.send("POST", AGENT, b"{}"), gateway)
    assert len(agents.works) == before
    assert gateway.telemetry.now_running == 0


@pytest.mark.parametrize("table", ["run", "trace"])
async def test_with_a_damaged_store_calls_of_a_trace_are_withheld_and_no_others(tmp_path, table):
    files = {"operations/agents.toml": AGENTS.replace("deployments =", "# ")}
    async with running_gateway(tmp_path, Setup(files=files)) as damaged:
        connection = sqlite3.connect(damaged.config.data / FILE_NAME)
        connection.execute(f"DROP TABLE {table}")
        connection.close()
        check_withheld(await damaged.send("POST", CHAT, chat_body("x"), headers=CALLED), damaged)
        assert (await damaged.chat("without a trace")).status == 200


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_an_agents_answer_whose_run_cannot_be_read_is_not_served(
    gateway: Gateway, agents: AgentService, accept: str
):
    held: list[Held] = []

    async def work(work: Work) -> dict:
        await work.chat("done")
        held.append(Held(gateway).__enter__())
        return {"secret": "answer"}

    agents.does(work)
    before = gateway.count()
    if accept == "application/json":
        answer = await gateway.send("POST", AGENT, b"{}", headers={"accept": accept})
        check_withheld(answer, gateway)
        assert b"secret" not in answer.body
    else:
        key = gateway.keys["TENANT_001"]
        head = (
            f"POST {AGENT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
            f"accept: {accept}\r\n"
            "content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        )
        seen = await gateway.raw(head.encode())
        # The connection is cut: no final statement, no end of the body.
        assert b": attest " not in seen.partition(b"secret")[2]
        assert not seen.endswith(b"0\r\n\r\n")
        assert gateway.telemetry.withheld["runs"] == 1
        gateway.telemetry.withheld.clear()
    held[0].__exit__()
    await until(lambda: gateway.count() == before + 2)  # its call's record and its own
    own = json.loads(gateway.records()[-1].graph)["nodes"]
    assert own[-1]["attrs"]["end"] == "attestation_unavailable"
    assert [node["attrs"].get("deployment") for node in own if node["kind"] == "tool"] != []
    assert gateway.telemetry.now_running == 0


async def test_a_seal_that_could_not_be_stored_may_be_tried_again(
    gateway: Gateway, storage: Storage
):
    sealing = {"traceparent": f"00-{'cd' * 16}-{'2' * 16}-01"}
    call = {"traceparent": f"00-{'cd' * 16}-{'2' * 16}-01"}
    made = await gateway.send("POST", CHAT, chat_body("x"), headers=call)
    storage.failures = 1
    withheld = await gateway.send("POST", SEAL, BODY, headers=sealing)
    assert (withheld.status, withheld.is_signed) == (503, False)
    answer = await gateway.send("POST", SEAL, BODY, headers=sealing)
    assert (answer.status, answer.json()["calls"]) == (200, 1)
    assert made.prov_id in gateway.record_of(answer).graph.decode()


async def test_a_call_whose_record_is_not_stored_is_not_in_its_run(
    gateway: Gateway, agents: AgentService, storage: Storage
):
    async def work(work: Work) -> dict:
        storage.failures = 1
        answer = await work.post(CHAT, chat_body("lost"), work.carried())
        return {"status": answer.status_code, "made": await work.chat("kept")}

    agents.does(work)
    answer = await gateway.send("POST", AGENT, b"{}")
    said = answer.json()
    assert said["status"] == 503
    nodes = gateway.hops(answer)
    names = [node["attrs"]["prov_id"] for node in nodes if node["kind"] == "request"]
    assert names == [answer.prov_id, said["made"]]
    await gateway.proven(answer)


async def test_a_client_that_leaves_while_its_agents_failure_is_sealed_leaves_a_record(
    gateway: Gateway, agents: AgentService
):
    held: list[Held] = []

    async def work(work: Work) -> Response:
        if not held:
            held.append(Held(gateway).__enter__())
        return Response(status_code=401)  # which is refused, not passed on

    agents.does(work)
    before, worked, tries = gateway.count(), len(agents.works), gateway.telemetry.tries
    tries.clear()
    asking = asyncio.create_task(gateway.send("POST", AGENT, b"{}"))
    await until(lambda: tries.total() == len(agents.works) - worked > 0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    held[0].__exit__()
    await until(lambda: gateway.count() == before + 1)
    assert gateway.telemetry.now_running == 0


async def test_a_client_that_leaves_while_its_run_is_sealed_leaves_a_record(
    gateway: Gateway, agents: AgentService
):
    sealing = {"traceparent": f"00-{'ce' * 16}-{'3' * 16}-01"}
    before = gateway.count()
    with Held(gateway) as held:
        asking = asyncio.create_task(gateway.send("POST", SEAL, BODY, headers=sealing))
        await until(lambda: gateway.telemetry.now_in_flight > 0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        held.connection.execute("ROLLBACK")
    await until(lambda: gateway.count() > before)
    record = gateway.records()[-1]
    assert json.loads(record.graph)["nodes"][-1]["attrs"]["end"] == "client_gone"
    again = await gateway.send("POST", SEAL, BODY, headers=sealing)
    # The record that it left has the run, unless the client left before the run was looked at.
    assert again.status == 200 or record.prov_id in again.json()["detail"]
