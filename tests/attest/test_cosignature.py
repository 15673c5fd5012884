"""Cosignatures: the specification's octets, and a time that cannot be moved."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.tilelog import NoteKey, TileLog, witness_key

from verismo.attest.cosignature import (
    TIMESTAMP_S_MAX,
    cosignature_line,
    cosigned_message,
    verify_cosignature,
)
from verismo.attest.note import NoteRefused, NoteSignature, read_signature_lines

BODY = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
WITNESS = witness_key("witness.example.com/w1")
AT_S = 1_679_315_147


def test_the_message_is_that_of_the_specification():
    assert cosigned_message(BODY, AT_S) == (
        b"cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n"
        b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )


def test_the_signature_is_the_time_and_ed25519():
    line = WITNESS.cosignature(BODY, AT_S)
    assert line.signature[:8] == struct.pack(">Q", AT_S)
    assert line.signature[8:] == WITNESS.sign(cosigned_message(BODY, AT_S))
    assert line.line.startswith("— witness.example.com/w1 ")


@given(st.integers(0, TIMESTAMP_S_MAX))
def test_a_cosignature_verifies_at_any_time_it_may_say(timestamp_s):
    line = WITNESS.cosignature(BODY, timestamp_s)
    assert verify_cosignature(WITNESS.key, BODY, line) == timestamp_s


@pytest.mark.parametrize("timestamp_s", [-1, 2**63])
def test_a_time_out_of_range_is_refused(timestamp_s):
    says = r"^a cosignature's time is from 0 to 9223372036854775807 s$"
    with pytest.raises(NoteRefused, match=says):
        cosigned_message(BODY, timestamp_s)
    with pytest.raises(NoteRefused, match=says):
        cosignature_line(WITNESS.key, timestamp_s, bytes(64))


def test_a_time_beyond_the_signed_range_is_refused_when_read():
    line = WITNESS.cosignature(BODY, AT_S)
    moved = NoteSignature(line.name, line.key_hash, b"\x80" + line.signature[1:])
    with pytest.raises(NoteRefused, match="a cosignature's time is from 0 to"):
        verify_cosignature(WITNESS.key, BODY, moved)


def test_a_backdated_cosignature_is_refused():
    line = WITNESS.cosignature(BODY, AT_S)
    backdated = struct.pack(">Q", AT_S - 1) + line.signature[8:]
    with pytest.raises(NoteRefused, match=r"^the signature of 'witness.example.com/w1' is not of"):
        verify_cosignature(WITNESS.key, BODY, NoteSignature(line.name, line.key_hash, backdated))


def test_a_cosignature_of_another_checkpoint_is_refused():
    line = WITNESS.cosignature(BODY, AT_S)
    for text in (BODY.replace("20852163", "20852164"), BODY + "extension\n"):
        with pytest.raises(NoteRefused, match="is not of this key over this text"):
            verify_cosignature(WITNESS.key, text, line)


def test_a_plain_note_signature_of_the_witness_is_no_cosignature():
    line = WITNESS.signature(BODY)
    with pytest.raises(NoteRefused, match=r"^the cosignature of '.*' has another length$"):
        verify_cosignature(WITNESS.key, BODY, line)
    stamped = NoteSignature(line.name, line.key_hash, struct.pack(">Q", AT_S) + line.signature)
    with pytest.raises(NoteRefused, match="is not of this key over this text"):
        verify_cosignature(WITNESS.key, BODY, stamped)


def test_a_log_cannot_cosign_with_its_own_kind_of_key():
    log = NoteKey("witness.example.com/w1")
    line = WITNESS.cosignature(BODY, AT_S)
    says = r"^the key 'witness.example.com/w1' signs no cosignatures$"
    with pytest.raises(NoteRefused, match=says):
        verify_cosignature(log.key, BODY, line)
    with pytest.raises(NoteRefused, match=says):
        cosignature_line(log.key, AT_S, bytes(64))


def test_a_line_of_another_witness_is_refused():
    line = witness_key("other").cosignature(BODY, AT_S)
    with pytest.raises(NoteRefused, match=r"^the cosignature is not of the key 'witness.example"):
        verify_cosignature(WITNESS.key, BODY, line)


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(65)])
def test_a_line_is_made_of_64_octets_only(signature):
    with pytest.raises(NoteRefused, match=r"^an Ed25519 signature has 64 octets$"):
        cosignature_line(WITNESS.key, AT_S, signature)


def test_a_line_is_read_back_from_a_checkpoint():
    log = TileLog()
    log.grow(5)
    note = log.checkpoint({WITNESS: AT_S})
    line = cosignature_line(WITNESS.key, AT_S, note.signatures[1].signature[8:])
    assert read_signature_lines(line) == note.signatures[1:]
    assert note.encode().endswith(line.encode())
