"""What a client of a throttled route gets, and of one beside it."""

import time

import pytest
from tests.support.gateway import CHAT, Gateway, Setup, running_gateway

from verismo.gateway.snapshot import steered
from verismo.model.steering import STEERING_VERSION, Steering, Throttle

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

KEY = "TENANT_002"


def throttle(gateway: Gateway, usd_micros_per_minute: int, tenant: str = KEY) -> None:
    """Put a steering in force that throttles the chat of a tenant; none at all with 0."""
    cell = gateway.worker._snapshot
    now_ms = time.time_ns() // 1_000_000
    told = Throttle(tenant, CHAT, usd_micros_per_minute, now_ms + 60_000)
    version = 1 if cell.current.steering is None else cell.current.steering.version + 1
    throttles = (told,) if usd_micros_per_minute else ()
    one = Steering(
        *(STEERING_VERSION, version, cell.current.base, "verismo", now_ms), throttles=throttles
    )
    cell.swap(steered(cell.current, one))


async def test_throttled_route_gets_a_signed_429_that_says_when_and_how_much(tmp_path):
    async with running_gateway(tmp_path) as gateway:
        throttle(gateway, 60)
        answers = [await gateway.chat(key=KEY) for _ in range(3)]
        assert answers[0].status == 200, "the bucket has something in it"
        assert answers[0].headers["x-budget-state"] == "throttled"
        refused = answers[-1]
        problem = refused.json()
        assert (refused.status, problem["code"]) == (429, "route_throttled")
        assert problem["type"].endswith("http-problem-types#temporary-reduced-capacity")
        assert problem["violated-policies"] == ["route"]
        assert problem["error"]["type"] == "rate_limit_error"
        wait_s = int(refused.headers["retry-after"])
        assert wait_s > 60, "the answer before it left a debt of more than a minute"
        assert refused.headers["x-budget-state"] == "throttled"
        assert '"route";q=60;w=60;qu="usd-micros"' in refused.headers["ratelimit-policy"]
        assert f'"route";r=0;t={wait_s}' in refused.headers["ratelimit"]
        assert refused.statement.plan == gateway.worker._snapshot.current.digest
        await gateway.proven(refused, key=KEY)
        assert gateway.upstream.requests == 1


async def test_other_tenants_and_a_route_that_is_let_go_are_not_touched(tmp_path):
    async with running_gateway(tmp_path) as gateway:
        throttle(gateway, 60)
        assert [(await gateway.chat(key=KEY)).status for _ in range(2)] == [200, 429]
        other = await gateway.chat(key="TENANT_001")
        assert other.status == 200
        assert "x-budget-state" not in other.headers
        throttle(gateway, 0)
        free = await gateway.chat(key=KEY)
        assert free.status == 200
        assert "x-budget-state" not in free.headers


async def test_stream_of_a_throttled_route_says_so(tmp_path):
    async with running_gateway(tmp_path) as gateway:
        throttle(gateway, 10_000_000)
        stream = await gateway.chat(key=KEY, stream=True)
        assert stream.status == 200
        assert stream.headers["x-budget-state"] == "throttled"


async def test_what_a_throttled_route_asks_for_is_counted_admitted_or_not(tmp_path):
    async with running_gateway(tmp_path) as gateway:
        first = await gateway.chat(key=KEY)
        assert first.status == 200
        (spend,) = [
            spends
            for closed in gateway.worker._steered.windows.take_rest()
            for spends in closed.interval("s0").spends
        ]
        throttle(gateway, 1)
        for _ in range(3):
            await gateway.chat(key=KEY)
        (throttled,) = [
            spends
            for closed in gateway.worker._steered.windows.take_rest()
            for spends in closed.interval("s0").spends
        ]
        assert throttled.offered_usd_micros == 3 * spend.offered_usd_micros > 0


async def test_exhausted_budget_says_so_in_its_headers(tmp_path):
    setup = Setup(edits={"budget_usd_per_day = 25.50": "budget_usd_per_day = 0.000001"})
    async with running_gateway(tmp_path, setup) as gateway:
        answer = await gateway.chat(key=KEY)
        assert answer.headers["x-budget-state"] == "exhausted"
        assert '"budget";q=1;w=86400;qu="usd-micros"' in answer.headers["ratelimit-policy"]
        assert answer.json()["violated-policies"] == ["budget"]
        assert answer.json()["type"].endswith("#quota-exceeded")
