"""Asks the policy whether a rollout can split anything: it never lets anybody in.

A request is split only where the policy allows both deployments to its tenant. A rollout of which
that is true for nobody would gather no evidence and say nothing of why.
"""

from contextlib import closing

import msgspec

from verismo.config.schema import Config
from verismo.model.decision import Subject
from verismo.model.errors import OperatorError
from verismo.model.ids import DeploymentId, OperationId, TenantId
from verismo.model.plan import Plan
from verismo.ports.policy import PolicyInput
from verismo.wiring.chosen import loaded_policy


class Kept(msgspec.Struct, frozen=True):
    """What keeps a tenant's requests from being split.

    Args:
        tenant: whose.
        why: of one deployment, in words.
    """

    tenant: TenantId
    why: str


def kept_from_splitting(config: Config, subject: Subject) -> tuple[Kept, ...]:
    """Return what keeps each tenant's requests from being split; empty if some can be.

    Asked is for the usual purpose of each tenant; a key may be for another. What is asked of an MCP
    operation depends on the call, so nothing is said of one.

    Args:
        config: of the gateway that has the rollout; another one may lack what it is of.
        subject: of the rollout; without a tenant all are meant that may run the operation.

    Raises:
        StateError: the policy is refused.
        OperatorError: its interpreter is not installed, or the configuration lacks the operation, a
            deployment or the tenant.
    """
    plan = config.plan
    missing = [
        f"{kind} {name!r}"
        for kind, name, known in (
            ("operation", subject.operation, plan.operations),
            ("deployment", subject.baseline, plan.deployments),
            ("deployment", subject.candidate, plan.deployments),
            ("tenant", subject.tenant, plan.tenants),
        )
        if name and name not in known
    ]
    if missing:
        raise OperatorError(
            f"not known here: {', '.join(missing)}",
            next_step="Name the configuration of the gateway that has the rollout with --config.",
        )
    operation = plan.operations[OperationId(subject.operation)]
    tenants = [TenantId(subject.tenant)] if subject.tenant else sorted(plan.tenants)
    if not tenants or operation.kind == "mcp":
        return ()
    found = []
    with closing(loaded_policy(config)) as policy:
        for tenant in tenants:
            for name in (subject.baseline, subject.candidate):
                verdict = policy.decide(_question(plan, subject, tenant, name))
                if not verdict.allow:
                    why = "; ".join(one.msg for one in verdict.deny) or "the policy said nothing"
                    found.append(Kept(tenant, why))
                    break
    return tuple(found) if len(found) == len(tenants) else ()


def _question(plan: Plan, subject: Subject, tenant: TenantId, name: str) -> PolicyInput:
    asks, operation = plan.tenants[tenant], plan.operations[OperationId(subject.operation)]
    deployment = plan.deployments[DeploymentId(name)]
    return PolicyInput(
        tenant=asks.id,
        tenant_region=asks.region,
        tenant_purposes=asks.purposes,
        tenant_models=asks.models,
        enforcement=asks.enforcement,
        operation=operation.id,
        operation_kind=operation.kind,
        operation_purpose=operation.purpose,
        registered=not operation.tenants or tenant in operation.tenants,
        by_id=True,
        purpose=asks.purposes[0] if asks.purposes else "",
        deployment=deployment.id,
        deployment_region=deployment.region,
        model=deployment.model,
    )
