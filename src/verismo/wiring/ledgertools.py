"""Composes what operators and auditors do with a ledger at the command line."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from verismo.adapters.adapt_leaves import open_leaves
from verismo.adapters.checkpoint_file import FolderCheckpoints
from verismo.adapters.contradictions_file import ContradictionsFile
from verismo.adapters.cosigned_folder import FolderCosigned
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.ledger_sqlite import SqliteLedger
from verismo.adapters.restoration import LEDGER_MARKER
from verismo.adapters.rollups_folder import FOLDER as ROLLUPS_FOLDER
from verismo.adapters.rollups_folder import FolderRollups
from verismo.adapters.tiles_folder import FolderTiles, read_file
from verismo.adapters.tiles_http import HttpLog
from verismo.attest.checkpoint import Checkpoint, read_checkpoint
from verismo.attest.keyring import KeyRing
from verismo.attest.merkle import ProofRefused, consistency_proof, root_of, verify_consistency
from verismo.attest.note import NoteRefused, VerifierKey, parse_vkey, read_note
from verismo.attest.tile import Tile, TileMissing, TileRefused, TileTree
from verismo.config.schema import Config
from verismo.control.cosigned import Standing, standing
from verismo.control.leafsources import AdaptSource, JournalSource, KeyRingSource
from verismo.control.ledgerhealth import LedgerHealth, observe_ledger
from verismo.control.logkeys import LogKeys
from verismo.control.treeaudit import CHECKPOINT, Finding, Read, TreeAudit
from verismo.gateway.proofs import ProofMaker
from verismo.model.errors import OperatorError, StateError
from verismo.model.ids import ProvId
from verismo.model.ledger import LogId, origin_of
from verismo.ports.ledger import LeafSource
from verismo.ports.witness import Contradictions
from verismo.wiring.handles import tenants_by_handle
from verismo.wiring.ledgeraudit import Audited, AuditParts, LedgerAudit, unknown_logs
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
        lost: what is published here and the ledger's state does not know, in words.
        contradictions: what witnesses say against the ledger.
    """

    logs: tuple[LogStatus, ...]
    delay_ms: int
    integrator: str
    is_restored: bool
    lost: tuple[str, ...] = ()
    contradictions: Contradictions = Contradictions()


class LedgerTools:
    """A data folder's ledger, opened to read; close it after use.

    Args:
        config: the validated configuration.
    """

    def __init__(self, config: Config) -> None:
        places = ledger_places(config.data)
        self._marker = config.data / LEDGER_MARKER
        self._issuer = config.plan.issuer
        self._contradictions = ContradictionsFile(config.data)
        self._journal = SqliteJournalReader(config.data)
        self._adapt = open_leaves(config.data)
        self._reader = SqliteLedger(places.state, read_only=True)
        self._policy = config.witness.policy
        self._cosigned = FolderCosigned(places.tiles)
        self._tiles = FolderTiles(places.tiles)
        ring_files = KeyRingFiles(config.data)
        rest = (KeyRingSource(ring_files), AdaptSource(self._adapt))
        self._sources: tuple[LeafSource, ...] = (JournalSource(self._journal), *rest)
        self._parts = AuditParts(
            issuer=self._issuer,
            journal=self._journal,
            reader=self._reader,
            sources={name: source for source in self._sources for name in source.names()},
            tiles=self._tiles,
            cosigned=self._cosigned,
            memory=FolderCheckpoints(places.memory),
            rollups=FolderRollups(config.data / ROLLUPS_FOLDER),
            ring=ring_files,
            keys=LogKeys(self._issuer, ring_files),
            policy=self._policy,
            contradictions=self._contradictions,
            owners=lambda: tenants_by_handle(config.data, config.plan.tenants),
        )

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
            tuple(logs),
            health.delay_ms,
            self._reader.holder(now_ms),
            self._marker.exists(),
            tuple(f"{one.where}: {one.detail}" for one in unknown_logs(self._parts)),
            self._contradictions.contradictions(),
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
        """Walk everything; see `LedgerAudit`.

        Args:
            report: told of each log when its walk has ended.

        Raises:
            StateError: a store cannot be read, so nothing can be said.
        """
        return LedgerAudit(self._parts).findings(report)

    def ring(self) -> KeyRing | None:
        """Return the newest version of the key ring; see `LogKeys.ring`."""
        return self._parts.keys.ring()

    def log_key(self, log: LogId) -> VerifierKey:
        """Return the verifier key of a log; see `LogKeys.newest`."""
        return self._parts.keys.newest(log)

    def signer_of(self, log: LogId, note: bytes | None) -> VerifierKey:
        """Return the log key that signed a checkpoint; see `LogKeys.signer_of`."""
        return self._parts.keys.signer_of(log, note)


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
