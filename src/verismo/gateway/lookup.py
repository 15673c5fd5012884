"""Step 6, look up: the exact cache. Off unless the tenant sets a lifetime.

Only the same tenant, operation and bytes find an answer again. It is sealed anew each time: the
client gets a fresh statement that says `cache: hit`, never an old one.
"""

import hashlib

from verismo.gateway.ask import Ask
from verismo.gateway.journey import Journey
from verismo.model.operation import Operation
from verismo.ports.cache import AnswerCache, CachedAnswer


def look_up(cache: AnswerCache, journey: Journey) -> tuple[bytes, CachedAnswer | None]:
    """Look an answer up.

    Returns:
        The key under which the answer may be kept (empty if it may not), and what was found.
    """
    ask, resolved = journey.ask, journey.resolved
    if (
        not journey.caller.view.tenant.cache_ttl_s
        or ask is None
        or resolved is None
        or not _may_be_cached(ask, resolved.operation)
    ):
        return b"", None
    began = journey.now_ms()
    key = _key(journey, resolved.operation)
    found = cache.get(key, journey.request.received_ms)
    journey.cache = "miss" if found is None else "hit"
    attrs: dict[str, str | int | bool] = {"state": journey.cache}
    if found is not None:
        attrs["age_ms"] = max(0, journey.request.received_ms - found.stored_ms)
    journey.hop("cache", attrs, began)
    return key, found


def _may_be_cached(ask: Ask, operation: Operation) -> bool:
    """Streams, mutations, generic HTTP calls, MCP calls and agents always run."""
    if ask.stream or ask.kind in ("http", "mcp") or operation.kind == "agent":
        return False
    return ask.kind != "graphql" or operation.document_type == "query"


def _key(journey: Journey, operation: Operation) -> bytes:
    tenant = journey.caller.view.tenant.id
    # With the bundle: what another policy let through may not be served under this one. With the
    # candidate: what one answered is not served once its rollout is over. Both arms share what is
    # kept, and the arm is drawn after this, so a hit favours neither.
    snapshot, purpose, bundle = journey.snapshot, journey.caller.purpose, journey.bundle
    rollout = snapshot.rollout(tenant, operation.id)
    candidate = rollout.candidate if rollout is not None and rollout.weight_ppm else ""
    parts = (tenant, operation.id, snapshot.base, candidate, purpose, bundle)
    digest = hashlib.sha256("\0".join(parts).encode("utf-8"))
    digest.update(b"\0" + journey.request.query + b"\0" + journey.request.body)
    return digest.digest()
