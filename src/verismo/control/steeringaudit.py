"""Compares the versions of the steering with the decisions that they are said to follow from.

Records name the version in force: a decision the one at its time, an outcome the one afterwards.
So the first record that names a version says which decisions came before it. Each rollout in that
version has the weight that the newest of those decisions about it gave, and each route that it
throttles is one that the newest of them about it left throttled.

The rate of a throttle is not compared: what a person set by hand ends by itself, between two
decisions. Nor is what a version leaves out: the configuration may no longer have it.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from verismo.attest.controlrecord import ControlRecord, is_next
from verismo.attest.keyentry import KeyEntry
from verismo.attest.steeringdoc import SteeringRefused, open_steering
from verismo.control.decisionaudit import DecisionAudit, Kept, Mismatch, Newest
from verismo.control.rules import BUDGET, BUDGET_CLOCK
from verismo.model import canonical
from verismo.model.decision import Subject
from verismo.model.steering import Rollout, Steering
from verismo.ports.steering import SteeringReader, SteeringRow

ROWS_AT_ONCE: Final = 100
_THROTTLING: Final = frozenset({BUDGET.name, BUDGET_CLOCK.name})


class SteeringAudit:
    """Follows an audit of records and judges each version where a record names it first.

    Args:
        reader: of the versions.
        keys: of the newest version of the key ring that is believed.
        decisions: the audit that is followed.
        since: number of the first record that is judged.
    """

    def __init__(
        self,
        reader: SteeringReader,
        keys: Sequence[KeyEntry],
        decisions: DecisionAudit,
        since: int = 1,
    ) -> None:
        self._reader = reader
        self._keys = keys
        self._decisions = decisions
        self._since = since
        self._rollouts: dict[Subject, Newest] = {}
        self._budgets: dict[Subject, Newest] = {}
        self._seen = 0
        self._named = 0

    def see(self, record: ControlRecord) -> Iterator[Mismatch]:
        """Yield what is wrong with the versions up to the one that a record names."""
        is_judged = record.n >= self._since
        if record.steering > self._seen:
            yield from self._up_to(record.steering, is_judged=is_judged)
        if record.steering > self._seen:
            self._seen = record.steering
            if is_judged:
                words = f"record {record.n} names version {record.steering}, which is not there"
                yield Mismatch(record.steering, "steering", "", words)
        if is_judged and record.steering < self._named:
            words = f"record {record.n} names version {record.steering} after {self._named}"
            yield Mismatch(record.steering, "steering", "", words)
        self._named = max(self._named, record.steering)
        newest = Newest(record.n, record.decision)
        if record.kind == "decision" and record.subject.candidate:
            self._rollouts[record.subject] = newest
        elif record.kind == "decision" and record.rule in _THROTTLING:
            self._budgets[record.subject] = newest

    def rest(self) -> Iterator[Mismatch]:
        """Yield what is wrong with the versions that no record names yet."""
        yield from self._up_to(None, is_judged=True)

    def _up_to(self, version: int | None, *, is_judged: bool) -> Iterator[Mismatch]:
        while rows := self._reader.rows(self._seen, ROWS_AT_ONCE):
            for row in rows:
                if version is not None and row.version > version:
                    return
                found = list(self._judge(row)) if is_judged else []
                self._seen = row.version
                yield from found

    def _judge(self, row: SteeringRow) -> Iterator[Mismatch]:
        if not is_next(self._seen, row.version):
            words = f"there is no version {self._seen + 1}"
            yield Mismatch(self._seen + 1, "steering", "", words)
        try:
            steering = open_steering(row.statement, row.jws, self._keys)
        except SteeringRefused as error:
            yield Mismatch(row.version, "steering", "", str(error))
            return
        if steering.version != row.version:
            words = f"it holds the version {steering.version}"
            yield Mismatch(row.version, "steering", "", words)
            return
        for subject, words in (*self._weight_faults(steering), *self._throttle_faults(steering)):
            about = canonical.encode(subject).decode("utf-8")
            yield Mismatch(row.version, "steering", about, words)

    def _weight_faults(self, steering: Steering) -> Iterator[tuple[Subject, str]]:
        for rollout in steering.rollouts:
            subject = Subject(
                rollout.tenant, rollout.operation, rollout.baseline, rollout.candidate
            )
            words = self._weight_fault(rollout, subject)
            if words:
                yield subject, words

    def _weight_fault(self, rollout: Rollout, subject: Subject) -> str:
        newest = self._rollouts.get(subject)
        if newest is None:
            return self._undecided("rollout")
        kept = self._known(newest)
        if kept is None or kept.action.kind != "weight_ppm":
            return ""
        if kept.action.after == rollout.weight_ppm:
            return ""
        return (
            f"it gives the candidate {rollout.weight_ppm} ppm; record {newest.n}, the newest about "
            f"it, decided {kept.action.after} ppm"
        )

    def _throttle_faults(self, steering: Steering) -> Iterator[tuple[Subject, str]]:
        for throttle in steering.throttles:
            subject = Subject(throttle.tenant, throttle.operation)
            newest = self._budgets.get(subject)
            if newest is None:
                words = self._undecided("throttle")
            else:
                words = _throttle_fault(self._known(newest), newest.n)
            if words:
                yield subject, words

    def _undecided(self, what: str) -> str:
        """Say that nobody decided; a record that is broken or missing may have been the one."""
        return "" if self._decisions.hole else f"nobody decided about the {what} that it names"

    def _known(self, newest: Newest) -> Kept | None:
        """Return what a decision says; None if it may not be the newest, or its bytes are gone."""
        is_certain = newest.n >= self._decisions.hole
        return self._decisions.kept(newest.decision) if is_certain else None


def _throttle_fault(kept: Kept | None, n: int) -> str:
    if kept is None:
        return ""
    try:
        phase = msgspec.json.decode(kept.state, type=_Phase).phase
    except msgspec.MsgspecError:
        return f"it throttles a route of which record {n} has no phase"
    is_open = phase == "OPEN"
    return (
        f"it throttles a route that record {n}, the newest about it, left open" if is_open else ""
    )


class _Phase(msgspec.Struct, frozen=True):
    """What is read of the state of a budget."""

    phase: str
