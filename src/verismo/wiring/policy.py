"""Composes the policy: the engine for a worker, and what the `policy` commands need."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from verismo.adapters.policy_bundle import bundle_archive, bundle_digest, read_bundle
from verismo.adapters.policy_profile import Finding, check
from verismo.adapters.policy_regorus import Interpreter, PolicyFault, RegorusPolicy
from verismo.adapters.policy_suite import FileCoverage, SuiteResult, Trial, run_suite
from verismo.model.errors import StateError
from verismo.ports.policy import PolicyEngine

__all__ = [
    "FileCoverage",
    "Finding",
    "SuiteResult",
    "Trial",
    "build_policy",
    "check_policy",
    "evaluate_query",
    "open_policy",
    "run_policy_tests",
]


def open_policy(bundle: Path) -> PolicyEngine:
    """Open the engine for the calling thread; each worker thread opens its own.

    Args:
        bundle: the folder with the policy.

    Raises:
        StateError: the bundle is refused; the detail names file and line.
    """
    return RegorusPolicy(bundle)


def check_policy(bundle: Path) -> Sequence[Finding]:
    """Return what the Rego profile refuses; if nothing, load the bundle as the gateway would.

    Raises:
        StateError: a file cannot be parsed, or the entry point gives no proper verdict.
    """
    files = [file for file in read_bundle(bundle) if not file.is_test]
    with closing(Interpreter()) as interpreter:
        try:
            findings = check(interpreter.load(files))
        except PolicyFault as error:
            raise StateError(str(error), next_step="Mend the named line.") from error
    if not findings:
        RegorusPolicy(bundle).close()
    return findings


def run_policy_tests(bundle: Path) -> SuiteResult:
    """Run the bundle's own tests.

    Raises:
        StateError: a file cannot be parsed; the detail names file and line.
    """
    return run_suite(read_bundle(bundle))


def evaluate_query(bundle: Path, question: bytes, query: str) -> str:
    """Evaluate a Rego query and return the results as JSON text in OPA's shape.

    Args:
        bundle: the folder with the policy.
        question: the input, JSON.
        query: such as `data.verismo.gateway.decision`.

    Raises:
        StateError: input, policy or query cannot be used; the detail says which.
    """
    try:
        msgspec.json.decode(question)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateError(
            f"the input is not JSON: {error}", next_step="Mend the input file."
        ) from error
    files = [file for file in read_bundle(bundle) if not file.is_test]
    with closing(Interpreter()) as interpreter:
        try:
            findings = check(interpreter.load(files))
            if findings:
                raise PolicyFault("", str(findings[0]))
            return interpreter.query(query, question)
        except PolicyFault as error:
            raise StateError(
                f"the query could not be evaluated: {error}", next_step="Mend what is named."
            ) from error


def build_policy(bundle: Path) -> tuple[bytes, str]:
    """Return the bundle as a standard OPA archive, and its revision.

    Raises:
        StateError: the bundle is refused; nothing that a gateway would refuse is built.
    """
    RegorusPolicy(bundle).close()
    files = read_bundle(bundle)
    return bundle_archive(files), bundle_digest(files)
