"""`POST /v1/traces` of the real gateway: the official exporter, the recorder, and abuse."""

import asyncio
import gzip
import hashlib
import json
import sqlite3
import threading
import zlib
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import httpx2
import pytest
from google.rpc.status_pb2 import Status as RpcStatus
from openai import AsyncOpenAI
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from tests.support.gateway import CHAT, Gateway, Setup, running_gateway
from tests.support.otlp import (
    CONTENT,
    FACTS,
    PARENT,
    SECRET,
    attributes,
    in_json,
    in_protobuf,
    span,
)
from tests.support.waiting import until

from verismo.adapters.runs_sqlite import FILE_NAME, SqliteRuns
from verismo.client import carry_async, retrieval, run, source, tool
from verismo.client.otel import RunSpanProcessor, traced
from verismo.client.settings import FetchedKeys
from verismo.client.settings import Gateway as Trusted
from verismo.gateway import spans
from verismo.gateway.spans import RETRY_S, SPANS_MAX, TRACES_BYTES_MAX
from verismo.model.ids import TenantId
from verismo.model.run import BegunRun

AGENT = """
[operations."desk"]
kind = "agent"
purpose = "support"
"""
WIDE = (
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.tool.name",
    "gen_ai.tool.type",
    "gen_ai.tool.call.id",
    "gen_ai.agent.name",
    "gen_ai.workflow.name",
    "gen_ai.data_source.id",
    "error.type",
)
PROTOBUF = {"content-type": "application/x-protobuf"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def setup() -> Setup:
    return Setup(files={"operations/agents.toml": AGENT})


async def post(gateway: Gateway, body: bytes, *, key: str | None = "TENANT_001", **headers: str):
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await gateway.send("POST", "/v1/traces", body, key=key, headers=sent)


def fresh(number: int) -> dict[str, str]:
    return {"traceId": f"{number:032x}", "parentSpanId": PARENT}


@tool
def lookup(query: str) -> str:
    source("doc:refunds", "Refunds take 5 days.")
    return f"found {query}"


async def nodes_of(gateway: Gateway, prov_id: str) -> list[dict]:
    read = await gateway.send("GET", f"/v1/prov/{prov_id}")
    assert read.status == 200
    return json.loads(read.body)["graph"]["nodes"]


async def test_a_recorded_run_is_one_sealed_graph_with_its_calls_tools_and_sources(gateway):
    trusted = Trusted(gateway.url, keys=FetchedKeys())
    hooks = {"request": [carry_async]}
    async with httpx2.AsyncClient(event_hooks=hooks) as http:
        client = AsyncOpenAI(
            base_url=f"{gateway.url}/v1", api_key=gateway.keys["TENANT_001"], http_client=http
        )

        @tool
        async def ask(question: str) -> str:
            found = lookup(question)
            chat = await client.chat.completions.create(
                model=CHAT, messages=[{"role": "user", "content": found}]
            )
            return chat.choices[0].message.content or ""

        async with run("desk", gateway=trusted, api_key=gateway.keys["TENANT_001"]) as r:
            with retrieval("index", query="refunds") as found:
                found.source("doc:1", SECRET)
            answer = await ask("refunds")
            sealed = await r.seal(answer.encode())
    assert sealed.report is not None
    assert sealed.report.verdict == "VERIFIED"
    assert (r.lost, r.refused, r.faults) == (0, 0, ())
    nodes = await nodes_of(gateway, sealed.prov_id)
    reported = [node for node in nodes if node["attrs"].get("reported")]
    kinds = sorted(node["kind"] for node in reported)
    assert kinds == ["retrieval", "source", "source", "tool", "tool", "tool"]
    assert [node["kind"] for node in nodes].count("model") == 1, "the call of the tool is embedded"
    assert SECRET not in json.dumps(nodes)
    told = hashlib.sha256(b"attest/v1/source\0" + r.salt + answer.encode()).hexdigest()
    assert sealed.commit == told
    assert told in {node.get("commit") for node in nodes}
    [doc] = [node for node in nodes if node["attrs"].get("uri") == "doc:refunds"]
    assert (
        doc["commit"]
        == hashlib.sha256(b"attest/v1/source\0" + r.salt + b"Refunds take 5 days.").hexdigest()
    )
    assert gateway.telemetry.reported["taken"] >= 3


async def test_an_instrumented_agents_run_is_one_sealed_graph(gateway):
    key = gateway.keys["TENANT_001"]
    provider = TracerProvider()
    processor = RunSpanProcessor(gateway.url, key, "desk")
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("agent")

    def work() -> str:
        with run("desk", gateway=gateway.url, api_key=key) as r:
            with traced(r), tracer.start_as_current_span("a framework"):
                facts = {**FACTS, **dict.fromkeys(CONTENT, SECRET)}
                with tracer.start_as_current_span("execute_tool", attributes=facts):
                    processor.source("doc:1", SECRET)
            return r.seal(b"answer").prov_id

    nodes = await nodes_of(gateway, await asyncio.to_thread(work))
    await asyncio.to_thread(provider.shutdown)
    [used] = [node for node in nodes if node["attrs"].get("tool") == "search"]
    assert used["attrs"]["reported"]
    assert [node["kind"] for node in nodes].count("source") == 1
    assert (processor.lost, processor.refused) == (0, 0)


@pytest.mark.parametrize(
    "compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate]
)
async def test_the_official_exporter_is_understood(gateway, compression):
    exporter = OTLPSpanExporter(
        endpoint=f"{gateway.url}/v1/traces",
        headers={"authorization": f"Bearer {gateway.keys['TENANT_001']}"},
        compression=compression,
    )
    results = []
    provider = TracerProvider()
    tracer = provider.get_tracer("agent")
    above = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1))
    context = set_span_in_context(NonRecordingSpan(above))
    ended = tracer.start_span("execute_tool search", context, attributes=FACTS)
    ended.end()
    before = gateway.telemetry.reported["taken"]
    results.append(await asyncio.to_thread(exporter.export, [ended]))
    await asyncio.to_thread(exporter.shutdown)
    provider.shutdown()
    assert results == [SpanExportResult.SUCCESS]
    assert gateway.telemetry.reported["taken"] == before + 1


async def test_an_answer_has_the_encoding_of_its_request(gateway):
    taken = await post(gateway, in_json(span(**fresh(1))))
    assert (taken.status, taken.headers["content-type"]) == (200, "application/json")
    assert json.loads(taken.body) == {}
    assert "attest-signature" not in taken.headers
    taken = await post(gateway, in_protobuf(span(**fresh(2))), **PROTOBUF)
    assert (taken.status, taken.headers["content-type"]) == (200, PROTOBUF["content-type"])
    assert ExportTraceServiceResponse.FromString(taken.body) == ExportTraceServiceResponse()


async def test_spans_that_cannot_stand_anywhere_are_refused_one_by_one_with_reasons(gateway):
    spans = [
        span(**fresh(3)),
        span(**fresh(3), spanId="zz"),
        span(**fresh(3), spanId="00f067aa0ba902b8", endTimeUnixNano="1"),
        span(traceId=f"{3:032x}", spanId="00f067aa0ba902b9", parentSpanId=None),
    ]
    before = gateway.telemetry.reported.copy()
    taken = await post(gateway, in_json(*spans))
    partial = json.loads(taken.body)["partialSuccess"]
    assert (taken.status, partial["rejectedSpans"]) == (200, "3")
    assert "refused 3 (bad_time: 1, malformed: 1, orphan: 1)" in partial["errorMessage"]
    assert "00f067aa0ba902b8 bad_time" in partial["errorMessage"]
    assert "zz" not in partial["errorMessage"]
    counted = gateway.telemetry.reported - before
    assert counted == {"taken": 1, "bad_time": 1, "malformed": 1, "orphan": 1}


CALLED = """
[operations."called"]
kind = "agent"
purpose = "support"
deployments = ["echo-us"]
"""


@pytest.mark.slow
async def test_a_chain_below_a_run_that_the_gateway_began_is_told_to_be_too_deep(tmp_path: Path):
    root, trace = "b7ad6b7169203331", f"{7:032x}"
    names = [root, *(f"{n + 1:016x}" for n in range(300))]
    chain = [span(traceId=trace, spanId=own, parentSpanId=above) for above, own in pairwise(names)]
    setup = Setup(files={"operations/agents.toml": CALLED})
    async with running_gateway(tmp_path, setup) as gateway:
        with closing(SqliteRuns(gateway.config.data / FILE_NAME)) as store:
            store.begin(TenantId("TENANT_001"), trace, BegunRun(root, "", "", 1))
        # As exporters send it: what ended first is first.
        taken = await post(gateway, in_json(*reversed(chain)))
        partial = json.loads(taken.body)["partialSuccess"]
        assert partial["rejectedSpans"] == "284"
        assert "refused 284 (too_deep: 284)" in partial["errorMessage"]
        assert gateway.telemetry.reported == {"taken": 16, "too_deep": 284}


async def test_a_long_list_of_refusals_is_cut(gateway):
    spans = [span(**fresh(4), spanId=f"{n + 1:016x}", endTimeUnixNano="1") for n in range(50)]
    message = json.loads((await post(gateway, in_json(*spans))).body)["partialSuccess"]
    assert message["rejectedSpans"] == "50"
    assert len(message["errorMessage"]) < 400


async def test_a_report_after_the_seal_changes_nothing_and_says_so(gateway):
    key = gateway.keys["TENANT_001"]

    def work() -> tuple[str, str, str]:
        with run("desk", gateway=gateway.url, api_key=key) as r:
            lookup("in time")
            prov_id = r.seal(b"answer").prov_id
            return prov_id, r.trace_id, r.span_id

    prov_id, trace, root = await asyncio.to_thread(work)
    before = await nodes_of(gateway, prov_id)
    late = await post(gateway, in_json(span(traceId=trace, parentSpanId=root)))
    assert "run_sealed: 1" in json.loads(late.body)["partialSuccess"]["errorMessage"]
    assert await nodes_of(gateway, prov_id) == before


async def test_another_tenant_cannot_report_into_a_run(gateway):
    key = gateway.keys["TENANT_001"]
    async with run("desk", gateway=gateway.url, api_key=key) as r:
        foreign = span(traceId=r.trace_id, parentSpanId=r.span_id, attributes=attributes(FACTS))
        taken = await post(gateway, in_json(foreign), key="TENANT_002")
        assert taken.status == 200
        lookup("ours")
        sealed = await r.seal(b"answer")
    tools = [node["attrs"].get("tool") for node in await nodes_of(gateway, sealed.prov_id)]
    assert "search" not in tools
    assert tools.count("lookup") == 1


@pytest.mark.parametrize("key", [None, "vk_0000_wrong"])
async def test_a_stranger_is_refused_before_its_body_is_read(gateway, key):
    refused = await post(gateway, b"not even spans", key=key)
    assert (refused.status, refused.headers["content-type"]) == (401, "application/json")
    assert json.loads(refused.body)["code"] == 16
    assert refused.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, 3),
        (b"\xff", PROTOBUF, 400, 3),
        (b"{}", {"content-type": "text/plain"}, 415, 3),
        (b"{}", {"content_encoding": "br"}, 415, 3),
        (b"{}", {"content_encoding": "gzip"}, 400, 3),
        (gzip.compress(b"{}", mtime=0)[:-4], {"content_encoding": "gzip"}, 400, 3),
        (gzip.compress(b"{}", mtime=0) + b"more", {"content_encoding": "gzip"}, 400, 3),
        (gzip.compress(bytes(TRACES_BYTES_MAX + 1), mtime=0), {"content_encoding": "gzip"}, 413, 8),
        (zlib.compress(bytes(TRACES_BYTES_MAX + 1)), {"content_encoding": "deflate"}, 413, 8),
        (bytes(TRACES_BYTES_MAX + 1), {}, 413, 8),
        (in_json(*[{}] * (SPANS_MAX + 1)), {}, 413, 8),
    ],
)
async def test_an_export_that_cannot_be_taken_is_refused_with_a_status(
    gateway, body, headers, status, code
):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    refused = await gateway.send("POST", "/v1/traces", body, headers=given)
    assert refused.status == status
    if headers == PROTOBUF:
        told = RpcStatus.FromString(refused.body)
        assert (told.code, bool(told.message)) == (code, True)
    else:
        assert json.loads(refused.body)["code"] == code
    assert "x-request-id" in refused.headers


async def test_a_bomb_is_not_unpacked(gateway):
    bomb = gzip.compress(bytes(20 * TRACES_BYTES_MAX), 1, mtime=0)
    assert len(bomb) < TRACES_BYTES_MAX
    refused = await post(gateway, bomb, content_encoding="gzip")
    assert refused.status == 413


async def test_other_methods_are_told_which_one_is_right(gateway):
    answer = await gateway.send("GET", "/v1/traces")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_reports_are_held_to_the_rate_of_requests(tmp_path: Path):
    rate = "[tenants.TENANT_003.rate]\nrequests_per_minute = 2\n"
    setup = Setup(files={"operations/agents.toml": AGENT}, more=f"\n{rate}")
    async with running_gateway(tmp_path, setup) as gateway:
        answers = [await post(gateway, b"{}", key="TENANT_003") for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert answers[-1].headers["retry-after"]
        assert json.loads(answers[-1].body)["code"] == 8


def full_trace(trace: int, octets: int) -> list[dict[str, object]]:
    """Spans of one trace, as large as spans may be, that come to about so many octets."""
    wide = attributes({**FACTS, **dict.fromkeys(WIDE, "x" * 512)})
    count = octets // (len(WIDE) * 512)
    return [span(**fresh(trace), spanId=f"{n + 1:016x}", attributes=wide) for n in range(count)]


@pytest.mark.slow
async def test_a_tenant_cannot_fill_the_disk_with_reports(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(spans, "KEPT_BYTES_PER_MINUTE", 1 << 20)
    setup = Setup(files={"operations/agents.toml": AGENT})
    async with running_gateway(tmp_path, setup) as gateway:
        statuses = []
        for trace in range(10, 16):
            body = in_json(*full_trace(trace, 400_000))
            statuses.append((await post(gateway, body)).status)
        assert statuses[:2] == [200, 200]
        assert statuses[-1] == 429
        assert (await post(gateway, b"{}", key="TENANT_002")).status == 200, "one's own bucket"


@pytest.mark.slow
async def test_a_tenant_that_leaves_before_its_answer_is_counted_all_the_same(
    tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(spans, "KEPT_BYTES_PER_MINUTE", 1 << 18)
    begun, report = threading.Event(), SqliteRuns.report

    def told(store: SqliteRuns, *args: object, **options: object) -> object:
        begun.set()
        return report(store, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(SqliteRuns, "report", told)
    setup = Setup(files={"operations/agents.toml": AGENT})
    async with running_gateway(tmp_path, setup) as gateway:
        with closing(
            sqlite3.connect(gateway.config.data / FILE_NAME, isolation_level=None)
        ) as other:
            other.execute("BEGIN IMMEDIATE")
            leaving = asyncio.create_task(post(gateway, in_json(*full_trace(10, 400_000))))
            await until(begun.is_set)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            await until(lambda: gateway.telemetry.now_in_flight == 0)
            other.execute("ROLLBACK")
            count = "SELECT count(*) FROM member"
            await until(lambda: other.execute(count).fetchone()[0] > 0)
        assert (await post(gateway, b"{}")).status == 429


async def test_a_store_that_cannot_be_written_is_a_503_that_exporters_repeat(tmp_path: Path):
    setup = Setup(files={"operations/agents.toml": AGENT})
    async with running_gateway(tmp_path, setup) as gateway:
        with closing(sqlite3.connect(gateway.config.data / FILE_NAME)) as connection:
            connection.execute("DROP TABLE member")
        refused = await post(gateway, in_json(span(**fresh(5))))
        assert (refused.status, refused.headers["retry-after"]) == (503, str(RETRY_S))
        assert json.loads(refused.body)["code"] == 14
        assert FILE_NAME.encode() not in refused.body


async def test_without_an_agent_nothing_is_taken(tmp_path: Path):
    async with running_gateway(tmp_path) as gateway:
        assert (await post(gateway, b"{}")).status == 404
