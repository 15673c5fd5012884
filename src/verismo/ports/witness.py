"""What a witness remembers, how a log asks witnesses, and where it keeps what they have said.

A witness's promise is its memory: it cosigns only what follows the largest tree it ever cosigned.
So `WitnessStore.advance` is the one write that matters, and it compares before it sets: of two
requests at once that both follow the stored head, one wins and the other is told to look again.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from verismo.model.errors import StateError
from verismo.model.ledger import LogId

TLOG_SIZE_MEDIA = "text/x.tlog.size"


class WitnessUnavailable(StateError):
    """A witness gave no usable answer; ask again later."""


class TrustedLog(msgspec.Struct, frozen=True, order=True):
    """A log key that a witness cosigns for.

    Args:
        origin: of the log; with `every_log` the part before `<region>/<yyyy>`, ending in `/log/`.
        raw: the log's Ed25519 public key, 32 octets.
        every_log: whether it stands for the logs of every region and year under the origin.
    """

    origin: str
    raw: bytes
    every_log: bool = False


class WitnessedHead(msgspec.Struct, frozen=True):
    """The largest tree that a witness has cosigned for one log.

    Args:
        origin: of the log.
        size: its leaves.
        root: 32 octets.
        timestamp_s: of the cosignature, Unix seconds by the witness's clock.
        note: the signed checkpoint as it was submitted.
    """

    origin: str
    size: int
    root: bytes
    timestamp_s: int
    note: bytes


class SplitView(msgspec.Struct, frozen=True):
    """Two checkpoints of one size with two roots, both signed by the log: proof against it.

    Args:
        origin: of the log.
        size: of both.
        seen_s: when the second one came, Unix seconds.
        known: the signed note that was cosigned.
        other: the signed note that was refused.
    """

    origin: str
    size: int
    seen_s: int
    known: bytes
    other: bytes


class WitnessStore(Protocol):
    """A witness's memory.

    Durability: what `advance` stored survives a power cut and kill -9 once it returned; the witness
    signs only after that.
    Concurrency: any number of threads and processes over one store.
    Every method raises `StateError` if the store cannot be read or written; whether a write that
    raised is stored is not known, and the log finds out by asking again.
    """

    def trusted(self) -> Sequence[TrustedLog]:
        """Return every log key that is trusted, sorted."""
        ...

    def trust(self, logs: Sequence[TrustedLog]) -> int:
        """Add log keys; returns how many were new."""
        ...

    def distrust(self, raw: bytes) -> Sequence[TrustedLog]:
        """Take a key away from every log; returns what it was trusted for. Heads stay."""
        ...

    def head(self, origin: str) -> WitnessedHead | None:
        """Return what was last cosigned for a log, None if nothing ever was."""
        ...

    def heads(self) -> Sequence[WitnessedHead]:
        """Return what was last cosigned, sorted by origin."""
        ...

    def advance(self, known: WitnessedHead | None, head: WitnessedHead) -> bool:
        """Replace a log's head if it is still the one that was compared with.

        Args:
            known: what `head` returned before the proof was verified.
            head: what will be cosigned.

        Returns:
            False if another request was first: nothing is stored, and nothing may be signed.
        """
        ...

    def keep_evidence(self, evidence: SplitView) -> None:
        """Keep proof against a log, the first of each size for ever; a log has at most 64."""
        ...

    def evidence(self) -> Sequence[SplitView]:
        """Return all proof that was kept, by origin and size."""
        ...


class Cosigned(msgspec.Struct, frozen=True):
    """A witness answered 200.

    Args:
        lines: what it answered, unverified: signature lines.
    """

    lines: str


class SizeConflict(msgspec.Struct, frozen=True):
    """A witness answered 409: it knows another size than the one that was sent.

    Args:
        size: of the tree that it cosigned last; 0 for none.
    """

    size: int


class Declined(msgspec.Struct, frozen=True):
    """A witness answered something else, and would again.

    Args:
        status: HTTP.
        reason: in its own words, at most 300 printable characters; may be empty.
    """

    status: int
    reason: str


class WitnessClient(Protocol):
    """Sends checkpoints to witnesses over their `add-checkpoint`.

    Concurrency: any number of calls at once. It tries once; who calls decides about another try.
    """

    async def add_checkpoint(self, url: str, body: bytes) -> Cosigned | SizeConflict | Declined:
        """Send one submission.

        Args:
            url: the witness's submission prefix.
            body: as `attest.submission` encodes it.

        Raises:
            WitnessUnavailable: no connection, too late, 429 or 5xx, or no readable answer. The
                witness may have stored the checkpoint all the same.
        """
        ...


class CosignedStore(Protocol):
    """Keeps each log's largest checkpoint that a quorum of witnesses has cosigned.

    The published checkpoint is often a second younger than that. Durability and atomicity: a note
    is there whole or not at all, and survives a power cut.
    """

    def cosigned(self, log: LogId) -> bytes | None:
        """Return the note with its cosignatures, None for none.

        Raises:
            StateError: it cannot be read.
        """
        ...

    def discard(self, log: LogId) -> None:
        """Remove what lies in its place and no witness has signed, so that it can be kept anew.

        Raises:
            StateError: it cannot be removed.
        """
        ...

    def keep(self, log: LogId, note: bytes) -> None:
        """Replace it.

        Raises:
            LedgerForked: the one that is there is larger, or as large with another root.
            StateError: it cannot be written.
        """
        ...


class Contradiction(msgspec.Struct, frozen=True, order=True):
    """A witness knows another ledger than this one.

    Args:
        log: `<region>/<yyyy>`.
        witness: as in the policy.
        reason: `ahead` if it has cosigned a larger tree, `split` if other entries.
        detail: for the operator.
    """

    log: str
    witness: str
    reason: str
    detail: str


class Contradictions(msgspec.Struct, frozen=True):
    """All that witnesses say against the ledger.

    Args:
        stops: whether a quorum has; nothing is signed until the ledger was adopted anew.
        said: what each said last, sorted.
    """

    stops: bool = False
    said: tuple[Contradiction, ...] = ()


class ContradictionStore(Protocol):
    """Keeps what witnesses say against the ledger, for the integrator and for operators.

    Durability and atomicity: as for `CosignedStore`.
    """

    def contradictions(self) -> Contradictions:
        """Return what was said.

        Raises:
            StateError: it cannot be read; nothing may be signed then.
        """
        ...

    def keep(self, contradictions: Contradictions) -> None:
        """Replace it.

        Raises:
            StateError: it cannot be written.
        """
        ...
