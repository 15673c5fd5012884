"""Checks across tables: every name that is used exists, fits, and means one thing to a tenant."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from verismo.config.locate import KeyPath
from verismo.config.operations import Registered
from verismo.config.source import Source, Toml, suggestion
from verismo.config.tables import DeploymentTable, MainTable, ProviderTable
from verismo.model.operation import OperationKind, ProviderKind

FITTING: Final[Mapping[OperationKind, tuple[ProviderKind, ...]]] = {
    "chat": ("openai", "anthropic"),
    "embedding": ("openai",),
    "graphql": ("graphql",),
    "http": ("http",),
}
"""Which kinds of provider can run which kind of operation."""


def check_references(main: MainTable, source: Source, operations: Sequence[Registered]) -> None:
    """Check every name in verismo.toml and in the operations' files.

    Args:
        main: verismo.toml as far as it could be read.
        source: its file; a table that could not be read still counts as a known name.
        operations: every operation that could be read.
    """
    providers = _names(source, "providers")
    deployments = _names(source, "deployments")
    for name, deployment in main.deployments.items():
        path: KeyPath = ("deployments", name)
        _check_known("provider", deployment.provider, providers, source, (*path, "provider"))
        provider = main.providers.get(deployment.provider)
        if provider is not None:
            _check_model(deployment, provider, source, path)
    for index, name in enumerate(main.observe.deployments):
        where = ("observe", "deployments", index)
        _check_known("deployment", name, deployments, source, where)
    for registered in operations:
        _check_operation(registered, main, source)
    _check_labels(operations)
    _warn_of_unused(main, source, operations)


def _names(source: Source, table: str) -> tuple[str, ...]:
    value: Toml = source.tree.get(table, {})
    return tuple(value) if isinstance(value, dict) else ()


def _check_known(what: str, name: str, known: Iterable[str], source: Source, path: KeyPath) -> None:
    names = tuple(known)
    if name not in names:
        source.error(path, f"there is no {what} {name!r}{suggestion(name, names)}")


def _check_model(
    deployment: DeploymentTable, provider: ProviderTable, source: Source, path: KeyPath
) -> None:
    if provider.kind in ("openai", "anthropic") and not deployment.model:
        source.error(path, f"model is missing: a provider of kind {provider.kind} is asked for one")
    elif provider.kind == "http" and not f"{deployment.model}/".startswith("/"):
        source.error((*path, "model"), "is the path for kind http, so it starts with /")


def _check_operation(registered: Registered, main: MainTable, main_source: Source) -> None:
    operation, source, path = registered.operation, registered.source, registered.path
    deployments = _names(main_source, "deployments")
    for index, name in enumerate(operation.deployments):
        where = (*path, "deployments", index)
        _check_known("deployment", name, deployments, source, where)
        deployment = main.deployments.get(name)
        provider = main.providers.get(deployment.provider) if deployment else None
        if provider is not None and provider.kind not in FITTING[operation.kind]:
            source.error(
                where,
                f"{name} is at a provider of kind {provider.kind}, which cannot run "
                f"{operation.kind} operations; that takes {' or '.join(FITTING[operation.kind])}",
            )
    tenants = _names(main_source, "tenants")
    for index, tenant in enumerate(operation.tenants):
        _check_known("tenant", tenant, tenants, source, (*path, "tenants", index))
    allowed = [main.tenants[t] for t in operation.tenants or main.tenants if t in main.tenants]
    if allowed and all(operation.purpose not in tenant.purposes for tenant in allowed):
        known = {purpose for tenant in allowed for purpose in tenant.purposes}
        source.warn(
            (*path, "purpose"),
            f"no tenant that may run this has the purpose {operation.purpose!r}"
            f"{suggestion(operation.purpose, known)}",
        )


def _check_labels(operations: Sequence[Registered]) -> None:
    """Refuse an id or alias that means two operations to one tenant.

    An alias equal to any other operation's id is refused whoever may run either: the tables of
    tenants change more easily than the names that clients have learnt.
    """
    ids = {registered.operation.id: registered for registered in operations}
    owners: dict[str, list[Registered]] = {}
    for registered in operations:
        for index, alias in enumerate(registered.operation.aliases):
            where = (*registered.path, "aliases", index)
            named = next((r for i, r in ids.items() if i == alias), None)
            if named is not None and named is not registered:
                place = named.source.place(named.path)
                registered.source.error(where, f"{alias!r} is the id of the operation at {place}")
            for other in owners.get(alias, []):
                if other is registered:
                    registered.source.error(where, f"{alias!r} stands twice")
                elif _share_tenant(other, registered):
                    place = other.source.place(other.path)
                    text = f"{alias!r} is an alias of the operation at {place} for the same tenant"
                    registered.source.error(where, text)
            owners.setdefault(alias, []).append(registered)


def _share_tenant(one: Registered, other: Registered) -> bool:
    left, right = set(one.operation.tenants), set(other.operation.tenants)
    return not left or not right or bool(left & right)


def _warn_of_unused(main: MainTable, source: Source, operations: Sequence[Registered]) -> None:
    used: set[str] = set(main.observe.deployments)
    for registered in operations:
        used.update(registered.operation.deployments)
    for name in main.deployments:
        if name not in used:
            source.warn(("deployments", name), "nothing uses this deployment")
    providers = {deployment.provider for deployment in main.deployments.values()}
    for name in main.providers:
        if name not in providers:
            source.warn(("providers", name), "no deployment uses this provider")
    for name, tenant in main.tenants.items():
        if tenant.enforcement == "observe" and not main.observe.deployments:
            source.warn(
                ("tenants", name, "enforcement"),
                "observe.deployments is empty, so unknown operations have nowhere to go",
            )
