"""Notes the steps of one run: ids, times, digests. Content is hashed where it is and stays there.

The step that is going on is found by a context variable, so that tasks of asyncio, which inherit
it, stand under the step that started them; other threads get it by `bound`.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import httpx2
import msgspec

from verismo.attest.commitment import open_commitment
from verismo.client.delivery import Delivery
from verismo.client.spanreport import ToldSource, ToldSpan, encode_report
from verismo.client.tracecontext import TRACEPARENT, TRACESTATE, RunContext, state_of
from verismo.model import semconv
from verismo.model.hop import Attribute
from verismo.model.run import RUN_ENTRIES_MAX

if TYPE_CHECKING:
    from hashlib import _Hash

FAULTS_MAX = 8
"""Reasons for losses that are kept to be read."""

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("verismo.client")

_here: ContextVar["Step | None"] = ContextVar("verismo_step", default=None)
_encode = msgspec.json.Encoder(order="sorted").encode


def here() -> "Step | None":
    """Return the step that is going on, None outside any run.

    A run that is over is none: a generator that began one and was closed by somebody else leaves
    it standing in its own context, and what is done there goes on in the run around it.
    """
    step = _here.get()
    while step is not None and step.recorder.is_over:
        step = step.recorder.around
    return step


def bound(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that stands under the present step in whatever thread it runs.

    Args:
        function: to be given to a thread or an executor, which do not inherit context.
    """
    step = here()

    @wraps(function)
    def placed(*args: P.args, **kwargs: P.kwargs) -> R:
        token = _here.set(step)
        try:
            return function(*args, **kwargs)
        finally:
            _here.reset(token)

    return placed


def octets_of(value: object) -> bytes | None:
    """Return the octets of a value that are digested.

    Args:
        value: bytes as they are, text as UTF-8, anything else as JSON with sorted keys.

    Returns:
        None if it has no JSON; a spelling that differs from run to run would prove nothing.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    try:
        return value.encode("utf-8") if isinstance(value, str) else _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


class Step:
    """One step while it goes on; entered, everything in its context stands under it.

    Args:
        recorder: of its run.
        parent_span: the step that it belongs to, 16 hex digits.
        name: for people.
        attributes: facts, by OpenTelemetry's names.
        span_id: its own; a fresh one if empty.
    """

    __slots__ = (
        "_token",
        "attributes",
        "ended_ns",
        "error",
        "name",
        "parent_span",
        "recorder",
        "sources",
        "span_id",
        "started_ns",
    )

    def __init__(
        self,
        recorder: "Recorder",
        parent_span: str,
        name: str,
        attributes: dict[str, Attribute],
        span_id: str = "",
    ) -> None:
        self.recorder = recorder
        self.parent_span = parent_span
        self.span_id = span_id or os.urandom(8).hex()
        self.name = name
        self.attributes = attributes
        self.sources: list[ToldSource] = []
        self.error = ""
        self.started_ns = recorder.now_ns()
        self.ended_ns = 0
        self._token: Token[Step | None] | None = None

    def __enter__(self) -> "Step":
        self._token = enter(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        token, self._token = self._token, None
        if token is not None:
            leave(token)
        self.end(kind)

    def end(self, kind: type[BaseException] | None = None) -> None:
        """Note that it is over, and what broke it off if something did."""
        self.ended_ns = self.recorder.now_ns()
        if kind is not None:
            self.error = kind.__name__
        self.recorder.keep(self._told())

    def asked(self, value: object) -> None:
        """Note the digest of what it was given."""
        octets = octets_of(value)
        if octets is not None:
            self.attributes[semconv.VERISMO_ARGUMENTS_COMMIT] = self.recorder.commit(octets)

    def gave(self, value: object) -> None:
        """Note the digest of what it produced."""
        octets = octets_of(value)
        if octets is not None:
            self.attributes[semconv.VERISMO_COMMIT] = self.recorder.commit(octets)
            self.attributes[semconv.VERISMO_OCTETS] = len(octets)

    def source(self, uri: str, content: object) -> str:
        """Note something that fed it; returns the commitment, hex, empty if it has no octets."""
        octets = octets_of(content)
        if octets is None:
            return ""
        told = ToldSource(uri, self.recorder.commit(octets), len(octets))
        self.sources.append(told)
        return told.commit

    def _told(self) -> ToldSpan:
        if self.error:
            self.attributes[semconv.ERROR_TYPE] = self.error
        return ToldSpan(
            trace_id=self.recorder.context.trace_id,
            span_id=self.span_id,
            parent_span=self.parent_span,
            name=self.name,
            started_ns=self.started_ns,
            ended_ns=self.ended_ns,
            attributes=self.attributes,
            sources=self.sources,
            is_failed=bool(self.error),
        )


def enter(step: Step) -> Token[Step | None]:
    """Let a step be the present one in this context, until `leave`."""
    return _here.set(step)


def leave(token: Token[Step | None]) -> None:
    """Go back to the step before, in the context in which this one was entered.

    A generator that is closed by somebody else ends in their context, where there is nothing to
    go back to.
    """
    try:
        _here.reset(token)
    except ValueError:
        return


class Recorder:
    """Everything noted of one run. Safe for threads.

    Args:
        context: where the run stands; its salt has 32 octets.
        service: name of the agent.
        delivery: the way to the gateway.
    """

    def __init__(self, context: RunContext, service: str, delivery: Delivery) -> None:
        self.context = context
        self.lost = 0
        self.refused = 0
        self.faults: list[str] = []
        self._service = service
        self._delivery = delivery
        self._seed = open_commitment("source", context.salt)
        # A wall clock that steps must not make a step end before it began.
        self._offset_ns = time.time_ns() - time.monotonic_ns()
        self._ended: list[ToldSpan] = []
        self._count = 0
        self.is_over = False
        """Nothing is kept any more."""
        self.around: Step | None = None
        """What was going on where the run began."""
        self._lock = threading.Lock()
        self._sending = threading.Lock()

    def now_ns(self) -> int:
        """Return the time, Unix ns; it never goes back within a run."""
        return self._offset_ns + time.monotonic_ns()

    def opened(self) -> "_Hash":
        """Return the beginning of a commitment, to be fed in pieces."""
        return self._seed.copy()

    def commit(self, octets: bytes) -> str:
        """Return the salted commitment to some octets, hex."""
        hasher = self._seed.copy()
        hasher.update(octets)
        return hasher.hexdigest()

    def keep(self, span: ToldSpan) -> None:
        """Keep a step that has ended until it is sent."""
        with self._lock:
            self._count += 1
            if not self.is_over and self._count <= RUN_ENTRIES_MAX:
                self._ended.append(span)
                return
        reason = "the run is over" if self.is_over else f"over {RUN_ENTRIES_MAX} steps in one run"
        self._lose(1, reason)

    def report(self) -> bytes:
        """Return what would be sent now: all that leaves this process."""
        with self._lock:
            return encode_report(self._service, self._ended)

    @property
    def waiting(self) -> int:
        """How many steps are kept to be sent."""
        return len(self._ended)

    def flush(self) -> None:
        """Send what is kept and wait until the gateway has it; what fails is kept for the next."""
        with self._sending:
            with self._lock:
                spans, self._ended = self._ended, []
            if not spans:
                return
            outcome = self._delivery.send(encode_report(self._service, spans))
            if outcome.fate == "waiting":
                with self._lock:
                    self._ended = spans + self._ended
                self._note(outcome.reason)
            elif outcome.fate == "lost":
                self._lose(len(spans), outcome.reason)
            elif outcome.refused:
                self.refused += outcome.refused
                self._note(outcome.reason)

    def give_up(self) -> None:
        """End the run: what was not sent is lost, and is said to be."""
        with self._lock:
            self.is_over = True
            left, self._ended = len(self._ended), []
        if left:
            self._lose(left, self.faults[-1] if self.faults else "not sent")

    def headers(self, span_id: str) -> dict[str, str]:
        """Return what a call under a step carries."""
        context = self.context
        return {
            TRACEPARENT: f"00-{context.trace_id}-{span_id}-01",
            TRACESTATE: state_of(context.run_span, context.others),
        }

    def is_gateway(self, request: httpx2.Request) -> bool:
        """Say whether a request is for the run's gateway."""
        site = self._delivery.site
        return site.place(request.method, request.url).kind != "elsewhere"

    def _lose(self, count: int, reason: str) -> None:
        with self._lock:
            self.lost += count
        self._note(reason)

    def _note(self, reason: str) -> None:
        """Keep a reason; the first one of a run goes to the log."""
        if not self.faults:
            fields = {"run": self.context.run_span, "reason": reason}
            log.warning("steps did not reach the gateway: %s", reason, extra={"fields": fields})
        if len(self.faults) < FAULTS_MAX and reason not in self.faults:
            self.faults.append(reason)


def begin(name: str, attributes: dict[str, Attribute]) -> Step | None:
    """Return a new step under the present one, None outside any run; enter it to begin."""
    above = here()
    if above is None:
        return None
    return Step(above.recorder, above.span_id, name, attributes)


def carry(request: httpx2.Request) -> None:
    """Let a request to the run's gateway carry the run; an event hook of `httpx2.Client`.

    Requests to anybody else are left alone.
    """
    step = here()
    if step is None:
        return
    if step.recorder.is_gateway(request):
        request.headers.update(step.recorder.headers(step.span_id))


async def carry_async(request: httpx2.Request) -> None:
    """Do what `carry` does; an event hook of `httpx2.AsyncClient`."""
    carry(request)
