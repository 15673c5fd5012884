"""Spans as OTLP carries them: what is read of an export, and how it is answered."""

from typing import Protocol

import msgspec

from verismo.model.hop import Attribute


class ReceivedSpan(msgspec.Struct, frozen=True):
    """What is read of one span; everything else in it is passed over.

    Args:
        trace_id, span_id, parent_span: lower-case hex as far as they are that; a parent may be
            empty. Nothing is said about their lengths.
        start_ns, end_ns: Unix ns.
        attrs: of its attributes those in `semconv.READ_OF_SPANS`, so never content.
        sources: attributes of its events named `verismo.source`, of `semconv.READ_OF_SOURCES`.
        is_failed: its status says error.
    """

    trace_id: str
    span_id: str
    parent_span: str
    start_ns: int
    end_ns: int
    attrs: dict[str, Attribute]
    sources: tuple[dict[str, Attribute], ...] = ()
    is_failed: bool = False


class NotSpans(ValueError):
    """The octets are no export of traces; the message says where, and holds nothing of them."""


class TooManySpans(ValueError):
    """An export holds more spans than one may."""


class SpanCodec(Protocol):
    """One encoding of OTLP/HTTP. Pure, so any thread may use it.

    Source: OTLP specification 1.x, OTLP/HTTP.
    """

    @property
    def media(self) -> str:
        """Content type of requests and answers."""
        ...

    def read(self, body: bytes, spans_max: int) -> list[ReceivedSpan]:
        """Read an `ExportTraceServiceRequest`.

        Args:
            body: content coding removed.
            spans_max: how many spans it may hold.

        Raises:
            NotSpans: it is none; nothing of it is taken.
            TooManySpans: it holds more.
        """
        ...

    def answer(self, rejected: int, message: str) -> bytes:
        """Return an `ExportTraceServiceResponse`; without `partial_success` if nothing is said."""
        ...

    def failure(self, code: int, message: str) -> bytes:
        """Return a `google.rpc.Status`, the body of every refusal."""
        ...
