"""The integrator: what it takes, in which log, and what it never does."""

import pytest
from tests.support.ledger import EU, NOW_MS, Place

from verismo.attest.checkpoint import read_checkpoint
from verismo.attest.note import read_note


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def size_of(note):
    return read_checkpoint(read_note(note).text).size


def test_the_first_step_publishes_what_there_is(place):
    place.source.add(3)
    progress = place.integrator().step(NOW_MS)
    assert (progress.taken, progress.is_behind) == (3, False)
    assert size_of(progress.published[EU]) == 3
    place.check_all()


@pytest.mark.parametrize("count", [1, 255, 256, 257, 511, 512, 700])
def test_trees_around_full_tiles_prove_themselves(place, count):
    place.source.add(count)
    place.integrator().step(NOW_MS)
    place.check_all()


def test_a_log_that_grows_by_steps_is_the_same_as_one_that_grew_at_once(place):
    integrator, now_ms = place.integrator(rows_max=100), NOW_MS
    for count in (1, 99, 1, 156, 300, 0, 7):
        place.source.add(count)
        now_ms += 1_000
        while integrator.step(now_ms).is_behind:
            now_ms += 1_000
        place.check_all()
