"""The leaf of the ledger: what it binds, and that each part of it counts."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.attest.leaf import LEAF_BYTES, LeafRefused, LeafType, leaf_entry, leaf_type


def test_a_leaf_is_the_documented_octets():
    statement, jws = b'{"v":1}', b"aGVhZGVy..c2lnbmF0dXJl"
    content = b"attest/v1/leaf\x00" + b"\x00\x00\x00\x07" + statement + jws
    assert leaf_entry(LeafType.ANSWER, statement, jws) == b"\x01" + hashlib.sha256(content).digest()


def test_types_have_the_settled_numbers():
    assert {kind.name: kind.value for kind in LeafType} == {
        "ANSWER": 1,
        "DECISION": 2,
        "KEY_RING": 3,
        "PLAN": 4,
        "VOID": 5,
    }


@given(st.sampled_from(LeafType), st.binary(max_size=80), st.binary(max_size=80))
def test_a_leaf_has_33_octets_and_says_its_type(kind, statement, jws):
    entry = leaf_entry(kind, statement, jws)
    assert len(entry) == LEAF_BYTES
    assert leaf_type(entry) is kind


@given(st.binary(min_size=1, max_size=40), st.binary(max_size=40))
def test_an_octet_moved_from_the_statement_to_the_signature_is_another_leaf(statement, jws):
    """Without the length two statements could share one leaf."""
    moved = leaf_entry(LeafType.ANSWER, statement[:-1], statement[-1:] + jws)
    assert moved != leaf_entry(LeafType.ANSWER, statement, jws)


def test_one_statement_under_two_types_has_two_leaves():
    leaves = {leaf_entry(kind, b"{}", b"a..b") for kind in LeafType}
    assert len(leaves) == len(LeafType)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (b"", "a leaf has 33 octets, not 0"),
        (b"\x01" * 32, "a leaf has 33 octets, not 32"),
        (b"\x01" * 34, "a leaf has 33 octets, not 34"),
        (bytes(33), "a leaf of the unknown type 0"),
        (b"\x06" + bytes(32), "a leaf of the unknown type 6"),
    ],
)
def test_an_entry_that_is_no_leaf_is_refused(entry, says):
    with pytest.raises(LeafRefused, match=rf"^{says}$"):
        leaf_type(entry)


class Endless(bytes):
    """Says that it is longer than any memory."""

    def __len__(self):
        return 2**32


def test_a_statement_beyond_its_length_field_is_refused():
    with pytest.raises(LeafRefused, match=r"^a statement of more than 4294967295 octets$"):
        leaf_entry(LeafType.ANSWER, Endless(), b"")
