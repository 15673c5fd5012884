"""The canary: from pairs of windows to PROMOTE, HOLD, CONTINUE, ROLLBACK or NODATA.

Pure: state, observation, settings and one clock reading give the decision, bit for bit. It decides
from evidence that may be looked at without end (`sequential`) and from a score (`canaryscore`):

* ROLLBACK on a broken invariant, on evidence of severe harm, and on the third HOLD.
* HOLD on evidence of being worse than tolerated together with a bad score, or on the p99 guard.
  Traffic goes back one rung, the bake doubles, and evidence starts anew with a smaller alpha.
* PROMOTE by one rung on evidence that no metric with a weight reaches its harm margin, over the
  epoch and over the rung alone, together with a good score.
* NODATA where nothing can be told; after longer silence HOLD. Never a default number.
"""

import math
from typing import Final

import msgspec

from verismo.adapt.canaryevidence import (
    Look,
    add_better,
    add_severe,
    add_worse,
    better_logs,
    composite_log_ppm,
    least_log_ppm,
    worse_logs,
)
from verismo.adapt.canaryobservation import (
    CanaryObservation,
    observation_fault,
    unknown_cost,
)
from verismo.adapt.canaryscore import Effect, Points, effects, points_of, score_ppm, total
from verismo.adapt.canarysettings import METRICS, PPM, CanarySettings, check_settings
from verismo.adapt.canarystate import (
    RECENT,
    CanaryState,
    begin_epoch,
    edges_of,
    remember_edges,
    step_to,
)
from verismo.adapt.sequential import PSI_SPLIT, log_threshold_ppm, update_rate, whole_log_ppm
from verismo.model.decision import Action, Decision, Metric, Status, Subject, Verdict, digest_of
from verismo.model.units import Milliseconds
from verismo.model.window import Window, merge_windows

VERSION: Final = 1


class Judged(msgspec.Struct, frozen=True):
    """What one call came to.

    Args:
        verdict: the answer.
        reasons: codes, the first one decided.
        state: from then on.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    state: CanaryState


def decide(
    state: CanaryState, observation: CanaryObservation, settings: CanarySettings, now_ms: int
) -> Decision[CanaryState]:
    """Judge a candidate.

    Args:
        state: from `canarystate.start`, later that of the last decision.
        observation: the windows of both arms since the last call.
        settings: the same for a whole rollout.
        now_ms: Unix ms, not before the last call's.

    Returns:
        The decision. Whatever is wrong with the observation or the clock gives NODATA.

    Raises:
        SettingsRefused: the settings do not fit together; it says what to write.
    """
    check_settings(settings)
    judged = _judge(state, observation, settings, now_ms)
    after = msgspec.structs.replace(
        judged.state, decided_ms=Milliseconds(max(state.decided_ms, _time(now_ms)))
    )
    return Decision(
        controller="canary",
        version=VERSION,
        subject=Subject(state.tenant, state.operation, state.baseline, state.candidate),
        verdict=judged.verdict,
        action=Action("weight_ppm", state.weight_ppm, after.weight_ppm),
        reasons=judged.reasons,
        inputs=digest_of(observation) if _is_recordable(observation) else "",
        settings=digest_of(settings),
        at_ms=after.decided_ms,
        metrics=metrics_of(after, settings),
        state=after,
    )


def _time(now_ms: int) -> int:
    return now_ms if type(now_ms) is int and 0 <= now_ms < 2**53 else 0


def _is_recordable(observation: CanaryObservation) -> bool:
    """Say whether the observation is made of integers; what is not cannot be digested."""
    return not observation_fault(observation).startswith("number")


def _judge(
    state: CanaryState, observation: CanaryObservation, settings: CanarySettings, now_ms: int
) -> Judged:
    if state.ended == "rolled_back":
        return Judged("ROLLBACK", ("rolled_back",), state)
    if state.ended == "stopped":
        return Judged("CONTINUE", ("stopped",), state)
    if observation.invariant:
        broken = msgspec.structs.replace(state, broken=observation.invariant)
        return _roll_back(broken, f"invariant_broken: {observation.invariant}")
    if state.ended:
        return Judged("CONTINUE", ("finished",), state)
    if _time(now_ms) != now_ms or now_ms < state.decided_ms:
        return Judged("NODATA", ("clock_stepped",), state)
    fault = _fault(state, observation, settings, now_ms)
    baseline, candidate = observation.baseline, observation.candidate
    if fault or baseline is None or candidate is None:
        return _without_data(state, fault or "no_window", settings, now_ms)
    seen = msgspec.structs.replace(state, seen_until_ms=candidate.end_ms)
    if candidate.start_ms < state.weight_since_ms:
        return Judged("CONTINUE", ("window_spans_change",), seen)
    return _take(seen, baseline, candidate, settings, now_ms)


def _fault(
    state: CanaryState, observation: CanaryObservation, settings: CanarySettings, now_ms: int
) -> str:
    """Say why the windows tell nothing; empty if they do."""
    fault = observation_fault(observation) or _misfit(state, observation, now_ms)
    return fault or (unknown_cost(observation) if settings.weights.cost_ppm else "")


def _misfit(state: CanaryState, observation: CanaryObservation, now_ms: int) -> str:
    """Say why well-formed windows are not the next ones of this rollout."""
    baseline, candidate = observation.baseline, observation.candidate
    if baseline is None or candidate is None:
        return "no_window"
    route = (state.tenant, state.operation)
    if any((one.tenant, one.operation) != route for one in (baseline, candidate)):
        return "window_of_another_route"
    if (baseline.deployment, candidate.deployment) != (state.baseline, state.candidate):
        return "window_of_another_deployment"
    if candidate.end_ms > now_ms:
        return "window_in_the_future"
    if candidate.start_ms < state.seen_until_ms:
        return "window_repeated_or_late"
    return ""


def _take(
    state: CanaryState,
    baseline: Window,
    candidate: Window,
    settings: CanarySettings,
    now_ms: int,
) -> Judged:
    """Merge a thin window into the next one; look at what is large enough."""
    both = baseline.requests + candidate.requests
    if both:
        rate = state.weight_ppm / PPM
        split = update_rate(state.split, candidate.requests, both, rate, PSI_SPLIT)
        state = msgspec.structs.replace(state, split=split)
    if whole_log_ppm(state.split) >= log_threshold_ppm(settings.alpha_split_ppm):
        return _without_data(state, "sample_ratio_mismatch", settings, now_ms)
    if baseline.requests and candidate.requests:
        state = msgspec.structs.replace(state, data_ms=Milliseconds(now_ms), is_silent=False)
    ours = merge_windows((*state.waiting_baseline, baseline))
    theirs = merge_windows((*state.waiting_candidate, candidate))
    if not (ours.is_signable and theirs.is_signable):
        # What waited goes from both arms; kept, it would let no window be looked at ever again.
        ours, theirs = baseline, candidate
    if min(ours.requests, theirs.requests) < settings.window_requests_min:
        kept = msgspec.structs.replace(state, waiting_baseline=(ours,), waiting_candidate=(theirs,))
        if now_ms - state.data_ms >= settings.silence_ms_max:
            return _without_data(kept, "silence", settings, now_ms)
        return _patient(kept, "window_thin", settings, now_ms)
    clear = msgspec.structs.replace(state, waiting_baseline=(), waiting_candidate=())
    return _look(clear, ours, theirs, settings, now_ms)


def _look(
    state: CanaryState,
    baseline: Window,
    candidate: Window,
    settings: CanarySettings,
    now_ms: int,
) -> Judged:
    edges = edges_of(state)
    known = remember_edges(state, baseline)
    weights = settings.weights
    if edges is None and (known.edges or weights.p95_ppm or weights.p99_ppm):
        return _patient(known, "reference_only", settings, now_ms)
    # Without latencies there is no edge to know; a metric that has no weight is not waited for.
    edges = edges or (0, 0)
    look = Look(baseline, candidate, edges, known.unit_micros)
    points = points_of(baseline, candidate, edges, settings)
    state = msgspec.structs.replace(
        known,
        worse=add_worse(known.worse, look, settings),
        severe=add_severe(known.severe, look, settings),
        better=add_better(known.better, look, settings),
        better_here=add_better(known.better_here, look, settings),
        points=total([known.points, points]),
        recent=(*known.recent, points)[-RECENT:],
        windows_here=known.windows_here + 1,
        requests_here=known.requests_here + candidate.requests,
    )
    return _weigh(state, settings, now_ms)


def _weigh(state: CanaryState, settings: CanarySettings, now_ms: int) -> Judged:
    severe = _severe_reason(state, settings)
    if severe:
        return _roll_back(state, severe)
    worse = _worse_reason(state, settings)
    if worse and state.holds + 1 >= settings.holds_max:
        return _roll_back(state, f"hold_{state.holds + 1}", worse)
    if worse:
        held = begin_epoch(step_to(state, state.rung - 1, settings, now_ms))
        reduced = ("traffic_reduced",) if held.weight_ppm < state.weight_ppm else ()
        return Judged("HOLD", (worse, *reduced, "bake_doubled"), held)
    if _may_promote(state, settings) and now_ms >= state.held_until_ms:
        return Judged(
            "PROMOTE", ("evidence_no_worse",), step_to(state, state.rung + 1, settings, now_ms)
        )
    return _patient(state, "evidence_open", settings, now_ms)


def _patient(state: CanaryState, reason: str, settings: CanarySettings, now_ms: int) -> Judged:
    """Go on; where the bake is over or a person said so, hold."""
    if now_ms < state.held_until_ms:
        return Judged("HOLD", ("held_by_hand", reason), state)
    bake_ms = settings.bake_ms_max << state.holds
    if now_ms - state.weight_since_ms >= bake_ms and now_ms >= state.extended_until_ms:
        return Judged("HOLD", ("inconclusive", reason), state)
    return Judged("CONTINUE", (reason,), state)


def _without_data(state: CanaryState, reason: str, settings: CanarySettings, now_ms: int) -> Judged:
    """Answer NODATA; after long silence reduce the traffic, once, and hold."""
    if now_ms - state.data_ms < settings.silence_hold_ms:
        return Judged("NODATA", (reason,), state)
    if state.is_silent:
        return Judged("HOLD", ("insufficient_data", reason), state)
    lower = step_to(state, state.rung - 1, settings, now_ms)
    # The clock of the silence goes on: what comes back must be data, not another rung.
    silent = msgspec.structs.replace(lower, is_silent=True)
    return Judged("HOLD", ("insufficient_data", reason, "traffic_reduced"), silent)


def _roll_back(state: CanaryState, *reasons: str) -> Judged:
    return Judged(
        "ROLLBACK", reasons, msgspec.structs.replace(state, weight_ppm=0, ended="rolled_back")
    )


def _epoch_ppm(alpha_ppm: int, state: CanaryState, settings: CanarySettings) -> int:
    """Return an epoch's share of alpha, falling with the square of its number.

    There are `holds_max` epochs at most, the last HOLD being a rollback: over them the shares sum
    to alpha.
    """
    whole = math.fsum(1 / epoch**2 for epoch in range(1, settings.holds_max + 1))
    return max(1, math.floor(alpha_ppm / whole / (state.holds + 1) ** 2))


def _worse_reason(state: CanaryState, settings: CanarySettings) -> str:
    logs = worse_logs(state.worse)
    guard = _epoch_ppm(settings.alpha_p99_ppm, state, settings)
    if logs["p99"] >= log_threshold_ppm(guard):
        return "p99_worse"
    rest = _epoch_ppm(settings.alpha_hold_ppm - settings.alpha_p99_ppm, state, settings)
    score = score_of(state, settings)
    bad = score is None or score < settings.threshold_ppm
    return "evidence_worse" if bad and composite_log_ppm(logs) >= log_threshold_ppm(rest) else ""


def _severe_reason(state: CanaryState, settings: CanarySettings) -> str:
    """Name the metric that is severely worse; the three share one alpha."""
    wanted = log_threshold_ppm(_epoch_ppm(max(1, settings.alpha_severe_ppm // 3), state, settings))
    logs = worse_logs(state.severe)
    found = effects(state.points, settings)
    for name in ("p95", "error", "cost"):
        small = name == "error" and found["error"].value_ppm <= settings.severe_error_ppm
        if logs[name] >= wanted and not small:
            return f"{name}_severe"
    return ""


def _may_promote(state: CanaryState, settings: CanarySettings) -> bool:
    score = score_of(state, settings)
    if score is None or score < settings.threshold_ppm:
        return False
    if state.windows_here < settings.windows_min or state.requests_here < settings.requests_min:
        return False
    wanted = log_threshold_ppm(_epoch_ppm(settings.alpha_promote_ppm, state, settings))
    here = log_threshold_ppm(settings.alpha_rung_ppm)
    return (
        least_log_ppm(better_logs(state.better), settings) >= wanted
        and least_log_ppm(better_logs(state.better_here), settings) >= here
    )


def score_of(state: CanaryState, settings: CanarySettings) -> int | None:
    """Return the score in millionths, the lower of the whole epoch's and the last ten windows'.

    None where a metric that has a weight has no data.
    """
    scores = [score_ppm(effects(one, settings), settings) for one in _spans(state)]
    known = [one for one in scores if one is not None]
    return min(known) if len(known) == len(scores) else None


def _spans(state: CanaryState) -> tuple[Points, Points]:
    return state.points, total(state.recent)


def metrics_of(state: CanaryState, settings: CanarySettings) -> tuple[Metric, ...]:
    """Return what a state has evidence of, the score first: rows of a decision."""
    found = effects(state.points, settings)
    worse, better = worse_logs(state.worse), better_logs(state.better)
    rows = [_row(name, found.get(name), worse[name], better[name]) for name in METRICS]
    score = score_of(state, settings)
    composite = {
        "score_ppm": score,
        "threshold_ppm": settings.threshold_ppm,
        "log_worse_ppm": composite_log_ppm(worse),
        "holds": state.holds,
        "windows": state.windows_here,
        "requests": state.requests_here,
    }
    bad = score is not None and score < settings.threshold_ppm
    status: Status = "NODATA" if score is None else "WORSE" if bad else "OK"
    return (Metric("score", status, composite), *rows)


def _row(name: str, effect: Effect | None, log_worse: int, log_better: int) -> Metric:
    values = {
        "effect_ppm": None if effect is None else effect.value_ppm,
        "score_ppm": None if effect is None else effect.score_ppm,
        "log_worse_ppm": log_worse,
        "log_better_ppm": log_better,
    }
    if effect is None:
        return Metric(name, "NODATA", values)
    return Metric(name, "OK" if effect.score_ppm == PPM else "WORSE", values)
