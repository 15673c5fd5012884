"""Runs: an agent's answer is sealed with the graphs of everything that it did for it."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio
from tests.support.agentservice import AGENTS, AgentService, Work, running_agents
from tests.support.answers import Answer
from tests.support.gateway import Gateway, Setup, chat_body, running_gateway
from tests.support.waiting import until

from verismo.adapters.runs_sqlite import FILE_NAME, SqliteRuns
from verismo.attest.commitment import SALT_BYTES
from verismo.model.ids import TenantId
from verismo.model.run import ReportedHop, ReportedSource

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

AGENT = "/v1/agents/research.agent"
SEAL = "/v1/runs/client.agent"
TENANT = TenantId("TENANT_001")
TRACE = "ab" * 16


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agents() -> AsyncIterator[AgentService]:
    async with running_agents() as service:
        yield service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(
    agents: AgentService, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    setup = Setup(more=agents.tables, files={"operations/agents.toml": AGENTS})
    async with running_gateway(tmp_path_factory.mktemp("runs"), setup) as running:
        agents.gateways = [running]
        yield running


@pytest.fixture
def store(gateway: Gateway):
    """The run store as another process has it open."""
    opened = SqliteRuns(gateway.config.data / FILE_NAME)
    yield opened
    opened.close()


def span(number: int) -> str:
    return f"{number:016x}"


def hop(number: int, parent: str, **fields: object) -> ReportedHop:
    values: dict = {"kind": "tool", "attrs": {"tool": f"step {number}"}, "t0_ms": 1, "t1_ms": 2}
    return ReportedHop(span_id=span(number), parent_span=parent, **{**values, **fields})


async def ask(gateway: Gateway, body: object = "?", path: str = AGENT, **headers: str) -> Answer:
    content = json.dumps({"question": body}).encode()
    return await gateway.send("POST", path, content, headers=headers)


def calls_in(nodes: list[dict]) -> list[str]:
    """Return the answers of the calls that a graph holds."""
    return [node["attrs"]["prov_id"] for node in nodes if node["kind"] == "request"][1:]


def reported(nodes: list[dict]) -> dict[str, dict]:
    return {n["attrs"]["span"]: n["attrs"] for n in nodes if "span" in n["attrs"]}


async def test_an_agents_answer_holds_its_calls_and_proves_itself(
    gateway: Gateway, agents: AgentService
):
    made: list[str] = []

    async def work(work: Work) -> dict:
        made.extend([await work.chat("one"), await work.chat("two")])
        return {"answer": 42}

    agents.does(work)
    answer = await ask(gateway)
    assert answer.json() == {"answer": 42}
    await gateway.proven(answer)
    nodes = gateway.hops(answer)
    assert sorted(calls_in(nodes)) == sorted(made)
    ids = {json.loads(r.statement)["dag"]["root"] for r in gateway.records() if r.prov_id in made}
    (agent,) = [n for n in nodes if n["attrs"].get("deployment") == "research-us"]
    assert agent["kind"] == "tool"
    assert set(agent["in"][1:]) == ids
    assert nodes[-1]["attrs"]["status"] == 200
    costs = [n["attrs"].get("cost_usd_micros") for n in nodes if n["kind"] == "response"]
    assert [cost is not None for cost in costs] == [True, True, False]


async def test_the_agent_is_told_where_its_calls_belong_and_the_salt_of_its_answer(
    gateway: Gateway, agents: AgentService
):
    async def work(work: Work) -> dict:
        return {}

    agents.does(work)
    state = f"other=1, verismo={'9' * 16},third=3"
    answer = await ask(gateway, traceparent=f"00-{TRACE}-{span(7)}-00", tracestate=state)
    told = agents.works[-1]
    assert told.headers["traceparent"].endswith("-01")
    assert told.trace_id == TRACE
    assert told.headers["tracestate"] == f"verismo={told.run_span},other=1,third=3"
    salt = base64.b64decode(told.headers["attest-run-salt"].strip(":"))
    assert len(salt) == SALT_BYTES
    assert told.headers["attest-run-salt"] == answer.headers["attest-salt"]


async def test_other_upstreams_are_told_neither_run_nor_salt(gateway: Gateway):
    await gateway.chat("plain")
    seen = dict(gateway.upstream.kept[-1].headers)
    assert "traceparent" in seen
    assert not {"tracestate", "attest-run-salt"} & set(seen)


async def test_a_streams_final_statement_covers_the_whole_graph(
    gateway: Gateway, agents: AgentService
):
    made: list[str] = []

    async def work(work: Work) -> dict:
        made.append(await work.chat("while it streams"))
        return {"answer": "done"}

    agents.does(work)
    answer = await ask(gateway, accept="text/event-stream")
    assert b'data: {"answer": "done"}' in answer.body
    await until(lambda: any(r.prov_id == answer.prov_id for r in gateway.records()))
    assert calls_in(gateway.hops(answer)) == made
    await gateway.proven(answer)


async def test_an_agent_that_speaks_chat_is_called_like_a_model(
    gateway: Gateway, agents: AgentService
):
    made: list[str] = []

    async def work(work: Work) -> dict:
        made.append(await work.chat("for the chat"))
        return {"model": "agent-model", "choices": [], "usage": None}

    agents.does(work, "chatting")
    answer = await gateway.chat("hello", model="my-agent")
    assert answer.status == 200
    assert calls_in(gateway.hops(answer)) == made
    kinds = [n["kind"] for n in gateway.hops(answer) if n["attrs"].get("deployment")]
    assert kinds == ["model", "tool"]
    await gateway.proven(answer)
    listed = await gateway.send("GET", "/v1/models")
    assert {"chatting.agent", "my-agent"} <= {one["id"] for one in listed.json()["data"]}
    assert "research.agent" not in {one["id"] for one in listed.json()["data"]}
    streamed = await gateway.chat("hello", model="my-agent", stream=True)
    assert streamed.body.endswith(b"data: [DONE]\n\n")
    await until(lambda: any(r.prov_id == streamed.prov_id for r in gateway.records()))
    assert calls_in(gateway.hops(streamed)) == made[1:]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/agents/chatting.agent", "operation_unregistered"),
        ("/v1/agents/client.agent", "operation_unregistered"),
        ("/v1/agents/support.echo", "operation_unregistered"),
        ("/v1/agents/nobody", "operation_unregistered"),
    ],
)
async def test_each_agent_has_one_way_in(gateway: Gateway, path: str, code: str):
    answer = await ask(gateway, path=path)
    assert (answer.status, answer.json()["code"], answer.is_signed) == (404, code, True)
    assert (await gateway.send("GET", path)).status == 405


async def test_agents_call_agents_and_the_outer_answer_holds_it_all(
    gateway: Gateway, agents: AgentService
):
    made: dict[str, str] = {}

    async def inner(work: Work) -> dict:
        made["innermost"] = await work.chat("innermost")
        return {}

    async def outer(work: Work) -> dict:
        body = b'{"question":"inner?"}'
        answer = await work.post("/v1/agents/inner.agent", body, work.carried())
        made["inner"] = answer.headers["attest-prov-id"]
        made["own"] = await work.chat("own")
        return {}

    agents.does(outer)
    agents.does(inner, "inner")
    answer = await ask(gateway)
    nodes = gateway.hops(answer)
    assert sorted(calls_in(nodes)) == sorted(made.values())
    (agent,) = [n for n in nodes if n["attrs"].get("deployment") == "research-us"]
    assert len(agent["in"]) == 3  # the route, the inner agent's answer, its own chat
    await gateway.proven(answer)


async def test_an_agent_that_calls_itself_for_ever_is_stopped(
    gateway: Gateway, agents: AgentService
):
    deepest: list[int] = []

    async def work(work: Work) -> dict:
        answer = await work.post(AGENT, b'{"question":"deeper"}', work.carried())
        if answer.status_code != 200:
            deepest.append(answer.status_code)
        return {}

    agents.does(work)
    before = len(agents.works)
    answer = await ask(gateway)
    assert answer.status == 200
    assert deepest == [429]
    assert len(agents.works) - before == 16
    await gateway.proven(answer)


async def test_two_agents_in_one_trace_keep_their_calls_apart(
    gateway: Gateway, agents: AgentService
):
    made: dict[str, list[str]] = {"a": [], "b": []}
    both = asyncio.Barrier(2)

    async def work(work: Work) -> dict:
        name = work.body["question"]
        async with asyncio.timeout(5):
            await both.wait()
        # A parent that nobody reports: only the state tells whose it is.
        made[name].append(await work.chat(name, parent=span(900)))
        await work.chat("nobody's", parent=span(901), state=False)
        async with asyncio.timeout(5):
            await both.wait()
        return {}

    agents.does(work)
    parent = f"00-{'cd' * 16}-{span(1)}-01"
    a, b = await asyncio.gather(
        ask(gateway, "a", traceparent=parent), ask(gateway, "b", traceparent=parent)
    )
    assert calls_in(gateway.hops(a)) == made["a"]
    assert calls_in(gateway.hops(b)) == made["b"]


async def test_a_call_without_state_joins_the_one_open_run_and_its_siblings_do_not(
    gateway: Gateway, agents: AgentService
):
    made: list[str] = []
    trace = "ce" * 16

    async def work(work: Work) -> dict:
        made.append(await work.chat("mine", parent=span(902), state=False))
        await gateway.send(
            "POST",
            "/v1/chat/completions",
            chat_body("the caller's own"),
            headers={"traceparent": f"00-{trace}-{span(1)}-01"},
        )
        return {}

    agents.does(work)
    answer = await ask(gateway, traceparent=f"00-{trace}-{span(1)}-01")
    assert calls_in(gateway.hops(answer)) == made


async def test_reported_hops_join_with_their_calls_and_sources(
    gateway: Gateway, agents: AgentService, store: SqliteRuns
):
    made: list[str] = []

    async def work(work: Work) -> dict:
        made.append(await work.chat("under a step", parent=span(11)))
        found = ReportedSource(uri="doc:1", commit="ab" * 32, octets=7)
        hops = [
            hop(12, span(11), kind="retrieval", sources=(found,)),
            hop(11, work.run_span),
            hop(13, span(99)),
        ]
        assert store.report(TENANT, work.trace_id, hops) == []
        forged = store.report(TENANT, work.trace_id, [hop(11, span(12)), hop(14, span(14))])
        assert [one.reason for one in forged] == ["span_taken", "cycle"]
        return {}

    agents.does(work)
    answer = await ask(gateway)
    nodes = gateway.hops(answer)
    assert set(reported(nodes)) == {span(11), span(12)}
    assert calls_in(nodes) == made
    assert nodes[-1]["attrs"]["hops_refused"] == 3
    await gateway.proven(answer)
    sample = gateway.telemetry.finished[-1]
    assert (sample.run_calls, sample.run_hops, sample.run_refused) == (1, 2, 3)


async def test_a_runs_trace_shows_its_own_hops_and_leaves_its_calls_to_theirs(
    gateway: Gateway, agents: AgentService
):
    async def work(work: Work) -> dict:
        await work.chat("traced")
        return {}

    agents.does(work)
    gateway.telemetry.samples = True
    try:
        await ask(gateway)
    finally:
        gateway.telemetry.samples = False
    call, run = gateway.telemetry.finished[-2:]
    assert "model" in [one.kind for one in call.hops]
    kinds = [one.kind for one in run.hops]
    assert kinds == ["request", "policy", "budget", "route", "tool", "response"]


async def test_what_arrives_late_changes_nothing_and_is_told_so(
    gateway: Gateway, agents: AgentService, store: SqliteRuns
):
    async def work(work: Work) -> dict:
        store.report(TENANT, work.trace_id, [hop(21, work.run_span)])
        return {}

    agents.does(work)
    answer = await ask(gateway)
    graph, late = gateway.record_of(answer).graph, agents.works[-1]
    for parent in (late.run_span, span(21)):
        (refused,) = store.report(TENANT, late.trace_id, [hop(22, parent)])
        assert refused.reason == "run_sealed"
    await late.chat("late")
    await late.chat("later", parent=span(21))
    assert gateway.record_of(answer).graph == graph
    # Neither does another run of that trace take what was late.
    parent = f"00-{late.trace_id}-{span(1)}-01"

    async def nothing(work: Work) -> dict:
        return {}

    agents.does(nothing)
    assert calls_in(gateway.hops(await ask(gateway, traceparent=parent))) == []


async def test_forged_trace_another_tenants_calls_and_hops_stay_out(
    gateway: Gateway, agents: AgentService, store: SqliteRuns
):
    made: list[str] = []

    async def work(work: Work) -> dict:
        carried = work.carried()
        theirs = await gateway.send(
            "POST", "/v1/chat/completions", chat_body("x"), key="TENANT_002", headers=carried
        )
        assert theirs.status == 200
        store.report(TenantId("TENANT_002"), work.trace_id, [hop(31, work.run_span)])
        refused = store.report(TENANT, work.trace_id, [hop(31, work.run_span)])
        assert refused == []
        made.append(await work.chat("mine"))
        return {}

    agents.does(work)
    answer = await ask(gateway)
    assert calls_in(gateway.hops(answer)) == made
    assert "hops_refused" not in gateway.hops(answer)[-1]["attrs"]
    sealing = {"traceparent": agents.works[-1].headers["traceparent"]}
    body = json.dumps({"answer_sha256": "ab" * 32}).encode()
    theirs = await gateway.send("POST", SEAL, body, key="TENANT_002", headers=sealing)
    assert theirs.status == 200
    assert (theirs.json()["calls"], theirs.json()["hops"]) == (1, 1)


async def test_forged_state_that_names_no_run_joins_none(gateway: Gateway, agents: AgentService):
    async def work(work: Work) -> dict:
        carried = work.carried(span(903))
        for state in (f"verismo={'7' * 16}", f"verismo={'0' * 16}", "verismo=x", "verismo"):
            answer = await work.post(
                "/v1/chat/completions", chat_body("x"), {**carried, "tracestate": state}
            )
            assert answer.status_code == 200
        return {}

    agents.does(work)
    answer = await ask(gateway)
    # Where the state says nothing, the one open run has it; a run that is not there takes nothing.
    assert len(calls_in(gateway.hops(answer))) == 3


async def test_a_refused_call_is_part_of_the_story(gateway: Gateway, agents: AgentService):
    async def work(work: Work) -> dict:
        answer = await work.post("/v1/agents/nobody", b"{}", work.carried())
        assert answer.status_code == 404
        return {}

    agents.does(work)
    nodes = gateway.hops(await ask(gateway))
    codes = [n["attrs"].get("code") for n in nodes if n["kind"] == "response"]
    assert codes == ["operation_unregistered", None]


async def test_a_call_that_a_run_has_no_room_for_is_refused(
    gateway: Gateway, agents: AgentService, store: SqliteRuns
):
    async def work(work: Work) -> dict:
        hops = [hop(1_000 + n, work.run_span) for n in range(900)]
        assert not store.report(TENANT, work.trace_id, hops)
        over = store.report(TENANT, work.trace_id, [hop(5_000, work.run_span)])
        assert [one.reason for one in over] == ["over_limit"]
        answer = await work.post("/v1/chat/completions", chat_body("x"), work.carried())
        return {"status": answer.status_code, "code": answer.json()["code"]}

    agents.does(work)
    answer = await ask(gateway)
    assert answer.json() == {"status": 429, "code": "run_limit"}
    assert len(reported(gateway.hops(answer))) == 900
    await gateway.proven(answer)


async def test_what_only_the_seal_refuses_is_counted_and_logged_without_content(
    gateway: Gateway, store: SqliteRuns, caplog: pytest.LogCaptureFixture
):
    trace, root = "d7" * 16, span(700)
    chain = [hop(701 + n, span(700 + n), attrs={"tool": "Ada"}) for n in range(300)]
    assert not store.report(TENANT, trace, [*chain, hop(5_000, span(6_000))])
    before = gateway.telemetry.reported.copy()
    body = json.dumps({"answer_sha256": "ab" * 32}).encode()
    caplog.set_level(logging.WARNING, logger="verismo.gateway")
    answer = await gateway.send("POST", SEAL, body, headers=sealing(700, trace))
    assert (answer.json()["hops"], answer.json()["hops_refused"]) == (16, 285)
    assert gateway.hops(answer)[-1]["attrs"]["hops_refused"] == 285
    assert gateway.telemetry.reported - before == {"too_deep": 284, "orphan": 1}
    (line,) = [one for one in caplog.records if "not in their run's graph" in one.message]
    assert line.fields == {
        "prov_id": answer.prov_id,
        "trace_id": trace,
        "tenant": TENANT,
        "orphan": 1,
        "too_deep": 284,
    }
    assert root in reported(gateway.hops(answer))


async def test_a_clients_call_that_names_its_full_run_is_refused_and_one_that_does_not_is_counted(
    gateway: Gateway, store: SqliteRuns
):
    trace, root = "d8" * 16, span(800)
    assert not store.report(TENANT, trace, [hop(1_000 + n, root) for n in range(900)])
    path, under = "/v1/chat/completions", sealing(800, trace)
    named = {**under, "tracestate": f"verismo={root}"}
    refused = await gateway.send("POST", path, chat_body("x"), headers=named)
    assert (refused.status, refused.json()["code"]) == (429, "run_limit")
    served = await gateway.send("POST", path, chat_body("x"), headers=under)
    assert served.status == 200
    body = json.dumps({"answer_sha256": "ab" * 32}).encode()
    answer = await gateway.send("POST", SEAL, body, headers=under)
    assert answer.json()["calls_omitted"] == 1
    assert gateway.hops(answer)[-1]["attrs"]["calls_omitted"] == 1


async def test_an_agent_that_fails_leaves_what_it_did_in_its_refusal(
    gateway: Gateway, agents: AgentService
):
    made: list[str] = []

    async def work(work: Work) -> dict:
        made.append(await work.chat("before it broke"))
        raise RuntimeError("broken")

    agents.does(work)
    answer = await ask(gateway)
    assert answer.status == 500
    nodes = gateway.hops(answer)
    assert calls_in(nodes) == made
    await gateway.proven(answer)


async def test_a_client_that_leaves_an_agent_leaves_a_record_with_the_run(
    gateway: Gateway, agents: AgentService
):
    made: list[str] = []
    called, left = asyncio.Event(), asyncio.Event()

    async def work(work: Work) -> dict:
        made.append(await work.chat("for nobody"))
        called.set()
        async with asyncio.timeout(5):
            await left.wait()
        return {}

    agents.does(work)
    before = gateway.count()
    asking = asyncio.create_task(ask(gateway))
    async with asyncio.timeout(5):
        await called.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until(lambda: gateway.count() >= before + 2)
    left.set()
    record = gateway.records()[-1]
    nodes = json.loads(record.graph)["nodes"]
    assert nodes[-1]["attrs"]["end"] == "client_gone"
    assert calls_in(nodes) == made


async def test_a_client_that_leaves_an_agents_stream_leaves_the_run_as_well(
    gateway: Gateway, agents: AgentService
):
    made: list[str] = []
    called, left = asyncio.Event(), asyncio.Event()

    async def work(work: Work) -> dict:
        made.append(await work.chat("for nobody"))
        called.set()
        async with asyncio.timeout(5):
            await left.wait()
        return {}

    agents.does(work)
    headers = {
        "authorization": f"Bearer {gateway.keys['TENANT_001']}",
        "content-type": "application/json",
        "accept": "text/event-stream",
    }
    before = gateway.count()
    client = httpx2.AsyncClient(timeout=10)
    async with client.stream("POST", gateway.url + AGENT, content=b"{}", headers=headers) as got:
        prov_id = got.headers["attest-prov-id"]
        async with asyncio.timeout(5):
            await called.wait()
    await client.aclose()
    left.set()
    await until(lambda: gateway.count() >= before + 2)
    (record,) = [one for one in gateway.records() if one.prov_id == prov_id]
    assert json.loads(record.statement)["res"]["fin"] is False
    assert calls_in(json.loads(record.graph)["nodes"]) == made


# The seal of a run at the client.


def sealing(root: int, trace: str = TRACE) -> dict[str, str]:
    return {"traceparent": f"00-{trace}-{span(root)}-01"}


async def test_a_clients_run_is_sealed_with_everything_under_its_root(
    gateway: Gateway, store: SqliteRuns
):
    trace, root = "d1" * 16, span(40)
    under = {"traceparent": f"00-{trace}-{span(41)}-01"}
    call = await gateway.send("POST", "/v1/chat/completions", chat_body("x"), headers=under)
    direct = await gateway.send(
        "POST", "/v1/chat/completions", chat_body("y"), headers=sealing(40, trace)
    )
    named = {**under, "traceparent": f"00-{trace}-{span(49)}-01", "tracestate": f"verismo={root}"}
    stated = await gateway.send("POST", "/v1/chat/completions", chat_body("z"), headers=named)
    assert not store.report(TENANT, trace, [hop(41, root), hop(42, span(41))])
    body = {"answer_commit": "ef" * 32, "octets": 12, "name": "my agent"}
    answer = await gateway.send("POST", SEAL, json.dumps(body).encode(), headers=sealing(40, trace))
    assert answer.status == 200
    said = answer.json()
    assert said == {
        "prov_id": answer.prov_id,
        "operation": "client.agent",
        "trace": trace,
        "span": root,
        "calls": 3,
        "hops": 2,
        "hops_refused": 0,
        "calls_omitted": 0,
    }
    nodes = gateway.hops(answer)
    assert set(calls_in(nodes)) == {call.prov_id, direct.prov_id, stated.prov_id}
    own = reported(nodes)[root]
    assert own == {
        "agent": "client.agent",
        "name": "my agent",
        "octets": 12,
        "reported": True,
        "span": root,
    }
    (node,) = [n for n in nodes if n["attrs"] == own]
    assert node["commit"] == "ef" * 32
    await gateway.proven(answer)


async def test_a_run_is_sealed_once(gateway: Gateway):
    body = json.dumps({"answer_sha256": "ab" * 32}).encode()
    first = await gateway.send("POST", SEAL, body, headers=sealing(50, "d2" * 16))
    again = await gateway.send("POST", SEAL, body, headers=sealing(50, "d2" * 16))
    assert (first.status, again.status) == (200, 409)
    assert again.json()["code"] == "run_sealed"
    assert first.prov_id in again.json()["detail"]
    assert again.is_signed
    await gateway.proven(again)
    other = await gateway.send("POST", SEAL, body, headers=sealing(51, "d2" * 16))
    assert other.status == 200


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_stolen_seal_of_a_run_that_the_gateway_began_is_refused(
    gateway: Gateway, agents: AgentService, accept: str
):
    stolen: list[httpx2.Response] = []
    made: list[str] = []
    body = json.dumps({"answer_sha256": "ab" * 32}).encode()

    async def work(work: Work) -> dict:
        made.append(await work.chat("mine"))
        stolen.append(await work.post(SEAL, body, work.carried()))
        return {"answer": 42}

    agents.does(work)
    answer = await ask(gateway, accept=accept)
    await until(lambda: any(r.prov_id == answer.prov_id for r in gateway.records()))
    assert stolen[0].status_code == 409
    assert answer.prov_id in stolen[0].json()["detail"]
    assert b"42" in answer.body
    assert calls_in(gateway.hops(answer)) == made
    await gateway.proven(answer)


async def test_a_seal_without_a_root_span_counts_against_the_rate(tmp_path):
    files = {"operations/agents.toml": AGENTS.replace("deployments =", "# ")}
    rate = "\n[tenants.TENANT_003.rate]\nrequests_per_minute = 2\n"
    async with running_gateway(tmp_path, Setup(files=files, more=rate)) as gateway:
        asked = [await gateway.send("POST", SEAL, b"{}", key="TENANT_003") for _ in range(3)]
    assert [answer.status for answer in asked] == [400, 400, 429]


async def test_of_two_seals_at_once_one_wins(gateway: Gateway):
    body = json.dumps({"answer_sha256": "ab" * 32}).encode()
    answers = await asyncio.gather(
        *[gateway.send("POST", SEAL, body, headers=sealing(52, "d3" * 16)) for _ in range(5)]
    )
    assert sorted(one.status for one in answers) == [200, 409, 409, 409, 409]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"answer_sha256": "AB" * 32}, 400),
        ({"answer_commit": "ab"}, 400),
        ({"answer_sha256": 7}, 400),
        ({"answer_sha256": "ab" * 32, "octets": -1}, 400),
        ({"answer_sha256": "ab" * 32, "octets": True}, 400),
        ({"answer_sha256": "ab" * 32, "name": 5}, 400),
    ],
)
async def test_a_seal_says_which_answer_it_is_for(gateway: Gateway, body: dict, status: int):
    answer = await gateway.send("POST", SEAL, json.dumps(body).encode(), headers=sealing(60))
    assert (answer.status, answer.json()["code"]) == (status, "malformed_request")


async def test_a_seal_without_a_root_span_is_refused_with_the_way_to_give_one(gateway: Gateway):
    body = json.dumps({"answer_sha256": "ab" * 32}).encode()
    answer = await gateway.send("POST", SEAL, body)
    assert answer.status == 400
    assert "traceparent: 00-<trace id>-<root span>-01" in answer.json()["detail"]
    called = await gateway.send("POST", "/v1/runs/research.agent", body, headers=sealing(61))
    assert (called.status, called.json()["code"]) == (404, "operation_unregistered")


async def test_a_policy_decides_about_a_seal_too(gateway: Gateway):
    body = json.dumps({"answer_sha256": "ab" * 32}).encode()
    answer = await gateway.send("POST", SEAL, body, key="TENANT_003", headers=sealing(62))
    assert (answer.status, answer.json()["reasons"]) == (403, ["purpose"])


async def test_requests_of_a_plain_trace_are_not_kept_where_nothing_can_seal_them(
    gateway: Gateway, store: SqliteRuns
):
    """TENANT_001 has a client's agent here, so its are; a tenant without one leaves no rows."""
    trace = "d4" * 16
    headers = {"traceparent": f"00-{trace}-{span(1)}-01"}
    await gateway.send("POST", "/v1/chat/completions", chat_body("x"), headers=headers)
    assert len(store.collect(TENANT, trace, span(2), "p", 1).calls) == 1
