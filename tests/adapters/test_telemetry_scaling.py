"""The metrics of scaling and error budgets: what is not known has no sample."""

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from verismo.adapters.telemetry_scaling import TargetFigures, scaling_lines
from verismo.adapters.telemetry_slo import ObjectiveFigures, slo_lines


def samples(lines):
    text = "".join([*lines, "# EOF\n"])
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_was_decided_is_told_in_seconds_and_ratios():
    found = samples(
        scaling_lines([TargetFigures("reader", 7, "SCALE_UP", "wish_above_band", 350_000, 125_000)])
    )
    assert found == {
        ("verismo_desired_replicas", "reader"): 7,
        ("verismo_scaling_reason", "reader", "SCALE_UP", "wish_above_band"): 1,
        ("verismo_scaling_headroom_ratio", "reader"): 0.35,
        ("verismo_scaling_gap_seconds", "reader"): 125,
    }


def test_replicas_that_are_not_known_have_no_sample():
    found = samples(
        scaling_lines([TargetFigures("reader", None, "NODATA", "sample_incomplete", 350_000, 0)])
    )
    assert not any(key[0] == "verismo_desired_replicas" for key in found)


def test_burns_that_cannot_be_told_have_no_sample():
    found = samples(
        slo_lines([ObjectiveFigures("support", "errors", 999_000, 100, 3, {"5m": 14_400})])
    )
    assert found == {
        ("verismo_slo_requests_total", "support", "errors"): 100,
        ("verismo_slo_bad_total", "support", "errors"): 3,
        ("verismo_slo_objective_ratio", "support", "errors"): 0.999,
        ("verismo_slo_burn_ratio", "support", "errors", "5m"): 14.4,
    }
    assert samples(slo_lines([])) == samples(scaling_lines([])) == {}
