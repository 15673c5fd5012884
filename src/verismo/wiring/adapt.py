"""Composes the controllers' loop in the control process: files, keys, shells, and its thread."""

import asyncio
import logging
import os
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from verismo.adapt.canarystate import AHEAD_MS
from verismo.adapters.adapt_file import FILE_NAME, AdaptFile
from verismo.adapters.decisions_sqlite import SqliteDecisions, SqliteSteering
from verismo.adapters.journal_slot import next_slot_name
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.telemetry_adapt import adapt_lines
from verismo.adapters.windows_sqlite import FILE_NAME as WINDOWS_FILE
from verismo.adapters.windows_sqlite import SqliteWindows
from verismo.attest.keyentry import KeyEntry
from verismo.attest.keyring import signing_key
from verismo.attest.planseal import ROLE
from verismo.config.schema import Config
from verismo.control.acts import Decided
from verismo.control.clockpace import ClockPace, patient
from verismo.control.clockwatch import ClockWatch
from verismo.control.loop import Loop, LoopDesk, LoopSettings
from verismo.control.publish import Publisher, SteeringIdentity
from verismo.control.recorder import Recorded, Recorder
from verismo.control.rotation import RingHistory
from verismo.control.windowreads import WindowReads
from verismo.model.act import Act
from verismo.model.errors import DecidedElsewhere, StateError
from verismo.model.plan import plan_digest
from verismo.ports.decisions import DecisionReader
from verismo.ports.ledger import LeaseElsewhere
from verismo.ports.steering import SteeringReader
from verismo.wiring.adaptnumbers import go_on_after_ledger
from verismo.wiring.chosen import slack_cards
from verismo.wiring.keys import SETTLED_MS, open_signer
from verismo.wiring.rounds import Rounds
from verismo.wiring.shells import ShellParts, open_shells

ROUND_S = 0.5
"""How often is looked whether something is due."""
PRUNE_EVERY_MS = 3_600_000
WINDOWS_KEPT_MS = 86_400_000
"""Longer than any look goes back; what decisions read of them is recorded with the decisions."""
DAY_MS = 86_400_000

log = logging.getLogger("verismo.adapt")


class AdaptLoop:
    """Decides in a thread of its own, and does what people say in the same thread.

    A failed round is logged with its next step and tried again: gateways keep what they were told.

    Args:
        config: the validated configuration.
        now_ms: the clock.
        ticks_ms: a clock that nobody can set.
    """

    def __init__(
        self,
        config: Config,
        now_ms: Callable[[], int] | None = None,
        ticks_ms: Callable[[], int] | None = None,
    ) -> None:
        self._config = config
        self._now_ms = now_ms or _now_ms
        self._ticks_ms = ticks_ms or _ticks_ms
        self._ring = RingHistory(KeyRingFiles(config.data))
        reading = AdaptFile(config.data / FILE_NAME, read_only=True)
        self._reading = reading
        self.decisions: DecisionReader = SqliteDecisions(reading)
        self.steering: SteeringReader = SqliteSteering(reading)
        self._windows = SqliteWindows(config.data / WINDOWS_FILE)
        slots = [next_slot_name(config.data, at) for at in range(config.listen.workers)]
        reads = WindowReads(self._windows, lambda: slots, config.adapt.window_s * 1_000)
        self._parts = ShellParts(config, self.decisions, reads, self._now_ms)
        self._pace = ClockPace()
        self._shells = patient(open_shells(self._parts), self._believe)
        self._cards = slack_cards(config)
        self._file: AdaptFile | None = None
        self._loop: Loop | None = None
        self._kid = ""
        self._thread = ThreadPoolExecutor(1, "verismo-adapt")
        self._ending = threading.Event()
        self._watch = ClockWatch()
        self._pruned_ms = 0
        self._counted: Counter[tuple[str, str]] = Counter()
        self._failures = 0
        self._done_ms: int | None = None
        self._told = ""

    def begin(self, rounds: Rounds) -> None:
        """Begin the loop."""
        rounds.begin("adapt", ROUND_S, self.round)

    async def round(self) -> None:
        """Decide what is due."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._work)

    async def take(self, act: Callable[[int], Act]) -> Decided:
        """Do what a person says, after the round that is under way.

        Args:
            act: makes the act, given the time at which it is done, Unix ms.

        Raises:
            CallerError: it makes no sense, or no longer does.
            DecidedElsewhere: another process decides, or this one ends.
            StateError: it cannot be recorded now.
        """
        if self._ending.is_set():
            raise DecidedElsewhere("this control process ends")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._take, act)

    async def expose(self) -> list[str]:
        """Return the controllers' metrics; what cannot be read is left out."""
        return await asyncio.to_thread(self._lines)

    async def close(self) -> None:
        """End after the round that is under way, and let another process take over at once."""
        self._ending.set()
        await asyncio.to_thread(self._thread.shutdown)
        await asyncio.to_thread(self._close)

    def _work(self) -> None:
        now_ms = self._now_ms()
        self._pace.look(now_ms, self._ticks_ms())
        try:
            loop = self._current(now_ms)
            progress = loop.round(now_ms)
            self._count(progress.decisions)
            self._prune(loop.token, now_ms)
            if progress.failure is not None:
                raise progress.failure
            self._done_ms = now_ms
            if self._told:
                log.info("the controllers go on")
            self._told = ""
        except LeaseElsewhere as error:
            self._done_ms = now_ms
            self._tell(logging.INFO, "standing by", error)
        except StateError as error:
            self._failures += 1
            self._tell(logging.ERROR, "the controllers failed", error)

    def _take(self, make: Callable[[int], Act]) -> Decided:
        now_ms = self._now_ms()
        try:
            done = self._current(now_ms).take(make(now_ms), now_ms)
        except LeaseElsewhere as error:
            raise DecidedElsewhere(error.detail) from error
        self._count((done,))
        return Decided(done.n, done.digest, done.decision, self.steering.version())

    def _current(self, now_ms: int) -> Loop:
        """Return the loop; one whose key is no longer the one to sign with makes way."""
        if self._loop is not None:
            key = signing_key(self._ring.read()[-1].ring, ROLE, now_ms)
            if key is None or key.kid != self._kid:
                self._drop()
        return self._loop or self._open(now_ms)

    def _open(self, now_ms: int) -> Loop:
        config = self._config
        signer = open_signer(config.data, ROLE, config.keys, now_ms)
        file = self._file or self._opened(now_ms)
        issuer = config.plan.issuer
        identity = SteeringIdentity(issuer, plan_digest(config.plan))
        desk = LoopDesk(
            lease=file,
            recorder=Recorder(SqliteDecisions(file), signer, self._keys, issuer),
            publisher=Publisher(SqliteSteering(file), signer, self._keys, identity),
            shells=self._shells,
            told=() if self._cards is None else (self._cards.told,),
        )
        holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._kid = signer.kid
        self._loop = Loop(desk, LoopSettings(holder))
        return self._loop

    def _opened(self, now_ms: int) -> AdaptFile:
        """Return the file, opened to decide, where no number of it can come twice."""
        file = AdaptFile(self._config.data / FILE_NAME)
        try:
            go_on_after_ledger(file, self._config.data, now_ms)
        except StateError:
            file.close()
            raise
        self._file = file
        return file

    def _keys(self) -> Sequence[KeyEntry]:
        return self._ring.read()[-1].ring.keys

    def _drop(self) -> None:
        """Give the lease up; the next round opens the loop anew."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.release()

    def _prune(self, token: int, now_ms: int) -> None:
        """Forget what is old, each hour; not soon after the clock was set: all seems old then."""
        since_ms = self._watch.since_step_ms(now_ms, self._ticks_ms())
        is_settled = since_ms is None or since_ms >= SETTLED_MS
        if not is_settled or 0 <= now_ms - self._pruned_ms < PRUNE_EVERY_MS:
            return
        self._pruned_ms = now_ms
        self._windows.prune(now_ms - WINDOWS_KEPT_MS)
        if self._file is not None:
            before_ms = now_ms - self._config.adapt.keep_days * DAY_MS
            forgotten = SqliteDecisions(self._file).forget(token, before_ms)
            if forgotten:
                log.info("old observations forgotten", extra={"fields": {"count": forgotten}})

    def _believe(self) -> bool:
        """Say whether the clock is believed; if so, forget the intervals that lie ahead of it.

        Asked only where the newest decision lies ahead, by the process with the lease and before
        times of states go back: the intervals would be seen twice. What lies ahead is found in the
        file, so a crash in between leaves nothing of it.
        """
        if not self._pace.is_steady:
            return False
        forgotten = self._windows.forget_future(self._now_ms() + AHEAD_MS)
        if forgotten:
            fields = {"count": forgotten, "next": "Look at the clock of this machine."}
            log.warning("intervals dated ahead of the clock forgotten", extra={"fields": fields})
        return True

    def _count(self, decisions: Sequence[Recorded]) -> None:
        for one in decisions:
            self._counted[(one.record.rule, one.decision.verdict)] += 1

    def _lines(self) -> list[str]:
        try:
            version: int | None = self.steering.version()
        except StateError:
            # Unknown is no number: the gauge is left out, and the round's failure says why.
            version = None
        done_ms = self._done_ms
        age_s = None if done_ms is None else max(0, self._now_ms() - done_ms) / 1_000
        counted: Mapping[tuple[str, str], int] = dict(self._counted)
        cards = [] if self._cards is None else self._cards.lines()
        return [*adapt_lines(counted, version, age_s, self._failures), *cards]

    def _tell(self, level: int, message: str, error: StateError) -> None:
        """Log a failure once, not twice a second."""
        if error.detail != self._told:
            fields = {"error": error.detail, "next": error.advice}
            log.log(level, message, extra={"fields": fields})
        self._told = error.detail

    def _close(self) -> None:
        try:
            self._drop()
        except StateError as error:
            # The lease runs out by itself; the others wait a few seconds longer.
            self._tell(logging.WARNING, "the lease was not given up", error)
        finally:
            if self._cards is not None:
                self._cards.close()
            if self._file is not None:
                self._file.close()
            self._reading.close()
            self._windows.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _ticks_ms() -> int:
    return time.monotonic_ns() // 1_000_000
