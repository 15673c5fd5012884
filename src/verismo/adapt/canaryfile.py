"""A rollout in one file: its settings, what it was shown at each look, and what was decided.

So anybody can compute the decisions again, without the gateway that they were made for. A file that
was simulated says so, in itself and wherever it is read.
"""

from typing import Final, Literal

import msgspec

from verismo.adapt import canary
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapt.canaryscore import weights_of
from verismo.adapt.canarysettings import PPM, CanarySettings
from verismo.adapt.canarystate import CanaryState, start
from verismo.adapt.sequential import Evidence
from verismo.model.decision import Decision, Metric, Subject, Verdict, decision_digest
from verismo.model.units import Milliseconds

VERSION: Final = 1
Origin = Literal["gateway", "scraped", "simulated"]
FINAL: Final = frozenset({"PROMOTE", "HOLD", "ROLLBACK"})
"""What ends a comparison from outside."""
OUTSIDE: Final = CanarySettings(ladder_ppm=(PPM // 2, PPM))
"""Of a comparison whose traffic is split elsewhere: one rung, then all."""


class FileLook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One look and its decision.

    Args:
        at_ms: Unix ms; the clock reading that the rule was given.
        verdict: the answer.
        reasons: codes, the first one decided.
        weight_ppm: the candidate's share of the traffic before.
        metrics: what was looked at.
        observation: what was shown.
        digest: of the whole decision, hex.
        note: why windows are missing, in words.
    """

    at_ms: Milliseconds
    verdict: Verdict
    reasons: tuple[str, ...]
    weight_ppm: int
    metrics: tuple[Metric, ...]
    observation: CanaryObservation
    digest: str
    note: str = ""


class CanaryFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rollout as it went.

    Args:
        v: format version.
        origin: where the windows come from; `simulated` ones were never served to anybody.
        note: what a reader has to know about them.
        subject: about what.
        score: parameters of the score and of the evidence.
        started_ms: Unix ms.
        decisions: in order.
        verdict: what it came to in the end.
        reasons: why.
        state: of a gateway, what the looks began from; not there where that was a start.
    """

    v: int
    origin: Origin
    note: str
    subject: Subject
    score: CanarySettings
    started_ms: Milliseconds
    decisions: tuple[FileLook, ...]
    verdict: Verdict
    reasons: tuple[str, ...]
    state: CanaryState | msgspec.UnsetType = msgspec.UNSET


class Outcome(msgspec.Struct, frozen=True):
    """What it comes to in the end.

    Args:
        verdict: the answer.
        reasons: codes, the first one decided.
    """

    verdict: Verdict
    reasons: tuple[str, ...]


class Replayed(msgspec.Struct, frozen=True):
    """What a file comes to if everything is decided anew.

    Args:
        looks: with their decisions.
        differing: numbers of the looks, from 1, whose decisions are others than the file says.
        is_concluded: whether what the file says in the end follows from them.
    """

    looks: tuple[FileLook, ...]
    differing: tuple[int, ...]
    is_concluded: bool


def decide_outside(
    state: CanaryState, observation: CanaryObservation, settings: CanarySettings, now_ms: int
) -> Decision[CanaryState]:
    """Judge a candidate whose share of the traffic somebody else sets.

    The rule compares within each window, so any split will do; that it is the intended one cannot
    be told. The rest is `canary.decide`.
    """
    baseline, candidate = observation.baseline, observation.candidate
    if baseline is not None and candidate is not None:
        both = baseline.requests + candidate.requests
        if both > 0 and 0 <= candidate.requests <= both:
            share = min(max(PPM * candidate.requests // both, 1), PPM - 1)
            state = msgspec.structs.replace(state, weight_ppm=share)
    return canary.decide(
        msgspec.structs.replace(state, split=Evidence()), observation, settings, now_ms
    )


def file_look(
    before: CanaryState,
    observation: CanaryObservation,
    decision: Decision[CanaryState],
    note: str = "",
) -> FileLook:
    """Return a decision as it stands in a file."""
    return FileLook(
        decision.at_ms,
        decision.verdict,
        decision.reasons,
        before.weight_ppm,
        decision.metrics,
        observation,
        decision_digest(decision),
        note,
    )


def conclude(state: CanaryState, settings: CanarySettings, last: FileLook) -> Outcome:
    """Say what a comparison from outside comes to after its last window.

    Args:
        state: after it.
        settings: of the comparison.
        last: the last look.
    """
    if last.verdict in FINAL:
        return Outcome(last.verdict, last.reasons)
    if last.verdict == "NODATA":
        return Outcome("HOLD", ("insufficient_data", *last.reasons))
    weights = weights_of(settings)
    missing = [one.name for one in last.metrics if one.name in weights and one.status == "NODATA"]
    if missing:
        return Outcome("HOLD", ("insufficient_data", *(f"no_data_of: {one}" for one in missing)))
    few = []
    if state.windows_here < settings.windows_min:
        counted = f"windows={state.windows_here} least={settings.windows_min}"
        few.append(f"too_few_windows {counted}")
    if state.requests_here < settings.requests_min:
        counted = f"requests={state.requests_here} least={settings.requests_min}"
        few.append(f"too_few_requests {counted}")
    if few:
        return Outcome("HOLD", ("insufficient_data", *few))
    return Outcome("HOLD", ("inconclusive", *last.reasons))


def replay(file: CanaryFile) -> Replayed:
    """Decide everything in a file anew.

    Args:
        file: of any origin; its own verdicts are not looked at.

    Returns:
        What it comes to now.

    Raises:
        SettingsRefused: its settings do not fit together.
    """
    rule = decide_outside if file.origin == "scraped" else canary.decide
    state = start(file.subject, file.score, file.started_ms)
    if file.state is not msgspec.UNSET and file.origin == "gateway":
        state = file.state
    found = []
    for look in file.decisions:
        decision = rule(state, look.observation, file.score, look.at_ms)
        found.append(file_look(state, look.observation, decision, look.note))
        state = decision.state
    differing = tuple(
        number
        for number, (told, now) in enumerate(zip(file.decisions, found, strict=True), start=1)
        if told != now
    )
    return Replayed(tuple(found), differing, _is_conclusion(file, state, found))


def _is_conclusion(file: CanaryFile, state: CanaryState, found: list[FileLook]) -> bool:
    """Say whether what a file says in the end follows from its looks.

    A comparison from outside may also have ended for want of data that no look could show: then it
    says HOLD, which nobody gains by.
    """
    told = Outcome(file.verdict, file.reasons)
    is_unknown = told.verdict == "HOLD" and told.reasons[:1] == ("insufficient_data",)
    if file.origin == "scraped" and is_unknown:
        return True
    if not found:
        return False
    if file.origin == "scraped":
        return told == conclude(state, file.score, found[-1])
    return told == Outcome(found[-1].verdict, found[-1].reasons)
