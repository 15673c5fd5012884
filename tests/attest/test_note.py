"""Signed notes: the published vectors, one spelling for each, and what is never believed."""

import base64
import hashlib
import json

import pytest
from forge import TOKEN
from forge_tokens import LOW_ORDER, identity_r, mixed_order_r
from hypothesis import given
from hypothesis import strategies as st
from tests.support.tilelog import NoteKey, witness_key

from verismo.attest.note import (
    NAME_CHARS_MAX,
    NOTE_BYTES_MAX,
    SIGNATURES_MAX,
    Note,
    NoteRefused,
    NoteSignature,
    key_hash,
    known_signatures,
    parse_vkey,
    read_note,
    read_signature_lines,
    signature_line,
    verifier_key,
    verify_note,
    vkey,
)

ALICE, BOB = NoteKey("alice.example/log"), NoteKey("bob.example/log")
TEXT = "If you trust\n\nverify.\n"
NOTE = Note(TEXT, (ALICE.signature(TEXT), BOB.signature(TEXT)))


def cases(published):
    return json.loads((published / "sumdb-note" / "note_vectors.json").read_bytes())


def octets(case):
    return bytes.fromhex(case["note_hex"]) if "note_hex" in case else case["note"].encode()


def test_published_notes_are_decided_as_published(published):
    notes = cases(published)["notes"]
    for case in notes:
        keys = [parse_vkey(text) for text in case["vkeys"]]
        try:
            note = read_note(octets(case))
            verified = [one.name for one in verify_note(note, keys)]
        except NoteRefused:
            assert not case["valid"], case["name"]
            continue
        assert case["valid"], case["name"]
        assert verified == case["verified"]
        assert note.encode() == octets(case)
    assert len(notes) == 15


def test_published_keys_are_decided_as_published(published):
    document = cases(published)
    for text in document["good_vkeys"]:
        assert parse_vkey(text).vkey == text
    for text in document["bad_vkeys"]:
        with pytest.raises(NoteRefused):
            parse_vkey(text)


def test_a_key_is_named_by_the_documented_hash():
    raw = ALICE.key.raw
    expected = hashlib.sha256(b"alice.example/log\n\x01" + raw).digest()[:4]
    assert key_hash("alice.example/log", 1, raw) == ALICE.key.key_hash == expected
    key_text = base64.b64encode(b"\x01" + raw).decode()
    assert vkey("alice.example/log", raw) == f"alice.example/log+{expected.hex()}+{key_text}"


def test_one_key_under_two_names_or_algorithms_has_different_hashes():
    raw = ALICE.key.raw
    assert len({key_hash(name, kind, raw) for name in "ab" for kind in (1, 4)}) == 4


@given(st.binary(min_size=1, max_size=90), st.binary(min_size=4, max_size=4))
def test_a_signature_line_is_read_back(signature, hashed):
    line = signature_line("name", hashed, signature)
    assert read_signature_lines(line) == (NoteSignature("name", hashed, signature),)


def test_a_text_may_have_empty_lines_and_is_split_at_the_last():
    note = read_note(NOTE.encode())
    assert note == NOTE
    assert note.text.count("\n\n") == 1
    assert verify_note(note, [ALICE.key, BOB.key]) == NOTE.signatures


def test_signatures_of_unknown_keys_are_kept_and_ignored():
    assert verify_note(NOTE, [BOB.key]) == NOTE.signatures[1:]
    same_name = NoteSignature(ALICE.key.name, b"\0\0\0\0", b"anything")
    same_hash = NoteSignature("other", ALICE.key.key_hash, b"anything")
    note = NOTE.adding((same_name, same_hash))
    assert verify_note(read_note(note.encode()), [ALICE.key]) == NOTE.signatures[:1]


def test_a_note_signed_by_no_known_key_is_refused():
    for keys in ([], [NoteKey("carol.example").key]):
        with pytest.raises(NoteRefused, match=r"^no known key has signed the note$"):
            verify_note(NOTE, keys)


@pytest.mark.parametrize("signature", [b"x", bytes(63), bytes(64), bytes(65)])
def test_a_wrong_signature_of_one_known_key_refuses_the_note_though_another_is_right(signature):
    bad = NoteSignature(BOB.key.name, BOB.key.key_hash, signature)
    for signatures in ((ALICE.signature(TEXT), bad), (bad, ALICE.signature(TEXT))):
        with pytest.raises(NoteRefused, match=r"^the signature of 'bob.example/log' is not of"):
            verify_note(Note(TEXT, signatures), [ALICE.key, BOB.key])


def test_a_wrong_signature_behind_a_right_one_of_the_same_key_refuses_the_note():
    bad = NoteSignature(ALICE.key.name, ALICE.key.key_hash, bytes(64))
    with pytest.raises(NoteRefused, match="is not of this key over this text"):
        verify_note(NOTE.adding((bad,)), [ALICE.key])


def test_a_signature_is_over_the_text_alone_and_over_all_of_it():
    for text in (TEXT + "more\n", TEXT[:-1] + " \n", TEXT.replace("\n\n", "\n"), "\n" + TEXT):
        with pytest.raises(NoteRefused, match="is not of this key over this text"):
            verify_note(Note(text, NOTE.signatures), [ALICE.key])


def test_a_key_that_stands_twice_is_refused_where_it_is_used():
    twin = [ALICE.key, ALICE.key]
    with pytest.raises(NoteRefused, match=r"^two keys are called 'alice.example/log'"):
        known_signatures(NOTE, twin)
    assert verify_note(Note(TEXT, (BOB.signature(TEXT),)), [*twin, BOB.key])


def test_a_witness_s_key_signs_no_notes():
    witness = witness_key("witness.example")
    note = Note(TEXT, (witness.signature(TEXT),))
    with pytest.raises(NoteRefused, match=r"^the key 'witness.example' signs no notes"):
        verify_note(note, [witness.key])


@pytest.mark.parametrize("forged", [identity_r, mixed_order_r])
def test_a_signature_on_which_verifiers_disagree_is_refused(forged):
    """The key's own holder makes it: some verifiers take the note and others do not."""
    key = verifier_key("name", TOKEN.raw)
    signed = Note(TEXT, (NoteSignature("name", key.key_hash, TOKEN.sign(TEXT.encode())),))
    assert verify_note(signed, [key])
    bad = NoteSignature("name", key.key_hash, forged(TEXT.encode()))
    with pytest.raises(NoteRefused, match="is not of this key over this text"):
        verify_note(Note(TEXT, (bad,)), [key])


def test_adding_a_signature_twice_does_not_double_it():
    assert NOTE.adding(NOTE.signatures) == NOTE
    assert NOTE.adding((NoteSignature("w", bytes(4), b"s"),)).signatures[2].name == "w"


GOOD = NOTE.encode()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the note has no empty line before its signatures"),
        (TEXT.encode(), "a line after the text is no signature"),
        (b"text\n", "the note has no empty line before its signatures"),
        (b"text\n\n", "the last signature line has no line end, or there is none"),
        (GOOD[:-1], "the last signature line has no line end, or there is none"),
        (GOOD + b"\n", "the last signature line has no line end, or there is none"),
        (GOOD.replace("—".encode(), b"-"), "a line after the text is no signature"),
        (b"\xff" + GOOD, "the note is not UTF-8"),
        (b"\t" + GOOD, "a control character in the note"),
        (GOOD.replace(b"\n", b"\r\n"), "a control character in the note"),
        (GOOD[:-2] + b"\n", "the signature is not base64"),
        (GOOD.replace(b" bob", b"  bob"), "a key name has 1 to 255 characters, not 0"),
        (GOOD + "— a+b AAAAAAA=\n".encode(), "a space, plus or control character in the key name"),
        (GOOD + "— a\u00a0b AAAAAAA=\n".encode(), "a space, plus or control character in the key"),
        (GOOD + "— a\u2028b AAAAAAA=\n".encode(), "a space, plus or control character in the key"),
        (GOOD + "— name\n".encode(), "a signature line is a dash, a name and a signature"),
        (GOOD + "— name AAAAAA==\n".encode(), "a signature without octets"),
        (GOOD + "— name AAAAAAB=\n".encode(), "the signature is not the canonical base64"),
        (GOOD + "— name AAAAAAA= x\n".encode(), "the signature is not base64"),
        (GOOD + b"x" * NOTE_BYTES_MAX, f"a note of more than {NOTE_BYTES_MAX} octets"),
    ],
)
def test_what_is_no_note_is_refused(data, says):
    with pytest.raises(NoteRefused, match=rf"^{says}"):
        read_note(data)


def test_the_largest_note_is_read_and_no_larger_one():
    line = signature_line("n", bytes(4), b"s")
    assert len(read_note(("t\n\n" + line * SIGNATURES_MAX).encode()).signatures) == SIGNATURES_MAX
    with pytest.raises(NoteRefused, match=r"^a note of more than 100 signatures$"):
        read_note(("t\n\n" + line * (SIGNATURES_MAX + 1)).encode())


def test_sixteen_signatures_of_five_kilobytes_are_taken():
    line = signature_line("post-quantum", bytes(4), bytes(5_000))
    assert len(read_note(("t\n\n" + line * 16).encode()).signatures) == 16


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"a verifier key is name\+hash\+key"),
        ("name+00000000", r"a verifier key is name\+hash\+key"),
        ("name+00000000+", "the verifier key is empty"),
        ("name+00000000+AA", "the verifier key is not base64"),
        ("name+00000000+AR==", "the verifier key is not the canonical base64 spelling"),
        ("name+00000000+AQ==", "the hash of the key 'name' is [0-9a-f]{8}"),
        ("name+00000000+Bg==", "the key 'name' is of the unknown algorithm 6"),
        ("+00000000+AQ==", "a key name has 1 to 255 characters, not 0"),
        ("a b+00000000+AQ==", "a space, plus or control character in the key name 'a b'"),
        (ALICE.key.vkey.upper(), "the verifier key is not|the hash of the key|the key 'ALICE"),
        (ALICE.key.vkey + "=", "the verifier key is not"),
        (ALICE.key.vkey + "\n", "the verifier key is not"),
        (ALICE.key.vkey.replace("alice", "carol"), "the hash of the key 'carol.example/log' is"),
    ],
)
def test_what_is_no_verifier_key_is_refused(text, says):
    with pytest.raises(NoteRefused, match=rf"^({says})"):
        parse_vkey(text)


def test_the_hash_of_a_verifier_key_has_one_spelling():
    name, hashed, text = ALICE.key.vkey.split("+", 2)
    assert hashed.upper() != hashed
    with pytest.raises(NoteRefused, match=r"^the hash of the key 'alice.example/log' is "):
        parse_vkey(f"{name}+{hashed.upper()}+{text}")


@pytest.mark.parametrize("raw", [bytes(31), bytes(33), *LOW_ORDER.values()])
def test_a_key_that_verifiers_disagree_on_is_refused(raw):
    with pytest.raises(NoteRefused, match=r"^the key 'name' is refused: "):
        verifier_key("name", raw)
    hashed, encoded = key_hash("name", 1, raw).hex(), base64.b64encode(b"\x01" + raw).decode()
    with pytest.raises(NoteRefused, match=r"^the key 'name' is refused: "):
        parse_vkey(f"name+{hashed}+{encoded}")


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n", "\u3000", "x" * 256, "\ud800"])
def test_a_name_that_notes_cannot_carry_is_refused(name):
    with pytest.raises(NoteRefused, match="key name"):
        vkey(name, ALICE.key.raw)
    assert vkey("é" * NAME_CHARS_MAX, ALICE.key.raw)
