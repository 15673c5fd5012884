"""The tolerance of p95 that two equal deployments ask for, from windows of such two.

Noise of a whole arm (a slow replica, another zone) is no chance of requests, so no test of requests
covers it; only the tolerance does. Here the rule itself is run over recorded windows of two arms
that are known to be alike, each stretch of them both ways round, with one tolerance after another.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from verismo.adapt.canaryfile import decide_outside
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapt.canarysettings import PPM, CanarySettings, buckets_down
from verismo.adapt.canarystate import start
from verismo.model.decision import Subject
from verismo.model.window import Window

STRETCH_LOOKS: Final = 60
"""Looks of one stretch: as many as a rollout of an hour has, one a minute."""


STRETCHES_MIN: Final = 20
"""Fewer say nothing about a share of a twentieth."""


class Trial(msgspec.Struct, frozen=True):
    """How one tolerance did.

    Args:
        tolerance_ppm: the tolerance of p95.
        held: stretches that were held or rolled back.
        bound_ppm: upper 95 % bound of the share of them, as if stretches were independent.
    """

    tolerance_ppm: int
    held: int
    bound_ppm: int


class Calibration(msgspec.Struct, frozen=True):
    """What was found.

    Args:
        stretches: how many there were, each counted both ways round; too few are not judged.
        trials: by tolerance, from 1 % upwards, up to the first that does.
        tolerance_ppm: the smallest that holds no more than the settings allow; None if none does.
    """

    stretches: int
    trials: tuple[Trial, ...]
    tolerance_ppm: int | None


class _Look(msgspec.Struct, frozen=True):
    """What is shown, and the baseline in it."""

    shown: CanaryObservation
    baseline: Window


def calibrate(
    pairs: Sequence[CanaryObservation], settings: CanarySettings, stretch_looks: int = STRETCH_LOOKS
) -> Calibration:
    """Find the smallest tolerance of p95 under which equal arms are seldom held.

    Args:
        pairs: windows of two arms that are alike, in order; those without both are left out.
        settings: all but the tolerance stays as it is here.
        stretch_looks: looks of a stretch; what is left of the last one is not used.
    """
    whole = [
        (one.baseline, one.candidate)
        for one in pairs
        if one.baseline is not None and one.candidate is not None
    ]
    stretches = [
        turned
        for at in range(0, len(whole) - stretch_looks + 1, stretch_looks)
        for turned in (
            [_look(ours, theirs) for ours, theirs in whole[at : at + stretch_looks]],
            [_look(theirs, ours) for ours, theirs in whole[at : at + stretch_looks]],
        )
    ]
    trials: list[Trial] = []
    if len(stretches) < STRETCHES_MIN:
        return Calibration(len(stretches), (), None)
    # The harm margin has to stay three steps of 1 % beyond the tolerance.
    for steps in range(1, buckets_down(PPM + settings.p95_harm_ppm) - 2):
        tolerance_ppm = int((1.01**steps - 1) * PPM)
        given = msgspec.structs.replace(
            settings,
            p95_tolerance_ppm=tolerance_ppm,
            p99_tolerance_ppm=max(tolerance_ppm, settings.p99_tolerance_ppm),
            windows_min=stretch_looks + 1,
        )
        held = sum(_is_held(one, given) for one in stretches)
        trials.append(Trial(tolerance_ppm, held, upper_bound_ppm(held, len(stretches))))
        if held * PPM <= settings.alpha_hold_ppm * len(stretches):
            return Calibration(len(stretches), tuple(trials), tolerance_ppm)
    return Calibration(len(stretches), tuple(trials), None)


def upper_bound_ppm(hits: int, trials: int) -> int:
    """Return the upper 95 % bound of a share, in millionths.

    Args:
        hits: 0 to `trials`.
        trials: at least 1.

    Source: Clopper and Pearson 1934.
    """
    low, high = 0, PPM
    while high - low > 1:
        middle = (low + high) // 2
        share = middle / PPM
        fewer = math.fsum(
            math.comb(trials, one) * share**one * (1 - share) ** (trials - one)
            for one in range(hits + 1)
        )
        low, high = (middle, high) if fewer > 0.05 else (low, middle)
    return high


def _look(baseline: Window, candidate: Window) -> _Look:
    """Return a look in which each window is of the arm that it is put into."""
    ours, theirs = (
        msgspec.structs.replace(one, arm=arm, deployment=arm)
        for arm, one in (("baseline", baseline), ("candidate", candidate))
    )
    return _Look(CanaryObservation(ours, theirs), ours)


def _is_held(looks: Sequence[_Look], settings: CanarySettings) -> bool:
    first = looks[0].baseline
    subject = Subject(first.tenant, first.operation, "baseline", "candidate")
    state = start(subject, settings, first.start_ms)
    for look in looks:
        decision = decide_outside(state, look.shown, settings, look.baseline.end_ms)
        if decision.verdict in ("HOLD", "ROLLBACK") and decision.reasons[0] != "inconclusive":
            return True
        state = decision.state
    return False
