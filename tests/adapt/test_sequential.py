"""Evidence is not expected to grow where there is nothing: checked by counting every outcome."""

import math
import random
from fractions import Fraction
from math import comb

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.adapt.sequential import (
    LOOKS_BEFORE_MEAN,
    PPM,
    PSI_BETTER,
    PSI_FAILING,
    PSI_SPLIT,
    PSI_WORSE,
    Difference,
    Evidence,
    MeanEvidence,
    Tails,
    average_log_ppm,
    log_threshold_ppm,
    mean_log_ppm,
    mixed_log_ppm,
    update_mean,
    update_rate,
    update_tails,
    whole_log_ppm,
)

SIZES = [(1, 1), (3, 5), (9, 2), (10, 10), (4, 40)]
ROUNDING = 1 + 1e-9
NONE = Evidence()


def outcomes(baseline, candidate, above, odds):
    """Yield every number of the candidate's among those above, with its probability."""
    weights = {
        x: comb(candidate, x) * comb(baseline, above - x) * odds**x
        for x in range(max(0, above - baseline), min(candidate, above) + 1)
    }
    total = sum(weights.values())
    for x, weight in weights.items():
        yield x, float(weight / total)


def expected(baseline, candidate, above, odds, bets, odds_ppm, value=whole_log_ppm):
    found = 0.0
    for x, chance in outcomes(baseline, candidate, above, odds):
        tails = Tails(above - x, x, baseline, candidate)
        found += chance * math.exp(value(update_tails(NONE, tails, bets, odds_ppm)) / PPM)
    return found


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(
    ("bets", "odds_ppm", "true_odds"),
    [
        (PSI_WORSE, PPM, Fraction(1)),
        (PSI_WORSE, PPM, Fraction(4, 5)),
        (PSI_WORSE, 1_250_000, Fraction(5, 4)),
        (PSI_FAILING, 1_250_000, Fraction(5, 4)),
        (PSI_FAILING, 5_000_000, Fraction(5)),
        (PSI_BETTER, PPM, Fraction(1)),
        (PSI_BETTER, PPM, Fraction(3, 2)),
        *(((psi,), PPM, Fraction(1)) for psi in (*PSI_WORSE, *PSI_FAILING, *PSI_BETTER)),
    ],
)
def test_given_how_many_lie_above_tails_are_not_expected_to_grow(sizes, bets, odds_ppm, true_odds):
    baseline, candidate = sizes
    for above in range(baseline + candidate + 1):
        assert expected(baseline, candidate, above, true_odds, bets, odds_ppm) <= ROUNDING


def test_where_the_candidate_is_worse_tails_are_expected_to_grow():
    assert expected(40, 40, 8, Fraction(3), PSI_WORSE, PPM) > 1.5


@pytest.mark.parametrize("value", [whole_log_ppm, mixed_log_ppm])
def test_over_two_windows_with_another_split_they_are_not_expected_to_grow_either(value):
    total = 0.0
    for x, first in outcomes(6, 3, 4, Fraction(1)):
        one = update_tails(NONE, Tails(4 - x, x, 6, 3), PSI_WORSE)
        for y, second in outcomes(4, 8, 5, Fraction(1)):
            two = update_tails(one, Tails(5 - y, y, 4, 8), PSI_WORSE)
            total += first * second * math.exp(value(two) / PPM)
    assert total <= ROUNDING


def test_drift_of_both_arms_with_a_changing_split_is_no_evidence():
    # The candidate gets more traffic as everything slows down: pooled, it looks twice as bad.
    found = NONE
    for share, slow in ((0.05, 0.02), (0.2, 0.1), (0.5, 0.3)) * 20:
        candidate = round(1_000 * share)
        above = (round((1_000 - candidate) * slow), round(candidate * slow))
        found = update_tails(found, Tails(*above, 1_000 - candidate, candidate), PSI_WORSE)
    assert mixed_log_ppm(found) < 0


tails_of_a_window = st.tuples(
    st.integers(1, 60), st.integers(1, 60), st.floats(0, 1), st.floats(0, 1)
).map(lambda n: Tails(int(n[0] * n[2]), int(n[1] * n[3]), n[0], n[1]))


@given(st.lists(tails_of_a_window, min_size=1, max_size=8), st.randoms())
def test_the_whole_of_the_evidence_does_not_depend_on_the_order_of_windows(windows, chance):
    shuffled = list(windows)
    chance.shuffle(shuffled)
    assert whole_log_ppm(after(windows)) == whole_log_ppm(after(shuffled))


def after(windows):
    found = NONE
    for one in windows:
        found = update_tails(found, one, PSI_WORSE)
    return found


@given(st.lists(tails_of_a_window, min_size=2, max_size=8))
def test_late_bets_are_what_summing_over_every_start_gives(windows):
    late = sum(
        math.exp(whole_log_of(windows[start:], 0)) / ((start + 1) * (start + 2))
        for start in range(1, len(windows))
    )
    found = after(windows).late[0]
    assert found / PPM == pytest.approx(math.log(late), abs=1e-4)


def whole_log_of(windows, bet):
    return after(windows).whole[bet] / PPM


@given(st.lists(tails_of_a_window, max_size=6))
def test_the_same_windows_give_the_same_bytes(windows):
    assert msgspec.json.encode(after(windows)) == msgspec.json.encode(after(windows))
    assert all(type(one) is int for one in (*after(windows).whole, *after(windows).late))


def test_a_late_onset_is_seen_within_three_windows():
    found = NONE
    for _ in range(200):
        found = update_tails(found, Tails(15, 15, 300, 300), PSI_WORSE)
    for _ in range(3):
        found = update_tails(found, Tails(15, 60, 300, 300), PSI_WORSE)
    assert mixed_log_ppm(found) > log_threshold_ppm(50_000) > whole_log_ppm(found)


def test_a_window_without_one_arm_teaches_nothing():
    assert update_tails(NONE, Tails(0, 3, 0, 9), PSI_WORSE) == NONE
    assert update_tails(NONE, Tails(3, 0, 9, 0), PSI_WORSE) == NONE


@pytest.mark.parametrize(
    ("bets", "rate", "true"),
    [
        (PSI_BETTER, 0.05, 0.05),
        (PSI_BETTER, 0.05, 0.1),
        (PSI_WORSE, 0.05, 0.02),
        (PSI_SPLIT, 0.2, 0.2),
    ],
)
@pytest.mark.parametrize("trials", [1, 7, 60])
def test_rates_within_the_null_are_not_expected_to_grow(bets, rate, true, trials):
    found = sum(
        comb(trials, hits)
        * true**hits
        * (1 - true) ** (trials - hits)
        * math.exp(whole_log_ppm(update_rate(NONE, hits, trials, rate, bets)) / PPM)
        for hits in range(trials + 1)
    )
    assert found <= ROUNDING


def test_the_average_of_evidence_weighs_it():
    logs = [math.floor(math.log(value) * PPM) for value in (2.0, 8.0)]
    found = average_log_ppm([(1, logs[0]), (3, logs[1]), (0, 10**9)])
    assert found == pytest.approx(math.log(6.5) * PPM, abs=5)


def test_a_threshold_is_rounded_against_whoever_wants_to_reach_it():
    assert log_threshold_ppm(50_000) >= math.log(20) * PPM
    assert log_threshold_ppm(PPM) == 0


def mean_after(differences, wanted=0.1):
    found = MeanEvidence()
    for mean in differences:
        found = update_mean(found, Difference(mean, 0.01, 100.0), wanted)
    return found


def test_before_enough_looks_a_mean_is_no_evidence():
    assert mean_log_ppm(mean_after([5.0] * (LOOKS_BEFORE_MEAN - 1))) == 0
    assert mean_log_ppm(mean_after([5.0] * LOOKS_BEFORE_MEAN)) > log_threshold_ppm(50_000)


def test_a_mean_that_is_far_below_is_no_evidence_and_does_not_break_it():
    assert mean_log_ppm(mean_after([-5.0] * 100)) < 0
    assert mean_log_ppm(mean_after([-1e6] * 100)) < 0


def test_the_mixture_is_the_integral_that_it_stands_for():
    found = mean_after([0.05] * 8)
    total, spread = found.sum_ppm / PPM, found.variance_ppm / PPM
    scale, step = found.scale_ppm / PPM, found.scale_ppm / PPM / 2_000
    integral = sum(
        2
        * step
        * math.exp(-((at * step / scale) ** 2) / 2)
        / (scale * math.sqrt(2 * math.pi))
        * math.exp(at * step * total - (at * step) ** 2 * spread / 2)
        for at in range(1, 20_000)
    )
    assert mean_log_ppm(found) / PPM == pytest.approx(math.log(integral), abs=2e-3)


@pytest.mark.slow
def test_with_a_mean_of_zero_it_seldom_ever_reaches_its_threshold():
    chance, reached = random.Random(7), 0
    for _ in range(400):
        found = MeanEvidence()
        for _ in range(60):
            found = update_mean(found, Difference(chance.gauss(0, 0.1), 0.01, 100.0), 0.1)
            if mean_log_ppm(found) >= log_threshold_ppm(50_000):
                reached += 1
                break
    assert reached <= 30, "5 % of 400 and 2.3 standard deviations"
