"""The SIEM export: where leaves come from, where events go, and what is remembered in between."""

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import msgspec

from verismo.model.siem import HourTally, SiemEvent

NOTHING_SENT = -1
"""The cursor of a log of which nothing was sent yet."""

DeadState = Literal["dead", "queued"]
"""`queued` is to be sent again with the sink's next batch."""


class LoggedRecord(msgspec.Struct, frozen=True):
    """A leaf of a log with what it commits to.

    Args:
        index: of the leaf.
        kind: the leaf's type byte (decisions 6).
        prov_id: of the record; empty if its kind has none.
        statement: the signed bytes.
        jws: the detached signature.
        graph: the provenance graph, canonical JSON; empty if its kind has none.
        written_ms: when it was stored, Unix ms; of a record that is lost a time before that.
        entry: the leaf itself where a restore has lost its record, whose other bytes are empty
            then; else empty.
    """

    index: int
    kind: int
    prov_id: str
    statement: bytes
    jws: bytes
    graph: bytes
    written_ms: int
    entry: bytes = b""


class LeafReader(Protocol):
    """Reads leaves in their order while the log grows. Used from several threads.

    Only leaves that are durable in the tree are returned, and a leaf once returned is returned
    alike for ever.
    """

    def logs(self) -> Sequence[str]:
        """Return the origins of all logs, sorted."""
        ...

    def size(self, log: str) -> int:
        """Return how many leaves of a log there are to read."""
        ...

    def is_lost(self, log: str, index: int) -> bool:
        """Say whether a restore has lost the record of a leaf; False if there is no such leaf.

        No record is read for it, so that it can be told of any leaf, also of one that was pruned.

        Raises:
            StateError: the ledger cannot be read now.
        """
        ...

    def read(self, log: str, after_index: int, limit: int) -> Sequence[LoggedRecord]:
        """Return up to `limit` leaves after an index, without a gap; empty at the end.

        Fewer than `limit` do not mean that there are no more.

        Raises:
            StateError: the ledger or a journal cannot be read now, or lacks a record.
        """
        ...


class Refusal(msgspec.Struct, frozen=True):
    """An event that the sink will never take as it is.

    Args:
        position: in the batch that was sent.
        reason: for the operator; no content.
    """

    position: int
    reason: str


class SinkUnavailable(Exception):
    """The batch is not known to be with the sink; the same batch is to be sent again later.

    Any part of it may have arrived: readers dedupe by uid.

    Args:
        detail: for the operator; no content, no credential.
        retry_after_s: when the sink asked to be tried again, seconds; None if it did not say.
    """

    def __init__(self, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


class SiemSink(Protocol):
    """Takes events. One caller at a time; it never calls again before the last call returned.

    Durability: when `send` returns, every event that it does not name as refused is with the sink,
    as surely as the sink's protocol can say (the adapter's docstring says how surely that is).
    Ordering: events are handed over in the order of the batch.
    Retries: none inside; whoever calls waits and sends the same batch again.
    """

    async def send(self, events: Sequence[SiemEvent]) -> Sequence[Refusal]:
        """Hand a batch over.

        Args:
            events: at least one.

        Returns:
            What the sink refused for good, by position, rising; empty if it took all.

        Raises:
            SinkUnavailable: it could not be handed over; nothing may be taken as delivered.
        """
        ...

    async def aclose(self) -> None:
        """Give up connections and files; `send` may be called again and opens them anew."""
        ...


class SinkReader(Protocol):
    """Gives back what a sink holds. Blocks; call it from a thread of its own."""

    def lines(self, since_ms: int, until_ms: int) -> Iterator[bytes]:
        """Yield at least every line whose event is in a span of time, in any order.

        Lines of other times may come as well.

        Raises:
            StateError: the sink cannot be read back; its next step says what to do.
        """
        ...


class DeadLetter(msgspec.Struct, frozen=True):
    """An event that a sink refused.

    Args:
        sink: its name.
        event: which event.
        reason: why.
        refused_ms: when, Unix ms.
        state: `dead`, or `queued` to be sent again.
    """

    sink: str
    event: SiemEvent
    reason: str
    refused_ms: int
    state: DeadState = "dead"


class Advance(msgspec.Struct, frozen=True):
    """What one delivered batch changes, all or nothing.

    Args:
        sink: its name.
        log: origin.
        from_index: the cursor that the batch was read after.
        to_index: index of its last leaf.
        hours: the hourly counts that changed, whole.
        dead: what the sink refused.
    """

    sink: str
    log: str
    from_index: int
    to_index: int
    hours: tuple[HourTally, ...]
    dead: tuple[DeadLetter, ...] = ()


class Progress(msgspec.Struct, frozen=True, order=True):
    """How far one sink is in one log.

    Args:
        sink: its name.
        log: origin.
        cursor: index of the last leaf that was sent or put aside.
        dead: how many events of the log are dead letters of the sink.
    """

    sink: str
    log: str
    cursor: int
    dead: int


class CursorMoved(Exception):
    """Another process moved the cursor meanwhile: read it again and go on from there."""


class SiemStore(Protocol):
    """Cursors, hourly counts and dead letters of every sink. Every change is durable on return.

    Used from any process and any thread; a writer waits for another up to 5 s, then raises
    StateError. Nobody retries.
    """

    def cursor(self, sink: str, log: str) -> int:
        """Return the index of the last leaf that was sent; -1 before the first."""
        ...

    def hours(self, sink: str, since_ms: int, until_ms: int) -> Sequence[HourTally]:
        """Return the hourly counts of a sink from one hour to before another, by log and hour."""
        ...

    def advance(self, change: Advance) -> None:
        """Store a delivered batch in one transaction.

        Raises:
            CursorMoved: the cursor is not at `from_index`; nothing was stored.
            StateError: it cannot be stored; the batch will be sent again.
        """
        ...

    def dead_letters(
        self, sink: str = "", limit: int = 1_000, state: DeadState | None = None
    ) -> Sequence[DeadLetter]:
        """Return dead letters of a sink, or of all, in one state or any, oldest leaf first."""
        ...

    def queue_dead_letters(self, sink: str, uids: Sequence[str] = ()) -> int:
        """Mark dead letters to be sent again, all of a sink's if none is named; say how many."""
        ...

    def settle_dead_letters(
        self, delivered: Sequence[DeadLetter], refused: Sequence[DeadLetter]
    ) -> None:
        """Forget what was delivered at last; mark what was refused again as dead, with reason."""
        ...

    def progress(self) -> Sequence[Progress]:
        """Return how far each sink is in each log that it was ever sent, sorted."""
        ...
