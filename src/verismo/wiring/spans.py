"""Composes what takes the spans that agents report."""

from verismo.config.schema import Config
from verismo.gateway.ratelimit import RateLimiter
from verismo.gateway.snapshot import SnapshotCell
from verismo.gateway.spans import SpanIntake
from verismo.ports.runs import RunStore
from verismo.ports.telemetry import Telemetry
from verismo.wiring.chosen import protobuf_spans


def open_spans(
    config: Config,
    snapshot: SnapshotCell,
    store: RunStore | None,
    limiter: RateLimiter,
    telemetry: Telemetry,
) -> SpanIntake | None:
    """Return the intake of one worker, None where no agent is registered.

    Args:
        config: the validated configuration.
        snapshot: keys and tenants in force.
        store: the runs of the data folder, None where there are none.
        limiter: counts exports.
        telemetry: counts what came of each span.
    """
    if store is None:
        return None
    return SpanIntake(snapshot, store, limiter, (protobuf_spans(),), telemetry, config.limits)
