"""A recorded rollout leaves its gateway as a file that comes to the same decisions."""

import msgspec
import pytest
from tests.control.test_canary_shell import ALL, NOW, STEP, World, plan
from tests.support.keptdecisions import newest_digest

from verismo.adapt.canaryevent import CanaryEvent
from verismo.adapt.canaryfile import CanaryFile, replay
from verismo.control.looks import Look
from verismo.control.rolloutfile import rollout_file
from verismo.control.rollouts import Rollouts
from verismo.control.rules import CANARY_EVENT
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
    assert found.note.endswith("until its clock was set back")
    assert replay(found).is_concluded


def test_it_goes_on_where_the_configuration_did_not_know_it_for_a_while(rolled):
    last = NOW + 60_000 + 7 * STEP
    known = rolled.plan
    rolled.plan = plan(candidates=())
    (lacked,) = rolled.look(last + STEP)
    assert lacked.reasons == ("configuration_lacks_it",)
    rolled.plan = known
    rolled.look(last + 3 * STEP)
    found = rollout_file(rolled.kept, ALL)
    assert len(found.decisions) == 8
    assert found.note.endswith("until now")
    assert replay(found).differing == ()
    assert found.decisions[-1].digest == newest_digest(rolled.kept)


def test_it_ends_where_a_clock_went_back_while_the_configuration_did_not_know_it(rolled):
    last = NOW + 60_000 + 7 * STEP
    standing = Rollouts(rolled.kept).newest(ALL)
    event = CanaryEvent("configuration_lacks_it")
    look = Look(CANARY_EVENT, ALL, standing.decision.state, event, standing.settings)
    rolled.kept.decide(look, last - 1)
    for number in range(1, 5):
        rolled.look(last + number * STEP)
    found = rollout_file(rolled.kept, ALL)
    assert len(found.decisions) == 7
    assert replay(found).is_concluded


@pytest.mark.parametrize("name", ["old", "new"])
def test_it_begins_anew_where_another_deployment_stands_behind_a_name(rolled, name):
    last = NOW + 60_000 + 7 * STEP
    deployments = dict(rolled.plan.deployments)
    deployments[name] = msgspec.structs.replace(deployments[name], model="another")
    rolled.plan = msgspec.structs.replace(rolled.plan, deployments=deployments)
    (changed,) = rolled.look(last + STEP)
    assert changed.reasons[0].startswith("deployment_changed")
    with pytest.raises(NotFound):
        rollout_file(rolled.kept, ALL)
    rolled.counted.is_missing = True
    made = rolled.look(last + 60_000)
    rolled.counted.is_missing = False
    rolled.counted.per_interval = {
        ("T1", "baseline", "old"): 800,
        ("T1", "candidate", "new"): 200,
    }
    for number in range(1, 20):
        made += rolled.look(last + 60_000 + number * STEP)
    assert "PROMOTE" in [one.verdict for one in made]
    found = rollout_file(rolled.kept, ALL)
    assert (len(found.decisions), found.started_ms) == (len(made), last + STEP)
    assert found.note.endswith("until now")
    read = msgspec.json.decode(msgspec.json.encode(found), type=CanaryFile)
    assert (replay(read).differing, replay(read).is_concluded) == ((), True)
    forged = msgspec.structs.replace(read, state=msgspec.structs.replace(read.state, holds=2))
    assert replay(forged).differing


def test_what_was_never_begun_is_not_found(rolled):
    with pytest.raises(NotFound):
        rollout_file(rolled.kept, Subject("T1", "chat", "old", "new"))


def test_bytes_that_were_altered_are_refused(rolled):
    rolled.kept.damage(newest_digest(rolled.kept))
    with pytest.raises(StateError, match="altered"):
        rollout_file(rolled.kept, ALL)
