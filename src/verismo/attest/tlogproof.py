"""The proof file: one entry of a ledger, proven offline (C2SP tlog-proof).

It holds the entry's index, the Merkle path and the signed checkpoint, cosignatures included. It
does not hold the entry: who verifies makes it from the statement and its signature
(`leaf.leaf_entry`), so a proof file proves nothing by itself and tells nothing.

Source: C2SP tlog-proof.
"""

import base64

import msgspec

from verismo.attest.checkpoint import Checkpoint, open_checkpoint, read_decimal, read_hash
from verismo.attest.merkle import (
    HASH_BYTES,
    INCLUSION_HASHES_MAX,
    SIZE_MAX,
    ProofRefused,
    leaf_hash,
    verify_inclusion,
)
from verismo.attest.note import NOTE_BYTES_MAX, Note, NoteRefused, VerifierKey, decode_base64
from verismo.attest.witnesspolicy import CosignedBy, WitnessPolicy

PROOF_SUFFIX = ".tlog-proof"
EXTRA_BYTES_MAX = 65_536
PROOF_BYTES_MAX = NOTE_BYTES_MAX + 131_072
"""A checkpoint of full length, the longest path and the longest extra data fit in."""

_FIRST_LINE = "c2sp.org/tlog-proof@v1"


class QuorumMissed(ProofRefused):
    """The entry is in the ledger, but too few witnesses have seen the checkpoint that proves it."""


class LedgerProof(msgspec.Struct, frozen=True):
    """A proof file; nothing in it is verified, see `verify_proof`.

    Args:
        extra: of whoever made it, not authenticated; ours have none.
        index: of the entry, from 0.
        hashes: the Merkle path, the leaf's sibling first.
        checkpoint: the signed note, verbatim.
    """

    extra: bytes
    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes

    def encode(self) -> bytes:
        """Return the file's octets.

        Raises:
            ProofRefused: index, path or extra data are outside the format.
        """
        _check_path(self.index, self.hashes)
        if len(self.extra) > EXTRA_BYTES_MAX:
            raise ProofRefused(f"extra data of more than {EXTRA_BYTES_MAX} octets")
        lines = [_FIRST_LINE]
        if self.extra:
            lines.append(f"extra {_base64(self.extra)}")
        lines.append(f"index {self.index}")
        lines += [_base64(one) for one in self.hashes]
        return "".join(f"{line}\n" for line in (*lines, "")).encode("ascii") + self.checkpoint


class ProvenInclusion(msgspec.Struct, frozen=True):
    """What a proof has proven.

    Args:
        origin: which ledger.
        index: of the entry in it.
        size: leaves of the tree that includes it.
        root: of that tree, 32 octets.
        cosigned: who saw that tree; None if no policy was given, so that a split view is possible.
    """

    origin: str
    index: int
    size: int
    root: bytes
    cosigned: CosignedBy | None


def read_proof(data: bytes) -> LedgerProof:
    """Read a proof file, in its one spelling; nothing is verified.

    Args:
        data: at most 1.2 MB.

    Raises:
        ProofRefused: over a limit, or not of the format.
    """
    if len(data) > PROOF_BYTES_MAX:
        raise ProofRefused(f"a proof file of more than {PROOF_BYTES_MAX} octets")
    head, separator, checkpoint = data.partition(b"\n\n")
    if not separator:
        raise ProofRefused("the proof file has no empty line before the checkpoint")
    if not head.isascii():
        raise ProofRefused("the proof file is not ASCII before the checkpoint")
    lines = head.decode("ascii").split("\n")
    if lines.pop(0) != _FIRST_LINE:
        raise ProofRefused(f"the proof file does not begin with {_FIRST_LINE}")
    try:
        extra = _read_extra(lines)
        if not lines or not lines[0].startswith("index "):
            raise ProofRefused("the proof file has no index line")
        index = read_decimal(lines[0].removeprefix("index "))
        hashes = tuple(read_hash(line) for line in lines[1:])
    except NoteRefused as error:
        raise ProofRefused(f"the proof file is malformed: {error}") from error
    _check_path(index, hashes)
    return LedgerProof(extra, index, hashes, checkpoint)


def verify_proof(
    proof: LedgerProof,
    entry: bytes,
    log_key: VerifierKey,
    policy: WitnessPolicy | None = None,
) -> ProvenInclusion:
    """Verify that a ledger holds an entry.

    Args:
        proof: as `read_proof` returned it.
        entry: made from what is to be proven (`leaf.leaf_entry`), never taken from the same hand.
        log_key: of the ledger that has to hold it; its name is the origin.
        policy: whose witnesses have to have seen the checkpoint; without one the operator could
            show this checkpoint to nobody else.

    Raises:
        QuorumMissed: all is right but the policy's quorum. `policy.quorum_met` says who is there.
        ProofRefused: not proven: another entry, log or tree, or a wrong signature.
    """
    try:
        checkpoint, note = open_checkpoint(proof.checkpoint, log_key)
    except NoteRefused as error:
        raise ProofRefused(f"the checkpoint is refused: {error}") from error
    size, root = checkpoint.size, checkpoint.root
    verify_inclusion(leaf_hash(entry), proof.index, size, proof.hashes, root)
    cosigned = None if policy is None else _check_policy(policy, checkpoint, note, log_key)
    return ProvenInclusion(checkpoint.origin, proof.index, size, root, cosigned)


def _check_policy(
    policy: WitnessPolicy, checkpoint: Checkpoint, note: Note, log_key: VerifierKey
) -> CosignedBy:
    if policy.logs and log_key not in [one.key for one in policy.logs]:
        raise ProofRefused(f"the policy does not name the log {checkpoint.origin[:64]!r}")
    if any(one.key.raw == log_key.raw for one in policy.witnesses):
        raise ProofRefused("a witness of the policy has the key of the log: it vouches for itself")
    try:
        cosigned = policy.quorum_met(note)
    except NoteRefused as error:
        raise ProofRefused(f"the checkpoint is refused: {error}") from error
    if not cosigned.met:
        names = ", ".join(ascii(name) for name in cosigned.names) or "nobody"
        raise QuorumMissed(f"the checkpoint lacks the quorum {policy.quorum!r}: {names} cosigned")
    return cosigned


def _read_extra(lines: list[str]) -> bytes:
    """Take the extra line off the lines, if there is one."""
    if not lines or not lines[0].startswith("extra "):
        return b""
    extra = decode_base64(lines.pop(0).removeprefix("extra "), "extra data")
    if not 0 < len(extra) <= EXTRA_BYTES_MAX:
        raise ProofRefused(f"extra data of {len(extra)} octets; 1 to {EXTRA_BYTES_MAX} are allowed")
    return extra


def _check_path(index: int, hashes: tuple[bytes, ...]) -> None:
    if not 0 <= index < SIZE_MAX:
        raise ProofRefused(f"there is no index {index} in any log")
    if len(hashes) > INCLUSION_HASHES_MAX:
        raise ProofRefused(f"a path of more than {INCLUSION_HASHES_MAX} hashes")
    if any(len(one) != HASH_BYTES for one in hashes):
        raise ProofRefused(f"a hash has {HASH_BYTES} octets")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
