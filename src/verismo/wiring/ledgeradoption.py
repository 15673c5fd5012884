"""Composes `verismo ledger adopt`: a new state of the ledger from what is published.

Crash points: the marker is made first and removed last, and no integrator works beside it. A run
that did not end is therefore run again; what it has written is the same the second time.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from verismo.adapters.adapt_leaves import open_leaves
from verismo.adapters.checkpoint_file import FolderCheckpoints
from verismo.adapters.contradictions_file import ContradictionsFile
from verismo.adapters.cosigned_folder import FolderCosigned
from verismo.adapters.folder_sync import sync_folder
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.journal_slot import SlotOwnership, has_ended, slot_files
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.ledger_sqlite import SqliteLedger
from verismo.adapters.restoration import LEDGER_MARKER
from verismo.adapters.tiles_folder import FolderTiles
from verismo.attest.checkpoint import open_checkpoint
from verismo.attest.note import NoteRefused, VerifierKey, read_note
from verismo.attest.witnesspolicy import WitnessPolicy
from verismo.config.schema import Config
from verismo.control.adoption import Adopted, Adoption, rebuild_tiles
from verismo.control.leafsources import AdaptSource, JournalSource, KeyRingSource, LogChooser
from verismo.control.rotation import RingHistory
from verismo.control.treeaudit import CHECKPOINT, TreeAudit
from verismo.model.errors import OperatorError, StateError
from verismo.model.ledger import LogId
from verismo.ports.ledger import (
    LeafSource,
    LeaseElsewhere,
    LedgerForked,
    StoredCheckpoint,
    TileReader,
)
from verismo.ports.witness import Contradictions
from verismo.wiring.ledgernewer import ask_witnesses, rolled_roots
from verismo.wiring.ledgerreads import LedgerPlaces, ledger_places
from verismo.wiring.ledgertools import LedgerTools

UNFINISHED = "ledger-adopting.db"
LEASE_MS = 3_000
"""As the integrator's, or its lease would look like one of a clock that has stepped back."""


class Adoptions(msgspec.Struct, frozen=True):
    """What `adopt_ledger` did.

    Args:
        logs: every log that it goes on from.
        appended: records that the logs lack before ones that they have.
        kept: where the old state is kept; None if there was none.
        silent: who may know a newer log and could not be asked, in words.
    """

    logs: tuple[Adopted, ...]
    appended: int
    kept: Path | None
    silent: tuple[str, ...] = ()


def adopt_ledger(config: Config, tiles: Path | None, now_ms: int) -> Adoptions:
    """Go on from the newest published logs.

    Args:
        config: the validated configuration.
        tiles: folder with `<region>/<yyyy>/...` of every log; None makes the tiles again from the
            records, for which nothing newer may ever have been published.
        now_ms: Unix ms.

    Raises:
        LedgerForked: the tiles are damaged, or older than a place here, a rollup, the archive or a
            witness knows them to be. Nothing was changed: a ledger that was whole goes on as
            before.
        OperatorError: there is no data folder, or no log below `tiles`.
        StateError: the gateway runs, the logs have a newer key ring than the data folder, or
            something cannot be read or written.
    """
    if not config.data.is_dir():
        raise OperatorError(
            f"there is no data folder {config.data}",
            next_step="Restore it first: `verismo restore`; or name its verismo.toml.",
        )
    places = ledger_places(config.data)
    _refuse_running(config.data, places, now_ms)
    with (
        closing(LedgerTools(config)) as tools,
        closing(SqliteJournalReader(config.data)) as journal,
        closing(open_leaves(config.data)) as adapt,
    ):
        sources: tuple[LeafSource, ...] = (
            JournalSource(journal),
            KeyRingSource(RingHistory(KeyRingFiles(config.data))),
            AdaptSource(adapt),
        )
        if tiles is None:
            _mark(config.data)
            _rebuild(places, sources, tools)
        published = places.tiles if tiles is None else tiles
        known = rolled_roots(config, tools.ring())
        found = _published(published, places, tools, known.roots, now_ms)
        if tiles is not None and not found:
            raise OperatorError(
                f"{tiles} holds no log",
                next_step=f"Name the folder that holds REGION/YEAR/{CHECKPOINT}.",
            )
        silent = known.silent + ask_witnesses(config, found)
        _mark(config.data)
        unfinished = config.data / UNFINISHED
        _remove(unfinished)
        with closing(SqliteLedger(unfinished)) as store:
            token = store.acquire("adopt", now_ms, LEASE_MS)
            chooser = LogChooser(config.plan.issuer, config.ledger.home_region)
            adoption = Adoption(store, token, FolderTiles(places.tiles), sources, chooser)
            reader = FolderTiles(published)
            logs = [adoption.adopt(one, _reading(reader, one.log)) for one in found]
            appended = adoption.finish()
            store.release(token)
        for one in found:
            memory = FolderCheckpoints(places.memory)
            memory.remember(tools.log_key(one.log).name, one.note)
            FolderTiles(places.tiles).publish(one.log, one.note)
            _keep_quorum(FolderCosigned(places.tiles), config.witness.policy, one)
    kept = _swap(places.state, unfinished, now_ms)
    ContradictionsFile(config.data).keep(Contradictions())
    (config.data / LEDGER_MARKER).unlink()
    sync_folder(config.data)
    return Adoptions(tuple(logs), appended, kept, silent)


def _keep_quorum(
    store: FolderCosigned, policy: WitnessPolicy | None, one: StoredCheckpoint
) -> None:
    """Keep a published checkpoint that has a quorum: a mirror need not have `cosigned`."""
    if policy is None or store.cosigned(one.log) is not None:
        return
    try:
        found = policy.quorum_met(read_note(one.note))
    except NoteRefused:
        return  # the audit names it, and the next cosigned checkpoint takes its place
    if found.met and found.names:
        store.keep(one.log, one.note)


def _mark(data: Path) -> None:
    """A crash from here on leaves the marker: the integrator refuses, and this is run again."""
    (data / LEDGER_MARKER).touch()
    sync_folder(data)


def _refuse_running(data: Path, places: LedgerPlaces, now_ms: int) -> None:
    # The control process lives on where a worker does not, and would sign on from the old state.
    if places.state.exists():
        with closing(SqliteLedger(places.state)) as store:
            try:
                store.release(store.acquire("adopt", now_ms, LEASE_MS))
            except LeaseElsewhere as error:
                raise StateError(
                    error.detail,
                    next_step="Stop the gateway. If it was just ended, try again in a few seconds: "
                    "its lease runs out by itself.",
                ) from error
    for slot, path in slot_files(data).items():
        if not has_ended(path):
            SlotOwnership(data, slot).release()


def _rebuild(places: LedgerPlaces, sources: tuple[LeafSource, ...], tools: LedgerTools) -> None:
    """Make the tiles of every log that the restored state knows again from the records."""
    by_name = {name: source for source in sources for name in source.names()}
    with closing(SqliteLedger(places.state, read_only=True)) as reader:
        for state in reader.logs():
            latest = reader.latest_checkpoint(state.log)
            if latest is not None:
                tools.log_key(state.log)
                rebuild_tiles(reader, by_name, latest, FolderTiles(places.tiles))


def _published(
    root: Path,
    places: LedgerPlaces,
    tools: LedgerTools,
    rolled: Mapping[LogId, Mapping[int, bytes]],
    now_ms: int,
) -> list[StoredCheckpoint]:
    """Audit every log below a folder, and return its checkpoint."""
    tiles, memory = FolderTiles(root), FolderCheckpoints(places.memory)
    found: list[StoredCheckpoint] = []
    with closing(SqliteLedger(places.state, read_only=True)) as reader:
        logs = {state.log for state in reader.logs() if reader.latest_checkpoint(state.log)}
        logs |= {*tiles.logs(), *rolled}
        for log in sorted(logs):
            published = tiles.read(log, CHECKPOINT)
            key = tools.signer_of(log, published)
            history = {one.size: one.root for one in reader.checkpoints(log)}
            history.update(rolled.get(log, {}))
            for note in (memory.remembered(key.name), _here(places, log)):
                if note is not None:
                    checkpoint = _open(note, tools.signer_of(log, note))
                    history[checkpoint[0]] = checkpoint[1]
            walk = TreeAudit(_reading(tiles, log), key, history)
            for finding in walk.findings():
                raise LedgerForked(
                    f"{root / log.path} cannot be gone on from: {finding.detail}",
                    next_step="Name the newest published tiles, whole; "
                    "`verismo ledger audit --tiles` names everything that is wrong with them. If "
                    "they are, this folder may have signed another history: what then has to be "
                    "moved aside stands in docs/runbooks/witness-split-view.md.",
                )
            if published is not None:
                size, root_hash = _open(published, key)
                found.append(StoredCheckpoint(log, size, root_hash, published, now_ms))
    return found


def _here(places: LedgerPlaces, log: LogId) -> bytes | None:
    return FolderTiles(places.tiles).read(log, CHECKPOINT)


def _open(note: bytes, key: VerifierKey) -> tuple[int, bytes]:
    try:
        checkpoint, _ = open_checkpoint(note, key)
    except NoteRefused as error:
        raise LedgerForked(
            f"a checkpoint of {key.name} is refused: {error}",
            next_step="Restore keys/ from a backup that was made with --with-keys: a log goes on "
            "with its own key alone.",
        ) from error
    return checkpoint.size, checkpoint.root


def _reading(tiles: TileReader, log: LogId) -> Callable[[str], bytes | None]:
    return lambda path: tiles.read(log, path)


def _remove(database: Path) -> None:
    for end in ("", "-wal", "-shm"):
        database.with_name(database.name + end).unlink(missing_ok=True)


def _swap(state: Path, unfinished: Path, now_ms: int) -> Path | None:
    """Put the new state in the place of the old one, which is kept beside it."""
    kept = state.with_name(f"ledger-before-{now_ms}.db")
    try:
        for end in ("-wal", "-shm", ""):
            old = state.with_name(state.name + end)
            if old.exists():
                old.rename(kept.with_name(kept.name + end))
        # The new one was closed, so SQLite has put its log into it.
        unfinished.rename(state)
        sync_folder(state.parent)
    except OSError as error:
        raise StateError(
            f"the new state could not be put in place: {error}", next_step="Run it again."
        ) from error
    return kept if kept.exists() else None
