"""What a canary is shown at one look, and what may be wrong with it."""

from typing import Final

import msgspec

from verismo.model.window import Window, window_fault

UNPRICED_PPM_MAX: Final = 10_000
"""Share of an arm's answers whose cost may be unknown: some providers leave a count out."""


class CanaryObservation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The windows of both arms over one interval; all writers' windows merged.

    Args:
        baseline: None where it could not be read.
        candidate: None where it could not be read; with 0 requests where none came.
        invariant: the rule of security, residency or attestation that the candidate broke; empty if
            none.
    """

    baseline: Window | None
    candidate: Window | None
    invariant: str = ""


def observation_fault(observation: CanaryObservation) -> str:
    """Say why the windows cannot be counted; empty if they can or are not there."""
    for arm, window in (("baseline", observation.baseline), ("candidate", observation.candidate)):
        if window is None:
            continue
        fault = window_fault(window)
        if fault:
            kind = "number" if _is_unnumbered(window) else "window"
            return f"{kind}_refused: {arm}: {fault}"
        if window.arm != arm:
            return f"window_refused: {arm}: it is of the other arm"
    baseline, candidate = observation.baseline, observation.candidate
    if baseline is None or candidate is None:
        return ""
    if (baseline.start_ms, baseline.end_ms) != (candidate.start_ms, candidate.end_ms):
        return "window_refused: the arms' intervals differ"
    return ""


def unknown_cost(observation: CanaryObservation) -> str:
    """Say which arm's costs are not known; empty if both are.

    An answer without a known cost is in no sum: an arm of such answers would look cheap.
    """
    for arm, window in (("baseline", observation.baseline), ("candidate", observation.candidate)):
        if window is None:
            continue
        answers = window.requests - window.errors - window.refused
        if window.unpriced * 1_000_000 > UNPRICED_PPM_MAX * answers:
            return f"cost_unknown: {arm}"
    return ""


def _is_unnumbered(window: Window) -> bool:
    """Say whether a window holds something that canonical JSON has no number for."""
    names = window.__struct_fields__
    singles = (getattr(window, name) for name in (*names[4:10], *names[12:]))
    lists = (window.latency, window.first_token)
    numbers = [*singles, *(one for item in lists for one in (*item.buckets, *item.counts))]
    return any(type(one) is not int or abs(one) >= 2**53 for one in numbers)
