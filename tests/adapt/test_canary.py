"""The canary decides from evidence, never from what is not there, and always the same."""

import math
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verismo.adapt.canary import decide, score_of
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapt.canaryscore import points_of, total
from verismo.adapt.canarysettings import CanarySettings, ScoreWeights
from verismo.adapt.canarystate import CanaryState, start
from verismo.model.decision import (
    Decision,
    SettingsRefused,
    Subject,
    decision_digest,
    decode_decision,
    encode_decision,
)
from verismo.model.window import Tally, Window, merge_windows

MINUTE_MS = 60_000
HALF = CanarySettings(ladder_ppm=(500_000, 1_000_000))
ROUTE = Subject("T", "o", "old", "new")
WORSE = ("HOLD", "ROLLBACK")


def window(arm, at, count=300, seed=0, **more):
    """Return a minute of one arm: latencies and costs drawn anew, made `slower` or `dearer`."""
    chance = random.Random(f"{arm} {at} {seed}")
    failed = round(count * more.get("failing", 0))
    tally = Tally()
    for _ in range(count - failed):
        tally.add(round(chance.lognormvariate(13, 0.5) * more.get("slower", 1)))
    costs = [round(chance.uniform(800, 1_200) * more.get("dearer", 1)) for _ in range(count)]
    return Window(
        *("T", "o", arm, "old" if arm == "baseline" else "new"),
        *(at * MINUTE_MS, (at + 1) * MINUTE_MS, count, failed),
        *(sum(costs), sum(one * one for one in costs), tally.histogram()),
    )


def shown(at, count=300, **more):
    split = more.pop("split", 1.0)
    ours = window("baseline", at, count)
    return CanaryObservation(ours, window("candidate", at, round(count * split), **more))


def judged(looks, given=HALF, state=None, first=0, **more):
    """Return the decisions over some minutes, ended by HOLD or ROLLBACK."""
    state = state or start(ROUTE, given, first * MINUTE_MS)
    found = []
    for at in range(first, first + looks):
        found.append(decide(state, shown(at, **more), given, (at + 1) * MINUTE_MS))
        state = found[-1].state
        if found[-1].verdict in WORSE or state.ended:
            break
    return found


@pytest.fixture(scope="module")
def calm():
    """Decisions of a candidate that is like the baseline, five minutes long."""
    return judged(5)


def test_an_equal_candidate_is_promoted_not_before_enough_windows():
    found = judged(30)
    assert found[-1].verdict == "PROMOTE"
    assert found[-1].state.ended == "promoted"
    assert found[-1].state.weight_ppm == 1_000_000
    assert len(found) > HALF.windows_min
    assert {one.verdict for one in found[:-1]} == {"CONTINUE"}


@pytest.mark.parametrize("more", [{"slower": 1.3}, {"failing": 0.02}, {"dearer": 1.2}], ids=str)
def test_a_harmful_candidate_is_held_and_its_traffic_reduced(more):
    last = judged(40, **more)[-1]
    assert last.verdict in WORSE
    assert last.action.after < last.action.before


def test_a_hold_doubles_the_bake_and_begins_a_new_epoch():
    state = judged(40, slower=1.3)[-1].state
    assert (state.holds, state.rung, state.weight_ppm) == (1, -1, HALF.hold_weight_ppm)
    assert state.worse.p95.looks == state.better.p95.looks == 0
    assert state.edges, "the baseline is known still"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"slower": 3}, "p95_severe"),
        ({"failing": 0.4}, "error_severe"),
        ({"failing": 1.0}, "error_severe"),
        ({"dearer": 3}, "cost_severe"),
    ],
)
def test_a_severe_failure_is_rolled_back(more, reason):
    given = msgspec.structs.replace(HALF, alpha_hold_ppm=2, alpha_p99_ppm=1)
    last = judged(10, given, **more)[-1]
    assert (last.verdict, last.reasons[0]) == ("ROLLBACK", reason)
    assert last.action.after == 0
    again = decide(last.state, shown(20), given, 21 * MINUTE_MS)
    assert (again.verdict, again.action.before) == ("ROLLBACK", 0)


@pytest.mark.slow
def test_the_third_hold_rolls_back():
    state, at, verdicts, reduced = start(ROUTE, HALF, 0), 0, [], []
    for _ in range(3):
        split = 1.0 if state.weight_ppm == 500_000 else 1 / 99
        count = 300 if split == 1.0 else 9_900
        more = {"split": split, "slower": 1.3, "count": count}
        found = judged(60, state=state, first=at, **more)
        state, at = found[-1].state, at + len(found)
        verdicts.append(found[-1].verdict)
        reduced.append("traffic_reduced" in found[-1].reasons)
    assert verdicts == ["HOLD", "HOLD", "ROLLBACK"]
    assert reduced == [True, False, False], "below the ladder there is nothing to take away"


def test_a_tail_that_the_score_does_not_see_is_held_by_the_guard():
    def tailed(at):
        ours, theirs = shown(at).baseline, shown(at).candidate
        slow = Tally()
        for _ in range(12):
            slow.add(60_000_000)
        kept = dict(zip(theirs.latency.buckets, theirs.latency.counts, strict=True))
        for bucket in sorted(kept)[:12]:
            kept[bucket] -= 1
        histogram = msgspec.structs.replace(
            theirs.latency,
            buckets=tuple(one for one, count in sorted(kept.items()) if count),
            counts=tuple(count for _, count in sorted(kept.items()) if count),
        ).merge(slow.histogram())
        return CanaryObservation(ours, msgspec.structs.replace(theirs, latency=histogram))

    state, reasons = start(ROUTE, HALF, 0), ()
    for at in range(40):
        found = decide(state, tailed(at), HALF, (at + 1) * MINUTE_MS)
        state, reasons = found.state, found.reasons
        if found.verdict in WORSE:
            break
    assert reasons[0] == "p99_worse"


def test_thin_windows_wait_for_each_other_and_are_not_lost():
    found = judged(12, count=10)
    assert found[4].reasons == ("window_thin",)
    assert found[4].state.waiting_candidate[0].requests == 50
    assert found[5].reasons == ("reference_only",)
    assert found[11].state.requests_here == 60
    assert found[11].reasons == ("evidence_open",)


@pytest.mark.slow
@given(st.permutations(range(4)))
@settings(max_examples=10)
def test_points_of_the_score_do_not_depend_on_the_order_of_windows(order):
    points = [
        points_of(window("baseline", at), window("candidate", at), (1_360, 1_410), HALF)
        for at in order
    ]
    assert total(points) == total(sorted(points, key=repr))


def test_windows_of_several_writers_are_one_window_in_any_order():
    parts = [window("candidate", 3, 100, seed) for seed in range(3)]
    one = CanaryObservation(window("baseline", 3), merge_windows(parts))
    other = CanaryObservation(window("baseline", 3), merge_windows(parts[::-1]))
    state = judged(3)[-1].state
    left, right = (decide(state, each, HALF, 4 * MINUTE_MS) for each in (one, other))
    assert encode_decision(left) == encode_decision(right)


@pytest.mark.slow
def test_a_replay_gives_the_same_bytes():
    first, second = judged(14, slower=1.08), judged(14, slower=1.08)
    assert [decision_digest(one) for one in first] == [decision_digest(one) for one in second]


def test_a_decision_goes_on_from_its_recorded_state(calm):
    read = decode_decision(encode_decision(calm[-1]), Decision[CanaryState])
    left, right = (decide(one.state, shown(5), HALF, 6 * MINUTE_MS) for one in (read, calm[-1]))
    assert encode_decision(left) == encode_decision(right)


@pytest.mark.slow
@given(
    st.floats(0.2, 5),
    st.floats(0, 1),
    st.floats(0, 9),
    st.integers(60, 400),
)
@settings(max_examples=25, deadline=None)
def test_the_score_is_a_share_whatever_comes(slower, failing, dearer, count):
    more = {"slower": slower, "failing": failing, "dearer": dearer}
    for decision in judged(3, count=count, **more):
        score = decision.metrics[0].values["score_ppm"]
        assert score is None or 0 <= score <= 1_000_000
        for row in decision.metrics[1:]:
            share = row.values["score_ppm"]
            assert share is None or 0 <= share <= 1_000_000


BROKEN = {
    "requests_nan": {"requests": math.nan},
    "errors_negative": {"errors": -1},
    "cost_nan": {"cost_usd_micros": math.nan},
    "cost_infinite": {"cost_squares": math.inf},
    "more_errors": {"errors": 999},
    "contradicting_costs": {"cost_squares": 1},
    "other_arm": {"arm": "baseline"},
    "other_route": {"operation": "p"},
    "other_deployment": {"deployment": "newer"},
    "other_interval": {"end_ms": 6 * MINUTE_MS + 1},
    "repeated": {"start_ms": 4 * MINUTE_MS, "end_ms": 5 * MINUTE_MS},
    "future": {"start_ms": 6 * MINUTE_MS, "end_ms": 7 * MINUTE_MS},
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_broken_window_decides_nothing(change, calm):
    state = calm[-1].state
    good = shown(5)
    both = change if {"start_ms", "end_ms"} <= change.keys() else {}
    bad = CanaryObservation(
        msgspec.structs.replace(good.baseline, **both),
        msgspec.structs.replace(good.candidate, **change),
    )
    found = decide(state, bad, HALF, 6 * MINUTE_MS)
    assert found.verdict == "NODATA"
    assert found.state == msgspec.structs.replace(state, decided_ms=6 * MINUTE_MS)
    encode_decision(found)


@pytest.mark.parametrize("now_ms", [math.nan, -1, 4 * MINUTE_MS, 2**53], ids=str)
def test_a_clock_that_steps_decides_nothing(now_ms, calm):
    found = decide(calm[-1].state, shown(5), HALF, now_ms)
    assert (found.verdict, found.reasons) == ("NODATA", ("clock_stepped",))
    assert found.state == calm[-1].state


def test_a_source_that_vanishes_is_never_good_news(calm):
    state, verdicts = calm[-1].state, []
    for at in range(5, 45):
        found = decide(state, CanaryObservation(None, None), HALF, (at + 1) * MINUTE_MS)
        state = found.state
        verdicts.append(found.verdict)
    assert verdicts == ["NODATA"] * 29 + ["HOLD"] * 11
    assert (state.weight_ppm, state.holds) == (HALF.hold_weight_ppm, 0), "reduced once"


def test_a_candidate_without_requests_is_missing_data():
    state, found = start(ROUTE, CanarySettings(ladder_ppm=(10_001, 1_000_000)), 0), []
    given = CanarySettings(ladder_ppm=(10_001, 1_000_000))
    for at in range(31):
        found.append(decide(state, shown(at, count=3, split=0), given, (at + 1) * MINUTE_MS))
        state = found[-1].state
    assert [found[at].verdict for at in (0, 9, 29)] == ["CONTINUE", "NODATA", "HOLD"]
    assert found[29].reasons[0] == "insufficient_data"


@pytest.mark.slow
def test_a_split_that_is_not_the_configured_one_decides_nothing():
    found = judged(40, split=0.5)
    assert {one.verdict for one in found[2:-1]} == {"NODATA"}
    assert found[-2].reasons == ("sample_ratio_mismatch",)
    assert found[-1].reasons[:2] == ("insufficient_data", "sample_ratio_mismatch")


def test_a_window_that_began_before_the_split_changed_is_not_counted():
    on_time = start(ROUTE, HALF, MINUTE_MS)
    assert decide(on_time, shown(1), HALF, 2 * MINUTE_MS).reasons == ("reference_only",)
    late = start(ROUTE, HALF, 90_000)
    shifted = msgspec.structs.replace(late, seen_until_ms=0, decided_ms=0)
    assert decide(shifted, shown(1), HALF, 2 * MINUTE_MS).reasons == ("window_spans_change",)


def test_a_broken_invariant_rolls_back_whatever_the_score(calm):
    observed = msgspec.structs.replace(shown(5), invariant="residency")
    found = decide(calm[-1].state, observed, HALF, 6 * MINUTE_MS)
    assert (found.verdict, found.reasons) == ("ROLLBACK", ("invariant_broken: residency",))


@pytest.mark.slow
def test_when_the_bake_is_over_a_person_is_asked_and_nothing_promoted():
    given = msgspec.structs.replace(HALF, windows_min=1_000, bake_ms_max=20 * MINUTE_MS)
    last = judged(30, given)[-1]
    assert (last.verdict, last.reasons[0]) == ("HOLD", "inconclusive")
    assert last.action.before == last.action.after


@pytest.mark.slow
def test_evidence_of_one_rung_alone_is_asked_for_too():
    ladder = msgspec.structs.replace(HALF, ladder_ppm=(500_000, 600_000, 1_000_000))
    found = judged(30, ladder)
    looks, promoted = next(pair for pair in enumerate(found, 1) if pair[1].verdict == "PROMOTE")
    assert promoted.state.weight_ppm == 600_000
    assert promoted.state.better.p95.looks > 0, "evidence of the epoch is kept"
    assert promoted.state.better_here.p95.looks == promoted.state.windows_here == 0
    # No evidence of one rung suffices here, that of the epoch as before.
    strict = msgspec.structs.replace(ladder, alpha_rung_ppm=1)
    assert {one.verdict for one in judged(looks, strict)} == {"CONTINUE"}


def test_a_route_without_costs_is_judged_without_them_only_if_they_have_no_weight():
    state = start(ROUTE, HALF, 0)
    free = {"cost_usd_micros": 0, "cost_squares": 0}
    for at in range(3):
        good = shown(at)
        pair = [msgspec.structs.replace(one, **free) for one in (good.baseline, good.candidate)]
        state = decide(state, CanaryObservation(*pair), HALF, (at + 1) * MINUTE_MS).state
    assert score_of(state, HALF) is None
    without = msgspec.structs.replace(HALF, weights=ScoreWeights(600_000, 400_000, 0))
    assert score_of(state, without) is not None


def test_settings_that_do_not_fit_are_refused():
    given = msgspec.structs.replace(HALF, weights=ScoreWeights(400_000))
    state, observed = start(ROUTE, HALF, 0), shown(0)
    with pytest.raises(SettingsRefused, match="weights sum to 900000"):
        decide(state, observed, given, MINUTE_MS)


def test_after_the_last_rung_there_is_nothing_to_decide():
    last = judged(30)[-1]
    found = decide(last.state, shown(30), HALF, 31 * MINUTE_MS)
    assert (found.verdict, found.reasons) == ("CONTINUE", ("finished",))
    assert found.action.before == found.action.after == 1_000_000


def test_a_minute_without_any_request_says_nothing_about_the_split(calm):
    found = decide(calm[-1].state, shown(5, count=0), HALF, 6 * MINUTE_MS)
    assert found.reasons == ("window_thin",)
    assert found.state.split == calm[-1].state.split


def test_a_baseline_that_only_fails_is_no_reference():
    ours, theirs = window("baseline", 0, failing=1.0), window("candidate", 0)
    found = decide(start(ROUTE, HALF, 0), CanaryObservation(ours, theirs), HALF, MINUTE_MS)
    assert found.reasons == ("reference_only",)
    assert found.state.edges == ()


@pytest.mark.parametrize("arm", ["baseline", "candidate"])
@pytest.mark.parametrize(("unpriced", "is_told"), [(3, True), (4, False)])
def test_an_arm_whose_costs_are_not_known_is_not_taken_for_a_cheap_one(arm, unpriced, is_told):
    seen = shown(0)
    window = msgspec.structs.replace(getattr(seen, arm), unpriced=unpriced)
    seen = msgspec.structs.replace(seen, **{arm: window})
    found = decide(start(ROUTE, HALF, 0), seen, HALF, MINUTE_MS)
    assert (found.reasons != (f"cost_unknown: {arm}",)) == is_told
    assert (found.verdict != "NODATA") == is_told


def test_a_route_without_costs_is_judged_if_cost_has_no_weight():
    free = msgspec.structs.replace(HALF, weights=ScoreWeights(600_000, 400_000, 0, 0))
    seen = shown(0)
    seen = CanaryObservation(
        msgspec.structs.replace(seen.baseline, unpriced=300),
        msgspec.structs.replace(seen.candidate, unpriced=300),
    )
    assert decide(start(ROUTE, free, 0), seen, free, MINUTE_MS).verdict == "CONTINUE"
