"""Step 4, decide: ask the policy about each deployment that could answer.

Undefined, an error or an empty policy is a refusal; so is a list of deployments of which the policy
allows none.
"""

import msgspec

from verismo.gateway.identify import Caller
from verismo.gateway.resolve import Resolved
from verismo.gateway.snapshot import Snapshot
from verismo.model.errors import PolicyRefusal
from verismo.model.operation import Deployment
from verismo.ports.policy import PolicyEngine, PolicyInput, Verdict


class Decided(msgspec.Struct, frozen=True):
    """The policy's answer for a request.

    Args:
        allowed: deployments that the policy allows, in fallback order.
        verdict: of the first allowed deployment.
    """

    allowed: tuple[Deployment, ...]
    verdict: Verdict


class Denied(PolicyRefusal):
    """The policy refused every deployment.

    Args:
        verdict: of the deployment that came nearest to being allowed: the others' further reasons
            would send the reader the wrong way.
    """

    def __init__(self, verdict: Verdict) -> None:
        reasons = tuple(sorted({denial.code for denial in verdict.deny})) or ("policy_error",)
        message = "; ".join(denial.msg for denial in verdict.deny) or "the policy said nothing"
        super().__init__(message, reasons=reasons)
        self.verdict = verdict


def decide(policy: PolicyEngine, snapshot: Snapshot, caller: Caller, resolved: Resolved) -> Decided:
    """Ask the policy about each deployment of the operation.

    Raises:
        Denied: no deployment is allowed; carries the verdict with the fewest reasons.
        PolicyRefusal: the operation has no deployment to ask about.
    """
    allowed: list[Deployment] = []
    first_allowed: Verdict | None = None
    mildest: Verdict | None = None
    for name in resolved.operation.deployments:
        deployment = snapshot.plan.deployments[name]
        verdict = policy.decide(_question(caller, resolved, deployment))
        if verdict.allow:
            allowed.append(deployment)
            first_allowed = first_allowed or verdict
        elif mildest is None or len(verdict.deny) < len(mildest.deny):
            mildest = verdict
    if first_allowed is not None:
        return Decided(allowed=tuple(allowed), verdict=first_allowed)
    if mildest is not None:
        raise Denied(mildest)
    raise PolicyRefusal("the operation names no deployment", reasons=("policy_error",))


def _question(caller: Caller, resolved: Resolved, deployment: Deployment) -> PolicyInput:
    tenant, operation = caller.view.tenant, resolved.operation
    return PolicyInput(
        tenant=tenant.id,
        tenant_region=tenant.region,
        tenant_purposes=tenant.purposes,
        tenant_models=tenant.models,
        enforcement=tenant.enforcement,
        operation=operation.id,
        operation_kind=operation.kind,
        operation_purpose=operation.purpose,
        registered=resolved.registered,
        by_id=resolved.by_id,
        purpose=caller.purpose,
        deployment=deployment.id,
        deployment_region=deployment.region,
        model=deployment.model,
    )
