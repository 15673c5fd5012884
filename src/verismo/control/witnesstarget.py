"""The checkpoint that witnesses are asked for, and what it means if they refuse it."""

import base64

import msgspec

from verismo.attest.checkpoint import Checkpoint, read_checkpoint
from verismo.attest.note import Note, NoteRefused, read_note
from verismo.control.witnesspeer import PeerRefused
from verismo.model.ledger import LogId
from verismo.ports.witness import Declined

RUNBOOK = "docs/runbooks/witness-split-view.md"


class Target(msgspec.Struct, frozen=True):
    """The checkpoint of a log that witnesses are asked for.

    Args:
        log: which log.
        checkpoint: what it says.
        note: with the log's signature alone.
    """

    log: LogId
    checkpoint: Checkpoint
    note: Note


def target_of(log: LogId, data: bytes) -> Target | None:
    """Return the target that a published checkpoint makes; None if it is damaged.

    Args:
        log: which log.
        data: the note, with cosignatures or without.
    """
    checkpoint = head_in(data)
    if checkpoint is None:
        return None
    note = read_note(data)
    own = tuple(one for one in note.signatures if one.name == checkpoint.origin)
    return Target(log, checkpoint, Note(note.text, own))


def ahead(newest: Checkpoint, size: int) -> PeerRefused:
    """Say what it means that a witness knows a larger tree than it is asked for.

    Args:
        newest: the log's newest checkpoint here.
        size: of the tree that the witness cosigned.
    """
    if size <= newest.size:
        return PeerRefused("conflict", "it has cosigned a newer checkpoint already")
    return PeerRefused(
        "ahead",
        f"it has cosigned {newest.origin} at size {size}, which this ledger, at size "
        f"{newest.size}, has not reached: an old copy of the ledger is in use here, or "
        f"somebody else has the log key. Stop the gateway; {RUNBOOK}",
    )


def declined(target: Target, size: int, older: bytes, answer: Declined) -> PeerRefused:
    """Say what it means that a witness declined.

    Args:
        target: what it was asked for.
        size: of the tree that it cosigned last, as it says.
        older: root of our tree at that size.
        answer: what it answered.
    """
    checkpoint, words = target.checkpoint, answer.reason or "it gives no reason"
    if answer.status not in (409, 422):
        reason = {403: "forbidden", 404: "unknown_log"}.get(answer.status, "declined")
        return PeerRefused(reason, f"{checkpoint.origin}: it answers {answer.status}: {words}")
    return PeerRefused(
        "split",
        f"it knows another history of {checkpoint.origin} and answers {answer.status}: {words}. "
        f"Here, size {size} has root {_base64(older)} and size {checkpoint.size} has root "
        f"{_base64(checkpoint.root)}. Stop the gateway; {RUNBOOK}",
    )


def head_in(data: bytes | None) -> Checkpoint | None:
    """Return what a stored note says; None for none and for one that is damaged."""
    try:
        return None if data is None else read_checkpoint(read_note(data).text)
    except NoteRefused:
        return None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
