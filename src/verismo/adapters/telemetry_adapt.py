"""The controllers' metrics as OpenMetrics lines. `docs/metrics.md` lists every name."""

from collections.abc import Mapping

from verismo.adapters.telemetry_text import counter_family, gauge_family


def adapt_lines(
    decisions: Mapping[tuple[str, str], int],
    version: int | None,
    age_s: float | None,
    failures: int,
) -> list[str]:
    """Return the lines of every family.

    Args:
        decisions: recorded by this process, by rule and verdict.
        version: of the steering in force, 0 for none; None if it cannot be read.
        age_s: since the last round that did not fail, seconds; None before the first.
        failures: rounds that failed.
    """
    return [
        *counter_family(
            "verismo_adapt_decisions",
            "Decisions that this control process recorded.",
            ("rule", "verdict"),
            dict(decisions),
        ),
        *gauge_family(
            "verismo_adapt_steering_version",
            "Version of the steering that gateways are told, 0 for none.",
            (),
            {} if version is None else {(): version},
        ),
        *gauge_family(
            "verismo_adapt_round_age_seconds",
            "Since the last round of the controllers that did not fail.",
            (),
            {} if age_s is None else {(): age_s},
        ),
        *counter_family(
            "verismo_adapt_failures",
            "Rounds of the controllers that failed.",
            ("reason",),
            {("state",): failures},
        ),
    ]
