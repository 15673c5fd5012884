"""Answers `GET /v1/attest/{prov_id}/proof`: that an answer's record is in the public log.

The proof is made from the published checkpoint, with its witnesses' cosignatures, and from tiles,
so it says nothing that outsiders could not work out themselves once they have the statement.
"""

import logging

import msgspec

from verismo.attest.checkpoint import Checkpoint, read_checkpoint
from verismo.attest.leaf import LeafType, leaf_entry
from verismo.attest.merkle import (
    ProofRefused,
    inclusion_proof,
    leaf_hash,
    verify_inclusion,
)
from verismo.attest.note import Note, NoteRefused, read_note
from verismo.attest.tile import Tile, TileMissing, TileRefused, TileTree
from verismo.attest.tlogproof import LedgerProof
from verismo.gateway.logfiles import CHECKPOINT, COSIGNED, LOG_PREFIX, LogFiles
from verismo.gateway.records import Records
from verismo.model.errors import MethodNotAllowed, NotFound, Overloaded, ProofPending, StateError
from verismo.model.ids import ProvId, is_prov_id
from verismo.model.ledger import LogId
from verismo.model.traffic import Reply, Request
from verismo.ports.journal import Record
from verismo.ports.ledger import LeafPlace, LedgerReader, TileReader

PROOF_PREFIX = "/v1/attest/"
PROOF_SUFFIX = "/proof"
PROOF_MEDIA = b"application/vnd.c2sp.tlog-proof"
PENDING_RETRY_S = 1
"""A checkpoint comes every second."""
RETRY_S = 5
_DAMAGED = (TileMissing, TileRefused, ProofRefused, NoteRefused)

log = logging.getLogger("verismo.gateway")


class _Sequenced(msgspec.Struct, frozen=True):
    signer: str
    n: int


class _Stated(msgspec.Struct, frozen=True):
    seq: _Sequenced


class Proofs:
    """Makes proof files.

    Args:
        records: finds a record for whoever may read it.
        maker: makes its proof.
    """

    def __init__(self, records: Records, maker: "ProofMaker") -> None:
        self._records = records
        self._maker = maker

    def answer(self, request: Request) -> Reply:
        """Answer a request for a proof.

        Raises:
            Unauthenticated: no key in force.
            NotFound: no such record, or another tenant's; the answer is the same for both.
            ProofPending: the record is not under a checkpoint yet; try again after a second.
            Overloaded: the ledger cannot be read now, or does not fit together.
        """
        prov_id = request.path[len(PROOF_PREFIX) : -len(PROOF_SUFFIX)]
        if not is_prov_id(prov_id):
            raise NotFound("no record of that prov_id")
        record = self._records.record_of(request, ProvId(prov_id))
        try:
            proof = self._maker.prove(record)
        except StateError as error:
            # What is wrong with the store is the operator's business, not the client's.
            log.warning("no proof could be made", extra={"fields": {"error": error.detail}})
            raise Overloaded("the ledger cannot be read now", retry_after_s=RETRY_S) from error
        return Reply(
            status=200,
            headers=[
                (b"content-type", PROOF_MEDIA),
                (b"cache-control", b"no-store"),
                (
                    b"content-disposition",
                    f'attachment; filename="{prov_id}.tlog-proof"'.encode("ascii"),
                ),
            ],
            body=proof,
        )


class ProofMaker:
    """Makes the proof file of a record.

    Args:
        ledger: says which index it has.
        tiles: reads what is published.
    """

    def __init__(self, ledger: LedgerReader, tiles: TileReader) -> None:
        self._ledger = ledger
        self._tiles = tiles
        self._told: set[LogId] = set()
        """Logs whose cosigned checkpoint gave no proof; clients ask again every second."""

    def prove(self, record: Record) -> bytes:
        """Return the proof file of an answer's record.

        Raises:
            ProofPending: it is not under a checkpoint yet.
            StateError: the ledger cannot be read, or does not fit together.
        """
        try:
            return self._prove(record)
        except _DAMAGED as error:
            raise StateError(
                f"no proof for {record.prov_id} can be made: {error}",
                next_step="`verismo ledger audit` names what is damaged.",
            ) from error

    def _prove(self, record: Record) -> bytes:
        stated = msgspec.json.decode(record.statement, type=_Stated).seq
        place = self._ledger.locate(stated.signer, stated.n)
        if place is None:
            raise _pending()
        leaf = leaf_hash(leaf_entry(LeafType.ANSWER, record.statement, record.jws))
        published = self._tiles.read(place.log, CHECKPOINT)
        try:
            proof = self._prove_by(COSIGNED, place, leaf, published)
            if proof is not None:
                self._told.discard(place.log)
        except (*_DAMAGED, StateError) as error:
            # It is a copy with more signatures: what the log itself says stands without it.
            self._tell(place.log, str(error))
            proof = None
        proof = proof or self._prove_by(CHECKPOINT, place, leaf, published)
        if proof is None:
            raise _pending()
        return proof

    def _tell(self, log_id: LogId, words: str) -> None:
        """Log what is wrong with a log's cosigned checkpoint, once until it gives a proof again."""
        if log_id not in self._told:
            fields = {"log": log_id.path, "error": words}
            log.warning("no proof to the cosigned checkpoint", extra={"fields": fields})
        self._told.add(log_id)

    def _prove_by(
        self, name: str, place: LeafPlace, leaf: bytes, published: bytes | None
    ) -> bytes | None:
        """Return the proof to one of the two checkpoints, None if it does not cover the leaf.

        None for one whose log key was revoked since: what is published the present one has signed.
        """
        data = published if name == CHECKPOINT else self._tiles.read(place.log, name)
        if data is None:
            return None
        note = read_note(data)
        checkpoint = read_checkpoint(note.text)
        is_present = published is None or _log_keys(note) & _log_keys(read_note(published))
        if not is_present or place.index >= checkpoint.size:
            return None
        hashes = self._path(place, checkpoint)
        # What is handed out is right: a client could not tell a damaged tile from a forgery.
        verify_inclusion(leaf, place.index, checkpoint.size, hashes, checkpoint.root)
        return LedgerProof(b"", place.index, hashes, data).encode()

    def _path(self, place: LeafPlace, checkpoint: Checkpoint) -> tuple[bytes, ...]:
        tree = TileTree(lambda tile: self._fetch(place.log, tile), checkpoint.size)
        return inclusion_proof(place.index, checkpoint.size, tree)

    def _fetch(self, log_id: LogId, tile: Tile) -> bytes:
        content = self._tiles.read(log_id, tile.path)
        if content is None:
            raise TileMissing(tile.path)
        return content


def _log_keys(note: Note) -> frozenset[bytes]:
    """Return the hashes of the log's keys that are said to have signed its checkpoint."""
    origin = read_checkpoint(note.text).origin
    return frozenset(one.key_hash for one in note.signatures if one.name == origin)


def _pending() -> ProofPending:
    return ProofPending("the record is not under a checkpoint yet", retry_after_s=PENDING_RETRY_S)


class LedgerReads:
    """Everything that can be read of the ledger here.

    Args:
        files: the published logs.
        proofs: proof files.
    """

    def __init__(self, files: LogFiles, proofs: Proofs) -> None:
        self._files = files
        self._proofs = proofs

    def answer(self, request: Request) -> Reply | None:
        """Answer a request for something of the ledger, None for any other path.

        Raises:
            VerismoError: as `LogFiles.answer` and `Proofs.answer` do.
        """
        path = request.path
        if path.startswith(LOG_PREFIX):
            return self._files.answer(request.method, path)
        if not path.startswith(PROOF_PREFIX) or not path.endswith(PROOF_SUFFIX):
            return None
        if request.method != "GET":
            raise MethodNotAllowed("this path takes GET")
        return self._proofs.answer(request)
