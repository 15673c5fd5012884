"""What the recorder tells a gateway: spans as an OTLP/HTTP export in JSON, without any content.

Source: OTLP specification 1.x, "JSON Protobuf Encoding"; names in `verismo.model.semconv`.
"""

from collections.abc import Sequence

import msgspec

from verismo import __version__
from verismo.model import semconv
from verismo.model.hop import Attribute

SCOPE = "verismo.client"

_INTERNAL = 1
_ERROR = 2


class ToldSource(msgspec.Struct, frozen=True):
    """Content that fed a hop: where it is, its commitment (hex) and its length."""

    uri: str
    commit: str
    octets: int


class ToldSpan(msgspec.Struct, frozen=True):
    """One span as it is told.

    Args:
        trace_id, span_id, parent_span: hex.
        name: for people; empty for a span that is only passed through.
        started_ns, ended_ns: Unix ns.
        attributes: facts and digests, by OpenTelemetry's names.
        sources: what fed it.
        is_failed: whether it ended in an error.
    """

    trace_id: str
    span_id: str
    parent_span: str
    name: str
    started_ns: int
    ended_ns: int
    attributes: dict[str, Attribute]
    sources: Sequence[ToldSource] = ()
    is_failed: bool = False


class _Event(msgspec.Struct, rename="camel"):
    name: str
    time_unix_nano: str
    attributes: list[dict[str, object]]


class _Span(msgspec.Struct, rename="camel", omit_defaults=True):
    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    start_time_unix_nano: str
    end_time_unix_nano: str
    attributes: list[dict[str, object]]
    events: list[_Event]
    status: dict[str, int]
    kind: int


_encode = msgspec.json.Encoder().encode


def encode_report(service: str, spans: Sequence[ToldSpan]) -> bytes:
    """Return an `ExportTraceServiceRequest` in JSON.

    Args:
        service: `service.name` of the agent.
        spans: what happened.
    """
    resource = {"attributes": _attributes({semconv.SERVICE_NAME: service})}
    scope = {"name": SCOPE, "version": __version__}
    told = [_span(span) for span in spans]
    scopes = [{"scope": scope, "schemaUrl": semconv.SCHEMA_URL, "spans": told}]
    return _encode({"resourceSpans": [{"resource": resource, "scopeSpans": scopes}]})


def _span(span: ToldSpan) -> _Span:
    ended = str(span.ended_ns)
    return _Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span,
        name=span.name,
        start_time_unix_nano=str(span.started_ns),
        end_time_unix_nano=ended,
        attributes=_attributes(span.attributes),
        events=[_event(source, ended) for source in span.sources],
        status={"code": _ERROR} if span.is_failed else {},
        kind=_INTERNAL,
    )


def _event(source: ToldSource, at: str) -> _Event:
    facts: dict[str, Attribute] = {
        semconv.VERISMO_SOURCE_URI: source.uri,
        semconv.VERISMO_SOURCE_COMMIT: source.commit,
        semconv.VERISMO_SOURCE_OCTETS: source.octets,
    }
    return _Event(semconv.VERISMO_SOURCE, at, _attributes(facts))


def _attributes(facts: dict[str, Attribute]) -> list[dict[str, object]]:
    return [{"key": name, "value": _value(value)} for name, value in facts.items()]


def _value(value: Attribute) -> dict[str, str | bool]:
    if isinstance(value, bool):
        return {"boolValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}
