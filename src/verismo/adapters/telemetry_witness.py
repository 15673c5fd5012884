"""The metrics of witnessing as OpenMetrics lines. `docs/metrics.md` lists every name."""

from collections.abc import Mapping

from verismo.adapters.telemetry_text import counter_family, gauge_family
from verismo.model.ledger import LogId

_LOG = ("region", "year")


def witness_lines(
    sizes: Mapping[LogId, int | None],
    delays_s: Mapping[LogId, float],
    ages_s: Mapping[str, float | None],
    failures: Mapping[str, Mapping[str, int]],
) -> list[str]:
    """Return the lines of every family.

    Args:
        sizes: entries under the last checkpoint of each log with a quorum; None without one.
        delays_s: since when checkpoints of each log wait for a quorum, seconds.
        ages_s: since the last cosignature of each witness, seconds; None without one.
        failures: of each witness by reason.
    """
    return [
        *gauge_family(
            "verismo_witness_cosigned_size",
            "Entries under the last checkpoint of a log that a quorum of witnesses has cosigned.",
            _LOG,
            {_labels(log): size for log, size in sizes.items() if size is not None},
        ),
        *gauge_family(
            "verismo_witness_quorum_delay_seconds",
            "Since when checkpoints of a log wait for a quorum of witnesses; 0 if none waits.",
            _LOG,
            {_labels(log): delay_s for log, delay_s in delays_s.items()},
        ),
        *gauge_family(
            "verismo_witness_cosignature_age_seconds",
            "Since a witness last cosigned; a log that does not grow is not cosigned again.",
            ("witness",),
            {(name,): age_s for name, age_s in ages_s.items() if age_s is not None},
        ),
        *counter_family(
            "verismo_witness_failures",
            "Checkpoints that a witness did not cosign when asked.",
            ("witness", "reason"),
            {
                (name, reason): count
                for name, reasons in failures.items()
                for reason, count in reasons.items()
            },
        ),
    ]


def _labels(log: LogId) -> tuple[str, str]:
    return log.region, str(log.year)
