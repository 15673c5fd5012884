"""The simulator on a socket: counters, kept requests, starting and stopping."""

import asyncio
import hashlib
import threading

import httpx2
import msgspec
import pytest

from verismo.model.errors import OperatorError
from verismo.simulate.record import Record, Stats
from verismo.simulate.server import running_upstream, upstream_in_thread
from verismo.simulate.settings import SimulatorSettings


@pytest.fixture
def record():
    return Record(keep_requests=2)


@pytest.fixture
async def http(record):
    settings = SimulatorSettings(request_bytes_max=200_000)
    async with (
        running_upstream(settings, record) as url,
        httpx2.AsyncClient(base_url=url) as client,
    ):
        yield client


async def test_the_echo_tells_digest_and_length_of_the_octets(http):
    body = bytes(range(256)) * 700
    answer = (
        await http.put("/echo/deep?q=1", content=body, headers={"content-type": "x/y"})
    ).json()
    assert answer == {
        "method": "PUT",
        "path": "/echo/deep",
        "query": "q=1",
        "content_type": "x/y",
        "length": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "simulator": "verismo-simulator",
    }


async def test_the_last_requests_are_kept_as_they_arrived(http, record):
    for number in range(3):
        await http.post("/echo", content=f"body {number}", headers={"x-number": str(number)})
    assert [seen.body for seen in record.kept] == [b"body 1", b"body 2"]
    assert record.kept[-1].header("x-number") == "2"
    assert record.kept[-1].header("absent") == ""


async def test_the_stats_page_shows_the_counters_and_is_not_counted(http, record):
    await http.post("/echo", content=b"\xff")
    await http.get("/nowhere")
    page = await http.get("/simulator/stats")
    stats = msgspec.json.decode(page.content, type=Stats)
    assert stats == record.stats()
    assert (stats.connections, stats.requests, stats.answers, stats.in_flight) == (1, 2, 2, 0)
    assert stats.paths == {"/echo": 1}
    assert stats.kept[0].body == b"\xff"


async def test_the_latency_of_the_settings_passes_before_each_answer():
    loop = asyncio.get_running_loop()
    settings = SimulatorSettings(latency_ms_p50=20)
    async with running_upstream(settings) as url, httpx2.AsyncClient() as http:
        start = loop.time()
        await http.get(f"{url}/echo")
        await http.get(f"{url}/echo")
        assert loop.time() - start >= 0.04


async def test_unknown_paths_are_404(http):
    assert (await http.get("/nowhere")).status_code == 404
    assert (await http.get("/simulator/nowhere")).status_code == 404


async def test_a_body_over_the_limit_is_413(http):
    answer = await http.post("/v1/chat/completions", content=b"x" * 200_001)
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_nothing_is_kept_unless_asked():
    record = Record()
    async with running_upstream(SimulatorSettings(), record) as url, httpx2.AsyncClient() as http:
        await http.post(f"{url}/echo", content=b"secret")
        stats = await http.get(f"{url}/simulator/stats")
    assert not record.kept
    assert stats.json()["kept"] == []


async def test_the_settings_say_how_many_requests_a_default_record_keeps():
    async with (
        running_upstream(SimulatorSettings(keep_requests=1)) as url,
        httpx2.AsyncClient() as http,
    ):
        await http.post(f"{url}/echo", content=b"abc")
        stats = await http.get(f"{url}/simulator/stats")
    assert stats.json()["kept"][0]["body"] == "YWJj"


async def test_a_client_that_leaves_while_sending_is_counted(http, record):
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    writer.write(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc")
    await record.wait_until(lambda seen: seen.in_flight == 1)
    writer.close()
    await record.wait_until(lambda seen: seen.disconnects == 1)
    assert await reader.read() == b""


async def test_waiting_for_what_does_not_happen_ends_in_time(record):
    with pytest.raises(TimeoutError):
        await record.wait_until(lambda seen: seen.requests == 1, timeout_s=0.01)


async def test_stopping_breaks_off_stalled_calls_at_once(record):
    loop = asyncio.get_running_loop()
    async with httpx2.AsyncClient() as http:
        async with running_upstream(SimulatorSettings(), record) as url:
            call = asyncio.create_task(http.get(f"{url}/echo", headers={"x-simulate": "stall"}))
            await record.wait_until(lambda seen: seen.in_flight == 1)
            start = loop.time()
        assert loop.time() - start < 1
        with pytest.raises(httpx2.TransportError):
            await call
    assert record.in_flight == 0


async def test_a_port_in_use_is_told_to_the_operator(http):
    with pytest.raises(OperatorError) as caught:
        async with running_upstream(SimulatorSettings(), port=http.base_url.port):
            pytest.fail("two servers share a port")
    assert "--port" in caught.value.advice


def test_a_thread_serves_callers_without_an_event_loop():
    before = threading.active_count()
    record = Record()
    with upstream_in_thread(SimulatorSettings(), record) as url, httpx2.Client() as http:
        assert http.get(f"{url}/echo").json()["method"] == "GET"
    assert record.requests == 1
    assert threading.active_count() == before
