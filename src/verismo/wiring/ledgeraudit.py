"""Composes the audit of a data folder: every log, every journal, the key ring and the rollups."""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from verismo.adapters.cosigned_folder import FolderCosigned
from verismo.adapters.tiles_folder import FolderTiles
from verismo.attest.checkpoint import open_checkpoint, read_checkpoint
from verismo.attest.keyentry import public_key
from verismo.attest.keys import PublicKey
from verismo.attest.note import NoteRefused, VerifierKey, read_note
from verismo.attest.witnesspolicy import WitnessPolicy
from verismo.control.columnaudit import ColumnAudit
from verismo.control.journalaudit import LOST, KeyAudit, RecordAudit, SequenceAudit
from verismo.control.leafsources import KEY_RING
from verismo.control.logkeys import LogKeys
from verismo.control.placesaudit import COSIGNED, audit_memory, audit_quorum, audit_strays
from verismo.control.rollupaudit import RollupAudit
from verismo.control.rotation import RingHistory
from verismo.control.treeaudit import CHECKPOINT, Finding, TreeAudit, audit_older
from verismo.model.errors import StateError
from verismo.model.ids import TenantId
from verismo.model.ledger import LogId, origin_of
from verismo.ports.journal import JournalReader
from verismo.ports.keyring import KeyRingStore
from verismo.ports.ledger import CheckpointMemory, LeafSource, LedgerReader
from verismo.ports.rollups import RollupStore
from verismo.ports.witness import ContradictionStore

RUNBOOK = "docs/runbooks/ledger-refused.md"


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


class AuditParts(msgspec.Struct, frozen=True):
    """What an audit reads.

    Args:
        issuer: the `iss` of statements.
        journal: every slot's.
        reader: the ledger's state.
        sources: of rows, by the names of their sequences.
        tiles: what is published.
        cosigned: the checkpoints with a quorum.
        memory: the second place for checkpoints.
        rollups: the finished days.
        ring: the key ring.
        keys: the log keys of it.
        policy: whose cosignatures count; None if nobody is asked.
        contradictions: what witnesses say against the ledger.
        owners: returns the tenants by their handles.
    """

    issuer: str
    journal: JournalReader
    reader: LedgerReader
    sources: Mapping[str, LeafSource]
    tiles: FolderTiles
    cosigned: FolderCosigned
    memory: CheckpointMemory
    rollups: RollupStore
    ring: KeyRingStore
    keys: LogKeys
    policy: WitnessPolicy | None
    contradictions: ContradictionStore
    owners: Callable[[], dict[str, TenantId]]


class LedgerAudit:
    """One audit.

    Args:
        parts: what it reads.
    """

    def __init__(self, parts: AuditParts) -> None:
        self._parts = parts

    def findings(self, report: Callable[[Audited], None]) -> Iterator[Finding]:
        """Walk every log, journal and rollup and the key ring, and yield what is wrong.

        Args:
            report: told of each log when its walk has ended.

        Raises:
            StateError: a store cannot be read, so nothing can be said.
        """
        parts = self._parts
        cursors = parts.reader.cursors()
        counted: dict[str, int] = {}
        yield from unknown_logs(parts)
        for one in parts.contradictions.contradictions().said:
            words = f"{one.reason}: the witness {one.witness}: {one.detail}"
            yield Finding("witness", one.log, words)
        for state in parts.reader.logs():
            yield from self._audit_log(state.log, counted, report)
        judge = self._judge()
        for name, source in parts.sources.items():
            sequence = SequenceAudit(name, source, parts.reader, judge)
            yield from sequence.findings(cursors.get(name, 0), counted.get(name, 0))
        for name in cursors:
            if name not in parts.sources and name != LOST:
                yield Finding("missing", name, "its journal is gone, but the ledger holds entries")
        yield from ColumnAudit(parts.journal, parts.owners()).findings()
        yield from self._audit_ring()

    def _audit_ring(self) -> Iterator[Finding]:
        """Check every version against the one before it, as verifiers do."""
        try:
            RingHistory(self._parts.ring).read()
        except StateError as error:
            yield Finding("key", KEY_RING, error.detail)

    def _audit_log(
        self, log: LogId, counted: dict[str, int], report: Callable[[Audited], None]
    ) -> Iterator[Finding]:
        parts = self._parts
        # First of all: whatever is written before a checkpoint is published is there by then.
        published = parts.tiles.read(log, CHECKPOINT)
        key, entry = parts.keys.entry_of(log, published)
        if entry is not None and entry.revoked_ms:
            words = f"its checkpoint is signed with {entry.kid}, which was revoked"
            yield Finding("key", key.name, words)
        kept, remembered = parts.cosigned.cosigned(log), parts.memory.remembered(key.name)
        yield from audit_memory(key, published, remembered)
        if parts.policy is not None:
            yield from audit_quorum(key, published, kept, parts.policy)
        rollups = RollupAudit(parts.rollups, self._public_keys(), log, key.name)
        yield from rollups.findings()
        history: dict[int, bytes] = {}
        notes = [("ledger.db", one.note) for one in parts.reader.checkpoints(log)]
        notes += [("the second place", remembered)] if remembered is not None else []
        notes += [(COSIGNED, kept)] if kept is not None else []
        yield from self._learn(log, key, notes, history)
        for rolled_size, root in rollups.heads.values():
            yield from _learn_root(key, rolled_size, root, history)
        records = RecordAudit(log, key.name, parts.reader, parts.sources, counted)
        walk = TreeAudit(lambda path: parts.tiles.read(log, path), key, history, records.see)
        yield from walk.findings()
        older = parts.tiles.partial_paths(log)
        yield from audit_older(older, lambda path: parts.tiles.read(log, path), key)
        yield from self._audit_strays(log, key)
        size = None if walk.checkpoint is None else walk.checkpoint.size
        records.count_rest(size or 0)
        report(Audited(key.name, size, records.lost))

    def _audit_strays(self, log: LogId, key: VerifierKey) -> Iterator[Finding]:
        paths = self._parts.tiles.paths(log)
        # Asked after the files: an entry has its index before it is in a tile.
        sizes = {state.log: state.assigned for state in self._parts.reader.logs()}
        yield from audit_strays(key.name, paths, sizes[log])

    def _learn(
        self,
        log: LogId,
        key: VerifierKey,
        notes: list[tuple[str, bytes]],
        history: dict[int, bytes],
    ) -> Iterator[Finding]:
        """Collect the roots that were signed, by size."""
        for place, note in notes:
            # What a key signed that was revoked since is history all the same.
            try:
                checkpoint, _ = open_checkpoint(note, self._parts.keys.signer_of(log, note))
            except NoteRefused as error:
                yield Finding("history", key.name, f"a checkpoint in {place}: {error}")
                continue
            yield from _learn_root(key, checkpoint.size, checkpoint.root, history)

    def _public_keys(self) -> Mapping[str, PublicKey]:
        ring = self._parts.keys.ring()
        return {} if ring is None else {one.kid: public_key(one) for one in ring.keys}

    def _judge(self) -> Callable[..., Iterator[Finding]] | None:
        ring = self._parts.keys.ring()
        return None if ring is None else KeyAudit(ring.keys).judge


def unknown_logs(parts: AuditParts) -> Iterator[Finding]:
    """Yield every log that is published here and that the ledger's state does not know.

    Raises:
        StateError: the folder cannot be read.
    """
    published = parts.tiles.logs()
    # Asked after the files: a log is in the state before it is published.
    known = {state.log for state in parts.reader.logs()}
    for log in published:
        if log not in known:
            size = _published_size(parts.tiles.read(log, CHECKPOINT))
            words = (
                f"it is published with {size} entries, but ledger.db does not know it: the "
                f"ledger's state is lost or another one. Do not delete anything; {RUNBOOK}"
            )
            yield Finding("missing", origin_of(parts.issuer, log), words)


def _published_size(note: bytes | None) -> str:
    try:
        return "no" if note is None else str(read_checkpoint(read_note(note).text).size)
    except NoteRefused:
        return "unreadable"


def _learn_root(
    key: VerifierKey, size: int, root: bytes, history: dict[int, bytes]
) -> Iterator[Finding]:
    if history.setdefault(size, root) != root:
        yield Finding("history", key.name, f"two checkpoints of size {size} differ")
