"""Seeded mutations of what a ledger publishes: refused by name, or read one-to-one, or harmless."""

import base64

import pytest
from tests.support.mutation import DEAR_MUTATIONS, MUTATIONS, mutants
from tests.support.tilelog import ORIGIN, NoteKey, TileLog, entry_of, witness_key

from verismo.attest.checkpoint import read_checkpoint
from verismo.attest.cosignature import verify_cosignature
from verismo.attest.merkle import ProofRefused
from verismo.attest.note import NoteRefused, key_hash, parse_vkey, read_note, verify_note
from verismo.attest.tile import (
    Tile,
    TileRefused,
    encode_bundle,
    entries_path,
    parse_entries_path,
    read_bundle,
)
from verismo.attest.tlogproof import read_proof, verify_proof
from verismo.attest.witnesspolicy import PolicyRefused, read_policy

pytestmark = pytest.mark.slow

ALICE, BOB = witness_key("alice.example"), witness_key("bob.example")
POLICY = f"""# who has to have seen it
witness alice {ALICE.key.vkey} https://alice.example/
witness bob {BOB.key.vkey}
group both all alice bob
quorum both
"""


def small_log(size):
    log = TileLog()
    log.grow(size)
    return log


def test_no_mutated_tile_path_names_the_same_tile():
    tile = Tile(1, 1_234_067, 8)
    read = 0
    for data in mutants(tile.path.encode(), "tile path"):
        path = data.decode("latin-1")
        try:
            got = Tile.from_path(path)
        except TileRefused:
            continue
        read += 1
        assert got != tile
        assert got.path == path
    assert read > MUTATIONS // 100


def test_no_mutated_entries_path_names_the_same_bundle():
    path = entries_path(1_234_067, 8)
    read = 0
    for data in mutants(path.encode(), "entries path"):
        text = data.decode("latin-1")
        try:
            got = parse_entries_path(text)
        except TileRefused:
            continue
        read += 1
        assert got != (1_234_067, 8)
        assert entries_path(*got) == text
    assert read > MUTATIONS // 100


def test_no_mutated_bundle_holds_the_same_entries():
    entries = tuple(entry_of(number) for number in range(4))
    read = 0
    for data in mutants(encode_bundle(entries), "bundle"):
        try:
            got = read_bundle(data)
        except TileRefused:
            continue
        read += 1
        assert got != entries
        assert encode_bundle(got) == data
    assert read > MUTATIONS // 100


def test_no_mutated_checkpoint_text_means_the_same():
    text = small_log(3).checkpoint().text
    checkpoint = read_checkpoint(text)
    read = 0
    for data in mutants(text.encode(), "checkpoint"):
        changed = data.decode("latin-1")
        try:
            got = read_checkpoint(changed)
        except NoteRefused:
            continue
        read += 1
        assert got != checkpoint
        assert got.text() == changed
    assert read > MUTATIONS // 100


def test_no_mutated_note_verifies_with_another_text_or_signature():
    """Lines of unknown keys may be added: they mean nothing."""
    log = small_log(3)
    note = log.checkpoint({ALICE: 100})
    keys = [log.log.key]
    read = verified = 0
    for data in mutants(note.encode(), "note", DEAR_MUTATIONS):
        try:
            got = read_note(data)
        except NoteRefused:
            continue
        read += 1
        assert got.encode() == data
        assert got != note
        try:
            signatures = verify_note(got, keys)
        except NoteRefused:
            continue
        verified += 1
        assert (got.text, signatures) == (note.text, note.signatures[:1])
    assert read > verified > DEAR_MUTATIONS // 100


def test_no_mutated_cosignature_verifies():
    note = small_log(3).checkpoint({ALICE: 100})
    line = note.signatures[1]
    read = 0
    for data in mutants(line.line.encode(), "cosignature", DEAR_MUTATIONS):
        try:
            got = read_note(note.text.encode() + b"\n" + data).signatures
        except NoteRefused:
            continue
        read += 1
        for one in got:
            if one != line:
                with pytest.raises(NoteRefused):
                    verify_cosignature(ALICE.key, note.text, one)
    assert read > DEAR_MUTATIONS // 20


def test_no_mutated_verifier_key_is_taken_for_the_same_key():
    key = NoteKey(ORIGIN).key
    for data in mutants(key.vkey.encode(), "vkey"):
        try:
            got = parse_vkey(data.decode("latin-1"))
        except NoteRefused:
            continue
        assert (got.vkey.encode("latin-1"), got == key) == (data, False)


def test_a_verifier_key_with_a_mended_hash_is_still_checked():
    """Whoever can change a key can make its hash again; the point on the curve is the last gate."""
    refused = taken = 0
    for data in mutants(NoteKey(ORIGIN).key.raw, "raw", 2_000):
        hashed = key_hash(ORIGIN, 1, data).hex()
        encoded = base64.b64encode(b"\x01" + data).decode()
        try:
            got = parse_vkey(f"{ORIGIN}+{hashed}+{encoded}")
        except NoteRefused:
            refused += 1
            continue
        taken += 1
        assert got.raw == data
    assert refused > taken > 0


def test_no_mutated_policy_asks_for_less_by_a_broken_line():
    """A mutant is refused, or it is a policy that says exactly what its lines say."""
    policy = read_policy(POLICY.encode())
    keys = {one.key for one in policy.witnesses}
    read = 0
    for data in mutants(POLICY.encode(), "policy"):
        try:
            got = read_policy(data)
        except PolicyRefused:
            continue
        read += 1
        assert {one.key for one in got.witnesses} <= keys
        assert data.count(b"\nquorum") + data.startswith(b"quorum") >= (got.quorum != "both")
        defined = {one.name for one in got.witnesses} | {one.name for one in got.groups}
        assert got.quorum in defined | {"none"}
        assert all(1 <= one.threshold <= len(one.members) for one in got.groups)
    assert read > MUTATIONS // 100


def test_no_mutated_proof_proves_anything_else():
    """What verifies is the same inclusion, by the same path, under the same signed text."""
    log = small_log(7)
    proof = log.proof(4, {ALICE: 100, BOB: 200})
    policy = read_policy(POLICY.encode())
    entry, key = entry_of(4), log.log.key
    meaning = verify_proof(proof, entry, key, policy)
    read = verified = 0
    for data in mutants(proof.encode(), "proof", DEAR_MUTATIONS):
        try:
            got = read_proof(data)
        except ProofRefused:
            continue
        read += 1
        assert got.encode() == data
        try:
            proven = verify_proof(got, entry, key, policy)
        except ProofRefused:
            continue
        verified += 1
        assert proven == meaning
        assert (got.index, got.hashes) == (proof.index, proof.hashes)
        assert read_note(got.checkpoint).text == read_note(proof.checkpoint).text
    assert read > verified > 0
