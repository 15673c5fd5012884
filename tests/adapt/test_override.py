"""What people tell the canary is done and bounded; a broken invariant is never overridden."""

import msgspec
import pytest

from verismo.adapt import canary
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapt.canarysettings import CanarySettings
from verismo.adapt.canarystate import CanaryState, start, unbegun
from verismo.adapt.override import EXPIRY_MS_MAX, decide, refusal
from verismo.model.act import Act
from verismo.model.decision import (
    Decision,
    SettingsRefused,
    Subject,
    decode_decision,
    digest_of,
    encode_decision,
)
from verismo.model.window import Tally, Window

GIVEN = CanarySettings()
ROUTE = Subject("T", "o", "old", "new")
NOW = 10_000_000
HOUR = 3_600_000
DIGEST = "ab" * 32


def act(verb, **more):
    lasting = verb in ("hold", "extend", "promote", "rollback")
    given = {
        "controller": "canary",
        "verb": verb,
        "subject": ROUTE,
        "actor": "Dana",
        "key": "k1",
        "role": "admin",
        "reason": "latency of the provider is known",
        "of": "" if verb == "start" else DIGEST,
        "at_ms": NOW,
        "expires_ms": NOW + HOUR if lasting else 0,
    }
    return Act(**(given | more))


@pytest.fixture
def running():
    return start(ROUTE, GIVEN, NOW - HOUR)


def done(state, verb, now=NOW, **more):
    return decide(state, act(verb, at_ms=now, **more), GIVEN, now)


def looked(state, now, **more):
    """Let the controller look at a window in which both arms are alike."""

    def arm(name, deployment, count):
        tally = Tally()
        for one in range(count):
            tally.add(500_000 + one * 1_000_000 // count)
        return Window(
            *("T", "o", name, deployment),
            *(now - 60_000, now, count, 0, count * 10, count * 100, tally.histogram()),
        )

    both = 4_000
    theirs = both * state.weight_ppm // 1_000_000
    shown = CanaryObservation(
        arm("baseline", "old", both - theirs), arm("candidate", "new", theirs), **more
    )
    return canary.decide(state, shown, GIVEN, now)


def test_start_gives_the_candidate_the_first_rung():
    found = done(unbegun(ROUTE), "start")
    assert (found.verdict, found.reasons) == ("CONTINUE", ("started_by_hand",))
    assert (found.action.before, found.action.after) == (0, GIVEN.ladder_ppm[0])
    assert found.state == start(ROUTE, GIVEN, NOW)


def test_promote_climbs_one_rung_with_the_evidence_of_the_rung_begun_anew(running):
    seen = looked(running, NOW - 60_000).state
    found = done(seen, "promote")
    assert (found.verdict, found.state.rung) == ("PROMOTE", 1)
    assert found.state.weight_ppm == GIVEN.ladder_ppm[1]
    assert (found.state.windows_here, found.state.weight_since_ms) == (0, NOW)
    assert found.state.edges == seen.edges


def test_promote_at_the_last_step_gives_the_candidate_everything(running):
    at_half = msgspec.structs.replace(running, rung=2, weight_ppm=500_000)
    found = done(at_half, "promote")
    assert (found.state.ended, found.state.weight_ppm) == ("promoted", 1_000_000)
    assert refusal(found.state, act("promote", at_ms=NOW + 1), NOW + 1) == "rollout_promoted"


def test_a_hold_lets_the_candidate_climb_no_further_until_it_expires(running):
    held = done(running, "hold", expires_ms=NOW + 30 * 60_000)
    assert (held.verdict, held.action.after) == ("HOLD", running.weight_ppm)
    state, verdicts = held.state, {}
    for minute in range(1, 60):
        found = looked(state, NOW + minute * 60_000)
        state = found.state
        verdicts[minute] = found.verdict
        if found.verdict == "PROMOTE":
            break
    assert {verdicts[minute] for minute in range(1, 30)} == {"HOLD"}
    assert verdicts[max(verdicts)] == "PROMOTE"


def test_a_hold_by_hand_does_not_keep_the_controller_from_holding_on_evidence(running):
    held = done(running, "hold").state
    found = canary.decide(held, CanaryObservation(None, None, "residency"), GIVEN, NOW + 60_000)
    assert found.verdict == "ROLLBACK"


def test_an_extension_lets_the_bake_last_until_it_expires(running):
    late = running.weight_since_ms + GIVEN.bake_ms_max
    fresh = msgspec.structs.replace(running, data_ms=late, decided_ms=late, seen_until_ms=late)
    assert looked(fresh, late + 60_000).reasons[0] == "inconclusive"
    longer = done(fresh, "extend", now=late, expires_ms=late + HOUR)
    assert (longer.verdict, longer.reasons) == ("CONTINUE", ("bake_extended",))
    assert looked(longer.state, late + 60_000).verdict == "CONTINUE"
    over = msgspec.structs.replace(longer.state, data_ms=late + HOUR, seen_until_ms=late + HOUR)
    assert looked(over, late + HOUR + 60_000).reasons[0] == "inconclusive"


def test_rollback_takes_all_traffic_back_also_after_the_last_promotion(running):
    promoted = msgspec.structs.replace(running, weight_ppm=1_000_000, ended="promoted")
    for state in (running, promoted):
        found = done(state, "rollback")
        assert (found.verdict, found.action.after) == ("ROLLBACK", 0)
        assert found.state.ended == "rolled_back"


def test_stop_leaves_everything_to_the_configuration(running):
    found = done(running, "stop", role="operator")
    assert (found.verdict, found.action.after, found.state.ended) == ("REVERT_STATIC", 0, "stopped")
    assert looked(found.state, NOW + 60_000).reasons == ("stopped",)


def test_a_rollout_that_was_stopped_can_be_started_again(running):
    again = done(done(running, "stop").state, "start", now=NOW + 1)
    assert again.state == start(ROUTE, GIVEN, NOW + 1)


def test_an_ordinary_rollback_is_overridden_into_the_last_epoch(running):
    back = msgspec.structs.replace(
        running, rung=1, weight_ppm=0, ended="rolled_back", holds=2, data_ms=1, is_silent=True
    )
    found = done(back, "promote")
    assert (found.verdict, found.state.ended) == ("PROMOTE", "")
    assert (found.state.rung, found.state.weight_ppm) == (1, GIVEN.ladder_ppm[1])
    assert found.state.holds == GIVEN.holds_max - 1
    assert (found.state.data_ms, found.state.is_silent) == (NOW, False)
    assert looked(found.state, NOW + 60_000).verdict == "CONTINUE"


@pytest.mark.parametrize("verb", ["promote", "hold", "extend", "rollback", "start"])
def test_nobody_overrides_a_broken_invariant(running, verb):
    broken = canary.decide(running, CanaryObservation(None, None, "residency"), GIVEN, NOW).state
    assert broken.broken == "residency"
    found = done(broken, verb, now=NOW + 1)
    assert (found.verdict, found.reasons) == ("NOOP", ("refused", "invariant_broken"))
    assert found.state == broken
    stopped = done(broken, "stop", now=NOW + 1).state
    assert done(stopped, "start", now=NOW + 2).verdict == "CONTINUE"


@pytest.mark.parametrize(
    ("verb", "more", "why"),
    [
        ("promote", {"controller": "budget"}, "verb_of_another_controller"),
        ("freeze", {}, "verb_of_another_controller"),
        ("promote", {"subject": Subject("T", "o", "old", "other")}, "act_of_another_rollout"),
        ("promote", {"reason": "because"}, "reason_missing"),
        ("promote", {"reason": " " * 40}, "reason_missing"),
        ("promote", {"reason": "x" * 1_001}, "reason_missing"),
        ("promote", {"of": ""}, "decision_unnamed"),
        ("promote", {"of": "the newest"}, "decision_unnamed"),
        ("promote", {"of": DIGEST.upper()}, "decision_unnamed"),
        ("stop", {"of": ""}, "decision_unnamed"),
        ("promote", {"values": {"weight_ppm": 1_000_000}}, "values_unknown"),
        ("promote", {"reason": "half a pair \ud800 of them"}, "values_unknown"),
        ("start", {"of": DIGEST}, "values_unknown"),
        ("promote", {"role": "operator"}, "role_too_low"),
        ("rollback", {"role": "operator"}, "role_too_low"),
        ("stop", {"role": "viewer"}, "role_too_low"),
        ("promote", {"expires_ms": 0}, "expiry_missing"),
        ("hold", {"expires_ms": NOW}, "expired"),
        ("hold", {"expires_ms": -5}, "expired"),
        ("stop", {"expires_ms": NOW - 1}, "expired"),
        ("extend", {"expires_ms": NOW + EXPIRY_MS_MAX + 1}, "expiry_too_far"),
        ("promote", {"at_ms": NOW + 1}, "act_of_the_future"),
        ("promote", {"at_ms": -1}, "act_of_the_future"),
        ("start", {}, "rollout_running"),
    ],
)
def test_what_may_not_be_done_changes_nothing_and_says_why(running, verb, more, why):
    asked = act(verb, **more)
    assert refusal(running, asked, NOW) == why
    found = decide(running, asked, GIVEN, NOW)
    assert (found.verdict, found.reasons, found.state) == ("NOOP", ("refused", why), running)
    assert found.action.before == found.action.after


@pytest.mark.parametrize(
    ("ended", "refused"),
    [
        ("", {"start"}),
        ("promoted", {"start", "promote", "hold", "extend"}),
        ("rolled_back", {"hold", "rollback", "extend"}),
        ("stopped", {"stop", "promote", "hold", "rollback", "extend"}),
    ],
)
def test_each_verb_has_its_time(running, ended, refused):
    state = msgspec.structs.replace(running, ended=ended)
    verbs = ("start", "stop", "promote", "hold", "rollback", "extend")
    assert {one for one in verbs if refusal(state, act(one), NOW)} == refused


@pytest.mark.parametrize("now", [-1, 2**53, True, 1.5])
def test_a_clock_that_shows_no_time_lets_nobody_act(running, now):
    assert refusal(running, act("stop", at_ms=0), now) == "clock_stepped"
    assert decide(running, act("stop", at_ms=0), GIVEN, now).state == running


@pytest.mark.parametrize("verb", ["stop", "promote", "hold", "rollback", "extend"])
def test_a_clock_that_was_set_back_keeps_nobody_from_acting(running, verb):
    back = NOW - 2 * HOUR
    found = decide(running, act(verb, at_ms=back, expires_ms=back + HOUR), GIVEN, back)
    assert found.verdict != "NOOP"
    assert found.at_ms == back
    for name in ("decided_ms", "seen_until_ms", "data_ms", "weight_since_ms"):
        assert getattr(found.state, name) >= getattr(running, name), "no time goes back by an act"


def test_the_same_act_gives_the_same_bytes_and_they_can_be_read_back(running):
    asked = act("hold")
    found = encode_decision(decide(running, asked, GIVEN, NOW))
    assert found == encode_decision(decide(running, asked, GIVEN, NOW))
    read = decode_decision(found, Decision[CanaryState])
    assert read.inputs == digest_of(asked)
    assert encode_decision(read) == found


def test_settings_that_do_not_fit_together_are_refused(running):
    wrong = msgspec.structs.replace(GIVEN, ladder_ppm=(500_000,))
    with pytest.raises(SettingsRefused):
        decide(running, act("hold"), wrong, NOW)
