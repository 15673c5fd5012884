"""The alert rules: promtool's own tests, and that those tests can fail."""

import re
import shutil
import subprocess

import pytest
from tests.tidy.source import ROOT
from tests.tidy.test_metrics_documented import exposed

FOLDER = ROOT / "deploy" / "prometheus"
FILES = {
    path.name: path.read_text(encoding="utf-8") for path in sorted((FOLDER / "rules").glob("*.yml"))
}
RULES = "\n".join(FILES.values())
ALERTS = re.findall(r"(?m)^      - alert: (\w+)$", RULES)
RECORDS = re.findall(r"(?m)^      - record: (\S+)$", RULES)
EXPRESSIONS = re.findall(r"(?m)^        expr: (.*(?:\n {10}.*)*)", RULES)


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
    used = set(re.findall(r"\bverismo_[a-z_]+", " ".join(EXPRESSIONS)))
    assert len(EXPRESSIONS) == len(ALERTS) + len(RECORDS)
    assert {name.removesuffix("_bucket") for name in used} <= names


def test_rules_use_only_what_other_rules_record():
    used = set(re.findall(r"\bverismo:[a-z0-9_:]+", " ".join(EXPRESSIONS)))
    assert used <= set(RECORDS)


def test_each_alert_has_its_row_in_the_list_of_runbooks():
    page = (ROOT / "docs" / "runbooks" / "README.md").read_text(encoding="utf-8")
    assert [alert for alert in ALERTS if f"| {alert} | [" not in page] == []


@pytest.mark.external("promtool")
def test_promtool_accepts_the_rules():
    checked = run_promtool("check", "rules", *(FOLDER / "rules").glob("*.yml"))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.external("promtool")
def test_the_alerts_fire_when_they_should():
    tested = run_promtool("test", "rules", *(FOLDER / "tests").glob("*_test.yml"))
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.fixture(scope="module")
def said_of_silence(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what promtool's tests say of rules of which no alert ever fires."""
    folder = tmp_path_factory.mktemp("silent") / "prometheus"
    shutil.copytree(FOLDER, folder)
    for name, rules in FILES.items():
        silent, count = re.subn(
            r"(?ms)^(      - alert: \w+\n(?:        #[^\n]*\n)*        expr: )"
            r".*?\n        (?=labels|for)",
            r"\1vector(0) > 1\n        ",
            rules,
        )
        assert count == len(re.findall(r"(?m)^      - alert: ", rules))
        (folder / "rules" / name).write_text(silent, encoding="utf-8")
    tested = run_promtool("test", "rules", *(folder / "tests").glob("*_test.yml"))
    assert tested.returncode == 1
    return tested.stdout + tested.stderr


@pytest.mark.external("promtool")
@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_that_never_fires_is_seen(alert, said_of_silence):
    assert re.search(rf"alertname: {alert}, time: ", said_of_silence)
