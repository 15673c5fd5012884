"""Cosignatures: a witness states when it saw a checkpoint, and that it follows all it saw before.

Version 1, Ed25519 (algorithm 4): the signature in the note's line is the time, 8 octets big-endian,
and 64 octets of Ed25519 over `cosigned_message`.

Source: C2SP tlog-cosignature.
"""

import struct

import msgspec

from verismo.attest.note import (
    ALGORITHM_COSIGNATURE,
    ED25519_SIGNATURE_BYTES,
    NoteRefused,
    NoteSignature,
    VerifierKey,
    signature_line,
    verify_ed25519,
)

TIMESTAMP_S_MAX = 2**63 - 1
TIMESTAMP_BYTES = 8


class Cosignature(msgspec.Struct, frozen=True):
    """A verified cosignature.

    Args:
        key: of the witness.
        timestamp_s: when it saw the checkpoint, Unix seconds, by its own clock.
    """

    key: VerifierKey
    timestamp_s: int


def cosigned_message(checkpoint_text: str, timestamp_s: int) -> bytes:
    """Return the octets that a witness signs.

    Args:
        checkpoint_text: the note text of the checkpoint, with its last line end.
        timestamp_s: when the witness saw it, Unix seconds, 0 to 2^63 - 1.

    Raises:
        NoteRefused: the time is out of range.

    Source: C2SP tlog-cosignature, "Ed25519 signed message".
    """
    _check_timestamp(timestamp_s)
    return f"cosignature/v1\ntime {timestamp_s}\n{checkpoint_text}".encode()


def cosignature_line(key: VerifierKey, timestamp_s: int, signature: bytes) -> str:
    """Return the signature line of a cosignature, with its line end.

    Args:
        key: of the witness, of algorithm 4.
        timestamp_s: as in the message.
        signature: Ed25519 over `cosigned_message`, 64 octets.

    Raises:
        NoteRefused: a key of another algorithm, a time out of range, a signature of another length.
    """
    _check_key(key)
    _check_timestamp(timestamp_s)
    if len(signature) != ED25519_SIGNATURE_BYTES:
        raise NoteRefused(f"an Ed25519 signature has {ED25519_SIGNATURE_BYTES} octets")
    return signature_line(key.name, key.key_hash, struct.pack(">Q", timestamp_s) + signature)


def verify_cosignature(key: VerifierKey, checkpoint_text: str, signature: NoteSignature) -> int:
    """Verify that a witness cosigned a checkpoint.

    Args:
        key: of the witness, of algorithm 4.
        checkpoint_text: the note text of the checkpoint, with its last line end.
        signature: the line that names the witness's key.

    Returns:
        When the witness saw it, Unix seconds. Compare it with a clock where that matters.

    Raises:
        NoteRefused: another key, malformed, or not of this witness over this text. As for every
            signature of a known key, the whole note is to be refused.
    """
    _check_key(key)
    if (signature.name, signature.key_hash) != (key.name, key.key_hash):
        raise NoteRefused(f"the cosignature is not of the key {key.name[:64]!r}")
    if len(signature.signature) != TIMESTAMP_BYTES + ED25519_SIGNATURE_BYTES:
        raise NoteRefused(f"the cosignature of {key.name[:64]!r} has another length")
    (timestamp_s,) = struct.unpack(">Q", signature.signature[:TIMESTAMP_BYTES])
    message = cosigned_message(checkpoint_text, timestamp_s)
    verify_ed25519(key, signature.signature[TIMESTAMP_BYTES:], message)
    return int(timestamp_s)


def _check_key(key: VerifierKey) -> None:
    if key.algorithm != ALGORITHM_COSIGNATURE:
        raise NoteRefused(f"the key {key.name[:64]!r} signs no cosignatures")


def _check_timestamp(timestamp_s: int) -> None:
    if not 0 <= timestamp_s <= TIMESTAMP_S_MAX:
        raise NoteRefused(f"a cosignature's time is from 0 to {TIMESTAMP_S_MAX} s")
