"""Cards: what people are told of decisions. Telling never delays or changes a decision."""

from typing import Protocol


class CardUndelivered(Exception):
    """A card did not arrive.

    Args:
        detail: for the operator; never the address, which is a secret.
        again: whether the same card may be taken later.
        retry_after_s: when the receiver asked to be tried again, seconds; None if it did not say.
    """

    def __init__(self, detail: str, *, again: bool, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.again = again
        self.retry_after_s = retry_after_s


class CardSink(Protocol):
    """Takes cards from the loop of decisions.

    Durability: none. Cards that wait are lost with the process; the decisions are not.
    Ordering: in the order in which they were handed over.
    Concurrency: any thread.
    """

    def hand_over(self, card: bytes) -> None:
        """Take a card and return at once; it never fails. A full queue drops its oldest card.

        Args:
            card: the body to be posted, JSON.
        """
        ...
