"""Telemetry of one worker: Prometheus metrics and OpenTelemetry traces.

Port: `verismo.ports.telemetry`. Our own metrics are in `telemetry_metrics`; those of the process
are prometheus-client's, in a registry of this object and never in the library's global one.
OpenTelemetry is imported only where an endpoint is configured.
"""

from random import Random
from typing import Protocol

import msgspec
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import CollectorRegistry

from verismo.adapters.telemetry_metrics import Metrics
from verismo.model.plan import Plan
from verismo.ports.telemetry import Answered

OPENMETRICS_MEDIA = CONTENT_TYPE_LATEST

_PPM = 1_000_000


class TelemetrySettings(msgspec.Struct, frozen=True):
    """What telemetry is told.

    Args:
        worker: the slot, such as `s0`; becomes `service.instance.id` of spans.
        otlp_endpoint: base URL of an OTLP/HTTP collector; empty sends no traces.
        sample_ppm: share of new traces that is recorded, millionths.
    """

    worker: str
    otlp_endpoint: str = ""
    sample_ppm: int = 0


class Traces(Protocol):
    """Where finished requests go as spans; implemented by `telemetry_traces.OtlpTraces`."""

    def export(self, sample: Answered) -> None:
        """Queue a request's spans; drops them where the queue is full."""
        ...

    def close(self) -> None:
        """Send what is queued, within a bounded time."""
        ...


class WorkerTelemetry:
    """Counters, histograms and traces of one worker.

    Used from the event loop's thread alone; no call waits, and none fails.

    Args:
        settings: sampling and where traces go.
        random: for sampling decisions and span ids; owned by this object.

    Raises:
        ModuleNotFoundError: an endpoint is configured and OpenTelemetry is not installed.
    """

    def __init__(self, settings: TelemetrySettings, random: Random) -> None:
        self._sample_ppm = settings.sample_ppm
        self._random = random
        self._metrics = Metrics()
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        self._traces = _open_traces(settings, random)

    def know(self, plan: Plan) -> None:
        """Take the names of a plan as labels; call it at start and with every new plan."""
        self._metrics.know(plan)

    def answered(self, sample: Answered) -> None:
        """Count one finished request and export its trace if it has hops."""
        self._metrics.count(sample)
        if sample.hops and self._traces is not None:
            self._traces.export(sample)

    def tried(self, deployment: str, outcome: str) -> None:
        """Count one try at a deployment."""
        tries = self._metrics.tries
        tries[deployment, outcome] = tries.get((deployment, outcome), 0) + 1

    def failed_closed(self, reason: str) -> None:
        """Count an answer that was withheld."""
        counts = self._metrics.failed_closed
        counts[reason] = counts.get(reason, 0) + 1

    def unidentified(self, code: str) -> None:
        """Count a request refused before identification."""
        counts = self._metrics.unidentified
        counts[code] = counts.get(code, 0) + 1

    def spans(self, outcome: str, count: int) -> None:
        """Count reported spans."""
        counts = self._metrics.spans
        counts[outcome] = counts.get(outcome, 0) + count

    def runs_open(self, count: int) -> None:
        """Show how many answers of agents are being worked on."""
        self._metrics.runs_open = count

    def breaker(self, deployment: str, is_open: bool) -> None:
        """Show the state of a deployment's circuit breaker."""
        self._metrics.open_breakers[deployment] = is_open

    def in_flight(self, count: int) -> None:
        """Show how many requests are being worked on."""
        self._metrics.in_flight = count

    def samples_trace(self, parent_sampled: bool | None) -> bool:
        """Follow the caller's decision; without one, decide by the configured share."""
        if self._traces is None:
            return False
        if parent_sampled is not None:
            return parent_sampled
        return self._random.randrange(_PPM) < self._sample_ppm

    def expose(self) -> bytes:
        """Return the metrics as OpenMetrics text, to be sent as `OPENMETRICS_MEDIA`."""
        process: bytes = generate_latest(self._process)  # type: ignore[no-untyped-call]
        return "".join(self._metrics.lines()).encode("utf-8") + process

    def close(self) -> None:
        """Send the spans that are queued; takes at most `telemetry_traces.CLOSE_S`."""
        if self._traces is not None:
            self._traces.close()


def _open_traces(settings: TelemetrySettings, random: Random) -> Traces | None:
    if not settings.otlp_endpoint:
        return None
    # The import takes 0.15 s and 6 MB, so only who sends traces pays for it.
    from verismo.adapters.telemetry_traces import OtlpTraces  # noqa: PLC0415

    return OtlpTraces(settings.otlp_endpoint, settings.worker, random)
