"""The metrics of rollups and the archive as OpenMetrics lines. `docs/metrics.md` lists them."""

from collections.abc import Mapping

from verismo.adapters.telemetry_text import counter_family, gauge_family
from verismo.model.ledger import LogId


def archive_lines(waiting: Mapping[LogId, int], failures: int) -> list[str]:
    """Return the lines of every family.

    Args:
        waiting: days of each log that are over and not in the archive; empty if it cannot be told.
        failures: rounds that failed since the process began.
    """
    return [
        *gauge_family(
            "verismo_archive_waiting_days",
            "Days of a log that are over and not in the archive yet.",
            ("region", "year"),
            {(log.region, str(log.year)): days for log, days in waiting.items()},
        ),
        *counter_family(
            "verismo_archive_failures",
            "Rounds of rollup and upload that failed.",
            (),
            {(): failures},
        ),
    ]
