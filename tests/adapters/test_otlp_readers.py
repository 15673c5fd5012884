"""Both encodings of OTLP say the same and hold no content; foreign octets break no reader."""

import json

import msgspec
import pytest
from google.rpc.status_pb2 import Status as RpcStatus
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from tests.support.mutation import MUTATIONS, mutants
from tests.support.otlp import (
    CONTENT,
    FACTS,
    PARENT,
    SECRET,
    SOURCE,
    SPAN,
    START_NS,
    TRACE,
    attributes,
    event,
    in_json,
    in_protobuf,
    span,
)

from verismo.adapters.otlp_proto import ProtobufSpans
from verismo.gateway.otlp_json import JsonSpans
from verismo.gateway.reported import UnusableSpan, reported_hop
from verismo.model.run import flaw_of
from verismo.ports.spans import NotSpans, ReceivedSpan, TooManySpans

CODECS = {"json": (JsonSpans(), in_json), "protobuf": (ProtobufSpans(), in_protobuf)}
FULL = span(
    attributes=attributes({**FACTS, **CONTENT, "error.type": "E", "gen_ai.usage.input_tokens": 7}),
    events=[event(SOURCE), event({"gen_ai.prompt": SECRET}, "gen_ai.content.prompt")],
    status={"code": 2},
)


@pytest.fixture(params=CODECS)
def coded(request):
    return CODECS[request.param]


def read_one(codec, body: bytes) -> ReceivedSpan:
    [found] = codec.read(body, 1)
    return found


def test_both_encodings_are_read_alike():
    read = [read_one(codec, encode(FULL)) for codec, encode in CODECS.values()]
    assert read[0] == read[1]
    assert read[0] == ReceivedSpan(
        trace_id=TRACE,
        span_id=SPAN,
        parent_span=PARENT,
        start_ns=START_NS,
        end_ns=START_NS + 5_000_000,
        attrs={**FACTS, "error.type": "E", "gen_ai.usage.input_tokens": 7},
        sources=(SOURCE,),
        is_failed=True,
    )


def test_no_content_is_read(coded):
    codec, encode = coded
    assert SECRET not in repr(read_one(codec, encode(FULL)))


def test_an_export_without_spans_is_empty(coded):
    codec, encode = coded
    assert codec.read(encode(), 1) == []
    assert codec.read(b"{}" if codec.media == "application/json" else b"", 1) == []


def test_more_spans_than_one_export_may_hold_are_refused(coded):
    codec, encode = coded
    assert len(codec.read(encode(*[span()] * 4), 4)) == 4
    with pytest.raises(TooManySpans):
        codec.read(encode(*[span()] * 5), 4)


def test_the_members_and_fields_of_later_versions_are_passed_over(coded):
    codec, encode = coded
    body = encode(span())
    if codec.media == "application/json":
        later = json.loads(body)
        later["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["later"] = {"a": [1]}
        body = json.dumps(later | {"later": 1}).encode()
    else:
        body += b"\xfa\x7f\x03abc"  # field 2047, three octets
    assert read_one(codec, body).span_id == SPAN


@pytest.mark.parametrize(
    ("member", "value", "seen"),
    [
        ("traceId", TRACE.upper(), TRACE),
        ("spanId", SPAN.upper(), SPAN),
        ("parentSpanId", None, ""),
        ("startTimeUnixNano", START_NS, START_NS),
        ("startTimeUnixNano", str(START_NS), START_NS),
        ("startTimeUnixNano", "yesterday", 0),
        ("startTimeUnixNano", None, 0),
        ("endTimeUnixNano", "9" * 30, 0),
        ("attributes", None, {}),
        ("status", {"code": "STATUS_CODE_ERROR"}, True),
        ("status", {"code": 1}, False),
        ("status", {}, False),
    ],
)
def test_json_as_the_specification_allows_it(member, value, seen):
    fields = {
        "traceId": "trace_id",
        "spanId": "span_id",
        "parentSpanId": "parent_span",
        "startTimeUnixNano": "start_ns",
        "endTimeUnixNano": "end_ns",
        "attributes": "attrs",
        "status": "is_failed",
    }
    read = read_one(JsonSpans(), in_json(span(**{member: value})))
    assert getattr(read, fields[member]) == seen


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ({"intValue": 7}, 7),
        ({"intValue": "7"}, 7),
        ({"intValue": "-7"}, -7),
        ({"intValue": "7.5"}, None),
        ({"boolValue": True}, True),
        ({"doubleValue": 1.5}, None),
        ({"bytesValue": "AA=="}, None),
        ({}, None),
        (None, None),
    ],
)
def test_json_values_without_a_place_in_a_graph_are_left_out(value, seen):
    told = span(attributes=[{"key": "verismo.octets", "value": value}])
    assert read_one(JsonSpans(), in_json(told)).attrs.get("verismo.octets") == seen


def test_null_stands_for_nothing_in_json():
    told = dict.fromkeys(("parentSpanId", "attributes", "events", "status", "startTimeUnixNano"))
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span() | told]}]}]}).encode()
    assert read_one(JsonSpans(), body).parent_span == ""
    assert JsonSpans().read(b'{"resourceSpans":[{"scopeSpans":null},{}]}', 1) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"resourceSpans":{}}',
        b'{"resourceSpans":[1]}',
        b'\xff{"resourceSpans":[]}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        in_json(span(traceId=7)),
    ],
)
def test_json_that_is_no_export_is_refused(body):
    with pytest.raises(NotSpans):
        JsonSpans().read(body, 10)


def nested(depth: int) -> bytes:
    """An attribute whose value is a list of a list of a list."""
    value = b""
    for _ in range(depth):
        array = b"\x0a" + _varint(len(value)) + value
        value = b"\x2a" + _varint(len(array)) + array
    pair = b"\x0a\x01k\x12" + _varint(len(value)) + value
    body = b"\x4a" + _varint(len(pair)) + pair
    for tag in (b"\x12", b"\x12", b"\x0a"):
        body = tag + _varint(len(body)) + body
    return body


def _varint(value: int) -> bytes:
    octets = bytearray()
    while value > 127:
        octets.append(value & 127 | 128)
        value >>= 7
    return bytes((*octets, value))


@pytest.mark.parametrize("body", [b"\x0a\xff", b"\xff" * 9, nested(5_000), b"{}"])
def test_octets_that_are_no_protobuf_export_are_refused(body):
    with pytest.raises(NotSpans):
        ProtobufSpans().read(body, 10)


def test_an_attribute_of_lists_is_passed_over_in_protobuf():
    assert read_one(ProtobufSpans(), nested(10)).attrs == {}


def test_answers_are_what_the_protocol_says(coded):
    codec, _ = coded
    whole, partly = codec.answer(0, ""), codec.answer(3, "three were late")
    if codec.media == "application/json":
        assert json.loads(whole) == {}
        told = {"rejectedSpans": "3", "errorMessage": "three were late"}
        assert json.loads(partly) == {"partialSuccess": told}
        assert json.loads(codec.failure(3, "why")) == {"code": 3, "message": "why"}
        return
    assert ExportTraceServiceResponse.FromString(whole) == ExportTraceServiceResponse()
    partial = ExportTraceServiceResponse.FromString(partly).partial_success
    assert (partial.rejected_spans, partial.error_message) == (3, "three were late")
    status = RpcStatus.FromString(codec.failure(3, "why"))
    assert (status.code, status.message) == (3, "why")


def judge(codec, body: bytes) -> int:
    """Read foreign octets as the gateway does; returns how many sound hops they make."""
    try:
        spans = codec.read(body, 50)
    except (NotSpans, TooManySpans):
        return 0
    sound = 0
    for one in spans:
        try:
            hop = reported_hop(one)
        except UnusableSpan:
            continue
        assert flaw_of(hop) is None, hop
        msgspec.json.encode(hop)
        sound += 1
    return sound


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_foreign_octets_make_sound_hops_or_none(coded):
    codec, encode = coded
    body = encode(FULL, span(spanId="00f067aa0ba902b8", attributes=attributes({"a": 1})))
    assert judge(codec, body) == 2
    made = [judge(codec, mutant) for mutant in mutants(body, f"otlp {codec.media}", MUTATIONS)]
    assert len(made) == MUTATIONS
    assert set(made) >= {0, 1, 2}


def test_a_few_foreign_octets_make_sound_hops_or_none(coded):
    codec, encode = coded
    for mutant in mutants(encode(FULL), f"quick {codec.media}", 500):
        judge(codec, mutant)
