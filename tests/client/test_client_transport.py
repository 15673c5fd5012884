"""What an honest gateway's answers look like to an application that uses the openai SDK."""

import asyncio
import gzip
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx2
import msgspec
import pytest
from asking import MESSAGES, MODES, ask
from openai import APIConnectionError, AsyncOpenAI, AuthenticationError, OpenAI
from signing_gateway import WAIT_S, Cut, Hold, event

from verismo.client.errors import AnswerUnsigned, StreamCut
from verismo.client.recording import report_of
from verismo.client.settings import OnVerdict
from verismo.client.transport import AsyncVerifyingTransport, VerifyingTransport

WORDS = "w0 w1 w2 w3 w4 w5 "
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


@pytest.fixture
def http(trusted):
    with httpx2.Client(transport=VerifyingTransport(trusted()), base_url=trusted().base_url) as c:
        yield c


@pytest.mark.parametrize("mode", MODES)
def test_a_whole_answer_is_verified_and_handed_on(mode, server, trusted):
    seen = ask(mode, trusted())
    assert (seen.error, seen.text, seen.verdicts) == (None, "Hello world.", ["VERIFIED"])


@pytest.mark.parametrize("release", ["verified", "early"])
@pytest.mark.parametrize("mode", MODES)
def test_a_stream_is_verified_and_handed_on_whole(mode, release, server, trusted):
    seen = ask(mode, trusted(release=release), stream=True)
    assert (seen.error, seen.text, seen.verdicts) == (None, WORDS, ["VERIFIED"])
    assert seen.reports[0].events == 7


@pytest.mark.parametrize("mode", MODES)
def test_every_request_carries_its_own_nonce_of_32_bytes(mode, server, trusted):
    ask(mode, trusted())
    ask(mode, trusted())
    nonces = {asked.nonce for asked in server.asked}
    assert len(nonces) == 2
    assert {len(nonce) for nonce in nonces} == {43}
    assert {asked.headers["accept-encoding"] for asked in server.asked} == {"identity"}


def test_tool_calls_pass_whole_and_streamed(server, trusted):
    server.kinds = "tools"
    with httpx2.Client(transport=VerifyingTransport(trusted())) as http:
        client = OpenAI(base_url=server.url + "/v1", api_key="k", http_client=http)
        whole = client.chat.completions.create(model="m", messages=MESSAGES, tools=TOOLS)
        called = whole.choices[0].message.tool_calls[0].function
        assert (called.name, json.loads(called.arguments)) == ("weather", {"city": "Oslo"})
        chunks = client.chat.completions.create(
            model="m", messages=MESSAGES, tools=TOOLS, stream=True
        )
        arguments = ""
        for chunk in chunks:
            arguments += chunk.choices[0].delta.tool_calls[0].function.arguments or ""
        assert json.loads(arguments) == {"city": "Oslo"}
        assert report_of(chunks.response).verdict == "VERIFIED"


def test_the_report_is_beside_the_answer(server, trusted):
    with httpx2.Client(transport=VerifyingTransport(trusted())) as http:
        client = OpenAI(base_url=server.url + "/v1", api_key="k", http_client=http)
        raw = client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
        report = report_of(raw.http_response)
        assert report.verdict == "VERIFIED"
        assert report.prov_id == raw.headers["attest-prov-id"]
        assert report.statement.nonce == server.asked[0].nonce


def test_head_comments_do_not_reach_the_application(server, http):
    body = {"model": "m", "stream": True}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.content == b"".join([*server.events(), b"data: [DONE]\n\n"])


def test_a_query_string_and_an_escaped_path_are_verified_as_sent(server, http):
    answer = http.get("/v1/models/a%20b%2Fc?x=1&y=%20")
    assert report_of(answer).verdict == "VERIFIED"
    assert server.asked[0].path == "/v1/models/a%20b%2Fc"


def test_a_coded_answer_is_verified_over_the_decoded_octets(server, http):
    def compress(asked, answer):
        coded = gzip.compress(answer.pieces[0])
        return replace(answer.with_header(b"content-encoding", b"gzip"), pieces=[coded])

    server.alter = compress
    answer = http.post("/v1/chat/completions", json={"model": "m"})
    assert report_of(answer).verdict == "VERIFIED"
    assert answer.json()["choices"][0]["message"]["content"] == "Hello world."
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("path", ["/healthz", "/v1/prov/0190", "/.well-known/attest/jwks.json"])
def test_reads_carry_no_proof_and_need_none(path, http):
    answer = http.get(path)
    assert answer.status_code == 200
    assert report_of(answer) is None


@pytest.mark.parametrize("mode", MODES)
def test_an_unsigned_refusal_reaches_the_sdk_as_what_it_is(mode, server, trusted):
    server.alter = lambda asked, answer: replace(
        answer.unsigned(), status=401, pieces=[b'{"error":{"message":"no key"}}']
    )
    seen = ask(mode, trusted())
    assert isinstance(seen.error, AuthenticationError)
    assert seen.verdicts == ["UNSIGNED"]
    refused = ask(mode, trusted(on_verdict=OnVerdict(unsigned_refusal="refuse")))
    assert isinstance(refused.error, AnswerUnsigned)


@pytest.mark.parametrize("mode", MODES)
def test_a_stream_that_the_gateway_ended_early_gives_its_proven_events_then_an_error(
    mode, server, trusted
):
    server.alter = lambda asked, answer: server.stream(asked, server.events()[:3], fin=False)
    seen = ask(mode, trusted(), stream=True)
    assert seen.text == "w0 w1 w2 "
    assert isinstance(seen.error, StreamCut)
    assert (seen.error.report.verdict, seen.error.report.events) == ("VERIFIED_PREFIX", 3)


@pytest.mark.parametrize("mode", MODES)
def test_a_connection_that_breaks_within_a_stream_gives_the_proven_prefix(mode, server, trusted):
    server.alter = lambda asked, answer: replace(answer, pieces=[*answer.pieces[:6], Cut()])
    seen = ask(mode, trusted(), stream=True)
    assert seen.text == "w0 w1 "
    assert isinstance(seen.error, StreamCut)
    assert isinstance(seen.error.__cause__, httpx2.RemoteProtocolError)
    assert seen.verdicts == ["VERIFIED_PREFIX"]
    assert len(server.asked) == 1
    passed = ask(mode, trusted(on_verdict=OnVerdict(prefix="pass")), stream=True)
    assert passed.text == "w0 w1 "
    assert isinstance(passed.error, APIConnectionError)
    assert isinstance(passed.error.__cause__, httpx2.RemoteProtocolError)


def test_a_prefix_may_be_let_through_and_is_reported(server, trusted):
    server.alter = lambda asked, answer: server.stream(asked, server.events()[:3], fin=False)
    seen = ask("sync", trusted(on_verdict=OnVerdict(prefix="pass")), stream=True)
    assert (seen.error, seen.text, seen.verdicts) == (None, "w0 w1 w2 ", ["VERIFIED_PREFIX"])


@pytest.mark.parametrize("mode", MODES)
def test_connection_errors_stay_what_they_are(mode, server, trusted):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
        refused = ask(mode, msgspec.structs.replace(trusted(), base_url=nobody), max_retries=0)
    assert isinstance(refused.error, APIConnectionError)
    assert isinstance(refused.error.__cause__, httpx2.ConnectError)
    server.alter = lambda asked, answer: replace(answer, pieces=[Cut()], is_chunked=True)
    broken = ask(mode, trusted(), max_retries=0)
    assert isinstance(broken.error.__cause__, httpx2.RemoteProtocolError)
    assert (refused.reports, broken.reports) == ([], [])


@pytest.mark.slow
def test_a_time_out_within_a_stream_stays_a_time_out_and_is_judged(server, trusted):
    server.alter = lambda asked, answer: replace(answer, pieces=[*answer.pieces[:4], Hold()])
    reports = []
    transport = VerifyingTransport(trusted(), on_report=lambda report, _: reports.append(report))
    got = []
    with (
        httpx2.Client(transport=transport, timeout=0.5) as http,
        http.stream("POST", server.url + "/v1/chat/completions", json={"stream": True}) as answer,
        pytest.raises(httpx2.ReadTimeout),
    ):
        got += answer.iter_bytes()
    assert b"".join(got) == b"".join(server.events()[:2])
    assert [report.verdict for report in reports] == ["VERIFIED_PREFIX"]


def test_leaving_a_stream_early_is_no_error_and_is_judged_by_what_was_seen(server, trusted):
    server.alter = lambda asked, answer: replace(answer, pieces=[*answer.pieces[:4], Hold()])
    reports = []
    transport = VerifyingTransport(trusted(), on_report=lambda report, _: reports.append(report))
    with httpx2.Client(transport=transport) as http:
        client = OpenAI(base_url=server.url + "/v1", api_key="k", http_client=http)
        with client.chat.completions.create(model="m", messages=MESSAGES, stream=True) as chunks:
            assert next(chunks).choices[0].delta.content == "w0 "
        assert server.client_left.wait(WAIT_S)
        assert report_of(chunks.response).verdict == "VERIFIED_PREFIX"
    assert [report.events for report in reports] == [2]


async def test_cancelling_breaks_the_stream_off_and_judges_what_was_seen(server, trusted):
    server.alter = lambda asked, answer: replace(answer, pieces=[*answer.pieces[:4], Hold()])
    reports, got = [], []
    transport = AsyncVerifyingTransport(
        trusted(), on_report=lambda report, _: reports.append(report)
    )
    two = asyncio.Event()

    async def read(client: AsyncOpenAI) -> None:
        chunks = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        async for chunk in chunks:
            got.append(chunk.choices[0].delta.content)
            if len(got) == 2:
                two.set()

    async with httpx2.AsyncClient(transport=transport) as http:
        client = AsyncOpenAI(base_url=server.url + "/v1", api_key="k", http_client=http)
        task = asyncio.create_task(read(client))
        async with asyncio.timeout(WAIT_S):
            await two.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await asyncio.to_thread(server.client_left.wait, WAIT_S)
    assert got == ["w0 ", "w1 "]
    assert [(report.verdict, report.events) for report in reports] == [("VERIFIED_PREFIX", 2)]


def test_many_threads_share_one_client(server, trusted):
    reports, lock = [], threading.Lock()

    def noted(report, request):
        with lock:
            reports.append((report.verdict, request.headers["attest-nonce"]))

    with httpx2.Client(transport=VerifyingTransport(trusted(), on_report=noted)) as http:
        client = OpenAI(base_url=server.url + "/v1", api_key="k", http_client=http)

        def call(number: int) -> str:
            if number % 2:
                chunks = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
                return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            answer = client.chat.completions.create(model="m", messages=MESSAGES)
            return answer.choices[0].message.content or ""

        with ThreadPoolExecutor(8) as pool:
            texts = list(pool.map(call, range(24)))
    assert texts == ["Hello world.", WORDS] * 12
    assert {verdict for verdict, _ in reports} == {"VERIFIED"}
    assert len({nonce for _, nonce in reports}) == 24


@pytest.mark.slow
async def test_many_tasks_share_one_client(server, trusted):
    async with httpx2.AsyncClient(transport=AsyncVerifyingTransport(trusted())) as http:
        client = AsyncOpenAI(base_url=server.url + "/v1", api_key="k", http_client=http)

        async def call() -> str:
            chunks = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

        async with asyncio.timeout(WAIT_S):
            texts = await asyncio.gather(*(call() for _ in range(24)))
    assert set(texts) == {WORDS}


def test_a_request_body_that_is_a_generator_is_read_and_verified(server, http):
    body = iter([b'{"model"', b':"m"}'])
    answer = http.post("/v1/chat/completions", content=body, headers={"content-length": "13"})
    assert report_of(answer).verdict == "VERIFIED"


def test_what_the_callback_raises_reaches_the_application(server, trusted):
    def refuse(report, request):
        raise LookupError(report.verdict)

    transport = VerifyingTransport(trusted(), on_report=refuse)
    with httpx2.Client(transport=transport) as http, pytest.raises(LookupError, match="VERIFIED"):
        http.post(server.url + "/v1/chat/completions", json={"model": "m"})


@pytest.mark.slow
def test_events_are_released_only_when_a_head_covers_them(server, trusted):
    server.alter = lambda asked, answer: replace(answer, pieces=[*answer.pieces[:6], Hold()])
    url = server.url + "/v1/chat/completions"
    for release, events in (("verified", 2), ("early", 4)):
        transport = VerifyingTransport(trusted(release=release))
        with (
            httpx2.Client(transport=transport, timeout=0.5) as http,
            http.stream("POST", url, json={"stream": True}) as answer,
        ):
            got = []
            with pytest.raises(httpx2.ReadTimeout):
                got += answer.iter_bytes()
        assert b"".join(got).count(b"data: ") == events


def test_an_event_of_one_byte_pieces_is_put_together(server, trusted):
    def crumble(asked, answer):
        octets = b"".join(answer.pieces)
        return replace(answer, pieces=[octets[i : i + 1] for i in range(len(octets))])

    server.words = 2
    server.alter = crumble
    seen = ask("sync", trusted(), stream=True)
    assert (seen.error, seen.text, seen.verdicts) == (None, "w0 w1 ", ["VERIFIED"])


def test_an_error_event_is_raised_by_the_sdk_as_ever(server, trusted):
    failing = b'data: {"error":{"message":"provider broke"}}\n\n'
    server.alter = lambda asked, answer: server.stream(
        asked, [event({"content": "a"}), failing], fin=False
    )
    seen = ask("sync", trusted(), stream=True)
    assert "provider broke" in str(seen.error)
    assert seen.text == "a"
    assert seen.verdicts == ["VERIFIED_PREFIX"]
