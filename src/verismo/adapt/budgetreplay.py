"""What the budgets' rules would have done to a row of spend: first to it alone, then to breaches.

The rules are those that decide (`budget.step`, `budgetlimit.learn`), fed as the shell feeds them:
history first, then the days under test. Runaway callers are planted evenly over those days, each
one alone, from the state and the limit that the undisturbed run had at that time.

Nothing is drawn at random, so that the same spend gives the same report.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from verismo.adapt.budget import (
    BIN_MS,
    LONG_BINS,
    SHORT_BINS,
    BudgetSettings,
    BudgetState,
    Limits,
    Sums,
    bucket_rate_usd_micros,
    limit_in_force,
    step,
)
from verismo.adapt.budgetlimit import (
    HOUR_MS,
    HOURS_MAX,
    LimitSettings,
    LimitState,
    SpendHour,
    learn,
    spend_hour,
)
from verismo.model.units import Milliseconds, UsdMicros

HOUR_BINS: Final = HOUR_MS // BIN_MS
MULTIPLES: Final = (2, 5, 20)
"""Of the 95th percentile of W60: how much planted callers spend in a minute."""
PLANTED: Final = 6
"""Callers for each multiple."""
PLANTED_BINS: Final = 120
"""Each lasts 20 minutes."""


class Replayed(msgspec.Struct, frozen=True):
    """One route to be replayed.

    Args:
        start_ms: of the first bin, Unix ms, a whole hour.
        offered: USD micros in each bin of 10 s, without a hole.
        history_bins: how many of them are history; a whole number of hours.
        cap_usd_micros: the static cap of W60.
    """

    start_ms: int
    offered: tuple[int, ...]
    history_bins: int
    cap_usd_micros: int


class Event(msgspec.Struct, frozen=True):
    """One time that the route was throttled.

    Args:
        at_ms: Unix ms, when it began.
        released_ms: when it was over; 0 if not before the end.
        reason: what began it.
        limit_usd_micros: in force then.
        w60_usd_micros: offered in the minute before.
        shed_usd_micros: offered while it lasted and not admitted.
    """

    at_ms: int
    released_ms: int
    reason: str
    limit_usd_micros: int
    w60_usd_micros: int
    shed_usd_micros: int


class Planted(msgspec.Struct, frozen=True):
    """One runaway caller.

    Args:
        multiple: of the 95th percentile of W60.
        at_ms: when it began, Unix ms.
        throttled_ms: how long after; None if it never was.
        overshoot_usd_micros: what it spent over the limit in force before it was throttled.
    """

    multiple: int
    at_ms: int
    throttled_ms: int | None
    overshoot_usd_micros: int


class Outcome(msgspec.Struct, frozen=True):
    """What the rules did to one route in the days under test.

    Args:
        hours: under test.
        hours_throttled: of them, with no breach planted.
        toggles_per_hour_max: how often it went on or off within any hour.
        offered_usd_micros: in all.
        shed_usd_micros: of that, not admitted.
        tuned_usd_micros: the learned limit at the end; None if nothing was learned.
        events: each time that it was throttled.
        planted: each runaway caller.
    """

    hours: int
    hours_throttled: int
    toggles_per_hour_max: int
    offered_usd_micros: int
    shed_usd_micros: int
    tuned_usd_micros: int | None
    events: tuple[Event, ...]
    planted: tuple[Planted, ...]


def replay(route: Replayed, budget: BudgetSettings, limit: LimitSettings) -> Outcome:
    """Run the rules over a route's spend, then plant the runaway callers.

    Args:
        route: its spend; the days under test are at least an hour.
        budget: how it is throttled.
        limit: how its limit is learned.
    """
    run = _Run(route, budget, limit)
    throttled = [False] * len(route.offered)
    shed = [0] * len(route.offered)
    for hour in range(route.history_bins // HOUR_BINS, len(route.offered) // HOUR_BINS):
        run.hour(hour, throttled, shed)
    first, last = route.history_bins, len(route.offered) // HOUR_BINS * HOUR_BINS
    begun = [at for at in range(first, last) if throttled[at] and not throttled[at - 1]]
    ended = [at for at in range(first, last) if throttled[at - 1] and not throttled[at]]
    changes = sorted(begun + ended)
    hours = range(first, last, HOUR_BINS)
    return Outcome(
        hours=len(hours),
        hours_throttled=sum(any(throttled[at : at + HOUR_BINS]) for at in hours),
        toggles_per_hour_max=max(
            (sum(at <= other < at + HOUR_BINS for other in changes) for at in changes), default=0
        ),
        offered_usd_micros=sum(route.offered[first:last]),
        shed_usd_micros=sum(shed),
        tuned_usd_micros=run.learned.limit_usd_micros,
        events=tuple(_events(run, begun, ended, shed)),
        planted=tuple(_planted(run, throttled, first, last)),
    )


class _Run:
    """The rules on their way through a route's spend."""

    def __init__(self, route: Replayed, budget: BudgetSettings, limit: LimitSettings) -> None:
        self.route = route
        self.settings = budget
        self._limit_settings = limit
        self.short = rolling(route.offered, SHORT_BINS)
        self.long = rolling(route.offered, LONG_BINS)
        self.learned = LimitState()
        self.state = BudgetState()
        self.states: dict[int, BudgetState] = {}
        self.limits: dict[int, Limits] = {}
        self.reasons: dict[int, str] = {}
        cap = Limits(UsdMicros(route.cap_usd_micros))
        self._hours = [
            self._summed(hour, cap, breached=False)
            for hour in range(route.history_bins // HOUR_BINS)
        ]

    def hour(self, hour: int, throttled: list[bool], shed: list[int]) -> None:
        """Learn the hour's limit, then look at each of its bins."""
        at_ms = self.end_ms(hour * HOUR_BINS - 1)
        recent = tuple(self._hours[-HOURS_MAX:])
        if sum(not one.breached for one in recent) >= self._limit_settings.hours_min:
            damped = self.state.static_until_ms > at_ms
            self.learned = learn(self.learned, recent, self._limit_settings, at_ms, damped=damped)
        tuned = self.learned.limit_usd_micros
        limits = Limits(UsdMicros(self.route.cap_usd_micros), tuned)
        self.states[hour], self.limits[hour] = self.state, limits
        bins = range(hour * HOUR_BINS, (hour + 1) * HOUR_BINS)
        for at in bins:
            rate = bucket_rate_usd_micros(self.state, limits, self.end_ms(at - 1))
            if rate is not None:
                shed[at] = max(0, self.route.offered[at] - rate // SHORT_BINS)
            seen = Sums(Milliseconds(self.end_ms(at)), self.short[at], self.long[at])
            found = step(self.state, seen, limits, self.settings)
            if found.state.phase != "OPEN" and self.state.phase == "OPEN":
                self.reasons[at] = found.reasons[-1]
            self.state = found.state
            throttled[at] = self.state.phase != "OPEN"
        self._hours.append(self._summed(hour, limits, breached=any(throttled[at] for at in bins)))

    def end_ms(self, at: int) -> int:
        """Return the end of a bin, Unix ms."""
        return self.route.start_ms + (at + 1) * BIN_MS

    def limit_at(self, at: int) -> int:
        """Return the limit in force at the end of a bin of the days under test."""
        hour = at // HOUR_BINS
        until_ms = self.states[hour].static_until_ms
        return limit_in_force(self.limits[hour], until_ms, self.end_ms(at))

    def _summed(self, hour: int, limits: Limits, *, breached: bool) -> SpendHour:
        span = slice(hour * HOUR_BINS, (hour + 1) * HOUR_BINS)
        force = limit_in_force(limits, self.state.static_until_ms, self.end_ms(span.start))
        start_ms = Milliseconds(self.route.start_ms + hour * HOUR_MS)
        return spend_hour(start_ms, self.short[span], [force] * HOUR_BINS, breached=breached)


def rolling(values: Sequence[int], width: int) -> list[int]:
    """Return the sum of the last `width` values at each of them."""
    sums, total = [], 0
    for at, value in enumerate(values):
        total += value - (values[at - width] if at >= width else 0)
        sums.append(total)
    return sums


def percentile(values: Sequence[int], share_ppm: int) -> int:
    """Return the smallest of some values that at least a share of them does not pass; 0 for none.

    Args:
        values: in any order.
        share_ppm: 950,000 for the 95th percentile.
    """
    ordered = sorted(values)
    if not ordered:
        return 0
    rank = -(-share_ppm * len(ordered) // 1_000_000)
    return ordered[max(rank, 1) - 1]


def _events(run: _Run, begun: list[int], ended: list[int], shed: list[int]) -> list[Event]:
    found = []
    for at in begun:
        over = next((one for one in ended if one > at), len(shed))
        found.append(
            Event(
                at_ms=run.end_ms(at),
                released_ms=run.end_ms(over) if over < len(shed) else 0,
                reason=run.reasons.get(at, ""),
                limit_usd_micros=run.limit_at(at),
                w60_usd_micros=run.short[at],
                shed_usd_micros=sum(shed[at : over + 1]),
            )
        )
    return found


def _planted(run: _Run, throttled: list[bool], first: int, last: int) -> list[Planted]:
    """Plant callers evenly over the bins at which the route was open for the 10 minutes before."""
    usual = percentile(run.short[:first], 950_000)
    free = [
        at
        for at in range(first + LONG_BINS, last - PLANTED_BINS)
        if not any(throttled[at - LONG_BINS : at + 1])
    ]
    if not free or not usual:
        return []
    places = [free[(2 * n + 1) * len(free) // (2 * PLANTED)] for n in range(PLANTED)]
    return [_plant(run, multiple, at, usual) for multiple in MULTIPLES for at in places]


def _plant(run: _Run, multiple: int, at: int, usual: int) -> Planted:
    extra = multiple * usual // SHORT_BINS
    first = at // HOUR_BINS * HOUR_BINS
    state = run.states[at // HOUR_BINS]
    overshoot = 0
    for now in range(first, at + PLANTED_BINS):
        more = max(0, now - at + 1)
        short = run.short[now] + extra * min(more, SHORT_BINS)
        seen = Sums(
            Milliseconds(run.end_ms(now)), short, run.long[now] + extra * min(more, LONG_BINS)
        )
        limits = run.limits[min(now // HOUR_BINS, max(run.limits))]
        state = step(state, seen, limits, run.settings).state
        if not more:
            continue
        room = limit_in_force(limits, state.static_until_ms, run.end_ms(now)) // SHORT_BINS
        overshoot += max(0, run.route.offered[now] + extra - room)
        if state.phase != "OPEN":
            return Planted(multiple, run.end_ms(at - 1), more * BIN_MS, overshoot)
    return Planted(multiple, run.end_ms(at - 1), None, overshoot)
