"""Tells telemetry and the windows how each request ended, once."""

import logging
import time

from verismo.gateway.journey import Journey
from verismo.gateway.windows import WindowCounts, outcome_of
from verismo.model.errors import IntegrityError
from verismo.ports.telemetry import Answered, Telemetry

_S_PER_NS = 1e-9
_NS_PER_US = 1_000
_NS_PER_S = 1_000_000_000
WITHHELD_EVERY_S = 1
"""How often the log says why answers are withheld: on a full disk every request is one."""

log = logging.getLogger("verismo.gateway")


class Reporter:
    """Reports finished requests of one worker.

    Args:
        telemetry: counters, histograms and traces.
        windows: what controllers read.
        logs_requests: whether each request gets a log line; it holds no content.
    """

    def __init__(
        self, telemetry: Telemetry, windows: WindowCounts, *, logs_requests: bool = False
    ) -> None:
        self._telemetry = telemetry
        self._windows = windows
        self._logs_requests = logs_requests
        self._withheld = 0
        self._quiet_until_ns = 0

    def finished(self, journey: Journey, status: int, code: str) -> None:
        """Report the end of a request.

        Args:
            journey: the request.
            status: HTTP status; 499 if the client left.
            code: stable error code, empty for an answer.
        """
        now_ns = time.monotonic_ns()
        total_ns = now_ns - journey.started_ns
        first_ns = (journey.first_byte_ns or now_ns) - journey.started_ns
        self._count(journey, status, code, total_ns)
        usage, deployment, run = journey.usage, journey.deployment, journey.run
        joined = None if run is None else run.joined
        self._telemetry.answered(
            Answered(
                kind=journey.kind,
                tenant=journey.caller.view.tenant.id,
                operation=journey.operation,
                deployment=deployment.id if deployment is not None else "",
                status=status,
                code=code,
                cache=journey.cache,
                prov_id=journey.prov_id,
                trace_id=journey.trace.trace_id,
                span_id=journey.trace.span_id,
                parent_id=journey.trace.parent_id,
                started_ms=journey.request.received_ms,
                seconds=total_ns * _S_PER_NS,
                first_byte_seconds=first_ns * _S_PER_NS,
                own_seconds=max(0, total_ns - journey.waited_ns) * _S_PER_NS,
                input_tokens=usage.input_tokens if usage is not None else 0,
                output_tokens=usage.output_tokens if usage is not None else 0,
                cost_usd_micros=journey.cost or 0,
                bundle=journey.bundle,
                hops=journey.hops() if journey.trace.sampled else (),
                run_calls=-1 if joined is None else joined.calls,
                run_hops=0 if joined is None else joined.hops,
                run_refused=0 if run is None else int(run.facts.get("hops_refused", 0)),
            )
        )
        if self._logs_requests or status >= 500:
            log.log(
                logging.WARNING if status >= 500 else logging.INFO,
                "request",
                extra={
                    "fields": {
                        "request_id": journey.request.request_id,
                        "prov_id": journey.prov_id,
                        "trace_id": journey.trace.trace_id,
                        "tenant": journey.caller.view.tenant.id,
                        "operation": journey.operation,
                        "deployment": deployment.id if deployment is not None else "",
                        "status": status,
                        "code": code,
                        "ms": total_ns // 1_000_000,
                    }
                },
            )

    def _count(self, journey: Journey, status: int, code: str, total_ns: int) -> None:
        if journey.flight is not None:
            journey.flight.over()
        if journey.route is None:
            return  # it was given to no deployment: refused before, or answered from the cache
        first_ns = journey.first_byte_ns - journey.started_ns if journey.first_byte_ns else 0
        outcome = outcome_of(status, code, is_failed=journey.is_failed)
        self._windows.ended(
            journey.route, outcome, total_ns // _NS_PER_US, first_ns // _NS_PER_US, journey.cost
        )

    def withheld(self, journey: Journey, error: IntegrityError) -> None:
        """Log why an answer is withheld, at most once a second; what was counted goes along.

        Args:
            journey: the request.
            error: what it is withheld for; its cause is the journal's or the signer's, whose words
                are no content.
        """
        self._withheld += 1
        now_ns = time.monotonic_ns()
        if now_ns < self._quiet_until_ns:
            return
        self._quiet_until_ns = now_ns + WITHHELD_EVERY_S * _NS_PER_S
        fields = {
            "request_id": journey.request.request_id,
            "prov_id": journey.prov_id,
            "operation": journey.operation,
            "detail": error.detail,
            "cause": str(error.__cause__ or ""),
            "withheld": self._withheld,
        }
        self._withheld = 0
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        # All types of the chain, and the place where it began.
        trace = root.__traceback__ or error.__traceback__
        log.error("answer withheld", exc_info=(type(error), error, trace), extra={"fields": fields})

    def lost(self, error: BaseException) -> None:
        """Log that a terminal record could not be written; the failure was counted before."""
        fields = {"error": type(error).__name__, "cause": str(error.__cause__ or "")}
        log.error("terminal record not written", extra={"fields": fields})
