"""OTLP/HTTP in Protocol Buffers: exports are read, answers are written.

Port: `verismo.ports.spans.SpanCodec`. The parser is protobuf's own, which bounds depth by itself;
fields that are not known are passed over.

Source: OTLP specification 1.x, "Binary Protobuf Encoding"; google.rpc.Status.
"""

from collections.abc import Iterable, Iterator

from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status as RpcStatus
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from verismo.model import semconv
from verismo.model.hop import Attribute
from verismo.ports.spans import NotSpans, ReceivedSpan, TooManySpans

MEDIA = "application/x-protobuf"


class ProtobufSpans:
    """OTLP in Protocol Buffers."""

    media = MEDIA

    def read(self, body: bytes, spans_max: int) -> list[ReceivedSpan]:
        """Read an export; see `SpanCodec.read`."""
        export = ExportTraceServiceRequest()
        try:
            export.ParseFromString(body)  # type: ignore[no-untyped-call]
        except DecodeError as error:
            raise NotSpans("not an OTLP export in Protocol Buffers") from error
        found: list[ReceivedSpan] = []
        for span in _spans(export):
            if len(found) >= spans_max:
                raise TooManySpans(f"more than {spans_max} spans")
            found.append(_received(span))
        return found

    def answer(self, rejected: int, message: str) -> bytes:
        """Return a response; see `SpanCodec.answer`."""
        response = ExportTraceServiceResponse()
        if rejected or message:
            response.partial_success.rejected_spans = rejected
            response.partial_success.error_message = message
        encoded: bytes = response.SerializeToString()  # type: ignore[no-untyped-call]
        return encoded

    def failure(self, code: int, message: str) -> bytes:
        """Return a status; see `SpanCodec.failure`."""
        status = RpcStatus(code=code, message=message)
        encoded: bytes = status.SerializeToString()  # type: ignore[no-untyped-call]
        return encoded


def _spans(export: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in export.resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans


def _received(span: Span) -> ReceivedSpan:
    sources = tuple(
        _facts(event.attributes, semconv.READ_OF_SOURCES)
        for event in span.events
        if event.name == semconv.VERISMO_SOURCE
    )
    return ReceivedSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span=span.parent_span_id.hex(),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attrs=_facts(span.attributes, semconv.READ_OF_SPANS),
        sources=sources,
        is_failed=span.status.code == Status.STATUS_CODE_ERROR,
    )


def _facts(attributes: Iterable[KeyValue], wanted: frozenset[str]) -> dict[str, Attribute]:
    facts: dict[str, Attribute] = {}
    for attribute in attributes:
        if attribute.key not in wanted:
            continue
        match attribute.value.WhichOneof("value"):
            case "string_value":
                facts[attribute.key] = attribute.value.string_value
            case "bool_value":
                facts[attribute.key] = attribute.value.bool_value
            case "int_value":
                facts[attribute.key] = attribute.value.int_value
            case _:
                continue  # no place for it in a graph
    return facts
