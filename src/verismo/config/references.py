"""Checks across tables: every name that is used exists, fits, and means one thing to a tenant."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from verismo.config.locate import KeyPath
from verismo.config.operations import Registered
from verismo.config.source import Source, Toml, suggestion
from verismo.config.tables import DeploymentTable, MainTable, ProviderTable
from verismo.model.ids import DeploymentId, OperationId
from verismo.model.operation import Operation, OperationKind, ProviderKind

FITTING: Final[Mapping[OperationKind, tuple[ProviderKind, ...]]] = {
    "chat": ("openai", "anthropic"),
    "embedding": ("openai",),
    "graphql": ("graphql",),
    "http": ("http",),
    "mcp": ("mcp",),
    "agent": ("http", "openai"),
}
"""Which kinds of provider can run which kind of operation."""


class Known(msgspec.Struct, frozen=True):
    """The names that may be used, in the order of the file.

    A table that could not be read still counts: its own problem is told, not that it is unknown.

    Args:
        providers, deployments, tenants: their names; a dict for its order and fast look-up.
        purposes: every purpose that some tenant has.
    """

    providers: dict[str, None]
    deployments: dict[str, None]
    tenants: dict[str, None]
    purposes: frozenset[str]


def check_references(main: MainTable, source: Source, operations: Sequence[Registered]) -> None:
    """Check every name in verismo.toml and in the operations' files.

    Args:
        main: verismo.toml as far as it could be read.
        source: its file.
        operations: every operation that could be read.
    """
    known = Known(
        providers=names_of(source, "providers"),
        deployments=names_of(source, "deployments"),
        tenants=names_of(source, "tenants"),
        purposes=frozenset(p for tenant in main.tenants.values() for p in tenant.purposes),
    )
    for name, deployment in main.deployments.items():
        path: KeyPath = ("deployments", name)
        check_known("provider", deployment.provider, known.providers, source, (*path, "provider"))
        provider = main.providers.get(deployment.provider)
        if provider is not None:
            _check_model(deployment, provider, source, path)
    for registered in operations:
        _check_deployments(registered, main, known)
        _check_tenants(registered, main, known)
    _check_labels(operations)
    _warn_of_unused(main, source, operations)


def names_of(source: Source, table: str) -> dict[str, None]:
    """Return the names of a table's tables, in the order of the file."""
    value: Toml = source.tree.get(table, {})
    return dict.fromkeys(value) if isinstance(value, dict) else {}


def check_known(
    what: str, name: str, known: Collection[str], source: Source, path: KeyPath
) -> None:
    """Note a name that does not exist, with the nearest one that does."""
    if name not in known:
        source.error(path, f"there is no {what} {name!r}{suggestion(name, known)}")


def check_deployment(
    kind: OperationKind,
    name: str,
    main: MainTable,
    known: Collection[str],
    source: Source,
    path: KeyPath,
) -> None:
    """Note a deployment that does not exist, or whose provider cannot run a kind of operation.

    Args:
        kind: what is to run there.
        name: the deployment's.
        main: verismo.toml as far as it could be read.
        known: the names of all deployments.
        source: the file that names the deployment; it takes the problem.
        path: where it does.
    """
    check_known("deployment", name, known, source, path)
    provider = provider_kind(name, main)
    if provider is not None and provider not in FITTING[kind]:
        source.error(
            path,
            f"{name} is at a provider of kind {provider}, which cannot run {kind} operations; "
            f"that takes {' or '.join(FITTING[kind])}",
        )


def provider_kind(name: str, main: MainTable) -> ProviderKind | None:
    """Return of which kind a deployment's provider is, if both could be read."""
    deployment = main.deployments.get(name)
    provider = main.providers.get(deployment.provider) if deployment else None
    return provider.kind if provider is not None else None


def _check_model(
    deployment: DeploymentTable, provider: ProviderTable, source: Source, path: KeyPath
) -> None:
    if provider.kind in ("openai", "anthropic") and not deployment.model:
        source.error(path, f"model is missing: a provider of kind {provider.kind} is asked for one")
    elif provider.kind in ("http", "mcp") and not f"{deployment.model}/".startswith("/"):
        source.error((*path, "model"), f"is the path for kind {provider.kind}, so it starts with /")


def _check_deployments(registered: Registered, main: MainTable, known: Known) -> None:
    operation, source = registered.operation, registered.source
    for index, name in enumerate(operation.deployments):
        where = (*registered.path, "deployments", index)
        check_deployment(operation.kind, name, main, known.deployments, source, where)
    for index, name in enumerate(operation.candidates):
        where = (*registered.path, "candidates", index)
        check_deployment(operation.kind, name, main, known.deployments, source, where)
        if name in operation.deployments:
            source.error(where, f"{name!r} is among the deployments: it serves already")
        elif name in operation.candidates[:index]:
            source.error(where, f"{name!r} stands twice")
    if operation.kind == "agent" and len(_provider_kinds(operation, main)) > 1:
        source.error(
            (*registered.path, "deployments"),
            "an agent speaks one protocol: these are at providers of kind http and of kind openai",
        )


def _provider_kinds(operation: Operation, main: MainTable) -> set[ProviderKind]:
    kinds = [provider_kind(name, main) for name in _used_by(operation)]
    return {one for one in kinds if one is not None and one in FITTING["agent"]}


def _used_by(operation: Operation) -> tuple[DeploymentId, ...]:
    return (*operation.deployments, *operation.candidates)


def _check_tenants(registered: Registered, main: MainTable, known: Known) -> None:
    operation, source, path = registered.operation, registered.source, registered.path
    for index, tenant in enumerate(operation.tenants):
        check_known("tenant", tenant, known.tenants, source, (*path, "tenants", index))
    purposes = known.purposes
    if operation.tenants:
        allowed = [main.tenants[tenant] for tenant in operation.tenants if tenant in main.tenants]
        purposes = frozenset(purpose for tenant in allowed for purpose in tenant.purposes)
    if purposes and operation.purpose not in purposes:
        source.warn(
            (*path, "purpose"),
            f"no tenant that may run this has the purpose {operation.purpose!r}"
            f"{suggestion(operation.purpose, purposes)}",
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
            named = ids.get(OperationId(alias))
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
    observe = main.observe
    observed = {*observe.chat, *observe.embedding, *observe.graphql, *observe.deployments}
    used: set[str] = set(observed)
    for registered in operations:
        used.update(_used_by(registered.operation))
    for name in main.deployments:
        if name not in used:
            source.warn(("deployments", name), "nothing uses this deployment")
    providers = {deployment.provider for deployment in main.deployments.values()}
    for name in main.providers:
        if name not in providers:
            source.warn(("providers", name), "no deployment uses this provider")
    for name, tenant in main.tenants.items():
        if tenant.enforcement == "observe" and not observed:
            source.warn(
                ("tenants", name, "enforcement"),
                "[observe] names no deployment, so unknown operations have nowhere to go",
            )
