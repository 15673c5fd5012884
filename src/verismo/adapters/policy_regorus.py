"""The policy engine in process: Rego on the regorus interpreter.

Only its interpreter `Engine` is used, never its bytecode machine, which gives wrong answers. An
engine belongs to the thread that made it: each worker opens its own. Evaluation has no time limit,
so load only policies that you trust. A builtin's error is a refusal here (OPA would go on with
undefined), which is the stricter reading.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import regorus

from verismo.adapters.policy_bundle import BundleFile, bundle_digest, look_at, read_bundle
from verismo.adapters.policy_profile import (
    Module,
    check,
    is_volatile,
    nesting_finding,
    read_modules,
)
from verismo.model.errors import StateError
from verismo.ports.policy import Denial, PolicyInput, ToolInput, Verdict

ENTRY_POINT = "data.verismo.gateway.decision"

MEMO_ENTRIES_MAX = 4_096
"""Tenants x operations x deployments in use at once; at about 1 KB each, 4 MB."""

MEMO_KEY_BYTES_MAX = 4_096
"""An unregistered operation's name is the caller's text; a long one must not fill the memo."""

_SMOKE = PolicyInput(
    tenant="smoke-test",
    tenant_region="nowhere",
    tenant_purposes=("none",),
    tenant_models=(),
    enforcement="id-only",
    operation="none",
    operation_kind="chat",
    operation_purpose="none",
    registered=False,
    by_id=False,
    purpose="none",
    deployment="none",
    deployment_region="elsewhere",
    model="none",
)
"""The canned question that a new bundle must answer in the right shape before it is in force."""

_PLACE = re.compile(r"--> (?P<file>[^\n]*):(?P<line>\d+):\d+\n")
_REASON = re.compile(r"^error: (?P<reason>[^\n]*)", re.MULTILINE)

_Code = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z")]
_Message = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]


class _Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: _Code
    msg: _Message


class _Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    allow: bool
    deny: tuple[_Reason, ...]
    obligations: tuple[_Code, ...]


class PolicyFault(Exception):
    """The interpreter refused a policy or could not evaluate it.

    Args:
        place: `file:line` within the bundle, empty if it is not known.
        reason: what was wrong, one line.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}" if place else reason)


class Interpreter:
    """A regorus engine whose every failure is a `PolicyFault`. Used by one thread only.

    Close it there: what is left over, such as by an error that somebody keeps, is freed in whatever
    thread collects garbage, and an engine must not be.
    """

    def __init__(self) -> None:
        self._engine = regorus.Engine()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Free the engine; twice is allowed."""
        self._engine = None

    def load(self, files: Sequence[BundleFile]) -> tuple[Module, ...]:
        """Parse policies and add data.

        Raises:
            PolicyFault: a file cannot be parsed, nests too deeply, or data conflict.
            StateError: a file is not UTF-8 or its data lie outside the root.
        """
        for file in files:
            if file.path.endswith(".rego"):
                finding = nesting_finding(file.path, file.text())
                if finding is not None:
                    raise PolicyFault(f"{finding.file}:{finding.line}", finding.message)
                self._guarded("add_policy", file.path, file.text())
            elif file.is_data:
                try:
                    self._guarded("add_data_json", file.mounted())
                except PolicyFault as error:
                    raise PolicyFault(f"{file.path}:1", str(error)) from error
        return read_modules(self._engine.get_ast_as_json())

    def rule(self, path: str, question: bytes) -> str:
        """Return a rule's value as JSON text; `"<undefined>"` if it has none.

        Raises:
            PolicyFault: the evaluation failed, or there is no such rule.
        """
        self._guarded("set_input_json", question.decode())
        return self._guarded("eval_rule_as_json", path)

    def query(self, query: str, question: bytes) -> str:
        """Return a query's results as JSON text in OPA's shape, `{}` if there are none.

        Raises:
            PolicyFault: the query cannot be parsed or its evaluation failed.
        """
        self._guarded("set_input_json", question.decode())
        return self._guarded("eval_query_as_json", query)

    def record_coverage(self) -> None:
        """Count, from now on, which lines are evaluated."""
        self._engine.set_enable_coverage(True)

    def coverage(self) -> str:
        """Return the coverage report as JSON text."""
        return str(self._engine.get_coverage_report_as_json())

    def _guarded(self, name: str, *arguments: str) -> str:
        # By name: a bound method in this frame would keep the engine of a fault that is kept.
        try:
            return str(getattr(self._engine, name)(*arguments))
        except RuntimeError as error:
            raise _fault(str(error)) from error
        except BaseException as error:
            # A Rust panic arrives as a BaseException whose type cannot be imported.
            if type(error).__name__ != "PanicException":
                raise
            raise PolicyFault("", "the interpreter failed") from error


def _fault(text: str) -> PolicyFault:
    place, reason = _PLACE.search(text), _REASON.search(text)
    where = f"{place['file']}:{place['line']}" if place else ""
    first_line = text.strip().partition("\n")[0]
    return PolicyFault(where, reason["reason"] if reason else first_line)


class _Loaded(msgspec.Struct, frozen=True):
    interpreter: Interpreter
    digest: str
    volatile: bool


class RegorusPolicy:
    """`PolicyEngine` over a bundle folder. Used by the thread that made it only.

    Args:
        folder: the bundle.
        memo_entries_max: how many verdicts are kept; 0 keeps none.

    Raises:
        StateError: the bundle is refused; the detail names file and line.
    """

    def __init__(self, folder: Path, memo_entries_max: int = MEMO_ENTRIES_MAX) -> None:
        self._folder = folder
        self._thread = threading.get_ident()
        self._memo_entries_max = memo_entries_max
        self._memo: OrderedDict[PolicyInput, Verdict] = OrderedDict()
        self._encoder = msgspec.json.Encoder()
        self._seen = look_at(folder)
        self._loaded = _load(read_bundle(folder), folder)

    @property
    def bundle(self) -> str:
        """The hex SHA-256 of the bundle in force."""
        return self._loaded.digest

    @property
    def memoises(self) -> bool:
        """Whether verdicts are kept: not if the bundle uses time, randomness or the network."""
        return self._memo_entries_max > 0 and not self._loaded.volatile

    def decide(self, question: PolicyInput) -> Verdict:
        """Return the verdict for a question; memoised where the bundle allows it.

        Raises:
            RuntimeError: called from another thread; a mistake of ours.
        """
        self._own_thread()
        is_kept = not isinstance(question, ToolInput)
        known = self._memo.get(question) if is_kept else None
        if known is not None:
            self._memo.move_to_end(question)
            return known
        try:
            key = self._encoder.encode(question)
        except UnicodeEncodeError:
            return _refusal(self._loaded.digest, "the input holds text that is not Unicode")
        try:
            verdict = _evaluate(self._loaded, key)
        except PolicyFault as error:
            return _refusal(self._loaded.digest, str(error))
        if is_kept and self.memoises and len(key) <= MEMO_KEY_BYTES_MAX:
            self._memo[question] = verdict
            if len(self._memo) > self._memo_entries_max:
                self._memo.popitem(last=False)
        return verdict

    def reload(self) -> bool:
        """Load the bundle again if it changed; keep the one in force if the new one is bad.

        Returns:
            True if another bundle is in force now.

        Raises:
            StateError: the new bundle is refused; the old one stays in force.
            RuntimeError: called from another thread; a mistake of ours.
        """
        self._own_thread()
        seen = look_at(self._folder)
        if seen == self._seen:
            return False
        files = read_bundle(self._folder)
        changed = bundle_digest(files) != self._loaded.digest
        if changed:
            loaded = _load(files, self._folder)
            self.close()
            self._loaded = loaded
            self._memo.clear()
        self._seen = seen
        return changed

    def close(self) -> None:
        """Free the interpreter; call it in the thread that made this."""
        self._loaded.interpreter.close()

    def _own_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError("a policy engine belongs to the thread that opened it")


def _load(files: Sequence[BundleFile], folder: Path) -> _Loaded:
    deciding = [file for file in files if not file.is_test]
    interpreter = Interpreter()
    try:
        modules = interpreter.load(deciding)
        findings = check(modules)
        if findings:
            raise PolicyFault("", str(findings[0]))
        loaded = _Loaded(interpreter, bundle_digest(files), is_volatile(modules))
        _evaluate(loaded, msgspec.json.encode(_SMOKE))
    except StateError:
        interpreter.close()
        raise
    except PolicyFault as error:
        interpreter.close()
        raise StateError(
            f"the policy in {folder} is refused: {error}",
            next_step="Mend it and run `verismo policy check` and `verismo policy test`.",
        ) from error
    return loaded


def _evaluate(loaded: _Loaded, question: bytes) -> Verdict:
    text = loaded.interpreter.rule(ENTRY_POINT, question)
    if text == '"<undefined>"':
        raise PolicyFault("", f"{ENTRY_POINT} is undefined")
    try:
        decision = msgspec.json.decode(text, type=_Decision)
    except msgspec.MsgspecError as error:
        raise PolicyFault("", f"{ENTRY_POINT} has the wrong shape: {error}") from error
    if not decision.allow and not decision.deny:
        raise PolicyFault("", f"{ENTRY_POINT} refuses without a reason in `deny`")
    reasons = {Denial(reason.code, reason.msg) for reason in decision.deny}
    return Verdict(
        allow=decision.allow and not reasons,
        deny=tuple(sorted(reasons)),
        obligations=tuple(sorted(set(decision.obligations))),
        bundle=loaded.digest,
    )


def _refusal(digest: str, reason: str) -> Verdict:
    message = f"The policy could not decide: {reason}"
    return Verdict(
        allow=False, deny=(Denial("policy_error", message),), obligations=(), bundle=digest
    )
