"""Recorded decisions as lists show them: what was decided, why, and by whom if by a person."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from verismo.attest.controlrecord import RecordRefused, read_record
from verismo.control.byhand import by_hand, part_of
from verismo.model.decision import Action, Subject
from verismo.model.errors import StateError
from verismo.ports.decisions import DecisionReader, DecisionRow

ROWS_AT_ONCE: Final = 500


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
        channel: how it came; `flag` for a flag of the configuration, empty where nobody did.
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
    channel: str = ""


class _Answer(msgspec.Struct, frozen=True):
    controller: str
    action: Action
    reasons: tuple[str, ...]


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
    answer = part_of(reader.blob(record.decision), _Answer)
    told = by_hand(reader, record)
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
        channel="" if told is None else told.channel,
    )


def _is_wanted(one: Listed, wanted: Wanted) -> bool:
    is_change = one.action.before != one.action.after or one.person
    return (
        one.rule.startswith(wanted.controller)
        and (not wanted.tenant or one.subject.tenant == wanted.tenant)
        and (not wanted.operation or one.subject.operation == wanted.operation)
        and (not wanted.target or one.subject.target == wanted.target)
        and (not wanted.changes or bool(is_change))
    )
