"""Rules that throttle a series of spend: Verismo's own, and three that others use."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.spending import BINS_PER_DAY, Numbers, rolling
from verismo.adapt.budget import BudgetSettings, BudgetState, Limits, Sums, limit_in_force, step
from verismo.adapt.budgetlimit import (
    HOURS_MAX,
    LimitSettings,
    LimitState,
    SpendHour,
    learn,
    spend_hour,
)
from verismo.model.units import Milliseconds, UsdMicros

BIN_MS = 10_000
HOUR_BINS = 360
HISTORY = 7 * BINS_PER_DAY
SETTINGS = BudgetSettings()


@dataclass(frozen=True)
class Series:
    """Offered spend, and its sums over 60 s and 600 s."""

    bins: Numbers
    short: Numbers
    long: Numbers

    def injected(self, at: int, extra: int, length: int) -> "Series":
        """Return the part from 600 s before an injection to its end, with it."""
        bins = self.bins[at - 60 : at + length].copy()
        bins[60:] += extra
        return Series(bins, rolling(bins, 6), rolling(bins, 60))


def series_of(bins: Numbers) -> Series:
    """Return a series with its sums."""
    return Series(bins, rolling(bins, 6), rolling(bins, 60))


@dataclass
class Outcome:
    """What a rule did in days 8 to 14; index 0 is the first bin of day 8."""

    throttled: NDArray[np.bool_]
    admitted: NDArray[np.float64]
    toggles: int


class Rule(Protocol):
    """A rule under test."""

    def run(self, series: Series) -> Outcome:
        """Run it over days 8 to 14 after a week of history."""
        ...

    def seconds_to_throttle(self, series: Series, at: int, extra: int, length: int) -> int | None:
        """Return how long after its start an injection is throttled; None if it never is."""
        ...


class Stepped:
    """A rule whose looks are `verismo.adapt.budget.step`; without a learner it is a static cap."""

    def __init__(self, factor: float, learner: LimitSettings | None = None) -> None:
        self.factor = factor
        self.learner = learner
        self.states: list[BudgetState] = []
        self.limits: list[Limits] = []

    def run(self, series: Series) -> Outcome:
        cap = int(self.factor * np.percentile(series.short[:HISTORY], 99)) + 1
        hours = [] if self.learner is None else _first_week(series, cap)
        learned, state = LimitState(), BudgetState()
        length = len(series.bins) - HISTORY
        done = Outcome(np.zeros(length, bool), series.bins[HISTORY:].astype(float), 0)
        self.states, self.limits = [], []
        for hour in range(HISTORY // HOUR_BINS, len(series.bins) // HOUR_BINS):
            at_ms = hour * HOUR_BINS * BIN_MS
            tuned = None
            if self.learner is not None:
                damped = state.static_until_ms > at_ms
                recent = tuple(hours[-HOURS_MAX:])
                learned = learn(learned, recent, self.learner, at_ms, damped=damped)
                tuned = learned.limit_usd_micros
            limits = Limits(UsdMicros(cap), tuned)
            self.limits.append(limits)
            self.states.append(state)
            state = self._hour(series, hour, limits, state, done)
            if self.learner is not None:
                span = slice(hour * HOUR_BINS, (hour + 1) * HOUR_BINS)
                breached = bool(done.throttled[hour * HOUR_BINS - HISTORY :][:HOUR_BINS].any())
                force = limit_in_force(limits, state.static_until_ms, at_ms)
                offered = series.short[span].tolist()
                made = spend_hour(Milliseconds(at_ms), offered, [force] * 360, breached=breached)
                hours.append(made)
        return done

    def _hour(
        self, series: Series, hour: int, limits: Limits, state: BudgetState, done: Outcome
    ) -> BudgetState:
        """Step through one hour; looks that leave an open route as it is are not taken."""
        first, last = hour * HOUR_BINS, (hour + 1) * HOUR_BINS
        at = first
        while at < last:
            if state.phase == "OPEN" and not state.over_ms:
                limit = limit_in_force(limits, state.static_until_ms, (at + 1) * BIN_MS)
                over = (series.short[at:last] > limit) | (series.long[at:last] > 10 * limit)
                ahead = int(over.argmax()) if over.any() else last - at
                at += ahead
                if at >= last:
                    break
            before = state
            state = _look(series, at, at, limits, state)
            if (before.phase == "OPEN") != (state.phase == "OPEN"):
                done.toggles += 1
            if before.phase != "OPEN":
                limit = limit_in_force(limits, before.static_until_ms, at * BIN_MS)
                room = limit * before.admit_ppm / 6e6
                done.throttled[at - HISTORY] = True
                done.admitted[at - HISTORY] = min(room, float(series.bins[at]))
            elif state.phase != "OPEN":
                done.throttled[at - HISTORY] = True
            at += 1
        return state

    def seconds_to_throttle(self, series: Series, at: int, extra: int, length: int) -> int | None:
        hour = (at - HISTORY) // HOUR_BINS
        state = self.states[hour]
        for bin_ in range(hour * HOUR_BINS + HISTORY, at):
            state = _look(series, bin_, bin_, self.limits[hour], state)
        part = series.injected(at, extra, length)
        for offset in range(length):
            index = min((at + offset - HISTORY) // HOUR_BINS, len(self.limits) - 1)
            state = _look(part, 60 + offset, at + offset, self.limits[index], state)
            if state.phase != "OPEN":
                return (offset + 1) * 10
        return None


class DailyBudget:
    """A hard budget for each day: 1.3 times the dearest day of the history."""

    def run(self, series: Series) -> Outcome:
        days = series.bins.reshape(-1, BINS_PER_DAY)
        self.budget = 1.3 * days[:7].sum(axis=1).max()
        blocked = (np.cumsum(days[7:], axis=1) > self.budget).ravel()
        admitted = np.where(blocked, 0.0, series.bins[HISTORY:])
        toggles = int(np.abs(np.diff(blocked.astype(int))).sum())
        return Outcome(blocked, admitted, toggles)

    def seconds_to_throttle(self, series: Series, at: int, extra: int, length: int) -> int | None:
        midnight = at // BINS_PER_DAY * BINS_PER_DAY
        spent = series.bins[midnight:at].sum()
        over = spent + np.cumsum(series.bins[at : at + length] + extra) > self.budget
        return (int(over.argmax()) + 1) * 10 if over.any() else None


class Ewma:
    """W60 above the moving mean and 4 moving standard deviations, half-life 10 minutes."""

    weight = 1 - 0.5 ** (1 / 60)

    def run(self, series: Series) -> Outcome:
        self.means, self.squares = _averages(series.short.astype(float), self.weight)
        over = series.short[HISTORY:] > self._edge(HISTORY - 1, len(series.bins) - 1)
        admitted = np.where(over, self._edge(HISTORY - 1, len(series.bins) - 1) / 6, np.inf)
        toggles = int(np.abs(np.diff(over.astype(int))).sum())
        return Outcome(over, np.minimum(admitted, series.bins[HISTORY:]), toggles)

    def _edge(self, first: int, last: int) -> NDArray[np.float64]:
        mean, square = self.means[first:last], self.squares[first:last]
        return np.asarray(mean + 4 * np.sqrt(np.maximum(square - mean**2, 0.0)))

    def seconds_to_throttle(self, series: Series, at: int, extra: int, length: int) -> int | None:
        part = series.injected(at, extra, length).short[60:].astype(float)
        mean, square = float(self.means[at - 1]), float(self.squares[at - 1])
        for offset, value in enumerate(part):
            if value > mean + 4 * max(square - mean**2, 0.0) ** 0.5:
                return (offset + 1) * 10
            mean += self.weight * (value - mean)
            square += self.weight * (value**2 - square)
        return None


def _averages(
    values: NDArray[np.float64], weight: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return moving means of the values and of their squares."""
    means, squares = np.empty_like(values), np.empty_like(values)
    mean, square = float(values[:6].mean()), float((values[:6] ** 2).mean())
    for index, value in enumerate(values.tolist()):
        mean += weight * (value - mean)
        square += weight * (value * value - square)
        means[index], squares[index] = mean, square
    return means, squares


def _look(series: Series, index: int, at: int, limits: Limits, state: BudgetState) -> BudgetState:
    seen = Sums(Milliseconds((at + 1) * BIN_MS), int(series.short[index]), int(series.long[index]))
    return step(state, seen, limits, SETTINGS).state


def _first_week(series: Series, cap: int) -> list[SpendHour]:
    """Return the history, in which only the static cap held."""
    return [
        spend_hour(
            Milliseconds(start * BIN_MS),
            series.short[start : start + HOUR_BINS].tolist(),
            [cap] * HOUR_BINS,
            breached=False,
        )
        for start in range(0, HISTORY, HOUR_BINS)
    ]
