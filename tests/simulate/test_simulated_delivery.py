"""Each fault as a client sees it, over real connections."""

import asyncio
import json

import httpx2
import openai
import pytest

from verismo.simulate.record import Record
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
PATH = "/v1/chat/completions"


@pytest.fixture
def record():
    return Record(keep_requests=4)


@pytest.fixture
async def http(record):
    async with (
        running_upstream(SimulatorSettings(), record) as url,
        httpx2.AsyncClient(base_url=url, timeout=10) as client,
    ):
        yield client


def ordering(order: str, *, stream: bool = False) -> dict:
    return {"json": {**CHAT, "stream": stream}, "headers": {"x-simulate": order}}


async def collect(http, received: bytearray, request: dict) -> None:
    """Read an answer as it comes, so that what came before a cut is kept."""
    async with http.stream("POST", PATH, **request) as answer:
        async for chunk in answer.aiter_bytes():
            received += chunk


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503, 529])
async def test_an_ordered_error_has_its_status_and_the_dialects_shape(http, record, status):
    answer = await http.post(PATH, **ordering(f"error={status}"))
    assert answer.status_code == status
    assert answer.json()["error"]["message"] == "Simulated error."
    assert answer.headers.get("retry-after") == ("1" if status in (429, 503, 529) else None)
    assert record.faults == {"error_status": 1}


async def test_errors_of_the_other_dialects_have_their_shapes(http):
    headers = {"x-simulate": "error=429"}
    anthropic = await http.post("/v1/messages", content=b"{}", headers=headers)
    graphql = await http.post("/graphql", content=b"{}", headers=headers)
    echo = await http.post("/echo", content=b"", headers=headers)
    assert anthropic.json()["error"]["type"] == "rate_limit_error"
    assert graphql.json() == {"errors": [{"message": "Simulated error."}]}
    assert echo.headers["content-type"] == "application/problem+json"


async def test_an_order_in_the_body_works_without_the_header(http):
    body = {"model": "m", "messages": [{"role": "user", "content": "[simulate: error=418] hi"}]}
    assert (await http.post(PATH, json=body)).status_code == 418


async def test_an_unknown_order_is_a_400_that_lists_the_known_ones(http):
    answer = await http.post(PATH, **ordering("explode"))
    assert answer.status_code == 400
    assert "cut=N" in answer.json()["error"]["message"]


async def test_a_cut_stream_has_the_ordered_events_and_no_end(http, record):
    received = bytearray()
    with pytest.raises(httpx2.RemoteProtocolError):
        await collect(http, received, ordering("cut=3", stream=True))
    assert received.count(b"\n\n") == 3
    assert b"[DONE]" not in received
    await record.wait_until(lambda seen: seen.in_flight == 0)
    assert (record.answers, record.disconnects) == (0, 0)


async def test_a_cut_body_is_shorter_than_its_content_length(http):
    received = bytearray()
    with pytest.raises(httpx2.RemoteProtocolError):
        await collect(http, received, ordering("cut=20"))
    assert received.startswith(b'{"id":"chatcmpl-')
    assert len(received) == 20


async def test_the_sdk_raises_on_an_error_event_inside_a_stream(http):
    async with openai.AsyncOpenAI(base_url=f"{http.base_url}/v1", api_key="k") as sdk:
        stream = await sdk.chat.completions.create(
            **CHAT, stream=True, extra_headers={"x-simulate": "fail=2"}
        )
        chunks = aiter(stream)
        assert await anext(chunks)
        assert await anext(chunks)
        with pytest.raises(openai.APIError, match="Simulated failure"):
            await anext(chunks)


async def test_an_anthropic_stream_fails_with_an_error_event(http):
    headers = {"x-api-key": "k", "anthropic-version": "1", "x-simulate": "fail=2"}
    answer = await http.post(
        "/v1/messages", json={**CHAT, "max_tokens": 9, "stream": True}, headers=headers
    )
    last = answer.text.split("\n\n")[-2]
    assert last.startswith('event: error\ndata: {"type":"error"')
    assert '"overloaded_error"' in last


@pytest.mark.parametrize("stream", [False, True])
async def test_garbage_is_a_success_that_is_not_json(http, stream):
    answer = await http.post(PATH, **ordering("garbage", stream=stream))
    assert answer.status_code == 200
    text = answer.text.split("\n\n")[1].removeprefix("data: ") if stream else answer.text
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_huge_answer_has_the_ordered_size_and_no_content_length(http, stream):
    answer = await http.post(PATH, **ordering("huge=300001", stream=stream))
    assert len(answer.content) == 300_001
    assert "content-length" not in answer.headers
    assert answer.text.startswith('data: "x' if stream else '"x')


async def test_a_redirect_is_not_counted_as_followed_until_it_is(http, record):
    answer = await http.post(PATH, **ordering("redirect"))
    assert answer.status_code == 307
    assert record.redirects_followed == 0
    await http.get(answer.headers["location"])
    assert record.redirects_followed == 1


async def test_a_closed_connection_gives_no_octet(http, record):
    with pytest.raises(httpx2.RemoteProtocolError):
        await http.post(PATH, **ordering("close"))
    await record.wait_until(lambda seen: seen.in_flight == 0)
    assert (record.answers, record.disconnects) == (0, 0)


async def test_a_client_that_leaves_a_stalled_call_is_seen_to_leave(http, record):
    call = asyncio.create_task(http.post(PATH, **ordering("stall")))
    await record.wait_until(lambda seen: seen.in_flight == 1)
    call.cancel()
    await record.wait_until(lambda seen: seen.disconnects == 1)
    assert (record.in_flight, record.answers) == (0, 0)


async def test_a_stream_can_fall_silent_in_its_middle(http, record):
    async with http.stream("POST", PATH, **ordering("stall=2", stream=True)) as answer:
        received = b""
        async for chunk in answer.aiter_bytes():
            received += chunk
            if received.count(b"\n\n") == 2:
                break
        assert record.disconnects == 0
    await record.wait_until(lambda seen: seen.disconnects == 1)


async def test_a_client_that_leaves_a_running_stream_is_seen_to_leave(http, record):
    order = ordering("interval=60000", stream=True)
    async with http.stream("POST", PATH, **order) as answer:
        assert await anext(answer.aiter_bytes())
    await record.wait_until(lambda seen: seen.disconnects == 1)


async def test_a_client_that_leaves_during_the_latency_is_seen_to_leave(http, record):
    call = asyncio.create_task(http.post(PATH, **ordering("slow=60000")))
    await record.wait_until(lambda seen: seen.in_flight == 1)
    call.cancel()
    await record.wait_until(lambda seen: seen.disconnects == 1)


async def test_latency_and_intervals_pass_before_and_within_an_answer(http):
    loop = asyncio.get_running_loop()
    start = loop.time()
    assert (await http.post(PATH, **ordering("slow=30"))).status_code == 200
    assert loop.time() - start >= 0.03
    start = loop.time()
    text = (await http.post(PATH, **ordering("interval=5, tokens=4", stream=True))).text
    assert loop.time() - start >= 0.005 * (text.count("\n\n") - 1)


async def test_an_ordered_length_gives_so_many_content_events(http):
    text = (await http.post(PATH, **ordering("tokens=50", stream=True))).text
    assert text.count("\n\n") == 1 + 50 + 1 + 1


async def test_shares_of_faults_disturb_calls_without_an_order():
    settings = SimulatorSettings(error_ppm=1_000_000)
    async with running_upstream(settings) as url, httpx2.AsyncClient(base_url=url) as http:
        statuses = {(await http.post(PATH, json=CHAT)).status_code for _ in range(20)}
        ordered = await http.post(PATH, **ordering("slow=0"))
        stats = await http.get("/simulator/stats")
    assert statuses == {500, 429, 503}
    assert ordered.status_code == 200
    assert stats.json()["answers"] == 21
