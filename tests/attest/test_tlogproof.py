"""The proof file: one spelling, and nothing but the right entry in the right log is proven."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.tilelog import NoteKey, TileLog, entry_of, witness_key

from verismo.attest.leaf import LeafType, leaf_entry
from verismo.attest.merkle import INCLUSION_HASHES_MAX, SIZE_MAX, ProofRefused
from verismo.attest.note import NoteSignature, read_note
from verismo.attest.tlogproof import (
    EXTRA_BYTES_MAX,
    PROOF_BYTES_MAX,
    LedgerProof,
    ProvenInclusion,
    QuorumMissed,
    read_proof,
    verify_proof,
)
from verismo.attest.witnesspolicy import CosignedBy, read_policy

ALICE, BOB = witness_key("alice.example"), witness_key("bob.example")
BOTH = read_policy(
    f"witness alice {ALICE.key.vkey}\nwitness bob {BOB.key.vkey}\n"
    "group both all alice bob\nquorum both\n".encode()
)
LOG = TileLog()
LOG.grow(300)
KEY = LOG.log.key
PROOF = LOG.proof(7, {ALICE: 100, BOB: 200})
FILE = PROOF.encode()


def test_a_proof_is_the_documented_lines():
    lines = FILE.decode().split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 7"]
    assert [base64.b64decode(line) for line in lines[2:11]] == list(PROOF.hashes)
    assert lines[11] == ""
    assert "\n".join(lines[12:]).encode() == LOG.checkpoint({ALICE: 100, BOB: 200}).encode()


def test_ours_has_no_extra_line():
    assert PROOF.extra == b""
    assert b"extra" not in FILE


@pytest.mark.parametrize("index", [0, 1, 7, 255, 256, 298, 299])
def test_a_proof_is_read_back_and_verifies(index):
    proof = LOG.proof(index)
    assert read_proof(proof.encode()) == proof
    assert verify_proof(proof, entry_of(index), KEY) == ProvenInclusion(
        LOG.log.key.name, index, 300, LOG.range.root(), None
    )


def test_the_only_entry_of_a_log_is_proven_by_an_empty_path():
    log = TileLog()
    log.grow(1)
    proof = log.proof(0)
    assert proof.hashes == ()
    assert read_proof(proof.encode()) == proof
    assert verify_proof(proof, entry_of(0), log.log.key).size == 1


@settings(max_examples=30, deadline=None)
@given(
    st.binary(max_size=40),
    st.integers(0, SIZE_MAX - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=INCLUSION_HASHES_MAX),
    st.binary(max_size=40),
)
def test_any_proof_is_read_back(extra, index, hashes, checkpoint):
    proof = LedgerProof(extra, index, tuple(hashes), checkpoint)
    assert read_proof(proof.encode()) == proof


def test_a_quorum_is_verified_and_named():
    proven = verify_proof(PROOF, entry_of(7), KEY, BOTH)
    assert proven.cosigned == CosignedBy(True, ("alice", "bob"), (100, 200), 200)


@pytest.mark.parametrize(
    ("witnesses", "who"), [({}, "nobody"), ({ALICE: 100}, "'alice'"), ({BOB: 100}, "'bob'")]
)
def test_a_missed_quorum_proves_nothing(witnesses, who):
    proof = LOG.proof(7, witnesses)
    says = rf"^the checkpoint lacks the quorum 'both': {who} cosigned$"
    with pytest.raises(QuorumMissed, match=says):
        verify_proof(proof, entry_of(7), KEY, BOTH)
    assert verify_proof(proof, entry_of(7), KEY).cosigned is None


def test_a_wrong_cosignature_refuses_the_checkpoint():
    bad = NoteSignature(BOB.key.name, BOB.key.key_hash, bytes(72))
    note = LOG.checkpoint({ALICE: 1}).adding((bad,))
    proof = LedgerProof(b"", 7, PROOF.hashes, note.encode())
    with pytest.raises(ProofRefused, match=r"^the checkpoint is refused: the signature of 'bob"):
        verify_proof(proof, entry_of(7), KEY, BOTH)


def test_a_policy_that_names_other_logs_refuses_this_one():
    other = NoteKey("gateway.example/log/us/2026").key
    named = read_policy(f"log {KEY.vkey}\nquorum none\n".encode())
    unnamed = read_policy(f"log {other.vkey}\nquorum none\n".encode())
    assert verify_proof(PROOF, entry_of(7), KEY, named).cosigned is not None
    with pytest.raises(ProofRefused, match=r"^the policy does not name the log 'gateway.example"):
        verify_proof(PROOF, entry_of(7), KEY, unnamed)


def test_a_proof_does_not_prove_another_entry():
    void = leaf_entry(LeafType.VOID, b'{"n":7}', b"header..signature")
    for entry in (entry_of(8), void, b""):
        with pytest.raises(ProofRefused, match=r"^the inclusion proof leads to another root$"):
            verify_proof(PROOF, entry, KEY)


def test_a_proof_does_not_hold_for_another_index_or_path():
    for proof in (
        LedgerProof(b"", 6, PROOF.hashes, PROOF.checkpoint),
        LedgerProof(b"", 7, PROOF.hashes[::-1], PROOF.checkpoint),
        LedgerProof(b"", 7, PROOF.hashes[:-1], PROOF.checkpoint),
        LedgerProof(b"", 300, PROOF.hashes, PROOF.checkpoint),
    ):
        with pytest.raises(ProofRefused):
            verify_proof(proof, entry_of(7), KEY)


def test_a_proof_under_a_checkpoint_of_another_log_is_refused():
    """The same tree under another origin: one key may sign both, the names differ."""
    other = TileLog("gateway.example/log/us/2026")
    other.grow(300)
    assert verify_proof(other.proof(7), entry_of(7), other.log.key)
    with pytest.raises(ProofRefused, match=r"^the checkpoint is refused: no known key has signed"):
        verify_proof(other.proof(7), entry_of(7), KEY)


def test_a_forged_root_is_refused():
    forged = read_note(PROOF.checkpoint)
    text = forged.text.replace("\n300\n", "\n301\n")
    proof = LedgerProof(b"", 7, PROOF.hashes, type(forged)(text, forged.signatures).encode())
    with pytest.raises(ProofRefused, match=r"^the checkpoint is refused: the signature of"):
        verify_proof(proof, entry_of(7), KEY)


def test_extra_data_is_kept_and_changes_nothing():
    proof = LedgerProof(b"context", 7, PROOF.hashes, PROOF.checkpoint)
    assert b"@v1\nextra Y29udGV4dA==\nindex 7\n" in proof.encode()
    assert read_proof(proof.encode()) == proof
    assert verify_proof(proof, entry_of(7), KEY) == verify_proof(PROOF, entry_of(7), KEY)


HASH = base64.b64encode(bytes(32)).decode()
FIRST = "c2sp.org/tlog-proof@v1\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the proof file has no empty line before the checkpoint"),
        (f"{FIRST}index 0\n", "the proof file has no empty line before the checkpoint"),
        ("c2sp.org/tlog-proof@v2\nindex 0\n\n", "the proof file does not begin with c2sp.org/tlog"),
        (f"{FIRST}\n", "the proof file has no index line"),
        (f"{FIRST}Index 0\n\n", "the proof file has no index line"),
        (f"{FIRST}index 0\nextra AA==\n\n", "the proof file is malformed: the hash is not base64"),
        (f"{FIRST}extra AA==\n\n", "the proof file has no index line"),
        (f"{FIRST}extra AA==\nextra AA==\nindex 0\n\n", "the proof file has no index line"),
        (f"{FIRST}extra \nindex 0\n\n", "extra data of 0 octets; 1 to 65536 are allowed"),
        (f"{FIRST}extra AB==\nindex 0\n\n", "the proof file is malformed: the extra data is not"),
        (f"{FIRST}extra {'AAAA' * 21_846}\nindex 0\n\n", "extra data of 65538 octets; 1 to 65536"),
        (f"{FIRST}index 00\n\n", "the proof file is malformed: not a decimal from 0 to"),
        (f"{FIRST}index -1\n\n", "the proof file is malformed: not a decimal from 0 to"),
        (f"{FIRST}index {SIZE_MAX}\n\n", "there is no index 9223372036854775807 in any log"),
        (f"{FIRST}index 0\r\n\n", "the proof file is malformed: not a decimal from 0 to"),
        (f"{FIRST}index 0\nAAAA\n\n", "the proof file is malformed: a hash has 32 octets, not 3"),
        (f"{FIRST}index 0\n{HASH} \n\n", "the proof file is malformed: the hash is not base64"),
        (f"{FIRST}index 0\n" + f"{HASH}\n" * 64 + "\n", "a path of more than 63 hashes"),
        (f"\u2014{FIRST}index 0\n\n", "the proof file is not ASCII before the checkpoint"),
        ("x" * (PROOF_BYTES_MAX + 1), f"a proof file of more than {PROOF_BYTES_MAX} octets"),
    ],
)
def test_what_is_no_proof_is_refused(text, says):
    with pytest.raises(ProofRefused, match=rf"^{says}"):
        read_proof(text.encode())


@pytest.mark.parametrize(
    "proof",
    [
        LedgerProof(b"", -1, (), b""),
        LedgerProof(b"", SIZE_MAX, (), b""),
        LedgerProof(b"", 0, (bytes(32),) * 64, b""),
        LedgerProof(b"", 0, (bytes(31),), b""),
        LedgerProof(bytes(EXTRA_BYTES_MAX + 1), 0, (), b""),
    ],
)
def test_what_could_not_be_read_back_is_not_written(proof):
    with pytest.raises(ProofRefused):
        proof.encode()


def test_a_log_that_is_its_own_witness_vouches_for_nothing():
    itself = witness_key(LOG.log.key.name)  # the test keys follow from their names
    assert itself.key.raw == KEY.raw
    proof = LOG.proof(7, {itself: 100, ALICE: 100})
    policy = f"witness alice {ALICE.key.vkey}\nwitness itself {itself.key.vkey}\n"
    for quorum in ("itself", "alice"):
        with pytest.raises(ProofRefused, match="vouches for itself"):
            verify_proof(
                proof, entry_of(7), KEY, read_policy(f"{policy}quorum {quorum}\n".encode())
            )
