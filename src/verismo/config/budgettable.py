"""The shape of `[budgets]` in verismo.toml: what a route may spend within a minute."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Annotated, Final

import msgspec

from verismo.config.money import usd_micros
from verismo.config.source import Source, suggestion
from verismo.model.ids import OperationId, TenantId
from verismo.model.units import UsdMicros

_AS_IN: Final = '(budgets.caps.TENANT."OPERATION" = 2.50)'
CapsOfTenant = Annotated[
    dict[str, Decimal],
    msgspec.Meta(description=f"US dollars a minute by operation {_AS_IN}"),
]
Caps = Annotated[
    dict[str, CapsOfTenant],
    msgspec.Meta(description=f"caps by tenant and operation {_AS_IN}"),
]


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
    caps: Caps = {}


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

    The names of tenants are looked at as they stand in the file: under a wrong one there may be
    something that is no cap, and whoever wrote it has to be told of both.

    Args:
        table: `[budgets]`.
        source: verismo.toml; takes the problems.
        tenants: by id.
        operations: ids of the registered ones.
    """
    caps: dict[TenantId, dict[OperationId, UsdMicros]] = {}
    for tenant in _written(source):
        if tenant in operations and tenant not in tenants:
            text = "is an operation; its cap stands under its tenant"
            source.error(("budgets", "caps", tenant), text)
        elif tenant not in tenants:
            near = suggestion(tenant, tenants)
            source.error(("budgets", "caps", tenant), f"there is no tenant {tenant!r}{near}")
    for tenant, of_tenant in table.caps.items():
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


def _written(source: Source) -> Collection[str]:
    """Return the names under `[budgets.caps]` as they stand in the file."""
    budgets = source.tree.get("budgets")
    caps = budgets.get("caps") if isinstance(budgets, dict) else None
    return caps if isinstance(caps, dict) else ()
