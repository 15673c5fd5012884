"""A whole log in memory, made by the ledger's functions: leaves, tiles, checkpoints, proofs."""

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verismo.attest.checkpoint import Checkpoint
from verismo.attest.cosignature import cosignature_line, cosigned_message
from verismo.attest.leaf import LeafType, leaf_entry
from verismo.attest.merkle import CompactRange, inclusion_proof, leaf_hash
from verismo.attest.note import (
    ALGORITHM_COSIGNATURE,
    Algorithm,
    Note,
    NoteSignature,
    VerifierKey,
    read_signature_lines,
    verifier_key,
)
from verismo.attest.tile import (
    Tile,
    TileMissing,
    TileTree,
    encode_bundle,
    entries_path,
    grown_tiles,
    tiles_between,
)
from verismo.attest.tlogproof import LedgerProof

ORIGIN = "gateway.example/log/eu/2026"


class NoteKey:
    """A test key that signs notes or cosignatures; its private half is the hash of its name."""

    def __init__(self, name: str, algorithm: Algorithm = 1) -> None:
        seed = hashlib.sha256(f"verismo test note key: {name}".encode()).digest()
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key: VerifierKey = verifier_key(
            name, self._private.public_key().public_bytes_raw(), algorithm
        )

    def sign(self, message: bytes) -> bytes:
        """Return the 64 octets of the signature."""
        return self._private.sign(message)

    def signature(self, text: str) -> NoteSignature:
        """Return the signature line over a note's text."""
        return NoteSignature(self.key.name, self.key.key_hash, self.sign(text.encode()))

    def cosignature(self, text: str, timestamp_s: int) -> NoteSignature:
        """Return the cosignature line over a checkpoint's text."""
        signature = self.sign(cosigned_message(text, timestamp_s))
        (line,) = read_signature_lines(cosignature_line(self.key, timestamp_s, signature))
        return line


def witness_key(name: str) -> NoteKey:
    """Return the test key of a witness."""
    return NoteKey(name, ALGORITHM_COSIGNATURE)


def entry_of(number: int) -> bytes:
    """Return the entry of an answer that a number stands for."""
    return leaf_entry(LeafType.ANSWER, f'{{"n":{number}}}'.encode(), b"header..signature")


class TileLog:
    """A log that grows and publishes as the integrator does; `objects` is what it published."""

    def __init__(self, origin: str = ORIGIN) -> None:
        self.log = NoteKey(origin)
        self.range = CompactRange()
        self.entries: list[bytes] = []
        self.tiles: dict[Tile, bytes] = {}
        self.fetched: list[Tile] = []
        self.objects: dict[str, bytes] = {}

    @property
    def size(self) -> int:
        """How many leaves it has."""
        return len(self.entries)

    @property
    def tree(self) -> TileTree:
        """Reads its nodes from its tiles."""
        return TileTree(self.fetch, self.size)

    def fetch(self, tile: Tile) -> bytes:
        """Return a published tile, and note that it was asked for."""
        self.fetched.append(tile)
        if tile not in self.tiles:
            raise TileMissing(tile.path)
        return self.tiles[tile]

    def grow(self, count: int) -> None:
        """Add the next entries that numbers stand for; see `add`."""
        self.add([entry_of(number) for number in range(self.size, self.size + count)])

    def add(self, entries: list[bytes]) -> None:
        """Add entries, publish tiles, bundles and checkpoint."""
        before = self.size
        self.entries += entries
        leaves = [leaf_hash(entry) for entry in self.entries[before:]]
        for tile, octets in grown_tiles(before, leaves, self.fetch):
            assert self.tiles.setdefault(tile, octets) == octets
            self.objects[tile.path] = octets
        for tile in tiles_between(before, self.size):
            if tile.level == 0:
                begin = tile.index * 256
                bundle = encode_bundle(self.entries[begin : begin + tile.width])
                self.objects[entries_path(tile.index, tile.width)] = bundle
        self.range.extend(leaves)
        self.objects["checkpoint"] = self.checkpoint().encode()

    def checkpoint(self, witnesses: dict[NoteKey, int] | None = None) -> Note:
        """Return the signed checkpoint, with cosignatures of witnesses at given times."""
        text = Checkpoint(self.log.key.name, self.size, self.range.root()).text()
        cosigned = [key.cosignature(text, at_s) for key, at_s in (witnesses or {}).items()]
        return Note(text, (self.log.signature(text),)).adding(cosigned)

    def proof(self, index: int, witnesses: dict[NoteKey, int] | None = None) -> LedgerProof:
        """Return the proof file of an entry under the present checkpoint."""
        path = inclusion_proof(index, self.size, self.tree)
        return LedgerProof(b"", index, path, self.checkpoint(witnesses).encode())

    def write(self, folder: Path) -> None:
        """Write what was published below a folder."""
        for path, octets in self.objects.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(octets)
