"""Step 3, resolve: a registered operation or a refusal.

How strict that is depends on the tenant (decisions 21): `observe` runs unknown operations too,
under policy and signed, and notes them; `safelist` runs what is registered, by id, alias or full
text; `id-only` runs what is registered by its id alone.
"""

import msgspec

from verismo.gateway.ask import Ask
from verismo.gateway.snapshot import Snapshot, TenantView
from verismo.model.errors import OperationUnregistered
from verismo.model.ids import OperationId
from verismo.model.operation import Operation, OperationKind

UNREGISTERED = OperationId("unregistered")
"""The `op` of statements about chat and embedding calls that observe mode let through."""


class Resolved(msgspec.Struct, frozen=True):
    """What will run.

    Args:
        operation: the registered one, or one made up for observe mode.
        registered: whether it is registered for this tenant.
        by_id: whether the client named it by its id.
    """

    operation: Operation
    registered: bool
    by_id: bool


def resolve(snapshot: Snapshot, view: TenantView, ask: Ask, purpose: str) -> Resolved:
    """Find the operation that the client asks for.

    Args:
        snapshot: gives the deployments for unknown operations.
        view: what the tenant may run.
        ask: what the client wants.
        purpose: the purpose of this call, for operations that are not registered.

    Raises:
        OperationUnregistered: nothing by that name for this tenant, and it is not in observe.
    """
    enforcement = view.tenant.enforcement
    operation = view.operations.get(OperationId(ask.name))
    by_id = operation is not None and ask.by_id
    if operation is None:
        operation = view.aliases.get(ask.name)
    if operation is not None and operation.kind == ask.kind:
        if enforcement == "id-only" and not by_id:
            raise OperationUnregistered(
                f"this tenant calls operations by id only; the id is {operation.id}"
            )
        return Resolved(operation=operation, registered=True, by_id=by_id)
    if enforcement == "observe" and _can_be_observed(ask):
        made_up = _observed(snapshot, ask, purpose)
        if made_up.deployments:
            return Resolved(operation=made_up, registered=False, by_id=False)
    raise OperationUnregistered(f"no {ask.kind} operation {ask.name[:128]!r} for this tenant")


def _can_be_observed(ask: Ask) -> bool:
    """A document named by an id that nobody registered has no text, so it cannot run."""
    return ask.kind in ("chat", "embedding") or (ask.kind == "graphql" and bool(ask.document))


def _observed(snapshot: Snapshot, ask: Ask, purpose: str) -> Operation:
    plan = snapshot.plan
    deployments = tuple(
        name
        for name in plan.observe_deployments
        if _serves(plan.providers[plan.deployments[name].provider].kind, ask.kind)
    )
    return Operation(
        id=OperationId(ask.name) if ask.kind == "graphql" else UNREGISTERED,
        name=ask.operation_name or ask.name[:128],
        kind=ask.kind,
        purpose=purpose,
        deployments=deployments,
        document=ask.document,
    )


def _serves(provider_kind: str, kind: OperationKind) -> bool:
    if kind == "graphql":
        return provider_kind == "graphql"
    if kind == "http":
        return provider_kind == "http"
    return provider_kind == "openai" or (provider_kind == "anthropic" and kind == "chat")
