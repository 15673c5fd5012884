"""What a canary remembers between two looks: integers only, carried in every decision."""

from typing import Final, Literal

import msgspec

from verismo.adapt.canaryevidence import Better, Worse
from verismo.adapt.canaryscore import Points
from verismo.adapt.canarysettings import PPM, CanarySettings
from verismo.adapt.sequential import Evidence
from verismo.model.decision import Subject
from verismo.model.units import Milliseconds
from verismo.model.window import Window

AHEAD_MS: Final = 10_000
"""Windows that begin so long after now were dated by a clock that was ahead: they are forgotten.
No window is longer, and the lengths that windows can have divide it."""
RECENT: Final = 10
"""Windows that the reference edges and the recent score are taken from."""
P95_PPM: Final = 950_000
P99_PPM: Final = 990_000


class CanaryState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rollout as it stands.

    Args:
        tenant: of the route.
        operation: of the route.
        baseline: deployment that serves now.
        candidate: deployment that may take over.
        rung: of the ladder, from 0; -1 is below it.
        weight_ppm: share of the traffic that the candidate has.
        weight_since_ms: Unix ms; since when.
        decided_ms: Unix ms; the last clock reading.
        data_ms: Unix ms; when both arms last had requests.
        seen_until_ms: Unix ms; end of the last window seen.
        holds: on evidence; it counts the epochs.
        is_silent: traffic was reduced for want of data.
        ended: how the rollout ended; `stopped` by a person, or never begun.
        edges: reference edges of p95 and p99 of the last baseline windows.
        unit_micros: the baseline's cost of one request at first, USD micros.
        split: evidence against the split of the traffic.
        worse: evidence of the epoch.
        severe: evidence of the epoch.
        better: evidence of the epoch.
        better_here: evidence of the rung.
        points: sums of the epoch.
        recent: of the last windows.
        windows_here: looks at the rung.
        requests_here: of the candidate at the rung.
        waiting_baseline: at most one merged window that is too thin.
        waiting_candidate: the same.
        broken: the invariant that ended the rollout; empty if none did.
        held_until_ms: Unix ms; a person lets it climb no further before.
        extended_until_ms: Unix ms; a person lets the bake last until then.
    """

    tenant: str
    operation: str
    baseline: str
    candidate: str
    rung: int
    weight_ppm: int
    weight_since_ms: Milliseconds
    decided_ms: Milliseconds
    data_ms: Milliseconds
    seen_until_ms: Milliseconds
    holds: int = 0
    is_silent: bool = False
    ended: Literal["", "promoted", "rolled_back", "stopped"] = ""
    edges: tuple[tuple[int, int], ...] = ()
    unit_micros: int = 0
    split: Evidence = Evidence()
    worse: Worse = Worse()
    severe: Worse = Worse()
    better: Better = Better()
    better_here: Better = Better()
    points: Points = Points()
    recent: tuple[Points, ...] = ()
    windows_here: int = 0
    requests_here: int = 0
    waiting_baseline: tuple[Window, ...] = ()
    waiting_candidate: tuple[Window, ...] = ()
    broken: str = ""
    held_until_ms: Milliseconds = Milliseconds(0)
    extended_until_ms: Milliseconds = Milliseconds(0)


def unbegun(subject: Subject) -> CanaryState:
    """Return what stands before the start of a rollout: the candidate has nothing.

    Args:
        subject: route and both deployments.
    """
    never = Milliseconds(0)
    return CanaryState(
        *(subject.tenant, subject.operation, subject.baseline, subject.candidate),
        rung=-1,
        weight_ppm=0,
        weight_since_ms=never,
        decided_ms=never,
        data_ms=never,
        seen_until_ms=never,
        ended="stopped",
    )


def start(subject: Subject, settings: CanarySettings, now_ms: int) -> CanaryState:
    """Begin a rollout at the first rung.

    Args:
        subject: route and both deployments.
        settings: already checked.
        now_ms: Unix ms; when the candidate gets the first rung's share.
    """
    at = Milliseconds(now_ms)
    return CanaryState(
        *(subject.tenant, subject.operation, subject.baseline, subject.candidate),
        rung=0,
        weight_ppm=settings.ladder_ppm[0],
        weight_since_ms=at,
        decided_ms=at,
        data_ms=at,
        seen_until_ms=at,
    )


def step_to(state: CanaryState, rung: int, settings: CanarySettings, now_ms: int) -> CanaryState:
    """Change the rung; what belongs to one rung alone begins again.

    Args:
        state: before.
        rung: below the ladder all rungs are the share `hold_weight_ppm`.
        settings: with the ladder.
        now_ms: Unix ms; windows that began before it are not counted.
    """
    rung = max(rung, -1)
    weight = settings.hold_weight_ppm if rung < 0 else settings.ladder_ppm[rung]
    return msgspec.structs.replace(
        state,
        rung=rung,
        weight_ppm=weight,
        weight_since_ms=Milliseconds(now_ms),
        ended="promoted" if weight == PPM else "",
        better_here=Better(),
        split=Evidence(),
        windows_here=0,
        requests_here=0,
        waiting_baseline=(),
        waiting_candidate=(),
    )


def begin_epoch(state: CanaryState) -> CanaryState:
    """Forget the evidence after a HOLD; the next epoch has a smaller share of alpha."""
    return msgspec.structs.replace(
        state,
        holds=state.holds + 1,
        worse=Worse(),
        severe=Worse(),
        better=Better(),
        points=Points(),
        recent=(),
    )


def rewind(state: CanaryState, now_ms: int) -> CanaryState:
    """Take a state's times back by as much as the clock was since the last decision.

    Until when a person holds or extends stays: it names a time, whatever the clock said meanwhile.
    Windows up to `AHEAD_MS` after now may have been seen before; the next look begins after them.

    Args:
        state: as it was decided, perhaps by a clock that was ahead.
        now_ms: Unix ms.
    """
    by_ms = state.decided_ms - now_ms
    if by_ms <= 0:
        return state
    unseen_ms = -(-(now_ms + AHEAD_MS + 1) // AHEAD_MS) * AHEAD_MS
    return msgspec.structs.replace(
        state,
        weight_since_ms=Milliseconds(max(0, state.weight_since_ms - by_ms)),
        decided_ms=Milliseconds(now_ms),
        data_ms=Milliseconds(max(0, state.data_ms - by_ms)),
        seen_until_ms=Milliseconds(unseen_ms),
        waiting_baseline=(),
        waiting_candidate=(),
    )


def edges_of(state: CanaryState) -> tuple[int, int] | None:
    """Return the mean reference edges of p95 and p99; None before the first baseline window."""
    if not state.edges:
        return None
    count = len(state.edges)
    return (
        sum(one[0] for one in state.edges) // count,
        sum(one[1] for one in state.edges) // count,
    )


def remember_edges(state: CanaryState, baseline: Window) -> CanaryState:
    """Take a baseline window into the reference of the looks to come."""
    p95 = baseline.latency.quantile_edge(P95_PPM)
    p99 = baseline.latency.quantile_edge(P99_PPM)
    unit = state.unit_micros or -(-baseline.cost_usd_micros // baseline.requests)
    if p95 is None or p99 is None:
        return msgspec.structs.replace(state, unit_micros=unit)
    return msgspec.structs.replace(
        state, edges=(*state.edges, (p95, p99))[-RECENT:], unit_micros=unit
    )
