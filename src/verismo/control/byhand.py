"""Who told a controller something, as the record of the decision about it has it.

A decision about an act was made from the act, so what is recorded of its inputs says who, why, by
which way and until when. Nothing is checked: `verismo audit` does that.
"""

from typing import Final, TypeVar

import msgspec

from verismo.attest.controlrecord import ControlRecord
from verismo.ports.decisions import DecisionReader

ACT_RULES: Final = "-act"
"""Ends the names of the rules that decide about acts."""
Part = TypeVar("Part", bound=msgspec.Struct)


class ByHand(msgspec.Struct, frozen=True):
    """What of an act is shown.

    Args:
        actor: who told the controller; `configuration` for a flag that stands there.
        reason: why.
        channel: how it came; `flag` for a flag of the configuration.
        expires_ms: Unix ms; until when it was to hold, 0 where nothing lasts.
    """

    actor: str
    reason: str
    channel: str = ""
    expires_ms: int = 0


class _Within(msgspec.Struct, frozen=True):
    """An observation that holds the act besides other things."""

    act: ByHand


def by_hand(reader: DecisionReader, record: ControlRecord) -> ByHand | None:
    """Return the act that a decision is about; None for any other, or if its bytes are gone.

    Args:
        reader: of the records.
        record: of the decision.

    Raises:
        StateError: the records cannot be read.
    """
    if not record.rule.endswith(ACT_RULES) or record.kind != "decision":
        return None
    data = reader.blob(record.inputs)
    within = part_of(data, _Within)
    return part_of(data, ByHand) if within is None else within.act


def part_of(data: bytes | None, kind: type[Part]) -> Part | None:
    """Return a part of recorded bytes; None if they are gone or have no such part.

    Args:
        data: JSON, or None.
        kind: the part; what else the bytes hold is passed over.
    """
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError:
        return None
