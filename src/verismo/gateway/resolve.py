"""Step 3, resolve: a registered operation or a refusal.

How strict that is depends on the tenant (decisions 21): `observe` runs unknown operations too,
under policy and signed, and notes them; `safelist` runs what is registered, by id, alias or full
text, with or without white space at its end; `id-only` runs what is registered by its id alone.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from verismo.gateway.ask import Ask
from verismo.gateway.snapshot import Snapshot, TenantView
from verismo.model.document import NotOneOperation, outline, without_end_blank
from verismo.model.errors import MalformedRequest, MethodNotAllowed, OperationUnregistered
from verismo.model.ids import OperationId
from verismo.model.operation import Operation, OperationKind
from verismo.model.traffic import Request

UNREGISTERED = OperationId("unregistered")
"""The `op` of statements about chat and embedding calls that observe mode let through."""


_PATHS: Final[Mapping[OperationKind, str]] = {
    "chat": "/v1/chat/completions",
    "embedding": "/v1/embeddings",
    "graphql": "/graphql",
    "http": "/v1/operations/ and its id",
    "agent": "/v1/agents/ and its id",
    "mcp": "/mcp/ and its id",
}


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
        OperationUnregistered: nothing by that name for this tenant, and it is not in observe; or
            it is registered as another kind, which no other operation may stand in for.
    """
    enforcement = view.tenant.enforcement
    operation = view.operations.get(OperationId(ask.name))
    by_id = operation is not None and ask.by_id
    if operation is None:
        operation = view.aliases.get(ask.name)
    if operation is None and ask.document:
        # Safe: what runs is the registered text, and the two differ only where nothing is said.
        operation = view.texts.get(without_end_blank(ask.document))
    if operation is not None and _fits(snapshot, operation, ask):
        if enforcement == "id-only" and not by_id:
            raise OperationUnregistered(
                f"this tenant calls operations by id only; the id is {operation.id}"
            )
        return Resolved(operation=operation, registered=True, by_id=by_id)
    if operation is not None:
        path = _PATHS["chat" if speaks_chat(snapshot, operation) else operation.kind]
        raise OperationUnregistered(f"{operation.id} is of kind {operation.kind}; ask {path}")
    if enforcement == "observe" and _can_be_observed(ask):
        made_up = _observed(snapshot, ask, purpose)
        if made_up.deployments:
            return Resolved(operation=made_up, registered=False, by_id=False)
        raise OperationUnregistered(
            f"no {ask.kind} operation {ask.name[:128]!r} for this tenant, and [observe] names no "
            f"deployment for {ask.kind}"
        )
    raise OperationUnregistered(f"no {ask.kind} operation {ask.name[:128]!r} for this tenant")


def _fits(snapshot: Snapshot, operation: Operation, ask: Ask) -> bool:
    """An agent that speaks OpenAI chat is called like a model, any other by its own path."""
    if operation.kind != "agent":
        return operation.kind == ask.kind
    return ask.kind == ("chat" if speaks_chat(snapshot, operation) else "agent")


def speaks_chat(snapshot: Snapshot, operation: Operation) -> bool:
    """Say whether an operation answers chats; all deployments of an agent speak one protocol."""
    if operation.kind != "agent" or not operation.deployments:
        return operation.kind == "chat"
    plan = snapshot.plan
    return plan.providers[plan.deployments[operation.deployments[0]].provider].kind == "openai"


def refuse_write_by_get(request: Request, resolved: Resolved) -> None:
    """A GET must not write (GraphQL over HTTP): mutations by GET are a 405.

    Raises:
        MethodNotAllowed: the document is not a query.
        MalformedRequest: it cannot be found out what it is.
    """
    if request.method != "GET":
        return
    operation = resolved.operation
    try:
        kind = operation.document_type or outline(operation.document).kind
    except NotOneOperation as error:
        raise MalformedRequest(f"the document {error}; send it by POST") from error
    if kind != "query":
        raise MethodNotAllowed("a mutation or subscription needs POST")


def _can_be_observed(ask: Ask) -> bool:
    """A document named by an id that nobody registered has no text, so it cannot run."""
    return ask.kind in ("chat", "embedding") or (ask.kind == "graphql" and bool(ask.document))


def _observed(snapshot: Snapshot, ask: Ask, purpose: str) -> Operation:
    return Operation(
        id=OperationId(ask.name) if ask.kind == "graphql" else UNREGISTERED,
        name=ask.operation_name or ask.name[:128],
        kind=ask.kind,
        purpose=purpose,
        deployments=snapshot.plan.observe_deployments.get(ask.kind, ()),
        document=ask.document,
    )
