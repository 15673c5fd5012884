"""Keeps rollups and archive up with the clock.

A day is finished on this machine first (`dayrollup`), then uploaded file by file, its manifest
last; every step may fail and be repeated. What the archive answered goes into the next rollup.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date

import msgspec

from verismo.control import dayfiles
from verismo.control.archiveplace import check_place
from verismo.control.dayrollup import SETTLE_MS, RollupDesk, head_of, make_rollup, rolled_up
from verismo.model.errors import IntegrityError, StateError
from verismo.model.ledger import LogId, origin_of
from verismo.model.retention import Lock, UploadProof, day_end, day_of, midnight_ms
from verismo.ports.archive import Archive, ArchiveUnreachable, ArchiveUnusable
from verismo.ports.ledger import StoredCheckpoint

LockOf = Callable[[date], Lock]


class Vaulted(msgspec.Struct, frozen=True):
    """An archive and how long it locks what it gets.

    Args:
        archive: where days go.
        lock_of: the lock of a day's objects.
    """

    archive: Archive
    lock_of: LockOf


def due_days(
    log: LogId,
    checkpoints: Sequence[StoredCheckpoint],
    finished: Sequence[date],
    rolled_size: int,
    now_ms: int,
) -> Iterator[date]:
    """Yield the days of a log that are over and have no rollup, earliest first.

    Days without leaves have one as well within the log's own year: it says that nothing was added.
    Before the first checkpoint and after that year only days that added something have one.

    Args:
        log: which log.
        checkpoints: those that are kept, smallest first.
        finished: days that have a rollup, earliest first.
        rolled_size: size that the last rollup reached, 0 for none.
        now_ms: Unix ms.
    """
    if not checkpoints:
        return
    day = day_end(finished[-1]) if finished else day_of(min(c.signed_ms for c in checkpoints))
    size = rolled_size
    newest = max(c.size for c in checkpoints)
    while midnight_ms(day_end(day)) + SETTLE_MS <= now_ms:
        if day.year > log.year and size == newest:
            return  # the year is over and all of it is rolled up
        head = head_of(checkpoints, day)
        grown = head is not None and head.size > size
        if head is not None and (grown or (day.year == log.year and bool(size))):
            yield day
            size = head.size
        day = day_end(day)


def archive_day(
    desk: RollupDesk, vaulted: Vaulted, log: LogId, day: date
) -> tuple[UploadProof, ...]:
    """Upload a finished day, or what of it is missing, and return what the archive answered.

    Raises:
        IntegrityError: an object of the archive has other bytes; it is named, nothing is changed.
        StateError: the archive cannot be used or reached now; repeat it.
    """
    known = desk.rollups.proofs(log, day)
    if known is not None:
        return known
    prefix = dayfiles.day_prefix(origin_of(desk.issuer, log), day)
    lock = vaulted.lock_of(day)
    names = sorted(desk.rollups.names(log, day), key=_turn)
    # A crash anywhere below: what is uploaded is found again by its digest and not sent twice.
    proofs = tuple(
        vaulted.archive.put(prefix + name, desk.rollups.read(log, day, name), lock)
        for name in names
    )
    desk.rollups.proven(log, day, proofs)
    # A crash here: the day is proven and still whole on this machine, which only costs space.
    desk.rollups.thin(log, day, [name for name in names if name not in dayfiles.KEPT])
    return proofs


def archive_log(
    desk: RollupDesk, vaulted: Vaulted, log: LogId, now_ms: int
) -> tuple[UploadProof, ...]:
    """Upload every day of a log that waits, and return what the archive answered.

    Raises:
        StateError, IntegrityError: see `check_place`, before anything is uploaded, and
            `archive_day`.
    """
    check_place(desk, vaulted.archive, log, now_ms)
    waiting = [day for day in desk.rollups.days(log) if desk.rollups.proofs(log, day) is None]
    return tuple(one for day in waiting for one in archive_day(desk, vaulted, log, day))


def _turn(name: str) -> tuple[bool, bool, str]:
    """Order a day's files: the rollup says first whose day it is, the manifest last that it is all.

    Another day's bytes under that name are refused before any other file is locked beside them.
    """
    return name == dayfiles.MANIFEST, name != dayfiles.ROLLUP, name


class Rollups:
    """Brings every log up to date; one step is a round of the control process.

    Args:
        desk: the parts.
        vaulted: the archive; None makes rollups and keeps them on this machine.
        placed: logs that were compared with the archive; the archive is asked again only before a
            day of them is uploaded. Given where rounds are to share it.
    """

    def __init__(
        self, desk: RollupDesk, vaulted: Vaulted | None, placed: set[LogId] | None = None
    ) -> None:
        self._desk = desk
        self._vaulted = vaulted
        self._placed = set[LogId]() if placed is None else placed

    def step(self, now_ms: int) -> list[tuple[LogId, date]]:
        """Make every rollup that is due, and upload every day that is not yet in the archive.

        Args:
            now_ms: Unix ms.

        Returns:
            The rollups that were made now.

        Raises:
            StateError, IntegrityError: the first failure, after every other log had its turn.
        """
        made: list[tuple[LogId, date]] = []
        failure: StateError | IntegrityError | None = None
        for state in self._desk.leaves.ledger.logs():
            try:
                self._bring_up(state.log, now_ms, made)
            except (StateError, IntegrityError) as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return made

    def _bring_up(self, log: LogId, now_ms: int, made: list[tuple[LogId, date]]) -> None:
        """Make and upload what is due of one log; each rollup that was made goes into `made`."""
        # Before anything is made: a log that was begun anew beside its archive would keep the
        # wrong days.
        away = self._try_upload(log, now_ms)
        for day in self.due(log, now_ms):
            make_rollup(self._desk, log, day, now_ms)
            made.append((log, day))
            # At once, so that the next rollup can carry what the archive answered.
            away = away or self._try_upload(log, now_ms)
        if away is not None:
            raise away

    def waiting(self, now_ms: int) -> dict[LogId, int]:
        """Return how many days of each log are over and not where they should be by now."""
        found: dict[LogId, int] = {}
        for state in self._desk.leaves.ledger.logs():
            finished = self._desk.rollups.days(state.log)
            kept = [self._desk.rollups.proofs(state.log, day) for day in finished]
            unproven = 0 if self._vaulted is None else kept.count(None)
            found[state.log] = unproven + len(self.due(state.log, now_ms))
        return found

    def due(self, log: LogId, now_ms: int) -> list[date]:
        """Return the days of a log that are over and have no rollup."""
        checkpoints = self._desk.leaves.ledger.checkpoints(log)
        finished = self._desk.rollups.days(log)
        size = rolled_up(self._desk.rollups, log, finished[-1]).size if finished else 0
        return list(due_days(log, checkpoints, finished, size, now_ms))

    def _try_upload(self, log: LogId, now_ms: int) -> StateError | None:
        """Upload what waits; return the error where the archive is away and days may wait for it.

        A log without a day on this machine may have lost those of the archive: it does not begin
        before the archive has been asked.
        """
        try:
            self._upload(log, now_ms)
        except (ArchiveUnusable, ArchiveUnreachable) as error:
            if not self._desk.rollups.days(log):
                raise
            return error
        return None

    def _upload(self, log: LogId, now_ms: int) -> None:
        if self._vaulted is None:
            return
        kept = [self._desk.rollups.proofs(log, day) for day in self._desk.rollups.days(log)]
        if log not in self._placed or None in kept:
            archive_log(self._desk, self._vaulted, log, now_ms)
            self._placed.add(log)
