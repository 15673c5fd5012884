"""Scaling: how many replicas a target is to have, at most one change in each gap.

The load is what is in flight and what queues. The larger of its last half minute and of its trend,
continued until a replica that is asked for now serves, plus a learned headroom, gives the replicas
that are wanted. A step is taken only when a whole gap of the controller's own clock has passed
since the last one, its own or somebody else's; a start, a clock that jumps and a platform that was
changed elsewhere begin the gap anew. Without telemetry nothing changes, and what counts against a
step down is collected anew.

All arithmetic is on integers. It reads no clock and changes nothing by itself.

Source: ADR-030; docs/adapt-scaling.md.
"""

from typing import Final

import msgspec

from verismo.adapt.demand import (
    Memory,
    ScalingObservation,
    Wish,
    fault_of,
    remember,
    wish,
    with_wish,
)
from verismo.adapt.scalingsettings import ScalingSettings
from verismo.model.canonical import NotCanonical
from verismo.model.decision import Action, Decision, Metric, Subject, Verdict, digest_of
from verismo.model.units import Milliseconds

VERSION: Final = 1
_MILLION: Final = 1_000_000


class ScalingState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the next decision starts from.

    Args:
        wait_ms: what is left of the gap before the next action, by time that was seen to pass.
        seen_ms: Unix ms of the last decision; None before the first.
        replicas: what the platform was last known or asked to run; None before it is known.
        replaced: what it ran before an action that it may not show yet; None if it shows it.
        headroom_ppm: what is asked for above the forecast.
        headroom_at_ms: when the headroom was last learned.
        memory: the load that was seen.
    """

    wait_ms: int
    headroom_ppm: int
    seen_ms: Milliseconds | None = None
    replicas: int | None = None
    replaced: int | None = None
    headroom_at_ms: Milliseconds | None = None
    memory: Memory = Memory()


ScalingDecision = Decision[ScalingState]


def start(settings: ScalingSettings) -> ScalingState:
    """Return the state of a controller that knows nothing.

    It waits a whole gap first: whoever ran before may have acted a moment ago.

    Args:
        settings: of the target.

    Raises:
        SettingsRefused: mend the setting that it names.
    """
    settings.check()
    return ScalingState(wait_ms=settings.spacing_ms, headroom_ppm=settings.headroom.start_ppm)


def decide(
    state: ScalingState,
    observation: ScalingObservation | None,
    settings: ScalingSettings,
    now_ms: Milliseconds,
) -> ScalingDecision:
    """Say how many replicas the target is to have.

    Args:
        state: of the last decision, or of `start`.
        observation: the newest sample of the target; None where there is none.
        settings: of the target.
        now_ms: Unix ms; the one clock reading of this tick.

    Returns:
        SCALE_UP or SCALE_DOWN with the replicas to ask for; NOOP; or NODATA, which changes nothing.

    Raises:
        SettingsRefused: mend the setting that it names.

    Source: ADR-030.
    """
    settings.check()
    ticked = _tick(state, settings, now_ms)
    fault = fault_of(observation, ticked.memory, settings, now_ms)
    if fault or observation is None:
        return _answer(ticked, observation, settings, _nodata(ticked, fault))
    informed, is_foreign = _compare(ticked, observation.replicas or 0, settings)
    memory = remember(informed.memory, observation, settings)
    learned = _learn(msgspec.structs.replace(informed, memory=memory), settings)
    wished = wish(memory, learned.headroom_ppm, settings)
    ready = msgspec.structs.replace(learned, memory=with_wish(memory, wished.replicas))
    outcome = _choose(ready, wished, settings)
    if is_foreign:
        outcome = msgspec.structs.replace(
            outcome, reasons=(*outcome.reasons, "replicas_changed_elsewhere")
        )
    return _answer(_acted(ready, outcome, settings), observation, settings, outcome)


class _Outcome(msgspec.Struct, frozen=True):
    verdict: Verdict
    before: int
    after: int
    reasons: tuple[str, ...]
    metrics: tuple[Metric, ...] = ()


def _tick(state: ScalingState, settings: ScalingSettings, now_ms: int) -> ScalingState:
    """Let pass what may count as time; a clock that jumped has said nothing about it."""
    seen_ms = state.seen_ms
    passed_ms = 0 if seen_ms is None else now_ms - seen_ms
    memory = state.memory
    if passed_ms < 0:
        # Samples to come are older than those that were seen: begin anew, or wait for hours.
        memory = Memory()
    if not 0 <= passed_ms <= settings.tick_ms_max:
        passed_ms = 0
    return msgspec.structs.replace(
        state,
        wait_ms=max(0, state.wait_ms - passed_ms),
        seen_ms=now_ms,
        memory=memory,
        headroom_at_ms=None if memory is not state.memory else state.headroom_at_ms,
    )


def _nodata(state: ScalingState, fault: str) -> _Outcome:
    replicas = state.replicas or 0
    return _Outcome("NODATA", replicas, replicas, (fault, "replicas_stay"))


def _compare(
    state: ScalingState, replicas: int, settings: ScalingSettings
) -> tuple[ScalingState, bool]:
    """Compare the platform with what was asked of it; a change elsewhere is an action too."""
    if replicas == state.replicas:
        return msgspec.structs.replace(state, replaced=None), False
    if state.replicas is None:
        return msgspec.structs.replace(state, replicas=replicas), False
    if replicas == state.replaced and state.wait_ms > settings.gap_ms:
        return state, False
    return msgspec.structs.replace(
        state, replicas=replicas, replaced=None, wait_ms=settings.spacing_ms
    ), True


def _learn(state: ScalingState, settings: ScalingSettings) -> ScalingState:
    """Raise the headroom fast after a bad minute, lower it slowly without one."""
    at_ms, head = state.memory.until_ms, settings.headroom
    if state.headroom_at_ms is None:
        return msgspec.structs.replace(state, headroom_at_ms=at_ms)
    if at_ms - state.headroom_at_ms < head.every_ms:
        return state
    late_ms = state.memory.late_ms
    is_bad = late_ms is not None and at_ms - late_ms < head.memory_ms
    moved = state.headroom_ppm + (head.raise_ppm if is_bad else -head.lower_ppm)
    kept = min(max(moved, head.min_ppm), head.max_ppm)
    return msgspec.structs.replace(state, headroom_ppm=kept, headroom_at_ms=at_ms)


def _choose(state: ScalingState, wished: Wish, settings: ScalingSettings) -> _Outcome:
    before = state.replicas or 0
    after, reasons = _goal(state, wished, settings)
    if state.wait_ms > 0 and after != before:
        after, reasons = before, (f"gap_open_ms={state.wait_ms}", *reasons)
    verdict: Verdict = "NOOP"
    if after != before:
        verdict = "SCALE_UP" if after > before else "SCALE_DOWN"
    return _Outcome(verdict, before, after, reasons, _metrics(state, wished))


def _goal(
    state: ScalingState, wished: Wish, settings: ScalingSettings
) -> tuple[int, tuple[str, ...]]:
    """Return the replicas to go to if the gap has passed, and why."""
    before, steps, wish_now = state.replicas or 0, settings.steps, wished.replicas
    bounded = min(max(before, settings.replicas_min), settings.replicas_max)
    if bounded != before:
        return bounded, ("replicas_out_of_bounds",)
    is_queued = wished.queued_milli * 1_000 > steps.queue_ppm * before * settings.slots
    if wish_now * _MILLION > (_MILLION + steps.up_band_ppm) * before:
        reason = f"wish_above_band={wish_now}"
    elif wish_now > before and is_queued:
        reason = f"queue_and_wish={wish_now}"
    else:
        return _goal_below(state, settings)
    raised = -(-wish_now * (_MILLION + steps.up_margin_ppm) // _MILLION)
    return min(raised, settings.replicas_max), (reason,)


def _goal_below(state: ScalingState, settings: ScalingSettings) -> tuple[int, tuple[str, ...]]:
    """Return what a step down goes to, if everything speaks for one."""
    before, memory, steps = state.replicas or 0, state.memory, settings.steps
    peak = max(minute.wish for minute in memory.minutes)
    if peak * _MILLION >= (_MILLION - steps.down_band_ppm) * before:
        return before, ("within_bands",)
    if memory.since_ms is None or memory.until_ms - memory.since_ms < steps.calm_ms:
        return before, ("calm_not_seen_for_long_enough",)
    if memory.late_ms is not None and memory.until_ms - memory.late_ms < steps.clean_ms:
        return before, ("bad_minute_not_long_ago",)
    floor = before - before * steps.down_max_ppm // _MILLION
    return max(peak, floor), (f"wish_below_band={peak}",)


def _acted(state: ScalingState, outcome: _Outcome, settings: ScalingSettings) -> ScalingState:
    if outcome.after == outcome.before:
        return state
    return msgspec.structs.replace(
        state, replicas=outcome.after, replaced=outcome.before, wait_ms=settings.spacing_ms
    )


def _metrics(state: ScalingState, wished: Wish) -> tuple[Metric, ...]:
    load: dict[str, int | None] = {
        "load_milli": wished.load_milli,
        "forecast_milli": wished.forecast_milli,
        "queued_milli": wished.queued_milli,
        "replicas_wished": wished.replicas,
        "headroom_ppm": state.headroom_ppm,
    }
    last = state.memory.minutes[-1]
    is_bad = state.memory.late_ms == state.memory.until_ms
    waits: dict[str, int | None] = {"requests": last.requests, "late": last.late}
    return (Metric("load", "OK", load), Metric("waits", "WORSE" if is_bad else "OK", waits))


def _answer(
    state: ScalingState,
    observation: ScalingObservation | None,
    settings: ScalingSettings,
    outcome: _Outcome,
) -> ScalingDecision:
    reasons = outcome.reasons
    try:
        inputs = digest_of(observation)
    except NotCanonical:
        # It holds something that no record can: the fault says so, and there is nothing to digest.
        inputs = ""
    return ScalingDecision(
        controller="scaling",
        version=VERSION,
        subject=Subject(target=settings.target),
        verdict=outcome.verdict,
        action=Action("replicas", outcome.before, outcome.after),
        reasons=reasons,
        inputs=inputs,
        settings=digest_of(settings),
        at_ms=Milliseconds(state.seen_ms or 0),
        metrics=outcome.metrics,
        state=state,
    )
