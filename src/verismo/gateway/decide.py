"""Step 4, decide: ask the policy about each deployment that could answer.

Undefined, an error or an empty policy is a refusal; so is a list of deployments of which the policy
allows none.
"""

import msgspec

from verismo.gateway.identify import Caller
from verismo.gateway.journey import Journey
from verismo.gateway.mcpmessage import McpCall
from verismo.gateway.resolve import Resolved
from verismo.gateway.snapshot import Snapshot
from verismo.model.errors import PolicyRefusal
from verismo.model.ids import DeploymentId, ProviderId
from verismo.model.operation import Deployment
from verismo.model.steering import Rollout
from verismo.ports.policy import PolicyEngine, PolicyInput, ToolInput, Verdict


class Decided(msgspec.Struct, frozen=True):
    """The policy's answer for a request.

    Args:
        allowed: deployments that the policy allows, in fallback order; no candidate among them.
        verdict: of the first allowed deployment.
        split: the rollout that draws an arm for this request; None if there is none, or if the
            policy does not allow both its sides: then the request is no part of it.
    """

    allowed: tuple[Deployment, ...]
    verdict: Verdict
    split: "Split | None" = None

    @property
    def possible(self) -> tuple[Deployment, ...]:
        """Everything that may be called."""
        return self.allowed if self.split is None else (*self.allowed, self.split.candidate)


class Split(msgspec.Struct, frozen=True):
    """A rollout with its two sides, both of which the policy allows."""

    rollout: Rollout
    baseline: Deployment
    candidate: Deployment


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


def decide_for(policy: PolicyEngine, journey: Journey, resolved: Resolved) -> Decided:
    """Decide about a journey, with the policy's hop whichever way it goes.

    Raises:
        Denied: no deployment is allowed.
        PolicyRefusal: the operation has no deployment to ask about.
    """
    began = journey.now_ms()
    call = journey.ask.call if journey.ask is not None else None
    named = {} if call is None else call.names
    try:
        decided = decide(policy, journey.snapshot, journey.caller, resolved, call)
    except Denied as error:
        journey.bundle, journey.decision = error.verdict.bundle, "deny"
        attrs: dict[str, str | int | bool] = {
            "bundle": error.verdict.bundle,
            "decision": "deny",
            "reasons": " ".join(error.reasons),
        }
        journey.hop("policy", attrs | named, began)
        raise
    journey.bundle, journey.decision = decided.verdict.bundle, "allow"
    journey.hop(
        "policy",
        {
            "bundle": decided.verdict.bundle,
            "decision": "allow",
            "asked": journey.asked,
            "operation": journey.operation,
            "registered": resolved.registered,
            "purpose": journey.caller.purpose,
            **named,
        },
        began,
    )
    return decided


def decide(
    policy: PolicyEngine,
    snapshot: Snapshot,
    caller: Caller,
    resolved: Resolved,
    call: McpCall | None = None,
) -> Decided:
    """Ask the policy about each deployment of the operation.

    Args:
        policy: the engine.
        snapshot: has the deployments.
        caller: who asks.
        resolved: what would run.
        call: for MCP, what exactly is asked of it.

    Raises:
        Denied: no deployment is allowed; carries the verdict with the fewest reasons.
        PolicyRefusal: the operation has no deployment to ask about.
    """
    allowed: list[Deployment] = []
    first_allowed: Verdict | None = None
    mildest: Verdict | None = None
    for deployment in _deployments(snapshot, caller, resolved):
        verdict = policy.decide(_asked_with(_question(caller, resolved, deployment), call))
        if verdict.allow:
            allowed.append(deployment)
            first_allowed = first_allowed or verdict
        elif mildest is None or len(verdict.deny) < len(mildest.deny):
            mildest = verdict
    if first_allowed is not None:
        split = _split_of(snapshot, caller, resolved, allowed)
        if split is not None:
            question = _question(caller, resolved, split.candidate)
            if not policy.decide(_asked_with(question, call)).allow:
                split = None
        return Decided(tuple(allowed), first_allowed, split)
    if mildest is not None:
        raise Denied(mildest)
    raise PolicyRefusal("the operation names no deployment", reasons=("policy_error",))


def _split_of(
    snapshot: Snapshot, caller: Caller, resolved: Resolved, allowed: list[Deployment]
) -> Split | None:
    """Return the rollout that gives its candidate some of this route, if its baseline is allowed.

    A rollout never lets anybody in: whoever may not call the baseline is refused as before.
    """
    if not resolved.registered or not snapshot.rollouts:
        return None
    rollout = snapshot.rollout(caller.view.tenant.id, resolved.operation.id)
    if rollout is None or not rollout.weight_ppm:
        return None
    for one in allowed:
        if one.id == rollout.baseline:
            return Split(rollout, one, snapshot.plan.deployments[rollout.candidate])
    return None


def _deployments(snapshot: Snapshot, caller: Caller, resolved: Resolved) -> tuple[Deployment, ...]:
    """Return where the operation may run; an agent at the client has its run sealed here."""
    operation = resolved.operation
    if operation.kind == "agent" and not operation.deployments:
        region = caller.view.tenant.region
        return (Deployment(DeploymentId(""), ProviderId(""), model="", region=region),)
    return tuple(snapshot.plan.deployments[name] for name in operation.deployments)


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


def _asked_with(question: PolicyInput, call: McpCall | None) -> PolicyInput:
    """Return the question with what an MCP call says."""
    if call is None:
        return question
    seen = call.projection
    return ToolInput(
        **msgspec.structs.asdict(question),
        method=call.method,
        tool=call.name,
        arguments=seen.values,
        argument_names=seen.names,
        arguments_partial=seen.partial,
    )
