"""The workflow of the canary gate runs commands that there are and lets only PROMOTE pass."""

import os
import re
import subprocess

import pytest
import yaml
from tests.tidy.source import ROOT

from verismo.cli.canarycompare import EXIT_CODES, compare
from verismo.cli.cards import card

FILE = ROOT / ".github" / "workflows" / "canary-gate.yml"
WORKFLOW = yaml.safe_load(FILE.read_text(encoding="utf-8"))
STEPS = {one["name"]: one for one in WORKFLOW["jobs"]["gate"]["steps"] if "name" in one}
COMPARE = STEPS["Compare the candidate with the baseline"]
POST = STEPS["Post the card"]
GATE = STEPS["Let nothing pass but PROMOTE"]


def options_of(script, command):
    [line] = [one for one in script.replace("\\\n", " ").splitlines() if command in one]
    return set(re.findall(r"(?<=\s)--[a-z-]+", line))


def known(command):
    return {name for one in command.params for name in one.opts}


def test_it_runs_the_command_that_there_is_with_options_that_it_has():
    assert (ROOT / "controllers" / "adaptive-canary.py").is_file()
    used = options_of(COMPARE["run"], "controllers/adaptive-canary.py")
    assert used == {"--window", "--score-weights", "--baseline", "--candidate", "--out"}
    assert used <= known(compare)
    posted = options_of(POST["run"], "verismo canary card")
    assert posted == {"--decision", "--webhook-env", "--link"}
    assert posted <= known(card)


def test_what_is_typed_in_never_becomes_part_of_a_script():
    for step in STEPS.values():
        assert "${{" not in step.get("run", ""), step["name"]


def test_workflow_has_no_right_but_to_read():
    assert WORKFLOW["permissions"] == {"contents": "read"}


def test_slack_cannot_change_the_verdict():
    assert POST["continue-on-error"] is True
    assert POST["timeout-minutes"] <= 5


def compared(tmp_path, code):
    """Run the step with a program that ends with a code instead of the comparison."""
    program = tmp_path / "controllers" / "adaptive-canary.py"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexit {code}\n")
    program.chmod(0o700)
    output = tmp_path / "output"
    environ = {
        **os.environ,
        "GITHUB_OUTPUT": str(output),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        **dict.fromkeys(("BASELINE", "CANDIDATE", "WINDOWS"), "x"),
    }
    shell = ("bash", "-e", "-o", "pipefail", "-c", COMPARE["run"])
    done = subprocess.run(shell, cwd=tmp_path, env=environ, timeout=30, check=False)
    return done.returncode, output.read_text() if output.exists() else ""


@pytest.mark.parametrize(("verdict", "code"), sorted(EXIT_CODES.items()))
def test_each_exit_code_becomes_its_verdict(tmp_path, verdict, code):
    assert compared(tmp_path, code) == (0, f"verdict={verdict}\n")


@pytest.mark.parametrize("code", [1, 2, 5, 127])
def test_other_exit_codes_fail_without_a_verdict(tmp_path, code):
    assert compared(tmp_path, code) == (code, "")


@pytest.mark.parametrize(
    ("verdict", "passes"), [("PROMOTE", True), ("HOLD", False), ("ROLLBACK", False), ("", False)]
)
def test_only_promote_passes(verdict, passes):
    environ = {**os.environ, "VERDICT": verdict}
    done = subprocess.run(("bash", "-ec", GATE["run"]), env=environ, timeout=30, check=False)
    assert (done.returncode == 0) is passes


def test_verdict_is_handed_on_to_whoever_calls_it():
    assert WORKFLOW["jobs"]["gate"]["outputs"] == {
        "verdict": "${{ steps.compare.outputs.verdict }}"
    }
    assert GATE["env"] == {"VERDICT": "${{ steps.compare.outputs.verdict }}"}
