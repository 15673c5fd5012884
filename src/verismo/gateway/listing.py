"""`GET /v1/models`: the operations that this caller may run, as OpenAI clients list models."""

import msgspec

from verismo.gateway.decide import decide
from verismo.gateway.identify import Caller
from verismo.gateway.resolve import Resolved, speaks_chat
from verismo.gateway.snapshot import Snapshot
from verismo.model.errors import PolicyRefusal
from verismo.ports.policy import PolicyEngine


class ListedModel(msgspec.Struct, frozen=True):
    """One entry: the operation's id, or an alias of it, as a model."""

    id: str
    kind: str
    object: str = "model"
    created: int = 0
    owned_by: str = "verismo"


class ModelList(msgspec.Struct, frozen=True):
    """The list, in OpenAI's shape."""

    data: tuple[ListedModel, ...]
    object: str = "list"


def list_models(policy: PolicyEngine, snapshot: Snapshot, caller: Caller) -> bytes:
    """Return what answers chats and embeddings and the policy lets this caller run.

    Args:
        policy: asked about each, so that the list never promises what a call would refuse.
        snapshot: the operations in force.
        caller: who asks.
    """
    listed: list[ListedModel] = []
    by_id_only = caller.view.tenant.enforcement == "id-only"
    for operation in caller.view.operations.values():
        if operation.kind != "embedding" and not speaks_chat(snapshot, operation):
            continue
        try:
            decide(policy, snapshot, caller, Resolved(operation, registered=True, by_id=True))
        except PolicyRefusal:
            continue
        names = (operation.id, *(() if by_id_only else operation.aliases))
        listed += [ListedModel(id=name, kind=operation.kind) for name in names]
    return msgspec.json.encode(ModelList(tuple(listed)))
