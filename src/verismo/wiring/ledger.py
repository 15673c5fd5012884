"""Composes the ledger: where its files are, and the loop that integrates in the control process."""

import asyncio
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from verismo.adapters.adapt_leaves import SqliteAdaptLeaves, open_leaves
from verismo.adapters.checkpoint_file import FolderCheckpoints
from verismo.adapters.contradictions_file import ContradictionsFile
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.ledger_sqlite import SqliteLedger
from verismo.adapters.restoration import LEDGER_MARKER
from verismo.adapters.telemetry_ledger import ledger_lines
from verismo.adapters.tiles_folder import FolderTiles
from verismo.attest.keyring import signing_key
from verismo.config.schema import Config
from verismo.control.integrator import Integrator, IntegratorSettings, LedgerDesk
from verismo.control.leafsources import AdaptSource, JournalSource, KeyRingSource
from verismo.control.ledgerhealth import LedgerHealth, observe_ledger
from verismo.control.rotation import RingHistory
from verismo.model.errors import StateError
from verismo.model.ledger import LogId
from verismo.ports.ledger import LeafSource, LeaseElsewhere, LedgerForked
from verismo.wiring.keys import open_signer
from verismo.wiring.ledgerreads import ledger_places
from verismo.wiring.rounds import Rounds

FAILURE_REASONS = ("state", "refused")
HEALTH_EVERY_MS = 1_000

Look = Callable[[], Awaitable[None]]
"""Asks the witnesses, before the first step, whether they know another ledger than this one."""
Notice = Callable[[Mapping[LogId, bytes]], None]
"""Is given the checkpoints that were just published, by log."""

log = logging.getLogger("verismo.ledger")


def leaf_sources(
    data: Path, journal: SqliteJournalReader, adapt: SqliteAdaptLeaves
) -> tuple[LeafSource, ...]:
    """Return everything that becomes leaves."""
    ring = KeyRingSource(RingHistory(KeyRingFiles(data)))
    return (JournalSource(journal), ring, AdaptSource(adapt))


class LedgerLoop:
    """Integrates in a thread of its own, and says how the ledger stands.

    A failed step is logged with its next step and tried again in the next round: answers go on
    whatever happens here, and the delay says how much waits.

    Args:
        config: the validated configuration.
        notice: told of each checkpoint that was published, in the integrator's thread; it may not
            wait.
        look: awaited once, before the first step.
    """

    def __init__(
        self, config: Config, notice: Notice | None = None, look: Look | None = None
    ) -> None:
        self._config = config
        self._notice = notice
        self._look = look
        self._contradictions = ContradictionsFile(config.data)
        self._journal = SqliteJournalReader(config.data)
        self._adapt = open_leaves(config.data)
        self._sources = leaf_sources(config.data, self._journal, self._adapt)
        places = ledger_places(config.data)
        self._reader = SqliteLedger(places.state, read_only=True)
        self._store: SqliteLedger | None = None
        self._integrator: Integrator | None = None
        self._ring = RingHistory(KeyRingFiles(config.data))
        self._log_kid = ""
        self._ending = threading.Event()
        self._thread = ThreadPoolExecutor(1, "verismo-ledger")
        self._failures = dict.fromkeys(FAILURE_REASONS, 0)
        self._told = ""
        self._is_late = False
        self._looked_ms = 0

    def begin(self, rounds: Rounds) -> None:
        """Begin the loop."""
        rounds.begin("ledger", self._config.ledger.tile_interval_ms / 1_000, self.round)

    async def round(self) -> None:
        """Integrate everything there is."""
        if self._look is not None:
            look, self._look = self._look, None
            try:
                await look()
            except StateError as error:
                # What a quorum has said is read again before anything is signed.
                self._failures["state"] += 1
                self._tell(logging.ERROR, "not every witness was asked", error)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._work)

    async def expose(self) -> list[str]:
        """Return the ledger's metrics; what cannot be read is left out."""
        return await asyncio.to_thread(self._lines)

    async def close(self) -> None:
        """End after the step that is under way, and let another process take over at once."""
        self._ending.set()
        await asyncio.to_thread(self._thread.shutdown)
        await asyncio.to_thread(self._close)

    def _work(self) -> None:
        try:
            integrator = self._current()
            while self._step(integrator) and not self._ending.is_set():
                self._watch()
            if self._told:
                log.info("the ledger goes on")
            self._told = ""
        except LeaseElsewhere as error:
            self._tell(logging.INFO, "standing by", error)
        except LedgerForked as error:
            self._failures["refused"] += 1
            self._tell(logging.ERROR, "the ledger refuses to go on", error)
        except StateError as error:
            self._failures["state"] += 1
            self._tell(logging.ERROR, "the ledger failed", error)
        self._watch()

    def _step(self, integrator: Integrator) -> bool:
        """Do one step; returns whether there may be more to do at once."""
        self._refuse_restored()
        self._refuse_contradicted()
        progress = integrator.step(_now_ms())
        if self._notice is not None and progress.published:
            self._notice(progress.published)
        return progress.is_behind

    def _current(self) -> Integrator:
        """Return the integrator; one whose log key was revoked makes way for one with the next."""
        integrator = self._integrator
        if integrator is not None:
            key = signing_key(self._ring.read()[-1].ring, "log", _now_ms())
            if key is None or key.kid != self._log_kid:
                self._drop()
        return self._integrator or self._open()

    def _open(self) -> Integrator:
        config = self._config
        places = ledger_places(config.data)
        self._refuse_restored()
        # Adopting puts another file in the place of the one that is open here.
        self._reader.close()
        self._store = self._store or SqliteLedger(places.state)
        signer = open_signer(config.data, "log", config.keys, _now_ms())
        desk = LedgerDesk(
            sources=self._sources,
            store=self._store,
            lease=self._store,
            tiles=FolderTiles(places.tiles),
            memory=FolderCheckpoints(places.memory),
            signer=signer,
        )
        self._log_kid = signer.kid
        settings = IntegratorSettings(
            issuer=config.plan.issuer,
            home_region=config.ledger.home_region,
            holder=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
            checkpoint_ms=config.ledger.checkpoint_interval_ms,
        )
        self._integrator = Integrator(desk, settings)
        return self._integrator

    def _refuse_restored(self) -> None:
        """Do nothing beside the marker, and let go of the state that `ledger adopt` replaces.

        It is made by a restore before the start, and by adopting at any time: a control process
        that starts meanwhile, under a service manager, would else sign on from the old state.
        """
        if not (self._config.data / LEDGER_MARKER).exists():
            return
        self._drop()
        raise LedgerForked(
            f"{self._config.data} was restored; the published log may be ahead of the backup",
            next_step="Stop the gateway and run `verismo ledger adopt`; "
            "docs/runbooks/ledger-refused.md.",
        )

    def _refuse_contradicted(self) -> None:
        """Do nothing once a quorum of witnesses knows another ledger than this one."""
        found = self._contradictions.contradictions()
        if not found.stops:
            return
        self._drop()
        words = "; ".join(f"{one.log}: {one.witness}: {one.reason}" for one in found.said)
        raise LedgerForked(
            f"a quorum of witnesses knows another ledger than this one: {words}",
            next_step="Stop the gateway; `verismo ledger adopt` goes on from the newest published "
            "tiles; docs/runbooks/witness-split-view.md.",
        )

    def _drop(self) -> None:
        """Give the lease up and close the store; the next round may open them anew."""
        integrator, store = self._integrator, self._store
        self._integrator = self._store = None
        try:
            if integrator is not None:
                integrator.release()
        finally:
            if store is not None:
                store.close()

    def _tell(self, level: int, message: str, error: StateError) -> None:
        """Log a failure once, not four times a second."""
        if error.detail != self._told:
            fields = {"error": error.detail, "next": error.advice}
            log.log(level, message, extra={"fields": fields})
        self._told = error.detail

    def _watch(self) -> None:
        """Log when the delay passes its alarm, and when that is over."""
        now_ms = _now_ms()
        if 0 <= now_ms - self._looked_ms < HEALTH_EVERY_MS:
            return
        self._looked_ms = now_ms
        health = self._health()
        if health is None:
            return
        limit_s = self._config.ledger.delay_alarm_s
        is_late = health.delay_ms > limit_s * 1_000
        if is_late and not self._is_late:
            fields = {
                "delay_s": health.delay_ms / 1_000,
                "limit_s": limit_s,
                "next": "docs/runbooks/ledger-delay.md",
            }
            log.error("records wait too long for their proof", extra={"fields": fields})
        elif self._is_late and not is_late:
            log.info("records no longer wait for their proof")
        self._is_late = is_late

    def _health(self) -> LedgerHealth | None:
        try:
            return observe_ledger(self._reader, self._sources, _now_ms())
        except StateError as error:
            self._tell(logging.ERROR, "the ledger cannot be read", error)
            return None

    def _lines(self) -> list[str]:
        health = self._health()
        logs = () if health is None else health.logs
        return ledger_lines(
            {one.log: one.signed_size for one in logs},
            {
                one.log: one.checkpoint_age_ms / 1_000
                for one in logs
                if one.checkpoint_age_ms is not None
            },
            None if health is None else health.delay_ms / 1_000,
            self._failures,
        )

    def _close(self) -> None:
        try:
            self._drop()
        except StateError as error:
            # The lease runs out by itself; the others wait a few seconds longer.
            self._tell(logging.WARNING, "the lease was not given up", error)
        finally:
            self._reader.close()
            self._journal.close()
            self._adapt.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
