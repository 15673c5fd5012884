"""What people tell the budgets: freeze a limit, raise it, go back to the static cap, resume.

Pure, like the rule that it overrides (`budget`): an act becomes a decision, so that what a person
did is recorded, signed and computed again as all else. An act that may not be done changes nothing
and says why. What is set ends by itself; the static cap of the configuration holds all the same.
"""

from typing import Final

import msgspec

from verismo.adapt.budget import Hand, Limits, limit_in_force, limits_fault
from verismo.adapt.budgetlimit import inputs_digest, is_count
from verismo.model.act import REASON_CHARS_MAX, REASON_CHARS_MIN, Act
from verismo.model.decision import (
    Action,
    Decision,
    Metric,
    SettingsRefused,
    Subject,
    Verdict,
    digest_of,
)
from verismo.model.units import Milliseconds, UsdMicros

VERSION: Final = 1
VERBS: Final = frozenset({"freeze", "raise", "static", "resume"})
LIMIT: Final = "limit_usd_micros"
"""The one value that an act on a budget takes."""
ROLES: Final = frozenset({"operator", "admin"})


class HandSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What acts may ask for.

    Args:
        expiry_ms_max: how long what was set may last: whoever wants it longer says so again.
    """

    expiry_ms_max: Milliseconds = Milliseconds(7 * 86_400_000)


class HandState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is set by hand.

    Args:
        hand: what a person set; None for nothing. It may be over.
        set_ms: when, Unix ms.
    """

    hand: Hand | None = None
    set_ms: Milliseconds = Milliseconds(0)


class HandObservation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person told, and the limits as they stood.

    Args:
        subject: tenant and operation.
        act: what is wanted.
        limits: what the limit in force is made of, what was set by hand before included.
        static_until_ms: until when thrash leaves only the static cap.
    """

    subject: Subject
    act: Act
    limits: Limits
    static_until_ms: Milliseconds = Milliseconds(0)


class Step(msgspec.Struct, frozen=True):
    """What an act comes to: the next state, the answer and why."""

    state: HandState
    verdict: Verdict
    reasons: tuple[str, ...]


def decide(
    state: HandState,
    observation: HandObservation,
    settings: HandSettings,
    now_ms: Milliseconds,
) -> Decision[HandState]:
    """Do what a person says, or say why not.

    Args:
        state: of the newest act on the route, or `HandState()`.
        observation: the act, and the limits as they stood.
        settings: what may be asked for.
        now_ms: Unix ms.

    Returns:
        CONTINUE with what is set, or REVERT_STATIC; NOOP with the reason `refused` where the act
        may not be done: then the state stays.

    Raises:
        SettingsRefused: the settings make no sense.
    """
    if not is_count(settings.expiry_ms_max) or not settings.expiry_ms_max:
        raise SettingsRefused("expiry_ms_max is no time", "Write milliseconds, above 0.")
    why = refusal(state, observation, settings, now_ms)
    step = Step(state, "NOOP", ("refused", why)) if why else _done(observation, now_ms)
    limits = observation.limits
    before = after = None
    if not limits_fault(limits):
        until_ms = observation.static_until_ms
        before = limit_in_force(limits, until_ms, now_ms)
        told = limits if why else msgspec.structs.replace(limits, hand=step.state.hand)
        after = limit_in_force(told, until_ms, now_ms)
    return Decision(
        controller="budget",
        version=VERSION,
        subject=observation.subject,
        verdict=step.verdict,
        action=Action(LIMIT, before or 0, after or 0),
        reasons=step.reasons,
        inputs=inputs_digest(observation),
        settings=digest_of(settings),
        at_ms=now_ms,
        metrics=(Metric("limit", "NODATA" if after is None else "OK", {LIMIT: after}),),
        state=step.state,
    )


def refusal(
    state: HandState, observation: HandObservation, settings: HandSettings, now_ms: int
) -> str:
    """Say why an act may not be done, as a code; empty if it may."""
    act = observation.act
    if act.controller != "budget" or act.verb not in VERBS:
        return "verb_of_another_controller"
    if act.subject != observation.subject:
        return "act_of_another_route"
    if not REASON_CHARS_MIN <= len(act.reason.strip()) <= REASON_CHARS_MAX:
        return "reason_missing"
    if act.role not in ROLES:
        return "role_too_low"
    if limits_fault(observation.limits):
        return limits_fault(observation.limits)
    return _values_fault(act) or _time_fault(act, settings, now_ms)


def _values_fault(act: Act) -> str:
    allowed = {LIMIT} if act.verb in ("freeze", "raise") else set()
    if set(act.values) - allowed:
        return "values_unknown"
    limit = act.values.get(LIMIT)
    if limit is None:
        return "limit_missing" if act.verb == "raise" else ""
    return "" if is_count(limit) and limit > 0 else "limit_out_of_range"


def _time_fault(act: Act, settings: HandSettings, now_ms: int) -> str:
    # A clock that was set back since the last act keeps nobody from another one.
    if not 0 <= act.at_ms <= now_ms:
        return "act_of_the_future"
    if act.verb == "resume":
        return ""
    if act.expires_ms <= now_ms:
        return "expired" if act.expires_ms else "expiry_missing"
    return "expiry_too_far" if act.expires_ms > now_ms + settings.expiry_ms_max else ""


def _done(observation: HandObservation, now_ms: int) -> Step:
    act, limits = observation.act, observation.limits
    at = Milliseconds(now_ms)
    if act.verb == "resume":
        return Step(HandState(None, at), "CONTINUE", ("resumed_by_hand",))
    if act.verb == "static":
        hand = Hand("static", limits.static_usd_micros, act.expires_ms)
        return Step(HandState(hand, at), "REVERT_STATIC", ("static_by_hand",))
    limit = act.values.get(LIMIT, limit_in_force(limits, observation.static_until_ms, now_ms))
    is_freeze = act.verb == "freeze"
    hand = Hand("freeze" if is_freeze else "raise", UsdMicros(limit), act.expires_ms)
    cap = limits.static_usd_micros
    over = (f"static_cap_holds usd_micros={cap}",) if limit > cap else ()
    reason = "frozen_by_hand" if is_freeze else "raised_by_hand"
    return Step(HandState(hand, at), "CONTINUE", (reason, *over))
