"""A flag of the configuration is done once, as the records say; then what people do stands."""

import msgspec
import pytest
from tests.support.keptdecisions import KeptDecisions, newest_digest

from verismo.adapt.canarysettings import CanarySettings
from verismo.adapt.flag import Flag
from verismo.adapt.override import EXPIRY_MS_MAX
from verismo.attest.controlrecord import read_record
from verismo.control.canary import CanaryShell
from verismo.control.flags import ROWS, Flags
from verismo.control.rollouts import Rollouts
from verismo.model import canonical
from verismo.model.act import Act
from verismo.model.decision import Subject
from verismo.model.operation import Deployment, Operation, Provider
from verismo.model.plan import Plan

STEP = 10_000
NOW = 100_000 * STEP
ALL = Subject("", "chat", "old", "new")
ONE = Subject("T1", "chat", "old", "new")
HOLD = Flag("chat", "", "hold", "the provider has an incident", NOW + 600_000)
BACK = msgspec.structs.replace(HOLD, verb="rollback")
PLAN = Plan(
    *(1, "test", {}),
    providers={"up": Provider("up", "openai", "http://127.0.0.1:1/v1")},
    deployments={one: Deployment(one, "up", "m", "eu") for one in ("old", "new")},
    operations={
        "chat": Operation("chat", "chat", "chat", "support", ("old",), candidates=("new",))
    },
)


class NoWindows:
    """`ArmWindows` of gateways that counted nothing."""

    def complete_until(self, now_ms):
        return now_ms // STEP * STEP

    def windows(self, from_ms, until_ms):
        return None


class World:
    def __init__(self, *flags):
        self.kept = KeptDecisions()
        self.open(*flags)

    def open(self, *flags):
        """Open a shell anew, as after a restart, with some flags."""
        self.shell = CanaryShell(
            *(Rollouts(self.kept), NoWindows(), lambda: PLAN, CanarySettings(), STEP),
            Flags(flags, self.kept),
        )

    def do(self, verb, now=NOW, subject=ALL):
        act = Act(
            *("canary", verb, subject, "Dana", "k1", "admin", "the reason of a person"),
            of="" if verb == "start" else newest_digest(self.kept),
            at_ms=now,
            expires_ms=0 if verb in ("start", "stop") else now + 60_000,
        )
        return self.kept.decide(self.shell.take(act, now), now)

    def round(self, now):
        """Decide what is due; return the verbs of acts."""
        done = []
        for look in self.shell.looks(now):
            self.kept.decide(look, now)
            if isinstance(look.observation, Act):
                done.append(look.observation.verb)
        return done

    @property
    def state(self):
        return Rollouts(self.kept).newest(ALL).decision.state


@pytest.fixture
def rolling():
    made = World()
    made.do("start")
    return made


def test_a_flag_holds_a_rollout_once(rolling):
    rolling.open(HOLD)
    assert rolling.round(NOW + 1) == ["hold"]
    assert rolling.state.held_until_ms == HOLD.expires_ms
    assert [rolling.round(NOW + at * STEP) for at in range(1, 20)] == [[]] * 19


def test_the_record_names_the_newest_decision_and_the_configuration(rolling):
    newest = newest_digest(rolling.kept)
    rolling.open(HOLD)
    rolling.round(NOW + 1)
    record = read_record(rolling.kept.kept[-1].statement)
    act = canonical.decode(rolling.kept.blob(record.inputs), Act)
    assert (record.rule, record.verdict, record.of) == ("canary-act", "HOLD", newest)
    assert (act.actor, act.channel, act.reason) == ("configuration", "flag", HOLD.reason)


def test_after_a_restart_it_is_not_done_again(rolling):
    rolling.open(HOLD)
    rolling.round(NOW + 1)
    rolling.do("promote", NOW + 2)
    rolling.open(HOLD)
    assert rolling.round(NOW + 3) == []
    assert rolling.state.held_until_ms == 0


def test_another_process_that_did_it_meanwhile_is_noticed(rolling):
    rolling.open(HOLD)
    first = rolling.shell
    assert [one.observation.verb for one in first.looks(NOW + 1)] == ["hold"]
    rolling.open(HOLD)
    assert rolling.round(NOW + 2) == ["hold"]
    rolling.shell = first
    assert rolling.round(NOW + 3) == []


def test_what_a_person_does_afterwards_stands(rolling):
    rolling.open(BACK)
    assert rolling.round(NOW + 1) == ["rollback"]
    assert (rolling.state.ended, rolling.state.weight_ppm) == ("rolled_back", 0)
    rolling.do("promote", NOW + 2)
    assert rolling.round(NOW + 3) == []
    assert rolling.state.ended == ""


def test_another_reason_or_expiry_is_another_flag(rolling):
    rolling.open(HOLD)
    rolling.round(NOW + 1)
    for number, change in enumerate(
        ({"expires_ms": NOW + 900_000}, {"reason": "still ill, sadly"})
    ):
        rolling.open(msgspec.structs.replace(HOLD, **change))
        assert rolling.round(NOW + 2 + number) == ["hold"]


def test_a_flag_that_is_over_does_nothing(rolling):
    rolling.open(HOLD, msgspec.structs.replace(BACK, expires_ms=0))
    assert rolling.round(HOLD.expires_ms) == []


def test_a_flag_waits_for_a_rollout_that_it_can_be_about():
    world = World(HOLD)
    assert world.round(NOW) == []
    world.do("start")
    assert world.round(NOW + 1) == ["hold"]
    world.do("stop", NOW + 2)
    assert world.round(NOW + 3) == []


def test_a_flag_too_far_ahead_is_never_recorded_as_refused(rolling):
    rolling.open(msgspec.structs.replace(HOLD, expires_ms=NOW + EXPIRY_MS_MAX + 5))
    before = len(rolling.kept.kept)
    assert rolling.round(NOW + 4) == []
    assert rolling.round(NOW + 5) == ["hold"]
    assert len(rolling.kept.kept) == before + 1


def test_a_flag_of_one_tenant_leaves_the_others_alone():
    world = World(msgspec.structs.replace(HOLD, tenant="T1"))
    world.do("start")
    assert world.round(NOW + 1) == []


def test_many_records_since_do_not_hide_that_it_was_done(rolling):
    rolling.open(HOLD)
    rolling.round(NOW + 1)
    last = rolling.kept.kept[-1]
    for _ in range(ROWS + 1):
        n = len(rolling.kept.kept) + 1
        rolling.kept.kept.append(msgspec.structs.replace(last, n=n, rule="budget", subject="{}"))
    rolling.open(HOLD)
    assert rolling.round(NOW + 3) == []


@pytest.mark.parametrize("is_there", [True, False])
def test_an_act_that_nobody_can_read_any_more_keeps_flags_from_being_done(rolling, is_there):
    rolling.open(HOLD)
    rolling.round(NOW + 1)
    act = read_record(rolling.kept.kept[-1].statement).inputs
    if is_there:
        rolling.kept.damage(act)
    else:
        del rolling.kept.blobs[act]
    rolling.open(HOLD)
    assert rolling.round(NOW + 2) == []


def test_what_was_recorded_more_than_a_week_before_a_flags_end_is_not_read(rolling):
    later = NOW + EXPIRY_MS_MAX
    rolling.open(msgspec.structs.replace(HOLD, expires_ms=later + 600_000))
    asked = []
    rows = rolling.kept.rows
    rolling.kept.rows = lambda after, limit: asked.append(after) or rows(after, limit)
    assert rolling.round(later) == ["hold"]
    assert asked == [1]
