"""Makes a proof file from what a ledger publishes: its checkpoint, its tiles and entry bundles.

Nothing here is believed: `verify_ledger` verifies the checkpoint's signature and the path as those
of a proof file that came from anywhere.

Source: C2SP tlog-tiles, tlog-proof.
"""

from collections.abc import Callable

from verismo.attest.checkpoint import Checkpoint, read_checkpoint
from verismo.attest.merkle import ProofRefused, inclusion_proof
from verismo.attest.note import NoteRefused, read_note
from verismo.attest.tile import (
    TILE_WIDTH,
    Tile,
    TileMissing,
    TileTree,
    entries_path,
    read_bundle,
)
from verismo.attest.tlogproof import LedgerProof

CHECKPOINT_PATH = "checkpoint"

Read = Callable[[str], bytes | None]
"""Returns the file at a path below the log's prefix; None where there is none."""


class EntryMissing(ProofRefused):
    """No bundle that was searched holds the entry."""


def prove_from_tiles(read: Read, index: int) -> LedgerProof:
    """Return the proof of an entry under the checkpoint that is published now.

    Args:
        read: of the log.
        index: of the entry in it.

    Raises:
        ProofRefused: no checkpoint, or the tree has no such entry yet.
        TileMissing, TileRefused: the tiles are not whole; get them again.
    """
    note, checkpoint = _published(read)
    tree = TileTree(lambda tile: _fetch(read, tile), checkpoint.size)
    return LedgerProof(b"", index, inclusion_proof(index, checkpoint.size, tree), note)


def find_entry(read: Read, entry: bytes, bundles_max: int) -> int:
    """Return the index of an entry, the newest bundle first.

    Args:
        read: of the log.
        entry: 33 octets.
        bundles_max: how many bundles are read at most; one holds 256 entries.

    Raises:
        EntryMissing: it is in none of them.
        ProofRefused: no checkpoint.
        TileMissing, TileRefused: the bundles are not whole; get them again.
    """
    _, checkpoint = _published(read)
    last = -(-checkpoint.size // TILE_WIDTH)
    for index in reversed(range(max(0, last - bundles_max), last)):
        width = min(TILE_WIDTH, checkpoint.size - index * TILE_WIDTH)
        entries = read_bundle(_fetch_bundle(read, index, width))[:width]
        if entry in entries:
            return index * TILE_WIDTH + entries.index(entry)
    searched = min(checkpoint.size, bundles_max * TILE_WIDTH)
    raise EntryMissing(f"not among the newest {searched} entries of {checkpoint.origin[:256]!r}")


def _published(read: Read) -> tuple[bytes, Checkpoint]:
    note = read(CHECKPOINT_PATH)
    if note is None:
        raise ProofRefused("the log has no checkpoint")
    try:
        return note, read_checkpoint(read_note(note).text)
    except NoteRefused as error:
        raise ProofRefused(f"the checkpoint is refused: {error}") from error


def _fetch(read: Read, tile: Tile) -> bytes:
    content = read(tile.path)
    if content is None:
        raise TileMissing(tile.path)
    return content


def _fetch_bundle(read: Read, index: int, width: int) -> bytes:
    content = read(entries_path(index, width))
    if content is None:
        # A log may delete a partial bundle once the full one is there.
        content = read(entries_path(index))
    if content is None:
        raise TileMissing(entries_path(index, width))
    return content
