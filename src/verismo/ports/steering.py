"""Where the signed steering is kept, and read by every gateway."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from verismo.model.units import Milliseconds


class SteeringRow(msgspec.Struct, frozen=True):
    """One signed version.

    Args:
        version: counted from 1 without a gap.
        statement: canonical JSON of `model.steering.Steering`, as it was signed.
        jws: the detached signature of type `attest-steering+jws`, role `plan`.
        written_ms: Unix ms.
    """

    version: int
    statement: bytes
    jws: bytes
    written_ms: Milliseconds


class SteeringReader(Protocol):
    """Read twice a second by every worker, so a look costs microseconds."""

    def version(self) -> int:
        """Return the newest version, 0 for none.

        Raises:
            StateError: it cannot be read; keep what is in force.
        """
        ...

    def newest(self) -> SteeringRow | None:
        """Return the newest version; None for none. It is the reader who checks the signature."""
        ...

    def rows(self, after: int, limit: int) -> Sequence[SteeringRow]:
        """Return up to `limit` versions over `after`, in order; each is a leaf of the ledger."""
        ...


class SteeringStore(SteeringReader, Protocol):
    """Written by the one control process that holds the lease of decisions."""

    def last(self) -> int:
        """Return the newest version; after a restore, the number up to which none is given out."""
        ...

    def publish(self, token: int, row: SteeringRow) -> None:
        """Store the next version durably.

        Raises:
            LeaseElsewhere: another process decides now.
            StateError: it is not the next version, or cannot be written.
        """
        ...
