"""The integrator: turns signed rows into the leaves of logs, and signs what the logs have become.

One step is the whole of it. It goes on from what the stores say, so the first step after a crash,
the steps that catch up and the ordinary one are the same function:

1. take: rows after each source's cursor become entries, and get indices, in one transaction;
2. integrate: entries that have an index become tiles and bundles, written once, then noted;
3. sign: at most once an interval, the partial tiles are written, and the checkpoint is signed,
   stored, and remembered in a second place before anybody sees it;
4. publish: the last stored checkpoint takes the place of the published one.

Whatever raises, the integrator forgets all it knows and the next step reads it anew. The reply to
a client waits for none of this.

Source: ADR-018; C2SP tlog-tiles, tlog-checkpoint.
"""

from collections.abc import Sequence

import msgspec

from verismo.attest.checkpoint import Checkpoint, read_checkpoint
from verismo.attest.merkle import root_of
from verismo.attest.note import Note, NoteRefused, NoteSignature, key_hash, read_note
from verismo.attest.tile import Tile, TileMissing, TileRefused, TileTree
from verismo.control.building import Building
from verismo.control.leafsources import LogChooser
from verismo.control.logtree import LogTree
from verismo.model.errors import StateError
from verismo.model.ledger import ENTRY_BYTES, LogId, is_log_origin, origin_of
from verismo.ports.ledger import (
    CheckpointMemory,
    LeafSource,
    Lease,
    LedgerForked,
    LedgerStore,
    LogState,
    SourceRow,
    StoredCheckpoint,
    TileStore,
)
from verismo.ports.signer import Signer, SigningFailed

REFUSED = (
    "Do not delete anything. Stop the gateway and follow docs/runbooks/ledger-refused.md: "
    "`verismo ledger adopt` goes on from the published tiles."
)


class IntegratorSettings(msgspec.Struct, frozen=True):
    """How an integrator works.

    Args:
        issuer: the `iss` of statements; origins begin with its host.
        home_region: whose log takes voids and key ring versions.
        holder: this process's name in the lease.
        rows_max: rows of one source in one step; bounds memory and the length of a transaction.
        checkpoint_ms: least time between two checkpoints of a log.
        lease_ms: how long the lease holds without being renewed.
    """

    issuer: str
    home_region: str
    holder: str
    rows_max: int = 4_096
    checkpoint_ms: int = 1_000
    lease_ms: int = 3_000


class LedgerDesk(msgspec.Struct, frozen=True):
    """The parts that an integrator works with.

    Args:
        sources: where leaves come from.
        store: indices and checkpoints.
        lease: the right to write them.
        tiles: what is published.
        memory: the second place for checkpoints.
        signer: holder of the log key.
    """

    sources: tuple[LeafSource, ...]
    store: LedgerStore
    lease: Lease
    tiles: TileStore
    memory: CheckpointMemory
    signer: Signer


class Progress(msgspec.Struct, frozen=True):
    """What one step did.

    Args:
        taken: rows that got an index.
        is_behind: whether a source may have more; step again at once.
        published: the checkpoints that were published, by log.
    """

    taken: int
    is_behind: bool
    published: dict[LogId, bytes]


class Integrator:
    """Integrates from one thread; see the module.

    Args:
        desk: the parts that it works with.
        settings: how it works.
    """

    def __init__(self, desk: LedgerDesk, settings: IntegratorSettings) -> None:
        self._desk = desk
        self._settings = settings
        self._chooser = LogChooser(settings.issuer, settings.home_region)
        self._forget()

    def _forget(self) -> None:
        self._token = 0
        self._renewed_ms = 0
        self._cursors: dict[str, int] = {}
        self._trees: dict[LogId, LogTree] = {}
        self._signed: dict[LogId, StoredCheckpoint] = {}

    def step(self, now_ms: int) -> Progress:
        """Take, integrate, sign and publish what there is.

        Args:
            now_ms: Unix ms; a clock that steps back or forth does no harm.

        Returns:
            What was done.

        Raises:
            LeaseElsewhere: another process integrates; try again later.
            LedgerForked: refused; an operator has to look.
            StateError: something cannot be read or written now; try again later.
        """
        is_done = False
        try:
            self._hold_lease(now_ms)
            taken, is_behind, failure = self._take()
            for tree in self._trees.values():
                self._integrate(tree)
            for tree in self._trees.values():
                if self._is_due(tree, now_ms):
                    self._sign(tree, now_ms)
            published = self._publish_all()
            is_done = True
        finally:
            if not is_done:
                self._forget()
        if failure is not None:
            # Every other source got its turn before the one that cannot be read is reported.
            raise failure
        return Progress(taken, is_behind, published)

    def release(self) -> None:
        """Give the lease up, so that another process need not wait for its end."""
        token = self._token
        self._forget()
        if token:
            self._desk.lease.release(token)

    def _hold_lease(self, now_ms: int) -> None:
        settings, lease = self._settings, self._desk.lease
        if not self._token:
            self._token = lease.acquire(settings.holder, now_ms, settings.lease_ms)
            self._read_state()
        elif not 0 <= now_ms - self._renewed_ms < settings.lease_ms // 3:
            lease.renew(self._token, now_ms, settings.lease_ms)
        else:
            return
        self._renewed_ms = now_ms

    def _read_state(self) -> None:
        """Read what a crash, or another integrator, has left."""
        store = self._desk.store
        self._cursors = dict(store.cursors())
        for state in store.logs():
            self._open(state)

    def _open(self, state: LogState) -> LogTree:
        """Read a log's edge, after comparing every place that knows how far it was signed."""
        log, desk = state.log, self._desk
        latest = desk.store.latest_checkpoint(log)
        if latest is not None:
            self._signed[log] = latest
        tree = LogTree.read(state, desk.store.pending, desk.tiles.read)
        size = 0 if latest is None else latest.size
        origin = origin_of(self._settings.issuer, log)
        if state.integrated < size:
            raise LedgerForked(f"{origin}: fewer entries than were signed", next_step=REFUSED)
        for place, note in (
            ("ledger.db", None if latest is None else latest.note),
            ("the second place beside the keys", desk.memory.remembered(origin)),
            ("the published log", desk.tiles.read(log, "checkpoint")),
        ):
            if note is not None:
                self._compare(tree, origin, size, place, _head(note, place))
        self._trees[log] = tree
        return tree

    def _compare(
        self, tree: LogTree, origin: str, size: int, place: str, known: Checkpoint
    ) -> None:
        """Refuse to go on from less than was signed, or from another history."""
        if known.origin != origin:
            raise LedgerForked(
                f"{place} has a checkpoint of {known.origin}, not of {origin}",
                next_step="Set `issuer` back to what it was: a log keeps its name for life. "
                "A new issuer needs a data folder of its own.",
            )
        if known.size > size:
            raise LedgerForked(
                f"{origin}: {place} has a checkpoint of size {known.size}, the ledger only of "
                f"{size}: an old copy of the ledger is in use",
                next_step=REFUSED,
            )
        try:
            root = root_of(known.size, TileTree(lambda tile: self._fetch(tree, tile), tree.size))
        except (TileMissing, TileRefused) as error:
            raise LedgerForked(
                f"{origin} is damaged: {error}",
                next_step="`verismo ledger audit` names every tile that is not what it should be; "
                "put them back from a mirror or the archive.",
            ) from error
        if root != known.root:
            raise LedgerForked(
                f"{origin}: {place} has another history up to size {known.size}",
                next_step=REFUSED,
            )

    def _fetch(self, tree: LogTree, tile: Tile) -> bytes:
        content = tree.partial(tile) or self._desk.tiles.read(tree.log, tile.path)
        if content is None:
            raise TileMissing(tile.path)
        return content

    def _take(self) -> tuple[int, bool, StateError | None]:
        """Give indices to the rows after each cursor; a source that cannot be read is left out."""
        building: dict[LogId, Building] = {}
        cursors: dict[str, int] = {}
        taken, is_behind, failure = 0, False, None
        for name, source in self._names():
            rows: Sequence[SourceRow] = ()
            try:
                rows = source.rows(name, self._cursors.get(name, 0), self._settings.rows_max)
                is_behind |= len(rows) == self._settings.rows_max
                for row in rows:
                    log = self._chooser.choose(name, row)
                    self._building(log, building).add(name, row)
                    cursors[name] = row.seq_n
                    taken += 1
            except LedgerForked:
                raise
            except StateError as error:
                failure, is_behind = error, False
        if cursors:
            growths = [one.growth() for one in building.values() if one.entries]
            # A crash before this: nothing has an index, the next step takes the same rows.
            self._desk.store.assign(self._token, growths, cursors)
            # A crash after it: the entries are kept, the next step integrates them.
            self._cursors.update(cursors)
            for growth in growths:
                self._trees[growth.log].assigned += len(growth.entries) // ENTRY_BYTES
        return taken, is_behind, failure

    def _names(self) -> list[tuple[str, LeafSource]]:
        return [(name, source) for source in self._desk.sources for name in source.names()]

    def _building(self, log: LogId, building: dict[LogId, Building]) -> Building:
        one = building.get(log)
        if one is None:
            tree = self._trees.get(log) or self._open(LogState(log, 0, 0))
            one = building[log] = Building(log, tree.assigned)
        return one

    def _integrate(self, tree: LogTree) -> None:
        """Write the tiles of entries that have an index."""
        if tree.size == tree.assigned:
            return
        entries = self._desk.store.pending(tree.log, tree.size)
        finished = tree.extend(entries)
        if finished:
            self._desk.tiles.write(tree.log, finished)
            # A crash here or within: some of the files are there. The next step makes the same
            # bytes from the same entries, and finds them there.
            self._desk.tiles.prune(tree.log, [file.path for file in finished])
        self._desk.store.integrated(self._token, tree.log, tree.size)

    def _is_due(self, tree: LogTree, now_ms: int) -> bool:
        signed = self._signed.get(tree.log)
        if signed is None:
            return tree.size > 0
        if not self._is_ours(signed):
            # The key that signed it was revoked: a log that never grows again needs it most.
            return True
        is_early = 0 <= now_ms - signed.signed_ms < self._settings.checkpoint_ms
        return tree.size > signed.size and not is_early

    def _sign(self, tree: LogTree, now_ms: int) -> None:
        """Sign the checkpoint of a log's present size and store it; nobody sees it yet."""
        log = tree.log
        origin = origin_of(self._settings.issuer, log)
        # Everything that a checkpoint promises is there before it is.
        self._desk.tiles.write(log, tree.partial_files())
        checkpoint = Checkpoint(origin, tree.size, tree.root())
        # A crash here: tiles without a checkpoint, which is allowed; the next step signs this size
        # or a larger one.
        stored = StoredCheckpoint(log, tree.size, checkpoint.root, self._note(checkpoint), now_ms)
        self._desk.store.add_checkpoint(self._token, stored)
        # A crash here: it is stored and not published; the next step publishes it as it is.
        self._signed[log] = stored

    def _is_ours(self, signed: StoredCheckpoint) -> bool:
        """Say whether the present log key has signed a checkpoint."""
        ours = self._key_hash(origin_of(self._settings.issuer, signed.log))
        return any(one.key_hash == ours for one in read_note(signed.note).signatures)

    def _key_hash(self, origin: str) -> bytes:
        return key_hash(origin, 1, self._desk.signer.public_key)

    def _note(self, checkpoint: Checkpoint) -> bytes:
        if not is_log_origin(checkpoint.origin):
            # A note that cannot be read again would stop the log for good.
            raise StateError(
                f"the name of the log {checkpoint.origin} is too long to be signed",
                next_step="Answers go on. Records keep the issuer and region that they were signed "
                "with: begin a new data folder, with a shorter `issuer` or region.",
            )
        signer, text = self._desk.signer, checkpoint.text()
        try:
            signature = signer.sign(text.encode("utf-8"))
        except SigningFailed as error:
            raise StateError(
                f"the checkpoint of {checkpoint.origin} could not be signed",
                next_step="Check the log key's file. Answers go on, and are integrated meanwhile.",
            ) from error
        named = self._key_hash(checkpoint.origin)
        return Note(text, (NoteSignature(checkpoint.origin, named, signature),)).encode()

    def _publish_all(self) -> dict[LogId, bytes]:
        published: dict[LogId, bytes] = {}
        for log, stored in self._signed.items():
            tree = self._trees[log]
            if tree.published_size < stored.size:
                self._publish(stored)
                tree.published_size = stored.size
                published[log] = stored.note
        return published

    def _publish(self, stored: StoredCheckpoint) -> None:
        """Publish a stored checkpoint, unless the same one is there, perhaps cosigned already."""
        origin = origin_of(self._settings.issuer, stored.log)
        if self._desk.memory.remembered(origin) != stored.note:
            self._desk.memory.remember(origin, stored.note)
        # A crash here: remembered and not published; the next step does both again.
        current = self._desk.tiles.read(stored.log, "checkpoint")
        if current is None or not _is_of(stored, current):
            self._desk.tiles.publish(stored.log, stored.note)


def _is_of(stored: StoredCheckpoint, published: bytes) -> bool:
    """Say whether a published note is a stored one, perhaps with cosignatures."""
    is_same = _head(published, "the published log").size == stored.size
    wanted, found = read_note(stored.note).signatures, read_note(published).signatures
    return is_same and set(wanted) <= set(found)


def _head(note: bytes, place: str) -> Checkpoint:
    try:
        return read_checkpoint(read_note(note).text)
    except NoteRefused as error:
        raise LedgerForked(
            f"the checkpoint in {place} cannot be read: {error}", next_step=REFUSED
        ) from error
