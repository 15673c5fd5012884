"""Reads an archive and believes nothing in it that is not proven.

What is checked: the key ring's history; each rollup's signature, and that it follows the one
before; that every file which a rollup names is there, and its digest; each day's checkpoint against
the log keys of the ring and against the rollup; each log against what the others tell of it. The
ring itself is the anchor: compare its digest with one that you know from elsewhere.
"""

from collections.abc import Iterator, Sequence
from datetime import date

import msgspec

from verismo.attest.checkpoint import open_checkpoint
from verismo.attest.keyentry import KeyRingRefused, public_key
from verismo.attest.keyring import Remembered, SignedRing, check_history, read_keyring
from verismo.attest.keys import PublicKey
from verismo.attest.note import Note, NoteRefused, key_hash, verifier_key
from verismo.attest.rollup import (
    Predicate,
    RollupRefused,
    RollupStatement,
    check_succession,
    open_rollup,
)
from verismo.control import dayfiles
from verismo.model import canonical
from verismo.model.errors import IntegrityError, StateError
from verismo.model.ledger import LogId
from verismo.model.retention import UploadProof, compliance_lock, day_end, midnight_ms
from verismo.ports.archive import Archive
from verismo.ports.ledger import StoredCheckpoint

NAMED_MAX = 3
"""Missing files of a day that are named; the others are counted."""


class ArchivedDay(msgspec.Struct, frozen=True):
    """One day whose rollup is signed and follows the one before.

    Args:
        origin: the log's name.
        log: which log.
        day: which day.
        prefix: what its names begin with.
        names: its files, sorted, relative to the prefix.
        statement: of the rollup.
    """

    origin: str
    log: LogId
    day: date
    prefix: str
    names: tuple[str, ...]
    statement: RollupStatement

    @property
    def told(self) -> Predicate:
        """What the rollup says."""
        return self.statement.predicate


class ArchiveReader:
    """Reads days, origin by origin, earliest first.

    Args:
        archive: where they are.

    Raises:
        IntegrityError: its key ring cannot be believed, or there is none.
        StateError: the archive cannot be used or reached, or holds no day.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._places: dict[str, dict[date, list[str]]] = {}
        for name in archive.names(dayfiles.ROOT):
            place = dayfiles.read_place(name)
            if place is not None:
                days = self._places.setdefault(place.origin, {})
                days.setdefault(place.day, []).append(place.name)
        if not self._places:
            raise StateError(
                f"no archive of a ledger is there: nothing lies below {dayfiles.ROOT}",
                next_step="Name the folder, or bucket and prefix, of [archive] in verismo.toml.",
            )
        self.history, self.ring = self._read_ring()
        self._keys = {entry.kid: public_key(entry) for entry in self.history[-1].ring.keys}
        self.incomplete: list[str] = []
        """A log's last days without a manifest: their upload did not end, they are left out."""
        self._days: dict[str, list[ArchivedDay]] = {}

    @property
    def origins(self) -> list[str]:
        """The logs that the archive holds, sorted."""
        return sorted(self._places)

    def days(self, origin: str) -> list[ArchivedDay]:
        """Return a log's days, each checked against the one before.

        Raises:
            IntegrityError: a rollup is missing, not signed by a rollup key of the ring, or does
                not follow the one before, or a file that it names is missing; it is named.
        """
        if origin in self._days:
            return self._days[origin]
        found: list[ArchivedDay] = []
        unfinished: list[str] = []
        earlier: bytes | None = None
        for day, names in sorted(self._places[origin].items()):
            prefix = dayfiles.day_prefix(origin, day)
            if dayfiles.MANIFEST not in names:
                unfinished.append(prefix)
                continue
            if unfinished:
                # Days are uploaded in turn, so this one's upload had ended.
                raise IntegrityError(f"{unfinished[0]}{dayfiles.MANIFEST} is gone")
            envelope = self._archive.get(prefix + dayfiles.ROLLUP)
            found.append(self._day(origin, day, envelope, earlier))
            earlier = envelope
        self.incomplete += unfinished
        self._days[origin] = found
        return found

    def missing(self, now_ms: int) -> list[str]:
        """Say which logs are not there, or end before what another log's last day tells of them.

        Args:
            now_ms: Unix ms; a log whose every lock has run out may have been deleted.

        Raises:
            IntegrityError: a log has another root than is told of it.
        """
        found: dict[str, str] = {}
        for last in [days[-1] for origin in self.origins if (days := self.days(origin))]:
            if dayfiles.OTHERS in last.names:
                for other in dayfiles.read_others(self.file(last, dayfiles.OTHERS)):
                    shortage = self._shortage(other, last.prefix, now_ms)
                    if shortage is not None:
                        found.setdefault(other.origin, shortage)
        return [found[origin] for origin in sorted(found)]

    def file(self, day: ArchivedDay, name: str) -> bytes:
        """Return a file of a day, checked against the rollup that names its digest.

        Raises:
            IntegrityError: the rollup does not name it, or it has other bytes.
        """
        content = self._archive.get(day.prefix + name)
        named = {one.name: one.digest.sha256 for one in day.statement.subject}
        if canonical.digest(content) != named.get(name):
            raise IntegrityError(f"{day.prefix}{name} is not the file that the rollup names")
        return content

    def kept(self, day: ArchivedDay) -> dict[str, bytes]:
        """Return the files of a day that a gateway keeps beside its ledger."""
        found = {
            name: self.file(day, name)
            for name in day.names
            if name in dayfiles.KEPT - {dayfiles.ROLLUP, dayfiles.MANIFEST}
        }
        for name in (dayfiles.ROLLUP, dayfiles.MANIFEST):
            found[name] = self._archive.get(day.prefix + name)
        return found

    def proofs(self, day: ArchivedDay) -> list[UploadProof]:
        """Return what the archive answers about a day's objects now."""
        found = [self._archive.find(day.prefix + name) for name in day.names]
        return [proof for proof in found if proof is not None]

    def chunks(self, day: ArchivedDay) -> Iterator[tuple[int, int, dayfiles.TileChunk]]:
        """Yield the day's tiles, range by range.

        Raises:
            IntegrityError: a range is missing, or a file is not the one of the rollup.
        """
        ranges = sorted(
            (*given, name)
            for name in day.names
            if (given := dayfiles.tiles_range(name)) is not None
        )
        at = day.told.first
        for begin, end, name in ranges:
            if begin != at:
                break
            yield begin, end, dayfiles.unpack_tiles(self.file(day, name), day.log)
            at = end
        if at != day.told.size:
            raise IntegrityError(f"{day.prefix} lacks the tiles from leaf {at} on")

    def checkpoint(self, day: ArchivedDay) -> tuple[StoredCheckpoint, bytes]:
        """Return the day's checkpoint with the log's signature alone, and as it was archived.

        Raises:
            IntegrityError: no log key of the ring signed it, or it is not that of the rollup.
        """
        note = self.file(day, dayfiles.CHECKPOINT)
        for key in self._keys.values():
            if key.role == "log":
                try:
                    return _checked(day, note, key), note
                except NoteRefused:
                    continue
        raise IntegrityError(f"{day.prefix}checkpoint is signed by no log key of the key ring")

    def _day(self, origin: str, day: date, envelope: bytes, earlier: bytes | None) -> ArchivedDay:
        """Return a day whose rollup is signed, follows the one before and has all its files."""
        prefix, names = dayfiles.day_prefix(origin, day), self._places[origin][day]
        try:
            statement = open_rollup(envelope, self._keys)
            if earlier is not None:
                check_succession(earlier, statement)
            elif statement.predicate.first:
                raise RollupRefused("the rollups before it are missing")
        except RollupRefused as error:
            raise IntegrityError(f"{prefix}{dayfiles.ROLLUP}: {error}") from error
        told = statement.predicate
        if (told.origin, told.day) != (origin, day.isoformat()):
            raise IntegrityError(f"{prefix}{dayfiles.ROLLUP} is of {told.origin}, {told.day}")
        lacking = sorted({one.name for one in statement.subject} - set(names))
        if lacking:
            more = f" and {len(lacking) - NAMED_MAX} more" if len(lacking) > NAMED_MAX else ""
            raise IntegrityError(
                f"{prefix} lacks {', '.join(lacking[:NAMED_MAX])}{more}, which its rollup names"
            )
        return ArchivedDay(origin, _log_of(origin), day, prefix, tuple(sorted(names)), statement)

    def _shortage(self, other: dayfiles.OtherLog, teller: str, now_ms: int) -> str | None:
        """Say what is missing of a log that another log's day tells of; None if nothing is."""
        days = self.days(other.origin) if other.origin in self._places else []
        roots = {day.told.size: day.told.root for day in days}
        if roots.get(other.size, other.root) != other.root:
            raise IntegrityError(f"{teller}{dayfiles.OTHERS} tells another root of {other.origin}")
        last_day = date(_log_of(other.origin).year, 12, 31)
        if max(roots, default=0) >= other.size or compliance_lock(last_day).until_ms <= now_ms:
            return None
        state = f"ends with {max(roots)} leaves" if roots else "is missing"
        return f"{other.origin} {state}: {teller} tells {other.size} leaves of it"

    def _read_ring(self) -> tuple[Sequence[SignedRing], Remembered]:
        """Return the longest history of any log's last; every shorter one is its beginning."""
        histories = [
            self._archive.get(dayfiles.day_prefix(origin, day) + dayfiles.KEYRING)
            for origin, days in self._places.items()
            for day, names in days.items()
            if dayfiles.KEYRING in names
            and day == max(one for one in days if dayfiles.KEYRING in days[one])
        ]
        if not histories:
            raise IntegrityError("the archive holds no day with a key ring")
        try:
            read = [read_keyring(document) for document in histories]
            longest = max(read, key=len)
            for history in read:
                if longest[: len(history)] != history:
                    raise IntegrityError("the archive holds two different key rings")
            return longest, check_history(None, longest)
        except KeyRingRefused as error:
            raise IntegrityError(f"the key ring of the archive: {error}") from error


def _log_of(origin: str) -> LogId:
    """Return the log of an origin.

    Raises:
        IntegrityError: it is none of a log.
    """
    place = dayfiles.read_place(dayfiles.day_prefix(origin, date.min) + dayfiles.ROLLUP)
    if place is None:
        raise IntegrityError(f"{origin[:128]!r} is no log's name")
    return place.log


def _checked(day: ArchivedDay, data: bytes, key: PublicKey) -> StoredCheckpoint:
    checkpoint, note = open_checkpoint(data, verifier_key(day.origin, key.raw))
    if (checkpoint.size, checkpoint.root.hex()) != (day.told.size, day.told.root):
        raise IntegrityError(f"{day.prefix}checkpoint is not the one of the rollup")
    own = key_hash(day.origin, 1, key.raw)
    mine = [one for one in note.signatures if (one.name, one.key_hash) == (day.origin, own)]
    return StoredCheckpoint(
        log=day.log,
        size=checkpoint.size,
        root=checkpoint.root,
        note=Note(note.text, tuple(mine)).encode(),
        # When it was signed is not archived; it was within the day, and no later.
        signed_ms=midnight_ms(day_end(day.day)) - 1,
    )
