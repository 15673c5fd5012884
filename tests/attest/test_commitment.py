"""Commitments: salted, separated by kind, over exact bytes."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.attest.commitment import SALT_BYTES, commit, open_commitment

KINDS = ("req", "res", "query", "sent", "received")
salts = st.binary(min_size=SALT_BYTES, max_size=SALT_BYTES)


@given(st.sampled_from(KINDS), salts, st.binary(max_size=100))
def test_is_the_documented_hash(kind, salt, body):
    preimage = b"attest/v1/" + kind.encode() + b"\0" + salt + body
    assert commit(kind, salt, body) == hashlib.sha256(preimage).hexdigest()


@given(salts, st.lists(st.binary(max_size=20), max_size=5))
def test_pieces_and_whole_agree(salt, pieces):
    opened = open_commitment("res", salt)
    for piece in pieces:
        opened.update(piece)
    assert opened.hexdigest() == commit("res", salt, b"".join(pieces))


@given(salts, st.binary(max_size=50))
def test_kinds_are_separate_domains(salt, body):
    assert len({commit(kind, salt, body) for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("count", [0, 16, 31, 33, 64])
def test_salt_moved_into_the_body_is_refused(count):
    with pytest.raises(ValueError, match="exactly 32 bytes"):
        commit("req", bytes(count), b"")
