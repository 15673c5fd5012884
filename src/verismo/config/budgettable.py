"""The shape of `[budgets]` in verismo.toml: what a route may spend within a minute."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Annotated

import msgspec

from verismo.config.money import usd_micros
from verismo.config.source import Source, suggestion
from verismo.model.ids import OperationId, TenantId
from verismo.model.units import UsdMicros


class BudgetsTable(msgspec.Struct, frozen=True):
    """The static caps of routes: what a tenant may offer to spend on an operation in a minute.

    A route whose limit was learned gets the smaller of the two.

    Args:
        cap_share_ppm: cap of a route without one of its own, as a share of its tenant's budget of a
            day, in millionths: with 50000 a runaway caller needs twenty minutes for a day's budget
            even if nothing was learned yet.
        caps: US dollars a minute, by tenant and operation: `caps.TENANT_001."support.chat" = 2.50`.
    """

    cap_share_ppm: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 50_000
    caps: dict[str, dict[str, Decimal]] = {}


class Budgets(msgspec.Struct, frozen=True):
    """The static caps, checked.

    Args:
        cap_share_ppm: of a route without one of its own, a share of its tenant's budget of a day.
        caps: USD micros a minute, by tenant and operation.
    """

    cap_share_ppm: int = 50_000
    caps: dict[TenantId, dict[OperationId, UsdMicros]] = {}


def check_budgets(
    table: BudgetsTable,
    source: Source,
    tenants: Mapping[str, object],
    operations: Collection[str],
) -> Budgets:
    """Check that each cap is of a route that there is, and above 0.

    Args:
        table: `[budgets]`.
        source: verismo.toml; takes the problems.
        tenants: by id.
        operations: ids of the registered ones.
    """
    caps: dict[TenantId, dict[OperationId, UsdMicros]] = {}
    for tenant, of_tenant in table.caps.items():
        if tenant not in tenants:
            near = suggestion(tenant, tenants)
            source.error(("budgets", "caps", tenant), f"there is no tenant {tenant!r}{near}")
        for operation, amount in of_tenant.items():
            path = ("budgets", "caps", tenant, operation)
            if operation not in operations:
                near = suggestion(operation, operations)
                source.error(path, f"there is no operation {operation!r}{near}")
            cap = usd_micros(amount, source, path)
            if not cap:
                source.error(path, "must be above 0; a tenant's budget of 0 allows no spending")
            caps.setdefault(TenantId(tenant), {})[OperationId(operation)] = cap
    return Budgets(table.cap_share_ppm, caps)
