"""API keys over the control API: shown without hashes, created, revoked."""

from typing import Literal

import msgspec

from verismo.model.apikey import ApiKeyText, KeyState, key_sha256, key_state
from verismo.model.errors import MalformedRequest, NotFound
from verismo.model.ids import TenantId
from verismo.model.plan import Plan
from verismo.model.tenant import ApiKey, RateLimit

NAME_CHARACTERS_MAX = 128
EXPIRES_S_MAX = 10 * 366 * 86_400
"""Ten years: a longer life is a slip of units."""

_MS_PER_S = 1_000


class ApiKeyRow(msgspec.Struct, frozen=True):
    """What is shown of a key; never its hash."""

    id: str
    tenant: str
    name: str
    purpose: str
    role: str
    rate: RateLimit
    created_ms: int
    expires_ms: int
    revoked_ms: int
    state: KeyState


class NewApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body that asks for a key.

    Args:
        tenant: whose key it is.
        name: a label for people, at most 128 characters.
        purpose: of its calls; empty means the tenant's first.
        role: `caller` or `auditor`.
        expires_s: lifetime in seconds, 0 for no end.
        rate: limits for this key alone.
    """

    tenant: str
    name: str = ""
    purpose: str = ""
    role: Literal["caller", "auditor"] = "caller"
    expires_s: int = 0
    rate: RateLimit = RateLimit()


class CreatedApiKey(msgspec.Struct, frozen=True):
    """The answer to its creation: the only time that the key itself is shown."""

    key: str
    record: ApiKeyRow


def new_record(asked: NewApiKey, plan: Plan, text: ApiKeyText, now_ms: int) -> ApiKey:
    """Check what was asked for and return the record to store.

    Args:
        asked: the body.
        plan: knows the tenants and their purposes.
        text: the new key.
        now_ms: Unix ms.

    Raises:
        NotFound: no such tenant.
        MalformedRequest: a purpose that the tenant has not, or a value out of range.
    """
    tenant = plan.tenants.get(TenantId(asked.tenant))
    if tenant is None:
        raise NotFound(f"there is no tenant {asked.tenant[:NAME_CHARACTERS_MAX]!r}")
    if asked.purpose and asked.purpose not in tenant.purposes:
        raise MalformedRequest(f"the purposes of {tenant.id} are {', '.join(tenant.purposes)}")
    if len(asked.name) > NAME_CHARACTERS_MAX:
        raise MalformedRequest(f"`name` has more than {NAME_CHARACTERS_MAX} characters")
    if not 0 <= asked.expires_s <= EXPIRES_S_MAX:
        raise MalformedRequest(f"`expires_s` must be 0 to {EXPIRES_S_MAX}")
    if min(asked.rate.requests_per_minute, asked.rate.tokens_per_minute) < 0:
        raise MalformedRequest("a rate must not be negative; 0 means no limit")
    return ApiKey(
        id=text.id,
        tenant=tenant.id,
        secret_sha256=key_sha256(text),
        name=asked.name,
        purpose=asked.purpose,
        role=asked.role,
        created_ms=now_ms,
        expires_ms=now_ms + asked.expires_s * _MS_PER_S if asked.expires_s else 0,
        rate=asked.rate,
    )


def shown(key: ApiKey, now_ms: int) -> ApiKeyRow:
    """Return what may be shown of a key."""
    return ApiKeyRow(
        id=key.id,
        tenant=key.tenant,
        name=key.name,
        purpose=key.purpose,
        role=key.role,
        rate=key.rate,
        created_ms=key.created_ms,
        expires_ms=key.expires_ms,
        revoked_ms=key.revoked_ms,
        state=key_state(key, now_ms),
    )
