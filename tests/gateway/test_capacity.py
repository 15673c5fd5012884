"""Rates, budgets and the cache, seen from outside."""

import asyncio
import json
import time

import pytest
from tests.support.gateway import Gateway, Setup, chat_body, running_gateway
from tests.support.waiting import until

from verismo.adapters.budget_leased import DAY_MS
from verismo.simulate.settings import SimulatorSettings

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

ENFORCED = 'enforcement = "safelist"\n'
BUDGET_EU = "budget_usd_per_day = 25.50"
RATES_EU = "rate = { requests_per_minute = 600, tokens_per_minute = 400000 }"
KEY = "TENANT_002"


async def test_answers_show_what_is_left_and_a_429_says_when_to_come_again(tmp_path):
    setup = Setup(edits={RATES_EU: "rate = { requests_per_minute = 3 }"})
    async with running_gateway(tmp_path, setup) as gateway:
        answers = [await gateway.chat(key=KEY) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        lefts = [answer.headers["ratelimit"] for answer in answers]
        assert [left.split(";")[1] for left in lefts] == ["r=2", "r=1", "r=0", "r=0"]
        refused = answers[3]
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert refused.headers["ratelimit-policy"] == '"tenant";q=3;w=60'
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        assert gateway.upstream.requests == 3
        await gateway.proven(refused, key=KEY)
        stream = await gateway.chat(key="TENANT_001", stream=True)
        assert stream.status == 200, "another tenant is not touched"


async def test_key_that_hammers_the_reads_is_refused_unsigned_and_others_are_not(tmp_path):
    setup = Setup(edits={RATES_EU: "rate = { requests_per_minute = 3 }"})
    async with running_gateway(tmp_path, setup) as gateway:
        answer = await gateway.chat(key=KEY)
        paths = [f"/v1/prov/{answer.prov_id}", f"/v1/attest/{answer.prov_id}/proof"]
        for path in (paths[0], paths[1], "/v1/prov/guessed"):
            assert (await gateway.send("GET", path, key=KEY)).status in {200, 404, 409}
        for path in paths:
            refused = await gateway.send("GET", path, key=KEY)
            assert (refused.status, refused.json()["code"]) == (429, "rate_limited")
            assert 1 <= int(refused.headers["retry-after"]) <= 20
            assert not refused.is_signed
            other = await gateway.send("GET", path, key="TENANT_001")
            assert other.status == 404
        assert (await gateway.chat(key=KEY)).status == 200, "reads take nothing from answers"


async def test_rate_of_tokens_does_not_bound_reads(tmp_path):
    setup = Setup(edits={RATES_EU: "rate = { tokens_per_minute = 100 }"})
    async with running_gateway(tmp_path, setup) as gateway:
        answer = await gateway.chat("[simulate: tokens=500]", key=KEY)
        for _ in range(5):
            read = await gateway.send("GET", f"/v1/prov/{answer.prov_id}", key=KEY)
            assert read.status == 200


async def test_tokens_of_an_answer_count_against_the_rate(tmp_path):
    setup = Setup(edits={RATES_EU: "rate = { tokens_per_minute = 100 }"})
    async with running_gateway(tmp_path, setup) as gateway:
        first = await gateway.chat("[simulate: tokens=500]", key=KEY)
        assert first.status == 200
        second = await gateway.chat(key=KEY)
        assert (second.status, second.json()["code"]) == (429, "rate_limited")
        assert "tokens" in second.json()["detail"]
        assert int(second.headers["retry-after"]) > 60
        await gateway.proven(second, key=KEY)


async def test_budget_that_cannot_hold_the_estimate_refuses_before_anything_is_sent(tmp_path):
    setup = Setup(edits={BUDGET_EU: "budget_usd_per_day = 0.000001"})
    async with running_gateway(tmp_path, setup) as gateway:
        answer = await gateway.chat(key=KEY)
        assert (answer.status, answer.json()["code"]) == (429, "budget_exhausted")
        assert 1 <= int(answer.headers["retry-after"]) <= DAY_MS // 1_000
        assert gateway.upstream.requests == 0
        await gateway.proven(answer, key=KEY)
        free = {"documentId": "sha256:" + "0" * 64}
        unknown = await gateway.send("POST", "/graphql", json.dumps(free).encode(), key=KEY)
        assert unknown.status == 404


@pytest.mark.parametrize(
    "limits",
    [
        {"max_tokens": 100_000, "max_completion_tokens": 1},
        {"max_tokens": 1, "max_completion_tokens": 100_000},
        {"max_tokens": 100_000, "max_completion_tokens": 0},
        {"max_tokens": 1e5},
        {"max_tokens": 1_000, "n": 100},
    ],
)
async def test_a_small_limit_beside_a_large_one_sets_no_less_aside(tmp_path, limits):
    """gpt-4o-mini: 100,000 tokens out are 60,000 micros, twice what the budget holds."""
    setup = Setup(edits={BUDGET_EU: "budget_usd_per_day = 0.030000"})
    async with running_gateway(tmp_path, setup) as gateway:
        body = chat_body("[simulate: tokens=10]", **limits)
        answer = await gateway.send("POST", "/v1/chat/completions", body, key=KEY)
        assert (answer.status, answer.json()["code"]) == (429, "budget_exhausted")
        assert gateway.upstream.requests == 0


async def test_calls_in_flight_hold_their_estimate_and_leave_only_the_cost(tmp_path):
    """gpt-4o-mini: 500 tokens out are 300 micros; the budget holds one such call at a time."""
    setup = Setup(edits={BUDGET_EU: "budget_usd_per_day = 0.000400"})
    async with running_gateway(tmp_path, setup) as gateway:
        body = chat_body("[simulate: slow=150, tokens=10]", max_tokens=500)
        both = await asyncio.gather(
            *(gateway.send("POST", "/v1/chat/completions", body, key=KEY) for _ in range(2))
        )
        assert sorted(answer.status for answer in both) == [200, 429]
        (budget,) = gateway.budgets
        assert budget.reserved(KEY) == 0
        later = await gateway.send("POST", "/v1/chat/completions", body, key=KEY)
        assert later.status == 200, "the first cost less than it had reserved"
        spent = sum(record.cost_usd_micros for record in gateway.records())
        costs = [a.statement.cost_usd_micros for a in (*both, later) if a.status == 200]
        assert spent == sum(costs) > 0


@pytest.mark.parametrize("order", ["error=500", "garbage", "close"])
async def test_call_that_fails_gives_its_reservation_back(tmp_path, order: str):
    async with running_gateway(tmp_path) as gateway:
        answer = await gateway.chat(f"[simulate: {order}]", key=KEY)
        assert answer.status >= 500
        assert gateway.budgets[0].reserved(KEY) == 0


async def test_what_was_spent_survives_a_restart(tmp_path):
    setup = Setup(edits={BUDGET_EU: "budget_usd_per_day = 0.000700"})
    body = chat_body("[simulate: tokens=800]", max_tokens=1_000)

    async def send(gateway: Gateway) -> int:
        return (await gateway.send("POST", "/v1/chat/completions", body, key=KEY)).status

    if time.time_ns() // 1_000_000 % DAY_MS > DAY_MS - 60_000:
        pytest.skip("a UTC day is about to end, and its budget with it")
    async with running_gateway(tmp_path, setup) as gateway:
        assert await send(gateway) == 200
        assert await send(gateway) == 429
    async with running_gateway(tmp_path, setup) as gateway:
        assert await send(gateway) == 429


CACHING = Setup(
    edits={
        ENFORCED: f"{ENFORCED}cache_ttl_s = 60\n",
        'enforcement = "observe"\n': 'enforcement = "observe"\ncache_ttl_s = 60\n',
    },
    simulator=SimulatorSettings(keep_requests=10),
)


async def test_hit_is_the_same_answer_freshly_sealed_and_costs_nothing(tmp_path):
    async with running_gateway(tmp_path, CACHING) as gateway:
        first, second = [await gateway.chat(key=KEY) for _ in range(2)]
        assert gateway.upstream.requests == 1
        assert first.body == second.body
        one, two = [(await gateway.proven(a, key=KEY)).statement for a in (first, second)]
        assert (one.cache, two.cache) == ("miss", "hit")
        assert two.seq.n == one.seq.n + 1
        assert (one.prov_id, one.res.commit) != (two.prov_id, two.res.commit)
        assert two.model == one.model
        assert gateway.record_of(second).cost_usd_micros == 0
        kinds = [hop["kind"] for hop in gateway.hops(second)]
        assert "cache" in kinds
        assert "model" not in kinds


async def test_cache_never_answers_across_tenants_operations_or_bytes(tmp_path):
    async with running_gateway(tmp_path, CACHING) as gateway:
        asked = [
            (KEY, chat_body()),
            ("TENANT_001", chat_body()),
            (KEY, chat_body(model="gpt-4o")),
            (KEY, chat_body() + b" "),
        ]
        for key, body in asked:
            answer = await gateway.send("POST", "/v1/chat/completions", body, key=key)
            assert answer.statement.cache == "miss", body
        assert gateway.upstream.requests == len(asked)


async def test_streams_mutations_http_calls_and_failures_are_never_cached(
    tmp_path, user_document, ticket_document
):
    async with running_gateway(tmp_path, CACHING) as gateway:

        async def twice(path: str, body: bytes, key: str = KEY) -> int:
            before = gateway.upstream.requests
            for _ in range(2):
                await gateway.send("POST", path, body, key=key)
            return gateway.upstream.requests - before

        ticket = {"documentId": ticket_document.id, "variables": {"subject": "x"}}
        user = {"documentId": user_document.id, "variables": {"id": "1"}}
        assert await twice("/v1/chat/completions", chat_body(stream=True)) == 2
        assert await twice("/graphql", json.dumps(ticket).encode()) == 2
        assert await twice("/v1/operations/support.echo", b"{}", "TENANT_001") == 2
        assert await twice("/v1/chat/completions", chat_body("[simulate: error=400]")) == 2
        assert await twice("/graphql", json.dumps(user).encode()) == 1


async def test_cache_is_off_unless_the_tenant_sets_a_lifetime(tmp_path):
    async with running_gateway(tmp_path) as gateway:
        answers = [await gateway.chat() for _ in range(2)]
        assert {answer.statement.cache for answer in answers} == {"off"}
        assert gateway.upstream.requests == 2


async def test_policy_that_changes_takes_the_cached_answers_with_it(tmp_path):
    """What an old policy let through may not be served under a new one."""
    async with running_gateway(tmp_path, CACHING) as gateway:
        first = await gateway.chat(key=KEY)
        rule = gateway.config.policy / "models.rego"
        rule.write_text(rule.read_text() + "\n# another bundle\n")
        later = [await gateway.chat(key=KEY)]

        async def is_reloaded() -> bool:
            later.append(await gateway.chat(key=KEY))
            return later[-1].statement.policy != first.statement.policy

        await until(is_reloaded)
        assert [answer.statement.cache for answer in later[-2:]] == ["hit", "miss"]
