"""The tolerance follows from the noise of equal arms; too few windows give none."""

import math
import random

import pytest

from verismo.adapt.canarycalibration import STRETCHES_MIN, calibrate, upper_bound_ppm
from verismo.adapt.canaryobservation import CanaryObservation
from verismo.adapt.canarysettings import CanarySettings
from verismo.model.window import Tally, Window

MINUTE = 60_000
STRETCH = 12
SETTINGS = CanarySettings()


def pairs(count, noise=0.0, slower=1.0):
    """Return minutes of two arms; every stretch one arm has a level of its own."""
    chance, found, levels = random.Random(3), [], (1.0, 1.0)
    for at in range(count):
        if at % STRETCH == 0:
            levels = tuple(math.exp(chance.gauss(0, noise)) for _ in range(2))
        found.append(
            CanaryObservation(
                window(chance, "baseline", at, levels[0]),
                window(chance, "candidate", at, levels[1] * slower),
            )
        )
    return found


def window(chance, arm, at, level):
    tally = Tally()
    for _ in range(400):
        tally.add(round(chance.lognormvariate(13, 0.5) * level))
    return Window(
        *("T", "o", arm, arm, at * MINUTE, (at + 1) * MINUTE, 400, 0),
        *(4_000, 44_000, tally.histogram()),
    )


@pytest.mark.slow
def test_noisier_arms_ask_for_a_wider_tolerance():
    quiet = calibrate(pairs(STRETCH * 12), SETTINGS, STRETCH)
    noisy = calibrate(pairs(STRETCH * 12, noise=0.05), SETTINGS, STRETCH)
    assert quiet.stretches == noisy.stretches == 24
    assert quiet.tolerance_ppm < noisy.tolerance_ppm
    assert noisy.trials[-1].held <= 1 < noisy.trials[0].held
    assert all(one.bound_ppm > one.held * 1_000_000 // 24 for one in noisy.trials)


@pytest.mark.slow
def test_arms_that_are_not_alike_get_no_tolerance():
    found = calibrate(pairs(STRETCH * 10, slower=1.5), SETTINGS, STRETCH)
    assert found.tolerance_ppm is None
    assert found.trials[-1].held >= 1


@pytest.mark.slow
def test_too_few_stretches_get_no_tolerance():
    found = calibrate(pairs(STRETCH * (STRETCHES_MIN // 2 - 1)), SETTINGS, STRETCH)
    assert (found.trials, found.tolerance_ppm) == ((), None)


def test_looks_without_both_arms_are_left_out():
    bare = [CanaryObservation(None, None)] * 600
    assert calibrate(bare, SETTINGS, STRETCH).stretches == 0


@pytest.mark.parametrize(
    ("hits", "trials", "share"), [(0, 59, 0.0495), (0, 24, 0.1173), (1, 24, 0.1829), (24, 24, 1.0)]
)
def test_the_bound_is_that_of_clopper_and_pearson(hits, trials, share):
    assert upper_bound_ppm(hits, trials) == pytest.approx(share * 1e6, abs=100)
