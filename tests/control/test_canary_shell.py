"""Rollouts are what is recorded: looked at in time, steered as decided, overridden by who saw."""

import msgspec
import pytest
from tests.support.keptdecisions import KeptDecisions, newest_digest

from verismo.adapt.canaryevidence import Better
from verismo.adapt.canarysettings import CanarySettings
from verismo.adapt.canarystate import AHEAD_MS, CanaryState
from verismo.attest.controlrecord import read_record
from verismo.control.canary import PROPAGATION_MS, UNKNOWN_LATENCY_MS, CanaryShell
from verismo.control.pins import pinned
from verismo.control.rollouts import Rollouts
from verismo.control.rules import RULES
from verismo.model import canonical
from verismo.model.act import Act
from verismo.model.decision import Subject, encode_decision
from verismo.model.errors import DecisionStale, MalformedRequest, NotFound, StateError
from verismo.model.ids import DeploymentId, OperationId, ProviderId, TenantId
from verismo.model.operation import Deployment, Operation, Price, Provider
from verismo.model.plan import Plan
from verismo.model.steering import Rollout
from verismo.model.tenant import Tenant
from verismo.model.window import Tally, Window

STEP = 10_000
DEAR_USD_MICROS = 70_000_000
"""The square of one such cost can be signed, and the sum of two squares cannot."""
NOW = 1_000 * STEP
ALL = Subject("", "chat", "old", "new")
ONE = Subject("T1", "chat", "old", "new")
SETTINGS = CanarySettings(ladder_ppm=(200_000, 500_000, 1_000_000))
REASON = "the provider's own latency is known"


def plan(deployments=("old", "spare"), candidates=("new", "other")):
    names = ("old", "spare", "new", "other")
    return Plan(
        v=1,
        issuer="test",
        tenants={
            TenantId(one): Tenant(TenantId(one), "eu", ("support",), ("*",), "safelist")
            for one in ("T1", "T2")
        },
        providers={ProviderId("p"): Provider(ProviderId("p"), "openai", "http://127.0.0.1:1/v1")},
        deployments={
            DeploymentId(one): Deployment(DeploymentId(one), ProviderId("p"), "m", "eu")
            for one in names
        },
        operations={
            OperationId("chat"): Operation(
                *(OperationId("chat"), "chat", "chat", "support", deployments),
                candidates=candidates,
            )
        },
    )


class Counted:
    """`ArmWindows` of traffic that goes on: each interval has the same in it."""

    def __init__(self):
        self.per_interval = {("T1", "baseline", "old"): 80, ("T1", "candidate", "new"): 20}
        self.is_missing = False
        self.huge = {}
        self.asked = []

    def complete_until(self, now_ms):
        return now_ms // STEP * STEP

    def windows(self, from_ms, until_ms):
        assert from_ms % STEP == until_ms % STEP == 0
        self.asked.append((from_ms, until_ms))
        if self.is_missing:
            return None
        count = (until_ms - from_ms) // STEP
        dear = sum(number for at_ms, number in self.huge.items() if from_ms <= at_ms < until_ms)
        return [
            spent(window(*key, requests * count, from_ms, until_ms), dear)
            for key, requests in self.per_interval.items()
        ]


def window(tenant, arm, deployment, requests, from_ms, until_ms):
    tally = Tally()
    for one in range(requests):
        tally.add(500_000 + one * 1_000_000 // requests)
    return Window(
        *(tenant, "chat", arm, deployment, from_ms, until_ms, requests, 0),
        *(requests * 10, requests * 100, tally.histogram()),
    )


def spent(window, dear):
    """Return it with so many of its requests of huge cost."""
    return msgspec.structs.replace(
        window,
        cost_usd_micros=window.cost_usd_micros + dear * (DEAR_USD_MICROS - 10),
        cost_squares=window.cost_squares + dear * (DEAR_USD_MICROS**2 - 100),
    )


class World:
    def __init__(self):
        self.kept = KeptDecisions()
        self.counted = Counted()
        self.plan = plan()
        self.shell = self.opened(SETTINGS)

    def opened(self, settings, look_ms=STEP):
        """Open a shell anew, as after a start with another configuration."""
        return CanaryShell(
            Rollouts(self.kept), self.counted, lambda: self.plan, settings, look_ms=look_ms
        )

    def do(self, verb, now=NOW, subject=ALL, **more):
        """Let a person act, and record what comes of it."""
        return self.kept.decide(self.shell.take(self.act(verb, now, subject, **more), now), now)

    def act(self, verb, now=NOW, subject=ALL, **more):
        lasting = verb in ("hold", "extend", "promote", "rollback")
        given = {
            "role": "admin",
            "of": "" if verb == "start" else newest_digest(self.kept),
            "expires_ms": now + 600_000 if lasting else 0,
        } | more
        return Act("canary", verb, subject, "Dana", "k1", reason=REASON, at_ms=now, **given)

    def look(self, now):
        """Take the looks that are due, record them, and return the decisions."""
        return [self.kept.decide(one, now) for one in self.shell.looks(now)]


@pytest.fixture
def world():
    return World()


@pytest.fixture
def rolling(world):
    world.do("start")
    return world


def test_without_a_start_nothing_is_looked_at_or_steered(world):
    assert list(world.shell.looks(NOW)) == []
    assert world.shell.steered(NOW).rollouts == ()


def test_a_start_gives_the_candidate_its_first_share(rolling):
    (found,) = rolling.shell.steered(NOW).rollouts
    assert found == Rollout("chat", "", "old", "new", 200_000)


def test_another_process_finds_the_same(rolling):
    rolling.look(NOW + 60_000)
    again = rolling.opened(SETTINGS)
    assert again.steered(NOW) == rolling.shell.steered(NOW)
    assert again.looks(NOW + 120_000) == rolling.shell.looks(NOW + 120_000)


def test_nothing_is_shown_before_the_change_has_settled(rolling):
    unsettled = NOW + PROPAGATION_MS + 2 * 1_400
    assert list(rolling.shell.looks(unsettled)) == []
    (look,) = rolling.shell.looks(NOW + 60_000)
    shown = look.observation.candidate
    assert shown.start_ms >= unsettled
    assert shown.start_ms % STEP == 0
    assert shown.end_ms == NOW + 60_000


def test_of_a_route_that_was_never_seen_requests_are_taken_to_last_long(rolling):
    rolling.counted.per_interval = {}
    (look,) = rolling.shell.looks(NOW + 60_000)
    assert look.observation.candidate.start_ms >= NOW + PROPAGATION_MS + 2 * UNKNOWN_LATENCY_MS


def test_each_look_goes_on_where_the_last_one_ended(rolling):
    (first,) = rolling.shell.looks(NOW + 60_000)
    rolling.kept.decide(first, NOW + 60_000)
    assert list(rolling.shell.looks(NOW + 60_000 + STEP - 1)) == []
    (second,) = rolling.shell.looks(NOW + 60_000 + STEP)
    assert second.observation.candidate.start_ms == first.observation.candidate.end_ms


@pytest.mark.parametrize("late", [(), (24,), (24, 48), (13, 31, 50)])
def test_a_look_that_comes_late_leaves_no_interval_out(rolling, late):
    """Here a look is six intervals; one that is late does not begin on a multiple of a look."""
    rolling.shell = rolling.opened(SETTINGS, look_ms=6 * STEP)
    rolling.do("hold", expires_ms=NOW + 100 * STEP)
    shown = []
    for step in range(6, 90):
        now = NOW + step * STEP
        if step not in late:
            for look in rolling.shell.looks(now):
                shown.append((look.observation.candidate.start_ms, now))
                rolling.kept.decide(look, now)
    assert len(shown) > 10
    assert [begun for begun, _ in shown[1:]] == [ended for _, ended in shown[:-1]]
    assert shown[0][0] <= NOW + PROPAGATION_MS + 2 * 1_400 + STEP, "nor does the first one wait"


def test_what_was_missed_is_shown_in_one_look(rolling):
    rolling.look(NOW + 60_000)
    (late,) = rolling.shell.looks(NOW + 60_000 + 7 * STEP)
    shown = late.observation.baseline
    assert (shown.end_ms - shown.start_ms, shown.requests) == (7 * STEP, 7 * 80)


def test_an_equal_candidate_climbs_the_ladder_to_its_end(rolling):
    weights, now = [], NOW
    for _ in range(400):
        now += STEP
        share = rolling.shell.steered(now).rollouts[0].weight_ppm
        weights.append(share)
        if share == 1_000_000:
            break
        theirs = 200 * share // 1_000_000
        rolling.counted.per_interval = {
            ("T1", "baseline", "old"): 200 - theirs,
            ("T1", "candidate", "new"): theirs,
        }
        rolling.look(now)
    assert sorted(set(weights)) == [200_000, 500_000, 1_000_000]
    assert list(rolling.shell.looks(now + STEP)) == [], "nothing more is to be decided"
    assert rolling.shell.steered(now).rollouts[0].weight_ppm == 1_000_000


def test_a_rollout_for_all_is_shown_the_windows_of_all_tenants(rolling):
    rolling.counted.per_interval |= {
        ("T2", "baseline", "old"): 8,
        ("T2", "candidate", "new"): 2,
        ("T2", "candidate", "other"): 99,
        ("T2", "unsplit", "old"): 99,
    }
    (look,) = rolling.shell.looks(NOW + 60_000)
    shown = look.observation
    intervals = (shown.baseline.end_ms - shown.baseline.start_ms) // STEP
    assert shown.baseline.requests == 88 * intervals
    assert shown.candidate.requests == 22 * intervals
    assert rolling.kept.decide(look, NOW + 60_000).verdict == "CONTINUE"


def test_a_rollout_for_one_tenant_is_shown_its_windows_alone(world):
    world.do("start", subject=ONE)
    world.counted.per_interval[("T2", "candidate", "new")] = 50
    (look,) = world.shell.looks(NOW + 60_000)
    shown = look.observation.candidate
    assert shown.requests == 20 * (shown.end_ms - shown.start_ms) // STEP


def test_windows_that_nobody_wrote_are_no_silence_but_no_data(rolling):
    rolling.counted.is_missing = True
    (found,) = rolling.look(NOW + 60_000)
    assert (found.verdict, found.reasons) == ("NODATA", ("no_window",))


def test_a_route_without_requests_is_held_in_the_end(rolling):
    rolling.counted.per_interval = {}
    reasons = []
    for minute in range(1, 40):
        reasons += [one.reasons[0] for one in rolling.look(NOW + minute * 60_000)]
    assert "insufficient_data" in reasons
    assert rolling.shell.steered(NOW).rollouts[0].weight_ppm == SETTINGS.hold_weight_ppm


class TestAFewRequestsOfHugeCost:
    def test_cannot_end_the_looks_at_everybody_s_rollout(self, rolling):
        first = NOW + 60_000
        rolling.counted.huge = {first - STEP: 2}
        (found,) = rolling.look(first)
        assert found.reasons == ("no_window",)
        (look,) = rolling.shell.looks(first + STEP)
        shown = look.observation
        assert (shown.baseline.start_ms, shown.baseline.end_ms) == (first, first + STEP)
        assert rolling.kept.decide(look, first + STEP).reasons[0] != "no_window"

    def test_are_left_out_of_both_arms_together(self, rolling):
        first = NOW + 120_000
        rolling.counted.huge = {NOW + 40_000: 2}
        (look,) = rolling.shell.looks(first)
        shown = look.observation
        assert shown.baseline.start_ms == shown.candidate.start_ms > NOW + 40_000
        assert shown.candidate.requests == 20 * (first - shown.candidate.start_ms) // STEP

    def test_in_every_interval_take_traffic_from_the_candidate_and_promote_nothing(self, rolling):
        rolling.counted.huge = {NOW + at * STEP: 2 for at in range(400)}
        found = [one for minute in range(1, 40) for one in rolling.look(NOW + minute * 60_000)]
        assert {one.verdict for one in found} == {"NODATA", "HOLD"}
        assert rolling.shell.steered(NOW).rollouts[0].weight_ppm == SETTINGS.hold_weight_ppm

    def test_do_not_wait_for_ever_with_a_thin_window(self, rolling):
        rolling.counted.per_interval = {
            ("T1", "baseline", "old"): 4,
            ("T1", "candidate", "new"): 1,
        }
        first = NOW + 60_000
        rolling.look(first)
        rolling.counted.huge = {first: 1, first + STEP: 1}
        for later in (STEP, 2 * STEP, 3 * STEP):
            (found,) = rolling.look(first + later)
            assert found.verdict == "CONTINUE"
        assert found.state.waiting_candidate[0].requests < 4


def test_after_a_rollback_and_after_stop_nothing_is_steered(rolling):
    rolling.do("rollback")
    assert rolling.shell.steered(NOW).rollouts == ()
    assert list(rolling.shell.looks(NOW + 60_000)) == []
    rolling.do("stop")
    assert rolling.shell.steered(NOW).rollouts == ()
    rolling.do("start", now=NOW + 1)
    assert rolling.shell.steered(NOW).rollouts[0].weight_ppm == 200_000


class TestAConfigurationThatNoLongerKnowsTheRollout:
    @pytest.fixture(params=[plan(candidates=()), plan(deployments=("new",), candidates=("old",))])
    def unknown(self, rolling, request):
        rolling.look(NOW + 60_000)
        rolling.plan = request.param
        return rolling

    def test_ends_its_steering_and_is_recorded_once(self, unknown):
        assert unknown.shell.steered(NOW).rollouts == ()
        (found,) = unknown.look(NOW + 61_000)
        assert (found.verdict, found.reasons) == ("HOLD", ("configuration_lacks_it",))
        assert found.action.before == found.action.after
        assert unknown.look(NOW + 120_000) == []

    @pytest.mark.parametrize("verb", ["promote", "hold", "extend"])
    def test_refuses_what_would_do_nothing(self, unknown, verb):
        count = len(unknown.kept.kept)
        with pytest.raises(MalformedRequest, match="does not know this rollout"):
            unknown.do(verb, now=NOW + 61_000)
        assert len(unknown.kept.kept) == count

    @pytest.mark.parametrize("verb", ["stop", "rollback"])
    def test_lets_a_person_end_it(self, unknown, verb):
        unknown.look(NOW + 61_000)
        assert unknown.do(verb, now=NOW + 62_000).action.after == 0

    def test_goes_on_once_it_knows_it_again(self, unknown):
        unknown.look(NOW + 61_000)
        unknown.plan = plan()
        (look,) = unknown.shell.looks(NOW + 120_000)
        assert look.rule.name == "canary"
        assert unknown.shell.steered(NOW + 120_000).rollouts[0].weight_ppm == 200_000

    def test_leaves_alone_what_was_promoted_to_the_end(self, world):
        world.do("start")
        for more in (1, 2):
            world.do("promote", now=NOW + more)
        world.plan = plan(deployments=("new",), candidates=())
        assert world.look(NOW + 60_000) == []
        world.do("stop", now=NOW + 61_000)


def test_a_rollout_keeps_the_settings_that_it_was_started_with(rolling):
    other = msgspec.structs.replace(SETTINGS, ladder_ppm=(10_001, 1_000_000))
    again = rolling.opened(other)
    (look,) = again.looks(NOW + 60_000)
    begun = pinned(SETTINGS, rolling.plan, ALL)
    assert look.settings == begun
    held = again.take(rolling.act("hold"), NOW)
    assert held.settings == begun
    rolling.do("stop")
    assert again.take(rolling.act("start"), NOW).settings == pinned(other, rolling.plan, ALL)


def test_an_override_of_a_decision_that_still_holds_is_taken(rolling):
    read = rolling.look(NOW + 60_000)[0]
    seen = newest_digest(rolling.kept)
    rolling.look(NOW + 60_000 + STEP)
    assert newest_digest(rolling.kept) != seen
    assert read.verdict == "CONTINUE"
    found = rolling.do("promote", now=NOW + 60_000 + STEP, of=seen)
    assert (found.verdict, found.action.after) == ("PROMOTE", 500_000)


def test_an_override_of_a_decision_that_no_longer_holds_is_refused(rolling):
    seen = newest_digest(rolling.kept)
    rolling.do("promote", now=NOW + 1)
    with pytest.raises(DecisionStale, match=newest_digest(rolling.kept)):
        rolling.do("promote", now=NOW + 2, of=seen)


@pytest.mark.parametrize("of", ["ab" * 32, "", "newest"])
def test_an_override_of_something_that_is_no_decision_is_refused(rolling, of):
    with pytest.raises(DecisionStale):
        rolling.do("promote", now=NOW + 1, of=of)


def test_an_override_of_a_decision_about_another_rollout_is_refused(world):
    world.do("start", subject=ONE)
    elsewhere = newest_digest(world.kept)
    world.do("start", subject=Subject("T2", "chat", "old", "new"))
    with pytest.raises(DecisionStale):
        world.do("promote", subject=Subject("T2", "chat", "old", "new"), of=elsewhere, now=NOW + 1)


@pytest.mark.parametrize(
    ("subject", "error"),
    [
        (Subject("", "nothing", "old", "new"), NotFound),
        (Subject("T9", "chat", "old", "new"), NotFound),
        (Subject("", "chat", "old", "spare"), MalformedRequest),
        (Subject("", "chat", "other", "new"), MalformedRequest),
        (Subject("", "chat", "new", "new"), MalformedRequest),
        (Subject("", "chat", "", ""), MalformedRequest),
    ],
)
def test_a_start_of_what_the_configuration_does_not_know_is_refused(world, subject, error):
    with pytest.raises(error):
        world.do("start", subject=subject)


def test_requests_belong_to_one_rollout_at_most(rolling):
    for subject in (Subject("", "chat", "old", "other"), ONE):
        with pytest.raises(MalformedRequest, match="of 'new' for all tenants has these"):
            rolling.do("start", subject=subject)
    rolling.do("stop")
    rolling.do("start", subject=ONE)
    with pytest.raises(MalformedRequest, match="of 'new' for tenant 'T1' has these requests"):
        rolling.do("start", subject=ALL)
    rolling.do("start", subject=Subject("T2", "chat", "old", "other"))
    found = rolling.shell.steered(NOW).rollouts
    assert [one.tenant for one in found] == ["T1", "T2"]


@pytest.mark.parametrize(
    ("verb", "more", "words"),
    [
        ("promote", {"role": "operator"}, "role admin"),
        ("hold", {"expires_ms": 0}, "until when"),
        ("start", {}, "runs already"),
    ],
)
def test_what_may_not_be_done_is_refused_before_it_is_recorded(rolling, verb, more, words):
    count = len(rolling.kept.kept)
    with pytest.raises(MalformedRequest, match=words):
        rolling.do(verb, **more)
    assert len(rolling.kept.kept) == count


def test_an_act_on_what_was_never_started_is_refused(world):
    with pytest.raises(NotFound):
        world.shell.take(world.act("promote", of="ab" * 32), NOW)


def test_a_record_whose_bytes_were_altered_stops_the_round(rolling):
    rolling.kept.damage(newest_digest(rolling.kept))
    with pytest.raises(StateError, match="altered"):
        rolling.shell.looks(NOW + 60_000)


def test_the_state_that_is_carried_on_is_the_recorded_one(rolling):
    first = rolling.look(NOW + 60_000)[0]
    (second,) = rolling.shell.looks(NOW + 120_000)
    assert isinstance(second.before, CanaryState)
    assert second.before == first.state


class TestAClockThatWasAheadAndIsSetBack:
    AHEAD = 3_600_000
    """By how much, ms."""

    @pytest.fixture
    def back(self, rolling):
        """A rollout that was looked at by a clock an hour ahead, now that the clock is right."""
        rolling.look(NOW + 60_000)
        (ahead,) = rolling.look(NOW + 70_000 + self.AHEAD)
        assert ahead.at_ms == NOW + 70_000 + self.AHEAD
        return rolling

    def test_is_recorded_once_as_no_data(self, back):
        (found,) = back.look(NOW + 75_000)
        assert (found.verdict, found.reasons) == ("NODATA", ("clock_stepped",))
        assert found.action.before == found.action.after == 200_000
        assert (found.at_ms, found.state.decided_ms) == (NOW + 75_000, NOW + 75_000)
        assert back.look(NOW + 75_500) == []

    def test_keeps_nobody_from_deciding_on(self, back):
        back.look(NOW + 75_000)
        found = [one for n in range(1, 6) for one in back.look(NOW + 75_000 + n * STEP)]
        assert len(found) >= 3
        assert {one.verdict for one in found} == {"CONTINUE"}
        assert back.kept.kept[-1].rule == "canary"

    def test_leaves_the_evidence_and_what_was_counted_of_every_time(self, back):
        before = Rollouts(back.kept).newest(ALL).decision.state
        (found,) = back.look(NOW + 75_000)
        after = found.state
        assert (after.worse, after.better, after.points) == (
            *(before.worse, before.better, before.points),
        )
        for name in ("weight_since_ms", "data_ms"):
            passed_ms = before.decided_ms - getattr(before, name)
            assert after.decided_ms - getattr(after, name) == passed_ms

    def test_shows_only_whole_intervals_afterwards(self, back):
        back.look(NOW + 75_000)
        (look,) = back.shell.looks(NOW + 75_000 + 3 * STEP)
        assert look.observation.candidate.start_ms % STEP == 0
        assert look.observation.candidate.start_ms >= NOW + 75_000 + AHEAD_MS

    def test_ends_in_a_hold_where_no_data_come_for_long(self, back):
        back.counted.is_missing = True
        found = []
        for minute in range(2, 40):
            found += [one.reasons[0] for one in back.look(NOW + minute * 60_000)]
        assert found[0] == "clock_stepped"
        assert "insufficient_data" in found
        assert back.shell.steered(NOW).rollouts[0].weight_ppm == SETTINGS.hold_weight_ppm

    @pytest.mark.parametrize("verb", ["rollback", "stop", "hold", "promote", "extend"])
    def test_lets_a_person_act_at_once(self, back, verb):
        found = back.do(verb, now=NOW + 75_000)
        assert found.verdict != "NOOP"
        assert found.at_ms == NOW + 75_000

    @pytest.mark.parametrize("verb", ["hold", "promote", "extend"])
    def test_shows_no_window_twice_after_an_act(self, back, verb):
        shown = [until for _, until in back.counted.asked]
        back.do(verb, now=NOW + 75_000)
        (event,) = back.look(NOW + 76_000)
        assert event.reasons == ("clock_stepped",)
        (look,) = back.shell.looks(NOW + 200_000)
        assert look.observation.candidate.start_ms >= NOW + 76_000 + AHEAD_MS
        assert max(shown) > NOW + self.AHEAD, "that time was seen already, by its wrong name"

    def test_lets_a_person_start_again_what_was_stopped_by_it(self, back):
        back.do("stop", now=NOW + 80_000 + self.AHEAD)
        started = back.do("start", now=NOW + 80_000)
        assert started.at_ms == NOW + 80_000
        (event,) = back.look(NOW + 81_000)
        assert event.state.weight_since_ms == event.state.decided_ms == NOW + 81_000
        (look,) = back.shell.looks(NOW + 160_000)
        assert look.rule.name == "canary"

    def test_is_logged(self, back, caplog):
        (found,) = back.look(NOW + 75_000)
        back.shell.told(found)
        (record,) = caplog.records
        assert record.fields["reason"] == "clock_stepped"

    def test_of_less_than_a_look_is_waited_for(self, rolling):
        rolling.look(NOW + 60_000)
        assert rolling.look(NOW + 60_000 - STEP + 1) == []

    def test_of_less_than_a_look_is_waited_for_after_an_act_too(self, rolling):
        rolling.do("hold", now=NOW + 60_000 + STEP - 1)
        assert rolling.look(NOW + 60_000) == []


class TestADeploymentThatIsExchangedDuringARollout:
    """Its evidence is of another candidate, or of another baseline."""

    @pytest.fixture
    def climbed(self, rolling):
        """A rollout at its second rung, with evidence."""
        rolling.do("promote", now=NOW + 1)
        rolling.counted.per_interval = {
            ("T1", "baseline", "old"): 70,
            ("T1", "candidate", "new"): 70,
        }
        for more in range(6, 12):
            (found,) = rolling.look(NOW + more * STEP)
        assert found.state.windows_here > 1
        return rolling

    def exchange(self, world, name, **changes):
        changed = {**world.plan.deployments}
        changed[name] = msgspec.structs.replace(changed[name], **changes)
        world.plan = msgspec.structs.replace(world.plan, deployments=changed)

    @pytest.mark.parametrize(
        "changes",
        [{"model": "another"}, {"region": "us"}, {"price": Price(1, 2)}],
        ids=["model", "region", "price"],
    )
    def test_goes_back_to_the_first_rung_and_begins_anew(self, climbed, changes):
        self.exchange(climbed, "new", **changes)
        (found,) = climbed.look(NOW + 12 * STEP)
        assert (found.verdict, found.reasons[0]) == ("HOLD", "deployment_changed: candidate")
        assert (found.action.before, found.action.after) == (500_000, 200_000)
        assert (found.state.rung, found.state.windows_here, found.state.edges) == (0, 0, ())
        assert (found.state.better, found.state.recent) == (Better(), ())
        assert climbed.shell.steered(NOW).rollouts[0].weight_ppm == 200_000

    def test_is_said_once_and_then_looked_at_like_any_other(self, climbed):
        self.exchange(climbed, "new", model="another")
        climbed.look(NOW + 12 * STEP)
        assert climbed.look(NOW + 12 * STEP + 500) == []
        climbed.counted.per_interval = Counted().per_interval
        (found,) = climbed.look(NOW + 24 * STEP)
        assert (found.verdict, found.reasons) == ("CONTINUE", ("reference_only",))

    def test_is_found_where_it_is_behind_another_address_or_protocol(self, climbed):
        up = climbed.plan.providers["p"]
        moved = msgspec.structs.replace(up, base_url="http://127.0.0.1:2/v1")
        climbed.plan = msgspec.structs.replace(climbed.plan, providers={up.id: moved})
        (found,) = climbed.look(NOW + 12 * STEP)
        assert found.reasons[0] == "deployment_changed: baseline and candidate"

    def test_is_found_after_a_restart_with_other_settings(self, climbed):
        self.exchange(climbed, "old", model="another")
        climbed.shell = climbed.opened(CanarySettings())
        (found,) = climbed.look(NOW + 12 * STEP)
        assert found.reasons[0] == "deployment_changed: baseline"

    def test_of_another_rollout_is_nothing_to_this_one(self, climbed):
        self.exchange(climbed, "spare", model="another")
        (found,) = climbed.look(NOW + 12 * STEP)
        assert found.verdict == "CONTINUE"

    def test_gives_no_more_traffic_than_a_held_rollout_had(self, climbed):
        climbed.counted.per_interval = {}
        for minute in range(3, 80):
            climbed.look(NOW + minute * 60_000)
        before = climbed.shell.steered(NOW).rollouts[0].weight_ppm
        self.exchange(climbed, "new", model="another")
        climbed.look(NOW + 80 * 60_000)
        assert climbed.shell.steered(NOW).rollouts[0].weight_ppm == min(before, 200_000)

    def test_that_was_promoted_to_the_end_is_like_any_other_in_service(self, climbed):
        climbed.do("promote", now=NOW + 12 * STEP)
        self.exchange(climbed, "new", model="another")
        assert climbed.look(NOW + 13 * STEP) == []

    def test_is_not_known_of_a_rollout_that_says_nothing_of_its_deployments(self, world):
        """One that was begun by an earlier version goes on by its own settings."""
        look = world.shell.take(world.act("start"), NOW)
        world.kept.decide(msgspec.structs.replace(look, settings=SETTINGS), NOW)
        self.exchange(world, "new", model="another")
        (found,) = world.look(NOW + 60_000)
        assert found.reasons == ("reference_only",)


def test_whatever_befalls_a_rollout_is_computed_again_from_what_is_recorded(rolling):
    rolling.look(NOW + 60_000)
    rolling.look(NOW)
    known = rolling.plan
    rolling.plan = plan(candidates=())
    rolling.look(NOW + STEP)
    changed = msgspec.structs.replace(known.deployments["new"], model="another")
    rolling.plan = msgspec.structs.replace(known, deployments=known.deployments | {"new": changed})
    rolling.look(NOW + 2 * STEP)
    rolling.look(NOW + 20 * STEP)
    reasons = []
    for row in rolling.kept.kept:
        record, rule = read_record(row.statement), RULES[row.rule]
        given = [
            canonical.decode(rolling.kept.blob(digest), kind)
            for digest, kind in (
                (record.before, rule.state),
                (record.inputs, rule.observation),
                (record.settings, rule.settings),
            )
        ]
        decision = rule.decide(*given, record.iat)
        assert encode_decision(decision) == rolling.kept.blob(record.decision)
        reasons.append(decision.reasons[0])
    assert reasons == [
        *("started_by_hand", "reference_only", "clock_stepped", "configuration_lacks_it"),
        *("deployment_changed: candidate", "reference_only"),
    ]
