"""A signer that refuses outside of its key's window: what it would sign then proves nothing."""

from collections.abc import Callable

from verismo.ports.signer import Signer, SigningFailed


class WindowedSigner:
    """Signs while its key counts; see `ports.signer.Signer`.

    Args:
        signer: holder of the key.
        window_ms: first and, not included, last Unix ms at which it may sign.
        now_ms: the clock that statements are dated by.
    """

    def __init__(
        self, signer: Signer, window_ms: tuple[int, int], now_ms: Callable[[], int]
    ) -> None:
        self.kid = signer.kid
        self.public_key = signer.public_key
        self.window_ms = window_ms
        self._sign = signer.sign
        self._now_ms = now_ms

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature.

        Raises:
            SigningFailed: the key does not count now. Another one is in the ring, or has to be
                made: `verismo keys rotate --emergency`.
        """
        begin_ms, end_ms = self.window_ms
        if not begin_ms <= self._now_ms() < end_ms:
            raise SigningFailed(f"the key {self.kid} is outside of its window")
        return self._sign(message)

    def __repr__(self) -> str:
        return f"WindowedSigner(kid={self.kid})"
