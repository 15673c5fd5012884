"""Composes what operators and auditors do with a ledger at the command line."""

from base64 import b64encode
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from verismo.adapters.adapt_leaves import open_leaves
from verismo.adapters.checkpoint_file import FolderCheckpoints
from verismo.adapters.cosigned_folder import FolderCosigned
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.ledger_sqlite import SqliteLedger
from verismo.adapters.restoration import LEDGER_MARKER
from verismo.adapters.tiles_folder import FolderTiles, read_file
from verismo.adapters.tiles_http import HttpLog
from verismo.attest.checkpoint import Checkpoint, open_checkpoint, read_checkpoint
from verismo.attest.keyentry import KeyEntry, KeyRingRefused, public_key
from verismo.attest.keyring import KeyRing, read_version
from verismo.attest.merkle import ProofRefused, consistency_proof, root_of, verify_consistency
from verismo.attest.note import NoteRefused, VerifierKey, parse_vkey, read_note, verifier_key
from verismo.attest.tile import Tile, TileMissing, TileRefused, TileTree
from verismo.config.schema import Config
from verismo.control.cosigned import Standing, standing
from verismo.control.journalaudit import LOST, KeyAudit, RecordAudit, SequenceAudit
from verismo.control.leafsources import KEY_RING, AdaptSource, JournalSource, KeyRingSource
from verismo.control.ledgerhealth import LedgerHealth, observe_ledger
from verismo.control.rotation import RingHistory
from verismo.control.treeaudit import CHECKPOINT, Finding, Read, TreeAudit, audit_older
from verismo.gateway.proofs import ProofMaker
from verismo.model.errors import OperatorError, StateError
from verismo.model.ids import ProvId
from verismo.model.ledger import LogId, origin_of
from verismo.ports.ledger import LeafSource
from verismo.wiring.ledgerreads import ledger_places


class LogStatus(msgspec.Struct, frozen=True):
    """One log as `verismo ledger status` shows it.

    Args:
        origin: its name.
        size: entries that have an index.
        signed_size: entries under the last checkpoint.
        published_size: entries under the published checkpoint; None without one.
        checkpoint_age_ms: since the last checkpoint was signed; None without one.
        vkey: its verifier key, for auditors and witnesses.
        witnessed: whether a quorum has seen it; None if the configuration names no policy.
    """

    origin: str
    size: int
    signed_size: int
    published_size: int | None
    checkpoint_age_ms: int | None
    vkey: str
    witnessed: Standing | None


class LedgerStatus(msgspec.Struct, frozen=True):
    """The ledger as `verismo ledger status` shows it.

    Args:
        logs: every log, sorted.
        delay_ms: age of the oldest record that has no proof; 0 if none waits.
        integrator: the process that holds the lease, as host:pid:start; empty if none does.
        is_restored: whether the folder was restored, so that nothing is signed before it is gone
            on from what is published.
    """

    logs: tuple[LogStatus, ...]
    delay_ms: int
    integrator: str
    is_restored: bool


class Audited(msgspec.Struct, frozen=True):
    """What an audit walked over.

    Args:
        origin: the log.
        size: entries under its checkpoint; None if that cannot be read.
        lost: entries whose records a restore has lost.
    """

    origin: str
    size: int | None
    lost: int = 0


class LedgerTools:
    """A data folder's ledger, opened to read; close it after use.

    Args:
        config: the validated configuration.
    """

    def __init__(self, config: Config) -> None:
        places = ledger_places(config.data)
        self._marker = config.data / LEDGER_MARKER
        self._issuer = config.plan.issuer
        self._journal = SqliteJournalReader(config.data)
        self._adapt = open_leaves(config.data)
        self._reader = SqliteLedger(places.state, read_only=True)
        self._policy = config.witness.policy
        self._cosigned = FolderCosigned(places.tiles)
        self._tiles = FolderTiles(places.tiles)
        self._memory = FolderCheckpoints(places.memory)
        self._ring_files = KeyRingFiles(config.data)
        rest = (KeyRingSource(self._ring_files), AdaptSource(self._adapt))
        self._sources: tuple[LeafSource, ...] = (JournalSource(self._journal), *rest)
        self._by_name = {name: source for source in self._sources for name in source.names()}

    def close(self) -> None:
        """Close every file."""
        self._reader.close()
        self._journal.close()
        self._adapt.close()

    def status(self, now_ms: int) -> LedgerStatus:
        """Say how the ledger stands.

        Raises:
            StateError: a store cannot be read.
        """
        health: LedgerHealth = observe_ledger(self._reader, self._sources, now_ms)
        logs: list[LogStatus] = []
        for one in health.logs:
            note = self._tiles.read(one.log, CHECKPOINT)
            logs.append(
                LogStatus(
                    origin=origin_of(self._issuer, one.log),
                    size=one.size,
                    signed_size=one.signed_size,
                    published_size=None if note is None else _head(note).size,
                    checkpoint_age_ms=one.checkpoint_age_ms,
                    vkey=self.log_key(one.log).vkey,
                    witnessed=self._witnessed(one.log, note),
                )
            )
        return LedgerStatus(
            tuple(logs), health.delay_ms, self._reader.holder(now_ms), self._marker.exists()
        )

    def _witnessed(self, log: LogId, note: bytes | None) -> Standing | None:
        if self._policy is None:
            return None
        key, cosigned = self.signer_of(log, note), self._cosigned.cosigned(log)
        if cosigned is not None and self.signer_of(log, cosigned) != key:
            # As proofs do: what a revoked log key signed stands for nothing by now.
            cosigned = None
        return standing(note, cosigned, key, self._policy)

    def proof(self, prov_id: str) -> bytes:
        """Return the proof file of an answer.

        Raises:
            OperatorError: no such record.
            ProofPending: it is not under a checkpoint yet.
            StateError: the ledger cannot be read.
        """
        record = self._journal.find(ProvId(prov_id))
        if record is None or record.kind != "answer":
            raise OperatorError(
                f"there is no record of {prov_id}", next_step="Check the prov_id and the folder."
            )
        return ProofMaker(self._reader, self._tiles).prove(record)

    def consistency(self, log: LogId, first: int) -> bytes:
        """Return the proof that a log's checkpoint goes on from an older size.

        Returns:
            `old SIZE`, the hashes in base64, an empty line and the checkpoint: what a witness
            takes (C2SP tlog-witness, add-checkpoint).

        Raises:
            OperatorError: the log has no checkpoint, or never had that size.
            StateError: a tile is missing or damaged.
        """
        note = self._tiles.read(log, CHECKPOINT)
        if note is None:
            raise OperatorError(
                f"the log {log.path} has no checkpoint",
                next_step="`verismo ledger status` lists the logs.",
            )
        checkpoint = _head(note)
        if not 0 <= first <= checkpoint.size:
            raise OperatorError(
                f"{checkpoint.origin} has {checkpoint.size} entries, not {first} or more",
                next_step="Name a size that it had.",
            )
        tree = TileTree(_fetch(lambda path: self._tiles.read(log, path)), checkpoint.size)
        try:
            hashes = consistency_proof(first, checkpoint.size, tree)
            older = root_of(first, tree)
            verify_consistency(first, checkpoint.size, hashes, older, checkpoint.root)
        except (TileMissing, TileRefused, ProofRefused) as error:
            raise StateError(
                f"no proof can be made: {error}",
                next_step="`verismo ledger audit` names what is damaged.",
            ) from error
        return consistency_text(first, hashes, note)

    def audit(self, report: Callable[[Audited], None]) -> Iterator[Finding]:
        """Walk every log, every journal and the key ring, and yield what is wrong.

        Args:
            report: told of each log when its walk has ended.

        Raises:
            StateError: a store cannot be read, so nothing can be said.
        """
        cursors = self._reader.cursors()
        counted: dict[str, int] = {}
        for state in self._reader.logs():
            yield from self._audit_log(state.log, counted, report)
        judge = self._judge()
        for name, source in self._by_name.items():
            sequence = SequenceAudit(name, source, self._reader, judge)
            yield from sequence.findings(cursors.get(name, 0), counted.get(name, 0))
        for name in cursors:
            if name not in self._by_name and name != LOST:
                yield Finding("missing", name, "its journal is gone, but the ledger holds entries")
        yield from self._audit_ring()

    def log_key(self, log: LogId) -> VerifierKey:
        """Return the verifier key of a log.

        Raises:
            StateError: the key ring names no log key.
        """
        return self._log_key(log, self._log_entries()[-1])

    def signer_of(self, log: LogId, note: bytes | None) -> VerifierKey:
        """Return the log key, of all that there were, that signed a checkpoint.

        Args:
            log: which log.
            note: its checkpoint, None for none.

        Returns:
            The one in use if none did.

        Raises:
            StateError: the key ring names no log key.
        """
        keys = [self._log_key(log, entry) for entry in reversed(self._log_entries())]
        signers = (key for key in keys if note is not None and _is_signed(note, key))
        return next(signers, keys[0])

    def _log_key(self, log: LogId, entry: KeyEntry) -> VerifierKey:
        return verifier_key(origin_of(self._issuer, log), public_key(entry).raw)

    def _log_entries(self) -> list[KeyEntry]:
        """Return every log key that there ever was, the one in use last."""
        ring = self._ring()
        entries = [] if ring is None else [one for one in ring.keys if one.role == "log"]
        if not entries:
            raise StateError(
                "the key ring names no log key",
                next_step="Start the gateway once with `[ledger] enabled = true`.",
            )
        return entries

    def _audit_ring(self) -> Iterator[Finding]:
        """Check every version against the one before it, as verifiers do."""
        try:
            RingHistory(self._ring_files).read()
        except StateError as error:
            yield Finding("key", KEY_RING, error.detail)

    def _published_key(self, log: LogId) -> Generator[Finding, None, VerifierKey]:
        """Return the log key that signed the published checkpoint; the one in use if none did."""
        note = self._tiles.read(log, CHECKPOINT)
        for entry in reversed(self._log_entries()):
            key = self._log_key(log, entry)
            if note is not None and _is_signed(note, key):
                if entry.revoked_ms:
                    words = f"its checkpoint is signed with {entry.kid}, which was revoked"
                    yield Finding("key", key.name, words)
                return key
        return self.log_key(log)

    def _audit_log(
        self, log: LogId, counted: dict[str, int], report: Callable[[Audited], None]
    ) -> Iterator[Finding]:
        key = yield from self._published_key(log)
        records = RecordAudit(log, key.name, self._reader, self._by_name, counted)
        notes = {one.size: one.note for one in self._reader.checkpoints(log)}
        history: dict[int, bytes] = {}
        remembered = self._memory.remembered(key.name)
        for place, note in (
            *(("ledger.db", note) for note in notes.values()),
            *([] if remembered is None else [("the second place", remembered)]),
        ):
            # What a key signed that was revoked since is history all the same.
            try:
                checkpoint, _ = open_checkpoint(note, self.signer_of(log, note))
            except NoteRefused as error:
                yield Finding("history", key.name, f"a checkpoint in {place}: {error}")
                continue
            if history.setdefault(checkpoint.size, checkpoint.root) != checkpoint.root:
                yield Finding(
                    "history", key.name, f"two checkpoints of size {checkpoint.size} differ"
                )
        walk = TreeAudit(lambda path: self._tiles.read(log, path), key, history, records.see)
        yield from walk.findings()
        older = self._tiles.partial_paths(log)
        yield from audit_older(older, lambda path: self._tiles.read(log, path), key)
        size = None if walk.checkpoint is None else walk.checkpoint.size
        records.count_rest(size or 0)
        report(Audited(key.name, size, records.lost))

    def _judge(self) -> Callable[..., Iterator[Finding]] | None:
        ring = self._ring()
        return None if ring is None else KeyAudit(ring.keys).judge

    def _ring(self) -> KeyRing | None:
        versions = self._ring_files.versions()
        if not versions:
            return None
        try:
            return read_version(versions[-1].statement, versions[-1].jws.decode("ascii")).ring
        except KeyRingRefused as error:
            raise StateError(f"the key ring cannot be read: {error}") from error


def audit_published(where: str, vkey: str, report: Callable[[Audited], None]) -> Iterator[Finding]:
    """Walk a published log with nothing but its files and its verifier key.

    Args:
        where: a folder with `checkpoint` in it, or a URL.
        vkey: the log's verifier key, from its operator or a witness.
        report: told of the log when its walk has ended.

    Raises:
        OperatorError: no verifier key, or no such folder.
        StateError: a file cannot be read now.
    """
    try:
        key = parse_vkey(vkey)
    except NoteRefused as error:
        raise OperatorError(
            f"--log-key: {error}",
            next_step="It looks like name+hash+key; `ledger status` shows it.",
        ) from error
    with _reading(where) as read:
        walk = TreeAudit(read, key)
        yield from walk.findings()
    report(Audited(key.name, None if walk.checkpoint is None else walk.checkpoint.size))


def consistency_text(first: int, hashes: tuple[bytes, ...], note: bytes) -> bytes:
    """Spell a consistency proof as witnesses take it."""
    lines = [f"old {first}", *(b64encode(one).decode("ascii") for one in hashes), ""]
    return "".join(f"{line}\n" for line in lines).encode("ascii") + note


def _is_signed(note: bytes, key: VerifierKey) -> bool:
    try:
        open_checkpoint(note, key)
    except NoteRefused:
        return False
    return True


def _head(note: bytes) -> Checkpoint:
    try:
        return read_checkpoint(read_note(note).text)
    except NoteRefused as error:
        raise StateError(
            f"the published checkpoint cannot be read: {error}",
            next_step="docs/runbooks/ledger-refused.md",
        ) from error


def _fetch(read: Read) -> Callable[[Tile], bytes]:
    def fetch(tile: Tile) -> bytes:
        content = read(tile.path)
        if content is None:
            raise TileMissing(tile.path)
        return content

    return fetch


@contextmanager
def _reading(where: str) -> Iterator[Read]:
    if where.startswith(("http://", "https://")):
        with closing(HttpLog(where)) as log:
            yield log.read
        return
    folder = Path(where)
    if not folder.is_dir():
        raise OperatorError(
            f"there is no folder {where}", next_step="Name the folder that holds `checkpoint`."
        )
    yield lambda path: read_file(folder / path)
