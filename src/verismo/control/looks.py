"""What a controller's shell gives the loop: looks to decide, and what the gateways are told.

The loop is the same for all: take the looks of a shell, decide each by its rule, record each
decision durably, publish the steering that follows from all of them, record what came of it. A rule
is a pure function of values that are recorded, so that `verismo audit` computes each decision anew.
"""

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar, runtime_checkable

import msgspec

from verismo.model.act import Act
from verismo.model.decision import Decision, Subject
from verismo.model.steering import Rollout, Throttle

State = TypeVar("State", bound=msgspec.Struct)
Observation = TypeVar("Observation")
Settings = TypeVar("Settings", bound=msgspec.Struct)


class Rule(msgspec.Struct, Generic[State, Observation, Settings], frozen=True):
    """A rule with the types of what it is given, so that recorded bytes can be read back.

    Args:
        name: in records, such as `canary` or `canary-act`.
        version: of the rule; another one does not compute its decisions again (decisions 26).
        state: type of the state.
        observation: type of the observation.
        settings: type of the settings.
        decide: `(state, observation, settings, now_ms) -> Decision`.
    """

    name: str
    version: int
    state: type[State]
    observation: type[Observation]
    settings: type[Settings]
    decide: Callable[[State, Observation, Settings, int], Decision[State]]


class Look(msgspec.Struct, Generic[State, Observation, Settings], frozen=True):
    """One decision that is due.

    Args:
        rule: which decides.
        subject: about what.
        before: the state that the newest decision about it carries, or a new one.
        observation: what is seen now.
        settings: in force.
    """

    rule: Rule[State, Observation, Settings]
    subject: Subject
    before: State
    observation: Observation
    settings: Settings


class Steered(msgspec.Struct, frozen=True):
    """A shell's part of the steering."""

    rollouts: tuple[Rollout, ...] = ()
    throttles: tuple[Throttle, ...] = ()


class Shell(Protocol):
    """One controller around its core. Called from one thread; it keeps nothing unrecorded.

    What it remembers between rounds it reads from recorded decisions: after a crash, or in another
    process that took the lease, the same looks follow.
    """

    def looks(self, now_ms: int) -> Sequence[Look]:  # type: ignore[type-arg]  # of any rule
        """Return what is to be decided now; empty if nothing is due.

        Raises:
            StateError: nothing can be seen now; the round is tried again.
        """
        ...

    def take(self, act: Act, now_ms: int) -> Look:  # type: ignore[type-arg]  # of any rule
        """Return the decision that a person's act comes to.

        Raises:
            MalformedRequest: the act makes no sense; says what would.
            NotFound: there is no such subject.
            Conflict: it overrides a decision that is no longer the newest.
        """
        ...

    def steered(self, now_ms: int) -> Steered:
        """Return what gateways are to be told, from the newest recorded decisions."""
        ...

    def told(self, decision: Decision[msgspec.Struct]) -> None:
        """Be told that a decision is recorded and published, for cards and gauges; never fails."""
        ...


@runtime_checkable
class Acting(Protocol):
    """A shell whose decisions change something besides the steering, such as a platform's replicas.

    The loop asks for it with `isinstance`: once a decision is durable and before its outcome is
    recorded.
    """

    def act(self, decision: Decision[msgspec.Struct]) -> str:
        """Do what a recorded decision says; it reads the clock itself and drops what comes late.

        Returns:
            What came of it, for the outcome's `result`: a code such as `done`, `none` where there
            was nothing to do, or why it was not done. It never fails.
        """
        ...
