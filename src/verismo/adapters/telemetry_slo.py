"""The metrics of error budgets as OpenMetrics lines. `docs/metrics.md` lists every name."""

from collections.abc import Sequence

import msgspec

from verismo.adapters.telemetry_text import counter_family, gauge_family

_MILLION = 1_000_000
_KEYS = ("slo", "objective")


class ObjectiveFigures(msgspec.Struct, frozen=True):
    """How one objective of one route stands.

    Args:
        slo: name of the table.
        objective: `latency` or `errors`.
        objective_ppm: the share that is promised.
        total: what was counted since the process began.
        bad: what broke the promise of it.
        burns_milli: by span, such as `5m`; spans that cannot be told are left out.
    """

    slo: str
    objective: str
    objective_ppm: int
    total: int
    bad: int
    burns_milli: dict[str, int]


def slo_lines(figures: Sequence[ObjectiveFigures]) -> list[str]:
    """Return the lines of every family; what is not known has no sample.

    Args:
        figures: of each objective.
    """
    return [
        *counter_family(
            "verismo_slo_requests",
            "Requests that an objective is about, counted once their minute is over.",
            _KEYS,
            {(one.slo, one.objective): one.total for one in figures},
        ),
        *counter_family(
            "verismo_slo_bad",
            "Requests that broke the promise of an objective.",
            _KEYS,
            {(one.slo, one.objective): one.bad for one in figures},
        ),
        *gauge_family(
            "verismo_slo_objective_ratio",
            "Share of requests for which an objective is promised.",
            _KEYS,
            {(one.slo, one.objective): one.objective_ppm / _MILLION for one in figures},
        ),
        *gauge_family(
            "verismo_slo_burn_ratio",
            "How many times as fast as its objective allows a route uses up its error budget.",
            (*_KEYS, "span"),
            {
                (one.slo, one.objective, span): milli / 1_000
                for one in figures
                for span, milli in one.burns_milli.items()
            },
        ),
    ]
