"""The rollup of one day: put together from the ledger, proven, signed, and finished.

A day's rollup holds the leaves from the one after the previous rollup's last to the size of the
last checkpoint that was signed before the day's end (UTC). That checkpoint is always kept, whatever
was down at midnight, so days tile the log and anybody who makes a day later makes the same range.
"""

from collections.abc import Callable, Sequence
from datetime import date

import msgspec
from msgspec import UNSET

from verismo.attest.checkpoint import Checkpoint, read_checkpoint
from verismo.attest.keyring import SignedRing, sha256_of, write_keyring
from verismo.attest.merkle import consistency_proof
from verismo.attest.note import NoteRefused, read_note
from verismo.attest.rollup import (
    KeyRingState,
    Predicate,
    Previous,
    RollupRefused,
    RollupStatement,
    SiemCounters,
    Witnessed,
    read_rollup,
    sign_rollup,
    subjects,
)
from verismo.attest.tile import TileMissing, TileRefused
from verismo.control import dayfiles
from verismo.control.dayleaves import (
    LeafDesk,
    frontier_at,
    hash_reader,
    leaf_hashes_of,
    leaves_of,
    runs_of,
)
from verismo.control.daystatements import StatementFiles
from verismo.model import canonical
from verismo.model.errors import IntegrityError, StateError
from verismo.model.ledger import LogId, origin_of
from verismo.model.retention import UploadProof, day_end, midnight_ms
from verismo.ports.ledger import StoredCheckpoint
from verismo.ports.rollups import DayWriter, RollupStore
from verismo.ports.signer import Signer, SigningFailed
from verismo.ports.vault import Vault

SETTLE_MS = 300_000
"""A day is rolled up this long after its end: a step of the integrator that read the clock before
midnight has stored its checkpoint by then."""
COSIGNED = "cosigned"
"""The largest checkpoint with a quorum of witnesses, beside the published one."""
UPLOAD_DAYS_MAX = 400
"""Earlier days that are looked through for upload proofs that no rollup carries yet."""

SiemReport = tuple[tuple[SiemCounters, ...], bytes]
"""Counters of each sink, and the hourly manifests of the day."""


class RollupDesk(msgspec.Struct, frozen=True):
    """The parts that rollups are made with.

    Args:
        issuer: the `iss` of statements; origins begin with its host.
        leaves: where leaves and their records are read.
        ring: reads the checked history of the key ring.
        vault: the tenants' data keys.
        rollups: finished days.
        signer: holder of the rollup key.
        siem: what the export says about a log and day; None where nothing is exported.
    """

    issuer: str
    leaves: LeafDesk
    ring: Callable[[], tuple[SignedRing, ...]]
    vault: Vault
    rollups: RollupStore
    signer: Signer
    siem: Callable[[str, date], SiemReport | None]


def make_rollup(desk: RollupDesk, log: LogId, day: date, now_ms: int) -> bytes:
    """Return the rollup of a day, which is made if it is not there; the same day, the same bytes.

    Args:
        desk: the parts.
        log: which log.
        day: a UTC day that is over.
        now_ms: Unix ms.

    Returns:
        The DSSE envelope.

    Raises:
        StateError: the day is not over, has no checkpoint, or lies before the last rollup; or a
            store cannot be used.
        IntegrityError: the ledger contradicts itself; nothing was signed.
    """
    finished = desk.rollups.days(log)
    if day in finished:
        return desk.rollups.read(log, day, dayfiles.ROLLUP)
    refuse_open_day(day, now_ms)
    if finished and day < finished[-1]:
        raise StateError(
            f"{log.path} has no rollup of {day}: nothing was added then, and later days have one",
            next_step=f"The leaves up to the end of {finished[-1]} are in the rollups that exist.",
        )
    head = head_of(desk.leaves.ledger.checkpoints(log), day)
    if head is None:
        raise StateError(
            f"{log.path} had no checkpoint before the end of {day}",
            next_step="Nothing to do: the first rollup is that of the first checkpoint's day.",
        )
    writer = desk.rollups.begin(log, day)
    # A crash before `finish`: the next try throws the unfinished day away and makes it anew.
    envelope = _write_day(desk, writer, head, day, finished)
    writer.finish()
    return envelope


def head_of(checkpoints: Sequence[StoredCheckpoint], day: date) -> StoredCheckpoint | None:
    """Return the last checkpoint that was signed before a day's end; None if there is none."""
    end_ms = midnight_ms(day_end(day))
    return max((c for c in checkpoints if c.signed_ms < end_ms), key=lambda c: c.size, default=None)


def refuse_open_day(day: date, now_ms: int) -> None:
    """Refuse a day that is not over yet, and settled.

    Raises:
        StateError: it is not.
    """
    if midnight_ms(day_end(day)) + SETTLE_MS > now_ms:
        raise StateError(
            f"{day} is not over: its rollup can be made {SETTLE_MS // 60_000} minutes after "
            "midnight UTC",
            next_step="Name an earlier day.",
        )


def _write_day(
    desk: RollupDesk,
    writer: DayWriter,
    head: StoredCheckpoint,
    day: date,
    finished: Sequence[date],
) -> bytes:
    """Put a day together and sign it; the caller finishes it."""
    log, origin = head.log, origin_of(desk.issuer, head.log)
    earlier = desk.rollups.read(log, finished[-1], dayfiles.ROLLUP) if finished else None
    previous = None if earlier is None else _previous(earlier, finished[-1])
    first = 0 if previous is None else previous.size
    _prove_entries(desk.leaves, head, first)
    files = StatementFiles(desk.vault, dayfiles.day_prefix(origin, day), writer.add)
    for begin, end in dayfiles.chunks(first, head.size):
        runs = list(runs_of(desk.leaves.ledger, log, begin, end))
        published = dayfiles.published_files(
            desk.leaves.tiles, log, begin, end, is_last=end == head.size
        )
        writer.add(dayfiles.tiles_name(begin, end), dayfiles.pack_tiles(published, runs))
        for leaf in leaves_of(desk.leaves, log, runs):
            files.take(leaf)
    files.finish()
    history = desk.ring()
    if history:
        writer.add(dayfiles.KEYRING, write_keyring(history))
    witnessed = _write_heads(desk, writer, head)
    _write_others(desk, writer, log, day)
    report = desk.siem(origin, day)
    if report is not None:
        writer.add(dayfiles.SIEM, report[1])
    told = Predicate(
        v=1,
        origin=origin,
        day=day.isoformat(),
        first=first,
        last=head.size - 1,
        size=head.size,
        root=head.root.hex(),
        leaves=files.tally.leaves,
        answers=files.tally.answers,
        consistency=_consistency(desk, log, first, head.size),
        uploads=_uploads_to_tell(desk, log, finished),
        erased=files.erased,
        keyring=_ring_state(history),
        previous=UNSET if previous is None else previous,
        siem=UNSET if report is None else report[0],
        witnessed=UNSET if witnessed is None else witnessed,
    )
    digests = {name: digest for name, (digest, _) in writer.digests().items()}
    statement = RollupStatement(subject=subjects(digests), predicate=told)
    try:
        envelope = sign_rollup(statement, desk.signer.kid, desk.signer.sign)
    except RollupRefused as error:
        raise IntegrityError(
            f"{origin} contradicts itself, so nothing is signed: {error}"
        ) from error
    except SigningFailed as error:
        raise StateError(
            f"the rollup of {day} could not be signed", next_step="Check the rollup key's file."
        ) from error
    writer.add(dayfiles.ROLLUP, envelope)
    writer.add(dayfiles.MANIFEST, dayfiles.manifest(origin, day, writer.digests()))
    return envelope


def rolled_up(rollups: RollupStore, log: LogId, day: date) -> Predicate:
    """Return what a finished day's rollup says.

    Raises:
        StateError: it is damaged.
    """
    return _told(rollups.read(log, day, dayfiles.ROLLUP), day)


def _told(envelope: bytes, day: date) -> Predicate:
    try:
        return read_rollup(envelope).predicate
    except RollupRefused as error:
        raise StateError(
            f"the rollup of {day} on this machine is damaged: {error}",
            next_step="Bring its folder below rollups/ back from a backup or from the archive.",
        ) from error


def _previous(envelope: bytes, day: date) -> Previous:
    told = _told(envelope, day)
    return Previous(told.day, told.size, told.root, canonical.digest(envelope))


def _prove_entries(desk: LeafDesk, head: StoredCheckpoint, first: int) -> None:
    """Compute the day's signed root from its published entries, before anything says it again."""
    if head.size < first:
        raise IntegrityError(f"{head.log.path} has {head.size} leaves; {first} are rolled up")
    frontier = frontier_at(desk.tiles, head.log, first)
    frontier.extend(leaf_hashes_of(desk.tiles, head.log, first, head.size))
    if frontier.root() != head.root:
        raise IntegrityError(
            f"the published entries of {head.log.path} do not lead to the root of its checkpoint "
            f"of size {head.size}: run `verismo ledger audit`"
        )


def _write_heads(desk: RollupDesk, writer: DayWriter, head: StoredCheckpoint) -> Witnessed | None:
    """Store the day's checkpoint, and a later one if witnesses have signed only that."""
    for name in (COSIGNED, dayfiles.CHECKPOINT):
        published = desk.leaves.tiles.read(head.log, name)
        later = None if published is None else _cosigned(published, head.log)
        if published is None or later is None or later.size < head.size:
            continue
        if (later.size, later.root) == (head.size, head.root):
            writer.add(dayfiles.CHECKPOINT, published)
            return None
        writer.add(dayfiles.CHECKPOINT, head.note)
        writer.add(dayfiles.WITNESSED, published)
        proof = _consistency(desk, head.log, head.size, later.size)
        return Witnessed(later.size, later.root.hex(), proof)
    writer.add(dayfiles.CHECKPOINT, head.note)
    return None


def _write_others(desk: RollupDesk, writer: DayWriter, log: LogId, day: date) -> None:
    """Store how far the other logs were at the day's end, so that one that is lost is missed."""
    ledger = desk.leaves.ledger
    heads = [head_of(ledger.checkpoints(one.log), day) for one in ledger.logs() if one.log != log]
    told = [
        dayfiles.OtherLog(origin_of(desk.issuer, head.log), head.size, head.root.hex())
        for head in heads
        if head is not None
    ]
    if told:
        writer.add(dayfiles.OTHERS, dayfiles.others(told))


def _cosigned(data: bytes, log: LogId) -> Checkpoint | None:
    """Return what a published note says, None if the log alone has signed it."""
    try:
        note = read_note(data)
        return read_checkpoint(note.text) if len(note.signatures) > 1 else None
    except NoteRefused as error:
        raise IntegrityError(f"the published checkpoint of {log.path} is damaged") from error


def _consistency(desk: RollupDesk, log: LogId, first: int, size: int) -> tuple[str, ...]:
    try:
        read = hash_reader(desk.leaves.tiles, log, size)
        return tuple(one.hex() for one in consistency_proof(first, size, read))
    except (TileMissing, TileRefused) as error:
        raise IntegrityError(f"the tiles of {log.path} are damaged: {error}") from error


def _ring_state(history: tuple[SignedRing, ...]) -> KeyRingState | msgspec.UnsetType:
    if not history:
        return UNSET
    return KeyRingState(history[-1].ring.version, sha256_of(history[-1]))


def _uploads_to_tell(
    desk: RollupDesk, log: LogId, finished: Sequence[date]
) -> tuple[UploadProof, ...]:
    """Return the upload proofs of earlier days that no rollup carries yet, oldest first.

    A day is uploaded as a whole and in order, so the first day that was told ends the search.
    """
    told: set[str] = set()
    found: list[UploadProof] = []
    for day in reversed(finished[-UPLOAD_DAYS_MAX:]):
        proofs = desk.rollups.proofs(log, day) or ()
        if any(proof.name in told for proof in proofs):
            break
        found[:0] = proofs
        told |= {one.name for one in rolled_up(desk.rollups, log, day).uploads}
    return tuple(found)
