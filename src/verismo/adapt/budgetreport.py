"""The report of a budget simulation: what was replayed, and every figure with its definition.

Shares are in millionths and money is in USD micros, as in all that Verismo writes down. A figure
that cannot be told is null and never a default.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from verismo.adapt import budget, budgetlimit
from verismo.adapt.budget import BudgetSettings
from verismo.adapt.budgetlimit import LimitSettings
from verismo.adapt.budgetreplay import MULTIPLES, PLANTED, Event, Outcome, Planted, percentile
from verismo.model.decision import digest_of

VERSION: Final = 1
MILLION: Final = 1_000_000

DEFINITIONS: Final[Mapping[str, str]] = {
    "throttle_events": "each time that a route was throttled in the days under test, with no "
    "breach planted",
    "false_positive_mean_ppm": "share of a route's hours under test in which it was throttled at "
    "any time although no breach was planted, averaged over routes; real bursts count as false",
    "false_positive_p90_ppm": "the same share of the route at the 90th percentile",
    "false_negative_ppm": "share of the planted breaches that were not throttled within the window",
    "time_to_throttle_ms": "from a planted breach's first bin to the look at which the route was "
    "throttled",
    "overshoot_usd_micros": "what was offered above the limit in force from a planted breach's "
    "begin until it was throttled, or to its end",
    "legitimate_shed_ppm": "share of the spend under test, with no breach planted, that the token "
    "bucket would not have admitted",
    "planted": "runaway callers of 20 minutes at a multiple of the 95th percentile of the "
    f"history's W60, {PLANTED} for each multiple and route, evenly over the bins at which the "
    "route is open",
    "w60": "spend offered within the last 60 s, looked at every 10 s",
}


class DataSource(msgspec.Struct, frozen=True):
    """What was replayed.

    Args:
        kind: `recorded` by this gateway, a `trace` of somebody's, or `generated`: made up.
        detail: where it is from, in words.
        start_ms: Unix ms, of the first bin.
        end_ms: Unix ms, of the last one.
        test_start_ms: Unix ms; what lies before is history that is learned from.
    """

    kind: Literal["recorded", "trace", "generated"]
    detail: str
    start_ms: int
    end_ms: int
    test_start_ms: int


class PlantedResult(msgspec.Struct, frozen=True):
    """How the breaches of one multiple went; None where none could be planted."""

    multiple: int
    planted: int
    throttled_within_window: int
    false_negative_ppm: int | None
    time_to_throttle_ms_median: int | None
    time_to_throttle_ms_max: int | None
    overshoot_usd_micros_median: int | None
    overshoot_usd_micros_max: int | None


class RouteResult(msgspec.Struct, frozen=True):
    """How one route went."""

    operation: str
    static_cap_usd_micros: int
    learned_limit_usd_micros: int | None
    hours: int
    hours_throttled: int
    false_positive_ppm: int
    toggles_per_hour_max: int
    offered_usd_micros: int
    shed_usd_micros: int
    throttle_events: tuple[Event, ...]
    breaches: tuple[Planted, ...]


class Report(msgspec.Struct, frozen=True):
    """The report.

    Args:
        report: its format.
        tenant: whose budget.
        window_s: within which a breach has to be throttled.
        data: what was replayed.
        rules: versions of the rules, and digests of their settings.
        false_positive_mean_ppm, false_positive_p90_ppm, legitimate_shed_ppm: see `definitions`.
        throttle_events: how many.
        breaches: by multiple.
        routes: each route.
        definitions: of all figures.
    """

    report: str
    tenant: str
    window_s: int
    data: DataSource
    rules: Mapping[str, int | str]
    false_positive_mean_ppm: int
    false_positive_p90_ppm: int
    legitimate_shed_ppm: int | None
    throttle_events: int
    breaches: tuple[PlantedResult, ...]
    routes: tuple[RouteResult, ...]
    definitions: Mapping[str, str]


class Settings(msgspec.Struct, frozen=True):
    """What a simulation ran under.

    Args:
        tenant: whose budget.
        window_s: within which a breach has to be throttled.
        budget: how routes are throttled.
        limit: how limits are learned.
    """

    tenant: str
    window_s: int
    budget: BudgetSettings = BudgetSettings()
    limit: LimitSettings = LimitSettings()


def report_of(
    settings: Settings, data: DataSource, outcomes: Sequence[tuple[str, int, Outcome]]
) -> Report:
    """Put a report together.

    Args:
        settings: of the simulation.
        data: what was replayed.
        outcomes: operation, static cap and outcome of each route, at least one.
    """
    shares = [one.hours_throttled * MILLION // one.hours for _, _, one in outcomes]
    offered = sum(one.offered_usd_micros for _, _, one in outcomes)
    shed = sum(one.shed_usd_micros for _, _, one in outcomes)
    planted = [found for _, _, one in outcomes for found in one.planted]
    return Report(
        report=f"verismo.budget-simulation.v{VERSION}",
        tenant=settings.tenant,
        window_s=settings.window_s,
        data=data,
        rules={
            "budget": budget.VERSION,
            "budget_limit": budgetlimit.VERSION,
            "budget_settings": digest_of(settings.budget),
            "limit_settings": digest_of(settings.limit),
        },
        false_positive_mean_ppm=sum(shares) // len(shares),
        false_positive_p90_ppm=percentile(shares, 900_000),
        legitimate_shed_ppm=shed * MILLION // offered if offered else None,
        throttle_events=sum(len(one.events) for _, _, one in outcomes),
        breaches=tuple(_of_multiple(planted, one, settings.window_s) for one in MULTIPLES),
        routes=tuple(_route(operation, cap, one) for operation, cap, one in outcomes),
        definitions=DEFINITIONS,
    )


def _route(operation: str, cap: int, outcome: Outcome) -> RouteResult:
    return RouteResult(
        operation=operation,
        static_cap_usd_micros=cap,
        learned_limit_usd_micros=outcome.tuned_usd_micros,
        hours=outcome.hours,
        hours_throttled=outcome.hours_throttled,
        false_positive_ppm=outcome.hours_throttled * MILLION // outcome.hours,
        toggles_per_hour_max=outcome.toggles_per_hour_max,
        offered_usd_micros=outcome.offered_usd_micros,
        shed_usd_micros=outcome.shed_usd_micros,
        throttle_events=outcome.events,
        breaches=outcome.planted,
    )


def _of_multiple(planted: Sequence[Planted], multiple: int, window_s: int) -> PlantedResult:
    mine = [one for one in planted if one.multiple == multiple]
    times = [one.throttled_ms for one in mine if one.throttled_ms is not None]
    within = sum(one <= window_s * 1_000 for one in times)
    overshoots = [one.overshoot_usd_micros for one in mine]
    return PlantedResult(
        multiple=multiple,
        planted=len(mine),
        throttled_within_window=within,
        false_negative_ppm=(len(mine) - within) * MILLION // len(mine) if mine else None,
        time_to_throttle_ms_median=percentile(times, 500_000) if times else None,
        time_to_throttle_ms_max=max(times, default=None),
        overshoot_usd_micros_median=percentile(overshoots, 500_000) if mine else None,
        overshoot_usd_micros_max=max(overshoots, default=None),
    )
