"""The exact cache: an answer again for a request of the same bytes, sealed anew each time."""

from typing import Protocol

import msgspec

from verismo.model.ids import DeploymentId


class CachedAnswer(msgspec.Struct, frozen=True):
    """A provider's answer as it was first served.

    Args:
        status: HTTP status.
        media: content type.
        body: octets.
        provider, deployment, model: who made it.
        stored_ms: Unix ms.
    """

    status: int
    media: str
    body: bytes
    provider: str
    deployment: DeploymentId
    model: str
    stored_ms: int


class AnswerCache(Protocol):
    """Bounded by bytes; the least recently used entry goes first. Never shared between tenants:
    the key holds the tenant.
    """

    def get(self, key: bytes, now_ms: int) -> CachedAnswer | None:
        """Return a live entry or None."""
        ...

    def put(self, key: bytes, answer: CachedAnswer, ttl_s: int) -> None:
        """Keep an answer for a time; an answer larger than the cache is not kept."""
        ...
