"""Exports of spans in both encodings, made from one description."""

import json

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SPAN = "00f067aa0ba902b7"
COMMIT = "ab" * 32
START_NS = 1_790_000_000_000_000_000
SECRET = "the patient is called Ada"

FACTS = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "search",
    "gen_ai.tool.call.id": "call_1",
    "verismo.commit": COMMIT,
    "verismo.octets": 12,
}
CONTENT = {
    "gen_ai.tool.call.arguments": SECRET,
    "gen_ai.tool.call.result": SECRET,
    "gen_ai.input.messages": SECRET,
    "gen_ai.output.messages": SECRET,
    "gen_ai.system_instructions": SECRET,
    "gen_ai.prompt": SECRET,
    "some.other": [SECRET, 1.5, True],
}
SOURCE = {
    "verismo.source.uri": "doc:1",
    "verismo.source.commit": "cd" * 32,
    "verismo.source.octets": 3,
}


def span(**changes: object) -> dict[str, object]:
    """Return a span as OTLP's JSON has it; `None` leaves a member out."""
    made: dict[str, object] = {
        "traceId": TRACE,
        "spanId": SPAN,
        "parentSpanId": PARENT,
        "name": "execute_tool search",
        "kind": 1,
        "startTimeUnixNano": str(START_NS),
        "endTimeUnixNano": str(START_NS + 5_000_000),
        "attributes": attributes(FACTS),
    } | changes
    return {name: value for name, value in made.items() if value is not None}


def attributes(facts: dict[str, object]) -> list[dict[str, object]]:
    return [{"key": name, "value": _value(value)} for name, value in facts.items()]


def event(facts: dict[str, object], name: str = "verismo.source") -> dict[str, object]:
    return {"timeUnixNano": str(START_NS), "name": name, "attributes": attributes(facts)}


def in_json(*spans: dict[str, object]) -> bytes:
    """Return an export in JSON."""
    scope = {"scope": {"name": "agent"}, "spans": spans}
    return json.dumps({"resourceSpans": [{"resource": {}, "scopeSpans": [scope]}]}).encode()


def in_protobuf(*spans: dict[str, object]) -> bytes:
    """Return the same export in Protocol Buffers."""
    export = ExportTraceServiceRequest()
    scope = export.resource_spans.add().scope_spans.add()
    for one in spans:
        scope.spans.append(
            Span(
                trace_id=bytes.fromhex(one["traceId"]),
                span_id=bytes.fromhex(one["spanId"]),
                parent_span_id=bytes.fromhex(one.get("parentSpanId", "")),
                name=one["name"],
                start_time_unix_nano=int(one["startTimeUnixNano"]),
                end_time_unix_nano=int(one["endTimeUnixNano"]),
                attributes=_pairs(one["attributes"]),
                events=[
                    Span.Event(name=each["name"], attributes=_pairs(each["attributes"]))
                    for each in one.get("events", ())
                ],
                status=Status(code=one.get("status", {}).get("code", 0)),
            )
        )
    return export.SerializeToString()


def _value(value: object) -> dict[str, object]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": value}


def _pairs(listed: list[dict]) -> list[KeyValue]:
    return [KeyValue(key=one["key"], value=_any(one["value"])) for one in listed]


def _any(value: dict) -> AnyValue:
    [(kind, inner)] = value.items()
    if kind == "arrayValue":
        return AnyValue(array_value=ArrayValue(values=[_any(one) for one in inner["values"]]))
    names = {
        "stringValue": "string_value",
        "boolValue": "bool_value",
        "intValue": "int_value",
        "doubleValue": "double_value",
    }
    return AnyValue(**{names[kind]: int(inner) if kind == "intValue" else inner})
