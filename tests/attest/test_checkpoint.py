"""Checkpoints: three lines, one spelling, and the log that has to have signed them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.tilelog import ORIGIN, NoteKey, TileLog, witness_key

from verismo.attest.checkpoint import (
    Checkpoint,
    open_checkpoint,
    read_checkpoint,
    read_decimal,
    read_hash,
)
from verismo.attest.merkle import EMPTY_ROOT, SIZE_MAX, CompactRange, leaf_hash
from verismo.attest.note import Note, NoteRefused, parse_vkey

LOG = NoteKey(ORIGIN)
ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
TEXT = f"{ORIGIN}\n20852163\n{ROOT}\n"
TESSERA = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"


def signed(text, key=LOG):
    return Note(text, (key.signature(text),)).encode()


def test_a_checkpoint_is_origin_size_and_root():
    checkpoint = read_checkpoint(TEXT)
    assert (checkpoint.origin, checkpoint.size) == (ORIGIN, 20_852_163)
    assert checkpoint.root == read_hash(ROOT)
    assert checkpoint.text() == TEXT
    assert open_checkpoint(signed(TEXT), LOG.key)[0] == checkpoint


lines = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=20)


@settings(max_examples=30, deadline=None)
@given(lines, st.integers(1, SIZE_MAX), st.binary(min_size=32, max_size=32), st.lists(lines))
def test_a_checkpoint_is_read_back(origin, size, root, extensions):
    checkpoint = Checkpoint(origin, size, root, tuple(extensions))
    assert read_checkpoint(checkpoint.text()) == checkpoint


def test_further_lines_are_kept_and_signed():
    text = TEXT + "extension one\nextension two\n"
    checkpoint, note = open_checkpoint(signed(text), LOG.key)
    assert checkpoint.extensions == ("extension one", "extension two")
    with pytest.raises(NoteRefused, match="is not of this key over this text"):
        open_checkpoint(Note(TEXT, note.signatures).encode(), LOG.key)


def test_ours_has_no_further_lines():
    log = TileLog()
    log.grow(3)
    checkpoint, _ = open_checkpoint(log.objects["checkpoint"], log.log.key)
    assert checkpoint == Checkpoint(ORIGIN, 3, log.range.root())


def test_an_empty_log_has_the_root_of_the_empty_tree():
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert read_checkpoint(empty.text()) == empty
    with pytest.raises(NoteRefused, match=r"^a checkpoint without leaves has another root$"):
        read_checkpoint(Checkpoint(ORIGIN, 0, bytes(32)).text())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the checkpoint is too long or has no last line end"),
        (TEXT[:-1], "the checkpoint is too long or has no last line end"),
        ("x" * 1_048_576 + "\n", "the checkpoint is too long or has no last line end"),
        (f"{ORIGIN}\n1\n", "a checkpoint has three lines at least, and none is empty"),
        (f"\n1\n{ROOT}\n", "a checkpoint has three lines at least, and none is empty"),
        (TEXT + "\n", "a checkpoint has three lines at least, and none is empty"),
        (TEXT + "\nx\n", "a checkpoint has three lines at least, and none is empty"),
        (f"{ORIGIN}\n01\n{ROOT}\n", "not a decimal from 0 to 9223372036854775807: '01'"),
        (f"{ORIGIN}\n-1\n{ROOT}\n", "not a decimal from 0 to 9223372036854775807: '-1'"),
        (f"{ORIGIN}\n 1\n{ROOT}\n", "not a decimal from 0 to 9223372036854775807: ' 1'"),
        (f"{ORIGIN}\n1_0\n{ROOT}\n", "not a decimal from 0 to 9223372036854775807: '1_0'"),
        (f"{ORIGIN}\n\u0661\n{ROOT}\n", "not a decimal from 0 to 9223372036854775807: '\u0661'"),
        (f"{ORIGIN}\n{2**63}\n{ROOT}\n", "not a decimal from 0 to 9223372036854775807: '922"),
        (f"{ORIGIN}\n1\n{ROOT} \n", "the hash is not base64"),
        (f"{ORIGIN}\n1\n{ROOT[:-2]}J=\n", "the hash is not the canonical base64 spelling"),
        (f"{ORIGIN}\n1\nAAAA\n", "a hash has 32 octets, not 3"),
    ],
)
def test_what_is_no_checkpoint_is_refused(text, says):
    with pytest.raises(NoteRefused, match=rf"^{says}"):
        read_checkpoint(text)


def test_the_largest_size_is_read():
    assert read_decimal(str(SIZE_MAX)) == SIZE_MAX
    assert read_decimal("0") == 0


def test_a_checkpoint_of_another_origin_is_refused_though_the_log_signed_it():
    """One key signs for several logs: their checkpoints must not stand for each other."""
    other = TEXT.replace("/eu/", "/us/")
    with pytest.raises(NoteRefused, match=r"^a checkpoint of 'gateway.example/log/us/2026', "):
        open_checkpoint(signed(other), LOG.key)


def test_a_checkpoint_signed_by_somebody_else_is_refused():
    with pytest.raises(NoteRefused, match=r"^no known key has signed the note$"):
        open_checkpoint(signed(TEXT, NoteKey("gateway.example/log/us/2026")), LOG.key)


def test_a_witness_s_key_signs_no_checkpoint():
    witness = witness_key(ORIGIN)
    with pytest.raises(NoteRefused, match="signs no notes"):
        open_checkpoint(signed(TEXT, witness), witness.key)


def test_any_note_of_the_log_that_is_no_checkpoint_is_refused():
    with pytest.raises(NoteRefused, match="three lines"):
        open_checkpoint(signed("hello\n"), LOG.key)


def test_the_sixteen_checkpoints_that_tessera_published_are_read(published):
    folder = published / "tessera-testlog" / "testdata" / "log"
    names = "one two three four five six seven eit nain ten ileven twelf threeten fourten fivten"
    grown = CompactRange()
    for size, name in enumerate(["", *names.split()]):
        if size:
            grown.append(leaf_hash(name.encode()))
        data = (folder / f"checkpoint.{size}").read_bytes()
        checkpoint, note = open_checkpoint(data, parse_vkey(TESSERA))
        expected = Checkpoint("example.com/log/testdata", size, grown.root())
        assert checkpoint == expected
        assert note.encode() == data
    assert (folder / "checkpoint").read_bytes() == data
