"""The span processor: real spans of the OpenTelemetry SDK become hops, and no content leaves."""

import asyncio
import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from opentelemetry import context as otel_context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from tests.support.otlp import SECRET
from tests.support.spancollector import KEY, collecting

from verismo.client import run, tool
from verismo.client.otel import REST_S, RunSaltPropagator, RunSpanProcessor, traced
from verismo.model import base64url

TRACE = "0af7651916cd43dd8448eb211c80319c"
ROOT = "00f067aa0ba902b7"
SALT = bytes(range(32))
INBOUND = {
    "traceparent": f"00-{TRACE}-{ROOT}-01",
    "tracestate": f"verismo={ROOT}",
    "attest-run-salt": base64url.encode_binary_item(SALT),
}
PROPAGATOR = CompositePropagator([TraceContextTextMapPropagator(), RunSaltPropagator()])


def commit(octets: bytes, salt: bytes = SALT) -> str:
    return hashlib.sha256(b"attest/v1/source\0" + salt + octets).hexdigest()


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Agent:
    """A service with the SDK's tracer and the processor."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.processor = RunSpanProcessor(url, KEY, "desk", clock_s=self.clock, traces_max=10)
        self.elsewhere = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(self.processor)
        provider.add_span_processor(SimpleSpanProcessor(self.elsewhere))
        self.provider = provider
        self.tracer = provider.get_tracer("agent")

    @contextmanager
    def request(self, headers=INBOUND):
        """What an instrumented server does: its span stands under the caller's."""
        context = PROPAGATOR.extract(headers)
        token = otel_context.attach(context)
        try:
            with self.tracer.start_as_current_span("POST /agent", kind=SpanKind.SERVER) as span:
                yield span
        finally:
            otel_context.detach(token)

    def span(self, action: str, **facts: object):
        attributes = {name.replace("__", "."): value for name, value in facts.items()}
        return self.tracer.start_as_current_span(
            action, attributes={"gen_ai.operation.name": action, **attributes}
        )


@pytest.fixture
def collector():
    with collecting() as running:
        yield running


@pytest.fixture
def agent(collector):
    made = Agent(collector.url)
    yield made
    made.provider.shutdown()


def span_id(span) -> str:
    return f"{span.get_span_context().span_id:016x}"


def test_spans_of_a_run_become_hops_under_its_root(agent, collector):
    with agent.request() as server, agent.span("invoke_agent", gen_ai__agent__name="desk") as top:
        with agent.span("chat", gen_ai__request__model="m", gen_ai__usage__input_tokens=5):
            pass
        with agent.span("execute_tool", gen_ai__tool__name="search"):
            pass
    hops = {hop.span_id: hop for hop in collector.hops}
    assert hops[span_id(server)].passes
    assert hops[span_id(server)].parent_span == ROOT
    assert hops[span_id(top)].parent_span == span_id(server)
    chat, search = collector.hop("m"), collector.hop("search")
    assert (chat.kind, chat.attrs["input_tokens"]) == ("model", 5)
    assert {chat.parent_span, search.parent_span} == {span_id(top)}
    assert {span.trace_id for span in collector.spans} == {TRACE}
    assert (agent.processor.lost, agent.processor.refused) == (0, 0)


def test_content_is_digested_here_and_not_sent(agent, collector):
    with (
        agent.request(),
        agent.span(
            "execute_tool",
            gen_ai__tool__name="search",
            gen_ai__tool__call__arguments=SECRET,
            gen_ai__tool__call__result=SECRET,
            gen_ai__system_instructions=SECRET,
            custom=SECRET,
        ) as span,
    ):
        span.add_event("gen_ai.content.prompt", {"gen_ai.prompt": SECRET})
        agent.processor.source("doc:1", SECRET)
    assert all(b"Ada" not in body for body in collector.bodies)
    hop = collector.hop("search")
    assert hop.commit == hop.attrs["arguments_commit"] == commit(SECRET.encode())
    assert [(one.uri, one.commit) for one in hop.sources] == [("doc:1", commit(SECRET.encode()))]
    assert any(SECRET in str(span.attributes) for span in agent.elsewhere.get_finished_spans())


def test_names_of_spans_do_not_leave_as_they_may_hold_content(agent, collector):
    with agent.request(), agent.tracer.start_as_current_span(SECRET):
        pass
    assert all(SECRET.encode() not in body for body in collector.bodies)
    assert [hop.passes for hop in collector.hops] == [True, True]


def test_content_that_is_structured_is_digested_as_sorted_json(agent, collector):
    with agent.request(), agent.span("chat", gen_ai__output__messages=["b", "a"]):
        pass
    assert collector.hop("chat").commit == commit(b'["b","a"]')


def test_a_span_that_failed_says_so(agent, collector):
    with agent.request():
        with agent.span("execute_tool", gen_ai__tool__name="a") as span:
            span.set_status(Status(StatusCode.ERROR, SECRET))
        with pytest.raises(LookupError), agent.span("execute_tool", gen_ai__tool__name="b"):
            raise LookupError(SECRET)
    assert collector.hop("a").attrs["error"] == "failed"
    assert collector.hop("b").attrs["error"] == "failed"
    assert all(SECRET.encode() not in body for body in collector.bodies)


@pytest.mark.parametrize(
    "headers",
    [{}, {"traceparent": INBOUND["traceparent"]}, {**INBOUND, "tracestate": "other=1"}],
)
def test_spans_outside_any_run_are_left_alone(agent, collector, headers):
    with agent.request(headers), agent.span("chat"):
        assert agent.processor.source("doc:1", "text") == ""
    assert collector.bodies == []
    assert len(agent.elsewhere.get_finished_spans()) == 2


def test_what_the_agent_did_is_there_when_its_span_ends_before_the_server_answers(agent, collector):
    with agent.request() as server:
        with agent.span("invoke_agent", gen_ai__agent__name="desk"):
            with agent.span("execute_tool", gen_ai__tool__name="search"):
                pass
            assert collector.bodies == []
        hops = {hop.span_id: hop for hop in collector.hops}
        assert collector.hop("search").parent_span == collector.hop("desk").span_id
        assert hops[span_id(server)].passes
        assert hops[span_id(server)].parent_span == ROOT
    assert len(collector.bodies) == 1, "nothing was left to send at the end"


def test_an_agent_within_a_tool_does_not_end_the_run(agent, collector):
    with agent.request(), agent.span("execute_tool", gen_ai__tool__name="delegate"):
        with agent.span("invoke_agent", gen_ai__agent__name="inner"):
            pass
        assert collector.bodies == []
    inner, outer = collector.hop("inner"), collector.hop("delegate")
    assert (outer.passes, inner.parent_span) == (False, outer.span_id)


async def test_a_flush_before_the_answer_leaves_nothing_to_wait_for(agent, collector):
    with agent.request(), agent.tracer.start_as_current_span("framework") as between:
        with agent.span("execute_tool", gen_ai__tool__name="search"):
            pass
        assert await asyncio.to_thread(agent.processor.force_flush)
        assert collector.hop("search").parent_span == span_id(between)
        assert len(collector.hops) == 3
    assert len(collector.bodies) == 1


async def test_tasks_keep_their_parents(agent, collector):
    async def work(name: str) -> None:
        with agent.span("execute_tool", gen_ai__tool__name=name):
            await asyncio.sleep(0)
            with agent.span("retrieval", gen_ai__data_source__id=f"{name} index"):
                await asyncio.sleep(0)

    with agent.request() as server:
        await asyncio.gather(*(work(f"tool{n}") for n in range(5)))
    for n in range(5):
        tool_hop = collector.hop(f"tool{n}")
        assert tool_hop.parent_span == span_id(server)
        assert collector.hop(f"tool{n} index").parent_span == tool_hop.span_id


def test_requests_in_threads_keep_apart(agent, collector):
    def serve(number: int) -> None:
        trace = f"{number + 1:032x}"
        with (
            agent.request({**INBOUND, "traceparent": f"00-{trace}-{ROOT}-01"}),
            agent.span("execute_tool", gen_ai__tool__name=f"tool{number}"),
        ):
            pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(serve, range(20)))
    told = {span.attrs.get("gen_ai.tool.name"): span.trace_id for span in collector.spans}
    assert {told[f"tool{n}"] for n in range(20)} == {f"{n + 1:032x}" for n in range(20)}


def test_two_requests_of_one_run_end_it_together(agent, collector):
    with agent.request():
        with agent.request(), agent.span("execute_tool", gen_ai__tool__name="first"):
            pass
        with agent.span("execute_tool", gen_ai__tool__name="second"):
            pass
    assert {hop.attrs.get("tool") for hop in collector.hops} >= {"first", "second"}
    assert agent.processor.lost == 0


def test_spans_stand_under_a_run_of_the_recorder_and_use_its_salt(agent, collector):
    @tool
    def outer() -> str:
        with (
            traced(r),
            agent.span("chat", gen_ai__request__model="m", gen_ai__output__messages="answer"),
        ):
            return "done"

    with run("desk", gateway=collector.url, api_key=KEY) as r:
        outer()
    chat = collector.hop("m")
    assert chat.parent_span == collector.hop("outer").span_id
    assert chat.commit == commit(b"answer", r.salt)
    assert {span.trace_id for span in collector.spans} == {r.trace_id}


def test_a_gateway_that_is_away_is_waited_for_once_in_a_while(agent, collector):
    collector.status = 503

    def serve() -> None:
        with agent.request(), agent.span("chat"):
            pass

    serve()
    assert agent.processor.lost == 2
    collector.status = 200
    serve()
    assert (agent.processor.lost, collector.bodies) == (4, [])
    agent.clock.now_s = REST_S + 1
    serve()
    assert (agent.processor.lost, len(collector.hops)) == (4, 2)


def test_spans_that_the_gateway_refuses_are_counted(agent, collector):
    partial = {"rejectedSpans": "1", "errorMessage": "late"}
    collector.answer = json.dumps({"partialSuccess": partial}).encode()
    with agent.request(), agent.span("chat"):
        pass
    assert agent.processor.refused == 1


def test_runs_that_never_end_do_not_pile_up(agent, collector):
    open_spans = []
    for number in range(13):
        headers = {**INBOUND, "traceparent": f"00-{number + 1:032x}-{ROOT}-01"}
        context = PROPAGATOR.extract(headers)
        open_spans.append(agent.tracer.start_span("never", context=context))
        agent.tracer.start_span("chat", context, attributes={"gen_ai.operation.name": "chat"}).end()
    for span in open_spans[:3]:
        span.end()
    assert agent.processor.lost == 3
    for span in open_spans[3:]:
        span.end()


def test_the_salt_goes_into_no_outgoing_call():
    context = RunSaltPropagator().extract(INBOUND)
    carrier: dict[str, str] = {}
    RunSaltPropagator().inject(carrier, context)
    assert (carrier, RunSaltPropagator().fields) == ({}, set())


def test_a_salt_that_cannot_be_read_is_none(agent, collector):
    with (
        agent.request({**INBOUND, "attest-run-salt": "nothing"}),
        agent.span("chat", gen_ai__output__messages="x"),
    ):
        pass
    assert collector.hop("chat").commit != commit(b"x")


def test_without_opentelemetry_the_import_says_what_to_install():
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "try: import verismo.client.otel\n"
        "except ImportError as error: print(error)"
    )
    told = subprocess.check_output((sys.executable, "-c", code), text=True, timeout=60)
    assert "install opentelemetry-sdk" in told
