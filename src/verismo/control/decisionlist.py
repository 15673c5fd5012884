"""Recorded decisions as lists show them: what was decided, why, and by whom if by a person."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from verismo.attest.controlrecord import ControlRecord, RecordRefused, read_record
from verismo.model.decision import Action, Subject
from verismo.model.errors import StateError
from verismo.ports.decisions import DecisionReader, DecisionRow

ROWS_AT_ONCE: Final = 500
Part = TypeVar("Part", bound=msgspec.Struct)


class Wanted(msgspec.Struct, frozen=True):
    """Which decisions are wanted; what is empty does not matter.

    Args:
        controller: whose, with what people told it.
        tenant: about which.
        operation: about which.
        target: about which replicas.
        changes: only those that changed something, and people's.
        since_ms: Unix ms; those recorded since.
        after: those with a number over it.
    """

    controller: str = ""
    tenant: str = ""
    operation: str = ""
    target: str = ""
    changes: bool = False
    since_ms: int = 0
    after: int = 0


class Listed(msgspec.Struct, frozen=True):
    """One decision.

    Args:
        n: number of its record.
        rule: which rule decided.
        rule_version: of it.
        at_ms: when it was recorded, Unix ms.
        subject: about what.
        verdict: the answer.
        action: what is to be done; `none` where its bytes are no longer kept.
        reasons: codes, the first one decided; empty where its bytes are no longer kept.
        digest: of the decision, hex; what an override names.
        of: digest of the decision that it overrides, hex; empty for none.
        person: who told the controller; empty where nobody did.
        why: the reason that he or she gave.
    """

    n: int
    rule: str
    rule_version: int
    at_ms: int
    subject: Subject
    verdict: str
    action: Action
    reasons: tuple[str, ...]
    digest: str
    of: str
    person: str = ""
    why: str = ""


class _Answer(msgspec.Struct, frozen=True):
    controller: str
    action: Action
    reasons: tuple[str, ...]


class _Told(msgspec.Struct, frozen=True):
    """What of an act is shown; other observations have no such members."""

    actor: str
    reason: str


class _Within(msgspec.Struct, frozen=True):
    """An observation that holds the act besides other things."""

    act: _Told


def list_decisions(reader: DecisionReader, wanted: Wanted, limit: int) -> Sequence[Listed]:
    """Return the newest decisions that are wanted, in order.

    Nothing is checked: `verismo audit` does that.

    Args:
        reader: of the records.
        wanted: which.
        limit: how many at most.

    Raises:
        StateError: the records cannot be read.
    """
    found: deque[Listed] = deque(maxlen=limit)
    first = reader.first_since(wanted.since_ms)
    if not first:
        return ()
    after = max(first - 1, wanted.after)
    while rows := reader.rows(after, ROWS_AT_ONCE):
        for row in rows:
            found.extend(one for one in _listed(reader, row) if _is_wanted(one, wanted))
        after = rows[-1].n
    return tuple(found)


def _listed(reader: DecisionReader, row: DecisionRow) -> Iterator[Listed]:
    try:
        record = read_record(row.statement)
    except RecordRefused as error:
        raise StateError(
            f"record {row.n} of the decisions cannot be read: {error}",
            next_step="Run `verismo audit`: it names every record that was altered.",
        ) from error
    if record.kind != "decision":
        return
    answer = _read(reader.blob(record.decision), _Answer)
    told = _told(reader, record)
    yield Listed(
        n=record.n,
        rule=record.rule,
        rule_version=record.rule_version,
        at_ms=record.iat,
        subject=record.subject,
        verdict=record.verdict,
        action=Action() if answer is None else answer.action,
        reasons=() if answer is None else answer.reasons,
        digest=record.decision,
        of=record.of,
        person="" if told is None else told.actor,
        why="" if told is None else told.reason,
    )


def _told(reader: DecisionReader, record: ControlRecord) -> _Told | None:
    if not record.rule.endswith("-act"):
        return None
    data = reader.blob(record.inputs)
    within = _read(data, _Within)
    return _read(data, _Told) if within is None else within.act


def _read(data: bytes | None, kind: type[Part]) -> Part | None:
    """Return a part of recorded bytes; None if they are gone or have no such part."""
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError:
        return None


def _is_wanted(one: Listed, wanted: Wanted) -> bool:
    is_change = one.action.before != one.action.after or one.person
    return (
        one.rule.startswith(wanted.controller)
        and (not wanted.tenant or one.subject.tenant == wanted.tenant)
        and (not wanted.operation or one.subject.operation == wanted.operation)
        and (not wanted.target or one.subject.target == wanted.target)
        and (not wanted.changes or bool(is_change))
    )
