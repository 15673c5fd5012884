"""Weights and settings are read as they are written, or refused with what to write instead."""

import math

import msgspec
import pytest

from verismo.adapt.canarysettings import (
    CanarySettings,
    ScoreWeights,
    buckets_down,
    buckets_up,
    check_settings,
    parse_weights,
)
from verismo.model import canonical
from verismo.model.decision import SettingsRefused

DEFAULTS = CanarySettings()


def test_the_weights_of_the_specification_are_the_defaults():
    assert parse_weights("p95=0.5,error=0.3,cost=0.2") == ScoreWeights()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("p95=1", ScoreWeights(1_000_000, 0, 0, 0)),
        ("p99=.25, p95=0.75", ScoreWeights(750_000, 0, 0, 250_000)),
        ("error=0.000001,cost=0.999999", ScoreWeights(0, 1, 999_999, 0)),
    ],
)
def test_what_is_not_named_has_no_weight(text, wanted):
    assert parse_weights(text) == wanted


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "names no metric"),
        ("p95=0.5,latency=0.5", "names no metric"),
        ("p95=0.5,p95=0.5", "two weights"),
        ("p95=nan,error=1", "is no weight"),
        ("p95=-0.5,error=1.5", "is no weight"),
        ("p95=1e-1,error=0.9", "is no weight"),
        ("p95=,error=1", "is no weight"),
        ("p95=.,error=1", "is no weight"),
        ("p95=0.5", "sum to 500000"),
        ("p95=1,error=1", "sum to 2000000"),
        ("p95=0.3333333,error=0.6666667", "is no weight"),
    ],
)
def test_other_weights_are_refused(text, cause):
    with pytest.raises(SettingsRefused, match=cause) as refused:
        parse_weights(text)
    assert refused.value.next_step.endswith(".")


def test_the_defaults_fit_together():
    check_settings(DEFAULTS)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"weights": ScoreWeights(-1, 500_000, 500_001)}, "no share"),
        ({"weights": ScoreWeights(math.nan)}, "no share"),
        ({"windows_min": 0}, "windows_min"),
        ({"threshold_ppm": math.nan}, "threshold_ppm"),
        ({"threshold_ppm": 1_000_001}, "above 1"),
        ({"holds_max": 11}, "holds_max"),
        ({"p95_harm_ppm": 50_000}, "p95_harm_ppm"),
        ({"cost_tolerance_ppm": 98_000}, "cost_harm_ppm"),
        ({"error_harm_ppm": 1_000}, "error_harm_ppm"),
        ({"error_harm_ppm": 1_000_000}, "error_harm_ppm"),
        ({"error_odds_ppm": 900_000}, "odds"),
        ({"severe_odds_ppm": 1_250_000}, "odds"),
        ({"severe_ratio_ppm": 1_200_000}, "severe_ratio_ppm"),
        ({"alpha_promote_ppm": 600_000}, "alpha_promote_ppm"),
        ({"alpha_p99_ppm": 50_000}, "leaves nothing"),
        ({"ladder_ppm": (1_000_000,)}, "ladder_ppm"),
        ({"ladder_ppm": (200_000, 50_000, 1_000_000)}, "ladder_ppm"),
        ({"ladder_ppm": (50_000, 500_000)}, "ladder_ppm"),
        ({"ladder_ppm": (5_000, 1_000_000)}, "ladder_ppm"),
        ({"silence_hold_ms": 1_000}, "silence_hold_ms"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, cause):
    with pytest.raises(SettingsRefused, match=cause):
        check_settings(msgspec.structs.replace(DEFAULTS, **changes))


def test_margins_are_rounded_to_steps_on_the_safe_side():
    assert (buckets_up(1_050_000), buckets_down(1_200_000)) == (5, 18)
    assert (buckets_up(1_010_000), buckets_down(1_010_000)) == (1, 1)


def test_settings_that_name_no_deployments_are_spelled_as_before_there_were_such_names():
    spelled = canonical.encode(DEFAULTS)
    assert b"deployment" not in spelled
    assert canonical.decode(spelled, CanarySettings) == DEFAULTS
    named = msgspec.structs.replace(DEFAULTS, candidate_deployment="ab" * 32)
    check_settings(named)
    assert canonical.decode(canonical.encode(named), CanarySettings) == named


@pytest.mark.parametrize("digest", ["", "AB" * 32, "ab" * 31, 5])
def test_a_deployment_that_is_named_by_no_digest_is_refused(digest):
    with pytest.raises(SettingsRefused, match="candidate_deployment is no digest"):
        check_settings(msgspec.structs.replace(DEFAULTS, candidate_deployment=digest))
