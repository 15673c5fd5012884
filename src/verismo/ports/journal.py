"""The journal: the durable, ordered record of attestations, one for each signer slot."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from verismo.model.ids import ProvId, TenantId

RecordKind = Literal["answer", "void"]
SignedRow = tuple[int, RecordKind, bytes, bytes]
"""Number, kind, statement and signature of a record: what the ledger needs of it."""


class Record(msgspec.Struct, frozen=True):
    """One row that is never changed once written.

    Args:
        kind: `answer` for the one terminal record of a request (refusals included), `void` for
            a recorded gap: sequence numbers whose commit failed.
        seq_n: the number given at signing; of a void record the last number of the gap.
        prov_id: which answer; of a void record a fresh one.
        tenant: whose; empty for void.
        statement: the signed bytes.
        jws: the detached signature, `header..signature`.
        graph: the provenance graph, canonical JSON; empty for void.
        cost_usd_micros: what the answer cost; lets budgets be recovered from the journal.
        captured: encrypted content, empty unless the tenant has capture on.
        written_ms: Unix ms, given by the caller.
    """

    kind: RecordKind
    seq_n: int
    prov_id: ProvId
    tenant: TenantId
    statement: bytes
    jws: bytes
    graph: bytes
    cost_usd_micros: int = 0
    captured: bytes = b""
    written_ms: int = 0


class OpenStream(msgspec.Struct, frozen=True):
    """A stream whose first event may have left and whose terminal record is not yet written.

    Args:
        prov_id: which answer.
        tenant: whose.
        head: head 0 as sent: the signed head's bytes.
        jws: its detached signature.
        context: opaque bytes from which recovery seals the terminal record of a lost stream.
        written_ms: Unix ms.
    """

    prov_id: ProvId
    tenant: TenantId
    head: bytes
    jws: bytes
    context: bytes
    written_ms: int = 0


class JournalFailed(Exception):
    """The batch that held this record is not known to be durable; the record must not be served.

    The record may or may not be on disk (failed and not stored, or failed but stored). After this
    the journal resolves which: `Journal.append` of the next record first writes a `void` record
    for every number that is not in the file.
    """


class Journal(Protocol):
    """A journal owned by exactly one process; opening one that is owned elsewhere is refused.

    Durability: when `append` or `open_stream` returns, the rows survive a power cut (fsync done).
    Ordering: records are stored in the order in which `append` was called; `seq_n` must rise.
    Concurrency: called from one event loop; concurrent calls share one commit (group commit, no
    timer: once the writer is idle, a commit starts with the first turn of the loop that brings no
    further record, or after a few).
    Retries: nobody retries; a failed append raises `JournalFailed` in every call of that batch.
    While the newest commit failed, the journal tries by itself whether one succeeds again.
    """

    def last_seq(self) -> int:
        """Return the highest number that is durable in the file, 0 for an empty journal."""
        ...

    async def append(self, record: Record) -> None:
        """Store one record durably; an open stream of the same `prov_id` is closed with it.

        Raises:
            JournalFailed: not known to be durable; fail closed.
        """
        ...

    async def open_stream(self, stream: OpenStream) -> None:
        """Store durably that a stream is about to start.

        Raises:
            JournalFailed: not known to be durable; fail closed.
        """
        ...

    async def try_out(self) -> None:
        """Commit nothing, to learn whether a commit would succeed; `failure` tells the outcome.

        It waits some seconds at most.
        """
        ...

    def lost_streams(self) -> Sequence[OpenStream]:
        """Return the streams that were open when the journal was last left, oldest first."""
        ...

    def is_open(self) -> bool:
        """Say whether appends may still succeed: not once it is closed or its writer has ended."""
        ...

    def failure(self) -> str:
        """Return why the newest commit failed, or that it does not end; empty if neither is so."""
        ...

    async def close(self) -> None:
        """Wait for the batch in flight, then release the file and its ownership."""
        ...


class JournalReader(Protocol):
    """Reads every slot's journal of a data folder, from any process, while they are written."""

    def find(self, prov_id: ProvId) -> Record | None:
        """Return the record of an answer, or None. An answer is visible once it is durable."""
        ...

    def scan(self, slot: str, after_seq: int, limit: int) -> Sequence[Record]:
        """Return up to `limit` records of a slot with `seq_n` over `after_seq`, in order."""
        ...

    def scan_uncaptured(self, slot: str, after_seq: int, limit: int) -> Sequence[Record]:
        """Return the same records with `captured` empty: content, up to 1 MB each, is not read."""
        ...

    def scan_signed(self, slot: str, after_seq: int, limit: int) -> Sequence[SignedRow]:
        """Return what of the same records is signed; graphs and content are not read."""
        ...

    def slots(self) -> Sequence[str]:
        """Return the names of the slots that have a journal, sorted."""
        ...

    def spent_by_slot(self, since_ms: int) -> dict[str, dict[TenantId, int]]:
        """Return the cost in USD micros of each slot's and tenant's records since a time."""
        ...
