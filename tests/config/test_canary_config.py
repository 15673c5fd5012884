"""`[canary]`: what fits together becomes settings; what does not is refused with its place."""

import pytest

from verismo.adapt.canarysettings import CanarySettings
from verismo.config.effective import effective
from verismo.model.errors import ConfigError


def problem(workspace, text):
    workspace.append("verismo.toml", text)
    with pytest.raises(ConfigError) as caught:
        workspace.load()
    return caught.value.detail


def test_without_a_table_the_settings_are_those_that_were_measured(workspace):
    found = workspace.load().canary
    assert (found.settings, found.look_ms) == (CanarySettings(), 60_000)


def test_settings_are_taken_and_shown(workspace):
    workspace.append(
        "verismo.toml",
        '[canary]\nscore_weights = "p95=0.6,error=0.4"\nladder_ppm = [100000, 1000000]\n'
        "look_s = 20\np95_tolerance_ppm = 70000\nbake_s_max = 7200\n",
    )
    config = workspace.load()
    settings = config.canary.settings
    assert (settings.weights.p95_ppm, settings.weights.cost_ppm) == (600_000, 0)
    assert (settings.ladder_ppm, settings.p95_tolerance_ppm) == ((100_000, 1_000_000), 70_000)
    assert (settings.bake_ms_max, config.canary.look_ms) == (7_200_000, 20_000)
    assert effective(config)["canary"]["settings"]["p95_tolerance_ppm"] == 70_000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("look_s = 15", "multiple of adapt.window_s, 10"),
        ('score_weights = "p95=0.5,error=0.3"', "sum to 800000 ppm"),
        ('score_weights = "p95=NaN"', "is no weight"),
        ('score_weights = "speed=1"', "names no metric"),
        ("ladder_ppm = [500000, 200000, 1000000]", "does not climb"),
        ("ladder_ppm = [50000, 500000]", "does not climb"),
        ("p95_tolerance_ppm = 190000", "is not above"),
        ("cost_tolerance_ppm = 0", "cost_tolerance_ppm"),
        ("p95_tolerance_ppm = nan", "p95_tolerance_ppm"),
        ("p95_tolerance = 5", "did you mean p95_tolerance_ppm?"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(workspace, text, told):
    assert told in problem(workspace, f"[canary]\n{text}\n")
