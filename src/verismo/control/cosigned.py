"""How a log's published checkpoint stands with its witnesses, from the published files alone."""

import msgspec

from verismo.attest.checkpoint import Checkpoint, open_checkpoint
from verismo.attest.note import Note, NoteRefused, VerifierKey
from verismo.attest.witnesspolicy import CosignedBy, WitnessPolicy


class Witnessed(msgspec.Struct, frozen=True):
    """A checkpoint and who has seen it.

    Args:
        checkpoint: what the log signed.
        note: with every cosignature.
        by: who of the policy's witnesses cosigned it.
    """

    checkpoint: Checkpoint
    note: Note
    by: CosignedBy


def open_witnessed(data: bytes, log_key: VerifierKey, policy: WitnessPolicy) -> Witnessed:
    """Verify a checkpoint with its cosignatures.

    Args:
        data: the note as published.
        log_key: of the log.
        policy: whose witnesses count.

    Raises:
        NoteRefused: a wrong signature, or another log's checkpoint.
    """
    checkpoint, note = open_checkpoint(data, log_key)
    return Witnessed(checkpoint, note, policy.quorum_met(note))


def standing(
    published: bytes | None, cosigned: bytes | None, log_key: VerifierKey, policy: WitnessPolicy
) -> str:
    """Say in a few words whether a quorum has seen a log.

    Args:
        published: the log's checkpoint, None without one.
        cosigned: its largest checkpoint with a quorum, None without one.
        log_key: of the log.
        policy: whose witnesses count.
    """
    if published is None:
        return "nothing published"
    try:
        newest = open_witnessed(published, log_key, policy)
        kept = None if cosigned is None else open_witnessed(cosigned, log_key, policy)
    except NoteRefused as error:
        return f"REFUSED: {error}"
    if newest.by.met:
        return f"quorum: {_names(newest.by)}"
    if kept is not None and kept.by.met:
        behind = newest.checkpoint.size - kept.checkpoint.size
        return f"quorum at size {kept.checkpoint.size}, {behind} behind: {_names(kept.by)}"
    return f"NO QUORUM: {_names(newest.by)}"


def _names(by: CosignedBy) -> str:
    return ", ".join(ascii(name)[1:-1] for name in by.names) or "nobody"
