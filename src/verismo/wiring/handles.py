"""Tells a tenant's opaque handle, the `aud` of its statements, to whoever runs the gateway."""

from collections.abc import Iterable
from pathlib import Path

from verismo.adapters.secret_file import read_secret
from verismo.gateway.snapshot import tenant_handle
from verismo.model.ids import TenantId


def handle_secret_file(data: Path) -> Path:
    """Return where a data folder keeps the secret that handles are derived from."""
    return data / "keys" / "handles.key"


def find_tenant_handle(data: Path, tenant: TenantId) -> str | None:
    """Return a tenant's handle; None before the gateway has run, which makes the secret.

    Args:
        data: the data folder.
        tenant: its id.

    Raises:
        StateError: the secret is readable by others or cannot be read.
    """
    secret = handle_secret_file(data)
    return tenant_handle(tenant, read_secret(secret)) if secret.exists() else None


def tenants_by_handle(data: Path, tenants: Iterable[TenantId]) -> dict[str, TenantId]:
    """Return tenants by their handles; none before the gateway has run.

    Args:
        data: the data folder.
        tenants: their ids.

    Raises:
        StateError: the secret is readable by others or cannot be read.
    """
    handles = {one: find_tenant_handle(data, one) for one in tenants}
    return {handle: one for one, handle in handles.items() if handle is not None}
