"""The hours that a route's limit is learned from: kept in the recorded observations themselves.

Each hour the last observation of a route is carried on with the hour that ended, so that a week of
history needs no table of its own and what a limit was learned from is recorded with it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from verismo.adapt.budget import BIN_MS, SHORT_BINS, BudgetState
from verismo.adapt.budgetlimit import HOUR_MS, HOURS_MAX, SpendHour, spend_hour
from verismo.model.ids import OperationId, TenantId
from verismo.model.units import Milliseconds

Route = tuple[TenantId, OperationId]
Bins = Mapping[int, Mapping[Route, int]]
"""What routes offered to spend, USD micros, by the start of each bin that nothing misses."""
EVALUATIONS_MIN: Final = 180
"""An hour of which less than half is known teaches nothing."""
CATCH_UP_HOURS: Final = 6
"""How many hours are made up for after nobody decided for a while."""
LEAD_MS: Final = (SHORT_BINS - 1) * BIN_MS
"""The first minute of an hour begins before it."""


def hours_due(known: Sequence[SpendHour], ended_ms: int) -> range:
    """Return the starts of the hours that history misses at its end.

    Args:
        known: history in order.
        ended_ms: Unix ms, a whole hour: the end of the last hour.
    """
    if not known:
        return range(ended_ms - HOUR_MS, ended_ms, HOUR_MS)
    first = max(ended_ms - CATCH_UP_HOURS * HOUR_MS, known[-1].start_ms + HOUR_MS)
    return range(first, ended_ms, HOUR_MS)


def hour_of(
    start_ms: int, route: Route, bins: Bins, limit_at: Callable[[int], int], *, breached: bool
) -> SpendHour | None:
    """Sum up one hour of a route; None where too little of it is known.

    Args:
        start_ms: Unix ms, a whole hour.
        route: whose.
        bins: from `LEAD_MS` before the hour to its end; missing ones are unknown, not empty.
        limit_at: returns the limit in force at a time.
        breached: whether the route was throttled at any time in it.
    """
    offered, limits = [], []
    for end_ms in range(start_ms + BIN_MS, start_ms + HOUR_MS + 1, BIN_MS):
        minute = [bins.get(end_ms - n * BIN_MS) for n in range(1, SHORT_BINS + 1)]
        known = [one.get(route, 0) for one in minute if one is not None]
        if len(known) == SHORT_BINS:
            offered.append(sum(known))
            limits.append(limit_at(end_ms))
    if len(offered) < EVALUATIONS_MIN:
        return None
    return spend_hour(Milliseconds(start_ms), offered, limits, breached=breached)


def was_breached(state: BudgetState, start_ms: int) -> bool:
    """Say whether a route was throttled at any time in an hour, by its newest state."""
    end_ms = start_ms + HOUR_MS
    times = (*state.breaches, *state.toggles)
    if any(start_ms <= one < end_ms for one in times):
        return True
    return state.phase != "OPEN" and state.breach_ms < end_ms


def last_week(hours: Sequence[SpendHour], ended_ms: int) -> tuple[SpendHour, ...]:
    """Return the hours of the week before a time, in order."""
    return tuple(one for one in hours if one.start_ms >= ended_ms - HOURS_MAX * HOUR_MS)


def is_silent(hours: Sequence[SpendHour]) -> bool:
    """Say whether nothing was offered in any of the hours."""
    return not any(one.spend.buckets and one.spend.buckets[-1] for one in hours)
