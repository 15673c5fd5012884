"""Rebuilds a ledger from its archive alone, by the functions that built it.

Entries go through the same tree as the integrator's, and the tiles that come out are compared with
those of the archive; each day must end in its signed root. Tiles, indices and checkpoints need no
secret. Records open only with their tenants' keys, and each is compared with the leaf that commits
to it; without the keys, or after an erasure, the tree is whole all the same.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from verismo.attest.keyring import Remembered
from verismo.attest.leaf import LeafRefused, LeafType, leaf_entry
from verismo.attest.tile import TILE_WIDTH, TileRefused, entries_path, read_bundle
from verismo.control import dayfiles
from verismo.control.archiveddays import ArchivedDay, ArchiveReader
from verismo.control.dayfiles import ArchivedRecord, read_entries
from verismo.control.daystatements import GATEWAY, GATEWAY_HANDLE
from verismo.control.journalaudit import LOST
from verismo.control.leafsources import ADAPT_TYPES, KEY_RING
from verismo.control.logtree import LogTree
from verismo.model.errors import Erased, IntegrityError, StateError
from verismo.model.ids import TenantId
from verismo.ports.archive import Archive
from verismo.ports.journal import Record
from verismo.ports.keyring import KeyRingStore, RingVersion
from verismo.ports.ledger import (
    CheckpointMemory,
    Growth,
    Lease,
    LedgerStore,
    LogState,
    TileFile,
    TileStore,
)
from verismo.ports.rollups import RestoredControl, RestoredRecords, RollupStore
from verismo.ports.vault import Vault

LEASE_MS = 3_600_000
"""Nobody else writes a folder that is being restored; the lease is only the store's condition."""


class RestoreDesk(msgspec.Struct, frozen=True):
    """The parts that a restore works with; all stores are empty.

    Args:
        archive: what is restored.
        store: indices and checkpoints.
        lease: the right to write them.
        tiles: what is published.
        memory: the second place for checkpoints.
        rollups: finished days.
        ring: the key ring's versions.
        records: takes the records that open.
        control: takes those of the control plane.
        vault: tenants' data keys.
        tenants: whose keys there are; a file is tried with each until one opens it.
    """

    archive: Archive
    store: LedgerStore
    lease: Lease
    tiles: TileStore
    memory: CheckpointMemory
    rollups: RollupStore
    ring: KeyRingStore
    records: RestoredRecords
    control: RestoredControl
    vault: Vault
    tenants: tuple[TenantId, ...]


class RestoredLog(msgspec.Struct, frozen=True):
    """What became of one log.

    Args:
        origin: its name.
        size: leaves under its last archived checkpoint.
        root: of that tree, hex.
        days: how many days were read.
        records: leaves whose records opened, and are the ones that the leaves commit to.
        sealed_files: files of statements for which there was no key.
    """

    origin: str
    size: int
    root: str
    days: int
    records: int
    sealed_files: int


class RestoredLedger(msgspec.Struct, frozen=True):
    """What a restore found.

    Args:
        ring: version and digest of the newest key ring: compare it with one from elsewhere.
        logs: each log.
        incomplete: days whose upload did not end; they are left out.
        missing: for each log that is not there, or ends too early, a line that says so.
    """

    ring: Remembered
    logs: tuple[RestoredLog, ...]
    incomplete: tuple[str, ...]
    missing: tuple[str, ...]


def restore_ledger(desk: RestoreDesk, now_ms: int) -> RestoredLedger:
    """Rebuild tiles, indices, checkpoints, key ring, rollups and records.

    Args:
        desk: the parts.
        now_ms: Unix ms.

    Raises:
        IntegrityError: something in the archive is not what was signed; it is named.
        StateError: the archive or a store cannot be used.
    """
    reader = ArchiveReader(desk.archive)
    for version in reader.history:
        jws = version.jws.encode("ascii")
        desk.ring.append(RingVersion(version.ring.version, version.statement, jws, now_ms))
    missing = reader.missing(now_ms)
    token = desk.lease.acquire("restore", now_ms, LEASE_MS)
    logs = [_Restoration(desk, reader, token).log(origin) for origin in reader.origins]
    cursors = desk.store.cursors()
    elsewhere = {KEY_RING, LOST, *ADAPT_TYPES}
    last = {name: n for name, n in cursors.items() if name not in elsewhere}
    desk.records.finish(last, now_ms)
    if any(name in ADAPT_TYPES for name in cursors):
        desk.control.finish(now_ms)
    desk.lease.release(token)
    return RestoredLedger(
        ring=reader.ring,
        logs=tuple(one for one in logs if one is not None),
        incomplete=tuple(reader.incomplete),
        missing=tuple(missing),
    )


class _Restoration:
    """Restores one log."""

    def __init__(self, desk: RestoreDesk, reader: ArchiveReader, token: int) -> None:
        self._desk = desk
        self._reader = reader
        self._token = token
        self._tenants: dict[str, TenantId] = {GATEWAY_HANDLE: GATEWAY}
        self._records = 0
        self._sealed = 0

    def log(self, origin: str) -> RestoredLog | None:
        """Restore a log; None if no day of it was uploaded whole."""
        days = self._reader.days(origin)
        if not days:
            return None
        log = days[0].log
        tree = LogTree.read(LogState(log, 0, 0), lambda _log, _at: b"", self._desk.tiles.read)
        for day in days:
            self._day(tree, day)
        last = days[-1].told
        return RestoredLog(origin, last.size, last.root, len(days), self._records, self._sealed)

    def _day(self, tree: LogTree, day: ArchivedDay) -> None:
        desk, log, is_grown = self._desk, day.log, day.told.size > tree.size
        for begin, end, chunk in self._reader.chunks(day):
            self._grow(tree, begin, end, chunk)
        if tree.root().hex() != day.told.root:
            raise IntegrityError(f"the entries of {day.prefix} do not lead to the root it tells")
        checkpoint, note = self._reader.checkpoint(day)
        if is_grown:
            desk.tiles.write(log, tree.partial_files())
            desk.store.add_checkpoint(self._token, checkpoint)
            desk.memory.remember(day.origin, checkpoint.note)
            desk.tiles.publish(log, note)
        for name in day.names:
            if name.startswith(dayfiles.STATEMENTS):
                self._open(day, name)
        writer = desk.rollups.begin(log, day.day)
        for name, content in self._reader.kept(day).items():
            writer.add(name, content)
        writer.finish()
        desk.rollups.proven(log, day.day, self._reader.proofs(day))

    def _grow(self, tree: LogTree, begin: int, end: int, chunk: dayfiles.TileChunk) -> None:
        """Take a range of entries as the integrator does, and compare what comes of it."""
        desk, log = self._desk, tree.log
        archived = {file.path: file.content for file in chunk.files}
        entries = b"".join(_entries(archived, begin, end))
        _check_runs(chunk, begin, end)
        finished = tree.extend(entries)
        _compare(archived, finished)
        cursors = dict(desk.store.cursors())
        for run in chunk.runs:
            last = run.first_seq + run.count - 1
            cursors[run.source] = max(last, cursors.get(run.source, 0))
        desk.store.assign(self._token, [Growth(log, begin, entries, chunk.runs)], cursors)
        desk.tiles.write(log, finished)
        desk.tiles.prune(log, [file.path for file in finished])
        desk.store.integrated(self._token, log, tree.size)

    def _open(self, day: ArchivedDay, name: str) -> None:
        """Decrypt a file of statements if there is a key, and keep the records that are proven."""
        opened = self._decrypted(day, name)
        if opened is None:
            self._sealed += 1
            return
        by_slot: dict[str, list[Record]] = {}
        for one in _proven(self._desk.tiles, day, dayfiles.unpack_records(opened)):
            self._records += 1
            if one.source != KEY_RING:
                by_slot.setdefault(one.source, []).append(one.record)
        for source, records in by_slot.items():
            if source in ADAPT_TYPES:
                self._desk.control.add(source, records)
            else:
                self._desk.records.add(source, records)

    def _decrypted(self, day: ArchivedDay, name: str) -> bytes | None:
        """Return a file's content, None without its key: whose it is, only the key can say."""
        sealed = self._reader.file(day, name)
        handle = name.removeprefix(dayfiles.STATEMENTS).partition("/")[0]
        known = self._tenants.get(handle)
        for tenant in (known,) if known is not None else self._desk.tenants:
            try:
                content = self._desk.vault.open_file(tenant, day.prefix + name, sealed)
            except Erased:
                continue
            except StateError:
                # Another tenant's: with the right key it opens, whatever else is wrong, since its
                # bytes are those that the rollup names.
                continue
            self._tenants[handle] = tenant
            return content
        return None


def _entries(archived: Mapping[str, bytes], begin: int, end: int) -> Iterator[bytes]:
    """Yield the entries of a range from its archived bundles."""
    for index in range(begin // TILE_WIDTH, -(-end // TILE_WIDTH)):
        first = index * TILE_WIDTH
        path = entries_path(index, min(TILE_WIDTH, end - first))
        try:
            bundle = read_bundle(archived.get(path, b""))
        except TileRefused as error:
            raise IntegrityError(f"the archive lacks {path}, or it is damaged") from error
        yield from bundle[max(0, begin - first) :]


def _compare(archived: Mapping[str, bytes], finished: Sequence[TileFile]) -> None:
    for file in finished:
        if archived.get(file.path) != file.content:
            raise IntegrityError(f"the archive's {file.path} is not what its entries give")


def _check_runs(chunk: dayfiles.TileChunk, begin: int, end: int) -> None:
    at = begin
    for run in chunk.runs:
        if run.first_index != at or run.count < 1:
            break
        at += run.count
    if at != end:
        raise IntegrityError(f"the archive does not say where leaf {at} came from")


def _proven(
    tiles: TileStore, day: ArchivedDay, records: Sequence[ArchivedRecord]
) -> Iterator[ArchivedRecord]:
    """Yield records, each of which its leaf commits to."""
    bundle_index = -1
    bundle: tuple[bytes, ...] = ()
    for one in records:
        if not day.told.first <= one.index < day.told.size:
            raise IntegrityError(f"{day.prefix} holds a record of leaf {one.index}")
        if one.index // TILE_WIDTH != bundle_index:
            bundle_index = one.index // TILE_WIDTH
            width = min(TILE_WIDTH, day.told.size - bundle_index * TILE_WIDTH)
            bundle = read_entries(tiles, day.log, bundle_index, width)
        try:
            kind = LeafType(one.leaf_type)
            entry = leaf_entry(kind, one.record.statement, one.record.jws)
        except (ValueError, LeafRefused) as error:
            raise IntegrityError(f"the record of leaf {one.index} is damaged") from error
        if entry != bundle[one.index % TILE_WIDTH]:
            raise IntegrityError(f"the record of leaf {one.index} is not the one it commits to")
        yield one
