"""The SIEM export's metrics as OpenMetrics lines. `docs/metrics.md` lists every name."""

from collections.abc import Sequence

import msgspec

from verismo.adapters.telemetry_text import counter_family, gauge_family

_PPM = 1_000_000
_SINK = ("sink",)


class SinkFigures(msgspec.Struct, frozen=True):
    """How one sink stands.

    Args:
        sink: its name.
        is_up: whether the last batch was taken.
        delivered, failures: since the process began.
        waiting: leaves that it was not sent yet; None if that cannot be told.
        lag_s: age of the oldest of them, as far as known.
        dead: its dead letters; None if that cannot be told.
        parity_ppm: of the hours looked at last; None if none was.
        checked_s: when that was, or the watch began, Unix seconds; None where nobody looks.
    """

    sink: str
    is_up: bool
    delivered: int
    failures: int
    waiting: int | None
    lag_s: float
    dead: int | None
    parity_ppm: int | None
    checked_s: float | None


def siem_lines(figures: Sequence[SinkFigures]) -> list[str]:
    """Return the lines of every family; what cannot be told has no sample.

    Args:
        figures: of each sink.
    """
    return [
        *gauge_family(
            "verismo_siem_up",
            "1 if a SIEM sink took the last batch.",
            _SINK,
            {(one.sink,): int(one.is_up) for one in figures},
        ),
        *counter_family(
            "verismo_siem_events",
            "Events that a SIEM sink took, copies included.",
            _SINK,
            {(one.sink,): one.delivered for one in figures},
        ),
        *counter_family(
            "verismo_siem_failures",
            "Batches that a SIEM sink did not take.",
            _SINK,
            {(one.sink,): one.failures for one in figures},
        ),
        *gauge_family(
            "verismo_siem_waiting",
            "Leaves of the ledger that a SIEM sink was not sent yet.",
            _SINK,
            {(one.sink,): one.waiting for one in figures if one.waiting is not None},
        ),
        *gauge_family(
            "verismo_siem_lag_seconds",
            "Age of the oldest event that a SIEM sink was not sent yet, or since when nobody could "
            "look; 0 if none waits.",
            _SINK,
            {(one.sink,): one.lag_s for one in figures},
        ),
        *gauge_family(
            "verismo_siem_dead_letters",
            "Events that a SIEM sink refused and that were put aside.",
            _SINK,
            {(one.sink,): one.dead for one in figures if one.dead is not None},
        ),
        *gauge_family(
            "verismo_siem_parity_ratio",
            "Share of the ledger's events that a SIEM sink holds unaltered, of the last hours.",
            _SINK,
            {(one.sink,): one.parity_ppm / _PPM for one in figures if one.parity_ppm is not None},
        ),
        *gauge_family(
            "verismo_siem_parity_checked_seconds",
            "When parity of a SIEM sink was looked at last or the watch began, Unix time.",
            _SINK,
            {(one.sink,): one.checked_s for one in figures if one.checked_s is not None},
        ),
    ]
