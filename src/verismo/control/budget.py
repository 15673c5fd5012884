"""The shell of budgets: which routes are looked at, what they are shown, what gateways are told.

A route is a tenant and an operation of the configuration. Every 10 s those that offered to spend
anything in the last ten minutes are looked at, and those that are throttled; a bin in which a route
offered nothing is shown as 0, one that a worker did not write is missing. Every hour the limit of
each route with history is learned anew. People set limits by acts.
"""

import logging
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from verismo.adapt import budgetact
from verismo.adapt.budget import (
    BIN_MS,
    LONG_BINS,
    MINUTE_MS,
    BudgetObservation,
    BudgetSettings,
    BudgetState,
    Limits,
    SpendBin,
    bucket_rate_usd_micros,
    limit_in_force,
)
from verismo.adapt.budgetact import HandObservation, HandSettings, HandState
from verismo.adapt.budgetclock import BudgetClock
from verismo.adapt.budgetlimit import (
    HOUR_MS,
    MILLION,
    LimitObservation,
    LimitSettings,
    LimitState,
    SpendHour,
)
from verismo.control.budgethours import (
    LEAD_MS,
    Route,
    hour_of,
    hours_due,
    is_silent,
    last_week,
    was_breached,
)
from verismo.control.budgetrecords import BudgetRecords, Recorded
from verismo.control.looks import Look, Steered
from verismo.control.rules import BUDGET, BUDGET_ACT, BUDGET_CLOCK, BUDGET_LIMIT
from verismo.control.windowreads import RouteSpends, SpentBin
from verismo.model.act import Act
from verismo.model.decision import Decision, Subject
from verismo.model.errors import DecisionStale, MalformedRequest, NotFound
from verismo.model.ids import OperationId, TenantId
from verismo.model.plan import Plan
from verismo.model.steering import Throttle
from verismo.model.units import Milliseconds, UsdMicros

LONG_MS: Final = LONG_BINS * BIN_MS
GRACE_MS: Final = 60_000
"""An hour is learned from without the bins that are missing so long after its end."""

_ADVICE: Final = {
    "verb_of_another_controller": "budgets take freeze, raise, static and resume",
    "act_of_another_route": "the act names another route",
    "reason_missing": "give a reason of 10 to 1,000 characters",
    "role_too_low": "acts on budgets need the role operator",
    "values_unknown": "freeze and raise take `limit_usd_micros`, the others nothing",
    "limit_missing": "say in `limit_usd_micros` to what it is raised",
    "limit_out_of_range": "`limit_usd_micros` has to be above 0",
    "act_of_the_future": "`at_ms` has not come yet",
    "expiry_missing": "say in `expires_ms` until when it holds",
    "expired": "`expires_ms` is over already",
    "expiry_too_far": "let it end within a week",
}

_ShortLook = (
    Look[BudgetState, BudgetObservation, BudgetSettings]
    | Look[BudgetState, BudgetClock, BudgetSettings]
)

log = logging.getLogger("verismo.adapt")


class SpendReads(Protocol):
    """What all workers of a data folder counted of spend."""

    def complete_until(self, now_ms: int) -> int:
        """Return the end of the last interval that nobody is waited for, Unix ms."""
        ...

    def spends(self, from_ms: int, until_ms: int) -> Sequence[SpentBin]:
        """Return the bins from one time to another, multiples of 10 s.

        Raises:
            StateError: they cannot be read.
        """
        ...


class BudgetTerms(msgspec.Struct, frozen=True):
    """What budgets go by.

    Args:
        plan: of the configuration.
        cap_share_ppm: cap of a route without one of its own, a share of its tenant's day.
        caps: USD micros a minute, by tenant and operation.
        budget: how routes are throttled.
        limit: how limits are learned.
        hand: what people may ask for.
    """

    plan: Plan
    cap_share_ppm: int
    caps: dict[TenantId, dict[OperationId, UsdMicros]]
    budget: BudgetSettings = BudgetSettings()
    limit: LimitSettings = LimitSettings()
    hand: HandSettings = HandSettings()

    def cap(self, route: Route) -> int:
        """Return the static cap of a route, USD micros a minute; 0 where there is none."""
        tenant, operation = route
        plan = self.plan
        if tenant not in plan.tenants or operation not in plan.operations:
            return 0
        own = self.caps.get(tenant, {}).get(operation)
        day = plan.tenants[tenant].budget_usd_micros_per_day
        return own or day * self.cap_share_ppm // MILLION


class BudgetShell:
    """Shows routes their spend; see `control.looks.Shell`.

    Args:
        records: decisions as they are recorded.
        reads: what gateways counted.
        terms: what budgets go by.
    """

    def __init__(self, records: BudgetRecords, reads: SpendReads, terms: BudgetTerms) -> None:
        self._records = records
        self._reads = reads
        self._terms = terms
        # Only so that what is recorded is not read again in each round.
        self._seen_ms = 0
        self._hour_ms = 0

    def looks(self, now_ms: int) -> Sequence[Look]:  # type: ignore[type-arg]  # of two rules
        """Return a look at each route for the bin that ended, and at limits for the hour."""
        until_ms = self._reads.complete_until(now_ms) // BIN_MS * BIN_MS
        found: list[Look] = []  # type: ignore[type-arg]
        if until_ms < self._seen_ms:
            # The clock was set back; the records tell what is decided already.
            self._seen_ms = 0
        if until_ms > self._seen_ms:
            found += self._short_looks(until_ms, now_ms)
            # Only once nothing is due any more: what could not be recorded is looked at again.
            self._seen_ms = self._seen_ms if found else until_ms
        ended_ms = now_ms // HOUR_MS * HOUR_MS
        if ended_ms > self._hour_ms and (until_ms >= ended_ms or now_ms >= ended_ms + GRACE_MS):
            hourly = self._hourly_looks(ended_ms, now_ms)
            self._hour_ms = self._hour_ms if hourly else ended_ms
            found += hourly
        return found

    def take(self, act: Act, now_ms: int) -> Look[HandState, HandObservation, HandSettings]:
        """Return the decision that a person's act on a route comes to."""
        subject = act.subject
        route = (TenantId(subject.tenant), OperationId(subject.operation))
        if subject != _subject(route) or not self._terms.cap(route):
            raise NotFound("there is no such route with a budget; `verismo budget show` lists them")
        recorded = self._records.of(subject)
        if act.of and not self._is_seen(act, recorded):
            raise DecisionStale("another decision about the route was made meanwhile")
        throttling = _throttling(recorded)
        observation = HandObservation(
            subject=subject,
            act=act,
            limits=self._limits(route, recorded),
            static_until_ms=throttling.static_until_ms,
        )
        before = HandState() if recorded.hand is None else recorded.hand.state
        why = budgetact.refusal(before, observation, self._terms.hand, now_ms)
        if why:
            raise MalformedRequest(f"the act cannot be done: {_ADVICE.get(why, why)}")
        return Look(BUDGET_ACT, subject, before, observation, self._terms.hand)

    def steered(self, now_ms: int) -> Steered:
        """Return the throttles of the routes that are throttled, by tenant and operation."""
        throttles = []
        for subject in self._records.subjects(BUDGET.name):
            route = (TenantId(subject.tenant), OperationId(subject.operation))
            recorded = self._records.of(subject)
            if recorded.throttling is None or not self._terms.cap(route):
                continue
            state, limits = recorded.throttling.state, self._limits(route, recorded)
            rate = bucket_rate_usd_micros(state, limits, now_ms)
            if rate is not None:
                until_ms = Milliseconds(self._looser_ms(state))
                throttles.append(Throttle(*route, UsdMicros(max(1, rate)), until_ms))
        return Steered(throttles=tuple(sorted(throttles, key=_route_of)))

    def told(self, decision: Decision[msgspec.Struct]) -> None:
        """Log what changed for a route, and that its clock was set back."""
        is_news = decision.verdict in _CHANGES or decision.reasons[:1] == ("clock_stepped",)
        if decision.controller == "budget" and is_news:
            fields = {
                "tenant": decision.subject.tenant,
                "operation": decision.subject.operation,
                "verdict": decision.verdict,
                "reasons": ", ".join(decision.reasons),
                "next": "verismo budget show",
            }
            log.warning("a route's budget changed", extra={"fields": fields})

    def _short_looks(self, until_ms: int, now_ms: int) -> list[_ShortLook]:
        bins = self._bins(until_ms - LONG_MS, until_ms)
        routes = {route for one in bins.values() for route, offered in one.items() if offered}
        for subject in self._records.subjects(BUDGET.name):
            decision = self._records.of(subject).throttling
            if decision is not None and decision.state.phase != "OPEN":
                routes.add((TenantId(subject.tenant), OperationId(subject.operation)))
        found: list[_ShortLook] = []
        for route in sorted(routes):
            subject = _subject(route)
            recorded = self._records.of(subject)
            if not self._terms.cap(route):
                continue
            before = _throttling(recorded)
            if _is_decided(recorded.throttling, now_ms + BIN_MS):
                clock = BudgetClock(subject)
                found.append(Look(BUDGET_CLOCK, subject, before, clock, self._terms.budget))
            if _is_decided(recorded.throttling, until_ms):
                continue
            shown = tuple(
                SpendBin(Milliseconds(start), UsdMicros(one.get(route, 0)))
                for start, one in sorted(bins.items())
            )
            observation = BudgetObservation(subject, shown, self._limits(route, recorded))
            found.append(Look(BUDGET, subject, before, observation, self._terms.budget))
        return found

    def _hourly_looks(
        self, ended_ms: int, now_ms: int
    ) -> list[Look[LimitState, LimitObservation, LimitSettings]]:
        bins = self._bins(ended_ms - HOUR_MS - LEAD_MS, ended_ms)
        routes = {route for one in bins.values() for route, offered in one.items() if offered}
        for subject in self._records.subjects(BUDGET_LIMIT.name):
            routes.add((TenantId(subject.tenant), OperationId(subject.operation)))
        due: list[_Due] = []
        for route in sorted(routes):
            recorded = self._records.of(_subject(route))
            if self._terms.cap(route) and not _is_decided(recorded.limit, ended_ms):
                hours = self._history(recorded)
                due.append(_Due(route, recorded, hours, hours_due(hours, ended_ms)))
        first_ms = min((one.missing.start for one in due), default=ended_ms)
        if first_ms < ended_ms - HOUR_MS:
            bins = self._bins(first_ms - LEAD_MS, ended_ms)
        found = []
        for one in due:
            week = last_week((*one.hours, *self._hours(one, bins)), ended_ms)
            if not week or is_silent(week):
                continue
            state = _throttling(one.recorded)
            subject = _subject(one.route)
            observation = LimitObservation(subject, week, damped=state.static_until_ms > now_ms)
            before = LimitState() if one.recorded.limit is None else one.recorded.limit.state
            found.append(Look(BUDGET_LIMIT, subject, before, observation, self._terms.limit))
        return found

    def _history(self, recorded: Recorded) -> tuple[SpendHour, ...]:
        """Return the hours that a route's limit was last learned from, in order."""
        known = None if recorded.limit is None else self._records.limit_observation(recorded.limit)
        return () if known is None else tuple(sorted(known.hours, key=lambda one: one.start_ms))

    def _hours(self, due: "_Due", bins: dict[int, RouteSpends]) -> list[SpendHour]:
        """Return the hours that a route's history misses, without those too little is known of."""
        state, limits = _throttling(due.recorded), self._limits(due.route, due.recorded)
        set_ms = 0 if due.recorded.hand is None else due.recorded.hand.state.set_ms
        learned = msgspec.structs.replace(limits, hand=None)

        def limit_at(at_ms: int) -> int:
            held = limits if at_ms >= set_ms else learned
            return limit_in_force(held, state.static_until_ms, at_ms)

        made = (
            hour_of(at_ms, due.route, bins, limit_at, breached=was_breached(state, at_ms))
            for at_ms in due.missing
        )
        return [one for one in made if one is not None]

    def _bins(self, from_ms: int, until_ms: int) -> dict[int, RouteSpends]:
        """Return what routes offered by the start of each bin of which no part is missing."""
        read = self._reads.spends(from_ms, until_ms)
        return {int(one.start_ms): one.offered for one in read if one.offered is not None}

    def _limits(self, route: Route, recorded: Recorded) -> Limits:
        return Limits(
            static_usd_micros=UsdMicros(self._terms.cap(route)),
            tuned_usd_micros=None
            if recorded.limit is None
            else recorded.limit.state.limit_usd_micros,
            hand=None if recorded.hand is None else recorded.hand.state.hand,
        )

    def _looser_ms(self, state: BudgetState) -> int:
        """Guess when the next step of the recovery may come."""
        if state.phase == "RECOVERING":
            return (state.clean_ms or state.breach_ms) + MINUTE_MS
        settings = self._terms.budget
        doublings = min(max(len(state.breaches) - 1, 0), 20)
        return state.breach_ms + min(settings.cooldown_ms << doublings, settings.cooldown_ms_max)

    def _is_seen(self, act: Act, recorded: Recorded) -> bool:
        """Say whether the decision that an act names is the newest of its rule, or still holds.

        The route is judged anew every ten seconds: whoever read a decision has seen enough as long
        as the route is in the same phase.
        """
        if act.of in recorded.digests:
            return True
        read = self._records.throttling_decision(act.of)
        return (
            read is not None
            and recorded.throttling is not None
            and read.subject == act.subject
            and read.state.phase == recorded.throttling.state.phase
        )


_CHANGES: Final = frozenset({"THROTTLE", "RELEASE", "REVERT_STATIC"})


class _Due(msgspec.Struct, frozen=True):
    """A route whose limit is due.

    Args:
        route: whose.
        recorded: how its rules stand.
        hours: what its limit was last learned from, in order.
        missing: starts of the hours that ended since.
    """

    route: Route
    recorded: Recorded
    hours: tuple[SpendHour, ...]
    missing: range


def _throttling(recorded: Recorded) -> BudgetState:
    return BudgetState() if recorded.throttling is None else recorded.throttling.state


def _route_of(throttle: Throttle) -> Route:
    return throttle.tenant, throttle.operation


def _subject(route: Route) -> Subject:
    return Subject(tenant=route[0], operation=route[1])


def _is_decided(
    decision: Decision[BudgetState] | Decision[LimitState] | None, since_ms: int
) -> bool:
    return decision is not None and decision.at_ms >= since_ms
