"""Where the replicas of a target are read, and set."""

from typing import Literal, Protocol

from verismo.model.units import Milliseconds

ChangeResult = Literal[
    "done",
    "late",
    "changed_elsewhere",
    "autoscaler_present",
    "not_allowed",
    "refused",
    "unreachable",
    "unknown",
]
"""What came of a change. `unknown`: it was sent and no yes or no came, so it may have arrived."""


class ReplicaReader(Protocol):
    """Reads how many replicas a target is asked to have."""

    def replicas(self) -> int:
        """Return the replicas that the platform is asked for now, not those that are ready.

        Raises:
            StateError: it cannot be told now; that is no data, never a number.
        """
        ...


class ReplicaPlatform(ReplicaReader, Protocol):
    """Sets them as well. Nothing is tried again after `until_ms`; the next decision sees what is.

    Atomicity: the replicas are changed only if they are still what the caller saw.
    """

    def change(self, before: int, after: int, until_ms: Milliseconds) -> ChangeResult:
        """Set the replicas of the target; never raises.

        Args:
            before: what they are as far as the caller knows.
            after: what they are to be.
            until_ms: Unix ms; nothing is sent later than this.
        """
        ...
