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


class Standing(msgspec.Struct, frozen=True):
    """Whether a quorum has seen a log.

    Args:
        words: for people, with the witnesses' names.
        quorum_size: of the largest checkpoint with a quorum, None if there is none.
        newest: whether that is the published one.
    """

    words: str
    quorum_size: int | None = None
    newest: bool = False


def standing(
    published: bytes | None, cosigned: bytes | None, log_key: VerifierKey, policy: WitnessPolicy
) -> Standing:
    """Say whether a quorum has seen a log.

    Args:
        published: the log's checkpoint, None without one.
        cosigned: its largest checkpoint with a quorum, None without one.
        log_key: of the log.
        policy: whose witnesses count.
    """
    if published is None:
        return Standing("nothing published")
    try:
        newest = open_witnessed(published, log_key, policy)
    except NoteRefused as error:
        return Standing(f"REFUSED: the published checkpoint: {error}")
    size = newest.checkpoint.size
    if newest.by.met:
        return Standing(f"quorum: {_names(newest.by)}", size, newest=True)
    try:
        kept = None if cosigned is None else open_witnessed(cosigned, log_key, policy)
    except NoteRefused as error:
        words = f"NO QUORUM: {_names(newest.by)}; the file `cosigned` is damaged, and is written"
        return Standing(f"{words} again with the next quorum: {error}")
    if kept is not None and kept.by.met:
        quorum_size = kept.checkpoint.size
        words = f"quorum at size {quorum_size}, {size - quorum_size} behind: {_names(kept.by)}"
        return Standing(words, quorum_size)
    return Standing(f"NO QUORUM: {_names(newest.by)}")


def _names(by: CosignedBy) -> str:
    return ", ".join(ascii(name)[1:-1] for name in by.names) or "nobody"
