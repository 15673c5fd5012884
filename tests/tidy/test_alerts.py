"""The alert rules: promtool's own tests, and that those tests can fail."""

import re
import shutil
import subprocess

import pytest
from tests.tidy.source import ROOT
from tests.tidy.test_metrics_documented import exposed

FOLDER = ROOT / "deploy" / "prometheus"
RULES = (FOLDER / "rules" / "verismo.yml").read_text(encoding="utf-8")
ALERTS = re.findall(r"(?m)^      - alert: (\w+)$", RULES)


def run_promtool(*arguments):
    return subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )


def test_there_are_alerts():
    assert len(ALERTS) >= 5


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_runbook_that_names_it(alert):
    rule = RULES.partition(f"- alert: {alert}\n")[2].partition("- alert:")[0]
    [path] = re.findall(r"runbook: (\S+)", rule)
    assert (ROOT / path).read_text(encoding="utf-8").startswith(f"# {alert}: ")


def test_rules_use_only_metrics_that_exist():
    names = {metric.name for metric in exposed()}
    expressions = re.findall(r"(?ms)^        expr: (.*?)\n        (?:labels|for):", RULES)
    used = set(re.findall(r"\bverismo_[a-z_]+", " ".join(expressions)))
    assert len(expressions) == len(ALERTS)
    assert {name.removesuffix("_bucket") for name in used} <= names


@pytest.mark.external("promtool")
def test_promtool_accepts_the_rules():
    checked = run_promtool("check", "rules", *(FOLDER / "rules").glob("*.yml"))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.external("promtool")
def test_the_alerts_fire_when_they_should():
    tested = run_promtool("test", "rules", *(FOLDER / "tests").glob("*_test.yml"))
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.external("promtool")
@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_that_never_fires_is_seen(alert, tmp_path):
    shutil.copytree(FOLDER, tmp_path / "prometheus")
    start = RULES.index(f"- alert: {alert}\n")
    rest = re.sub(
        r"(?ms)^        expr: .*?\n        (?=labels|for)",
        "        expr: vector(0) > 1\n        ",
        RULES[start:],
        count=1,
    )
    broken = tmp_path / "prometheus" / "rules" / "verismo.yml"
    broken.write_text(RULES[:start] + rest, encoding="utf-8")
    tests = (tmp_path / "prometheus" / "tests").glob("*_test.yml")
    tested = run_promtool("test", "rules", *tests)
    assert tested.returncode != 0
    assert alert in tested.stdout + tested.stderr
