"""What people tell the canary: start, stop, promote, hold, roll back, extend.

Pure, like the rule that it overrides (`canary`): state, act, settings and one clock reading give a
decision, so that what a person did is recorded, signed and computed again as all else. An act that
may not be done changes nothing and says why. A clock that was set back keeps nobody from acting: it
is done at the time of the newest decision, so that no time of the state goes back by it and no
window is seen twice; `canaryevent` takes the times back once the clock is believed. Nobody
overrides a broken invariant: such a rollback can be acknowledged with `stop`, and a new rollout
started once its cause is mended.

Who acted is checked where the act came in; that the act names a decision which its author has seen
is checked where decisions are kept (`control.canary`). Here it must name one.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from verismo.adapt.canary import metrics_of
from verismo.adapt.canarysettings import CanarySettings, check_settings
from verismo.adapt.canarystate import CanaryState, begin_epoch, start, step_to
from verismo.model import canonical
from verismo.model.act import REASON_CHARS_MAX, REASON_CHARS_MIN, Act
from verismo.model.decision import Action, Decision, Subject, Verdict, digest_of
from verismo.model.units import Milliseconds

VERSION: Final = 1
EXPIRY_MS_MAX: Final = Milliseconds(7 * 86_400_000)
"""Whoever wants a hold to last longer than a week says so again each week."""
OVERRIDES: Final = frozenset({"promote", "hold", "rollback", "extend"})
"""They overrule the controller, so they need the role `admin` and an expiry."""

_ALLOWED_AFTER: Final[Mapping[str, frozenset[str]]] = {
    "start": frozenset({"rolled_back", "stopped"}),
    "stop": frozenset({"", "promoted", "rolled_back"}),
    "promote": frozenset({"", "rolled_back"}),
    "hold": frozenset({""}),
    "rollback": frozenset({"", "promoted"}),
    "extend": frozenset({""}),
}
"""How a rollout may have ended, by verb; empty is one that runs."""


class Step(msgspec.Struct, frozen=True):
    """What an act comes to.

    Args:
        verdict: the answer.
        reasons: codes, the first one decided.
        state: from then on.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    state: CanaryState


class Asked(msgspec.Struct, frozen=True):
    """What an act that may be done is given; as for `decide`, but that no time goes back."""

    state: CanaryState
    act: Act
    settings: CanarySettings
    now_ms: Milliseconds


def decide(
    state: CanaryState, act: Act, settings: CanarySettings, now_ms: int
) -> Decision[CanaryState]:
    """Do what a person says, or say why not.

    Args:
        state: of the newest decision about the rollout; `canarystate.unbegun` before the first.
        act: what is wanted.
        settings: of the rollout; at `start` those that it is to have.
        now_ms: Unix ms.

    Returns:
        The decision; verdict NOOP with the reason `refused` where the act may not be done.

    Raises:
        SettingsRefused: the settings do not fit together; it says what to write.
    """
    check_settings(settings)
    why = refusal(state, act, now_ms)
    if why:
        step = Step("NOOP", ("refused", why), state)
    else:
        since = Milliseconds(max(state.decided_ms, now_ms))
        step = _STEPS[act.verb](Asked(state, act, settings, since))
        step = msgspec.structs.replace(
            step, state=msgspec.structs.replace(step.state, decided_ms=since)
        )
    after = step.state
    return Decision(
        controller="canary",
        version=VERSION,
        subject=subject_of(state),
        verdict=step.verdict,
        action=Action("weight_ppm", state.weight_ppm, after.weight_ppm),
        reasons=step.reasons,
        inputs=_digest(act),
        settings=digest_of(settings),
        at_ms=state.decided_ms if why else Milliseconds(now_ms),
        metrics=metrics_of(after, settings),
        state=after,
    )


def subject_of(state: CanaryState) -> Subject:
    """Return what a state is about."""
    return Subject(state.tenant, state.operation, state.baseline, state.candidate)


def refusal(state: CanaryState, act: Act, now_ms: int) -> str:
    """Say why an act may not be done; empty if it may.

    Args:
        state: of the newest decision about the rollout.
        act: what is wanted.
        now_ms: Unix ms.

    Returns:
        A code.
    """
    return _malformed(state, act) or _out_of_time(act, now_ms) or _out_of_place(state, act)


def _malformed(state: CanaryState, act: Act) -> str:
    if act.controller != "canary" or act.verb not in _ALLOWED_AFTER:
        return "verb_of_another_controller"
    if act.subject != subject_of(state):
        return "act_of_another_rollout"
    if not REASON_CHARS_MIN <= len(act.reason.strip()) <= REASON_CHARS_MAX:
        return "reason_missing"
    if act.values or (act.verb == "start" and act.of) or not _digest(act):
        return "values_unknown"
    if act.verb != "start" and not canonical.is_digest(act.of):
        return "decision_unnamed"
    if act.role not in ({"admin"} if act.verb in OVERRIDES else {"operator", "admin"}):
        return "role_too_low"
    return ""


def _out_of_time(act: Act, now_ms: int) -> str:
    if type(now_ms) is not int or not 0 <= now_ms <= canonical.MAX_INTEGER:
        return "clock_stepped"
    if not 0 <= act.at_ms <= now_ms:
        return "act_of_the_future"
    if act.verb not in OVERRIDES and not act.expires_ms:
        return ""
    if act.expires_ms <= now_ms:
        return "expired" if act.expires_ms else "expiry_missing"
    return "expiry_too_far" if act.expires_ms > now_ms + EXPIRY_MS_MAX else ""


def _out_of_place(state: CanaryState, act: Act) -> str:
    if state.ended == "rolled_back" and state.broken and act.verb != "stop":
        return "invariant_broken"
    if state.ended in _ALLOWED_AFTER[act.verb]:
        return ""
    return f"rollout_{state.ended or 'running'}"


def _started(asked: Asked) -> Step:
    begun = start(subject_of(asked.state), asked.settings, asked.now_ms)
    return Step("CONTINUE", ("started_by_hand",), begun)


def _stopped(asked: Asked) -> Step:
    return Step(
        "REVERT_STATIC",
        ("stopped_by_hand",),
        msgspec.structs.replace(
            asked.state,
            weight_ppm=0,
            weight_since_ms=asked.now_ms,
            ended="stopped",
            held_until_ms=Milliseconds(0),
            extended_until_ms=Milliseconds(0),
        ),
    )


def _promoted(asked: Asked) -> Step:
    """Climb one rung; from a rollback return to the rung that it had, with evidence begun anew."""
    free = msgspec.structs.replace(asked.state, held_until_ms=Milliseconds(0))
    if free.ended:
        again = begin_epoch(msgspec.structs.replace(free, ended="", is_silent=False))
        # The last epoch of all: the next HOLD rolls back again.
        last = min(again.holds, asked.settings.holds_max - 1)
        again = msgspec.structs.replace(
            again, holds=last, data_ms=asked.now_ms, seen_until_ms=asked.now_ms
        )
        return _climbed(again, max(again.rung, 0), asked)
    return _climbed(free, free.rung + 1, asked)


def _climbed(state: CanaryState, rung: int, asked: Asked) -> Step:
    climbed = step_to(state, rung, asked.settings, asked.now_ms)
    return Step("PROMOTE", ("promoted_by_hand",), climbed)


def _held(asked: Asked) -> Step:
    held = msgspec.structs.replace(asked.state, held_until_ms=asked.act.expires_ms)
    return Step("HOLD", ("held_by_hand",), held)


def _rolled_back(asked: Asked) -> Step:
    back = msgspec.structs.replace(
        asked.state, weight_ppm=0, weight_since_ms=asked.now_ms, ended="rolled_back"
    )
    return Step("ROLLBACK", ("rolled_back_by_hand",), back)


def _extended(asked: Asked) -> Step:
    longer = msgspec.structs.replace(asked.state, extended_until_ms=asked.act.expires_ms)
    return Step("CONTINUE", ("bake_extended",), longer)


_STEPS: Final[Mapping[str, Callable[[Asked], Step]]] = {
    "start": _started,
    "stop": _stopped,
    "promote": _promoted,
    "hold": _held,
    "rollback": _rolled_back,
    "extend": _extended,
}


def _digest(act: Act) -> str:
    """Return the digest of an act; empty for one that cannot be signed."""
    try:
        return digest_of(act)
    except canonical.NotCanonical:
        return ""
