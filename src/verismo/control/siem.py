"""The SIEM export: a transactional outbox with the leaf index as its cursor.

The ledger is the outbox: a leaf has its index before anything here sees it, so nothing piles up in
memory and a sink that is away only falls behind. For each sink on its own: read a bounded batch
after the cursor, make events of it, hand it over, then move the cursor together with the hourly
counts and the dead letters in one transaction. Delivery is at least once; readers dedupe by uid.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from verismo.attest.leaf import LeafType
from verismo.attest.merkle import ProofRefused
from verismo.attest.ocsf import siem_event
from verismo.attest.ocsf_frame import Logged
from verismo.attest.parity import HOUR_MS, extend_tallies, hour_of
from verismo.attest.rollup import SiemCounters
from verismo.model.errors import StateError
from verismo.model.siem import HourTally, SiemEvent
from verismo.ports.siem import (
    Advance,
    CursorMoved,
    DeadLetter,
    LeafReader,
    LoggedRecord,
    SiemSink,
    SiemStore,
    SinkUnavailable,
)

READ_LEAVES_MAX = 32
"""Records held at once: each may have a graph of a megabyte and captured content beside it."""
RETRY_S = 1.0
RETRY_S_MAX = 60.0
"""Pauses after a failure double from the one to the other."""
RETRY_AFTER_S_MAX = 3_600.0
"""A sink may ask to be left alone, but not for longer than this."""

log = logging.getLogger("verismo.siem")


class ExportDesk(msgspec.Struct, frozen=True):
    """What the export of one sink works with.

    Args:
        name: of the sink.
        sink: where events go.
        leaves: where they come from.
        store: what is remembered.
        now_ms: returns Unix ms.
        batch_events_max: events of one batch.
    """

    name: str
    sink: SiemSink
    leaves: LeafReader
    store: SiemStore
    now_ms: Callable[[], int]
    batch_events_max: int = 500


class ExportStatus(msgspec.Struct, frozen=True):
    """How the export of one sink stands; for metrics.

    Args:
        is_up: whether the last batch was taken.
        delivered: events since this process began, copies included.
        failures: batches that were not taken since then.
        oldest_ms: time of the oldest event that waits, or since when nobody could look, Unix ms;
            0 if none waits.
    """

    is_up: bool = True
    delivered: int = 0
    failures: int = 0
    oldest_ms: int = 0


class SinkExport:
    """Exports every log to one sink, again and again; nothing else waits for it.

    Args:
        desk: what it works with.
    """

    def __init__(self, desk: ExportDesk) -> None:
        self._desk = desk
        self._pause_s = RETRY_S
        self._not_before_ms = 0
        self._told = ""
        self.status = ExportStatus()

    async def round(self) -> None:
        """Send everything there is, unless the sink is to be left alone for now.

        A failure is logged once and tried again after a pause; it never ends the process.
        """
        if self._desk.now_ms() < self._not_before_ms:
            return
        try:
            while await self.step():
                self._not_before_ms = 0
            self._recovered()
        except SinkUnavailable as error:
            self._pause(error.detail, error.retry_after_s)
        except StateError as error:
            self._pause(f"{error.detail} ({error.advice})", None)
        except CursorMoved as error:
            # Another process exports to this sink as well: the next round reads its cursor.
            self._pause(str(error), None)

    async def step(self) -> int:
        """Send at most one batch of each log and the dead letters that are queued.

        Returns:
            How many events were handed over or put aside; 0 if nothing waits.

        Raises:
            SinkUnavailable: the sink did not take a batch; the cursor stays before it.
            StateError: the ledger or the store cannot be used now.
            CursorMoved: another process sent the batch meanwhile.
        """
        sent = await self._resend()
        for name in await asyncio.to_thread(self._desk.leaves.logs):
            sent += await self._advance(name)
        if sent == 0:
            self.status = msgspec.structs.replace(self.status, oldest_ms=0)
        return sent

    async def _advance(self, name: str) -> int:
        desk = self._desk
        cursor, events = await asyncio.to_thread(self._next_batch, name)
        if not events:
            return 0
        oldest_ms = min(event.time_ms for event in events)
        self.status = msgspec.structs.replace(self.status, oldest_ms=oldest_ms)
        refusals = await desk.sink.send(events)
        # A crash here: the batch is with the sink and the cursor before it. It is sent again.
        now_ms = desk.now_ms()
        dead = tuple(
            DeadLetter(desk.name, events[one.position], one.reason, now_ms) for one in refusals
        )
        await asyncio.to_thread(self._store_batch, name, cursor, events, dead)
        self._count(len(events) - len(dead))
        if dead:
            fields = {"sink": desk.name, "events": len(dead), "reason": dead[0].reason}
            log.error("events put aside as dead letters", extra={"fields": fields})
        return len(events)

    def _next_batch(self, name: str) -> tuple[int, list[SiemEvent]]:
        """Read and map in small pieces, so that only the events of a batch are held."""
        desk = self._desk
        cursor = desk.store.cursor(desk.name, name)
        events: list[SiemEvent] = []
        while (rest := desk.batch_events_max - len(events)) > 0:
            read = desk.leaves.read(name, cursor + len(events), min(rest, READ_LEAVES_MAX))
            if not read:
                break
            events += event_list(name, read)
        if not events and desk.leaves.size(name) <= cursor:
            raise StateError(
                f"the sink {desk.name} was sent {cursor + 1} leaves of {name}, more than it has",
                next_step="An older ledger was put in place of a newer one: run `verismo ledger "
                "audit`. If that is meant, move siem.db away: everything is sent again.",
            )
        return cursor, events

    def _store_batch(
        self, name: str, cursor: int, events: list[SiemEvent], dead: tuple[DeadLetter, ...]
    ) -> None:
        """Move the cursor; what was refused counts too: parity then names it as missing."""
        desk = self._desk
        hours = extended_hours(desk.store, desk.name, name, events)
        to_index = events[-1].index
        desk.store.advance(Advance(desk.name, name, cursor, to_index, hours, dead))

    async def _resend(self) -> int:
        """Send the dead letters that an operator has queued; what is refused again stays dead."""
        desk = self._desk
        queued = await asyncio.to_thread(
            desk.store.dead_letters, desk.name, desk.batch_events_max, "queued"
        )
        if not queued:
            return 0
        refusals = await desk.sink.send([letter.event for letter in queued])
        reasons = {one.position: one.reason for one in refusals}
        now_ms = desk.now_ms()
        refused = [
            msgspec.structs.replace(
                queued[position], state="dead", reason=reason, refused_ms=now_ms
            )
            for position, reason in reasons.items()
        ]
        delivered = [letter for position, letter in enumerate(queued) if position not in reasons]
        # A crash before this: the letters stay queued and are sent again.
        await asyncio.to_thread(desk.store.settle_dead_letters, delivered, refused)
        self._count(len(delivered))
        return len(queued)

    def _count(self, delivered: int) -> None:
        self.status = msgspec.structs.replace(
            self.status, is_up=True, delivered=self.status.delivered + delivered
        )

    def _recovered(self) -> None:
        self._pause_s = RETRY_S
        self._not_before_ms = 0
        if self._told:
            log.info("the export goes on", extra={"fields": {"sink": self._desk.name}})
        self._told = ""
        self.status = msgspec.structs.replace(self.status, is_up=True)

    def _pause(self, detail: str, asked_s: float | None) -> None:
        pause_s = max(self._pause_s, min(asked_s or 0.0, RETRY_AFTER_S_MAX))
        self._pause_s = min(2 * self._pause_s, RETRY_S_MAX)
        now_ms = self._desk.now_ms()
        self._not_before_ms = now_ms + int(pause_s * 1_000)
        self.status = msgspec.structs.replace(
            self.status,
            is_up=False,
            failures=self.status.failures + 1,
            oldest_ms=self.status.oldest_ms or now_ms,
        )
        if detail != self._told:
            fields = {"sink": self._desk.name, "error": detail, "pause_s": pause_s}
            log.warning("the export waits", extra={"fields": fields})
        self._told = detail


def lag_ms(status: ExportStatus, waiting: int | None, now_ms: int) -> int:
    """Return how long the oldest event has waited that a sink was not sent yet; 0 if none waits.

    Args:
        status: of the sink's export.
        waiting: leaves after its cursor; None if that cannot be told.
        now_ms: Unix ms.
    """
    # The cursor moves before the export has looked again: until then its status names what it sent.
    if not status.oldest_ms or (status.is_up and waiting == 0):
        return 0
    return max(0, now_ms - status.oldest_ms)


def event_list(name: str, records: Sequence[LoggedRecord]) -> list[SiemEvent]:
    """Return the events of leaves of one log.

    Args:
        name: origin of the log.
        records: its leaves.
    """
    return [
        siem_event(
            Logged(
                log=name,
                index=one.index,
                kind=LeafType(one.kind),
                prov_id=one.prov_id,
                statement=one.statement,
                jws=one.jws,
                graph=one.graph,
                written_ms=one.written_ms,
                entry=one.entry,
            )
        )
        for one in records
    ]


def extended_hours(
    store: SiemStore, sink: str, name: str, events: Sequence[SiemEvent]
) -> tuple[HourTally, ...]:
    """Return the hourly counts of a sink after one more batch of a log.

    Raises:
        StateError: a stored count is damaged.
    """
    touched = sorted({hour_of(event.time_ms) for event in events})
    stored = store.hours(sink, touched[0], touched[-1] + HOUR_MS)
    earlier = {tally.hour_ms: tally for tally in stored if tally.log == name}
    try:
        return extend_tallies(earlier, events)
    except ProofRefused as error:
        raise StateError(
            f"the hourly counts of sink {sink} are damaged: {error}",
            next_step="Stop Verismo and move siem.db away: the export sends everything again.",
        ) from error


def siem_counters(store: SiemStore, name: str) -> tuple[SiemCounters, ...]:
    """Return how far each sink is in one log, for the daily rollup.

    Args:
        store: of the export.
        name: origin of the log.

    Raises:
        StateError: the store cannot be read.
    """
    progress = store.progress()
    dead: dict[str, int] = {}
    for one in progress:
        dead[one.sink] = dead.get(one.sink, 0) + one.dead
    return tuple(
        SiemCounters(
            sink=one.sink,
            exported=one.cursor + 1 - one.dead,
            dead=dead[one.sink],
            next_index=one.cursor + 1,
        )
        for one in progress
        if one.log == name
    )
