"""OTLP/HTTP in JSON: exports are read, answers are written.

OTLP departs from the JSON mapping of Protocol Buffers: ids are hex in either case, enum values are
numbers, and members that are not known are passed over. 64-bit integers come as text or as numbers.

Source: OTLP specification 1.x, "JSON Protobuf Encoding"; opentelemetry-proto, trace/v1.
"""

import re
from collections.abc import Iterator

import msgspec

from verismo.model import semconv
from verismo.model.hop import Attribute
from verismo.ports.spans import NotSpans, ReceivedSpan, TooManySpans

MEDIA = "application/json"

_whole = re.compile(r"-?[0-9]{1,20}").fullmatch
_FAILED = (2, "2", "STATUS_CODE_ERROR")


class _Value(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None


class _Attribute(msgspec.Struct, rename="camel"):
    key: str = ""
    value: _Value | None = None


class _Event(msgspec.Struct, rename="camel"):
    name: str | None = ""
    attributes: list[_Attribute] | None = None


class _Status(msgspec.Struct, rename="camel"):
    code: int | str | None = 0


class _Span(msgspec.Struct, rename="camel"):
    trace_id: str | None = ""
    span_id: str | None = ""
    parent_span_id: str | None = ""
    start_time_unix_nano: int | str | None = 0
    end_time_unix_nano: int | str | None = 0
    attributes: list[_Attribute] | None = None
    events: list[_Event] | None = None
    status: _Status | None = None


class _ScopeSpans(msgspec.Struct, rename="camel"):
    spans: list[_Span] | None = None


class _ResourceSpans(msgspec.Struct, rename="camel"):
    scope_spans: list[_ScopeSpans] | None = None


class _Export(msgspec.Struct, rename="camel"):
    resource_spans: list[_ResourceSpans] | None = None


class _PartialSuccess(msgspec.Struct, rename="camel", omit_defaults=True):
    rejected_spans: str = "0"
    error_message: str = ""


class _Answer(msgspec.Struct, rename="camel"):
    partial_success: _PartialSuccess


class _Failure(msgspec.Struct):
    code: int
    message: str


_decode = msgspec.json.Decoder(_Export).decode


class JsonSpans:
    """OTLP in JSON; see `ports.spans.SpanCodec`."""

    media = MEDIA

    def read(self, body: bytes, spans_max: int) -> list[ReceivedSpan]:
        """Read an export; see `SpanCodec.read`."""
        try:
            export = _decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # A type error names a path and two types, a syntax error a place; never content.
            raise NotSpans(f"not an OTLP export in JSON: {error}") from error
        found: list[ReceivedSpan] = []
        for span in _spans(export):
            if len(found) >= spans_max:
                raise TooManySpans(f"more than {spans_max} spans")
            found.append(_received(span))
        return found

    def answer(self, rejected: int, message: str) -> bytes:
        """Return a response; see `SpanCodec.answer`."""
        if not rejected and not message:
            return b"{}"
        return msgspec.json.encode(_Answer(_PartialSuccess(str(rejected), message)))

    def failure(self, code: int, message: str) -> bytes:
        """Return a status; see `SpanCodec.failure`."""
        return msgspec.json.encode(_Failure(code, message))


def _spans(export: _Export) -> Iterator[_Span]:
    for resource in export.resource_spans or ():
        for scope in resource.scope_spans or ():
            yield from scope.spans or ()


def _received(span: _Span) -> ReceivedSpan:
    sources = tuple(
        _facts(event.attributes, semconv.READ_OF_SOURCES)
        for event in span.events or ()
        if event.name == semconv.VERISMO_SOURCE
    )
    return ReceivedSpan(
        trace_id=(span.trace_id or "").lower(),
        span_id=(span.span_id or "").lower(),
        parent_span=(span.parent_span_id or "").lower(),
        start_ns=_integer(span.start_time_unix_nano) or 0,
        end_ns=_integer(span.end_time_unix_nano) or 0,
        attrs=_facts(span.attributes, semconv.READ_OF_SPANS),
        sources=sources,
        is_failed=span.status is not None and span.status.code in _FAILED,
    )


def _facts(attributes: list[_Attribute] | None, wanted: frozenset[str]) -> dict[str, Attribute]:
    facts: dict[str, Attribute] = {}
    for attribute in attributes or ():
        if attribute.key in wanted and attribute.value is not None:
            value = _plain(attribute.value)
            if value is not None:
                facts[attribute.key] = value
    return facts


def _plain(value: _Value) -> Attribute | None:
    """Return a text, a truth value or an integer; None for what has no place in a graph."""
    if value.string_value is not None:
        return value.string_value
    return value.bool_value if value.bool_value is not None else _integer(value.int_value)


def _integer(value: int | str | None) -> int | None:
    """Read a 64-bit integer that may be spelled as text; None for what is none."""
    if isinstance(value, str):
        return int(value) if _whole(value) else None
    return value
