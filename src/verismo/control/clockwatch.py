"""Tells whether the clock was set: it is compared with one that nobody can set.

A key that is made while the clock is wrong cannot be taken back: the ring's history never goes
back, so the next key could not begin before that time has really come.
"""

from typing import Final

STEP_MS_MIN: Final = 60_000
"""What the two clocks may part by from one look to the next. A clock that is slewed parts by far
less, one that is set by less than this does a key no harm (`keyentry.SKEW_MS`)."""


class ClockWatch:
    """Watches a clock; used from one thread, look by look."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None
        self._stepped_ticks_ms: int | None = None

    def since_step_ms(self, now_ms: int, ticks_ms: int) -> int | None:
        """Look at the clock.

        Args:
            now_ms: Unix ms.
            ticks_ms: of a clock that only goes forward, at its own pace, from anywhere.

        Returns:
            How long ago the clock was last set, in ticks; None if it was not since the first look.
        """
        if self._last is not None:
            parted_ms = (now_ms - self._last[0]) - (ticks_ms - self._last[1])
            if abs(parted_ms) >= STEP_MS_MIN:
                self._stepped_ticks_ms = ticks_ms
        self._last = now_ms, ticks_ms
        return None if self._stepped_ticks_ms is None else ticks_ms - self._stepped_ticks_ms
