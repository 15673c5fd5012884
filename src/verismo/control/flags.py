"""Which flags of the configuration have yet to become acts.

That a flag was done is known from the records alone: after a restart, or in another process that
took the lease, it is not done again. Whatever a person decides later stands.
"""

from collections.abc import Sequence
from typing import Final

from verismo.adapt import override
from verismo.adapt.flag import Flag, act_of_flag, is_about, is_same
from verismo.attest.controlrecord import RecordRefused, read_record
from verismo.control.rollouts import Standing
from verismo.control.rules import CANARY_ACT
from verismo.model import canonical
from verismo.model.act import Act
from verismo.ports.decisions import DecisionReader, DecisionRow

ROWS: Final = 1_000
"""Records that are read at a time."""


class Flags:
    """The flags that stand in the configuration; used from one thread.

    Args:
        flags: as they were checked.
        reader: of decisions.
    """

    def __init__(self, flags: Sequence[Flag], reader: DecisionReader) -> None:
        self._flags = flags
        self._reader = reader
        self._done: set[tuple[Flag, str]] = set()
        self._read_to: int | None = None

    def due(self, standing: Standing, now_ms: int) -> Act | None:
        """Return what a flag asks to be done about a rollout now, if one does.

        Args:
            standing: the rollout; the act names its newest decision.
            now_ms: Unix ms.

        Raises:
            StateError: the records cannot be read.
        """
        subject = standing.decision.subject
        named = canonical.encode(subject).decode("utf-8")
        for flag in self._flags:
            if flag.expires_ms <= now_ms or not is_about(flag, subject):
                continue
            act = act_of_flag(flag, subject, standing.digest, now_ms)
            if override.refusal(standing.decision.state, act, now_ms):
                continue
            self._read_on(now_ms)
            if (flag, named) not in self._done:
                return act
        return None

    def _read_on(self, now_ms: int) -> None:
        """Note which flags the records that came since the last time say to be done."""
        after = self._begin(now_ms) if self._read_to is None else self._read_to
        while rows := self._reader.rows(after, ROWS):
            for row in rows:
                if row.rule == CANARY_ACT.name:
                    self._note(row)
            after = rows[-1].n
        self._read_to = after

    def _begin(self, now_ms: int) -> int:
        """Return the record up to which no flag that still holds can have been done."""
        holding = [one.expires_ms for one in self._flags if one.expires_ms > now_ms]
        earliest_ms = min(holding) - override.EXPIRY_MS_MAX
        first = self._reader.first_since(max(0, earliest_ms))
        return first - 1 if first else self._reader.last()

    def _note(self, row: DecisionRow) -> None:
        try:
            record = read_record(row.statement)
            act = canonical.decode(self._reader.blob(record.inputs) or b"", Act)
        except (RecordRefused, canonical.NotCanonical):
            # Nobody knows what it was: rather a flag that is not done than one that is done twice.
            self._done |= {(flag, row.subject) for flag in self._flags}
            return
        self._done |= {(flag, row.subject) for flag in self._flags if is_same(act, flag)}
