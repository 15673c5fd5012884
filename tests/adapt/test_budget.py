import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verismo.adapt.budget import (
    BIN_MS,
    HOUR_MS,
    BudgetObservation,
    BudgetSettings,
    BudgetState,
    Hand,
    Limits,
    SpendBin,
    Sums,
    bucket_rate_usd_micros,
    check_budget_settings,
    decide,
    limit_in_force,
    step,
)
from verismo.model.decision import (
    Decision,
    SettingsRefused,
    Subject,
    decode_decision,
    encode_decision,
)

SUBJECT = Subject(tenant="TENANT_001", operation="chat")
SETTINGS = BudgetSettings()
LIMITS = Limits(static_usd_micros=6_000, tuned_usd_micros=600)
START_MS = 10**9
BURST = [*[0] * 54, *[101] * 6]
money = st.integers(1, 10**9)
hands = st.none() | st.builds(
    Hand, st.sampled_from(["freeze", "raise", "static"]), money, st.integers(0, 2 * START_MS)
)
limits = st.builds(Limits, money, st.none() | money, hands)


def bins_until(end_ms, levels):
    first = end_ms - len(levels) * BIN_MS
    return tuple(SpendBin(first + n * BIN_MS, level) for n, level in enumerate(levels))


def look(state, levels, limits=LIMITS, end_ms=START_MS):
    observation = BudgetObservation(SUBJECT, bins_until(end_ms, levels), limits)
    return decide(state, observation, SETTINGS, end_ms)


def run(levels, limits=LIMITS):
    """Feed one look after another with sums of the last 60 s and 600 s."""
    steps, state = [], BudgetState()
    for n in range(1, len(levels) + 1):
        seen = Sums(
            START_MS + n * BIN_MS, sum(levels[max(n - 6, 0) : n]), sum(levels[max(n - 60, 0) : n])
        )
        steps.append(step(state, seen, limits, SETTINGS))
        state = steps[-1].state
    return steps


def test_a_breach_takes_two_successive_looks():
    once = look(BudgetState(), BURST)
    assert (once.verdict, once.state.phase) == ("NOOP", "OPEN")
    twice = look(once.state, BURST, end_ms=START_MS + BIN_MS)
    assert (twice.verdict, twice.reasons) == ("THROTTLE", ("w60_over",))
    assert twice.action.kind == "admit_ppm"
    assert (twice.action.before, twice.action.after) == (1_000_000, 800_000)


def test_two_looks_that_are_not_successive_are_no_breach():
    once = look(BudgetState(), BURST).state
    assert look(once, BURST, end_ms=START_MS + 2 * BIN_MS).verdict == "NOOP"


def test_ten_minutes_above_the_limit_are_a_breach_though_no_two_looks_are():
    levels = [700, *([0] * 9)] * 6
    seen = Sums(START_MS, 100, 6_001)
    assert step(BudgetState(), seen, LIMITS, SETTINGS).reasons == ("w600_over",)
    assert sum(levels) < 6_000


def test_five_times_the_limit_is_throttled_within_a_minute():
    steps = run([500] * 6)
    assert [one.verdict for one in steps].index("THROTTLE") == 2


def test_throttled_means_a_bucket_at_four_fifths_and_not_a_block():
    state = run([500] * 3)[-1].state
    assert bucket_rate_usd_micros(state, LIMITS, START_MS) == 480
    assert bucket_rate_usd_micros(BudgetState(), LIMITS, START_MS) is None


def test_a_throttled_route_is_let_go_by_tenths_for_each_clean_minute():
    steps = run([500] * 3 + [0] * 60)
    told = [(n * 10, one.state.admit_ppm) for n, one in enumerate(steps) if one.verdict != "NOOP"]
    assert told == [(20, 800_000), (140, 900_000), (200, 1_000_000)]
    assert [one.verdict for one in steps if one.verdict != "NOOP"] == [
        *("THROTTLE", "CONTINUE", "RELEASE")
    ]


@given(st.lists(st.integers(0, 400), min_size=1, max_size=400))
def test_recovery_is_monotone_until_the_next_breach(levels):
    state = BudgetState()
    for one in run(levels):
        if one.verdict not in ("THROTTLE", "REVERT_STATIC") and not one.reasons[0].startswith("w6"):
            assert one.state.admit_ppm >= state.admit_ppm
        state = one.state


@given(st.lists(st.sampled_from([0, 0, 0, 90, 2_000]), min_size=1, max_size=300))
def test_no_route_goes_on_and_off_more_than_six_times_an_hour(levels):
    toggles, phase = [], "OPEN"
    for n, one in enumerate(run([level for level in levels for _ in range(3)])):
        if (one.state.phase == "OPEN") != (phase == "OPEN"):
            toggles.append(n * BIN_MS)
        phase = one.state.phase
        assert sum(at > n * BIN_MS - HOUR_MS for at in toggles) <= SETTINGS.toggles_max


def waves(quiet_bins):
    return [level for quiet in quiet_bins for level in [250] * 3 + [0] * quiet]


def test_each_further_breach_within_an_hour_doubles_the_cooldown():
    steps = run(waves([40, 60, 5]))
    cooldowns = {one.reasons[0] for one in steps if one.reasons[0].startswith("cooldown")}
    assert cooldowns == {"cooldown ms=120000", "cooldown ms=240000", "cooldown ms=480000"}


def test_thrash_leaves_only_the_static_cap_for_six_hours():
    steps = run(waves([40, 60, 5]))
    thrash = next(one for one in steps if one.verdict == "REVERT_STATIC")
    assert thrash.reasons == ("thrash toggles=5", "w60_over")
    until = thrash.state.static_until_ms
    assert until == thrash.state.judged_ms + SETTINGS.static_ms
    assert limit_in_force(LIMITS, until, until - 1) == 6_000
    assert limit_in_force(LIMITS, until, until) == 600


def test_a_release_waits_where_the_next_breach_would_be_one_toggle_too_many():
    steps = run(waves([40, 60, 200]))
    held = [one for one in steps if one.reasons[0].startswith("toggles=")]
    assert {one.state.phase for one in held} == {"RECOVERING"}
    assert {one.state.admit_ppm for one in held} == {1_000_000}
    assert run(waves([40, 60, 600]))[-1].state.phase == "OPEN"


def test_a_route_throttled_for_an_hour_without_a_clean_minute_asks_for_its_owner():
    steps = run([500] * 400)
    asked = [n for n, one in enumerate(steps) if one.reasons == ("ask_owner",)]
    assert asked[0] == 2 + 360
    assert steps[-1].state.phase == "THROTTLED"


def test_a_breach_during_recovery_throttles_again_without_a_toggle():
    state = BudgetState(phase="RECOVERING", admit_ppm=900_000, over_ms=START_MS - BIN_MS)
    again = step(state, Sums(START_MS, 601, None), LIMITS, SETTINGS)
    assert (again.verdict, again.state.phase) == ("CONTINUE", "THROTTLED")
    assert again.state.toggles == ()


@given(limits, st.integers(0, 2 * START_MS), st.integers(0, 2 * START_MS))
def test_the_limit_is_never_above_the_static_cap(limits, static_until_ms, now_ms):
    assert 0 < limit_in_force(limits, static_until_ms, now_ms) <= limits.static_usd_micros


@pytest.mark.parametrize(("kind", "limit"), [("freeze", 900), ("raise", 900), ("static", 6_000)])
def test_what_a_person_sets_holds_until_it_expires(kind, limit):
    held = msgspec.structs.replace(LIMITS, hand=Hand(kind, 900, START_MS))
    assert limit_in_force(held, START_MS * 2, START_MS - 1) == limit
    assert limit_in_force(held, 0, START_MS) == 600


@given(st.permutations(range(60)), st.sets(st.integers(0, 59)))
def test_reordered_and_repeated_bins_are_harmless(order, repeated):
    bins = bins_until(START_MS, list(range(60)))
    mixed = tuple(bins[n] for n in [*order, *repeated])
    plain = decide(BudgetState(), BudgetObservation(SUBJECT, bins, LIMITS), SETTINGS, START_MS)
    other = decide(BudgetState(), BudgetObservation(SUBJECT, mixed, LIMITS), SETTINGS, START_MS)
    assert (other.state, other.verdict, other.metrics) == (
        plain.state,
        plain.verdict,
        plain.metrics,
    )


GOOD = bins_until(START_MS, BURST)
THROTTLED = BudgetState(phase="THROTTLED", admit_ppm=800_000, breach_ms=START_MS - HOUR_MS)


@pytest.mark.parametrize(
    ("bins", "reason"),
    [
        ((), "bins_missing"),
        (GOOD[:-2], "bins_missing"),
        ((*GOOD[:57], *GOOD[58:]), "bins_missing"),
        ((*GOOD, SpendBin(START_MS - BIN_MS, 7)), "bins_contradict"),
        ((*GOOD, SpendBin(START_MS, 7)), "bin_malformed_or_of_the_future"),
        ((*GOOD, SpendBin(START_MS - 5, 7)), "bin_malformed_or_of_the_future"),
        ((SpendBin(START_MS - BIN_MS, -1),), "number_out_of_range"),
        ((SpendBin(START_MS - BIN_MS, math.nan),), "number_out_of_range"),
        ((SpendBin(START_MS - BIN_MS, 2**60),), "number_out_of_range"),
        ((SpendBin(START_MS - BIN_MS, 2**52),), "number_out_of_range"),
        ((SpendBin(math.inf, 0),), "number_out_of_range"),
    ],
)
@pytest.mark.parametrize("state", [BudgetState(), THROTTLED])
def test_missing_and_mad_bins_neither_throttle_nor_let_go(bins, reason, state):
    told = decide(state, BudgetObservation(SUBJECT, bins, LIMITS), SETTINGS, START_MS)
    assert (told.verdict, told.reasons, told.state) == ("NODATA", (reason,), state)
    assert told.metrics[0].status == "NODATA"
    assert encode_decision(told)


def test_a_hole_in_the_long_window_leaves_the_short_one():
    told = decide(BudgetState(), BudgetObservation(SUBJECT, GOOD[10:], LIMITS), SETTINGS, START_MS)
    assert told.verdict == "NOOP"
    assert told.metrics[0].values["w600_usd_micros"] is None


@pytest.mark.parametrize(
    "mad",
    [
        Limits(0),
        Limits(-5),
        Limits(math.nan),
        Limits(600, 0),
        Limits(600, 6.5),
        Limits(600, None, Hand("raise", 0, START_MS)),
    ],
)
def test_a_limit_that_is_none_is_no_data_and_not_a_default(mad):
    told = look(BudgetState(), BURST, mad)
    assert (told.verdict, told.reasons) == ("NODATA", ("limit_out_of_range",))
    assert told.metrics[0].values["limit_usd_micros"] is None


def test_the_same_bin_is_judged_once():
    once = look(BudgetState(), BURST)
    again = look(once.state, BURST)
    assert (again.verdict, again.reasons) == ("NODATA", ("bin_already_judged",))
    assert again.state == once.state


def test_a_clock_that_steps_back_changes_nothing_and_one_that_leaps_finds_no_bins():
    once = look(BudgetState(), BURST)
    back = look(once.state, BURST, end_ms=START_MS - HOUR_MS)
    assert (back.verdict, back.state) == ("NODATA", once.state)
    observation = BudgetObservation(SUBJECT, GOOD, LIMITS)
    leapt = decide(once.state, observation, SETTINGS, START_MS + HOUR_MS)
    assert (leapt.reasons, leapt.state) == (("bins_missing",), once.state)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=60, max_size=90))
def test_replay_gives_the_same_bytes(levels):
    def replayed():
        state, told = BudgetState(), []
        for end in range(60, len(levels) + 1):
            made = look(state, levels[end - 60 : end], end_ms=START_MS + end * BIN_MS)
            told.append(encode_decision(made))
            state = decode_decision(told[-1], Decision[BudgetState]).state
        return told

    assert replayed() == replayed()


@given(st.integers(0, 600), st.integers(0, 6_000))
def test_quiet_looks_leave_an_open_route_as_it_is(short, long):
    """The benchmark leaves such looks out."""
    before = BudgetState(judged_ms=START_MS - BIN_MS, clean_ms=START_MS - HOUR_MS)
    told = step(before, Sums(START_MS, short, long), LIMITS, SETTINGS)
    assert told.verdict == "NOOP"
    assert msgspec.structs.replace(told.state, judged_ms=before.judged_ms) == before


@pytest.mark.parametrize(
    "change",
    [
        {"throttle_ppm": 0},
        {"throttle_ppm": 10**6},
        {"throttle_ppm": math.nan},
        {"recovery_ppm": 1_000_001},
        {"cooldown_ms": 2 * HOUR_MS},
        {"toggles_max": 3},
        {"static_ms": -1},
    ],
)
def test_settings_that_make_no_sense_are_refused_with_a_next_step(change):
    with pytest.raises(SettingsRefused) as refused:
        check_budget_settings(msgspec.structs.replace(SETTINGS, **change))
    assert refused.value.cause
    assert refused.value.next_step
