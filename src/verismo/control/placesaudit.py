"""Looks at what lies beside a log's tree: files that no log has, and the notes that are kept of it.

Source: C2SP tlog-tiles; ADR-018, ADR-020.
"""

from collections.abc import Iterable, Iterator

from verismo.attest.note import NoteRefused, VerifierKey, read_note
from verismo.attest.tile import TILE_HEIGHT, TILE_WIDTH, Tile, TileRefused, parse_entries_path
from verismo.attest.witnesspolicy import WitnessPolicy
from verismo.control.treeaudit import CHECKPOINT, Finding
from verismo.control.witnesstarget import head_in

COSIGNED = "cosigned"
_ENTRIES = "tile/entries/"
_HIDDEN = (".lock", ".partial/", f".{CHECKPOINT}.", f".{COSIGNED}.")
"""What those who write a log keep beside it; nobody serves it."""


def audit_strays(origin: str, paths: Iterable[str], size: int) -> Iterator[Finding]:
    """Name every file that does not belong to a log.

    Args:
        origin: of the log.
        paths: of every file in its folder.
        size: entries that have an index by now: tiles are written before their checkpoint.
    """
    for path in paths:
        if path in (CHECKPOINT, COSIGNED) or path.startswith(_HIDDEN):
            continue
        try:
            end = _end(path)
        except TileRefused:
            yield Finding("unknown", origin, f"{path} is no file of a log")
            continue
        if end > size:
            words = f"{path} lies beyond the log's {size} entries, so no checkpoint promises it"
            yield Finding("unknown", origin, words)


def _end(path: str) -> int:
    """Return the first entry after those that a tile or bundle stands for."""
    if path.startswith(_ENTRIES):
        index, width = parse_entries_path(path)
        return index * TILE_WIDTH + width
    tile = Tile.from_path(path)
    return (tile.index * TILE_WIDTH + tile.width) << (TILE_HEIGHT * tile.level)


def audit_memory(
    key: VerifierKey, published: bytes | None, remembered: bytes | None
) -> Iterator[Finding]:
    """Say whether the second place, beside the keys, knows what is published.

    Args:
        key: the log's.
        published: its checkpoint, read first.
        remembered: the second place's, which is written before anything is published.
    """
    head, known = head_in(published), head_in(remembered)
    if head is None or (known is not None and known.size >= head.size):
        return
    if remembered is None:
        words = f"the second place (keys/checkpoints) has none, and {head.size} is published"
        yield Finding("checkpoint", key.name, words)
    elif known is not None:
        words = f"the second place (keys/checkpoints) has {known.size}, published is {head.size}"
        yield Finding("checkpoint", key.name, words)


def audit_quorum(
    key: VerifierKey, published: bytes | None, kept: bytes | None, policy: WitnessPolicy
) -> Iterator[Finding]:
    """Say what is wrong with the cosignatures of what is published, and of what is kept beside it.

    Args:
        key: the log's.
        published: its checkpoint, read first.
        kept: `cosigned`, which is written before a quorum is published.
        policy: whose cosignatures count.
    """
    for name, data in ((CHECKPOINT, published), (COSIGNED, kept)):
        if head_in(data) is None or data is None:
            continue  # the walk says what is wrong with it
        try:
            by = policy.quorum_met(read_note(data))
        except NoteRefused as error:
            yield Finding("cosigned", key.name, f"{name}: {error}")
            continue
        if name == COSIGNED and not by.met:
            words = ", ".join(by.names) or "nobody"
            yield Finding("cosigned", key.name, f"{name} has no quorum of the policy: {words}")
        elif by.met and kept is None:
            words = f"{CHECKPOINT} has a quorum, but {COSIGNED}, written before it, is not there"
            yield Finding("cosigned", key.name, words)
