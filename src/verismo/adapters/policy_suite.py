"""Runs a policy's own tests: the `test_*` rules of `*_test.rego`, as `opa test` does.

A test passes if it is true; `todo_test_*` is skipped. Two rules of one name would be tried as one,
so they are refused. Source: OPA documentation, "Policy Testing".
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import Literal

import msgspec

from verismo.adapters.policy_bundle import BundleFile
from verismo.adapters.policy_profile import Module, Rule, recursion_findings
from verismo.adapters.policy_regorus import Interpreter, PolicyFault
from verismo.model.errors import StateError

Outcome = Literal["PASS", "FAIL", "SKIPPED", "ERROR"]


class Trial(msgspec.Struct, frozen=True):
    """One test rule and how it went.

    Args:
        name: absolute path of the rule.
        file, line: where it stands.
        outcome: `FAIL` if it is not true, `ERROR` if it could not be evaluated.
        message: why it failed; empty for PASS and SKIPPED.
    """

    name: str
    file: str
    line: int
    outcome: Outcome
    message: str = ""


class FileCoverage(msgspec.Struct, frozen=True):
    """Which lines of a file the tests evaluated; lines without code are in neither.

    Of a file that no test reached, the first line of each rule stands for the rule.
    """

    path: str
    covered: tuple[int, ...]
    not_covered: tuple[int, ...]


class SuiteResult(msgspec.Struct, frozen=True):
    """What came of all tests. An empty set of tests has not passed."""

    trials: tuple[Trial, ...]
    coverage: tuple[FileCoverage, ...]

    @property
    def passed(self) -> bool:
        """Whether at least one test ran and none failed."""
        outcomes = {trial.outcome for trial in self.trials}
        return "PASS" in outcomes and outcomes <= {"PASS", "SKIPPED"}


class _Coverage(msgspec.Struct, frozen=True):
    files: tuple[FileCoverage, ...]


def run_suite(files: Sequence[BundleFile]) -> SuiteResult:
    """Run every test of a bundle, in the order of file and line.

    Raises:
        StateError: a file cannot be parsed; the detail names file and line.
    """
    with closing(Interpreter()) as interpreter:
        return _run(interpreter, files)


def _run(interpreter: Interpreter, files: Sequence[BundleFile]) -> SuiteResult:
    try:
        modules = interpreter.load(files)
    except PolicyFault as error:
        raise StateError(str(error), next_step="Mend the named line.") from error
    endless = recursion_findings(modules)
    if endless:
        raise StateError(str(endless[0]), next_step="Let no function reach itself.")
    interpreter.record_coverage()
    tests = [
        rule
        for module in modules
        for rule in module.rules
        if rule.file.endswith("_test.rego") and rule.name.startswith(("test_", "todo_test_"))
    ]
    repeated = {path for path, count in Counter(rule.path for rule in tests).items() if count > 1}
    tests.sort(key=lambda rule: (rule.file, rule.line))
    trials = tuple(_try(interpreter, rule, rule.path in repeated) for rule in tests)
    return SuiteResult(trials, _coverage(interpreter, modules))


def _coverage(interpreter: Interpreter, modules: Sequence[Module]) -> tuple[FileCoverage, ...]:
    """Complete the interpreter's report, which leaves out files that no test reached at all."""
    report = msgspec.json.decode(interpreter.coverage(), type=_Coverage)
    reached = {item.path: item for item in report.files}
    return tuple(
        reached.get(module.file)
        or FileCoverage(module.file, (), tuple(sorted({rule.line for rule in module.rules})))
        for module in modules
        if not module.file.endswith("_test.rego")
    )


def _try(interpreter: Interpreter, rule: Rule, repeated: bool) -> Trial:
    def trial(outcome: Outcome, message: str = "") -> Trial:
        return Trial(rule.path, rule.file, rule.line, outcome, message)

    if rule.name.startswith("todo_"):
        return trial("SKIPPED")
    if repeated:
        return trial("ERROR", "another test has the same name")
    try:
        value = interpreter.rule(rule.path, b"{}")
    except PolicyFault as error:
        return trial("ERROR", str(error))
    if value == "true":
        return trial("PASS")
    shown = "undefined" if value == '"<undefined>"' else " ".join(value.split())
    return trial("FAIL", f"is {shown}, not true")
