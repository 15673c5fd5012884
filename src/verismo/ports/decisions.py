"""Decisions as they are kept: signed records in one gapless sequence, and what they were made from.

A record names everything by its digest; the bytes are kept beside it under that digest. A record is
durable before the act that follows it (decisions 14), and each becomes a leaf of the ledger.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from verismo.model.units import Milliseconds


class DecisionRow(msgspec.Struct, frozen=True):
    """One signed record.

    Args:
        n: counted from 1 without a gap, save after a restore.
        rule: which rule decided; `outcome` for the record of what came of an act.
        subject: canonical JSON of the subject; rows of one rule and subject follow each other.
        verdict: for lists; the decision has it too.
        statement: the signed bytes (`attest.controlrecord`).
        jws: the detached signature.
        written_ms: Unix ms.
    """

    n: int
    rule: str
    subject: str
    verdict: str
    statement: bytes
    jws: bytes
    written_ms: Milliseconds


class DecisionReader(Protocol):
    """Reads what is kept; any process, while it is written."""

    def rows(self, after: int, limit: int) -> Sequence[DecisionRow]:
        """Return up to `limit` rows with numbers over `after`, in order."""
        ...

    def newest(self, rules: Sequence[str], subject: str) -> DecisionRow | None:
        """Return the newest row of any of some rules about a subject; None if there is none."""
        ...

    def subjects(self, rules: Sequence[str]) -> Sequence[str]:
        """Return the subjects that some rules have decided about, sorted."""
        ...

    def first_since(self, since_ms: int) -> int:
        """Return the number of the first row written at or after a time; 0 if there is none."""
        ...

    def last(self) -> int:
        """Return the highest number, 0 for none; after a restore, that up to which none comes.

        A backup does not know the numbers that were given out after it was made.
        """
        ...

    def blob(self, digest: str) -> bytes | None:
        """Return what was kept under a hex SHA-256; None if it is not there. It is not checked."""
        ...


class DecisionArchive(DecisionReader, Protocol):
    """What an audit looks at besides: whose bytes are kept."""

    def named(self, n: int) -> frozenset[str]:
        """Return the digests of the bytes that are kept for a record; empty once forgotten."""
        ...

    def named_last(self) -> int:
        """Return the highest number of a record that bytes are kept for, 0 for none."""
        ...


class DecisionStore(DecisionReader, Protocol):
    """What is kept, for the one control process that holds the lease.

    Durability: what `append` returned from survives a power cut. Fencing: see `ports.ledger.Lease`;
    the same contract, with a lease of its own.
    """

    def tip(self) -> DecisionRow | None:
        """Return the newest row of all; None for none."""
        ...

    def forget(self, token: int, before_ms: int) -> int:
        """Forget the bytes that only records written before a time name; records stay.

        What the newest record of each rule and subject names is kept whatever its age: decisions
        go on from there.

        Returns:
            How many were forgotten.

        Raises:
            LeaseElsewhere: another process decides now.
            StateError: they cannot be written.
        """
        ...

    def append(self, token: int, row: DecisionRow, blobs: Mapping[str, bytes]) -> None:
        """Store the next record and what it names, in one transaction.

        Args:
            token: of the lease.
            row: its number is one more than the last.
            blobs: by hex SHA-256; those that are there already are left as they are.

        Raises:
            LeaseElsewhere: another process decides now.
            StateError: it is not the next number, or cannot be written.
        """
        ...
