"""What a log sends to a witness: an old size, the proof from it, and a checkpoint.

    old 20852014
    <hash in base64, none to 63 of them>

    <the checkpoint, a signed note>

Source: C2SP tlog-witness, "add-checkpoint".
"""

import base64

import msgspec

from verismo.attest.checkpoint import read_decimal, read_hash
from verismo.attest.note import NoteRefused

PROOF_HASHES_MAX = 63
SUBMISSION_BYTES_MAX = 131_072
"""The longest proof has 3 kB; the rest is a checkpoint with more cosignatures than there are."""

_OLD = "old "


class Submission(msgspec.Struct, frozen=True):
    """A body of `add-checkpoint`; nothing in it is verified.

    Args:
        old_size: of the tree that the witness is said to know.
        proof: consistency proof from it to the checkpoint (RFC 6962, section 2.1.2).
        checkpoint: the signed note, verbatim.
    """

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def encode(self) -> bytes:
        """Return the body's octets."""
        hashes = (base64.b64encode(one).decode("ascii") for one in self.proof)
        lines = (f"{_OLD}{self.old_size}", *hashes, "")
        return "".join(f"{line}\n" for line in lines).encode("ascii") + self.checkpoint


def read_submission(data: bytes) -> Submission:
    """Read a body of `add-checkpoint`, in its one spelling.

    Args:
        data: at most 128 KiB.

    Raises:
        NoteRefused: over a limit, or not of the format.
    """
    if len(data) > SUBMISSION_BYTES_MAX:
        raise NoteRefused(f"a body of more than {SUBMISSION_BYTES_MAX} octets")
    head, separator, checkpoint = data.partition(b"\n\n")
    if not separator:
        raise NoteRefused("the body has no empty line before the checkpoint")
    if not head.isascii():
        raise NoteRefused("the body is not ASCII before the checkpoint")
    old, *hashes = head.decode("ascii").split("\n")
    if not old.startswith(_OLD):
        raise NoteRefused("the body does not begin with the old size")
    if len(hashes) > PROOF_HASHES_MAX:
        raise NoteRefused(f"a proof of more than {PROOF_HASHES_MAX} hashes")
    proof = tuple(read_hash(line) for line in hashes)
    return Submission(read_decimal(old.removeprefix(_OLD)), proof, checkpoint)
