"""Tenants and what they may do. An API key's secret part never reaches these values."""

from typing import Literal

import msgspec

from verismo.model.ids import KeyId, TenantId
from verismo.model.units import UsdMicros

Enforcement = Literal["observe", "safelist", "id-only"]
"""How strictly only registered operations run (decisions 21)."""


class RateLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Token buckets that all workers of a gateway share: a limit is the same with 1 or 64 of them.

    0 means no limit. Gateways with data folders of their own each allow the whole limit.

    Args:
        requests_per_minute: refill and burst of the request bucket; reads with a key (provenance,
            proofs) have one of the same size of their own.
        tokens_per_minute: refill and burst of the token bucket (input + output tokens).
    """

    requests_per_minute: int = 0
    tokens_per_minute: int = 0


class Tenant(msgspec.Struct, frozen=True):
    """One customer of the platform.

    Args:
        id: its name in configuration and policy.
        region: home region; policy compares it with a deployment's region.
        purposes: what its data may be used for.
        models: model names or `prefix*` patterns that it may reach; empty means none.
        enforcement: `observe`, `safelist` or `id-only`.
        capture: keep content, encrypted under the tenant's own key. Off unless asked for.
        budget_usd_micros_per_day: fixed budget; 0 means no budget, so nothing may be spent.
        rate: limits for the tenant as a whole.
        cache_ttl_s: lifetime of exact-cache entries; 0 turns the cache off.
    """

    id: TenantId
    region: str
    purposes: tuple[str, ...]
    models: tuple[str, ...]
    enforcement: Enforcement
    capture: bool = False
    budget_usd_micros_per_day: UsdMicros = UsdMicros(0)
    rate: RateLimit = RateLimit()
    cache_ttl_s: int = 0


class ApiKey(msgspec.Struct, frozen=True):
    """What is kept of an API key: never the key itself.

    Args:
        id: the public part of `vk_<id>_<secret>`.
        tenant: whose key it is.
        secret_sha256: hex SHA-256 of the whole key text. Keys hold 256 random bits, so a plain
            hash is enough; it is compared in constant time.
        name: a label for people.
        purpose: default purpose of calls with this key; empty means the tenant's first.
        role: `caller`, or `auditor` for a key that may read any tenant's provenance.
        created_ms: Unix ms.
        expires_ms: Unix ms, 0 for never.
        revoked_ms: Unix ms, 0 while in force.
        rate: limits for this key alone.
    """

    id: KeyId
    tenant: TenantId
    secret_sha256: str
    name: str = ""
    purpose: str = ""
    role: Literal["caller", "auditor"] = "caller"
    created_ms: int = 0
    expires_ms: int = 0
    revoked_ms: int = 0
    rate: RateLimit = RateLimit()
