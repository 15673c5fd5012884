"""The replay does to spend what the rules do, plants breaches, and reports no figure it has not."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verismo.adapt.budget import BudgetSettings
from verismo.adapt.budgetlimit import LimitSettings
from verismo.adapt.budgetreplay import (
    HOUR_BINS,
    MULTIPLES,
    PLANTED,
    Replayed,
    percentile,
    replay,
    rolling,
)
from verismo.adapt.budgetreport import DEFINITIONS, DataSource, Settings, report_of

BUDGET, LIMIT = BudgetSettings(), LimitSettings()
CAP = 60_000
STEADY = (1_000,) * HOUR_BINS
SOURCE = DataSource("generated", "a test", 0, 1, 0)


def route(*hours, history=1, cap=CAP):
    return Replayed(0, tuple(one for hour in hours for one in hour), history * HOUR_BINS, cap)


def run(*hours, **options):
    return replay(route(*hours, **options), BUDGET, LIMIT)


def report(*outcomes, window_s=120):
    rows = [(f"op{n}", CAP, one) for n, one in enumerate(outcomes)]
    return report_of(Settings("T1", window_s), SOURCE, rows)


def burst(at, length, level=20_000):
    hour = list(STEADY)
    hour[at : at + length] = [level] * length
    return tuple(hour)


def test_steady_spend_is_never_throttled_and_every_great_breach_is_found():
    outcome = run(STEADY, STEADY, STEADY)
    assert (outcome.hours, outcome.hours_throttled, outcome.events) == (2, 0, ())
    assert outcome.shed_usd_micros == 0
    found = {m: [one for one in outcome.planted if one.multiple == m] for m in MULTIPLES}
    assert [len(one) for one in found.values()] == [PLANTED] * 3
    assert {one.throttled_ms for one in found[20]} == {40_000}
    # Twice the usual is 12,000 + 6,000 a minute, far under the cap, and nothing was learned.
    assert {one.throttled_ms for one in found[2]} == {None}


def test_what_is_throttled_is_told_with_its_time_cause_and_shed_spend():
    outcome = run(STEADY, burst(100, 12), STEADY)
    (event,) = outcome.events
    assert outcome.hours_throttled == 1
    assert event.reason == "w60_over"
    assert event.w60_usd_micros > event.limit_usd_micros == CAP
    assert event.at_ms < event.released_ms
    assert 0 < event.shed_usd_micros == outcome.shed_usd_micros < 12 * 20_000


def test_overshoot_is_what_was_offered_over_the_limit_until_it_was_throttled():
    outcome = run(STEADY, STEADY)
    planted = next(one for one in outcome.planted if one.multiple == 20)
    # 20,000 + 1,000 in each of four bins, of which 10,000 each are within the limit.
    assert planted.overshoot_usd_micros == 4 * 11_000


def test_learned_limit_finds_what_the_cap_does_not():
    hours = [STEADY] * 100
    outcome = replay(route(*hours, history=80, cap=10**9), BUDGET, LIMIT)
    assert outcome.tuned_usd_micros is not None
    assert outcome.tuned_usd_micros < 5 * 6_000
    found = [one for one in outcome.planted if one.multiple == 5]
    assert all(one.throttled_ms is not None and one.throttled_ms <= 120_000 for one in found)


def test_route_that_never_spent_before_has_no_breach_planted_and_no_figure_for_it():
    outcome = run((0,) * HOUR_BINS, STEADY)
    assert outcome.planted == ()
    told = report(outcome).breaches
    assert {(one.planted, one.false_negative_ppm) for one in told} == {(0, None)}
    assert {one.time_to_throttle_ms_median for one in told} == {None}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([0, 0, 500, 1_000, 30_000]), min_size=30, max_size=30))
def test_shed_spend_is_part_of_what_was_offered_and_toggles_keep_their_bound(levels):
    hour = tuple(level for level in levels for _ in range(12))
    outcome = run(STEADY, hour, hour)
    assert 0 <= outcome.shed_usd_micros <= outcome.offered_usd_micros == 2 * sum(hour)
    assert outcome.toggles_per_hour_max <= BUDGET.toggles_max
    assert sum(one.shed_usd_micros for one in outcome.events) == outcome.shed_usd_micros
    assert replay(route(STEADY, hour, hour), BUDGET, LIMIT) == outcome


def test_report_says_what_each_figure_means_and_holds_no_float():
    told = report(run(STEADY, burst(100, 12), STEADY), run(STEADY, STEADY, STEADY))
    assert told.false_positive_mean_ppm == 250_000
    assert told.false_positive_p90_ppm == 500_000
    assert told.throttle_events == 1
    assert set(told.definitions) == set(DEFINITIONS)
    text = msgspec.json.encode(told)
    msgspec.json.decode(text, type=dict[str, object])

    def floats(value):
        if isinstance(value, dict | list):
            inner = value.values() if isinstance(value, dict) else value
            return any(floats(one) for one in inner)
        return isinstance(value, float)

    assert not floats(msgspec.json.decode(text))


def test_narrower_window_counts_fewer_breaches_as_found():
    outcome = run(STEADY, STEADY)
    wide, narrow = report(outcome), report(outcome, window_s=30)
    assert wide.breaches[2].false_negative_ppm == 0
    assert narrow.breaches[2].false_negative_ppm == 1_000_000


@pytest.mark.parametrize(
    ("values", "share_ppm", "expected"),
    [([], 500_000, 0), ([7], 900_000, 7), ([1, 2, 3, 4], 500_000, 2), ([1, 2], 1_000_000, 2)],
)
def test_percentile_is_one_of_the_values(values, share_ppm, expected):
    assert percentile(values, share_ppm) == expected


@given(st.lists(st.integers(0, 100), max_size=40), st.integers(1, 10))
def test_rolling_sums_are_sums(values, width):
    expected = [sum(values[max(0, at - width + 1) : at + 1]) for at in range(len(values))]
    assert rolling(values, width) == expected
