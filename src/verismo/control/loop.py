"""The loop of all controllers: look, decide, record, publish, act, record what came of it.

One round is the whole of it. It goes on from what is recorded, so the first round after a crash,
after a lease that went elsewhere, and the ordinary one are the same function. What a restart finds:

- before a decision is recorded: nothing; the same look follows, and is decided anew;
- recorded, not published: the steering that follows from the records differs from the one in force,
  so it is published;
- published, no outcome: the newest version is higher than any that an outcome names, so the
  outcome `found` is recorded;
- recorded, not acted on (replicas): nothing; the shell's next look sees what the platform has.

A person's act goes the same way, between two rounds: it is decided by a rule, recorded with who and
why, and published, and only then is the person answered.

Source: ADR-031; decisions 14, 26.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from verismo.control.looks import Acting, Shell
from verismo.control.publish import Publisher
from verismo.control.recorder import (
    AnyLook,
    Recorded,
    Recorder,
    Turn,
    Unrecordable,
)
from verismo.model.act import REASON_CHARS_MAX, REASON_CHARS_MIN, Act
from verismo.model.canonical import NotCanonical
from verismo.model.decision import Controller, SettingsRefused
from verismo.model.errors import MalformedRequest, StateError
from verismo.ports.ledger import Lease, LeaseElsewhere

UNTOLD_MAX: Final = 10_000
"""Decisions that wait to be told while steering cannot be published; then the oldest go."""
NOTHING_DONE: Final = "none"
"""What a shell says that had nothing to do; no outcome is recorded for it."""


class LoopSettings(msgspec.Struct, frozen=True):
    """How the loop holds its lease.

    Args:
        holder: this process's name in the lease.
        lease_ms: how long it holds without being renewed.
    """

    holder: str
    lease_ms: int = 5_000


class LoopDesk(msgspec.Struct, frozen=True):
    """The parts that the loop works with.

    Args:
        lease: the right to decide.
        recorder: writes records.
        publisher: tells gateways.
        shells: the controllers, by the name under which acts name them.
        told: are told of each decision as its shell is, with the act behind it; they never fail.
    """

    lease: Lease
    recorder: Recorder
    publisher: Publisher
    shells: Mapping[Controller, Shell]
    told: tuple[Callable[[Recorded], None], ...] = ()


class Progress(msgspec.Struct, frozen=True):
    """What one round, or one act, did.

    Args:
        decisions: what was recorded, in order.
        steering: version in force afterwards.
        published: whether that is a new one.
        failure: why a shell could not look, if one could not.
    """

    decisions: tuple[Recorded, ...]
    steering: int
    published: bool
    failure: StateError | None = None


class Loop:
    """Decides from one thread; see the module.

    Args:
        desk: the parts that it works with.
        settings: how it holds its lease.
    """

    def __init__(self, desk: LoopDesk, settings: LoopSettings) -> None:
        self._desk = desk
        self._settings = settings
        self._untold: deque[tuple[Shell, Recorded]] = deque(maxlen=UNTOLD_MAX)
        self._token = 0
        self._renewed_ms = 0

    def round(self, now_ms: int) -> Progress:
        """Decide everything that is due.

        Args:
            now_ms: Unix ms; a clock that steps back or forth does no harm here, and each rule says
                what it does about it.

        Returns:
            What was done, and why a shell could not look: others had their turn all the same.

        Raises:
            LeaseElsewhere: another process decides; try again later.
            StateError: something cannot be read or written now; try again later. Whatever was
                decided before is recorded.
        """
        return self._turn(now_ms, None)

    def take(self, act: Act, now_ms: int) -> Recorded:
        """Do what a person says; it is recorded and published when this returns.

        Args:
            act: who, what, why.
            now_ms: Unix ms.

        Raises:
            MalformedRequest: the act makes no sense; says what would.
            NotFound: there is no such subject.
            DecisionStale: it overrides a decision that is no longer the newest.
            LeaseElsewhere: another process decides; ask that one.
            StateError: it cannot be recorded or published now. If it was recorded, a later round
                publishes it.
        """
        return self._turn(now_ms, act).decisions[0]

    def release(self) -> None:
        """Give the lease up, so that another process need not wait for its end."""
        token, self._token = self._token, 0
        self._untold.clear()
        if token:
            self._desk.lease.release(token)

    @property
    def token(self) -> int:
        """The token of the lease, 0 without one."""
        return self._token

    def _turn(self, now_ms: int, act: Act | None) -> Progress:
        try:
            return self._work(now_ms, act)
        except LeaseElsewhere:
            # The other process goes on from the same records: nothing is left to do here.
            self._untold.clear()
            self._token = 0
            raise
        except StateError:
            # A write that raised may be stored or not: with the next lease all is read anew.
            self._token = 0
            raise

    def _work(self, now_ms: int, act: Act | None) -> Progress:
        self._hold_lease(now_ms)
        turn = self._begun(now_ms)
        failure: StateError | None = None
        if act is None:
            recorded, failure = self._decide_due(turn)
        else:
            recorded = [self._decide_act(turn, act)]
        published = self._publish(turn)
        if published is not None:
            turn = msgspec.structs.replace(turn, steering=published)
            self._desk.recorder.steered(turn, "published")
        self._tell(turn)
        return Progress(tuple(recorded), turn.steering, published is not None, failure)

    def _hold_lease(self, now_ms: int) -> None:
        settings, lease = self._settings, self._desk.lease
        if not self._token:
            self._token = lease.acquire(settings.holder, now_ms, settings.lease_ms)
            self._desk.recorder.resume()
        elif not 0 <= now_ms - self._renewed_ms < settings.lease_ms // 3:
            lease.renew(self._token, now_ms, settings.lease_ms)
        else:
            return
        self._renewed_ms = now_ms

    def _begun(self, now_ms: int) -> Turn:
        """Return under what to record, after the outcome that a crash has left out."""
        turn = Turn(self._token, self._desk.publisher.version(), now_ms)
        if self._desk.recorder.is_unanswered(turn.steering):
            self._desk.recorder.steered(turn, "found")
        return turn

    def _decide_due(self, turn: Turn) -> tuple[list[Recorded], StateError | None]:
        """Decide what is due; what cannot be seen or recorded keeps nothing else from deciding."""
        recorded: list[Recorded] = []
        failure: StateError | None = None
        for shell in self._desk.shells.values():
            try:
                looks = shell.looks(turn.now_ms)
            except LeaseElsewhere:
                raise
            except StateError as error:
                failure = failure or error
                continue
            for look in looks:
                try:
                    recorded.append(self._decide(turn, shell, look))
                except Unrecordable as error:
                    failure = failure or error
        return recorded, failure

    def _decide_act(self, turn: Turn, act: Act) -> Recorded:
        shell = self._desk.shells.get(act.controller)
        if shell is None:
            raise MalformedRequest(f"no {act.controller} controller runs here")
        if not REASON_CHARS_MIN <= len(act.reason.strip()) <= REASON_CHARS_MAX:
            raise MalformedRequest(
                f"`reason` must have {REASON_CHARS_MIN} to {REASON_CHARS_MAX} characters"
            )
        return self._decide(turn, shell, shell.take(act, turn.now_ms), act)

    def _decide(self, turn: Turn, shell: Shell, look: AnyLook, act: Act | None = None) -> Recorded:
        try:
            decision = look.rule.decide(look.before, look.observation, look.settings, turn.now_ms)
        except SettingsRefused as error:
            raise Unrecordable(
                f"the rule {look.rule.name} cannot decide: {error.cause}",
                next_step=error.next_step,
            ) from error
        except NotCanonical as error:
            raise Unrecordable(
                f"the rule {look.rule.name} cannot decide: it saw or made {error}",
                next_step="Report it. Nothing changes about this subject until then.",
            ) from error
        # An act may come from a flag of the configuration, as a look that is due.
        shown = look.observation if isinstance(look.observation, Act) else None
        recorded = self._desk.recorder.decided(turn, look, decision, shown.of if shown else "")
        recorded = msgspec.structs.replace(recorded, act=act or shown)
        self._untold.append((shell, recorded))
        return recorded

    def _publish(self, turn: Turn) -> int | None:
        parts = [shell.steered(turn.now_ms) for shell in self._desk.shells.values()]
        return self._desk.publisher.publish(turn.token, parts, turn.now_ms)

    def _tell(self, turn: Turn) -> None:
        """Act on what was recorded and published, and tell of it; each decision once."""
        while self._untold:
            shell, recorded = self._untold.popleft()
            if isinstance(shell, Acting):
                result = shell.act(recorded.decision)
                if result != NOTHING_DONE:
                    self._desk.recorder.acted(turn, recorded, result)
            shell.told(recorded.decision)
            for told in self._desk.told:
                told(recorded)
