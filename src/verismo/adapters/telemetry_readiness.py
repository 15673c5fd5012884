"""The workers' readiness as OpenMetrics lines. `docs/metrics.md` lists it."""

from collections.abc import Mapping

from verismo.adapters.telemetry_text import gauge_family


def readiness_lines(ready: Mapping[str, bool]) -> list[str]:
    """Return the lines of the family.

    Args:
        ready: whether a worker is ready, by its slot; without those that are down.
    """
    return gauge_family(
        "verismo_worker_ready",
        "1 if a worker is ready to take requests, 0 if it says why not; absent while it is down.",
        ("slot",),
        {(slot,): int(is_ready) for slot, is_ready in ready.items()},
    )
