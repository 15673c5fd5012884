"""The archive: where rollups, tiles and statements are kept for seven years, write once."""

from collections.abc import Sequence
from typing import Protocol

from verismo.model.errors import StateError
from verismo.model.retention import Lock, UploadProof


class ArchiveUnusable(StateError):
    """The archive cannot be used as it is, until its operator has done the next step.

    Wrong or expired credentials, no such bucket, a bucket without Object Lock, a clock that is off.
    """


class ArchiveUnreachable(StateError):
    """The archive did not answer; the same call may succeed later. Nothing is lost."""

    next_step = (
        "Check the network and the archive's state, then repeat the command: what is already "
        "there is recognised and kept."
    )


class RetentionHolds(StateError):
    """The object's lock has not run out, so it is not deleted."""

    next_step = "Wait for the lock's end; nobody may delete the object before."


class Archive(Protocol):
    """Named objects that are written once and locked until a date.

    Durability: when `put` returns, object and lock survive a power cut of whoever stores them.
    Identity: a name stands for the bytes that were first stored under it. What is stored over them
    or hides them afterwards, with whatever rights, is not what `find` and `get` answer.
    Concurrency: from any number of processes; of two writers of one name one wins, and the other
    gets its proof if the bytes are the same.
    Retries: the caller repeats; every call may be repeated after any failure.
    Names: `/`-separated parts of letters, digits and `.:_-`, none of them `.` or `..`.
    """

    def put(self, name: str, content: bytes, lock: Lock) -> UploadProof:
        """Store an object, then read back its digest, version and lock.

        Where the same bytes are stored already, that is enough; a lock that is too short is made
        longer. A lock is never made shorter, and its mode never changes.

        Returns:
            What was read back: it satisfies `lock`.

        Raises:
            IntegrityError: other bytes are stored under that name, or what was read back is not
                what was stored. Nothing was changed.
            ArchiveUnusable, ArchiveUnreachable: see there.
        """
        ...

    def find(self, name: str) -> UploadProof | None:
        """Read back an object's digest, version and lock; None where there is none.

        Raises:
            ArchiveUnusable, ArchiveUnreachable: see there.
        """
        ...

    def get(self, name: str) -> bytes:
        """Return the bytes that were first stored under a name, checked against their digest.

        Raises:
            IntegrityError: there is no such object, or its bytes are not those of its digest.
            ArchiveUnusable, ArchiveUnreachable: see there.
        """
        ...

    def names(self, prefix: str) -> Sequence[str]:
        """Return the names that begin with a prefix, sorted, hidden ones included.

        Raises:
            ArchiveUnusable, ArchiveUnreachable: see there.
        """
        ...

    def remove(self, name: str, now_ms: int) -> None:
        """Delete an object whose lock has run out; one that is not there is fine.

        Args:
            name: of the object.
            now_ms: the present; a store with a clock of its own believes that one.

        Raises:
            RetentionHolds: the lock has not run out.
            ArchiveUnusable, ArchiveUnreachable: see there.
        """
        ...
