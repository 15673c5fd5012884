"""What witnesses say against a ledger lies in one file, and is gone when nobody does."""

import pytest

from verismo.adapters.contradictions_file import FILE_NAME, ContradictionsFile
from verismo.model.errors import StateError
from verismo.ports.witness import Contradiction, Contradictions

SAID = Contradictions(True, (Contradiction("eu/2026", "alice", "ahead", "at size 9"),))


def test_what_was_kept_is_read_by_everybody(tmp_path):
    store = ContradictionsFile(tmp_path)
    assert store.contradictions() == Contradictions()
    store.keep(SAID)
    assert ContradictionsFile(tmp_path).contradictions() == SAID
    store.keep(Contradictions())
    assert not (tmp_path / FILE_NAME).exists()
    store.keep(Contradictions())


@pytest.mark.parametrize("damage", [b"", b"{", b'{"stops":1}', b"\xff"])
def test_a_damaged_file_is_never_read_as_silence(tmp_path, damage):
    (tmp_path / FILE_NAME).write_bytes(damage)
    with pytest.raises(StateError, match="cannot be read") as refusal:
        ContradictionsFile(tmp_path).contradictions()
    assert "Nothing is signed" in refusal.value.advice


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(StateError, match="cannot be read or written"):
        ContradictionsFile(tmp_path).keep(SAID)
