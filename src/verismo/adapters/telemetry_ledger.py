"""The ledger's metrics as OpenMetrics lines. `docs/metrics.md` lists every name."""

from collections.abc import Mapping

from verismo.adapters.telemetry_text import counter_family, gauge_family
from verismo.model.ledger import LogId

_LOG = ("region", "year")


def ledger_lines(
    sizes: Mapping[LogId, int],
    ages_s: Mapping[LogId, float],
    delay_s: float | None,
    failures: Mapping[str, int],
) -> list[str]:
    """Return the lines of every family.

    Args:
        sizes: entries under the last checkpoint of each log.
        ages_s: since the last checkpoint of each log was signed, seconds.
        delay_s: age of the oldest record without a proof, seconds; None if it cannot be told.
        failures: failed steps of the integrator by kind.
    """
    return [
        *gauge_family(
            "verismo_ledger_tree_size",
            "Entries under the last checkpoint of a log.",
            _LOG,
            {_labels(log): size for log, size in sizes.items()},
        ),
        *gauge_family(
            "verismo_ledger_checkpoint_age_seconds",
            "Since the last checkpoint of a log was signed.",
            _LOG,
            {_labels(log): age_s for log, age_s in ages_s.items()},
        ),
        *gauge_family(
            "verismo_ledger_delay_seconds",
            "Age of the oldest record that no checkpoint covers yet; 0 if none waits.",
            (),
            {} if delay_s is None else {(): delay_s},
        ),
        *counter_family(
            "verismo_ledger_failures",
            "Steps of the integrator that failed.",
            ("reason",),
            {(reason,): count for reason, count in failures.items()},
        ),
    ]


def _labels(log: LogId) -> tuple[str, str]:
    return log.region, str(log.year)
