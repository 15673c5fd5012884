"""From checked tables to the plan: the one value that the gateways work from."""

from collections.abc import Sequence

from verismo.config.addresses import check_url
from verismo.config.locate import KeyPath
from verismo.config.money import usd_micros
from verismo.config.observing import observed_deployments
from verismo.config.operations import Registered
from verismo.config.source import Source
from verismo.config.tables import (
    DeploymentTable,
    MainTable,
    PriceTable,
    ProviderTable,
    TenantTable,
)
from verismo.model.ids import DeploymentId, ProviderId, TenantId
from verismo.model.operation import Deployment, Price, Provider
from verismo.model.plan import PLAN_VERSION, Plan
from verismo.model.tenant import Enforcement, Tenant

SIGNED_INTEGER_MAX = 2**53 - 1
"""Integers in the plan are hashed as RFC 8785 JSON (decisions 1)."""


def compile_plan(main: MainTable, source: Source, operations: Sequence[Registered]) -> Plan:
    """Build the plan; problems with single values are noted on the way.

    Args:
        main: verismo.toml.
        source: its file, which takes the problems.
        operations: the registered operations.

    Returns:
        The plan; to be used only if nothing was found wrong.
    """
    named = {tenant for r in operations for tenant in r.operation.tenants}
    return Plan(
        v=PLAN_VERSION,
        issuer=main.issuer,
        tenants={
            TenantId(name): _tenant(name, table, source, has_operation=name in named)
            for name, table in sorted(main.tenants.items())
        },
        providers={
            ProviderId(name): _provider(name, table, source)
            for name, table in sorted(main.providers.items())
        },
        deployments={
            DeploymentId(name): _deployment(name, table, main.providers, source)
            for name, table in sorted(main.deployments.items())
        },
        operations={
            r.operation.id: r.operation for r in sorted(operations, key=lambda r: r.operation.id)
        },
        observe_deployments=observed_deployments(main, source, operations),
    )


def _tenant(name: str, table: TenantTable, source: Source, *, has_operation: bool) -> Tenant:
    path: KeyPath = ("tenants", name)
    if not table.purposes:
        source.error((*path, "purposes"), "must name at least one purpose")
    for index, pattern in enumerate(table.models):
        if "*" in pattern[:-1]:
            source.error((*path, "models", index), "`*` may stand only at the end")
    for key in ("requests_per_minute", "tokens_per_minute"):
        _check_count(getattr(table.rate, key), source, (*path, "rate", key), minimum=0)
    return Tenant(
        id=TenantId(name),
        region=table.region,
        purposes=table.purposes,
        models=table.models,
        enforcement=table.enforcement or _default_enforcement(has_operation=has_operation),
        capture=table.capture,
        budget_usd_micros_per_day=usd_micros(
            table.budget_usd_per_day, source, (*path, "budget_usd_per_day")
        ),
        rate=table.rate,
        cache_ttl_s=table.cache_ttl_s,
    )


def _default_enforcement(*, has_operation: bool) -> Enforcement:
    """Decisions 21: a team adopts the gateway in `observe` and is safe once it has registered."""
    return "safelist" if has_operation else "observe"


def _provider(name: str, table: ProviderTable, source: Source) -> Provider:
    path: KeyPath = ("providers", name)
    for key in ("connect_ms", "first_byte_ms", "total_ms"):
        _check_count(getattr(table.timeouts, key), source, (*path, "timeouts", key), minimum=1)
    has_credential = bool(table.api_key_env or table.api_key_file)
    header, scheme = (
        ("x-api-key", "") if table.kind == "anthropic" else ("authorization", "Bearer ")
    )
    if table.auth_header is not None:
        header = table.auth_header.lower()
    if has_credential and not header:
        source.error((*path, "auth_header"), "is empty, but there is a credential to send")
    return Provider(
        id=ProviderId(name),
        kind=table.kind,
        base_url=check_url(table.base_url, source, (*path, "base_url")),
        timeouts=table.timeouts,
        auth_header=header if has_credential else "",
        auth_scheme=(scheme if table.auth_scheme is None else table.auth_scheme)
        if has_credential
        else "",
    )


def _deployment(
    name: str, table: DeploymentTable, providers: dict[str, ProviderTable], source: Source
) -> Deployment:
    provider = providers.get(table.provider)
    label = "graphql" if provider is not None and provider.kind == "graphql" else ""
    return Deployment(
        id=DeploymentId(name),
        provider=ProviderId(table.provider),
        model=table.model or label,
        region=table.region,
        price=_price(table.price, source, ("deployments", name, "price")),
    )


def _price(table: PriceTable | None, source: Source, path: KeyPath) -> Price | None:
    if table is None:
        return None
    return Price(
        input_usd_micros_per_mtok=usd_micros(
            table.input_usd_per_mtok, source, (*path, "input_usd_per_mtok")
        ),
        output_usd_micros_per_mtok=usd_micros(
            table.output_usd_per_mtok, source, (*path, "output_usd_per_mtok")
        ),
    )


def _check_count(value: int, source: Source, path: KeyPath, *, minimum: int) -> None:
    if not minimum <= value <= SIGNED_INTEGER_MAX:
        source.error(path, f"must be from {minimum} to {SIGNED_INTEGER_MAX}")
