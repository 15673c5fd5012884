"""Reads an archive and believes nothing in it that is not proven.

What is checked: the key ring's history; each rollup's signature, and that it follows the one
before; the digest of every file against the rollup's subjects; each day's checkpoint against the
log keys of the ring and against the rollup. The ring itself is the anchor: compare its digest with
one that you know from elsewhere.
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
from verismo.model.retention import UploadProof, day_end, midnight_ms
from verismo.ports.archive import Archive
from verismo.ports.ledger import StoredCheckpoint


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
        """Days without a manifest: their upload did not end, and they are left out."""

    @property
    def origins(self) -> list[str]:
        """The logs that the archive holds, sorted."""
        return sorted(self._places)

    def days(self, origin: str) -> list[ArchivedDay]:
        """Return a log's days, each checked against the one before.

        Raises:
            IntegrityError: a rollup is missing, not signed by a rollup key of the ring, or does
                not follow the one before; it is named.
        """
        found: list[ArchivedDay] = []
        earlier: bytes | None = None
        for day, names in sorted(self._places[origin].items()):
            prefix = dayfiles.day_prefix(origin, day)
            if dayfiles.MANIFEST not in names:
                self.incomplete.append(prefix)
                continue
            envelope = self._archive.get(prefix + dayfiles.ROLLUP)
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
            place = dayfiles.read_place(prefix + dayfiles.ROLLUP)
            if place is not None:
                sorted_names = tuple(sorted(names))
                found.append(ArchivedDay(origin, place.log, day, prefix, sorted_names, statement))
            earlier = envelope
        return found

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

    def _read_ring(self) -> tuple[Sequence[SignedRing], Remembered]:
        """Return the longest history of any day; every shorter one is its beginning."""
        histories = [
            self._archive.get(dayfiles.day_prefix(origin, day) + dayfiles.KEYRING)
            for origin, days in self._places.items()
            for day, names in days.items()
            if dayfiles.KEYRING in names and day == max(days)
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
