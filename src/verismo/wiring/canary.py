"""Opens what the commands about rollouts read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from verismo.adapters.metrics_http import HttpMetrics
from verismo.ports.scrape import MetricsReader


@asynccontextmanager
async def open_metrics(timeout_s: float, key: str) -> AsyncIterator[MetricsReader]:
    """Open a reader of metrics pages.

    Args:
        timeout_s: for each step of an exchange.
        key: sent as a bearer token; empty for none.
    """
    metrics = HttpMetrics(timeout_s, key)
    try:
        yield metrics
    finally:
        await metrics.aclose()
