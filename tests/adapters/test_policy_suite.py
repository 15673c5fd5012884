"""The runner of a policy's own tests."""

import pytest

from verismo.adapters.policy_bundle import BundleFile
from verismo.adapters.policy_suite import run_suite
from verismo.model.errors import StateError

POLICY = BundleFile(
    "a.rego", b"package verismo.a\n\nx if input.on\n\ny if {\n\tinput.off\n\tx\n}\n"
)


def suite(*rules: str):
    text = "package verismo.a_test\nimport data.verismo.a\n" + "\n".join(rules) + "\n"
    return run_suite([POLICY, BundleFile("a_test.rego", text.encode())])


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ("test_it if a.x with input.on as true", "PASS"),
        ("test_it if a.x", "FAIL"),
        ("test_it := false", "FAIL"),
        ("test_it := 1", "FAIL"),
        ('test_it := "true"', "FAIL"),
        ('test_it contains "case"', "FAIL"),
        ("test_it if 1 / 0", "ERROR"),
        ("todo_test_it if a.x", "SKIPPED"),
        ("test_it if true\ntest_it if false", "ERROR"),
    ],
)
def test_outcome_follows_the_value_of_the_rule(rule, outcome):
    result = suite(rule)
    assert {trial.outcome for trial in result.trials} == {outcome}
    assert result.passed is (outcome == "PASS")
    assert all(trial.message for trial in result.trials if trial.outcome in ("FAIL", "ERROR"))
    assert result.trials[0].line == 3


def test_one_failure_fails_the_suite():
    assert not suite("test_a if true", "test_b if false").passed
    assert suite("test_a if true", "todo_test_b if false").passed


def test_no_tests_or_only_skipped_ones_have_not_passed():
    assert not run_suite([POLICY]).passed
    assert not suite("helper if true").passed
    assert not suite("todo_test_a if true").passed


def test_test_rules_outside_test_files_are_not_run():
    stray = BundleFile("b.rego", b"package verismo.b\ntest_x if true\n")
    assert run_suite([stray]).trials == ()


def test_coverage_names_lines_of_the_policy_only():
    (coverage,) = suite("test_x if a.x with input.on as true").coverage
    assert coverage.path == "a.rego"
    assert 3 in coverage.covered
    assert 7 in coverage.not_covered


@pytest.mark.parametrize(
    "text", ["package x\nf(a) := f(a)\ntest_a if f(1)\n", "package x\ny := )\n"]
)
def test_suite_that_would_end_the_process_or_cannot_be_parsed_is_refused(text):
    with pytest.raises(StateError, match=r"a_test\.rego:2"):
        run_suite([BundleFile("a_test.rego", text.encode())])
