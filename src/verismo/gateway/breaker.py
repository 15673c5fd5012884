"""A circuit breaker for each deployment: stop asking one that fails, try it again later.

    closed --(FAILURES_MAX failures in a row)--> open
    open --(cool-down over)--> half-open: one request is let through
    half-open --(success)--> closed
    half-open --(failure)--> open, with twice the cool-down

Source: M. Nygard, Release It!, 2nd edition, chapter 5.
"""

FAILURES_MAX = 5
COOL_DOWN_MS = 5_000
COOL_DOWN_MS_MAX = 60_000


class Breaker:
    """The breaker of one deployment. Times are Unix ms, given by the caller."""

    def __init__(self) -> None:
        self._failures = 0
        self._open_until_ms = 0
        self._cool_down_ms = COOL_DOWN_MS
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether it keeps requests away, but for probes."""
        return self._failures >= FAILURES_MAX

    def admits(self, now_ms: int) -> bool:
        """Say whether a request may go through; a half-open breaker admits one at a time."""
        if not self.is_open:
            return True
        if now_ms < self._open_until_ms or self._probing:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """Note a success: it closes."""
        self._failures = 0
        self._cool_down_ms = COOL_DOWN_MS
        self._probing = False

    def failed(self, now_ms: int) -> None:
        """Note a failure; enough of them in a row open it."""
        was_open, self._probing = self.is_open, False
        self._failures += 1
        if was_open:
            self._cool_down_ms = min(2 * self._cool_down_ms, COOL_DOWN_MS_MAX)
        if self.is_open:
            self._open_until_ms = now_ms + self._cool_down_ms

    def released(self) -> None:
        """Note that a probe ended without a verdict, because the client left."""
        self._probing = False

    def opens_in_ms(self, now_ms: int) -> int:
        """Return how long until it admits a probe, 0 if it would now."""
        return max(0, self._open_until_ms - now_ms) if self.is_open else 0
