"""Simulated callers: what they send, how many at a time, and what they say of how it ended."""

import asyncio

import pytest
from tests.support.waiting import until

from verismo.simulate.record import Record
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings
from verismo.simulate.traffic import Traffic, TrafficSettings


def settings(url: str, **more) -> TrafficSettings:
    usual = {"api_key": "vk_key", "operation": "gpt-4o-mini", "per_s": 200.0}
    return TrafficSettings(url=url, **usual | more)


async def run_until(traffic: Traffic, count: int) -> None:
    ended = asyncio.Event()
    running = asyncio.create_task(traffic.run(ended))
    await until(lambda: sum(traffic.outcomes.values()) >= count, 20)
    ended.set()
    await running


async def test_calls_are_answered_and_counted_by_status():
    async with running_upstream(SimulatorSettings(), record := Record()) as url:
        traffic = Traffic(settings(url))
        await run_until(traffic, 10)
    assert set(traffic.outcomes) == {"200"}
    assert record.requests >= 10


async def test_a_gateway_that_is_not_there_is_counted_too():
    traffic = Traffic(settings("http://127.0.0.1:9"))
    await run_until(traffic, 3)
    assert set(traffic.outcomes) == {"unreachable"}


@pytest.mark.slow
async def test_more_than_the_bound_are_never_in_flight():
    async with running_upstream(SimulatorSettings(latency_ms_p50=300.0)) as url:
        traffic = Traffic(settings(url, in_flight_max=2))
        await run_until(traffic, 20)
    assert traffic.outcomes["left_out"] > traffic.outcomes["200"] > 0


def test_the_key_is_never_shown():
    assert "vk_key" not in repr(settings("http://127.0.0.1:9"))
