"""The Merkle tree of RFC 6962, section 2: hashes, proofs, and a frontier that only grows.

Nothing here stores a tree. What makes a proof asks a `HashReader` for the nodes that it needs, and
says which they are beforehand (`inclusion_nodes`, `consistency_nodes`, `root_nodes`). A node
`(level, index)` is the root of the *perfect* subtree over the leaves from `index << level` up to,
not including, `(index + 1) << level`; every hash of every proof is one such node or is folded from
several of them.

Size 0, where libraries differ: the root of the empty tree is SHA-256 of nothing (RFC 6962, 2.1); it
includes nothing; it is consistent with every tree, and that proof is empty (as in C2SP
tlog-witness, where RFC 6962 defines none).

Source: RFC 6962, section 2; RFC 9162, sections 2.1.3.2 and 2.1.4.2 (verification).
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

import msgspec

HASH_BYTES = 32
SIZE_MAX = 2**63 - 1
"""No tree is larger: sizes fit a signed 64-bit integer wherever they are stored."""
INCLUSION_HASHES_MAX = 63
CONSISTENCY_HASHES_MAX = 64
"""The longest proofs that a tree of `SIZE_MAX` leaves has."""

EMPTY_ROOT = hashlib.sha256(b"").digest()

_sha256 = hashlib.sha256


class ProofRefused(ValueError):
    """The proof does not prove what it is said to prove, or nothing can prove that; and why."""


class NodeCoordinate(msgspec.Struct, frozen=True):
    """A perfect subtree.

    Args:
        level: its height; leaves have level 0.
        index: how many subtrees of that level stand to its left.
    """

    level: int
    index: int


HashReader = Callable[[Sequence[NodeCoordinate]], Sequence[bytes]]
"""Returns the hashes of nodes, in the order asked for."""
NodeGroups = tuple[tuple[NodeCoordinate, ...], ...]
"""For each hash of a proof the nodes that it is folded from, left to right."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf: `SHA-256(00 || entry)`."""
    return _sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: `SHA-256(01 || left || right)`."""
    return _sha256(b"\1" + left + right).digest()


class CompactRange:
    """The frontier of a tree that only grows: the roots of its perfect subtrees, largest first.

    One for each set of bits in the size, so a tree of any size needs at most 63 hashes to go on.
    Not safe for several threads.

    Args:
        size: leaves so far.
        hashes: the roots, as `.hashes` returned them for that size.

    Raises:
        ProofRefused: hashes that no tree of that size has. What was stored is damaged.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if not 0 <= size <= SIZE_MAX:
            raise ProofRefused(f"a tree of {size} leaves; 0 to {SIZE_MAX} are possible")
        if len(hashes) != size.bit_count():
            raise ProofRefused(
                f"a tree of {size} leaves has {size.bit_count()} frontier hashes, not {len(hashes)}"
            )
        _check_lengths(hashes)
        self._size = size
        self._hashes = list(hashes)

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self._size

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The roots of the perfect subtrees, largest (leftmost) first; enough to go on from."""
        return tuple(self._hashes)

    def append(self, leaf: bytes) -> None:
        """Add one leaf.

        Args:
            leaf: its hash, see `leaf_hash`; 32 octets.
        """
        self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaves in their order.

        Args:
            leaves: their hashes, see `leaf_hash`; 32 octets each.

        Raises:
            ProofRefused: a hash of another length, or the tree is full; those before it are added.
        """
        size, hashes = self._size, self._hashes
        for leaf in leaves:
            if len(leaf) != HASH_BYTES or size == SIZE_MAX:
                self._size = size
                raise ProofRefused(f"a leaf of {len(leaf)} octets at {size} of {SIZE_MAX}")
            # Each trailing one bit of the size is a subtree that this leaf completes.
            rest = size
            while rest & 1:
                leaf = _sha256(b"\1" + hashes.pop() + leaf).digest()
                rest >>= 1
            hashes.append(leaf)
            size += 1
        self._size = size

    def root(self) -> bytes:
        """Return the root of the tree; `EMPTY_ROOT` without leaves."""
        return _fold(self._hashes) if self._hashes else EMPTY_ROOT


def inclusion_nodes(index: int, size: int) -> NodeGroups:
    """Say which nodes an inclusion proof is made of.

    Args:
        index: of the leaf, from 0.
        size: leaves of the tree that includes it.

    Returns:
        One group for each hash of the proof, the leaf's sibling first.

    Raises:
        ProofRefused: there is no such leaf.

    Source: RFC 6962, section 2.1.1.
    """
    _check_index(index, size)
    groups: list[tuple[NodeCoordinate, ...]] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            groups.append(_perfect(middle, end))
            end = middle
        else:
            groups.append(_perfect(begin, middle))
            begin = middle
    return tuple(reversed(groups))


def consistency_nodes(first: int, second: int) -> NodeGroups:
    """Say which nodes a consistency proof is made of.

    Args:
        first: leaves of the older tree.
        second: leaves of the newer tree.

    Returns:
        One group for each hash of the proof; none if `first` is 0 or equals `second`.

    Raises:
        ProofRefused: the older tree is the larger one.

    Source: RFC 6962, section 2.1.2.
    """
    _check_sizes(first, second)
    if first in (0, second):
        return ()
    groups: list[tuple[NodeCoordinate, ...]] = []
    begin, end = 0, second
    while end != first:
        middle = begin + _split(end - begin)
        if first <= middle:
            groups.append(_perfect(middle, end))
            end = middle
        else:
            groups.append(_perfect(begin, middle))
            begin = middle
    if begin:  # the verifier knows the older root only if nothing stands to its left
        groups.append(_perfect(begin, end))
    return tuple(reversed(groups))


def root_nodes(size: int) -> tuple[NodeCoordinate, ...]:
    """Return the perfect subtrees that a tree consists of, left to right; none for size 0."""
    if not 0 <= size <= SIZE_MAX:
        raise ProofRefused(f"a tree of {size} leaves; 0 to {SIZE_MAX} are possible")
    return _perfect(0, size)


def inclusion_proof(index: int, size: int, read: HashReader) -> tuple[bytes, ...]:
    """Return the proof that a tree includes a leaf.

    Args:
        index: of the leaf, from 0.
        size: leaves of the tree.
        read: asked once, for exactly the nodes needed.

    Raises:
        ProofRefused: there is no such leaf.
    """
    return _read_groups(inclusion_nodes(index, size), read)


def consistency_proof(first: int, second: int, read: HashReader) -> tuple[bytes, ...]:
    """Return the proof that a tree is an older one with leaves added.

    Args:
        first: leaves of the older tree.
        second: leaves of the newer tree.
        read: asked once, for exactly the nodes needed.

    Raises:
        ProofRefused: the older tree is the larger one.
    """
    return _read_groups(consistency_nodes(first, second), read)


def root_of(size: int, read: HashReader) -> bytes:
    """Return the root of a tree.

    Args:
        size: leaves of the tree.
        read: of this tree or of a larger one; asked once, for exactly the nodes needed.
    """
    nodes = root_nodes(size)
    return _read_groups((nodes,), read)[0] if nodes else EMPTY_ROOT


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Verify that a tree includes a leaf at an index.

    Args:
        leaf: the leaf's hash, 32 octets.
        index: from 0.
        size: leaves of the tree.
        proof: the leaf's sibling first.
        root: of the tree, 32 octets.

    Raises:
        ProofRefused: it is not proven; trust neither leaf nor proof.

    Source: RFC 9162, section 2.1.3.2.
    """
    _check_index(index, size)
    _check_lengths((leaf, root, *proof))
    first, last, hashed = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise ProofRefused("the inclusion proof is too long")
        if first & 1 or first == last:
            hashed = node_hash(step, hashed)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            hashed = node_hash(hashed, step)
        first, last = first >> 1, last >> 1
    if last:
        raise ProofRefused("the inclusion proof is too short")
    if hashed != root:
        raise ProofRefused("the inclusion proof leads to another root")


def verify_consistency(
    first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes
) -> None:
    """Verify that a tree is an older one with leaves added.

    Args:
        first: leaves of the older tree; 0 is consistent with everything, by an empty proof.
        second: leaves of the newer tree.
        proof: as `consistency_proof` makes it.
        first_root: of the older tree, 32 octets.
        second_root: of the newer tree, 32 octets.

    Raises:
        ProofRefused: it is not proven. If both roots were signed, this is evidence of a split view:
            keep both checkpoints.

    Source: RFC 9162, section 2.1.4.2.
    """
    _check_sizes(first, second)
    _check_lengths((first_root, second_root, *proof))
    for size, root in ((first, first_root), (second, second_root)):
        if size == 0 and root != EMPTY_ROOT:
            raise ProofRefused("a tree without leaves has another root")
    if first in (0, second):
        if proof:
            raise ProofRefused("the consistency proof is too long")
        if first == second and first_root != second_root:
            raise ProofRefused(f"two roots for one tree of {first} leaves")
        return
    steps = tuple(proof)
    if first & (first - 1) == 0:  # a perfect tree: its root is where the proof begins
        steps = (first_root, *steps)
    if not steps:
        raise ProofRefused("the consistency proof is too short")
    older, newer = _walk_consistency(first, second, steps)
    if older != first_root:
        raise ProofRefused("the consistency proof leads to another older root")
    if newer != second_root:
        raise ProofRefused("the consistency proof leads to another newer root")


def _walk_consistency(first: int, second: int, steps: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """Return the older and the newer root that the steps lead to; RFC 9162, 2.1.4.2, 3 to 6."""
    left, last = first - 1, second - 1
    while left & 1:
        left, last = left >> 1, last >> 1
    older = newer = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise ProofRefused("the consistency proof is too long")
        if left & 1 or left == last:
            older, newer = node_hash(step, older), node_hash(step, newer)
            while not left & 1 and left:
                left, last = left >> 1, last >> 1
        else:
            newer = node_hash(newer, step)
        left, last = left >> 1, last >> 1
    if last:
        raise ProofRefused("the consistency proof is too short")
    return older, newer


def _read_groups(groups: NodeGroups, read: HashReader) -> tuple[bytes, ...]:
    nodes = [node for group in groups for node in group]
    if not nodes:
        return ()
    hashes = read(nodes)
    if len(hashes) != len(nodes):
        raise ProofRefused(f"{len(hashes)} hashes were read for {len(nodes)} nodes")
    _check_lengths(hashes)
    folded: list[bytes] = []
    taken = 0
    for group in groups:
        folded.append(_fold(hashes[taken : taken + len(group)]))
        taken += len(group)
    return tuple(folded)


def _fold(hashes: Sequence[bytes]) -> bytes:
    """Hash perfect subtrees of falling size into one; RFC 6962 splits at the largest power."""
    folded = hashes[-1]
    for one in reversed(hashes[:-1]):
        folded = node_hash(one, folded)
    return folded


def _split(size: int) -> int:
    """Return the largest power of two below a size of at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def _perfect(begin: int, end: int) -> tuple[NodeCoordinate, ...]:
    """Cut a range that RFC 6962 splits off into perfect subtrees, largest first.

    `begin` is a multiple of the largest power of two that fits in, so every cut is aligned.
    """
    nodes: list[NodeCoordinate] = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        nodes.append(NodeCoordinate(level, begin >> level))
        begin += 1 << level
    return tuple(nodes)


def _check_index(index: int, size: int) -> None:
    if not 0 <= index < size <= SIZE_MAX:
        raise ProofRefused(f"there is no leaf {index} in a tree of {size} leaves")


def _check_sizes(first: int, second: int) -> None:
    if not 0 <= first <= second <= SIZE_MAX:
        raise ProofRefused(f"a tree of {second} leaves does not follow one of {first}")


def _check_lengths(hashes: Iterable[bytes]) -> None:
    for one in hashes:
        if len(one) != HASH_BYTES:
            raise ProofRefused(f"a hash has {HASH_BYTES} octets, not {len(one)}")
