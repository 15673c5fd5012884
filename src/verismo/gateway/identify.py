"""Step 2, identify: API key -> tenant, region, purpose.

Whoever fails here gets an unsigned 401: signing it would hand strangers our fsync (decisions 15).
The answer never says whether a key is unknown, expired or revoked.
"""

import msgspec

from verismo.gateway.snapshot import Snapshot, TenantView
from verismo.model.apikey import is_in_force, key_matches, parse_api_key
from verismo.model.errors import Unauthenticated
from verismo.model.tenant import ApiKey

_NOBODY = "0" * 64
_REFUSAL = "no API key that is in force came with this request"


class Caller(msgspec.Struct, frozen=True):
    """Who asks.

    Args:
        key: the API key.
        view: its tenant.
        purpose: what this call's data is used for.
    """

    key: ApiKey
    view: TenantView
    purpose: str


def identify(snapshot: Snapshot, headers: dict[str, str], now_ms: int) -> Caller:
    """Find the caller by its API key.

    Args:
        snapshot: keys and tenants in force.
        headers: hold `authorization: Bearer vk_...` or, from clients that know only that,
            `x-api-key` or `api-key`.
        now_ms: Unix ms.

    Raises:
        Unauthenticated: no key, or none that is in force.
    """
    presented = _presented_key(headers)
    parsed = parse_api_key(presented, "vk")
    if parsed is None:
        raise Unauthenticated(_REFUSAL)
    key = snapshot.keys.get(parsed.id)
    # The comparison runs for unknown keys too, so that time does not tell which ids exist.
    matches = key_matches(parsed, key.secret_sha256 if key else _NOBODY)
    if key is None or not matches or not is_in_force(key, now_ms):
        raise Unauthenticated(_REFUSAL)
    view = snapshot.tenants.get(key.tenant)
    if view is None:
        raise Unauthenticated(_REFUSAL)
    purpose = key.purpose or (view.tenant.purposes[0] if view.tenant.purposes else "")
    return Caller(key=key, view=view, purpose=purpose)


def _presented_key(headers: dict[str, str]) -> str:
    authorization = headers.get("authorization", "")
    if authorization[:7].lower() == "bearer ":
        return authorization[7:].strip()
    return headers.get("x-api-key") or headers.get("api-key") or ""
