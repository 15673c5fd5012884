"""The finished days of every log, as they lie on this machine before and after their upload."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Protocol

from verismo.model.ledger import LogId
from verismo.model.retention import UploadProof
from verismo.ports.journal import Record


class DayWriter(Protocol):
    """A day that is being put together; nothing of it is seen before `finish`."""

    def add(self, name: str, content: bytes) -> None:
        """Store a file of the day; its name is relative and not there yet.

        Raises:
            StateError: it cannot be written.
        """
        ...

    def digests(self) -> Mapping[str, tuple[str, int]]:
        """Return the hex SHA-256 and the size of each file so far, by name."""
        ...

    def finish(self) -> None:
        """Make the day durable and visible in one step.

        Raises:
            StateError: it cannot be written, or another process has finished the same day; that
                one stands.
        """
        ...


class RollupStore(Protocol):
    """Finished days, by log. A finished day never changes, save that `thin` drops archived files.

    Durability: what `finish` and `proven` returned from survives a power cut.
    Concurrency: any number of processes; of two that finish one day one is refused.
    Every call raises `StateError` if the store cannot be used.
    """

    def days(self, log: LogId) -> Sequence[date]:
        """Return the finished days of a log, earliest first."""
        ...

    def begin(self, log: LogId, day: date) -> DayWriter:
        """Begin a day; what an earlier, unfinished try has left is thrown away."""
        ...

    def names(self, log: LogId, day: date) -> Sequence[str]:
        """Return the files of a finished day that are still here, sorted."""
        ...

    def read(self, log: LogId, day: date, name: str) -> bytes:
        """Return a file of a finished day."""
        ...

    def proofs(self, log: LogId, day: date) -> tuple[UploadProof, ...] | None:
        """Return what the archive answered about a day; None before all of it is there."""
        ...

    def proven(self, log: LogId, day: date, proofs: Sequence[UploadProof]) -> None:
        """Note that all of a day is in the archive."""
        ...

    def thin(self, log: LogId, day: date, names: Sequence[str]) -> None:
        """Remove files of a day that is in the archive; the others stay."""
        ...


class RestoredControl(Protocol):
    """Takes records of decisions and versions of the steering that an archive gives back."""

    def add(self, source: str, records: Sequence[Record]) -> None:
        """Store rows of `@decisions` or `@steering`, in any order.

        Raises:
            StateError: they cannot be stored.
        """
        ...

    def finish(self, now_ms: int) -> None:
        """Let new numbers begin after every one that there may have been.

        Raises:
            StateError: that cannot be stored.
        """
        ...


class RestoredRecords(Protocol):
    """Takes the records that an archive gives back, for readers; nobody writes to them again."""

    def add(self, slot: str, records: Sequence[Record]) -> None:
        """Store records of a slot, in any order; one that is there already is fine.

        Raises:
            StateError: it cannot be stored.
        """
        ...

    def finish(self, last_seq: Mapping[str, int], now_ms: int) -> None:
        """End every slot, records or not, so that none goes on, and leave the restore's marker.

        Args:
            last_seq: the last number of each slot that the ledger holds.
            now_ms: Unix ms.

        Raises:
            StateError: it cannot be stored.
        """
        ...
