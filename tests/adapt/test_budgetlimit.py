import functools
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verismo.adapt.budgetlimit import (
    DAY_MS,
    HOUR_MS,
    LimitObservation,
    LimitSettings,
    LimitState,
    SpendHour,
    check_limit_settings,
    decide,
    spend_hour,
)
from verismo.model.decision import (
    Decision,
    SettingsRefused,
    Subject,
    decode_decision,
    encode_decision,
)
from verismo.model.window import Histogram

SUBJECT = Subject(tenant="TENANT_001", operation="chat")
SETTINGS = LimitSettings()
NOTHING = LimitState()
NOW_MS = 30 * DAY_MS


@functools.cache
def hour(ago, level, breached=False):
    return spend_hour(NOW_MS - ago * HOUR_MS, [level] * 360, [10**12] * 360, breached=breached)


def week(level=1_000_000, hours=168):
    return tuple(hour(ago, level) for ago in range(1, hours + 1))


def limit_after(hours, state=NOTHING, now_ms=NOW_MS, damped=False):
    observation = LimitObservation(SUBJECT, tuple(hours), damped)
    return decide(state, observation, SETTINGS, now_ms)


def test_a_steady_route_gets_a_limit_near_what_it_spends():
    learned = limit_after(week())
    assert learned.verdict == "CONTINUE"
    assert 1_200_000 <= learned.state.limit_usd_micros <= 1_230_000
    assert learned.action.after == learned.state.limit_usd_micros


def test_cold_start_learns_nothing_so_that_the_static_cap_holds():
    learned = limit_after(week(hours=SETTINGS.hours_min - 1))
    assert learned.verdict == "NODATA"
    assert learned.reasons == ("history_too_short hours=71 min=72",)
    assert learned.state == LimitState()
    assert limit_after(week(hours=SETTINGS.hours_min)).verdict == "CONTINUE"


def test_a_bursty_route_gets_a_looser_factor_than_a_steady_one():
    bursty = [hour(ago, 4_000_000 if ago % 30 == 0 else 1_000_000) for ago in range(1, 169)]
    assert limit_after(bursty).state.kappa_ppm > limit_after(week()).state.kappa_ppm
    assert limit_after(bursty).state.limit_usd_micros > limit_after(week()).state.limit_usd_micros


def test_no_burst_lifts_the_limit_over_the_ceiling_of_usual_spend():
    spikes = [hour(ago, 10**9 if ago % 30 == 0 else 1_000_000) for ago in range(1, 169)]
    assert limit_after(spikes).state.limit_usd_micros <= 4_600_000


def test_training_attack_spend_over_the_limit_counts_only_up_to_it():
    flood = spend_hour(NOW_MS - HOUR_MS, [10**9] * 360, [1_200_000] * 360, breached=False)
    assert flood.sustained_usd_micros == 1_200_000
    assert flood.spend.count_above(flood.spend.buckets[0] + 1) == 0


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 167), max_size=60, unique=True))
def test_training_attack_breached_hours_never_raise_the_limit(breached):
    honest = limit_after(week())
    in_force = honest.state.limit_usd_micros
    attacked = [
        spend_hour(NOW_MS - ago * HOUR_MS, [10**9] * 360, [in_force] * 360, breached=True)
        if ago in breached
        else hour(ago, 1_000_000)
        for ago in range(1, 169)
    ]
    assert limit_after(attacked).state.limit_usd_micros <= in_force * 1_02 // 100


def test_one_look_above_the_limit_is_not_sustained():
    made = spend_hour(NOW_MS, [1, 900, 1, 1], [10**6] * 4, breached=False)
    assert made.sustained_usd_micros == 1
    assert spend_hour(NOW_MS, [], [], breached=False).sustained_usd_micros == 0


def test_a_change_is_a_step_of_bounded_size_and_half_of_it_when_damped():
    first = limit_after(week()).state
    later_ms = NOW_MS + DAY_MS
    grown = tuple(
        msgspec.structs.replace(one, start_ms=one.start_ms + DAY_MS) for one in week(9**7)
    )
    before = first.limit_usd_micros
    risen = limit_after(grown, first, now_ms=later_ms).state.limit_usd_micros
    damped = limit_after(grown, first, now_ms=later_ms, damped=True).state.limit_usd_micros
    assert risen == before * 3 // 2
    assert damped == before * 5 // 4
    shrunk = tuple(msgspec.structs.replace(one, start_ms=one.start_ms + DAY_MS) for one in week(9))
    assert limit_after(shrunk, first, now_ms=later_ms).state.limit_usd_micros == pytest.approx(
        before * 0.8, abs=1
    )


def test_a_change_within_the_band_is_not_made():
    first = limit_after(week()).state
    again = limit_after(week(), first, now_ms=NOW_MS + HOUR_MS)
    assert again.verdict == "NOOP"
    assert again.state.limit_usd_micros == first.limit_usd_micros
    assert again.state.calibrated_ms == first.calibrated_ms


def test_the_limit_never_falls_below_the_floor():
    assert limit_after(week(1)).state.limit_usd_micros == SETTINGS.floor_usd_micros


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.permutations(range(1, 169)), st.sets(st.integers(1, 168)))
def test_reordered_and_repeated_hours_are_harmless(order, repeated):
    shuffled = [hour(ago, ago * 1_000) for ago in order] + [hour(a, a * 1_000) for a in repeated]
    plain = [hour(ago, ago * 1_000) for ago in range(1, 169)]
    assert limit_after(shuffled).state == limit_after(plain).state


def test_hours_of_the_future_and_of_long_ago_are_not_looked_at():
    strange = (hour(0, 10**9), hour(-5, 10**9), hour(169, 10**9))
    assert limit_after((*week(), *strange)).state == limit_after(week()).state


@pytest.mark.parametrize(
    ("strange", "reason"),
    [
        (hour(3, 5), "hours_contradict"),
        (SpendHour(NOW_MS - 1, Histogram(), 0, False), "hour_malformed"),
        (SpendHour(NOW_MS, Histogram((1,), ()), 0, False), "hour_malformed"),
        (SpendHour(NOW_MS, Histogram(), -1, False), "number_out_of_range"),
        (SpendHour(NOW_MS, Histogram(), math.nan, False), "number_out_of_range"),
        (SpendHour(NOW_MS, Histogram((1,), (2**53,)), 0, False), "number_out_of_range"),
    ],
)
def test_history_that_cannot_be_trusted_is_no_data(strange, reason):
    learned = limit_after((*week(), strange))
    assert (learned.verdict, learned.reasons) == ("NODATA", (reason,))
    assert learned.state == LimitState()


def test_a_clock_that_stepped_back_leaves_the_limit():
    first = limit_after(week()).state
    for now_ms in (NOW_MS, NOW_MS - HOUR_MS):
        learned = limit_after(week(5_000_000), first, now_ms=now_ms)
        assert (learned.verdict, learned.state) == ("NODATA", first)


def test_idle_routes_that_never_spent_still_get_the_floor():
    assert limit_after(week(0)).state.limit_usd_micros == SETTINGS.floor_usd_micros


def test_a_route_that_is_idle_nearly_always_keeps_room_for_its_bursts():
    seldom = [hour(ago, 1_000_000 if ago % 50 == 0 else 0) for ago in range(1, 169)]
    assert limit_after(seldom).state.limit_usd_micros >= 1_000_000


def test_replay_gives_the_same_bytes():
    made = limit_after(week())
    data = encode_decision(made)
    assert encode_decision(limit_after(week())) == data
    read = decode_decision(data, Decision[LimitState])
    assert read == made
    next_ms = NOW_MS + HOUR_MS
    assert limit_after(week(), read.state, now_ms=next_ms) == limit_after(
        week(), made.state, now_ms=next_ms
    )


@pytest.mark.parametrize(
    "change",
    [
        {"throttled_hours_ppm": 0},
        {"throttled_hours_ppm": 10**6},
        {"throttled_hours_ppm": math.nan},
        {"kappa_ppm_min": 0},
        {"kappa_ppm_min": 7_000_000},
        {"fall_ppm": 10**6},
        {"rise_ppm": 0},
        {"ceiling_ppm": 10**6},
        {"floor_usd_micros": 0},
        {"floor_usd_micros": -1},
        {"hours_min": 23},
        {"hours_min": 169},
    ],
)
def test_settings_that_make_no_sense_are_refused_with_a_next_step(change):
    with pytest.raises(SettingsRefused) as refused:
        check_limit_settings(msgspec.structs.replace(SETTINGS, **change))
    assert refused.value.cause
    assert refused.value.next_step
