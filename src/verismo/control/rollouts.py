"""Rollouts as they are recorded: the newest decision about each, and the settings it was made by.

Nothing is kept here: each call reads the records, so that another process that takes the lease, or
this one after a crash, knows the same.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from verismo.adapt.canarysettings import CanarySettings
from verismo.adapt.canarystate import CanaryState
from verismo.attest.controlrecord import RecordRefused, read_record
from verismo.model import canonical
from verismo.model.decision import Decision, Subject, decode_decision
from verismo.model.errors import StateError
from verismo.ports.decisions import DecisionReader

RULES: Final = ("canary", "canary-act", "canary-event")
"""Who decides about rollouts: the controller, people, and what befalls a rollout besides."""
_KIND: Final = Decision[CanaryState]


class Standing(msgspec.Struct, frozen=True):
    """How a rollout stands.

    Args:
        digest: of the newest decision about it, hex.
        decision: that decision.
        settings: which it was made by; the same for a whole rollout.
    """

    digest: str
    decision: Decision[CanaryState]
    settings: CanarySettings

    @property
    def is_running(self) -> bool:
        """Whether the controller still decides about it."""
        return not self.decision.state.ended

    @property
    def is_steering(self) -> bool:
        """Whether gateways split requests by it."""
        return self.decision.state.ended in ("", "promoted")


class Rollouts:
    """Reads rollouts from the records.

    Args:
        reader: of decisions.
    """

    def __init__(self, reader: DecisionReader) -> None:
        self._reader = reader

    def all(self) -> Sequence[Standing]:
        """Return how each rollout stands that was ever begun, by subject.

        Raises:
            StateError: the records cannot be read, or name bytes that are not there.
        """
        found = (self.newest(_subject(one)) for one in self._reader.subjects(RULES))
        return [one for one in found if one is not None]

    def newest(self, subject: Subject) -> Standing | None:
        """Return how one rollout stands; None for one that was never begun.

        Raises:
            StateError: as `all`.
        """
        row = self._reader.newest(RULES, canonical.encode(subject).decode("utf-8"))
        if row is None:
            return None
        try:
            record = read_record(row.statement)
            decision = decode_decision(self._kept(record.decision), _KIND)
            settings = canonical.decode(self._kept(record.settings), CanarySettings)
        except (RecordRefused, canonical.NotCanonical) as error:
            raise _unreadable(f"record {row.n}: {error}") from error
        return Standing(record.decision, decision, settings)

    def decision(self, digest: str) -> Decision[CanaryState] | None:
        """Return a recorded decision about a rollout; None if there is none of that digest.

        Raises:
            StateError: the records cannot be read.
        """
        kept = self._reader.blob(digest)
        if kept is None or canonical.digest(kept) != digest:
            return None
        try:
            return decode_decision(kept, _KIND)
        except canonical.NotCanonical:
            return None

    def _kept(self, digest: str) -> bytes:
        kept = self._reader.blob(digest)
        if kept is None or canonical.digest(kept) != digest:
            raise _unreadable(f"the bytes under {digest} are missing or altered")
        return kept


def _subject(text: str) -> Subject:
    try:
        return canonical.decode(text.encode("utf-8"), Subject)
    except canonical.NotCanonical as error:
        raise _unreadable(f"a subject: {error}") from error


def _unreadable(what: str) -> StateError:
    return StateError(
        f"a decision about a rollout cannot be read: {what}",
        next_step="`verismo audit` says what was altered; restore adapt.db from a backup.",
    )
