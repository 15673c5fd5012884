"""The shape of `[slo.NAME]` in verismo.toml, and what a checked one is."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from verismo.adapt.burn import Objectives
from verismo.config.source import Source, suggestion
from verismo.model.ids import OperationId, TenantId
from verismo.model.units import Milliseconds, Ppm

Objective = Annotated[int, msgspec.Meta(ge=1, le=999_999)]


class SloTable(msgspec.Struct, frozen=True):
    """What a route promises: docs/adapt-scaling.md, "Error budgets".

    Args:
        operation: whose requests.
        tenant: of the route; empty for every tenant's requests together.
        latency_ms: an answer is there within this; 0 for no such objective.
        latency_objective_ppm: share of answers that are, in millionths.
        error_objective_ppm: share of requests that do not fail, in millionths.
    """

    operation: str
    tenant: str = ""
    latency_ms: Annotated[int, msgspec.Meta(ge=0, le=3_600_000)] = 0
    latency_objective_ppm: Objective = 990_000
    error_objective_ppm: Objective = 999_000


class Slo(msgspec.Struct, frozen=True):
    """A checked `[slo.NAME]`.

    Args:
        name: of the table.
        operation: whose requests.
        tenant: of the route; empty for all.
        objectives: what is promised.
    """

    name: str
    operation: OperationId
    tenant: TenantId
    objectives: Objectives


def check_slos(
    tables: Mapping[str, SloTable],
    source: Source,
    tenants: Mapping[str, object],
    operations: frozenset[str],
) -> tuple[Slo, ...]:
    """Check that every objective is about a route that there is.

    Args:
        tables: `[slo.NAME]` by name.
        source: verismo.toml; takes the problems.
        tenants: the ids that there are.
        operations: the ids that there are.

    Returns:
        The objectives by name; to be used only if nothing was found wrong.
    """
    for name, table in tables.items():
        for key, value, known in (
            ("operation", table.operation, operations),
            ("tenant", table.tenant, frozenset({"", *tenants})),
        ):
            if value not in known:
                names = known - {""}
                source.error(
                    ("slo", name, key), f"there is no {key} {value!r}{suggestion(value, names)}"
                )
    return tuple(
        Slo(
            name=name,
            operation=OperationId(table.operation),
            tenant=TenantId(table.tenant),
            objectives=Objectives(
                latency_ms=Milliseconds(table.latency_ms),
                latency_ppm=Ppm(table.latency_objective_ppm),
                error_ppm=Ppm(table.error_objective_ppm),
            ),
        )
        for name, table in sorted(tables.items())
    )
