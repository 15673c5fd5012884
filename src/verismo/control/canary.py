"""The canary's shell: which rollouts are looked at, what they are shown, what gateways are told.

A rollout is a subject with a recorded start that has not ended. It is shown the windows since its
last look, merged over workers and, where it is for all tenants, over tenants. After a change of its
weight it is shown nothing until the requests that were split the old way have ended.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from verismo.adapt import override
from verismo.adapt.canaryevent import LACKED, CanaryEvent
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapt.canarysettings import CanarySettings
from verismo.adapt.canarystate import P99_PPM, CanaryState, edges_of, unbegun
from verismo.control.flags import Flags
from verismo.control.looks import Look, Steered
from verismo.control.pins import exchange, pinned
from verismo.control.reasonwords import code_of
from verismo.control.rollouts import Rollouts, Standing
from verismo.control.rules import CANARY, CANARY_ACT, CANARY_EVENT
from verismo.model.act import Act
from verismo.model.decision import Decision, Subject
from verismo.model.errors import DecisionStale, MalformedRequest, NotFound
from verismo.model.ids import DeploymentId, OperationId, TenantId
from verismo.model.plan import Plan
from verismo.model.steering import Rollout
from verismo.model.units import Milliseconds, Ppm, UsdMicros
from verismo.model.window import LOWER_EDGES_US, Arm, Histogram, Window, merge_windows

PROPAGATION_MS: Final = 2_000
"""A gateway follows new steering within this time (ADR-031)."""
UNKNOWN_LATENCY_MS: Final = 10_000
"""How long requests of a route are taken to last of which no window tells."""
SETTLE_MS_MAX: Final = 600_000
INTERVALS_MS: Final = 10_000
"""A whole number of intervals, whatever their length is (`adapt.window_s`)."""
BEFORE_LOOKS: Final = 5
"""How far back windows are read to tell how long requests last before a rollout."""

CanaryLook = (
    Look[CanaryState, CanaryObservation, CanarySettings]
    | Look[CanaryState, Act, CanarySettings]
    | Look[CanaryState, CanaryEvent, CanarySettings]
)

_ADVICE: Final = {
    "reason_missing": "give a reason of 10 to 1,000 characters",
    "decision_unnamed": "name in `of` the digest of the decision that it overrides",
    "role_too_low": "promote, hold, rollback and extend need the role admin",
    "expiry_missing": "say in `expires_ms` until when it holds",
    "expired": "`expires_ms` is over already",
    "expiry_too_far": "let it end within a week",
    "values_unknown": "acts on a rollout take no `values`",
    "invariant_broken": "a broken invariant is not overridden: mend its cause, `stop`, `start`",
    "rollout_running": "it runs already",
    "rollout_promoted": "the candidate has all the traffic: `stop` or `rollback`",
    "rollout_rolled_back": "it was rolled back: `promote`, `stop` or `start`",
    "rollout_stopped": "it does not run: `start`",
    "clock_stepped": "the gateway's clock shows no time: set it",
    "act_of_the_future": "`at_ms` has not come yet",
}

log = logging.getLogger("verismo.adapt")


_EVENTS: Final = frozenset({"clock_stepped", "deployment_changed", LACKED})


class ArmWindows(Protocol):
    """Windows of complete intervals, all workers' together (`control.windowreads.ArmReads`)."""

    def complete_until(self, now_ms: int) -> int:
        """Return the end of the last interval that nobody is waited for, Unix ms."""
        ...

    def windows(self, from_ms: int, until_ms: int) -> Sequence[Window] | None:
        """Return the windows of the intervals from one time to another; None if there are none.

        Raises:
            StateError: they cannot be read.
        """
        ...


class CanaryShell:
    """Shows rollouts their windows; see `control.looks.Shell`.

    Args:
        rollouts: as they are recorded.
        windows: what gateways counted.
        plan: returns the configuration's plan.
        settings: for rollouts that are started from now on.
        look_ms: between two looks at a rollout; a multiple of the windows' length.
        flags: overrides that stand in the configuration; None for none.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        windows: ArmWindows,
        plan: Callable[[], Plan],
        settings: CanarySettings,
        look_ms: int,
        flags: Flags | None = None,
    ) -> None:
        self._rollouts = rollouts
        self._windows = windows
        self._plan = plan
        self._settings = settings
        self._look_ms = look_ms
        self._flags = flags

    def looks(self, now_ms: int) -> Sequence[CanaryLook]:
        """Return a look at each rollout that has waited long enough, or that a flag is about.

        What a flag asks for comes first; the controller goes on from there in the next round.
        """
        until_ms = self._windows.complete_until(now_ms)
        found: list[CanaryLook] = []
        for standing in self._rollouts.all():
            act = None if self._flags is None else self._flags.due(standing, now_ms)
            if act is not None and not self._is_idle(act):
                found.append(_acted(standing, act))
            elif standing.is_running:
                found += self._due(standing, until_ms, now_ms)
        return found

    def take(self, act: Act, now_ms: int) -> Look[CanaryState, Act, CanarySettings]:
        """Return the decision that a person's act on a rollout comes to."""
        standing = self._rollouts.newest(act.subject)
        if act.verb == "start":
            self._check_start(act.subject)
        elif standing is None:
            raise NotFound("there is no such rollout; `verismo canary status` lists them")
        elif not self._is_seen(act, standing):
            raise DecisionStale(
                f"the newest decision about this rollout is {standing.digest}, "
                f"{standing.decision.verdict}"
            )
        elif self._is_idle(act):
            raise MalformedRequest(
                f"the configuration does not know this rollout: nothing is split by it, and "
                f"{act.verb} would do nothing. `stop` it, or give {act.subject.operation!r} its "
                f"deployment {act.subject.baseline!r} and its candidate {act.subject.candidate!r} "
                "again"
            )
        before = unbegun(act.subject) if standing is None else standing.decision.state
        why = override.refusal(before, act, now_ms)
        if why:
            raise MalformedRequest(f"{act.verb} is refused: {_ADVICE.get(why, why)}")
        if standing is None or act.verb == "start":
            settings = pinned(self._settings, self._plan(), act.subject)
        else:
            settings = standing.settings
        return Look(CANARY_ACT, act.subject, before, act, settings)

    def steered(self, now_ms: int) -> Steered:
        """Return the split of each rollout that is not over, and that the configuration allows."""
        plan = self._plan()
        found = []
        for standing in self._rollouts.all():
            state = standing.decision.state
            if standing.is_steering and fits(plan, standing.decision.subject):
                found.append(
                    Rollout(
                        OperationId(state.operation),
                        TenantId(state.tenant),
                        DeploymentId(state.baseline),
                        DeploymentId(state.candidate),
                        Ppm(state.weight_ppm),
                    )
                )
        return Steered(rollouts=tuple(sorted(found, key=lambda one: (one.operation, one.tenant))))

    def told(self, decision: Decision[msgspec.Struct]) -> None:
        """Log what befell a rollout; of all else the steering says it all."""
        reason = decision.reasons[0] if decision.reasons else ""
        if code_of(reason) in _EVENTS:
            subject = decision.subject
            fields = {
                "tenant": subject.tenant,
                "operation": subject.operation,
                "candidate": subject.candidate,
                "verdict": decision.verdict,
                "reason": reason,
                "next": "verismo canary status",
            }
            log.warning("something befell a rollout", extra={"fields": fields})

    def _due(self, standing: Standing, until_ms: int, now_ms: int) -> Iterator[CanaryLook]:
        """Yield what befell a rollout that runs, or else its look if it has waited long enough."""
        state, subject, plan = standing.decision.state, standing.decision.subject, self._plan()
        if state.decided_ms > now_ms:
            if state.decided_ms - now_ms >= self._look_ms:
                yield _befallen(standing, CanaryEvent("clock_stepped"))
        elif not fits(plan, subject):
            if standing.decision.reasons[:1] != (LACKED,):
                yield _befallen(standing, CanaryEvent(LACKED))
        elif (event := exchange(standing.settings, plan, subject)) is not None:
            settings = pinned(standing.settings, plan, subject)
            yield _befallen(msgspec.structs.replace(standing, settings=settings), event)
        else:
            since_ms = self._since(state)
            if until_ms - since_ms >= self._look_ms:
                yield _look(standing, self._observed(state, since_ms, until_ms))

    def _is_idle(self, act: Act) -> bool:
        """Say whether an act would split requests that the configuration does not split."""
        return act.verb not in ("stop", "rollback") and not fits(self._plan(), act.subject)

    def _since(self, state: CanaryState) -> int:
        """Return the end of the last look, or when the last change of the weight has settled."""
        settle_ms = PROPAGATION_MS + min(2 * self._latency_ms(state), SETTLE_MS_MAX)
        settled_ms = state.weight_since_ms + settle_ms
        if state.seen_until_ms >= settled_ms:
            return state.seen_until_ms
        # The next look begins on a whole interval: one that began before would be left out.
        whole_ms = min(self._look_ms, INTERVALS_MS)
        return -(-settled_ms // whole_ms) * whole_ms

    def _latency_ms(self, state: CanaryState) -> int:
        """Return how long nearly all requests last: of the looks so far, or before the rollout."""
        edges = edges_of(state)
        if edges is not None:
            return LOWER_EDGES_US[edges[1]] // 1_000
        since_ms = state.weight_since_ms // self._look_ms * self._look_ms
        read = self._windows.windows(since_ms - BEFORE_LOOKS * self._look_ms, since_ms) or ()
        latency = Histogram()
        for one in read:
            if _is_of(one, state) and one.deployment == state.baseline:
                latency = latency.merge(one.latency)
        edge = latency.quantile_edge(P99_PPM)
        return UNKNOWN_LATENCY_MS if edge is None else LOWER_EDGES_US[edge] // 1_000

    def _observed(self, state: CanaryState, since_ms: int, until_ms: int) -> CanaryObservation:
        """Return what both arms had since a time, or in the newest part of it that can be signed.

        A few requests of huge costs have sums that no record holds. They are left out of both arms
        with the interval that they came in, so that whoever sends them ends nobody's looks.
        """
        while True:
            read = self._windows.windows(since_ms, until_ms)
            if read is None:
                return CanaryObservation(None, None)
            ours = arm_window(read, state, "baseline", since_ms, until_ms)
            theirs = arm_window(read, state, "candidate", since_ms, until_ms)
            if ours.is_signable and theirs.is_signable:
                return CanaryObservation(ours, theirs)
            span_ms = until_ms - since_ms
            if span_ms <= self._look_ms:
                return CanaryObservation(None, None)
            half_ms = span_ms // 2 // self._look_ms * self._look_ms
            since_ms = until_ms - max(half_ms, self._look_ms)

    def _check_start(self, subject: Subject) -> None:
        plan = self._plan()
        if subject.operation not in plan.operations:
            raise NotFound(f"there is no operation {subject.operation!r}")
        if subject.tenant and subject.tenant not in plan.tenants:
            raise NotFound(f"there is no tenant {subject.tenant!r}")
        if not fits(plan, subject):
            raise MalformedRequest(
                f"{subject.baseline!r} has to be one of the operation's `deployments`, and "
                f"{subject.candidate!r} one of its `candidates`"
            )
        for other in self._rollouts.all():
            over = other.decision.subject
            is_alike = not over.tenant or not subject.tenant or over.tenant == subject.tenant
            is_same_route = over.operation == subject.operation and is_alike and over != subject
            if is_same_route and other.is_steering:
                whose = f"for tenant {over.tenant!r}" if over.tenant else "for all tenants"
                raise MalformedRequest(
                    f"a rollout of {over.candidate!r} {whose} has these requests already: stop it "
                    "first"
                )

    def _is_seen(self, act: Act, standing: Standing) -> bool:
        """Say whether the decision that an act names is the newest, or one that still holds.

        The controller decides anew every few seconds. Whoever read a decision has seen enough as
        long as neither the verdict nor what became of the traffic is another since then.
        """
        if act.of == standing.digest:
            return True
        read = self._rollouts.decision(act.of)
        return (
            read is not None
            and read.subject == standing.decision.subject
            and read.verdict == standing.decision.verdict
            and _course(read.state) == _course(standing.decision.state)
        )


def fits(plan: Plan, subject: Subject) -> bool:
    """Say whether the configuration knows what a rollout is about.

    The baseline need not be the first deployment: the policy may leave that one out for a tenant.

    Args:
        plan: the configuration's.
        subject: of the rollout.
    """
    operation = plan.operations.get(OperationId(subject.operation))
    return (
        operation is not None
        and subject.baseline in operation.deployments
        and subject.candidate in operation.candidates
        and (not subject.tenant or subject.tenant in plan.tenants)
    )


def arm_window(
    read: Iterable[Window], state: CanaryState, arm: Arm, since_ms: int, until_ms: int
) -> Window:
    """Return one arm's window of a rollout; without requests where none came.

    Args:
        read: windows of any routes.
        state: of the rollout.
        arm: which.
        since_ms: Unix ms, where the first interval begins.
        until_ms: Unix ms, where the last one ends.
    """
    deployment = DeploymentId(state.baseline if arm == "baseline" else state.candidate)
    tenant = TenantId(state.tenant)
    nothing = Window(
        *(tenant, OperationId(state.operation), arm, deployment),
        start_ms=Milliseconds(since_ms),
        end_ms=Milliseconds(until_ms),
        requests=0,
        errors=0,
        cost_usd_micros=UsdMicros(0),
        cost_squares=0,
    )
    mine = (
        msgspec.structs.replace(one, tenant=tenant)
        for one in read
        if _is_of(one, state) and one.arm == arm and one.deployment == deployment
    )
    return merge_windows([nothing, *mine])


def _is_of(window: Window, state: CanaryState) -> bool:
    return window.operation == state.operation and state.tenant in ("", window.tenant)


def _course(state: CanaryState) -> tuple[int, ...] | tuple[int | str, ...]:
    """Return what became of the traffic so far, and what people said about it."""
    return (
        *(state.weight_ppm, state.weight_since_ms, state.ended, state.holds, state.is_silent),
        *(state.held_until_ms, state.extended_until_ms),
    )


def _acted(standing: Standing, act: Act) -> Look[CanaryState, Act, CanarySettings]:
    decision = standing.decision
    return Look(CANARY_ACT, decision.subject, decision.state, act, standing.settings)


def _befallen(
    standing: Standing, event: CanaryEvent
) -> Look[CanaryState, CanaryEvent, CanarySettings]:
    decision = standing.decision
    return Look(CANARY_EVENT, decision.subject, decision.state, event, standing.settings)


def _look(
    standing: Standing, shown: CanaryObservation
) -> Look[CanaryState, CanaryObservation, CanarySettings]:
    decision = standing.decision
    return Look(CANARY, decision.subject, decision.state, shown, standing.settings)
