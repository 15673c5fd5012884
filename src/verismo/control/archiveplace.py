"""Whether an archive is the one that a log's next days belong to.

A day's rollup names the one before it, and a restore refuses a log whose beginning is missing or
whose days do not follow one another. What is uploaded under a lock stays for seven years, so a day
is compared with what the archive holds of its log before any file of it is sent.
"""

from collections.abc import Sequence
from datetime import date
from itertools import pairwise

from verismo.attest.rollup import RollupRefused, check_succession, read_rollup
from verismo.control import dayfiles
from verismo.control.dayrollup import RollupDesk, rolled_up
from verismo.model import canonical
from verismo.model.errors import IntegrityError, StateError
from verismo.model.ledger import LogId, origin_of
from verismo.ports.archive import Archive

MOVED = (
    "Name the archive of before in [archive], or copy all of it into this one. "
    "docs/runbooks/archive-failing.md says what else there is."
)
LOST = (
    "Stop the gateway, set <data>/rollups aside and put those of the archive in their place: "
    "docs/runbooks/ledger-restore.md, step 4 of going on."
)


def check_place(desk: RollupDesk, archive: Archive, log: LogId, now_ms: int) -> None:
    """Check that an archive ends where the days of a log that wait for it begin.

    Args:
        desk: the parts.
        archive: where days of the log are to go.
        log: which log.
        now_ms: Unix ms; says which locks have run out.

    Raises:
        StateError: the days before lie in another archive, or the archive goes on beyond what is
            known here, or a day does not follow the one before.
        IntegrityError: the archive's newest day is not the one of this machine.
    """
    origin = origin_of(desk.issuer, log)
    finished = desk.rollups.days(log)
    newest = _newest(archive, origin)
    if newest is not None and newest not in finished:
        raise StateError(
            f"the archive's rollups of {origin} go on to {newest}, and that one is not on this "
            "machine",
            next_step=LOST,
        )
    uploaded = [day for day in finished if desk.rollups.proofs(log, day) is not None]
    if uploaded and (newest is None or newest < uploaded[-1]):
        if uploaded == list(finished) and _may_be_gone(desk, log, uploaded, now_ms):
            return
        raise StateError(
            f"the days of {origin} up to {uploaded[-1]} lie in {_where(desk, log, uploaded[-1])} "
            f"that is not this archive, which {_end(newest)}",
            next_step=MOVED,
        )
    if newest is not None:
        _compare(desk, archive, log, newest)
    elif finished and rolled_up(desk.rollups, log, finished[0]).first:
        raise StateError(
            f"the rollups of {origin} on this machine begin with {finished[0]}, and this archive "
            "holds no day before it",
            next_step=MOVED,
        )
    _check_waiting(desk, log, finished, uploaded)


def _newest(archive: Archive, origin: str) -> date | None:
    """Return the last day of a log that has a rollup in the archive."""
    places = [dayfiles.read_place(name) for name in archive.names(f"{dayfiles.ROOT}{origin}/")]
    days = (one.day for one in places if one is not None and one.name == dayfiles.ROLLUP)
    return max(days, default=None)


def _compare(desk: RollupDesk, archive: Archive, log: LogId, day: date) -> None:
    """Compare the archive's newest rollup with the one of this machine."""
    name = dayfiles.day_prefix(origin_of(desk.issuer, log), day) + dayfiles.ROLLUP
    found = archive.find(name)
    # A crash may have left it without its lock; the upload compares its bytes then.
    if found is not None and found.sha256 != canonical.digest(
        desk.rollups.read(log, day, dayfiles.ROLLUP)
    ):
        raise IntegrityError(f"{name} of the archive is not the one of this machine")


def _check_waiting(
    desk: RollupDesk, log: LogId, finished: Sequence[date], uploaded: Sequence[date]
) -> None:
    """Check that each day that waits follows the day before it on this machine."""
    for earlier, later in pairwise(finished):
        if later in uploaded:
            continue
        try:
            statement = read_rollup(desk.rollups.read(log, later, dayfiles.ROLLUP))
            check_succession(desk.rollups.read(log, earlier, dayfiles.ROLLUP), statement)
        except RollupRefused as error:
            raise StateError(
                f"{later} of {origin_of(desk.issuer, log)} does not follow the one before it: "
                f"{error}",
                next_step=LOST,
            ) from error


def _may_be_gone(desk: RollupDesk, log: LogId, days: Sequence[date], now_ms: int) -> bool:
    """Say whether the locks of everything that was uploaded of some days have run out."""
    proofs = (one for day in days for one in desk.rollups.proofs(log, day) or ())
    return all(one.until_ms <= now_ms for one in proofs)


def _where(desk: RollupDesk, log: LogId, day: date) -> str:
    proofs = desk.rollups.proofs(log, day) or ()
    return "a folder" if any(one.enforced_by == "folder" for one in proofs) else "a bucket"


def _end(newest: date | None) -> str:
    return "holds no day of it" if newest is None else f"ends with {newest}"
