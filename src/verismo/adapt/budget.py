"""Whether a tenant's route is throttled: breach, token bucket, recovery, thrash, and the hand.

The life of a route, looked at every 10 s from what was *offered* (admitted or not):

    OPEN       -> THROTTLED   W60 > L at two successive looks, or W600 > L600
    THROTTLED  -> RECOVERING  after the cooldown: 120 s * 2**(k-1), at most 1 h, k-th breach in 1 h
    RECOVERING -> OPEN        +10 % of L for each clean minute, from 80 % to 100 %
    RECOVERING -> THROTTLED   a breach again

L is `limit_in_force`: never above the static cap, whatever was learned or set by hand. A route that
goes on and off too often (thrash) falls back to its static cap for six hours. Which requests get a
429 is the request path's work; this says at what rate its token bucket is filled.

Nothing here learns; `budgetlimit` does.
"""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from verismo.adapt.budgetlimit import inputs_digest, is_count
from verismo.model import canonical
from verismo.model.decision import (
    Action,
    Decision,
    Metric,
    SettingsRefused,
    Subject,
    Verdict,
    digest_of,
)
from verismo.model.units import Milliseconds, Ppm, UsdMicros

VERSION: Final = 1
BIN_MS: Final = 10_000
SHORT_BINS: Final = 6
LONG_BINS: Final = 60
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
MILLION: Final = 1_000_000

Phase = Literal["OPEN", "THROTTLED", "RECOVERING"]


class SpendBin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Spend that was offered within 10 s; a bin without any is written too, with 0.

    Args:
        start_ms: Unix ms, a multiple of 10,000.
        offered_usd_micros: estimates of all requests that came, admitted or not.
    """

    start_ms: Milliseconds
    offered_usd_micros: UsdMicros


class Hand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person set; it ends by itself.

    Args:
        kind: `freeze` and `raise` set the limit, `static` goes back to the cap.
        limit_usd_micros: of `freeze` and `raise`; the static cap holds all the same.
        expires_ms: Unix ms.
    """

    kind: Literal["freeze", "raise", "static"]
    limit_usd_micros: UsdMicros
    expires_ms: Milliseconds


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the limit in force is made of.

    Args:
        static_usd_micros: the cap of W60 in the configuration, above 0.
        tuned_usd_micros: learned by `budgetlimit`; None while nothing is.
        hand: what a person set, or None.
    """

    static_usd_micros: UsdMicros
    tuned_usd_micros: UsdMicros | None = None
    hand: Hand | None = None


class BudgetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a route is throttled.

    Args:
        throttle_ppm: rate of the token bucket after a breach, as a share of L.
        recovery_ppm: what each clean minute adds.
        long_ppm: L600 as a share of ten times L.
        cooldown_ms: of the first breach within an hour; each further one doubles it.
        cooldown_ms_max: its end.
        toggles_max: how often a route may go on or off within an hour.
        static_ms: how long the static cap holds after thrash.
        ask_owner_ms: throttled this long without a clean minute, the reason becomes `ask_owner`:
            a runaway caller or a route that has grown, which only its owner can tell.
    """

    throttle_ppm: Ppm = Ppm(800_000)
    recovery_ppm: Ppm = Ppm(100_000)
    long_ppm: int = 1_000_000
    cooldown_ms: Milliseconds = Milliseconds(120_000)
    cooldown_ms_max: Milliseconds = Milliseconds(HOUR_MS)
    toggles_max: int = 6
    static_ms: Milliseconds = Milliseconds(6 * HOUR_MS)
    ask_owner_ms: Milliseconds = Milliseconds(HOUR_MS)


class BudgetState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the next look starts from.

    Args:
        phase: of the route.
        admit_ppm: rate of the token bucket as a share of L; 1,000,000 when open.
        judged_ms: end of the last bin that was judged.
        over_ms: end of the bin at which W60 was last above L; 0 if at none.
        breach_ms: when the phase of throttling began.
        clean_ms: since when W60 was not above L.
        breaches: Unix ms of the breaches within the last hour.
        toggles: Unix ms at which the route went on or off within the last hour.
        static_until_ms: until when only the static cap holds.
    """

    phase: Phase = "OPEN"
    admit_ppm: Ppm = Ppm(MILLION)
    judged_ms: Milliseconds = Milliseconds(0)
    over_ms: Milliseconds = Milliseconds(0)
    breach_ms: Milliseconds = Milliseconds(0)
    clean_ms: Milliseconds = Milliseconds(0)
    breaches: tuple[Milliseconds, ...] = ()
    toggles: tuple[Milliseconds, ...] = ()
    static_until_ms: Milliseconds = Milliseconds(0)


class BudgetObservation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one look at a route sees.

    Args:
        subject: tenant and operation.
        bins: the last 600 s in any order; a repeated bin counts once.
        limits: what the limit in force is made of.
    """

    subject: Subject
    bins: tuple[SpendBin, ...]
    limits: Limits


class Sums(msgspec.Struct, frozen=True):
    """W60 and W600 at the end of a bin.

    Args:
        at_ms: Unix ms, end of the newest bin.
        short_usd_micros: W60.
        long_usd_micros: W600; None where a bin of it is missing.
    """

    at_ms: Milliseconds
    short_usd_micros: int
    long_usd_micros: int | None


class Step(msgspec.Struct, frozen=True):
    """What one look at the sums gives: the next state, the answer and why."""

    state: BudgetState
    verdict: Verdict
    reasons: tuple[str, ...]


def decide(
    state: BudgetState,
    observation: BudgetObservation,
    settings: BudgetSettings,
    now_ms: Milliseconds,
) -> Decision[BudgetState]:
    """Judge whether a route is throttled for the next 10 s.

    Args:
        state: of the last decision, or `BudgetState()`.
        observation: bins and limits of the route.
        settings: checked by `check_budget_settings`.
        now_ms: Unix ms.

    Returns:
        THROTTLE, RELEASE or REVERT_STATIC where the route changes, NOOP where it does not, NODATA
        where it cannot be told: then the state stays, so that nobody is throttled or let go by a
        missing number.

    Raises:
        SettingsRefused: the settings make no sense.
    """
    check_budget_settings(settings)
    seen = sums_of(observation.bins, now_ms)
    fault = seen if isinstance(seen, str) else ""
    limits = observation.limits
    if limits_fault(limits):
        fault = limits_fault(limits)
    if not isinstance(seen, str) and not fault and seen.at_ms <= state.judged_ms:
        fault = "bin_already_judged"
    if isinstance(seen, str) or fault:
        return _answer(observation, settings, now_ms, Step(state, "NODATA", (fault,)), state)
    return _answer(observation, settings, now_ms, step(state, seen, limits, settings), state)


def check_budget_settings(settings: BudgetSettings) -> None:
    """Refuse settings that make no sense.

    Raises:
        SettingsRefused: names the setting and what to write instead.
    """
    numbers = [getattr(settings, name) for name in settings.__struct_fields__]
    if not all(is_count(one) and one > 0 for one in numbers):
        raise SettingsRefused("a setting is no whole number above 0", "Write integers from 1 up.")
    if settings.throttle_ppm >= MILLION or settings.recovery_ppm > MILLION:
        raise SettingsRefused("a share is 1 or more", "Write throttle_ppm below 1,000,000.")
    if settings.cooldown_ms > settings.cooldown_ms_max:
        raise SettingsRefused("cooldown_ms is above cooldown_ms_max", "Swap them.")
    if settings.toggles_max < 4:
        raise SettingsRefused("toggles_max is below 4", "Write 6: on and off, three times.")


def limits_fault(limits: Limits) -> str:
    """Say why limits cannot be used; empty if they can."""
    numbers = [limits.static_usd_micros]
    if limits.tuned_usd_micros is not None:
        numbers.append(limits.tuned_usd_micros)
    if limits.hand is not None and limits.hand.kind != "static":
        numbers.append(limits.hand.limit_usd_micros)
    if all(is_count(one) and one > 0 for one in numbers):
        return ""
    return "limit_out_of_range"


def limit_in_force(limits: Limits, static_until_ms: int, now_ms: int) -> int:
    """Return L: the least of the static cap and what a person or the learner set.

    Args:
        limits: what it is made of.
        static_until_ms: until when thrash leaves only the cap.
        now_ms: Unix ms.
    """
    cap = limits.static_usd_micros
    if limits.hand is not None and now_ms < limits.hand.expires_ms:
        return cap if limits.hand.kind == "static" else min(cap, limits.hand.limit_usd_micros)
    if limits.tuned_usd_micros is None or now_ms < static_until_ms:
        return cap
    return min(cap, limits.tuned_usd_micros)


def bucket_rate_usd_micros(state: BudgetState, limits: Limits, now_ms: int) -> int | None:
    """Return what the token bucket gets for each minute; None while the route is open."""
    if state.phase == "OPEN":
        return None
    limit = limit_in_force(limits, state.static_until_ms, now_ms)
    return limit * state.admit_ppm // MILLION


def sums_of(bins: Iterable[SpendBin], now_ms: int) -> Sums | str:
    """Add up the newest 60 s and 600 s, or say why that cannot be done."""
    offered: dict[int, int] = {}
    for one in bins:
        if not (is_count(one.start_ms) and is_count(one.offered_usd_micros)):
            return "number_out_of_range"
        if one.offered_usd_micros > canonical.MAX_INTEGER // LONG_BINS:
            return "number_out_of_range"
        if one.start_ms % BIN_MS or one.start_ms + BIN_MS > now_ms:
            return "bin_malformed_or_of_the_future"
        if offered.setdefault(one.start_ms, one.offered_usd_micros) != one.offered_usd_micros:
            return "bins_contradict"
    newest = now_ms // BIN_MS * BIN_MS - BIN_MS
    if newest not in offered:
        newest -= BIN_MS  # the writer may be one bin behind
    found = [offered.get(newest - n * BIN_MS) for n in range(LONG_BINS)]
    known = [one for one in found if one is not None]
    if None in found[:SHORT_BINS]:
        return "bins_missing"
    whole = sum(known) if len(known) == LONG_BINS else None
    return Sums(Milliseconds(newest + BIN_MS), sum(known[:SHORT_BINS]), whole)


def step(state: BudgetState, seen: Sums, limits: Limits, settings: BudgetSettings) -> Step:
    """Judge one pair of sums; the arithmetic of `decide`, without its checks and digests.

    Args:
        state: of the last look.
        seen: later than it.
        limits: without fault.
        settings: without fault.
    """
    at_ms = seen.at_ms
    limit = limit_in_force(limits, state.static_until_ms, at_ms)
    over = seen.short_usd_micros > limit
    twice = over and state.over_ms == at_ms - BIN_MS
    long_limit = 10 * limit * settings.long_ppm // MILLION
    lasting = seen.long_usd_micros is not None and seen.long_usd_micros > long_limit
    known = msgspec.structs.replace(
        state,
        judged_ms=at_ms,
        over_ms=at_ms if over else Milliseconds(0),
        clean_ms=Milliseconds(0) if over else state.clean_ms or at_ms,
        breaches=_within_hour(state.breaches, at_ms),
        toggles=_within_hour(state.toggles, at_ms),
    )
    if state.phase != "THROTTLED" and (twice or lasting):
        return _breached(known, settings, at_ms, "w60_over" if twice else "w600_over")
    if state.phase == "OPEN":
        return Step(known, "NOOP", ("within_limit",))
    return _eased(known, settings, at_ms)


def _breached(state: BudgetState, settings: BudgetSettings, at_ms: int, reason: str) -> Step:
    at = Milliseconds(at_ms)
    was_open = state.phase == "OPEN"
    toggles = (*state.toggles, at) if was_open else state.toggles
    thrash = len(toggles) >= settings.toggles_max - 1 and state.static_until_ms <= at_ms
    until = Milliseconds(at_ms + settings.static_ms) if thrash else state.static_until_ms
    found = msgspec.structs.replace(
        state,
        phase="THROTTLED",
        admit_ppm=settings.throttle_ppm,
        breach_ms=at,
        breaches=(*state.breaches, at),
        toggles=toggles,
        static_until_ms=until,
    )
    if thrash:
        return Step(found, "REVERT_STATIC", (f"thrash toggles={len(toggles)}", reason))
    return Step(found, "THROTTLE" if was_open else "CONTINUE", (reason,))


def _eased(state: BudgetState, settings: BudgetSettings, at_ms: int) -> Step:
    """Let go by one step, if the cooldown is over and the last minute was clean."""
    doublings = min(max(len(state.breaches) - 1, 0), 20)
    cooldown = min(settings.cooldown_ms << doublings, settings.cooldown_ms_max)
    if at_ms < state.breach_ms + cooldown:
        return Step(state, "NOOP", (f"cooldown ms={cooldown}",))
    if not state.clean_ms and at_ms >= state.breach_ms + settings.ask_owner_ms:
        return Step(state, "NOOP", ("ask_owner",))
    if not state.clean_ms or at_ms - state.clean_ms < MINUTE_MS:
        return Step(state, "NOOP", ("no_clean_minute",))
    admit = state.admit_ppm + settings.recovery_ppm
    if admit < MILLION:
        found = msgspec.structs.replace(
            state, phase="RECOVERING", admit_ppm=Ppm(admit), clean_ms=Milliseconds(at_ms)
        )
        return Step(found, "CONTINUE", (f"recovering admit_ppm={admit}",))
    if len(state.toggles) > settings.toggles_max - 2:
        # One is kept for the next breach, so that no hour ever has more than the greatest number.
        found = msgspec.structs.replace(state, phase="RECOVERING", admit_ppm=Ppm(MILLION))
        return Step(found, "NOOP", (f"toggles={len(state.toggles)}",))
    found = msgspec.structs.replace(
        state,
        phase="OPEN",
        admit_ppm=Ppm(MILLION),
        breach_ms=Milliseconds(0),
        toggles=(*state.toggles, Milliseconds(at_ms)),
    )
    return Step(found, "RELEASE", ("recovered",))


def _within_hour(times: tuple[Milliseconds, ...], at_ms: int) -> tuple[Milliseconds, ...]:
    return tuple(one for one in times if one > at_ms - HOUR_MS)


def _answer(
    observation: BudgetObservation,
    settings: BudgetSettings,
    now_ms: Milliseconds,
    found: Step,
    before: BudgetState,
) -> Decision[BudgetState]:
    seen = sums_of(observation.bins, now_ms)
    known = None if isinstance(seen, str) else seen
    limits = observation.limits
    limit = None
    if not limits_fault(limits):
        limit = limit_in_force(limits, found.state.static_until_ms, now_ms)
    values: dict[str, int | None] = {
        "w60_usd_micros": known.short_usd_micros if known else None,
        "w600_usd_micros": known.long_usd_micros if known else None,
        "limit_usd_micros": limit,
    }
    status: Literal["OK", "WORSE", "NODATA"] = "OK" if found.state.phase == "OPEN" else "WORSE"
    return Decision(
        controller="budget",
        version=VERSION,
        subject=observation.subject,
        verdict=found.verdict,
        action=Action("admit_ppm", before.admit_ppm, found.state.admit_ppm),
        reasons=found.reasons,
        inputs=inputs_digest(observation),
        settings=digest_of(settings),
        at_ms=now_ms,
        metrics=(Metric("spend", "NODATA" if found.verdict == "NODATA" else status, values),),
        state=found.state,
    )
