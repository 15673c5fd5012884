"""Parity of a sink with the ledger: made again from the leaves, read back from the sink, compared.

Also the watch that does so for every hour once it is over, for the metric and its alert.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import msgspec

from verismo.attest.parity import (
    HOUR_MS,
    Comparison,
    HourManifest,
    ParityReport,
    extend_tallies,
    hour_of,
    manifest_of,
    merged,
)
from verismo.control.siem import READ_LEAVES_MAX, event_list
from verismo.model.errors import StateError
from verismo.model.siem import HourTally, SiemEvent
from verismo.ports.siem import NOTHING_SENT, LeafReader, SiemStore, SinkReader

EVENTS_MAX = 200_000
"""Expected events held at once, some 60 MB; a fuller hour is compared in parts."""
GRACE_MS = 300_000
"""After its end an hour is left alone this long: batches are under way, receivers flush."""
WATCHED_HOURS_MAX = 24
"""An hour without parity is looked at again until it has it, or is this old."""

log = logging.getLogger("verismo.siem")


class ParityDesk(msgspec.Struct, frozen=True):
    """What a comparison works with.

    Args:
        sink: its name.
        leaves: the ledger.
        store: what was sent.
        reader: what the sink holds.
        is_ending: says that the process ends, and the comparison with it.
    """

    sink: str
    leaves: LeafReader
    store: SiemStore
    reader: SinkReader
    is_ending: Callable[[], bool] = lambda: False


class ParityOutcome(msgspec.Struct, frozen=True):
    """A comparison, and the manifests of its hours.

    Args:
        report: what is missing, altered, duplicate or foreign.
        waiting: how many of the expected events were not sent yet; they are missing as well.
        manifests: of what was sent, by log and hour.
        contradicted: manifests that the ledger no longer agrees with: what was sent then is not
            what the ledger says now.
    """

    report: ParityReport
    waiting: int
    manifests: tuple[HourManifest, ...]
    contradicted: tuple[HourManifest, ...]

    @property
    def is_whole(self) -> bool:
        """Whether sink, manifests and ledger agree."""
        return self.report.is_whole and not self.contradicted


def compare_sink(desk: ParityDesk, since_ms: int, until_ms: int) -> ParityOutcome:
    """Compare what a sink holds of some hours with the ledger. Blocks; may take minutes.

    Args:
        desk: ledger, store and sink.
        since_ms: begin of the first hour, Unix ms.
        until_ms: end of the last hour.

    Raises:
        StateError: the ledger, the store or the sink cannot be read.
    """
    stored = desk.store.hours(desk.sink, since_ms, until_ms)
    waiting = 0
    parts: list[ParityReport] = []
    for hour_ms in range(since_ms, until_ms, HOUR_MS):
        count = sum(tally.count for tally in stored if tally.hour_ms == hour_ms)
        for start, end in _parts(hour_ms, count):
            report, unsent = _compare_part(desk, start, end)
            parts.append(report)
            waiting += unsent
    return ParityOutcome(
        report=merged(since_ms, until_ms, parts),
        waiting=waiting,
        manifests=tuple(map(manifest_of, stored)),
        contradicted=tuple(map(manifest_of, _contradicted(desk, stored, since_ms, until_ms))),
    )


def _parts(hour_ms: int, count: int) -> Iterator[tuple[int, int]]:
    """Cut an hour into spans of time that hold about `EVENTS_MAX` events each."""
    parts = count // EVENTS_MAX + 1
    yield from pairwise(hour_ms + HOUR_MS * number // parts for number in range(parts + 1))


def _compare_part(desk: ParityDesk, since_ms: int, until_ms: int) -> tuple[ParityReport, int]:
    """Return the report of a span of time, and how many of its events were not sent yet."""
    comparison = Comparison(since_ms, until_ms, desk.leaves.is_lost)
    cursors = _cursors(desk)
    waiting = 0
    for name, events in _events_near(desk, since_ms, until_ms):
        cursor = cursors.get(name, NOTHING_SENT)
        for event in events:
            comparison.expect(event)
            waiting += event.index > cursor and since_ms <= event.time_ms < until_ms
    for line in desk.reader.lines(since_ms, until_ms):
        _go_on(desk)
        comparison.see(line)
    return comparison.report(), waiting


def _contradicted(
    desk: ParityDesk, stored: Sequence[HourTally], since_ms: int, until_ms: int
) -> list[HourTally]:
    """Count again from the ledger what was counted when it was sent; return what differs.

    Leaves are counted in their order, so of each hour everything up to its last index counts: an
    export that goes on meanwhile changes nothing here.
    """
    last = {(tally.log, tally.hour_ms): tally.last_index for tally in stored}
    again: dict[tuple[str, int], HourTally] = {}
    for name, events in _events_near(desk, since_ms, until_ms):
        counted = [e for e in events if e.index <= last.get((name, hour_of(e.time_ms)), -1)]
        earlier = {hour: tally for (log_name, hour), tally in again.items() if log_name == name}
        for tally in extend_tallies(earlier, counted):
            again[name, tally.hour_ms] = tally
    return [tally for tally in stored if again.get((tally.log, tally.hour_ms)) != tally]


def _events_near(
    desk: ParityDesk, since_ms: int, until_ms: int
) -> Iterator[tuple[str, list[SiemEvent]]]:
    """Yield every event that may be of a span of time, and others, by log and in order.

    What was sent of these hours lies between the indices that the store has counted for them and
    for the hours beside them; what was not sent yet lies after the cursor.
    """
    near = desk.store.hours(desk.sink, hour_of(since_ms) - HOUR_MS, until_ms + HOUR_MS)
    cursors = _cursors(desk)
    for name in desk.leaves.logs():
        cursor = cursors.get(name, NOTHING_SENT)
        of_log = [tally for tally in near if tally.log == name]
        if of_log:
            first = min(tally.first_index for tally in of_log)
            last = max(tally.last_index for tally in of_log)
            yield from _events(desk, name, first, min(last, cursor) + 1)
        yield from _events(desk, name, cursor + 1, desk.leaves.size(name))


def _events(
    desk: ParityDesk, name: str, first: int, end: int
) -> Iterator[tuple[str, list[SiemEvent]]]:
    while first < end:
        _go_on(desk)
        read = desk.leaves.read(name, first - 1, min(READ_LEAVES_MAX, end - first))
        if not read:
            return
        yield name, event_list(name, read)
        first += len(read)


def _cursors(desk: ParityDesk) -> dict[str, int]:
    return {one.log: one.cursor for one in desk.store.progress() if one.sink == desk.sink}


def _go_on(desk: ParityDesk) -> None:
    if desk.is_ending():
        raise StateError(
            "the comparison was broken off because the process ends",
            next_step="Compare again: `verismo siem parity`.",
        )


class ParityStatus(msgspec.Struct, frozen=True):
    """The last comparison; for metrics.

    Args:
        parity_ppm: the worst of the hours looked at; None before the first look.
        checked_ms: when it ended well, or before the first when the watch began, Unix ms.
    """

    parity_ppm: int | None
    checked_ms: int


class ParityWatch:
    """Compares each hour once it is over, in a thread of its own.

    Args:
        desk: ledger, store and sink.
        now_ms: returns Unix ms.
    """

    def __init__(self, desk: ParityDesk, now_ms: Callable[[], int]) -> None:
        self._ending = threading.Event()
        self._desk = msgspec.structs.replace(desk, is_ending=self._ending.is_set)
        self._now_ms = now_ms
        self._thread = ThreadPoolExecutor(1, "verismo-parity")
        self._open_hours: list[int] = []
        self._last_hour_ms = hour_of(now_ms() - GRACE_MS) - 2 * HOUR_MS
        self._told = ""
        self.status = ParityStatus(None, now_ms())

    async def round(self) -> None:
        """Compare what is due; a sink that cannot be read back is no data, and said so once."""
        hour_ms = hour_of(self._now_ms() - GRACE_MS) - HOUR_MS
        if hour_ms <= self._last_hour_ms:
            return
        oldest_ms = hour_ms - WATCHED_HOURS_MAX * HOUR_MS
        due = range(self._last_hour_ms + HOUR_MS, hour_ms + 1, HOUR_MS)
        hours = [one for one in (*self._open_hours, *due) if one > oldest_ms]
        self._last_hour_ms = hour_ms
        loop = asyncio.get_running_loop()
        try:
            outcomes = await loop.run_in_executor(self._thread, self._compare, hours)
        except StateError as error:
            self._open_hours = hours
            self._tell(error.detail)
            return
        self._told = ""
        self._open_hours = [one.report.since_ms for one in outcomes if not one.is_whole]
        worst = min(_honest_ppm(one) for one in outcomes)
        self.status = ParityStatus(parity_ppm=worst, checked_ms=self._now_ms())

    def close(self) -> None:
        """Break off the comparison that is under way."""
        self._ending.set()
        self._thread.shutdown()

    def _compare(self, hours: Sequence[int]) -> list[ParityOutcome]:
        outcomes = [compare_sink(self._desk, hour, hour + HOUR_MS) for hour in hours]
        for one in outcomes:
            if not one.is_whole:
                fields = {
                    "sink": self._desk.sink,
                    "hour_ms": one.report.since_ms,
                    "expected": one.report.expected,
                    "matched": one.report.matched,
                    "foreign": len(one.report.foreign),
                    "contradicted": len(one.contradicted),
                    "next": "docs/runbooks/siem-parity.md",
                }
                log.error("the sink is not what the ledger says", extra={"fields": fields})
        return outcomes

    def _tell(self, detail: str) -> None:
        if detail != self._told:
            fields = {"sink": self._desk.sink, "error": detail}
            log.warning("parity cannot be looked at", extra={"fields": fields})
        self._told = detail


def _honest_ppm(outcome: ParityOutcome) -> int:
    """Return the parity; what is not whole is never shown as whole."""
    parity_ppm = outcome.report.parity_ppm
    return parity_ppm if outcome.is_whole else min(parity_ppm, 999_999)
