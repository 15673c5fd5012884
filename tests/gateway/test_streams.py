"""Streams as they happen: heads that come in time, slow readers, another protocol behind them."""

import asyncio
import json
import sqlite3
import time

import httpx2
import pytest
from tests.ports import upstream_server
from tests.ports.upstream_calls import chunked
from tests.support.answers import answer_from
from tests.support.connection import CHAT_PATH, Connection, post
from tests.support.gateway import Gateway, Setup, chat_body, running_gateway
from tests.support.waiting import until

from verismo.adapters.journal_file import Batch, commit_batch
from verismo.attest.headers import read_proof_headers
from verismo.attest.report import Expectation, SeenRequest, SeenResponse
from verismo.attest.stream import DONE_EVENT, HEAD_EVERY_EVENTS
from verismo.attest.verify import StreamVerifier, Verifier

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

IDLE_MS = 1_500
CLAUDE = """
[providers.claude]
kind = "anthropic"
api_key_env = "CLAUDE_KEY"
base_url = "http://127.0.0.1:9090/v1"

[deployments.claude-us]
provider = "claude"
model = "claude-haiku-4-5"
region = "us"
"""


@pytest.fixture(scope="module")
def setup() -> Setup:
    return Setup(edits={"# stream_idle_ms_max = 60000": f"stream_idle_ms_max = {IDLE_MS}"})


def stream_of(gateway: Gateway, body: bytes):
    headers = {
        "authorization": f"Bearer {gateway.keys['TENANT_001']}",
        "content-type": "application/json",
    }
    return gateway.client.stream("POST", gateway.url + CHAT_PATH, content=body, headers=headers)


def verifier_of(gateway: Gateway, body: bytes, response: httpx2.Response) -> StreamVerifier:
    return Verifier(gateway.public).stream(
        read_proof_headers(dict(response.headers.items())),
        SeenRequest("POST", CHAT_PATH, b"", body),
        SeenResponse(response.status_code, response.headers["content-type"]),
        Expectation(),
    )


async def test_long_stream_is_trusted_piece_by_piece(gateway: Gateway):
    body = chat_body("[simulate: interval=2, tokens=150]", stream=True)
    trusted: list[int] = []
    async with stream_of(gateway, body) as response:
        verifier = verifier_of(gateway, body, response)
        async for piece in response.aiter_bytes():
            for start in range(0, len(piece), 100):
                verifier.feed(piece[start : start + 100])
                trusted.append(verifier.trusted_events)
    assert verifier.finish().verdict == "VERIFIED"
    assert len(set(trusted)) > 3


async def test_as_many_events_as_owe_a_head_get_it_before_the_provider_goes_on(
    tmp_path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("verismo.gateway.relay.HEAD_EVERY_S", 3_600)
    async with running_gateway(tmp_path) as gateway:
        body = chat_body(f"[simulate: tokens=60, stall={HEAD_EVERY_EVENTS}]", stream=True)
        async with stream_of(gateway, body) as response:
            verifier = verifier_of(gateway, body, response)
            async for piece in response.aiter_bytes():
                verifier.feed(piece)
                if verifier.trusted_events:
                    break
        assert verifier.trusted_events == HEAD_EVERY_EVENTS


async def test_head_comes_within_half_a_second_although_the_provider_pauses(tmp_path):
    """What was said before a pause is not to stay untrusted for as long as the pause lasts."""
    async with running_gateway(tmp_path) as gateway:
        body = chat_body("[simulate: interval=1, stall=3]", stream=True)
        began = time.monotonic()
        async with stream_of(gateway, body) as response:
            verifier = verifier_of(gateway, body, response)
            async for piece in response.aiter_bytes():
                verifier.feed(piece)
                if verifier.trusted_events >= 3:
                    break
        assert verifier.trusted_events == 3
        assert time.monotonic() - began < 2


async def test_reader_that_pauses_is_not_taken_for_a_silent_provider(gateway: Gateway):
    before = len(gateway.telemetry.finished)
    async with Connection(gateway) as client:
        body = chat_body("[simulate: tokens=20000]", stream=True)
        client.writer.write(post(gateway, body, "connection: close"))
        await client.reader.read(1_000)
        with pytest.raises(TimeoutError):
            await until(lambda: len(gateway.telemetry.finished) > before, 1.2 * IDLE_MS / 1_000)
        seen = await asyncio.wait_for(client.reader.read(), 20)
    assert b"data: [DONE]\n\n" in seen
    assert b"upstream_timeout" not in seen


async def test_other_protocol_is_translated_and_the_graph_says_so(tmp_path):
    setup = Setup(
        edits={"# Tenants: your": CLAUDE + "# Tenants: your"},
        files={
            "operations/claude.toml": '[operations.claude]\nkind = "chat"\npurpose = "support"\n'
            'deployments = ["claude-us"]\n'
        },
        environ={"CLAUDE_KEY": "sk-claude"},
    )
    setup.edits['models = ["gpt-*", "text-embedding-*"]\nenforcement = "observe"'] = (
        'models = ["claude-*"]\nenforcement = "observe"'
    )
    async with running_gateway(tmp_path, setup) as gateway:
        for streamed in (False, True):
            answer = await gateway.chat("Hello", model="claude", stream=streamed)
            assert answer.status == 200, answer.body
            report = await gateway.proven(answer)
            assert report.statement.model.provider == "claude"
            assert report.statement.cost_usd_micros > 0
            kinds = [hop["kind"] for hop in gateway.hops(answer)]
            assert kinds[-3:] == ["model", "transform", "response"]
            assert gateway.upstream.kept[-1].path == "/v1/messages"
        assert b"chat.completion.chunk" in answer.body


class HeldCommit:
    """A commit that waits until it is let go."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.gate = asyncio.Event()
        self.waiting = 0

    def __call__(self, connection: sqlite3.Connection, batch: Batch) -> None:
        if not batch.is_trial:
            self.waiting += 1
            asyncio.run_coroutine_threadsafe(self.gate.wait(), self.loop).result(10)
        commit_batch(connection, batch)


async def test_answer_that_is_there_at_once_is_covered_by_its_statement_alone(tmp_path):
    held = HeldCommit()
    async with running_gateway(tmp_path, Setup(commit=held)) as gateway:
        asked = asyncio.create_task(gateway.chat("[simulate: tokens=200]", stream=True))
        await until(lambda: held.waiting == 1)
        await until(lambda: gateway.upstream.in_flight == 0)
        held.gate.set()
        answer = await asked
        report = await gateway.proven(answer)
    assert report.events > 5 * HEAD_EVERY_EVENTS
    assert answer.body.startswith(b": attest ")
    assert answer.body.count(b": attest ") == 2
    assert answer.body.endswith(DONE_EVENT)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", CHAT_PATH, chat_body()),
        ("POST", CHAT_PATH, b"{}"),
        ("GET", "/v1/models", b""),
        ("POST", CHAT_PATH, chat_body(stream=True)),
    ],
    ids=["answer", "refusal", "list", "opening"],
)
async def test_client_that_leaves_during_the_commit_leaves_one_record(tmp_path, method, path, body):
    held = HeldCommit()
    async with running_gateway(tmp_path, Setup(commit=held)) as gateway:
        asked = asyncio.create_task(gateway.send(method, path, body))
        await until(lambda: held.waiting == 1)
        before = gateway.worker.server.connections
        asked.cancel()
        await until(lambda: gateway.worker.server.connections < before)
        held.gate.set()
        await until(lambda: len(gateway.records()) == 1)
        await until(lambda: len(gateway.telemetry.finished) == 1)
        assert gateway.telemetry.finished[0].status == 499
        await until(lambda: gateway.upstream.in_flight == 0)
        await gateway.proven(await gateway.chat())
        assert len(gateway.records()) == 2


async def test_client_that_leaves_while_the_end_is_committed_leaves_one_whole_record(tmp_path):
    held = HeldCommit()
    async with running_gateway(tmp_path, Setup(commit=held)) as gateway:
        body = chat_body("[simulate: interval=30, tokens=10]", stream=True)
        held.gate.set()
        async with stream_of(gateway, body) as response:
            pieces = response.aiter_bytes()
            await anext(pieces)
            held.gate.clear()
            await until(lambda: held.waiting == 2)
            await response.aclose()
        held.gate.set()
        await until(lambda: len(gateway.records()) == 1)
        statement = json.loads(gateway.records()[0].statement)
        assert statement["res"]["fin"] is True, "the provider had said everything"
        await until(lambda: len(gateway.telemetry.finished) == 1)


async def test_provider_that_sends_no_proper_events_is_broken_off(tmp_path):
    async def script(connection: upstream_server.Connection) -> None:
        await connection.request()
        media = "content-type: text/event-stream"
        await connection.send(chunked(b"data: no JSON\n\n", lines=(media,), end=b""))
        await connection.gone()

    async with upstream_server.serving(script) as provider:
        setup = Setup(edits={"http://127.0.0.1:9090": provider.url})
        async with running_gateway(tmp_path, setup) as gateway:
            body = chat_body(stream=True)
            async with stream_of(gateway, body) as response:
                events = await response.aread()
            assert b'"code":"upstream_broken"' in events
            await provider.until(lambda state: state.open == 0)
            assert json.loads(gateway.records()[0].statement)["res"]["fin"] is False


async def test_saved_stream_verifies_as_a_whole_too(gateway: Gateway):
    body = chat_body(stream=True)
    async with stream_of(gateway, body) as response:
        await response.aread()
    answer = answer_from(response.request, response, body)
    await gateway.proven(answer)
