"""Fallback among deployments and the circuit breaker, seen from outside."""

import asyncio
import time

import pytest
from tests.support.gateway import Gateway, Setup, running_gateway

from verismo.gateway.breaker import COOL_DOWN_MS, FAILURES_MAX
from verismo.simulate.record import Record
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings

pytestmark = pytest.mark.slow


async def test_unreachable_provider_is_a_502_and_falls_back(tmp_path_factory):
    async with running_gateway(tmp_path_factory.mktemp("gone"), broken_first(1)) as gateway:
        alone = await gateway.chat(model="alone")
        assert (alone.status, alone.json()["code"]) == (502, "upstream_unreachable")
        await gateway.proven(alone)
        both = await gateway.chat(model="both")
        assert both.status == 200
        await gateway.proven(both)
        assert [one.get("error", "ok") for one in gateway.tries(both)] == [
            "upstream_unreachable",
            "ok",
        ]


def broken_first(port: int) -> Setup:
    """An operation whose first deployment is at a port of its own, and one with only that."""
    return Setup(
        more=f"""
[providers.first]
kind = "openai"
base_url = "http://127.0.0.1:{port}/v1"
timeouts = {{ connect_ms = 500, first_byte_ms = 1000, total_ms = 3000 }}

[deployments.first-us]
provider = "first"
model = "gpt-4o-mini"
region = "us"
""",
        files={
            "operations/both.toml": """
[operations.both]
kind = "chat"
purpose = "support"
deployments = ["first-us", "chat-us"]

[operations.alone]
kind = "chat"
purpose = "support"
deployments = ["first-us"]
"""
        },
    )


@pytest.mark.parametrize(
    ("faults", "streamed", "shown"),
    [
        (SimulatorSettings(error_ppm=1_000_000), False, "status"),
        (SimulatorSettings(error_ppm=1_000_000), True, "status"),
        (SimulatorSettings(garbage_ppm=1_000_000), False, "error"),
        (SimulatorSettings(stall_ppm=1_000_000), False, "error"),
        (SimulatorSettings(stall_ppm=1_000_000), True, "error"),
    ],
)
async def test_fallback_answers_and_both_tries_are_hops(tmp_path_factory, faults, streamed, shown):
    async with running_upstream(faults) as url:
        setup = broken_first(int(url.rpartition(":")[2]))
        async with running_gateway(tmp_path_factory.mktemp("fall"), setup) as gateway:
            answer = await gateway.chat(model="both", stream=streamed)
            assert answer.status == 200
            report = await gateway.proven(answer)
            first, second = gateway.tries(answer)
            assert (first["deployment"], first["try"]) == ("first-us", 1)
            assert (second["deployment"], second["try"]) == ("chat-us", 2)
            assert shown in first
            assert second["status"] == 200
            assert report.statement.model.provider == "simulator"


async def test_status_of_the_callers_own_fault_is_not_tried_again(tmp_path_factory):
    async with running_upstream(SimulatorSettings(models=("other",))) as url:
        setup = broken_first(int(url.rpartition(":")[2]))
        async with running_gateway(tmp_path_factory.mktemp("own"), setup) as gateway:
            answer = await gateway.chat(model="both")
            assert answer.status == 404
            assert len(gateway.tries(answer)) == 1
            await gateway.proven(answer)


async def test_breaker_opens_after_failures_in_a_row_and_tells_when_to_come_again(
    tmp_path_factory,
):
    async with running_gateway(tmp_path_factory.mktemp("breaker"), broken_first(1)) as gateway:
        for _ in range(FAILURES_MAX):
            assert (await gateway.chat(model="alone")).status == 502
        assert gateway.telemetry.open_breakers == {"first-us"}
        kept_away = await gateway.chat(model="alone")
        assert (kept_away.status, kept_away.json()["code"]) == (503, "no_deployment")
        assert 1 <= int(kept_away.headers["retry-after"]) <= COOL_DOWN_MS // 1_000
        assert gateway.tries(kept_away) == []
        await gateway.proven(kept_away)
        (only,) = gateway.tries(await gateway.chat(model="both"))
        assert only["deployment"] == "chat-us", "an open breaker costs no try"


async def test_breaker_lets_one_probe_through_and_closes_when_it_succeeds(tmp_path_factory):
    record = Record()
    async with running_upstream(SimulatorSettings(), record) as url:
        setup = broken_first(int(url.rpartition(":")[2]))
        async with running_gateway(tmp_path_factory.mktemp("probe"), setup) as gateway:
            tripped = trip(gateway)
            slow = asyncio.create_task(gateway.chat("[simulate: slow=150]", model="alone"))
            await record.wait_until(lambda seen: seen.in_flight == 1)
            meanwhile = await gateway.chat(model="alone")
            assert (meanwhile.status, meanwhile.json()["code"]) == (503, "no_deployment")
            assert (await slow).status == 200
            assert not tripped.is_open
            assert (await gateway.chat(model="alone")).status == 200
            assert record.requests == 2


async def test_probe_that_fails_doubles_the_cool_down(tmp_path_factory):
    async with running_gateway(tmp_path_factory.mktemp("probe"), broken_first(1)) as gateway:
        trip(gateway)
        assert (await gateway.chat(model="alone")).status == 502
        kept_away = await gateway.chat(model="alone")
        assert kept_away.status == 503
        assert int(kept_away.headers["retry-after"]) > COOL_DOWN_MS // 1_000


async def test_probe_whose_client_leaves_makes_room_for_the_next(tmp_path_factory):
    record = Record()
    async with running_upstream(SimulatorSettings(), record) as url:
        setup = broken_first(int(url.rpartition(":")[2]))
        async with running_gateway(tmp_path_factory.mktemp("left"), setup) as gateway:
            trip(gateway)
            leaving = asyncio.create_task(gateway.chat("[simulate: stall]", model="alone"))
            await record.wait_until(lambda seen: seen.in_flight == 1)
            leaving.cancel()
            await record.wait_until(lambda seen: seen.disconnects == 1)
            assert (await gateway.chat(model="alone")).status == 200


def trip(gateway: Gateway):
    """Open the breaker of the first deployment so long ago that a probe is due."""
    breaker = gateway.worker.breakers.of("first-us")
    past_ms = time.time_ns() // 1_000_000 - COOL_DOWN_MS - 1
    for _ in range(FAILURES_MAX):
        breaker.failed(past_ms)
    return breaker


async def test_call_that_cannot_be_spelled_takes_no_probe_of_a_half_open_breaker(
    tmp_path_factory,
):
    """`stream_options` of the wrong type is found while the call is spelled for the provider."""
    async with running_gateway(tmp_path_factory.mktemp("spell"), broken_first(1)) as gateway:
        trip(gateway)
        odd = await gateway.chat(model="alone", stream=True, stream_options=[1])
        assert odd.status == 400
        await gateway.proven(odd)
        assert (await gateway.chat(model="alone")).status == 502, "the probe is still to be had"
