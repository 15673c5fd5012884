import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from verismo.attest import dsse, rollup
from verismo.attest.keys import import_key
from verismo.attest.merkle import EMPTY_ROOT, CompactRange, consistency_proof, leaf_hash, node_hash
from verismo.model import canonical
from verismo.model.retention import UploadProof

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
PUBLIC = import_key(PRIVATE.public_key().public_bytes_raw(), "rollup")
KEYS = {PUBLIC.kid: PUBLIC}
LEAVES = [leaf_hash(b"leaf %d" % number) for number in range(40)]
PROOF = UploadProof("rollup.dsse.json", "ab" * 32, 9, "v1", "COMPLIANCE", 5, "object-lock")


def root(size):
    tree = CompactRange()
    tree.extend(LEAVES[:size])
    return tree.root().hex() if size else EMPTY_ROOT.hex()


def read(nodes):
    def subtree(level, index):
        if level == 0:
            return LEAVES[index]
        return node_hash(subtree(level - 1, 2 * index), subtree(level - 1, 2 * index + 1))

    return [subtree(node.level, node.index) for node in nodes]


def predicate(first, size, **members):
    proof = consistency_proof(first, size, read) if 0 < first < size else ()
    told = rollup.Predicate(
        v=1,
        origin="gw.example/log/eu/2026",
        day="2026-11-22",
        first=first,
        last=size - 1,
        size=size,
        root=root(size),
        leaves={"answer": size - first} if size > first else {},
        answers={"allow 2xx": size - first} if size > first else {},
        consistency=tuple(one.hex() for one in proof),
        uploads=(),
    )
    return msgspec.structs.replace(told, **members)


def statement(told):
    named = rollup.subjects({"checkpoint": "11" * 32, "tiles-0-9.tar.gz": "22" * 32})
    return rollup.RollupStatement(subject=named, predicate=told)


def signed(told):
    return rollup.sign_rollup(statement(told), PUBLIC.kid, PRIVATE.sign)


def first_day(size=9):
    return signed(predicate(0, size, day="2026-11-21"))


def following(earlier, size, **members):
    before = rollup.read_rollup(earlier).predicate
    named = rollup.Previous(before.day, before.size, before.root, canonical.digest(earlier))
    return predicate(before.size, size, previous=named, **members)


def test_rollup_is_an_in_toto_statement_in_dsse():
    envelope = json.loads(first_day())
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    opened = dsse.open_envelope(first_day(), rollup.PAYLOAD_TYPE, KEYS, "rollup")
    told = json.loads(opened.payload)
    assert told["_type"] == "https://in-toto.io/Statement/v1"
    assert told["predicateType"] == "urn:verismo:ledger-rollup:v1"
    assert told["subject"][0] == {"name": "checkpoint", "digest": {"sha256": "11" * 32}}
    assert told["predicate"]["first"] == 0
    assert told["predicate"]["last"] == 8


@given(st.integers(0, 20), st.integers(0, 20))
def test_rollup_is_read_back_as_it_was_signed(first, growth):
    earlier = signed(predicate(0, first, day="2026-11-21"))
    later = statement(following(earlier, first + growth, uploads=(PROOF,)))
    document = rollup.sign_rollup(later, PUBLIC.kid, PRIVATE.sign)
    assert rollup.open_rollup(document, KEYS) == later
    rollup.check_succession(earlier, later)
    rollup.check_chain((earlier, document), KEYS)


def test_same_day_signed_twice_has_the_same_bytes():
    assert first_day() == first_day()


def test_absent_counters_are_left_out_and_never_zero():
    told = json.loads(dsse.read_envelope(first_day())[1])["predicate"]
    assert "siem" not in told
    assert "keyring" not in told
    counted = (rollup.SiemCounters(sink="file", exported=7, dead=1, next_index=9),)
    told = rollup.read_rollup(signed(predicate(0, 9, siem=counted))).predicate
    assert told.siem == counted


def test_tally_counts_types_decisions_and_status_classes():
    tally = rollup.Tally()
    for decision, status in (("allow", 200), ("allow", 204), ("allow", 503), ("deny", 403)):
        tally.count_answer(decision, status)
    tally.count("void")
    assert tally.leaves == {"answer": 4, "void": 1}
    assert tally.answers == {"allow 2xx": 2, "allow 5xx": 1, "deny 4xx": 1}


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"last": 7}, "no range"),
        ({"size": 10}, "no range"),
        ({"first": -1, "size": 9}, "no range"),
        ({"leaves": {"answer": 8}}, "counts by type"),
        ({"answers": {"allow 2xx": 8}}, "counts by decision"),
        ({"day": "2026-11-31"}, "no day"),
        ({"day": "20261122"}, "YYYY-MM-DD"),
        ({"root": "AB" * 32}, "lower-case hex"),
        ({"root": "ab"}, "lower-case hex"),
        ({"root": "zz" * 32}, "lower-case hex"),
        ({"consistency": ("ab" * 32,)}, "follows nothing"),
        ({"uploads": (PROOF,)}, "follows nothing"),
    ],
)
def test_rollup_that_contradicts_itself_is_never_signed(members, told):
    with pytest.raises(rollup.RollupRefused, match=told):
        signed(msgspec.structs.replace(predicate(0, 9), **members))


def test_rollup_that_skips_leaves_is_refused():
    named = rollup.Previous("2026-11-21", 8, root(8), "00" * 32)
    with pytest.raises(rollup.RollupRefused, match="does not begin where"):
        signed(predicate(9, 12, previous=named))


def test_rewritten_history_is_refused():
    told = following(first_day(), 12)
    forged = msgspec.structs.replace(told.previous, root=leaf_hash(b"other").hex())
    with pytest.raises(rollup.RollupRefused, match="does not extend"):
        signed(msgspec.structs.replace(told, previous=forged))
    with pytest.raises(rollup.RollupRefused, match="does not extend"):
        signed(msgspec.structs.replace(told, root=leaf_hash(b"other").hex()))
    with pytest.raises(rollup.RollupRefused, match="does not extend"):
        signed(msgspec.structs.replace(told, consistency=told.consistency[:-1]))


def test_endless_consistency_proof_is_refused():
    told = following(first_day(), 12)
    with pytest.raises(rollup.RollupRefused, match="more hashes"):
        signed(msgspec.structs.replace(told, consistency=("ab" * 32,) * 65))


def test_day_without_leaves_must_keep_the_root():
    told = following(first_day(), 9)
    assert told.last == told.first - 1
    rollup.check_rollup(statement(told))
    with pytest.raises(rollup.RollupRefused):
        rollup.check_rollup(statement(msgspec.structs.replace(told, root=root(10))))


def test_day_is_covered_by_the_witnesses_of_a_larger_tree():
    proof = tuple(one.hex() for one in consistency_proof(9, 12, read))
    larger = rollup.Witnessed(12, root(12), proof)
    told = predicate(0, 9, witnessed=larger)
    assert rollup.read_rollup(signed(told)).predicate.witnessed == larger
    for forged in (
        msgspec.structs.replace(larger, root=root(11)),
        msgspec.structs.replace(larger, consistency=()),
        msgspec.structs.replace(larger, size=8),
    ):
        with pytest.raises(rollup.RollupRefused):
            signed(msgspec.structs.replace(told, witnessed=forged))


def test_two_subjects_of_one_name_are_refused():
    subject = rollup.Subject("checkpoint", rollup.Digest("11" * 32))
    doubled = rollup.RollupStatement(subject=(subject, subject), predicate=predicate(0, 9))
    with pytest.raises(rollup.RollupRefused, match="one name"):
        rollup.check_rollup(doubled)


@pytest.mark.parametrize("members", [{"rollup": "00" * 32}, {"day": "2026-11-20"}])
def test_swapped_predecessor_is_refused(members):
    told = following(first_day(), 12)
    named = msgspec.structs.replace(told.previous, **members)
    with pytest.raises(rollup.RollupRefused):
        rollup.check_succession(
            first_day(), statement(msgspec.structs.replace(told, previous=named))
        )


@pytest.mark.parametrize("members", [{"origin": "gw.example/log/us/2026"}, {"day": "2026-11-21"}])
def test_rollup_of_another_log_or_of_no_later_day_is_refused(members):
    with pytest.raises(rollup.RollupRefused, match="not a later day"):
        rollup.check_succession(first_day(), statement(following(first_day(), 12, **members)))


def test_rollup_left_out_of_the_chain_is_seen():
    first = first_day()
    second = signed(following(first, 12, day="2026-11-22"))
    third = signed(following(second, 15, day="2026-11-23"))
    rollup.check_chain((first, second, third), KEYS)
    with pytest.raises(rollup.RollupRefused, match="does not name"):
        rollup.check_chain((first, third), KEYS)
    with pytest.raises(rollup.RollupRefused, match="are missing"):
        rollup.check_chain((second, third), KEYS)
    assert rollup.read_rollup(first).predicate.previous is UNSET


def test_rollup_of_an_untrusted_key_is_refused():
    with pytest.raises(rollup.RollupRefused, match="no valid signature"):
        rollup.open_rollup(first_day(), {})


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("text/plain", b"{}"),
        (rollup.PAYLOAD_TYPE, b"{}"),
        (rollup.PAYLOAD_TYPE, b" " + canonical.encode(statement(predicate(0, 9)))),
        (
            rollup.PAYLOAD_TYPE,
            canonical.encode(statement(predicate(0, 9))).replace(b"rollup:v1", b"rollup:v2"),
        ),
    ],
    ids=["type", "empty", "spelling", "predicate type"],
)
def test_signed_bytes_that_are_no_rollup_are_refused(kind, payload):
    document = dsse.seal(kind, payload, PUBLIC.kid, PRIVATE.sign)
    with pytest.raises(rollup.RollupRefused):
        rollup.open_rollup(document, KEYS)
    with pytest.raises(rollup.RollupRefused):
        rollup.read_rollup(document)


def test_what_is_no_envelope_is_no_rollup():
    with pytest.raises(rollup.RollupRefused, match="not a DSSE envelope"):
        rollup.read_rollup(b"{}")
