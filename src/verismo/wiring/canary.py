"""Opens what the commands about rollouts read."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec

from verismo.adapters.metrics_http import HttpMetrics
from verismo.adapters.windows_sqlite import FILE_NAME, SqliteWindows
from verismo.config.schema import Config
from verismo.model.decision import Subject
from verismo.model.errors import OperatorError
from verismo.model.ids import DeploymentId, TenantId
from verismo.model.window import Window, merge_windows
from verismo.ports.scrape import MetricsReader


@asynccontextmanager
async def open_metrics(timeout_s: float, keys: Mapping[str, str]) -> AsyncIterator[MetricsReader]:
    """Open a reader of metrics pages.

    Args:
        timeout_s: for each step of an exchange.
        keys: by the URL that is read, sent to it as a bearer token.
    """
    metrics = HttpMetrics(timeout_s, keys)
    try:
        yield metrics
    finally:
        await metrics.aclose()


class RouteTraffic(msgspec.Struct, frozen=True):
    """What came on a route.

    Args:
        window: of all its deployments and arms together.
        span_ms: from the first interval that was counted to the end of the last.
    """

    window: Window
    span_ms: int


def read_traffic(config: Config, subject: Subject, from_ms: int, until_ms: int) -> RouteTraffic:
    """Read what came on a route from what its gateways counted.

    Args:
        config: says where the data are.
        subject: its tenant, empty for all, and its operation.
        from_ms: Unix ms.
        until_ms: Unix ms.

    Raises:
        OperatorError: nothing was counted, or it cannot be read.
    """
    path = config.data / FILE_NAME
    if not path.exists():
        raise _uncounted(f"there is no {path}")
    windows = SqliteWindows(path)
    try:
        intervals = windows.intervals(from_ms, until_ms)
    finally:
        windows.close()
    found = [
        msgspec.structs.replace(
            one,
            tenant=TenantId(subject.tenant),
            arm="unsplit",
            deployment=DeploymentId(""),
            errors=one.errors + one.refused,
            refused=0,
        )
        for interval in intervals
        for one in interval.windows
        if one.operation == subject.operation and subject.tenant in ("", one.tenant)
    ]
    if not found:
        raise _uncounted(f"no request on {subject.operation!r} was counted in that time")
    begin_ms = min(one.start_ms for one in intervals)
    end_ms = max(one.end_ms for one in intervals)
    return RouteTraffic(merge_windows(found), end_ms - begin_ms)


def _uncounted(what: str) -> OperatorError:
    return OperatorError(
        f"the traffic of the route is not known: {what}",
        next_step="Run the gateway with `[adapt] enabled` and traffic, then ask again; or name an "
        "earlier --since.",
    )
