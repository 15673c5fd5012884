"""Routes' budgets as they are recorded: the newest decision of each of the three rules.

What is read is kept only until the records have a newer one, so that another process that takes the
lease, or this one after a crash, knows the same.
"""

from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from verismo.adapt.budget import BudgetState
from verismo.adapt.budgetact import HandState
from verismo.adapt.budgetlimit import LimitObservation, LimitState
from verismo.attest.controlrecord import RecordRefused, read_record
from verismo.control.rules import BUDGET, BUDGET_ACT, BUDGET_CLOCK, BUDGET_LIMIT
from verismo.model import canonical
from verismo.model.decision import Decision, Subject, decode_decision
from verismo.model.errors import StateError
from verismo.ports.decisions import DecisionReader

THROTTLING: Final = (BUDGET.name, BUDGET_CLOCK.name)
"""Rules that say whether a route is throttled."""

State = TypeVar("State", bound=msgspec.Struct)


class Recorded(msgspec.Struct, frozen=True):
    """How the three rules stand about one route; None where one has not decided yet.

    Args:
        throttling: the newest decision of `budget`, or of `budget-clock`.
        limit: of `budget-limit`.
        hand: of `budget-act`.
        digests: of those that there are, hex.
    """

    throttling: Decision[BudgetState] | None
    limit: Decision[LimitState] | None
    hand: Decision[HandState] | None
    digests: frozenset[str]


class BudgetRecords:
    """Reads budgets from the records; used from one thread.

    Args:
        reader: of decisions.
    """

    def __init__(self, reader: DecisionReader) -> None:
        self._reader = reader
        self._throttling: dict[Subject, tuple[int, str, Decision[BudgetState]]] = {}
        self._limits: dict[Subject, tuple[int, str, Decision[LimitState]]] = {}
        self._hands: dict[Subject, tuple[int, str, Decision[HandState]]] = {}

    def subjects(self, rule: str) -> Sequence[Subject]:
        """Return the routes that a rule has decided about, sorted.

        Raises:
            StateError: the records cannot be read.
        """
        return [_subject(one) for one in self._reader.subjects((rule,))]

    def of(self, subject: Subject) -> Recorded:
        """Return how the rules stand about a route.

        Raises:
            StateError: the records cannot be read, or name bytes that are not there.
        """
        throttling = self._newest(THROTTLING, subject, BudgetState, self._throttling)
        limit = self._newest((BUDGET_LIMIT.name,), subject, LimitState, self._limits)
        hand = self._newest((BUDGET_ACT.name,), subject, HandState, self._hands)
        found = [one[0] for one in (throttling, limit, hand) if one is not None]
        return Recorded(
            throttling=None if throttling is None else throttling[1],
            limit=None if limit is None else limit[1],
            hand=None if hand is None else hand[1],
            digests=frozenset(found),
        )

    def limit_observation(self, decision: Decision[LimitState]) -> LimitObservation | None:
        """Return what a limit was last learned from; None if it is no longer kept.

        Raises:
            StateError: it was altered.
        """
        kept = self._reader.blob(decision.inputs) if decision.inputs else None
        if kept is None:
            return None
        try:
            return canonical.decode(kept, LimitObservation)
        except canonical.NotCanonical as error:
            raise _unreadable(f"an observation: {error}") from error

    def throttling_decision(self, digest: str) -> Decision[BudgetState] | None:
        """Return a recorded decision of `budget`; None if there is none of that digest."""
        kept = self._reader.blob(digest)
        if kept is None or canonical.digest(kept) != digest:
            return None
        try:
            return decode_decision(kept, Decision[BudgetState])
        except canonical.NotCanonical:
            return None

    def _newest(
        self,
        rules: Sequence[str],
        subject: Subject,
        state: type[State],
        known: dict[Subject, tuple[int, str, Decision[State]]],
    ) -> tuple[str, Decision[State]] | None:
        row = self._reader.newest(rules, canonical.encode(subject).decode("utf-8"))
        if row is None:
            return None
        before = known.get(subject)
        if before is not None and before[0] == row.n:
            return before[1:]
        try:
            digest = read_record(row.statement).decision
            kept = self._reader.blob(digest)
            if kept is None or canonical.digest(kept) != digest:
                raise _unreadable(f"the bytes under {digest} are missing or altered")
            decision = decode_decision(kept, Decision[state])  # type: ignore[valid-type]
        except (RecordRefused, canonical.NotCanonical) as error:
            raise _unreadable(f"record {row.n}: {error}") from error
        known[subject] = (row.n, digest, decision)
        return digest, decision


def _subject(text: str) -> Subject:
    try:
        return canonical.decode(text.encode("utf-8"), Subject)
    except canonical.NotCanonical as error:
        raise _unreadable(f"a subject: {error}") from error


def _unreadable(what: str) -> StateError:
    return StateError(
        f"a decision about a budget cannot be read: {what}",
        next_step="`verismo audit` says what was altered; restore adapt.db from a backup.",
    )
