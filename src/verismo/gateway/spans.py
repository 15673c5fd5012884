"""`POST /v1/traces`: agents report their steps by OTLP/HTTP, and the spans become hops of runs.

What is reported is an agent's own word. It is kept by tenant and trace until the run's answer is
sealed; a report after that changes nothing. The answer here is unsigned: it is no operation, and
what it says of the run, the run's own signed graph says better.

Source: OTLP specification 1.x, OTLP/HTTP; W3C Trace Context.
"""

import asyncio
import logging
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from verismo.gateway.identify import Caller, identify
from verismo.gateway.otlp_json import JsonSpans
from verismo.gateway.ratelimit import Bucket, RateLimiter
from verismo.gateway.receive import Head, Receive, receive_request
from verismo.gateway.reply import unsigned_refusal
from verismo.gateway.reported import UnusableSpan, reported_hop
from verismo.gateway.snapshot import SnapshotCell
from verismo.model.errors import (
    BodyTooLarge,
    MalformedRequest,
    Overloaded,
    RateLimited,
    StateError,
    UnsupportedMediaType,
    VerismoError,
)
from verismo.model.ids import TenantId
from verismo.model.limits import Limits
from verismo.model.run import Refused, ReportedHop, hop_octets, is_span_id
from verismo.model.traffic import Reply
from verismo.ports.runs import RunStore
from verismo.ports.spans import NotSpans, ReceivedSpan, SpanCodec, TooManySpans
from verismo.ports.telemetry import Telemetry

TRACES_PATH = "/v1/traces"
TRACES_BYTES_MAX = 4_194_304
"""Body of one export, content coding on and off; a run may have 512 KiB, the rest is content that
agents send although it is dropped here."""
SPANS_MAX = 2_048
"""Spans of one export; exporters send 512 at once by default, and a run has at most 900 entries."""
KEPT_BYTES_PER_MINUTE = 67_108_864
"""What a tenant may have kept of its spans: 128 runs as large as may be. It waits on disk until its
run is sealed or given up, and nobody may fill that."""
READING_MAX = 2
"""Exports being read at once; the loop's other threads are for calls that wait for the store."""
NAMED_MAX = 8
"""Spans that the message of a partial success names; the counts cover all."""
RETRY_S = 5

_WINDOW_BITS = {"gzip": 31, "deflate": 15}
_RPC_CODES = {400: 3, 401: 16, 404: 5, 408: 4, 413: 8, 415: 3, 429: 8, 431: 8, 503: 14}
"""google.rpc.Code for an HTTP status; whatever else happens is 13, INTERNAL."""
_INTERNAL = 13

log = logging.getLogger("verismo.gateway")


class SpanIntake:
    """Takes exports of spans; one for each worker.

    Args:
        snapshot: keys and tenants in force.
        runs: where reported hops are kept until their run is sealed.
        limiter: counts exports against the rates of requests.
        codecs: encodings beside JSON.
        telemetry: counts what came of each span.
        limits: how long a body may take.
    """

    def __init__(
        self,
        snapshot: SnapshotCell,
        runs: RunStore,
        limiter: RateLimiter,
        codecs: Sequence[SpanCodec],
        telemetry: Telemetry,
        limits: Limits,
    ) -> None:
        self._snapshot = snapshot
        self._runs = runs
        self._limiter = limiter
        self._json = JsonSpans()
        self._codecs: Mapping[str, SpanCodec] = {
            codec.media: codec for codec in (self._json, *codecs)
        }
        self._telemetry = telemetry
        self._limits = limits
        self._buckets: dict[TenantId, Bucket] = {}
        self._reading = asyncio.Semaphore(READING_MAX)

    async def answer(self, head: Head, body: bytes | None, receive: Receive) -> Reply:
        """Answer one export, refusals included: exporters read no other kind of body.

        Args:
            head: of the request.
            body: if all of it is here already, else None.
            receive: gives the rest.

        Raises:
            ClientGone: the connection ended before the request was whole.
        """
        codec = self._codecs.get(_media(head), self._json)
        try:
            taken = await self._take(head, body, receive)
        except VerismoError as error:
            self._telemetry.unidentified(error.code)
            message = f"{error.title}: {error.detail}. {error.next_step}"
            status = codec.failure(_RPC_CODES.get(error.status, _INTERNAL), message)
            return unsigned_refusal(head.request_id, error, codec.media, status)
        rejected, message = taken
        return Reply(
            status=200,
            headers=[
                (b"content-type", codec.media.encode("ascii")),
                (b"cache-control", b"no-store"),
                (b"x-request-id", head.request_id.encode("latin-1")),
            ],
            body=codec.answer(rejected, message),
        )

    async def _take(self, head: Head, body: bytes | None, receive: Receive) -> tuple[int, str]:
        """Identify before any body is taken, then read and keep the spans beside the event loop."""
        now_ms = head.received_ms
        caller = identify(self._snapshot.current, head.headers, now_ms)
        self._limiter.take_read(caller, now_ms)
        bucket = self._bucket(caller, now_ms)
        if bucket.level(now_ms) <= 0:
            wait_s = bucket.wait_s(1, now_ms)
            raise RateLimited("too much was reported this minute", retry_after_s=wait_s)
        codec = self._codecs.get(_media(head))
        if codec is None:
            known = " or ".join(self._codecs)
            raise UnsupportedMediaType(f"spans are taken as {known}")
        request = await receive_request(head, body, receive, self._limits, TRACES_BYTES_MAX)
        coding = head.headers.get("content-encoding", "identity").strip().lower()
        await self._reading.acquire()
        reading = asyncio.create_task(
            asyncio.to_thread(self._keep, codec, caller, request.body, coding)
        )
        reading.add_done_callback(lambda ended: self._kept(ended, bucket))
        # Who leaves does not stop the thread: it is counted, and others wait for it, all the same.
        kept = await asyncio.shield(reading)
        refused = kept.refused
        self._telemetry.spans("taken", kept.spans - len(refused))
        for reason, times in Counter(one.reason for one in refused).items():
            self._telemetry.spans(reason, times)
        return len(refused), _explanation(refused)

    def _kept(self, ended: "asyncio.Task[_Kept]", bucket: Bucket) -> None:
        """Let the next export be read, and take what this one left on disk from its tenant."""
        self._reading.release()
        if not ended.cancelled() and ended.exception() is None:
            bucket.take(ended.result().octets)

    def _bucket(self, caller: Caller, now_ms: int) -> Bucket:
        """Return the bucket of octets that a tenant may still have kept."""
        owner = caller.view.tenant.id
        bucket = self._buckets.get(owner)
        if bucket is None:
            share = KEPT_BYTES_PER_MINUTE / self._limiter.workers
            bucket = self._buckets[owner] = Bucket(share, now_ms)
        return bucket

    def _keep(self, codec: SpanCodec, caller: Caller, body: bytes, coding: str) -> "_Kept":
        """Read an export and report its hops, trace by trace.

        Raises:
            MalformedRequest: it cannot be read.
            BodyTooLarge: it unpacks to more than an export may have, in octets or spans.
            UnsupportedMediaType: a content coding that is not known.
            Overloaded: the runs cannot be written now.
        """
        try:
            spans = codec.read(_unpacked(body, coding), SPANS_MAX)
        except NotSpans as error:
            raise MalformedRequest(str(error)) from error
        except TooManySpans as error:
            raise BodyTooLarge(str(error)) from error
        traces, refused = _by_trace(spans)
        octets = 0
        try:
            tenant: TenantId = caller.view.tenant.id
            known = not caller.view.seals_runs
            for trace_id, hops in traces.items():
                refused += self._runs.report(tenant, trace_id, hops, are_roots_known=known)
                octets += sum(hop_octets(hop) for hop in hops)
        except StateError as error:
            # What is wrong with the store is the operator's business, not the agent's.
            log.warning("runs cannot be written", extra={"fields": {"error": error.detail}})
            raise Overloaded("spans cannot be kept now", retry_after_s=RETRY_S) from error
        return _Kept(len(spans), octets, refused)


class _Kept(msgspec.Struct, frozen=True):
    """What came of one export: how many spans it had, their octets as hops, the refused ones."""

    spans: int
    octets: int
    refused: list[Refused]


def _media(head: Head) -> str:
    return head.headers.get("content-type", "").partition(";")[0].strip().lower()


def _unpacked(body: bytes, coding: str) -> bytes:
    """Remove a content coding, never making more octets than an export may have.

    Raises:
        MalformedRequest: the coded octets are damaged, cut off, or followed by others.
        BodyTooLarge: too many come out.
        UnsupportedMediaType: the coding is not known.
    """
    if coding in ("", "identity"):
        return body
    bits = _WINDOW_BITS.get(coding)
    if bits is None:
        raise UnsupportedMediaType(f"the content coding {coding[:32]} is not known here")
    unpacker = zlib.decompressobj(bits)
    try:
        unpacked = unpacker.decompress(body, TRACES_BYTES_MAX + 1)
    except zlib.error as error:
        raise MalformedRequest(f"the body is not {coding}: {error}") from error
    if len(unpacked) > TRACES_BYTES_MAX:
        raise BodyTooLarge(f"unpacked it has over {TRACES_BYTES_MAX} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise MalformedRequest(f"the body is not one whole {coding} stream")
    return unpacked


def _by_trace(spans: list[ReceivedSpan]) -> tuple[dict[str, list[ReportedHop]], list[Refused]]:
    traces: dict[str, list[ReportedHop]] = {}
    refused: list[Refused] = []
    for span in spans:
        try:
            hop = reported_hop(span)
        except UnusableSpan as error:
            named = span.span_id if is_span_id(span.span_id) else ""
            refused.append(Refused(named, error.reason))
            continue
        traces.setdefault(span.trace_id, []).append(hop)
    return traces, refused


def _explanation(refused: list[Refused]) -> str:
    """Say how many spans were refused for each reason, and name the first of them."""
    if not refused:
        return ""
    counts = Counter(one.reason for one in refused)
    reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(counts.items()))
    named = ", ".join(f"{one.span_id or '(no id)'} {one.reason}" for one in refused[:NAMED_MAX])
    more = "" if len(refused) <= NAMED_MAX else ", ..."
    return f"refused {len(refused)} ({reasons}): {named}{more}"
