"""Scaling around its core: what each target is seen to do, and how an answer reaches the platform.

A gateway sees a request as in flight from when it is sent to the target until its answer ends, so
what waits there for a slot is in flight as well. Without a source of its own for what waits it is
not told apart: the queue is 0 because no request waits outside of what is in flight, and the load,
which is the sum of both, is whole. Replicas come from the platform alone. What cannot be read is
None, and the rule then answers NODATA.

Source: ADR-030, ADR-031; docs/adapt-scaling.md.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from verismo.adapt.demand import ScalingObservation
from verismo.adapt.scaling import VERSION, ScalingDecision, ScalingState, start
from verismo.adapt.scalingsettings import ScalingSettings
from verismo.attest.controlrecord import ControlRecord, RecordRefused, read_record
from verismo.control.byhand import part_of
from verismo.control.looks import Look, Steered
from verismo.control.rules import SCALING
from verismo.model import canonical
from verismo.model.act import Act
from verismo.model.decision import Decision, Subject, decode_decision
from verismo.model.errors import MalformedRequest, StateError
from verismo.model.ids import DeploymentId
from verismo.model.units import Milliseconds
from verismo.ports.decisions import DecisionReader
from verismo.ports.replicas import ReplicaPlatform
from verismo.ports.windows import DeploymentLoad

EVERY_MS: Final = 9_000
"""Between two decisions about a target, at least: windows of ten seconds end that often."""
SILENCE_MS_MAX: Final = 20_000
"""Without anything to see it is decided this often all the same, so that time is seen to pass; a
decision later than `tick_ms_max`, 30 s, would count nothing of it."""

log = logging.getLogger("verismo.scaling")

ScalingLook = Look[ScalingState, ScalingObservation, ScalingSettings]


class Loaded(msgspec.Struct, frozen=True):
    """How busy deployments were in one interval, over all workers.

    Args:
        start_ms: Unix ms.
        end_ms: Unix ms, not included.
        loads: of deployments that had requests; None if a worker's part is missing, since a load
            without it would be too small.
    """

    start_ms: Milliseconds
    end_ms: Milliseconds
    loads: tuple[DeploymentLoad, ...] | None


class TargetDesk(msgspec.Struct, frozen=True):
    """One target and where its numbers come from.

    Args:
        settings: of the rule; their `target` names it.
        deployment: whose load it is.
        replicas: returns those that the platform is asked for, or raises StateError; None where
            nothing says.
        queue_milli: returns the requests that wait for a slot, thousandths, or raises StateError;
            None where they are not told apart.
        platform: sets the replicas; None where an autoscaler reads them from a metric.
    """

    settings: ScalingSettings
    deployment: DeploymentId
    replicas: Callable[[], int] | None
    queue_milli: Callable[[], int] | None
    platform: ReplicaPlatform | None


class ScalingDesk(msgspec.Struct, frozen=True):
    """What the shell works with.

    Args:
        targets: by name.
        loads: returns the intervals that began at or after a time and are whole at another.
        decisions: what was decided.
        now_ms: returns Unix ms; for what comes too late.
    """

    targets: tuple[TargetDesk, ...]
    loads: Callable[[int, int], Sequence[Loaded]]
    decisions: DecisionReader
    now_ms: Callable[[], int]


class ScalingShell:
    """A `Shell`, and `Acting` on targets that are scaled strictly.

    Args:
        desk: what it works with.
    """

    def __init__(self, desk: ScalingDesk) -> None:
        self._desk = desk
        # Only so that what stays unreadable is logged once, and not at every decision.
        self._unread: dict[tuple[str, str], str] = {}

    def looks(self, now_ms: int) -> Sequence[ScalingLook]:
        """Return the targets about which something is to be decided now.

        Args:
            now_ms: Unix ms.

        Raises:
            StateError: what was decided cannot be read.
        """
        found = (self._look(target, now_ms) for target in self._desk.targets)
        return [look for look in found if look is not None]

    def take(self, act: Act, now_ms: int) -> ScalingLook:
        """Refuse: nothing about a target is set by hand.

        Raises:
            MalformedRequest: always.
        """
        raise MalformedRequest(
            f"{act.verb!r} is nothing that scaling takes; change [scaling.NAME] or the replicas "
            "themselves, and the rule waits a whole gap"
        )

    def steered(self, now_ms: int) -> Steered:
        """Return nothing: gateways are not told of replicas."""
        return Steered()

    def told(self, decision: Decision[msgspec.Struct]) -> None:
        """Do nothing: what is shown is read from the records."""

    def act(self, decision: Decision[msgspec.Struct]) -> str:
        """Set the replicas of a target that is scaled strictly; never later than its limit.

        Args:
            decision: recorded, about one of the targets.

        Returns:
            `none` if nothing is to change, `shown` where an autoscaler reads a metric, else what
            came of it: see `ports.replicas.ChangeResult`.
        """
        action = decision.action
        if action.after == action.before:
            return "none"
        for target in self._desk.targets:
            if target.settings.target != decision.subject.target:
                continue
            if target.platform is None:
                return "shown"
            until_ms = Milliseconds(decision.at_ms + target.settings.act_ms_max)
            if not decision.at_ms <= self._desk.now_ms() <= until_ms:
                return "late"
            return target.platform.change(action.before, action.after, until_ms)
        return "target_gone"

    def _look(self, target: TargetDesk, now_ms: int) -> ScalingLook | None:
        settings = target.settings
        last = newest_decision(self._desk.decisions, settings.target)
        before = start(settings) if last is None else last.state
        passed_ms = None if before.seen_ms is None else now_ms - before.seen_ms
        if passed_ms is not None and 0 <= passed_ms < EVERY_MS:
            return None
        seen = self._sample(target, before, now_ms)
        if seen is None and passed_ms is not None and 0 <= passed_ms < SILENCE_MS_MAX:
            return None
        if seen is None:
            seen = _unseen(now_ms)
        return Look(SCALING, Subject(target=settings.target), before, seen, settings)

    def _sample(
        self, target: TargetDesk, before: ScalingState, now_ms: int
    ) -> ScalingObservation | None:
        """Return the newest stretch of load that was not seen before; None if there is none."""
        from_ms = max(before.memory.until_ms, now_ms - target.settings.stale_ms_max)
        try:
            spans = self._desk.loads(from_ms, now_ms)
        except StateError:
            # No window can be read: there is nothing to see, and NODATA says so in the record.
            return None
        run = _newest_run(
            [one for one in spans if from_ms <= one.start_ms and one.end_ms <= now_ms]
        )
        if not run:
            return None
        mine = [
            load for one in run for load in one.loads or () if load.deployment == target.deployment
        ]
        span_ms = run[-1].end_ms - run[0].start_ms
        queued_milli = self._queued(target)
        in_flight_milli = sum(load.busy_ms for load in mine) * 1_000 // span_ms
        return ScalingObservation(
            start_ms=run[0].start_ms,
            end_ms=run[-1].end_ms,
            # What waits is in flight for a gateway: it is not counted twice.
            in_flight_milli=max(0, in_flight_milli - (queued_milli or 0)),
            queued_milli=queued_milli,
            requests=sum(load.requests for load in mine),
            late=sum(load.late for load in mine),
            replicas=self._replicas(target),
        )

    def _queued(self, target: TargetDesk) -> int | None:
        if target.queue_milli is None:
            return 0
        return self._number(target, "queue", target.queue_milli)

    def _replicas(self, target: TargetDesk) -> int | None:
        if target.replicas is None:
            return None
        return self._number(target, "replicas", target.replicas)

    def _number(self, target: TargetDesk, name: str, read: Callable[[], int]) -> int | None:
        key = (target.settings.target, name)
        fields = {"target": target.settings.target, "number": name}
        try:
            found = read()
        except StateError as error:
            # That there is no number is what the decision records; why is for the operator.
            if self._unread.get(key) != error.detail:
                fields |= {"error": error.detail, "next": error.advice}
                log.warning("a target's numbers cannot be read", extra={"fields": fields})
            self._unread[key] = error.detail
            return None
        if self._unread.pop(key, None) is not None:
            log.info("a target's numbers can be read again", extra={"fields": fields})
        return found


def newest_decision(decisions: DecisionReader, target: str) -> ScalingDecision | None:
    """Return the newest decision about a target by this version of the rule; None without one.

    Args:
        decisions: what was decided.
        target: its name.

    Raises:
        StateError: the records cannot be read.
    """
    try:
        record = _newest_record(decisions, target)
        data = None if record is None else decisions.blob(record.decision)
        return None if data is None else decode_decision(data, ScalingDecision)
    except (RecordRefused, canonical.NotCanonical) as error:
        raise _unreadable(target, error) from error


def missing_numbers(decisions: DecisionReader, target: str) -> tuple[str, ...]:
    """Return the fields of the newest sample of a target that could not be read, in its order.

    Args:
        decisions: what was decided.
        target: its name.

    Returns:
        Names of `ScalingObservation`; none where there was no sample, or is none any more.

    Raises:
        StateError: the records cannot be read.
    """
    try:
        record = _newest_record(decisions, target)
    except RecordRefused as error:
        raise _unreadable(target, error) from error
    data = None if record is None else decisions.blob(record.inputs)
    sample = part_of(data, ScalingObservation)
    names = ScalingObservation.__struct_fields__
    return () if sample is None else tuple(one for one in names if getattr(sample, one) is None)


def _newest_record(decisions: DecisionReader, target: str) -> ControlRecord | None:
    subject = canonical.encode(Subject(target=target)).decode("ascii")
    row = decisions.newest((SCALING.name,), subject)
    record = None if row is None else read_record(row.statement)
    return record if record is not None and record.rule_version == VERSION else None


def _unreadable(target: str, error: ValueError) -> StateError:
    return StateError(
        f"the newest decision about {target} cannot be read: {error}",
        next_step="Run `verismo audit`; bring adapt.db back from a backup.",
    )


def _newest_run(spans: Sequence[Loaded]) -> list[Loaded]:
    """Return the last intervals that are known and follow one another."""
    run: list[Loaded] = []
    for one in sorted(spans, key=lambda span: span.start_ms, reverse=True):
        if one.loads is None:
            if run:
                break
            continue
        if run and one.end_ms != run[-1].start_ms:
            break
        run.append(one)
    return run[::-1]


def _unseen(now_ms: int) -> ScalingObservation:
    return ScalingObservation(
        start_ms=Milliseconds(now_ms),
        end_ms=Milliseconds(now_ms),
        in_flight_milli=None,
        queued_milli=None,
        requests=None,
        late=None,
        replicas=None,
    )
