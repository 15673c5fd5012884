"""Spans as a real OTLP/HTTP collector receives them, and what happens where there is none."""

import logging
import queue
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random

import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import error_attributes, http_attributes

from verismo import __version__
from verismo.adapters import telemetry_traces
from verismo.adapters.telemetry import TelemetrySettings, WorkerTelemetry
from verismo.adapters.telemetry_traces import OtlpTraces
from verismo.model import semconv
from verismo.ports.telemetry import Answered, Hop

STARTED_MS = 1_800_000_000_000
MS = 1_000_000
WAIT_S = 10

POLICY = Hop(
    "policy",
    STARTED_MS * MS,
    (STARTED_MS + 1) * MS,
    {"bundle": "ab" * 32, "decision": "allow", "registered": True},
)
FAILED = Hop(
    "model",
    (STARTED_MS + 1) * MS,
    (STARTED_MS + 20) * MS,
    {
        "deployment": "d1",
        "provider": "p1",
        "model": "gpt-4o",
        "try": 1,
        "error": "upstream_timeout",
    },
)
MODEL = Hop(
    "model",
    (STARTED_MS + 20) * MS,
    (STARTED_MS + 190) * MS,
    {
        "deployment": "d2",
        "provider": "p2",
        "model": "claude-x",
        "try": 2,
        "status": 200,
        "answered_by": "claude-x-2026",
    },
)
REQUEST = Hop("request", STARTED_MS * MS, STARTED_MS * MS, {"path": "/v1/chat/completions"})

ANSWERED = Answered(
    kind="chat",
    tenant="T1",
    operation="support",
    deployment="d2",
    status=200,
    code="",
    cache="miss",
    prov_id="01890a5d-ac96-774b-bcce-b302099a8057",
    trace_id="0af7651916cd43dd8448eb211c80319c",
    span_id="b7ad6b7169203331",
    parent_id="00f067aa0ba902b7",
    started_ms=STARTED_MS,
    seconds=0.2,
    first_byte_seconds=0.1,
    own_seconds=0.01,
    input_tokens=30,
    output_tokens=12,
    cost_usd_micros=250,
    bundle="ab" * 32,
    hops=(REQUEST, POLICY, FAILED, MODEL),
)


class Collector(ThreadingHTTPServer):
    """A small OTLP/HTTP receiver on loopback."""

    daemon_threads = True

    def __init__(self, status=200):
        self.status = status
        self.received = queue.Queue()
        super().__init__(("127.0.0.1", 0), _Receive)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    def end(self):
        self.shutdown()
        self.thread.join()
        self.server_close()

    def request(self):
        """Return the path and body of the next export."""
        path, body = self.received.get(timeout=WAIT_S)
        return path, ExportTraceServiceRequest.FromString(body)


class _Receive(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.put((self.path, body))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(self.server.status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        return


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.end()


def exported(collector, sample):
    """Send one request's spans and return its resource spans."""
    traces = OtlpTraces(f"{collector.url}/", "s0", Random(1))
    traces.export(sample)
    traces.close()
    path, request = collector.request()
    assert path == "/v1/traces"
    [resource_spans] = request.resource_spans
    return resource_spans


def spans(collector, sample):
    [scope_spans] = exported(collector, sample).scope_spans
    return list(scope_spans.spans)


def attributes(holder):
    """Return attributes as plain values."""
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in holder.attributes}


def named(found, name):
    [span] = [span for span in found if span.name == name]
    return span


@pytest.mark.slow
class TestSpans:
    def test_the_root_continues_the_callers_trace_as_a_server(self, collector):
        root = named(spans(collector, ANSWERED), "chat support")
        assert root.kind == Span.SPAN_KIND_SERVER
        assert root.trace_id.hex() == ANSWERED.trace_id
        assert root.span_id.hex() == ANSWERED.span_id
        assert root.parent_span_id.hex() == ANSWERED.parent_id
        assert root.start_time_unix_nano == STARTED_MS * MS
        assert root.end_time_unix_nano == (STARTED_MS + 200) * MS
        assert root.status.code == Status.STATUS_CODE_UNSET
        assert attributes(root) == {
            "http.response.status_code": 200,
            "verismo.prov_id": ANSWERED.prov_id,
            "verismo.tenant": "T1",
            "verismo.operation": "support",
            "verismo.cache": "miss",
            "verismo.cost_usd_micros": 250,
            "verismo.deployment": "d2",
            "verismo.policy.revision": "ab" * 32,
        }

    def test_a_call_of_a_model_is_a_client_span_with_genai_names(self, collector):
        found = spans(collector, ANSWERED)
        span = named(found, "chat claude-x")
        assert span.kind == Span.SPAN_KIND_CLIENT
        assert span.parent_span_id.hex() == ANSWERED.span_id
        assert span.trace_id.hex() == ANSWERED.trace_id
        assert span.start_time_unix_nano == MODEL.start_ns
        assert span.end_time_unix_nano == MODEL.end_ns
        found = attributes(span)
        assert found["gen_ai.operation.name"] == "chat"
        assert found["gen_ai.provider.name"] == "p2"
        assert found["gen_ai.request.model"] == "claude-x"
        assert found["gen_ai.response.model"] == "claude-x-2026"
        assert found["gen_ai.usage.input_tokens"] == 30
        assert found["gen_ai.usage.output_tokens"] == 12
        assert found["http.response.status_code"] == 200
        assert found["verismo.try"] == 2

    def test_a_failed_try_is_an_error_without_tokens(self, collector):
        span = named(spans(collector, ANSWERED), "chat gpt-4o")
        found = attributes(span)
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert found["error.type"] == "upstream_timeout"
        assert not [name for name in found if name.startswith("gen_ai.usage")]

    def test_other_hops_are_internal_and_the_request_itself_is_none(self, collector):
        found = spans(collector, ANSWERED)
        assert len(found) == 4
        policy = named(found, "policy")
        assert policy.kind == Span.SPAN_KIND_INTERNAL
        assert attributes(policy)["verismo.registered"] is True
        assert attributes(policy)["verismo.decision"] == "allow"

    def test_embeddings_have_their_own_operation_name(self, collector):
        span = named(spans(collector, sample(kind="embedding")), "embeddings claude-x")
        assert attributes(span)["gen_ai.operation.name"] == "embeddings"

    def test_a_graphql_upstream_is_a_client_span_without_genai_names(self, collector):
        hop = Hop("tool", 1, 2, {"deployment": "crm", "provider": "p", "model": "", "status": 502})
        found = spans(collector, sample(kind="graphql", status=502, hops=(hop,)))
        span = named(found, "graphql crm")
        assert span.kind == Span.SPAN_KIND_CLIENT
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert attributes(span)["error.type"] == "502"
        assert not [name for name in attributes(span) if name.startswith("gen_ai")]
        assert named(found, "graphql support").status.code == Status.STATUS_CODE_ERROR

    def test_a_tool_of_an_mcp_server_is_a_client_span_with_genai_names(self, collector):
        facts = {"deployment": "docs-us", "method": "tools/call", "tool": "search", "status": 200}
        listing = Hop("tool", 1, 2, {**facts, "method": "tools/list"})
        found = spans(collector, sample(kind="mcp", hops=(Hop("tool", 1, 2, facts), listing)))
        span = named(found, "execute_tool search")
        assert span.kind == Span.SPAN_KIND_CLIENT
        assert attributes(span)["gen_ai.operation.name"] == "execute_tool"
        assert attributes(span)["gen_ai.tool.name"] == "search"
        assert not [name for name in attributes(named(found, "mcp docs-us")) if "gen_ai" in name]

    def test_a_refusal_names_its_code_and_is_no_error_of_the_server(self, collector):
        refused = sample(status=403, code="policy_refused", parent_id="", deployment="")
        root = named(spans(collector, refused), "chat support")
        assert root.status.code == Status.STATUS_CODE_UNSET
        assert root.parent_span_id == b""
        assert attributes(root)["error.type"] == "policy_refused"
        assert "verismo.deployment" not in attributes(root)

    def test_resource_and_scope_say_who_speaks_which_conventions(self, collector):
        resource_spans = exported(collector, ANSWERED)
        found = attributes(resource_spans.resource)
        assert found["service.name"] == "verismo"
        assert found["service.version"] == __version__
        assert found["service.instance.id"] == "s0"
        [scope_spans] = resource_spans.scope_spans
        assert scope_spans.scope.name == semconv.SCOPE
        assert scope_spans.schema_url == semconv.SCHEMA_URL


@pytest.mark.slow
class TestTelemetry:
    def test_a_request_with_hops_is_exported_while_the_worker_runs(self, collector):
        telemetry = worker(collector.url)
        telemetry._traces._processor.shutdown()
        telemetry._traces = OtlpTraces(collector.url, "s0", Random(1), send_every_ms=10)
        telemetry.answered(ANSWERED)
        _, request = collector.request()
        assert request.resource_spans
        telemetry.close()

    def test_a_request_without_hops_is_counted_and_not_exported(self, collector):
        telemetry = worker(collector.url)
        telemetry.answered(sample(hops=()))
        telemetry.close()
        assert collector.received.empty()
        assert b'verismo_requests_total{kind="chat"' in telemetry.expose()

    @pytest.mark.parametrize("status", [400, 404, 500])
    def test_a_collector_that_refuses_fails_no_request(self, status):
        collector = Collector(status)
        try:
            telemetry = worker(collector.url)
            telemetry.answered(ANSWERED)
            telemetry.close()
            collector.request()
        finally:
            collector.end()

    def test_a_collector_that_is_away_holds_up_no_request_and_no_drain(self, monkeypatch, caplog):
        monkeypatch.setattr(telemetry_traces, "CLOSE_S", 0.2)
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            telemetry = worker(f"http://127.0.0.1:{unused.getsockname()[1]}")
            began = time.thread_time()
            for _ in range(100):
                telemetry.answered(ANSWERED)
            assert time.thread_time() - began < 1.0
            began = time.monotonic()
            with caplog.at_level(logging.CRITICAL):
                telemetry.close()
            assert time.monotonic() - began < telemetry_traces.EXPORT_S

    def test_a_full_queue_drops_spans_and_nothing_else(self, monkeypatch, collector):
        monkeypatch.setattr(telemetry_traces, "QUEUE_SPANS_MAX", 8)
        monkeypatch.setattr(telemetry_traces, "BATCH_SPANS_MAX", 8)
        telemetry = worker(collector.url)
        for _ in range(50):
            telemetry.answered(ANSWERED)
        telemetry.close()
        assert b'status="200",code=""} 50\n' in telemetry.expose()


@pytest.mark.slow
class TestSampling:
    def test_the_callers_decision_is_followed(self, collector):
        telemetry = worker(collector.url, sample_ppm=0)
        assert telemetry.samples_trace(True)
        assert not telemetry.samples_trace(False)
        assert not telemetry.samples_trace(None)
        telemetry.close()

    def test_new_traces_are_sampled_at_the_configured_share(self, collector):
        telemetry = worker(collector.url, sample_ppm=250_000)
        share = sum(telemetry.samples_trace(None) for _ in range(10_000)) / 10_000
        assert 0.23 < share < 0.27
        telemetry.close()

    def test_a_million_of_a_million_is_always(self, collector):
        telemetry = worker(collector.url, sample_ppm=1_000_000)
        assert all(telemetry.samples_trace(None) for _ in range(1_000))
        telemetry.close()


class TestNames:
    def test_our_names_are_those_of_the_conventions(self):
        theirs = {
            getattr(module, name)
            for module in (gen_ai_attributes, error_attributes, http_attributes)
            for name in dir(module)
            if name.isupper() and isinstance(getattr(module, name), str)
        }
        ours = {
            value
            for name, value in vars(semconv).items()
            if name.startswith(("GEN_AI_", "HTTP_", "ERROR_"))
        }
        assert len(ours) == 14
        assert ours <= theirs
        operations = {entry.value for entry in gen_ai_attributes.GenAiOperationNameValues}
        assert {semconv.OPERATION_CHAT, semconv.OPERATION_EMBEDDINGS} <= operations

    def test_the_schema_url_is_that_of_the_pinned_version(self):
        assert semconv.SCHEMA_URL.endswith(f"/{semconv.VERSION}")

    @pytest.mark.parametrize("kind", ["graphql", "http", "models", "unknown"])
    def test_what_calls_no_model_has_no_genai_operation(self, kind):
        assert semconv.gen_ai_operation(kind) == ""


def sample(**changes):
    return msgspec.structs.replace(ANSWERED, **changes)


def worker(endpoint, sample_ppm=0):
    return WorkerTelemetry(TelemetrySettings("s0", endpoint, sample_ppm), Random(1))
