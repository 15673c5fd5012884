"""Checkpoints: the signed head of a ledger, three lines of a note (C2SP tlog-checkpoint).

Origin, size and root. Ours have no further lines; those of other logs may, and they are kept.

Source: C2SP tlog-checkpoint.
"""

import base64
import re

import msgspec

from verismo.attest.merkle import EMPTY_ROOT, HASH_BYTES, SIZE_MAX
from verismo.attest.note import (
    NOTE_BYTES_MAX,
    Note,
    NoteRefused,
    VerifierKey,
    decode_base64,
    read_note,
    verify_note,
)

_DECIMAL = re.compile("0|[1-9][0-9]{0,18}", re.ASCII)


class Checkpoint(msgspec.Struct, frozen=True):
    """The head of a ledger at one size.

    Args:
        origin: which ledger.
        size: its leaves.
        root: of its tree, 32 octets.
        extensions: further lines, each without its line end; ours have none.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the note text: what the log signs, with its last line end."""
        root = base64.b64encode(self.root).decode("ascii")
        return "\n".join((self.origin, str(self.size), root, *self.extensions)) + "\n"


def read_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint's note text; nothing is verified.

    Args:
        text: with its last line end.

    Raises:
        NoteRefused: not three or more lines that are not empty, a size outside 0 to 2^63 - 1 or
            with leading zeroes, a root that is not 32 octets, or another than that of the empty
            tree at size 0.
    """
    if len(text) > NOTE_BYTES_MAX or not text.endswith("\n"):
        raise NoteRefused("the checkpoint is too long or has no last line end")
    lines = text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise NoteRefused("a checkpoint has three lines at least, and none is empty")
    origin, size_text, root_text, *extensions = lines
    size = read_decimal(size_text)
    root = read_hash(root_text)
    if size == 0 and root != EMPTY_ROOT:
        raise NoteRefused("a checkpoint without leaves has another root")
    return Checkpoint(origin, size, root, tuple(extensions))


def open_checkpoint(data: bytes, log_key: VerifierKey) -> tuple[Checkpoint, Note]:
    """Read a signed checkpoint and verify that its log signed it.

    Args:
        data: the note as published.
        log_key: the log's; its name is the origin that the checkpoint must have.

    Returns:
        The checkpoint and its note; cosignatures of witnesses in it are not verified yet.

    Raises:
        NoteRefused: no checkpoint, of another origin, or not signed by the log. Do not use it.
    """
    note = read_note(data)
    verify_note(note, (log_key,))
    checkpoint = read_checkpoint(note.text)
    if checkpoint.origin != log_key.name:
        raise NoteRefused(
            f"a checkpoint of {checkpoint.origin[:64]!r}, signed by {log_key.name[:64]!r}"
        )
    return checkpoint, note


def read_decimal(text: str) -> int:
    """Read a size or an index in its one spelling.

    Raises:
        NoteRefused: not ASCII digits without leading zeroes, or over 2^63 - 1.
    """
    if _DECIMAL.fullmatch(text) is None or int(text) > SIZE_MAX:
        raise NoteRefused(f"not a decimal from 0 to {SIZE_MAX}: {text[:32]!r}")
    return int(text)


def read_hash(text: str) -> bytes:
    """Read a hash, base64, in its one spelling.

    Raises:
        NoteRefused: not the canonical base64 of 32 octets.
    """
    data = decode_base64(text, "hash")
    if len(data) != HASH_BYTES:
        raise NoteRefused(f"a hash has {HASH_BYTES} octets, not {len(data)}")
    return data
