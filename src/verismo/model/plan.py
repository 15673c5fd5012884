"""The plan: the one versioned value by which the control plane tells the gateways what to do.

In this version it is compiled from the configuration inside each process; its digest stands in
every statement, so an auditor can tell which configuration an answer was given under.
"""

import msgspec

from verismo.model import canonical
from verismo.model.ids import DeploymentId, OperationId, ProviderId, TenantId
from verismo.model.operation import Deployment, Operation, OperationKind, Provider
from verismo.model.tenant import Tenant

PLAN_VERSION = 1


class Plan(msgspec.Struct, frozen=True):
    """Everything that decides how a request is answered, except keys and secrets.

    Args:
        v: format version; a gateway refuses one that it does not know.
        issuer: the `iss` of statements.
        tenants: by id.
        providers: by id.
        deployments: by id.
        operations: by id.
        observe_deployments: where unknown operations go for tenants in `observe`, by kind and in
            fallback order; a kind that is missing is refused.
    """

    v: int
    issuer: str
    tenants: dict[TenantId, Tenant]
    providers: dict[ProviderId, Provider]
    deployments: dict[DeploymentId, Deployment]
    operations: dict[OperationId, Operation]
    observe_deployments: dict[OperationKind, tuple[DeploymentId, ...]] = {}


def plan_digest(plan: Plan) -> str:
    """Return the hex SHA-256 of the plan's canonical encoding: the `plan` of statements."""
    return canonical.digest(canonical.encode(plan))
