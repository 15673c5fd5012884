"""The snapshot: plan, steering and API keys compiled into one immutable value for the hot path.

A worker swaps it whole when one of them changes, so that no request ever sees half of a change.
Everything a request looks up is a dictionary access here.
"""

import hashlib
import hmac
from collections.abc import Sequence

import msgspec

from verismo.model.document import without_end_blank
from verismo.model.ids import KeyId, OperationId, TenantId
from verismo.model.operation import Operation
from verismo.model.plan import Plan, plan_digest
from verismo.model.steering import Rollout, Steering, Throttle, steering_digest
from verismo.model.tenant import ApiKey, Tenant

HANDLE_CHARS = 32
_EVERY_TENANT = TenantId("")


class TenantView(msgspec.Struct, frozen=True):
    """One tenant as the request path sees it.

    Args:
        tenant: its settings.
        handle: the opaque `aud` of its statements; stable, and meaningless to others.
        operations: what it may run, by id.
        aliases: what it may run, by alias.
        texts: documents that it may run, by their text without white space at the end.
        seals_runs: whether it may have runs sealed of agents that run at the client.
    """

    tenant: Tenant
    handle: str
    operations: dict[OperationId, Operation]
    aliases: dict[str, Operation]
    texts: dict[str, Operation]
    seals_runs: bool = False


class Snapshot(msgspec.Struct, frozen=True):
    """The configuration and keys in force.

    Args:
        plan: as compiled.
        base: the plan's hex SHA-256, which steering names.
        digest: what goes into statements: the steering's hex SHA-256, without any the plan's.
        keys: API keys by their public part.
        tenants: views by tenant id.
        version: the directory version that the keys were read at.
        steering: in force; None for none.
        rollouts: by operation and tenant; the tenant is empty where all are meant.
        throttles: by tenant and operation.
    """

    plan: Plan
    base: str
    digest: str
    keys: dict[KeyId, ApiKey]
    tenants: dict[TenantId, TenantView]
    version: int
    steering: Steering | None = None
    rollouts: dict[tuple[OperationId, TenantId], Rollout] = {}
    throttles: dict[tuple[TenantId, OperationId], Throttle] = {}

    def rollout(self, tenant: TenantId, operation: OperationId) -> Rollout | None:
        """Return the rollout of a route, its own before that of all tenants; None for none."""
        found = self.rollouts.get((operation, tenant))
        return found or self.rollouts.get((operation, _EVERY_TENANT))


class SnapshotCell:
    """Holds the snapshot in force; `swap` is atomic for a single-threaded event loop."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.current = snapshot

    def swap(self, snapshot: Snapshot) -> None:
        """Put another snapshot in force for requests that start from now on."""
        self.current = snapshot


def compile_snapshot(
    plan: Plan, keys: Sequence[ApiKey], handle_secret: bytes, version: int
) -> Snapshot:
    """Compile a snapshot.

    Args:
        plan: the validated plan.
        keys: every API key, also revoked ones (they are refused by name of their state).
        handle_secret: 32 bytes of this installation; tenants' handles are derived from it.
        version: the directory's version when the keys were read.
    """
    base = plan_digest(plan)
    return Snapshot(
        plan=plan,
        base=base,
        digest=base,
        keys={key.id: key for key in keys},
        tenants={tenant.id: _view(plan, tenant, handle_secret) for tenant in plan.tenants.values()},
        version=version,
    )


def steered(snapshot: Snapshot, steering: Steering) -> Snapshot:
    """Return a snapshot under a steering that was verified and belongs to its plan."""
    return msgspec.structs.replace(
        snapshot,
        digest=steering_digest(steering),
        steering=steering,
        rollouts={(one.operation, one.tenant): one for one in steering.rollouts},
        throttles={(one.tenant, one.operation): one for one in steering.throttles},
    )


def unsteered(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot without its steering: everything goes to the baselines."""
    return msgspec.structs.replace(
        snapshot, digest=snapshot.base, steering=None, rollouts={}, throttles={}
    )


def tenant_handle(tenant: TenantId, handle_secret: bytes) -> str:
    """Return a tenant's opaque handle: 128 bits of HMAC-SHA-256, hex."""
    mac = hmac.new(handle_secret, tenant.encode("utf-8"), hashlib.sha256)
    return mac.hexdigest()[:HANDLE_CHARS]


def _view(plan: Plan, tenant: Tenant, handle_secret: bytes) -> TenantView:
    mine = [op for op in plan.operations.values() if not op.tenants or tenant.id in op.tenants]
    return TenantView(
        tenant=tenant,
        handle=tenant_handle(tenant.id, handle_secret),
        operations={op.id: op for op in mine},
        aliases={alias: op for op in mine for alias in op.aliases},
        texts={without_end_blank(op.document): op for op in mine if op.document},
        seals_runs=any(op.kind == "agent" and not op.deployments for op in mine),
    )
