"""The default policy: its own Rego tests, and a plain Python oracle of the same rules."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import verismo
from verismo.adapters.policy_bundle import read_bundle
from verismo.adapters.policy_profile import check
from verismo.adapters.policy_regorus import Interpreter, RegorusPolicy
from verismo.adapters.policy_suite import run_suite
from verismo.ports.policy import PolicyInput, ToolInput, Verdict

BUNDLE = Path(verismo.__file__).parent / "templates" / "policy"
RESIDENCY = json.loads((BUNDLE / "data.json").read_text())["verismo"]["residency"]

PURPOSES = ["", "support", "analytics", "marketing"]
REGIONS = ["", "eu", "eu-west-1", "eu-west-2", "uk", "us", "us-east-1", "local"]
MODELS = ["", "*", "gpt-4o", "gpt-4o-mini", "gpt*", "claude-sonnet", "claude-*"]

questions = st.builds(
    PolicyInput,
    tenant=st.sampled_from(["", "TENANT_001"]),
    tenant_region=st.sampled_from(REGIONS),
    tenant_purposes=st.lists(st.sampled_from(PURPOSES), max_size=3).map(tuple),
    tenant_models=st.lists(st.sampled_from(MODELS), max_size=3).map(tuple),
    enforcement=st.sampled_from(["observe", "safelist", "id-only", "off"]),
    operation=st.text(max_size=20),
    operation_kind=st.sampled_from(["chat", "embedding", "graphql", "http"]),
    operation_purpose=st.sampled_from(PURPOSES),
    registered=st.booleans(),
    by_id=st.booleans(),
    purpose=st.sampled_from(PURPOSES),
    deployment=st.text(max_size=8),
    deployment_region=st.sampled_from(REGIONS),
    model=st.sampled_from(MODELS),
)


def model_allowed(question: PolicyInput) -> bool:
    if question.operation_kind in ("graphql", "http"):
        return True
    if question.model == "":
        return False
    for pattern in question.tenant_models:
        if question.model == pattern:
            return True
        if pattern.endswith("*") and question.model.startswith(pattern[:-1]):
            return True
    return False


def oracle(question: PolicyInput) -> set[str]:
    codes = set()
    if not question.tenant:
        codes.add("tenant_unknown")
    persisted = {
        "observe": True,
        "safelist": question.registered,
        "id-only": question.registered and question.by_id,
    }
    if not persisted.get(question.enforcement, False):
        codes.add("persisted_only")
    home, target = question.tenant_region, question.deployment_region
    if target == "" or target not in [home, *RESIDENCY["groups"].get(home, [])]:
        codes.add("residency")
    may_use = question.tenant_purposes
    runnable = may_use if question.registered else ("", question.purpose)
    if question.purpose not in may_use or question.operation_purpose not in runnable:
        codes.add("purpose")
    if not model_allowed(question):
        codes.add("model")
    return codes


@pytest.fixture(scope="module")
def engine() -> RegorusPolicy:
    return RegorusPolicy(BUNDLE)


def codes_of(verdict: Verdict) -> set[str]:
    return {denial.code for denial in verdict.deny}


@given(question=questions)
def test_verdicts_equal_a_plain_oracle(engine, question):
    verdict = engine.decide(question)
    assert codes_of(verdict) == oracle(question)
    assert verdict.allow == (not verdict.deny)
    noted = question.enforcement == "observe" and not question.registered
    assert verdict.obligations == (("record_operation",) if noted else ())


@pytest.fixture(scope="module")
def opa():
    bindings = pytest.importorskip("opa_bindings", reason="the OPA library is not installed")
    with bindings.OpaEngine() as engine:
        for file in read_bundle(BUNDLE):
            if file.is_policy:
                engine.add_policy(file.path, file.text())
            elif file.is_data:
                engine.add_data(json.loads(file.mounted()))
        yield engine


@given(question=questions)
def test_opa_gives_the_same_verdicts(engine, opa, question):
    verdict = engine.decide(question)
    answer = opa.eval_document("verismo.gateway.decision", msgspec.to_builtins(question))
    assert answer["allow"] == verdict.allow
    assert sorted(answer["deny"], key=str) == [
        {"code": denial.code, "msg": denial.msg} for denial in verdict.deny
    ]
    assert tuple(answer["obligations"]) == verdict.obligations


@pytest.mark.slow
@given(question=questions, names=st.sets(st.sampled_from(PolicyInput.__struct_fields__)))
def test_input_that_lacks_facts_gets_the_same_verdict_from_opa(opa, question, names):
    facts = {k: v for k, v in msgspec.to_builtins(question).items() if k not in names}
    interpreter = Interpreter()
    interpreter.load([file for file in read_bundle(BUNDLE) if not file.is_test])
    ours = json.loads(interpreter.rule("data.verismo.gateway.decision", msgspec.json.encode(facts)))
    theirs = opa.eval_document("verismo.gateway.decision", facts)
    assert ours["allow"] == theirs["allow"]
    assert sorted(ours["deny"], key=str) == sorted(theirs["deny"], key=str)


def test_the_verdict_on_a_tool_call_is_not_kept(engine):
    question = ToolInput(
        tenant="TENANT_001",
        tenant_region="eu",
        tenant_purposes=("support",),
        tenant_models=(),
        enforcement="safelist",
        operation="docs.tools",
        operation_kind="mcp",
        operation_purpose="support",
        registered=True,
        by_id=True,
        purpose="support",
        deployment="docs-eu",
        deployment_region="eu",
        model="/mcp",
        method="tools/call",
        tool="search",
        arguments={"query": "x"},
        argument_names=("query",),
        arguments_partial=(),
    )
    assert engine.decide(question).allow
    assert engine.decide(question) is not engine.decide(question)
    nameless = msgspec.structs.replace(question, method="")
    assert engine.decide(nameless).allow
    lone = msgspec.structs.replace(question, arguments={"query": "\ud800"})
    assert codes_of(engine.decide(lone)) == {"policy_error"}


def test_rego_tests_pass_and_reach_every_line():
    result = run_suite(read_bundle(BUNDLE))
    assert result.passed
    assert [trial for trial in result.trials if trial.outcome != "PASS"] == []
    assert {item.path: item.not_covered for item in result.coverage if item.not_covered} == {}


def test_default_policy_is_within_the_profile_and_memoised(engine):
    files = [file for file in read_bundle(BUNDLE) if not file.is_test]
    assert check(Interpreter().load(files)) == []
    assert engine.memoises


def test_repository_root_shows_the_packaged_policy():
    root = Path(__file__).parents[2] / "policy"
    assert root.resolve() == BUNDLE.resolve()
