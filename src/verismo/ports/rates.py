"""Counters of requests and tokens that all workers of a gateway share."""

from typing import Protocol


class RateBucket(Protocol):
    """A bucket that refills evenly and holds a minute's refill at most.

    Used from one thread; waits for another process for a fraction of a second at most. It starts
    full.
    """

    @property
    def per_minute(self) -> float:
        """Return its refill, which is also what it holds at most."""
        ...

    def level(self, now_ms: int) -> float:
        """Return what is in it, below 0 while it is in debt.

        Args:
            now_ms: Unix ms.
        """
        ...

    def try_take(self, amount: float, now_ms: int) -> bool:
        """Take an amount out if all of it is there, and say whether it was."""
        ...

    def charge(self, amount: float, now_ms: int) -> None:
        """Take an amount out, into debt if need be; a negative one gives back."""
        ...


class RateTable(Protocol):
    """Where the buckets are kept."""

    def bucket(self, name: tuple[str, ...], per_minute: float) -> RateBucket:
        """Return the bucket of that name and refill: the same one in every worker.

        Args:
            name: whose it is and what it counts.
            per_minute: refill, over 0; another one is another bucket.
        """
        ...

    def close(self) -> None:
        """Let go of it; no bucket of it is used after that."""
        ...
