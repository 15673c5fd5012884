"""`verismo policy`: test, check, evaluate and build the policy."""

import io
import os
import sys
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree

import click

from verismo.model.errors import StateError
from verismo.wiring.policy import (
    FileCoverage,
    SuiteResult,
    build_policy,
    check_policy,
    evaluate_query,
    run_policy_tests,
)

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_DEFAULT = Path("policy")


@click.group()
def policy() -> None:
    """Test, check, evaluate and build the policy."""


@policy.command("test")
@click.argument("folder", type=_FOLDER, default=_DEFAULT)
@click.option("--coverage", is_flag=True, help="Also show which lines no test evaluated.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write JUnit XML.")
def test(folder: Path, coverage: bool, junit: Path | None) -> None:
    """Run the test_* rules of *_test.rego; exit 1 if one fails or there are none."""
    result = run_policy_tests(folder)
    for trial in result.trials:
        message = f"  ({trial.file}:{trial.line}: {trial.message})" if trial.message else ""
        click.echo(f"{trial.name}: {trial.outcome}{message}")
    if coverage:
        for item in result.coverage:
            click.echo(_coverage_line(item))
    if junit is not None:
        _write(junit, _junit(result))
    outcomes = [trial.outcome for trial in result.trials]
    counts = [f"{word}: {outcomes.count(word)}/{len(outcomes)}" for word in ("PASS", "SKIPPED")]
    failed = outcomes.count("FAIL") + outcomes.count("ERROR")
    click.echo("  ".join([*counts, f"FAIL: {failed}/{len(outcomes)}"]))
    if not result.passed:
        if "PASS" not in outcomes and not failed:
            click.echo(f"no test ran in {folder}: a policy without tests does not pass", err=True)
        sys.exit(1)


@policy.command("check")
@click.argument("folder", type=_FOLDER, default=_DEFAULT)
def check(folder: Path) -> None:
    """Refuse what the gateway would refuse, with file and line; exit 1 on a finding."""
    findings = check_policy(folder)
    for finding in findings:
        click.echo(f"{folder / finding.file}:{finding.line}: {finding.message}")
    if findings:
        sys.exit(1)
    click.echo(f"{folder}: ok")


@policy.command("eval")
@click.option("-d", "--data", "folder", type=_FOLDER, default=_DEFAULT, help="Policy folder.")
@click.option(
    "-i",
    "--input",
    "question",
    type=click.File("rb"),
    help="JSON input; `-` reads standard input.  [default: {}]",
)
@click.argument("query")
def evaluate(folder: Path, question: BinaryIO | None, query: str) -> None:
    """Evaluate a QUERY, such as data.verismo.gateway.decision, and print JSON."""
    click.echo(evaluate_query(folder, question.read() if question is not None else b"{}", query))


@policy.command("build")
@click.option("-b", "--bundle", "folder", type=_FOLDER, default=_DEFAULT, help="Policy folder.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("bundle.tar.gz"),
    show_default=True,
    help="The archive to write.",
)
def build(folder: Path, output: Path) -> None:
    """Write a standard OPA bundle; the same policy gives the same bytes."""
    archive, revision = build_policy(folder)
    _write(output, archive)
    click.echo(f"{output}: revision {revision}")


def _coverage_line(item: FileCoverage) -> str:
    lines = len(item.covered) + len(item.not_covered)
    percent = 100 * len(item.covered) // lines if lines else 100
    missed = ", ".join(str(line) for line in item.not_covered)
    return f"{item.path}: {percent}%" + (f", not covered: {missed}" if missed else "")


def _junit(result: SuiteResult) -> bytes:
    outcomes = [trial.outcome for trial in result.trials]
    suite = ElementTree.Element(
        "testsuite",
        name="verismo policy",
        tests=str(len(outcomes)),
        failures=str(outcomes.count("FAIL")),
        errors=str(outcomes.count("ERROR")),
        skipped=str(outcomes.count("SKIPPED")),
    )
    for trial in result.trials:
        package, _, name = trial.name.rpartition(".")
        case = ElementTree.SubElement(
            suite, "testcase", classname=package, name=name, file=trial.file, line=str(trial.line)
        )
        tag = {"FAIL": "failure", "ERROR": "error", "SKIPPED": "skipped"}.get(trial.outcome)
        if tag is not None:
            ElementTree.SubElement(case, tag, message=trial.message)
    written = io.BytesIO()
    ElementTree.ElementTree(suite).write(written, encoding="utf-8", xml_declaration=True)
    return written.getvalue()


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        raise StateError(
            f"cannot write {path}: {error.strerror}", next_step="Name a file that can be written."
        ) from error
