"""The ledger's stores: who has which index, the tiles that the world reads, and the one writer.

One integrator writes at a time. It holds a lease with a fencing token; each of its writes to the
`LedgerStore` names the token, so that one whose lease went elsewhere can change nothing there.
What it may still do, writing tiles, is harmless: tiles follow from what the store has assigned, so
two integrators write the same bytes, and a tile path never takes two different ones.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from verismo.model.errors import StateError
from verismo.model.ledger import LogId


class LeaseElsewhere(StateError):
    """Another process integrates, or has taken over; this one may change nothing."""


class LedgerForked(StateError):
    """Going on would show two histories to the world: refused, for an operator to look at."""


class SourceRow(msgspec.Struct, frozen=True, gc=False):
    """One signed thing that becomes a leaf.

    Args:
        seq_n: its number in its source, rising.
        leaf_type: the first byte of the entry (decisions 6).
        statement: the signed bytes.
        jws: the detached signature.
    """

    seq_n: int
    leaf_type: int
    statement: bytes
    jws: bytes


class Run(msgspec.Struct, frozen=True):
    """Rows with consecutive numbers that have consecutive indices in one log.

    Args:
        source: the slot, or another source's name.
        first_seq: number of the first row.
        count: how many, 1 or more.
        log: which log.
        first_index: index of the first row in it.
    """

    source: str
    first_seq: int
    count: int
    log: LogId
    first_index: int


class Growth(msgspec.Struct, frozen=True):
    """What one log takes in one step.

    Args:
        log: which log.
        first_index: what its size was before.
        entries: 33 bytes for each entry, in order.
        runs: where each entry comes from; together exactly the entries.
    """

    log: LogId
    first_index: int
    entries: bytes
    runs: tuple[Run, ...]


class LogState(msgspec.Struct, frozen=True):
    """How far a log is: indices given out, and entries whose full tiles are durable."""

    log: LogId
    assigned: int
    integrated: int


class StoredCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint as it was signed.

    Args:
        log: which log.
        size: its number of entries.
        root: 32 bytes.
        note: the signed note, with the log's signature alone.
        signed_ms: Unix ms.
    """

    log: LogId
    size: int
    root: bytes
    note: bytes
    signed_ms: int


class LeafPlace(msgspec.Struct, frozen=True):
    """Where a row is in the ledger."""

    log: LogId
    index: int


class TileFile(msgspec.Struct, frozen=True):
    """A tile or an entry bundle: its path within the log (`tile/0/001`) and its bytes."""

    path: str
    content: bytes


class AdaptRow(msgspec.Struct, frozen=True, gc=False):
    """A signed row of the control plane: a record of a decision, or a version of the steering.

    Args:
        n: its number in its sequence.
        statement: the signed bytes.
        jws: the detached signature.
        written_ms: Unix ms.
    """

    n: int
    statement: bytes
    jws: bytes
    written_ms: int


class AdaptRows(Protocol):
    """What the control plane has signed, as it becomes leaves."""

    def rows(self, source: str, after: int, limit: int) -> Sequence[AdaptRow]:
        """Return up to `limit` rows of `@decisions` or `@steering` over a number, in order.

        Raises:
            StateError: they cannot be read.
        """
        ...


class LeafSource(Protocol):
    """Where leaves come from: the journals, the key ring.

    Ordering: numbers rise within a name, and a row that is visible is never changed, removed or
    preceded by one that appears later.
    """

    def names(self) -> Sequence[str]:
        """Return the names of its sequences; names of several sources never collide."""
        ...

    def rows(self, name: str, after: int, limit: int) -> Sequence[SourceRow]:
        """Return up to `limit` rows of a sequence with numbers over `after`, in order.

        Raises:
            StateError: the source cannot be read.
        """
        ...


class Lease(Protocol):
    """The right to integrate, given to one holder at a time.

    Tokens rise with each acquisition, for ever. Durability: a token that was returned survives a
    power cut. Clock: the callers'; a clock that steps back or forth may pass the lease on early,
    which the fencing makes harmless.
    """

    def acquire(self, holder: str, now_ms: int, ttl_ms: int) -> int:
        """Take the lease and return its fencing token; the same holder may take it again.

        Raises:
            LeaseElsewhere: another holder has it.
            StateError: the store cannot be written.
        """
        ...

    def renew(self, token: int, now_ms: int, ttl_ms: int) -> None:
        """Prolong the lease.

        Raises:
            LeaseElsewhere: a later token was given out.
        """
        ...

    def release(self, token: int) -> None:
        """Give the lease up; nothing happens if it went elsewhere already."""
        ...


class LedgerStore(Protocol):
    """Which row has which index, and what was signed.

    Durability: a write that returned survives a power cut; each write is one transaction. One that
    raised may be stored or not: forget everything and read again.
    Concurrency: one integrator and any number of readers in other processes.
    Every write raises `LeaseElsewhere` if its token is not the last one given out, and `StateError`
    if the store cannot be written.
    """

    def cursors(self) -> Mapping[str, int]:
        """Return the last number of each source that has an index."""
        ...

    def logs(self) -> Sequence[LogState]:
        """Return every log's state, sorted."""
        ...

    def assign(self, token: int, growths: Sequence[Growth], cursors: Mapping[str, int]) -> None:
        """Give indices to entries and move the cursors; a log's first growth makes the log.

        Raises:
            LedgerForked: a growth does not begin at the log's size, or a cursor would go back.
        """
        ...

    def pending(self, log: LogId, first_index: int) -> bytes:
        """Return the entries from an index on, 33 bytes each.

        They are kept at least from the last full tile's end before the integrated size on.

        Raises:
            LedgerForked: entries from that index on are no longer kept.
        """
        ...

    def integrated(self, token: int, log: LogId, size: int) -> None:
        """Note that all full tiles up to a size are durable; entries in them need not be kept."""
        ...

    def add_checkpoint(self, token: int, checkpoint: StoredCheckpoint) -> None:
        """Store a signed checkpoint; of those before it the last of each hour are kept.

        One of the last size and root with another note, as after a log key was revoked, takes the
        place of the last.

        Raises:
            LedgerForked: the log has a larger checkpoint, or this one, or another root, already.
        """
        ...

    def latest_checkpoint(self, log: LogId) -> StoredCheckpoint | None:
        """Return the last checkpoint that was signed, None for none."""
        ...


class LedgerReader(Protocol):
    """Reads the same store from other processes and threads, while it is written."""

    def locate(self, source: str, seq_n: int) -> LeafPlace | None:
        """Return where a row is in the ledger, None if it has no index yet."""
        ...

    def runs(self, log: LogId, first_index: int, limit: int) -> Sequence[Run]:
        """Return the runs from the one that holds an index on, in the order of indices."""
        ...

    def logs(self) -> Sequence[LogState]:
        """Return every log's state, sorted."""
        ...

    def cursors(self) -> Mapping[str, int]:
        """Return the last number of each source that has an index."""
        ...

    def checkpoints(self, log: LogId) -> Sequence[StoredCheckpoint]:
        """Return the checkpoints that are kept, smallest first."""
        ...

    def latest_checkpoint(self, log: LogId) -> StoredCheckpoint | None:
        """Return the last checkpoint that was signed, None for none."""
        ...


class TileReader(Protocol):
    """Reads what a log publishes: a folder, a bucket or a URL."""

    def read(self, log: LogId, path: str) -> bytes | None:
        """Return `checkpoint`, a tile or a bundle by its path; None if it is not there.

        Raises:
            StateError: it cannot be read now.
        """
        ...


class TileStore(Protocol):
    """The tiles, entry bundles and checkpoints that the world reads.

    Durability: what was written survives a power cut when the call returns.
    Atomicity: a reader sees a file whole or not at all.
    """

    def read(self, log: LogId, path: str) -> bytes | None:
        """Return a file by its path within the log; None if it is not there."""
        ...

    def write(self, log: LogId, files: Sequence[TileFile]) -> None:
        """Write tiles and bundles once; writing the same bytes again is fine.

        Raises:
            LedgerForked: a path has other bytes already; nothing is changed there.
            StateError: it cannot be written; some of the files may be.
        """
        ...

    def prune(self, log: LogId, paths: Sequence[str]) -> None:
        """Remove every partial tile of full tiles that are there, by the full tiles' paths."""
        ...

    def publish(self, log: LogId, note: bytes) -> None:
        """Replace the log's checkpoint.

        Raises:
            LedgerForked: the published one is larger, or as large with another root.
            StateError: it cannot be written.
        """
        ...


class CheckpointMemory(Protocol):
    """The second place: the last checkpoint that was signed for each origin.

    It lies beside the log key and never with the tiles, so that an old copy of the ledger that is
    put back is told by it. Durability and atomicity as for `TileStore`.
    """

    def remembered(self, origin: str) -> bytes | None:
        """Return the last signed note of an origin, None for none.

        Raises:
            StateError: it cannot be read.
        """
        ...

    def remember(self, origin: str, note: bytes) -> None:
        """Replace it.

        Raises:
            LedgerForked: the one that is there is larger, or as large with another root.
            StateError: it cannot be written.
        """
        ...
