"""Whether a clock has gone its pace for a while, so that what it says of the past is believed.

One wrong reading, right again a second later, looks like a clock that was ahead and is set back.
What cannot be undone waits until the clock has gone on evenly for a minute by a clock that nobody
can set: times of a state that go back, and intervals that are forgotten.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from verismo.adapt.canaryevent import CanaryEvent
from verismo.control.looks import Look, Shell, Steered
from verismo.control.rules import BUDGET_CLOCK
from verismo.model.act import Act
from verismo.model.decision import Controller, Decision

STEADY_MS: Final = 60_000
"""How long the clock has to go evenly, in ticks."""
STEP_MS_MIN: Final = 1_000
"""What the two clocks may part by from one look to the next."""
_TIMED: Final = frozenset({"canary", "budget"})


class ClockPace:
    """Watches a clock; used from one thread, look by look."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None
        self._since_ticks_ms = 0
        self.is_steady = False

    def look(self, now_ms: int, ticks_ms: int) -> None:
        """Look at the clock; the first look begins the wait, and each step begins it anew.

        Args:
            now_ms: Unix ms.
            ticks_ms: of a clock that only goes forward, at its own pace, from anywhere.
        """
        last = self._last
        if last is None or abs((now_ms - last[0]) - (ticks_ms - last[1])) >= STEP_MS_MIN:
            self._since_ticks_ms = ticks_ms
        self._last = now_ms, ticks_ms
        self.is_steady = ticks_ms - self._since_ticks_ms >= STEADY_MS


class PatientShell:
    """A controller whose states' times go back only once the clock is believed.

    All else goes on: the shell itself shows nothing of what its newest decision is ahead of.

    Args:
        shell: the controller.
        is_believed: says whether the clock is; asked only where something waits for it, and may
            raise StateError.
    """

    def __init__(self, shell: Shell, is_believed: Callable[[], bool]) -> None:
        self._shell = shell
        self._is_believed = is_believed

    def looks(self, now_ms: int) -> Sequence[Look]:  # type: ignore[type-arg]  # of any rule
        """Return what is to be decided now, but for what has to wait.

        Raises:
            StateError: nothing can be seen now; the round is tried again.
        """
        found = self._shell.looks(now_ms)
        others = [one for one in found if not _is_step(one)]
        return found if len(others) == len(found) or self._is_believed() else others

    def take(self, act: Act, now_ms: int) -> Look:  # type: ignore[type-arg]  # of any rule
        """Return the decision that a person's act comes to; nobody waits to act."""
        return self._shell.take(act, now_ms)

    def steered(self, now_ms: int) -> Steered:
        """Return what gateways are to be told, from the newest recorded decisions."""
        return self._shell.steered(now_ms)

    def told(self, decision: Decision[msgspec.Struct]) -> None:
        """Be told that a decision is recorded and published."""
        self._shell.told(decision)


def patient(
    shells: Mapping[Controller, Shell], is_believed: Callable[[], bool]
) -> dict[Controller, Shell]:
    """Return the controllers, those whose states' times can go back as patient ones.

    Args:
        shells: by the name under which acts name them.
        is_believed: says whether the clock is; see `PatientShell`.
    """
    return {
        name: PatientShell(shell, is_believed) if name in _TIMED else shell
        for name, shell in shells.items()
    }


def _is_step(look: Look) -> bool:  # type: ignore[type-arg]  # of any rule
    shown = look.observation
    return look.rule is BUDGET_CLOCK or (
        isinstance(shown, CanaryEvent) and shown.kind == "clock_stepped"
    )
