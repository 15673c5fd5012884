"""The guard: one action in a gap whatever it sees, none on missing data, in bounds, replayable."""

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from verismo.adapt.demand import ScalingObservation
from verismo.adapt.scaling import ScalingDecision, ScalingState, decide, start
from verismo.adapt.scalingsettings import Headroom, ScalingSettings
from verismo.model.decision import SettingsRefused, decode_decision, encode_decision

SETTINGS = ScalingSettings("deployment/reader", 2, 40, 16, 60_000)
BEGIN_MS = 1_800_000_000_000
TICK_MS = 15_000


def sample(now_ms, in_flight, replicas, *, queued=0, requests=100, late=0):
    return ScalingObservation(
        now_ms - TICK_MS, now_ms, in_flight * 1_000, queued * 1_000, requests, late, replicas
    )


def run(loads, replicas=10, state=None, now_ms=BEGIN_MS, late=0):
    """Decide once for each load on a platform that obeys at once."""
    state, decisions = state or start(SETTINGS), []
    for load in loads:
        now_ms += TICK_MS
        seen = None if load is None else sample(now_ms, load, replicas, late=late)
        decisions.append(decide(state, seen, SETTINGS, now_ms))
        state, replicas = decisions[-1].state, decisions[-1].action.after or replicas
    return decisions


def test_a_controller_that_starts_waits_a_whole_gap_first():
    decisions = run([400] * 10)
    assert [one.verdict for one in decisions[:9]] == ["NOOP"] * 9
    assert decisions[0].reasons[0] == "gap_open_ms=125000"
    assert decisions[9].verdict == "SCALE_UP"
    assert decisions[9].action.kind == "replicas"


def test_the_load_with_its_headroom_and_margin_is_what_is_asked_for():
    last = run([200] * 10)[-1]
    # ceil(200 * 1.35 / 16) = 17, and 8 % above it.
    assert (last.action.before, last.action.after) == (10, 19)
    assert last.metrics[0].values["replicas_wished"] == 17


def test_a_rising_load_is_met_before_it_is_there():
    last = run([100 + 5 * tick for tick in range(20)], replicas=20)[-1]
    assert last.metrics[0].values["forecast_milli"] > last.metrics[0].values["load_milli"]


def test_a_step_down_takes_a_quarter_at_most_and_only_after_a_calm():
    decisions = run([16] * 60, replicas=40)
    first = next(one for one in decisions if one.verdict == "SCALE_DOWN")
    assert first.at_ms - BEGIN_MS >= 600_000
    assert first.action.after == 30


def test_a_bad_minute_forbids_steps_down_and_raises_the_headroom():
    decisions = run([16] * 60, replicas=40, late=2)
    assert {one.verdict for one in decisions} == {"NOOP"}
    assert decisions[-1].reasons == ("bad_minute_not_long_ago",)
    assert decisions[-1].state.headroom_ppm > start(SETTINGS).headroom_ppm
    assert decisions[-1].metrics[1].status == "WORSE"


def test_the_headroom_falls_slowly_and_stays_within_its_bounds():
    assert run([16] * 100)[-1].state.headroom_ppm == 350_000 - 2 * 6_000
    assert run([16] * 900, late=100)[-1].state.headroom_ppm == 700_000


def test_a_hole_in_the_telemetry_begins_the_calm_anew():
    decisions = run([16] * 39 + [None] * 6 + [16] * 5, replicas=40)
    assert {one.verdict for one in decisions[-5:]} == {"NOOP"}
    assert decisions[-1].reasons == ("calm_not_seen_for_long_enough",)


def test_a_change_elsewhere_counts_as_an_action():
    warm = run([150] * 12)[-1].state
    now_ms = BEGIN_MS + 13 * TICK_MS
    assert warm.replicas is not None
    decision = decide(warm, sample(now_ms, 640, warm.replicas + 3), SETTINGS, now_ms)
    assert decision.verdict == "NOOP"
    assert "replicas_changed_elsewhere" in decision.reasons
    assert decision.state.wait_ms == 125_000


def test_a_platform_that_does_not_show_the_action_yet_is_no_change_elsewhere():
    acted = run([200] * 10)[-1]
    now_ms = acted.at_ms + 4_000
    seen = msgspec.structs.replace(sample(now_ms, 200, acted.action.before), start_ms=acted.at_ms)
    decision = decide(acted.state, seen, SETTINGS, now_ms)
    assert "replicas_changed_elsewhere" not in decision.reasons
    assert decision.state.replicas == acted.action.after


@pytest.mark.parametrize("replicas", [1, 60])
def test_replicas_outside_the_bounds_are_brought_within_them(replicas):
    state = msgspec.structs.replace(start(SETTINGS), wait_ms=0)
    decision = decide(state, sample(BEGIN_MS, 100, replicas), SETTINGS, BEGIN_MS)
    assert decision.action.after == (2 if replicas == 1 else 40)
    assert decision.reasons == ("replicas_out_of_bounds",)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"in_flight_milli": None}, "sample_incomplete"),
        ({"in_flight_milli": math.nan}, "sample_not_a_count"),
        ({"queued_milli": 0.0}, "sample_not_a_count"),
        ({"requests": -1}, "sample_not_a_count"),
        ({"replicas": 10**10}, "sample_not_a_count"),
        ({"late": 101}, "sample_contradicts_itself"),
        ({"replicas": 0}, "sample_contradicts_itself"),
        ({"start_ms": BEGIN_MS}, "sample_without_time"),
        ({"end_ms": BEGIN_MS + 1}, "sample_from_the_future"),
        ({"start_ms": BEGIN_MS - 60_001}, "sample_too_old"),
    ],
)
def test_a_source_that_lies_is_no_data_and_changes_nothing(changes, fault):
    state = msgspec.structs.replace(start(SETTINGS), wait_ms=0)
    lie = msgspec.structs.replace(sample(BEGIN_MS, 640, 10), **changes)
    decision = decide(state, lie, SETTINGS, BEGIN_MS)
    assert (decision.verdict, decision.reasons[0]) == ("NODATA", fault)
    assert decision.action.before == decision.action.after
    encode_decision(decision)


def test_a_sample_that_was_counted_is_not_counted_twice():
    first = run([100])[-1]
    again = decide(first.state, sample(first.at_ms, 100, 10), SETTINGS, first.at_ms + 1_000)
    assert again.reasons[0] == "sample_seen_before"


_samples = some.builds(
    ScalingObservation,
    start_ms=some.integers(BEGIN_MS, BEGIN_MS + 10**7),
    end_ms=some.integers(BEGIN_MS, BEGIN_MS + 10**7),
    in_flight_milli=some.none() | some.integers(-5, 10**7),
    queued_milli=some.none() | some.integers(-5, 10**7),
    requests=some.none() | some.integers(0, 10**5),
    late=some.none() | some.integers(0, 100),
    replicas=some.none() | some.integers(0, 100),
)
_ticks = some.lists(
    some.tuples(
        some.integers(1, 40_000),
        some.sampled_from([0, 0, 0, 40_000, 10**6, -1, -20_000, -(10**7)]),
        some.integers(0, 900) | some.none() | _samples,
    ),
    min_size=10,
    max_size=80,
)


@pytest.mark.slow
@given(ticks=_ticks)
@settings(max_examples=120, deadline=None)
def test_never_two_actions_within_the_gap_whatever_is_seen_and_however_the_clock_steps(ticks):
    state, replicas, true_ms, clock_ms, acted_ms = start(SETTINGS), 10, 0, BEGIN_MS, None
    for passed_ms, step_ms, seen in ticks:
        true_ms, clock_ms = true_ms + passed_ms, clock_ms + passed_ms + step_ms
        if isinstance(seen, int):
            seen = sample(clock_ms, seen, replicas, queued=seen // 9)
        decision = decide(state, seen, SETTINGS, clock_ms)
        state = decision.state
        if decision.action.before == decision.action.after:
            continue
        assert true_ms >= 125_000 if acted_ms is None else true_ms - acted_ms >= 125_000
        assert 2 <= decision.action.after <= 40
        acted_ms, replicas = true_ms, decision.action.after


@pytest.mark.slow
@given(loads=some.lists(some.none() | some.integers(0, 900), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_missing_data_changes_nothing_and_a_replay_gives_the_same_bytes(loads):
    first, second = run(loads), run(loads)
    for load, one, other in zip(loads, first, second, strict=True):
        data = encode_decision(one)
        assert data == encode_decision(other)
        assert decode_decision(data, ScalingDecision) == one
        if load is None:
            assert one.verdict == "NODATA"
            assert one.action.before == one.action.after


def test_a_state_read_back_decides_alike():
    decision = run([200] * 8)[-1]
    state = msgspec.json.decode(msgspec.json.encode(decision.state), type=ScalingState)
    now_ms = decision.at_ms + TICK_MS
    seen = sample(now_ms, 300, 10)
    assert decide(state, seen, SETTINGS, now_ms) == decide(decision.state, seen, SETTINGS, now_ms)


@pytest.mark.parametrize(
    "changes",
    [
        {"gap_ms": 119_999},
        {"replicas_min": 0},
        {"replicas_max": 1},
        {"slots": 0},
        {"cold_start_ms": math.nan},
        {"late_ppm": True},
        {"headroom": Headroom(start_ppm=100_000)},
    ],
)
def test_settings_that_cannot_be_kept_are_refused_with_what_to_write(changes):
    refused = msgspec.structs.replace(SETTINGS, **changes)
    with pytest.raises(SettingsRefused, match="Write a whole number from"):
        start(refused)
    with pytest.raises(SettingsRefused):
        decide(start(SETTINGS), None, refused, BEGIN_MS)
