"""A proof out of a log's published files: right wherever it is made, refused where they are not."""

import pytest
from tests.support.tilelog import TileLog, entry_of

from verismo.attest.merkle import ProofRefused
from verismo.attest.tile import TileMissing, TileRefused, entries_path
from verismo.attest.tileproof import EntryMissing, find_entry, prove_from_tiles
from verismo.attest.tlogproof import verify_proof

LOG = TileLog()
LOG.grow(200)
LOG.grow(500)
FULL_ONLY = {path: data for path, data in LOG.objects.items() if ".p/200" not in path}


@pytest.mark.parametrize("index", [0, 199, 200, 255, 256, 511, 512, 699])
def test_the_proof_verifies_and_is_the_ledgers_own(index):
    proof = prove_from_tiles(LOG.objects.get, index)
    assert proof == LOG.proof(index)
    assert verify_proof(proof, entry_of(index), LOG.log.key).size == 700


def test_a_partial_tile_may_be_gone_where_the_full_one_is_there():
    """A checkpoint of 200 leaves, read when the log has grown."""
    small = TileLog()
    small.grow(200)
    files = {**FULL_ONLY, "checkpoint": small.objects["checkpoint"]}
    assert prove_from_tiles(files.get, 7) == small.proof(7)
    assert find_entry(files.get, entry_of(7), 9) == 7
    with pytest.raises(EntryMissing):
        find_entry(files.get, entry_of(200), 9)


@pytest.mark.parametrize("index", [0, 255, 256, 600, 699])
def test_an_entry_is_found_by_what_it_is(index):
    assert find_entry(LOG.objects.get, entry_of(index), 3) == index


def test_the_search_ends_at_its_limit():
    assert find_entry(LOG.objects.get, entry_of(512), 1) == 512
    with pytest.raises(EntryMissing, match=r"^not among the newest 256 entries of 'gateway"):
        find_entry(LOG.objects.get, entry_of(511), 1)


def test_an_empty_log_holds_nothing():
    log = TileLog()
    log.grow(0)
    with pytest.raises(EntryMissing):
        find_entry(log.objects.get, entry_of(0), 9)
    with pytest.raises(ProofRefused, match=r"^there is no leaf 0 in a tree of 0 leaves$"):
        prove_from_tiles(log.objects.get, 0)


def test_an_index_past_the_checkpoint_is_refused():
    with pytest.raises(ProofRefused, match=r"^there is no leaf 700 in a tree of 700 leaves$"):
        prove_from_tiles(LOG.objects.get, 700)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, r"^the log has no checkpoint$"),
        ({"checkpoint": b"x"}, r"^the checkpoint is refused: "),
        ({"checkpoint": b"a\nb\nc\n\n\xe2\x80\x94 x AAAAAAAA\n"}, r"^the checkpoint is refused: "),
    ],
)
def test_what_is_no_log_is_refused(files, says):
    for work in (
        lambda: prove_from_tiles(files.get, 0),
        lambda: find_entry(files.get, b"", 9),
    ):
        with pytest.raises(ProofRefused, match=says):
            work()


def test_files_that_are_missing_or_cut_are_named():
    path = "tile/0/000"
    for files, error in (
        ({**LOG.objects, path: LOG.objects[path][:-1]}, TileRefused),
        ({name: data for name, data in LOG.objects.items() if name != path}, TileMissing),
    ):
        with pytest.raises(error):
            prove_from_tiles(files.get, 3)
    gone = entries_path(2, 188)
    with pytest.raises(TileMissing, match=gone):
        find_entry({**LOG.objects, gone: None}.get, entry_of(3), 9)


def test_a_tile_of_another_log_makes_a_proof_that_is_refused():
    files = {**LOG.objects, "tile/0/000": LOG.objects["tile/0/001"]}
    proof = prove_from_tiles(files.get, 3)
    with pytest.raises(ProofRefused):
        verify_proof(proof, entry_of(3), LOG.log.key)
