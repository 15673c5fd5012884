"""`[slo.NAME]`: objectives are about routes that there are, and can be met and missed."""

import pytest

from verismo.config.effective import effective
from verismo.model.errors import ConfigError

TABLE = '\n[slo.support]\noperation = "support.answer"\nlatency_ms = 2000\n'


def problem(workspace, text):
    workspace.append("verismo.toml", text)
    with pytest.raises(ConfigError) as caught:
        workspace.load({})
    return caught.value.detail


def test_nothing_is_promised_unless_it_is_written(workspace):
    assert workspace.load().slos == ()


def test_objectives_have_defaults_that_are_shown(workspace):
    workspace.append("verismo.toml", TABLE + 'tenant = "TENANT_001"\n')
    config = workspace.load({})
    [slo] = config.slos
    assert (slo.name, slo.tenant, slo.operation) == ("support", "TENANT_001", "support.answer")
    assert slo.objectives.latency_ppm == 990_000
    assert slo.objectives.error_ppm == 999_000
    assert effective(config)["slos"][0]["objectives"]["latency_ms"] == 2_000


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('tenant = "TENANT_0O1"', "did you mean TENANT_001?"),
        ("error_objective_ppm = 1000000", "error_objective_ppm"),
        ("latency_objective_ppm = 0", "latency_objective_ppm"),
        ("latency_objective_ppm = 0.99", "latency_objective_ppm"),
    ],
)
def test_what_cannot_be_missed_or_met_is_refused(workspace, line, said):
    assert said in problem(workspace, TABLE + line + "\n")


def test_an_operation_that_is_not_there_is_refused(workspace):
    assert "did you mean support.answer?" in problem(workspace, TABLE.replace("answer", "anwser"))
