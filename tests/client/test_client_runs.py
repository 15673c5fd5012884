"""Runs: where they stand, what calls carry, and that no gateway ever breaks the agent's work."""

import json
import logging
import socket
import subprocess
import sys
import threading

import httpx2
import pytest
from openai import OpenAI
from signing_gateway import ISSUER, jwks
from tests.support.spancollector import KEY, collecting

from verismo.client import (
    SealRefused,
    bound,
    carry,
    carry_async,
    retrieval,
    run,
    source,
    tool,
)
from verismo.client.delivery import Delivery
from verismo.client.recorder import here
from verismo.client.settings import Gateway
from verismo.client.tracecontext import STATE_CHARS_MAX, read_run_context, split_state, state_of
from verismo.model import base64url
from verismo.model.errors import ConfigError
from verismo.model.run import RUN_ENTRIES_MAX

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
ROOT = "00f067aa0ba902b7"
SALT = bytes(range(32))
INBOUND = {
    "Traceparent": f"00-{TRACE}-{CALLER}-00",
    "tracestate": f"other=1, verismo={ROOT},more=2",
    "Attest-Run-Salt": base64url.encode_binary_item(SALT),
}


@tool
def search(query: str) -> str:
    return query


@pytest.fixture
def collector():
    with collecting() as running:
        yield running


def make(collector, **changes) -> run:
    return run("desk", **{"gateway": collector.url, "api_key": KEY, **changes})


def continued(collector, headers=INBOUND):
    return run.continued(headers, gateway=collector.url, api_key=KEY, name="desk")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def test_a_continued_run_stands_under_its_caller_and_uses_its_salt(collector):
    with continued(collector) as r:
        assert (r.trace_id, r.span_id, r.salt) == (TRACE, ROOT, SALT)
        search("a")
        headers = r.headers()
    assert r.is_recorded
    assert collector.hop("search").parent_span == CALLER
    assert collector.spans[0].trace_id == TRACE
    assert headers["traceparent"] == f"00-{TRACE}-{CALLER}-01"
    assert headers["tracestate"] == f"verismo={ROOT},other=1,more=2"


def test_reports_carry_the_key_and_nothing_of_the_caller(collector):
    with continued(collector):
        search("a")
    [headers] = collector.headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"] == "application/json"
    assert not {"attest-run-salt", "traceparent", "tracestate"} & headers.keys()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"traceparent": INBOUND["Traceparent"]},
        {**INBOUND, "Traceparent": "00-0-0-00"},
        {**INBOUND, "Traceparent": f"00-{'0' * 32}-{CALLER}-01"},
        {**INBOUND, "Traceparent": f"00-{TRACE}-{'0' * 16}-01"},
        {**INBOUND, "Traceparent": f"ff-{TRACE}-{CALLER}-01"},
        {**INBOUND, "Traceparent": f"00-{TRACE}-{CALLER}-01-more"},
        {"traceparent": INBOUND["Traceparent"], "tracestate": "verismo=nothing"},
    ],
)
def test_a_service_called_outside_any_run_works_and_records_nothing(collector, headers):
    with continued(collector, headers) as r:
        assert search("a") == "a"
        assert (r.headers(), r.trace_id, r.span_id, r.salt) == ({}, "", "", b"")
        with r.active():
            assert here() is None
        r.flush()
    assert not r.is_recorded
    assert (r.lost, r.refused, r.faults) == (0, 0, ())
    assert collector.bodies == []


def test_a_later_version_of_traceparent_is_read():
    headers = {**INBOUND, "Traceparent": f"cc-{TRACE}-{CALLER}-01-what-comes"}
    context = read_run_context(headers)
    assert (context.trace_id, context.parent_span, context.run_span) == (TRACE, CALLER, ROOT)


def test_without_a_salt_that_can_be_read_the_run_makes_its_own(collector):
    for value in ("", "no item", base64url.encode_binary_item(b"short")):
        with continued(collector, {**INBOUND, "Attest-Run-Salt": value}) as r:
            assert len(r.salt) == 32
            assert r.salt != SALT
            assert r.span_id == ROOT


def test_with_a_salt_and_no_state_the_caller_is_the_run(collector):
    headers = {name: INBOUND[name] for name in ("Traceparent", "Attest-Run-Salt")}
    with continued(collector, headers) as r:
        assert r.span_id == CALLER


def test_states_of_other_vendors_are_kept_as_far_as_they_fit():
    assert split_state(f"a=1,, verismo={ROOT} ,b=2") == (ROOT, "a=1,b=2")
    assert split_state("verismo=short,a=1") == ("", "a=1")
    full = ",".join(f"vendor{n}={'x' * 40}" for n in range(30))
    state = state_of(ROOT, full)
    assert len(state) <= STATE_CHARS_MAX
    assert state_of(ROOT, "a=1," * 40).count("=") == 32
    assert state.startswith(f"verismo={ROOT},vendor0=")
    assert all(entry in full for entry in state.split(",")[1:])


def test_calls_made_within_a_step_stand_under_it(collector):
    told = {}

    @tool
    def ask() -> None:
        told.update(r.headers())

    with make(collector) as r:
        outside = r.headers()
        ask()
    hop = collector.hop("ask")
    assert outside["traceparent"] == f"00-{r.trace_id}-{r.span_id}-01"
    assert told["traceparent"] == f"00-{r.trace_id}-{hop.span_id}-01"
    assert told["tracestate"] == outside["tracestate"] == f"verismo={r.span_id}"


def test_the_headers_of_a_run_do_not_depend_on_another_that_is_present(collector):
    with make(collector) as outer, make(collector) as inner:
        assert outer.headers()["traceparent"].split("-")[1:3] == [outer.trace_id, outer.span_id]
        assert inner.headers()["traceparent"].split("-")[1:3] == [inner.trace_id, inner.span_id]
        search("inner")
    spans = collector.spans
    assert [span.trace_id for span in spans] == [inner.trace_id]


def test_after_an_inner_run_the_outer_one_goes_on(collector):
    with make(collector) as outer:
        with make(collector):
            search("inner")
        search("outer")
    assert [span.trace_id for span in collector.spans][1] == outer.trace_id


def test_a_run_is_entered_once(collector):
    scope = make(collector)
    with scope, pytest.raises(RuntimeError, match="once"):
        scope.__enter__()
    with pytest.raises(RuntimeError, match="once"), scope:
        raise AssertionError("was entered again")


def kept(seen: list[httpx2.Request]) -> httpx2.MockTransport:
    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        message = {"role": "assistant", "content": "yes"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
        return httpx2.Response(200, json={**body, "choices": [choice]})

    return httpx2.MockTransport(answer)


def test_an_openai_client_with_the_hook_carries_the_run_to_the_gateway_only(collector):
    seen: list[httpx2.Request] = []
    http = httpx2.Client(transport=kept(seen), event_hooks={"request": [carry]})
    ours = OpenAI(base_url=f"{collector.url}/v1", api_key=KEY, http_client=http)
    theirs = OpenAI(base_url="http://127.0.0.1:9/v1", api_key=KEY, http_client=http)

    @tool
    def ask(client: OpenAI) -> None:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}])

    ask(ours)
    with make(collector) as r:
        ask(ours)
        ask(theirs)
    outside, inside, foreign = seen
    span = collector.hops[0].span_id
    assert inside.headers["traceparent"] == f"00-{r.trace_id}-{span}-01"
    assert inside.headers["tracestate"] == f"verismo={r.span_id}"
    assert "attest-run-salt" not in inside.headers
    for request in (outside, foreign):
        assert not {"traceparent", "tracestate"} & set(request.headers)


async def test_an_async_client_with_the_hook_carries_the_run(collector):
    seen: list[httpx2.Request] = []
    hooks = {"request": [carry_async]}
    async with (
        httpx2.AsyncClient(transport=kept(seen), event_hooks=hooks) as http,
        make(collector) as r,
    ):
        await http.post(f"{collector.url}/v1/chat/completions")
    assert seen[0].headers["traceparent"] == f"00-{r.trace_id}-{r.span_id}-01"


def test_what_was_flushed_is_there_before_the_run_ends(collector):
    with make(collector) as r:
        search("a")
        r.flush()
        assert len(collector.hops) == 1
        r.flush()
        search("b")
    assert len(collector.bodies) == 2


async def test_an_async_run_flushes_beside_the_event_loop(collector):
    async with make(collector) as r:
        search("a")
        await r.flush()
        assert len(collector.hops) == 1


async def test_a_stream_flushes_before_its_last_event(collector):
    async def answer():
        async with make(collector) as r:
            yield b"data: one"
            search("a")
            await r.flush()
            yield b"data: [DONE]"

    async for event in answer():
        assert len(collector.hops) == (event == b"data: [DONE]")


def test_a_generator_that_is_closed_in_another_context_ends_its_run(collector):
    def answer():
        with make(collector) as r:
            with r.active():
                search("a")
            yield b"one"
            yield b"two"

    with make(collector) as outer:
        reader = answer()
        assert next(reader) == b"one"
        closing = threading.Thread(target=reader.close)
        closing.start()
        closing.join()
        assert len(collector.hops) == 1
        search("in the outer run")
    assert collector.spans[1].trace_id == outer.trace_id
    assert here() is None


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_a_busy_gateway_did_not_take_is_sent_again(collector, status):
    with make(collector) as r:
        collector.status = status
        search("a")
        r.flush()
        assert (r.lost, r.faults) == (0, (f"the gateway answered {status}",))
        collector.status = 200
        search("b")
    assert [hop.attrs["tool"] for hop in collector.hops] == ["search", "search"]
    assert r.lost == 0


def test_a_gateway_that_is_away_costs_the_steps_and_not_the_work(collector, caplog):
    address = f"http://127.0.0.1:{free_port()}"
    with caplog.at_level(logging.WARNING, "verismo.client"), make(collector, gateway=address) as r:
        assert search("a") == "a"
        r.flush()
        assert search("b") == "b"
        r.flush()
        assert r.lost == 0
    assert r.lost == 2
    assert len(r.faults) == 1
    assert r.faults[0].startswith("ConnectError")
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("status", "answer", "fault"),
    [
        (401, b"no key", "the gateway answered 401: no key"),
        (404, b"", "the gateway answered 404: "),
        (200, b"<html>", "not a gateway's answer"),
        (200, b'{"partialSuccess":{"rejectedSpans":"many"}}', "not a gateway's answer"),
    ],
)
def test_a_report_that_is_refused_as_a_whole_is_lost_and_says_why(collector, status, answer, fault):
    collector.status, collector.answer = status, answer
    with make(collector) as r:
        search("a")
    assert r.lost == 1
    assert fault in r.faults[0]


def test_steps_that_the_gateway_refuses_are_counted_apart(collector):
    partial = {"rejectedSpans": "2", "errorMessage": "refused 2 (orphan: 2)"}
    collector.answer = json.dumps({"partialSuccess": partial}).encode()
    with make(collector) as r:
        search("a")
    assert (r.lost, r.refused, r.faults) == (0, 2, ("refused 2 (orphan: 2)",))


def test_a_run_keeps_no_more_steps_than_a_gateway_takes(collector):
    with make(collector) as r:
        for _ in range(RUN_ENTRIES_MAX + 5):
            search("a")
    assert len(collector.hops) == RUN_ENTRIES_MAX
    assert (r.lost, r.faults) == (5, (f"over {RUN_ENTRIES_MAX} steps in one run",))


def test_what_ends_after_the_run_is_lost_and_said_to_be(collector):
    with make(collector) as r:
        begun = retrieval("index")
        begun.__enter__()
    begun.__exit__(None, None, None)
    assert (r.lost, r.faults) == (1, ("the run is over",))
    assert collector.bodies == []


def test_what_begins_after_the_run_is_outside_it(collector):
    with make(collector) as r:
        late = bound(search)
    assert late("a") == "a"
    assert (r.lost, collector.bodies) == (0, [])


def test_a_client_that_is_given_is_used_and_left_open(collector):
    with httpx2.Client() as http:
        for _ in range(2):
            with make(collector, http_client=http):
                search("a")
        assert not http.is_closed
    with make(collector, http_client=http) as r:
        search("a")
    assert (len(collector.hops), r.lost) == (2, 1)


@pytest.mark.parametrize("key", ["", "vk_a\r\nx: y", "vk_ä", " "])
def test_a_key_that_cannot_be_sent_is_refused_at_once(key):
    with pytest.raises(ConfigError):
        Delivery("https://gate.example", key)


async def test_a_client_that_cannot_be_used_is_refused_at_once():
    async with httpx2.AsyncClient() as http:
        with pytest.raises(ConfigError, match="http_client"):
            run("desk", gateway="https://gate.example", api_key=KEY, http_client=http)


@pytest.mark.parametrize("address", ["gate.example", "https://gate.example/v1", "ftp://x"])
def test_an_address_that_cannot_be_used_is_refused_at_once(address):
    with pytest.raises(ConfigError):
        run("desk", gateway=address, api_key=KEY)


@pytest.mark.parametrize("operation", ["", "a/b", "ä", "a b", "x" * 200])
def test_an_operation_that_cannot_be_sealed_is_refused_at_once(operation):
    with pytest.raises(ConfigError):
        run(operation, gateway="https://gate.example", api_key=KEY)


def test_a_continued_run_is_sealed_by_its_caller(collector):
    with continued(collector) as r, pytest.raises(SealRefused):
        r.seal(b"answer")


def test_a_seal_that_is_refused_says_why(collector):
    with make(collector) as r:
        collector.status, collector.answer = 404, b"operation_unregistered"
        with pytest.raises(SealRefused, match="404: operation_unregistered"):
            r.seal(b"answer")


def test_a_seal_that_does_not_arrive_is_an_error_of_the_connection(collector):
    with (
        make(collector, gateway=f"http://127.0.0.1:{free_port()}") as r,
        pytest.raises(httpx2.ConnectError),
    ):
        r.seal(b"answer")


def test_a_reply_to_a_seal_is_verified_if_there_are_keys(server):
    trusted = Gateway(server.url, keys=jwks(server.token), issuer=ISSUER)
    for gateway, verdict in ((trusted, "VERIFIED"), (server.url, None)):
        with run("desk", gateway=gateway, api_key=KEY) as r:
            sealed = r.seal(b"the answer")
        assert (sealed.report and sealed.report.verdict) == verdict
        assert sealed.prov_id == sealed.response.headers["attest-prov-id"]


@pytest.mark.slow
def test_the_client_needs_no_more_than_the_core_dependencies():
    code = (
        "import sys, verismo.client; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.check_output((sys.executable, "-c", code), text=True, timeout=60).split()
    third_party = {
        "opentelemetry",
        "google",
        "starlette",
        "uvicorn",
        "sqlalchemy",
        "openai",
        "nacl",
    }
    assert not third_party & set(loaded)


def test_sources_and_retrievals_in_a_continued_run_stand_under_the_caller(collector):
    with continued(collector):
        source("doc:1", "text")
        with retrieval("index"):
            search("a")
    assert collector.hop("source").parent_span == CALLER
    assert collector.hop("index").parent_span == CALLER
    assert collector.hop("search").parent_span == collector.hop("index").span_id
