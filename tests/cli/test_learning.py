"""Proposals from observations: usable as they are, never a clash, never a guess."""

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.cli.learning import propose
from verismo.model.ids import DeploymentId, OperationId, ProviderId, TenantId
from verismo.model.operation import Deployment, Operation, Provider
from verismo.model.plan import PLAN_VERSION, Plan
from verismo.model.tenant import Tenant
from verismo.ports.directory import Observation

ONE, TWO = TenantId("TENANT_001"), TenantId("TENANT_002")
OBSERVED = {"chat": ("chat", "mini"), "embedding": ("embedding",), "graphql": ("api",)}
PURPOSES = {ONE: ("support", "research"), TWO: ("research",)}


def plan(*operations, purposes=PURPOSES, observed=OBSERVED):
    kinds = {"llm": "openai", "graph": "graphql"}
    homes = {"chat": ("llm", "gpt-4o"), "mini": ("llm", "mini"), "embedding": ("llm", "e5")}
    homes["api"] = ("graph", "graphql")
    return Plan(
        PLAN_VERSION,
        "verismo",
        {t: Tenant(t, "eu", tuple(p), ("*",), "observe") for t, p in purposes.items()},
        {ProviderId(n): Provider(ProviderId(n), k, "https://x.example") for n, k in kinds.items()},
        {
            DeploymentId(n): Deployment(DeploymentId(n), ProviderId(provider), model, "eu")
            for n, (provider, model) in homes.items()
        },
        {operation.id: operation for operation in operations},
        observed,
    )


def seen(name, kind="chat", tenant=ONE, document="", count=1):
    return Observation(tenant, kind, name, document, count, 1_000)


def registered(operation_id, *, aliases=(), tenants=()):
    return Operation(
        OperationId(operation_id), "n", "chat", "p", (DeploymentId("chat"),), aliases, tenants
    )


def only(result):
    (proposal,), skipped = result
    assert skipped == []
    return proposal


def test_chat_model_becomes_an_operation_of_its_name():
    proposal = only(propose([seen("gpt-4o", count=3)], plan()))
    assert (proposal.name, proposal.count) == ("gpt-4o", 3)
    assert proposal.table.aliases == ()
    assert proposal.table.tenants == (ONE,)
    assert proposal.table.purpose == "support"


def test_name_with_a_slash_becomes_a_safe_id_with_the_name_as_alias():
    proposal = only(propose([seen("openai/gpt-4o")], plan()))
    assert proposal.name == "openai-gpt-4o"
    assert proposal.table.aliases == ("openai/gpt-4o",)


def test_names_that_become_one_id_are_told_apart():
    proposals, skipped = propose([seen("a/b"), seen("a:b")], plan())
    suffix = hashlib.sha256(b"a:b").hexdigest()[:6]
    assert [proposal.name for proposal in proposals] == ["a-b", f"a-b-{suffix}"]
    assert skipped == []


def test_deployment_of_the_very_model_is_preferred():
    assert only(propose([seen("mini")], plan())).table.deployments == ("mini",)
    assert only(propose([seen("else")], plan())).table.deployments == ("chat", "mini")


def test_what_was_observed_is_proposed_for_deployments_that_serve_its_kind():
    unknown = seen("text-embedding-3-large", "embedding")
    assert only(propose([unknown], plan())).table.deployments == ("embedding",)
    misnamed = seen("gpt-4o", "embedding")
    assert only(propose([misnamed], plan())).table.deployments == ("embedding",)
    assert only(propose([seen("e5")], plan())).table.deployments == ("chat", "mini")


def test_a_registered_operation_tells_what_a_deployment_serves():
    world = plan(registered("other"), observed={})
    assert only(propose([seen("m")], world)).table.deployments == ("chat",)
    proposals, (skipped,) = propose([seen("m", "embedding")], world)
    assert proposals == []
    assert skipped.reason == "observed 1 times; [observe] names no deployment for embedding"


def test_the_only_deployment_for_graphql_needs_no_list():
    rows = [seen("User", "graphql", document="query User { user { id } }")]
    assert only(propose(rows, plan(observed={}))).table.deployments == ("api",)


def test_tenants_that_ran_the_same_are_one_proposal_with_a_shared_purpose():
    proposal = only(propose([seen("m", count=2), seen("m", tenant=TWO, count=5)], plan()))
    assert (proposal.table.tenants, proposal.count) == ((ONE, TWO), 7)
    assert proposal.table.purpose == "research"


def test_tenants_without_a_shared_purpose_need_one_to_be_said():
    world = plan(purposes={ONE: ("support",), TWO: ("research",)})
    rows = [seen("m"), seen("m", tenant=TWO)]
    proposals, (skipped,) = propose(rows, world)
    assert proposals == []
    assert "--purpose" in skipped.reason
    assert only(propose(rows, world, purpose="support")).table.purpose == "support"


def test_graphql_document_is_proposed_under_its_hash():
    document = "query User { user { id } }"
    digest = hashlib.sha256(document.encode()).hexdigest()
    rows = [seen("User", "graphql", document=document), seen("", "graphql", document=document)]
    proposal = only(propose(rows, plan()))
    assert proposal.table.id == f"sha256:{digest}"
    assert proposal.name == f"User-{digest[:12]}"
    assert proposal.table.document == f"documents/User-{digest[:12]}.graphql"
    assert proposal.table.deployments == ("api",)
    assert proposal.document.text == document
    assert proposal.count == 2


def test_a_document_registered_with_white_space_at_its_end_is_not_proposed():
    text = "query User { user { id } }"
    document = Operation(
        OperationId("sha256:" + "0" * 64), "User", "graphql", "p", (DeploymentId("api"),)
    )
    document = msgspec.structs.replace(document, document=text + "\n")
    assert propose([seen("User", "graphql", document=text)], plan(document)) == ([], [])


def test_rare_observations_are_left_out():
    proposals, skipped = propose([seen("a", count=4), seen("b", count=5)], plan(), count_min=5)
    assert [proposal.name for proposal in proposals] == ["b"]
    assert skipped == []


def test_most_frequent_comes_first():
    proposals, _ = propose([seen("a"), seen("b", count=9), seen("c", count=3)], plan())
    assert [proposal.name for proposal in proposals] == ["b", "c", "a"]


@pytest.mark.parametrize(
    "operation", [registered("m"), registered("x", aliases=("m",)), registered("m", tenants=(ONE,))]
)
def test_what_is_registered_for_its_tenants_is_not_proposed(operation):
    assert propose([seen("m")], plan(operation)) == ([], [])


def test_what_is_registered_for_other_tenants_is_said_and_not_widened():
    proposals, (skipped,) = propose([seen("m")], plan(registered("m", tenants=(TWO,))))
    assert proposals == []
    assert "TENANT_001" in skipped.reason


def test_tenant_that_is_gone_is_left_out():
    assert propose([seen("m", tenant=TenantId("GONE"))], plan()) == ([], [])


@pytest.mark.parametrize(
    ("observation", "reason"),
    [
        (seen("名前"), "no letter or digit"),
        (seen(""), "no letter or digit"),
        (seen("gpt 4o; rm -rf"), "cannot be an alias"),
        (seen("x" * 200), "cannot be an alias"),
        (seen("User", "graphql"), "not GraphQL, so it was not kept"),
        (
            seen("User", "graphql", document='query User { user(id: "?") { id } }'),
            "has 1 value in its text",
        ),
        (
            seen("User", "graphql", document="query User { user(first: 0) { id } } #"),
            "has 2 values in its text (strings, numbers or comments), which are not kept: make "
            "them variables, or register its file with `verismo operation import`",
        ),
        (seen("User", "graphql", document="query {"), "middle"),
        (seen("/v1/status", "http"), "no deployment"),
    ],
)
def test_what_cannot_be_registered_is_skipped_with_the_reason(observation, reason):
    proposals, (skipped,) = propose([observation], plan())
    assert proposals == []
    assert reason in skipped.reason


names = st.text("ab/: .", min_size=1, max_size=3)


@given(st.lists(st.tuples(names, st.sampled_from(["chat", "embedding"])), max_size=12))
def test_no_two_proposals_share_a_label(rows):
    proposals, _ = propose([seen(name, kind) for name, kind in rows], plan(registered("a")))
    labels = [label for p in proposals for label in (p.name, *p.table.aliases)] + ["a"]
    assert len(labels) == len(set(labels))
