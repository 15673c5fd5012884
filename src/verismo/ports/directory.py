"""The directory: API keys, observed operations, and a version that moves when they change."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from verismo.model.ids import KeyId, TenantId
from verismo.model.operation import OperationKind
from verismo.model.tenant import ApiKey


class Observation(msgspec.Struct, frozen=True):
    """Something unregistered that a tenant in `observe` ran: what `operation learn` works from.

    Args:
        tenant: who ran it.
        kind: what kind of operation it would be.
        name: what the client called it: the `model` text; for GraphQL the operation's name in the
            document.
        document: the GraphQL source text, else empty. Never variables, never prompts; what is
            stored has placeholders for the values in the text.
        count: how often since the last report.
        last_ms: Unix ms of the last time.
    """

    tenant: TenantId
    kind: OperationKind
    name: str
    document: str
    count: int
    last_ms: int


class Directory(Protocol):
    """What changes while the gateway runs. Every change is durable when the call returns.

    Used from any process; a writer waits for another up to 5 s, then raises StateError.
    """

    def version(self) -> int:
        """Return a number that differs after any change; cheap enough to ask every 0.5 s."""
        ...

    def api_keys(self) -> Sequence[ApiKey]:
        """Return every key, revoked and expired ones included, by creation time."""
        ...

    def add_api_key(self, key: ApiKey) -> None:
        """Store a new key.

        Raises:
            StateError: the id is taken or the store cannot be written.
        """
        ...

    def revoke_api_key(self, key_id: KeyId, now_ms: int) -> ApiKey:
        """Revoke a key; revoking it again changes nothing.

        Raises:
            NotFound: no such key.
        """
        ...

    def observe(self, observations: Sequence[Observation]) -> None:
        """Add counts to what was observed, at most 10,000 different ones for each tenant."""
        ...

    def observations(self, tenant: TenantId | None = None) -> Sequence[Observation]:
        """Return what was observed, most frequent first."""
        ...
