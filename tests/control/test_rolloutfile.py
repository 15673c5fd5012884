"""A recorded rollout leaves its gateway as a file that comes to the same decisions."""

import msgspec
import pytest
from tests.control.test_canary_shell import ALL, NOW, STEP, World
from tests.support.keptdecisions import newest_digest

from verismo.adapt.canaryfile import CanaryFile, replay
from verismo.control.rolloutfile import rollout_file
from verismo.model.decision import Subject
from verismo.model.errors import NotFound, StateError


@pytest.fixture
def rolled():
    world = World()
    world.do("start")
    for number in range(1, 8):
        world.look(NOW + 60_000 + number * STEP)
    return world


def test_the_file_of_a_rollout_comes_to_the_same_decisions(rolled):
    found = rollout_file(rolled.kept, ALL)
    assert (found.origin, len(found.decisions)) == ("gateway", 7)
    read = msgspec.json.decode(msgspec.json.encode(found), type=CanaryFile)
    assert replay(read).differing == ()
    assert replay(read).is_concluded
    assert found.decisions[-1].digest == newest_digest(rolled.kept)


def test_it_ends_where_a_person_acted_and_begins_at_the_last_start(rolled):
    last = NOW + 60_000 + 7 * STEP
    rolled.do("hold", now=last)
    rolled.look(last + STEP)
    assert len(rollout_file(rolled.kept, ALL).decisions) == 7
    rolled.do("stop", now=last + STEP)
    rolled.do("start", now=last + STEP)
    with pytest.raises(NotFound):
        rollout_file(rolled.kept, ALL)
    rolled.look(last + 120_000)
    again = rollout_file(rolled.kept, ALL)
    assert (len(again.decisions), again.started_ms) == (1, last + STEP)
    assert replay(again).differing == ()


def test_it_ends_where_the_clock_was_set_back(rolled):
    rolled.look(NOW - 100 * STEP)
    rolled.look(NOW)
    found = rollout_file(rolled.kept, ALL)
    assert len(found.decisions) == 7
    assert found.note.endswith("until its clock, its deployments or the configuration changed")
    assert replay(found).is_concluded


def test_what_was_never_begun_is_not_found(rolled):
    with pytest.raises(NotFound):
        rollout_file(rolled.kept, Subject("T1", "chat", "old", "new"))


def test_bytes_that_were_altered_are_refused(rolled):
    rolled.kept.damage(newest_digest(rolled.kept))
    with pytest.raises(StateError, match="altered"):
        rollout_file(rolled.kept, ALL)
