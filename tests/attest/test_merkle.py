"""The Merkle tree against a recursive RFC 6962 written here, and against published probes."""

import base64
import hashlib
import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from verismo.attest.merkle import (
    CONSISTENCY_HASHES_MAX,
    EMPTY_ROOT,
    INCLUSION_HASHES_MAX,
    SIZE_MAX,
    CompactRange,
    NodeCoordinate,
    ProofRefused,
    consistency_nodes,
    consistency_proof,
    inclusion_nodes,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_nodes,
    root_of,
    verify_consistency,
    verify_inclusion,
)

ENTRIES = [f"entry {number}".encode() for number in range(300)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
SIZES = st.integers(1, len(ENTRIES))


def sha256(data):
    return hashlib.sha256(data).digest()


def half(count):
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def naive_root(entries):
    """MTH of RFC 6962, 2.1, word by word."""
    if not entries:
        return sha256(b"")
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0])
    k = half(len(entries))
    return sha256(b"\x01" + naive_root(entries[:k]) + naive_root(entries[k:]))


def naive_path(m, entries):
    """PATH of RFC 6962, 2.1.1."""
    if len(entries) == 1:
        return []
    k = half(len(entries))
    if m < k:
        return [*naive_path(m, entries[:k]), naive_root(entries[k:])]
    return [*naive_path(m - k, entries[k:]), naive_root(entries[:k])]


def naive_subproof(m, entries, whole):
    """SUBPROOF of RFC 6962, 2.1.2."""
    if m == len(entries):
        return [] if whole else [naive_root(entries)]
    k = half(len(entries))
    if m <= k:
        return [*naive_subproof(m, entries[:k], whole), naive_root(entries[k:])]
    return [*naive_subproof(m - k, entries[k:], False), naive_root(entries[:k])]


def reader(size):
    """Read nodes of a tree from its entries, and refuse those that it does not have."""

    def read(nodes):
        for node in nodes:
            assert (node.index + 1) << node.level <= size
        return [
            naive_root(ENTRIES[node.index << node.level : (node.index + 1) << node.level])
            for node in nodes
        ]

    return read


def ranged(count):
    grown = CompactRange()
    grown.extend(LEAVES[:count])
    return grown


@given(st.integers(0, len(ENTRIES)))
@settings(max_examples=40, deadline=None)
def test_roots_are_those_of_the_recursive_definition(size):
    root = naive_root(ENTRIES[:size])
    assert ranged(size).root() == root
    assert root_of(size, reader(size)) == root


@given(SIZES, st.data())
@settings(max_examples=40, deadline=None)
def test_inclusion_proofs_are_those_of_the_recursive_definition_and_verify(size, data):
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, reader(size))
    assert list(proof) == naive_path(index, ENTRIES[:size])
    verify_inclusion(LEAVES[index], index, size, proof, naive_root(ENTRIES[:size]))


@given(SIZES, st.data())
@settings(max_examples=40, deadline=None)
def test_consistency_proofs_are_those_of_the_recursive_definition_and_verify(second, data):
    first = data.draw(st.integers(1, second))
    proof = consistency_proof(first, second, reader(second))
    assert list(proof) == naive_subproof(first, ENTRIES[:second], True)
    verify_consistency(first, second, proof, naive_root(ENTRIES[:first]), ranged(second).root())


@pytest.mark.slow
def test_every_proof_of_every_small_tree_verifies():
    roots = [naive_root(ENTRIES[:size]) for size in range(34)]
    for size in range(1, 34):
        read = reader(size)
        for index in range(size):
            proof = inclusion_proof(index, size, read)
            verify_inclusion(LEAVES[index], index, size, proof, roots[size])
        for first in range(size + 1):
            proof = consistency_proof(first, size, read)
            verify_consistency(first, size, proof, roots[first], roots[size])


@given(SIZES, st.data())
@settings(max_examples=40, deadline=None)
def test_no_other_leaf_index_size_path_or_root_is_proven(size, data):
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, reader(size))
    root = ranged(size).root()
    claims = [
        (LEAVES[(index + 1) % 300], index, size, proof, root),
        (LEAVES[index], index, size, proof, leaf_hash(root)),
        (LEAVES[index], index, size, (*proof, root), root),
        (LEAVES[index], index, size, (root, *proof), root),
        (LEAVES[index], index, size, proof[:-1], root if proof else leaf_hash(root)),
    ]
    if size > 1:
        other = data.draw(st.integers(0, size - 1))
        assume(other != index)
        claims.append((LEAVES[index], other, size, proof, root))
    for at, step in enumerate(proof):
        flipped = bytes([step[0] ^ 1]) + step[1:]
        claims.append((LEAVES[index], index, size, (*proof[:at], flipped, *proof[at + 1 :]), root))
    for claim in claims:
        with pytest.raises(ProofRefused):
            verify_inclusion(*claim)


@given(SIZES, st.data())
@settings(max_examples=40, deadline=None)
def test_a_rewritten_history_is_never_consistent(second, data):
    first = data.draw(st.integers(1, second))
    changed = data.draw(st.integers(0, first - 1))
    rewritten = [*ENTRIES[:changed], b"rewritten", *ENTRIES[changed + 1 : second]]
    proof = naive_subproof(first, rewritten, True)
    with pytest.raises(ProofRefused):
        verify_consistency(first, second, proof, naive_root(ENTRIES[:first]), naive_root(rewritten))


def test_an_inner_node_passed_off_as_a_leaf_is_refused():
    """The second preimage that the two prefixes are there for."""
    inner = LEAVES[0] + LEAVES[1]
    root = naive_root(ENTRIES[:4])
    path = (node_hash(LEAVES[2], LEAVES[3]),)
    assert node_hash(sha256(b"\x01" + inner), path[0]) == root
    with pytest.raises(ProofRefused, match=r"^the inclusion proof leads to another root$"):
        verify_inclusion(leaf_hash(inner), 0, 2, path, root)


def test_an_odd_leaf_is_not_doubled():
    doubled = node_hash(node_hash(LEAVES[0], LEAVES[1]), node_hash(LEAVES[2], LEAVES[2]))
    assert ranged(3).root() != doubled


@given(st.lists(st.integers(0, 40), max_size=8))
def test_a_range_grows_the_same_in_any_steps_and_from_any_stop(steps):
    grown, size = CompactRange(), 0
    for step in steps:
        for leaf in LEAVES[size : size + step]:
            grown.append(leaf)
        size = min(size + step, len(LEAVES))
        grown = CompactRange(grown.size, grown.hashes)
    assert (grown.size, grown.hashes) == (size, ranged(size).hashes)
    assert list(grown.hashes) == reader(size)(root_nodes(size))


@pytest.mark.parametrize(
    ("size", "hashes", "says"),
    [
        (3, (EMPTY_ROOT,), "a tree of 3 leaves has 2 frontier hashes, not 1"),
        (0, (EMPTY_ROOT,), "a tree of 0 leaves has 0 frontier hashes, not 1"),
        (1, (b"short",), "a hash has 32 octets, not 5"),
        (-1, (), f"a tree of -1 leaves; 0 to {SIZE_MAX} are possible"),
        (SIZE_MAX + 1, (EMPTY_ROOT,), f"a tree of {2**63} leaves; 0 to {SIZE_MAX} are possible"),
    ],
)
def test_a_damaged_frontier_is_refused(size, hashes, says):
    with pytest.raises(ProofRefused, match=rf"^{says}$"):
        CompactRange(size, hashes)


def test_a_refused_leaf_leaves_the_range_as_it_was():
    grown = ranged(5)
    with pytest.raises(ProofRefused, match=rf"^a leaf of 3 octets at 6 of {SIZE_MAX}$"):
        grown.extend((LEAVES[5], b"bad", LEAVES[6]))
    assert (grown.size, grown.root()) == (6, naive_root(ENTRIES[:6]))


def test_a_full_tree_takes_no_leaf():
    full = CompactRange(SIZE_MAX, (EMPTY_ROOT,) * 63)
    with pytest.raises(ProofRefused, match=f"at {SIZE_MAX} of {SIZE_MAX}$"):
        full.append(EMPTY_ROOT)
    assert full.size == SIZE_MAX


def test_the_largest_tree_has_the_longest_proofs():
    assert len(inclusion_nodes(0, SIZE_MAX)) == INCLUSION_HASHES_MAX
    assert len(consistency_nodes(2**62 - 1, SIZE_MAX)) == CONSISTENCY_HASHES_MAX
    assert all(len(group) <= 63 for group in inclusion_nodes(0, SIZE_MAX))


@pytest.mark.parametrize("size", [-1, SIZE_MAX + 1])
def test_a_tree_of_an_impossible_size_has_no_root(size):
    with pytest.raises(ProofRefused, match=rf"^a tree of {size} leaves; 0 to {SIZE_MAX} are"):
        root_nodes(size)


def test_the_nodes_of_a_proof_are_said_beforehand():
    assert inclusion_nodes(4, 7) == (
        (NodeCoordinate(0, 5),),
        (NodeCoordinate(0, 6),),
        (NodeCoordinate(2, 0),),
    )
    assert inclusion_nodes(0, 7)[-1] == (NodeCoordinate(1, 2), NodeCoordinate(0, 6))
    assert consistency_nodes(4, 4) == consistency_nodes(0, 4) == ()


@pytest.mark.parametrize("hashes", [[], [EMPTY_ROOT], [EMPTY_ROOT[:-1]] * 2, [EMPTY_ROOT] * 3])
def test_a_reader_that_answers_wrongly_is_noticed(hashes):
    with pytest.raises(ProofRefused):
        inclusion_proof(0, 3, lambda nodes: hashes)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3), (4, 3), (0, SIZE_MAX + 1)])
def test_a_leaf_that_is_not_there_is_not_proven(index, size):
    with pytest.raises(ProofRefused, match=rf"^there is no leaf {index} in a tree of {size} "):
        inclusion_nodes(index, size)
    with pytest.raises(ProofRefused, match="there is no leaf"):
        verify_inclusion(EMPTY_ROOT, index, size, (), EMPTY_ROOT)


@pytest.mark.parametrize(("first", "second"), [(4, 3), (-1, 3), (1, SIZE_MAX + 1)])
def test_a_tree_that_shrinks_is_refused(first, second):
    with pytest.raises(ProofRefused, match=f"a tree of {second} leaves does not follow one of"):
        consistency_nodes(first, second)
    with pytest.raises(ProofRefused, match="does not follow"):
        verify_consistency(first, second, (), EMPTY_ROOT, EMPTY_ROOT)


def test_size_zero_is_consistent_with_everything_by_an_empty_proof():
    verify_consistency(0, 0, (), EMPTY_ROOT, EMPTY_ROOT)
    verify_consistency(0, 5, (), EMPTY_ROOT, naive_root(ENTRIES[:5]))
    assert root_of(0, reader(0)) == CompactRange().root() == EMPTY_ROOT == sha256(b"")
    assert root_nodes(0) == ()


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        ((0, 5, (EMPTY_ROOT,), EMPTY_ROOT, LEAVES[0]), "the consistency proof is too long"),
        ((5, 5, (EMPTY_ROOT,), LEAVES[0], LEAVES[0]), "the consistency proof is too long"),
        ((0, 5, (), LEAVES[0], LEAVES[0]), "a tree without leaves has another root"),
        ((0, 0, (), EMPTY_ROOT, LEAVES[0]), "a tree without leaves has another root"),
        ((5, 5, (), LEAVES[0], LEAVES[1]), "two roots for one tree of 5 leaves"),
        ((3, 5, (), LEAVES[0], LEAVES[1]), "the consistency proof is too short"),
        ((4, 5, (), LEAVES[0], LEAVES[1]), "the consistency proof is too short"),
        ((4, 5, LEAVES[:2], LEAVES[0], LEAVES[1]), "the consistency proof is too long"),
        ((4, 5, LEAVES[:1], LEAVES[0], LEAVES[1]), "the consistency proof leads to another newer"),
        ((3, 4, LEAVES[:3], LEAVES[0], LEAVES[1]), "the consistency proof leads to another older"),
        ((3, 5, (b"",), LEAVES[0], LEAVES[1]), "a hash has 32 octets, not 0"),
    ],
)
def test_a_consistency_proof_that_proves_nothing_says_why(claim, says):
    with pytest.raises(ProofRefused, match=rf"^{says}"):
        verify_consistency(*claim)


def probes(published, kind):
    folder = published / "rfc6962-merkle" / "testdata" / kind
    for path in sorted(folder.rglob("*.json")):
        yield path, json.loads(path.read_bytes())


def decoded(probe):
    return tuple(base64.b64decode(step) for step in probe["proof"] or ())


def proven(verify, *claim):
    try:
        verify(*claim)
    except ProofRefused:
        return False
    return True


def test_published_inclusion_probes_are_decided_as_published(published):
    seen = 0
    for path, probe in probes(published, "inclusion"):
        leaf, root = (base64.b64decode(probe[name] or "") for name in ("leafHash", "root"))
        got = proven(
            verify_inclusion, leaf, probe["leafIdx"], probe["treeSize"], decoded(probe), root
        )
        assert got is not probe["wantErr"], path
        seen += 1
    assert seen > 80


def test_published_consistency_probes_are_decided_as_published(published):
    """Save one whose roots are no hashes: ours have to have 32 octets."""
    seen, differing = 0, set()
    for path, probe in probes(published, "consistency"):
        roots = [base64.b64decode(probe[name] or "") for name in ("root1", "root2")]
        got = proven(verify_consistency, probe["size1"], probe["size2"], decoded(probe), *roots)
        seen += 1
        if got is probe["wantErr"]:
            differing.add((path.name, got))
    assert seen > 80
    assert differing == {("sizes-are-equal-one-and-proof-is-empty.json", False)}


def test_published_roots_and_nodes_are_reproduced(published):
    document = json.loads((published / "rfc6962-merkle" / "reference_roots.json").read_bytes())
    inputs = [bytes.fromhex(text) for text in document["leaf_inputs_hex"]]
    grown = CompactRange()
    assert grown.root().hex() == document["root_hashes_by_size"][0]
    for entry, root in zip(inputs, document["root_hashes_by_size"][1:], strict=True):
        grown.append(leaf_hash(entry))
        assert grown.root().hex() == root
    level = [leaf_hash(entry) for entry in inputs]
    for expected in document["node_hashes"]:
        assert [one.hex() for one in level] == expected
        level = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
