"""Where unregistered operations go, by kind: only to deployments that serve that kind."""

from collections.abc import Sequence
from typing import Final

from verismo.config.locate import KeyPath
from verismo.config.operations import Registered
from verismo.config.references import (
    FITTING,
    check_deployment,
    check_known,
    names_of,
    provider_kind,
)
from verismo.config.source import Source
from verismo.config.tables import MainTable
from verismo.model.ids import DeploymentId
from verismo.model.operation import Operation, OperationKind

OBSERVED: Final[tuple[OperationKind, ...]] = ("chat", "embedding", "graphql")
"""Kinds of which unregistered operations may run; of others nothing does."""


def observed_deployments(
    main: MainTable, source: Source, operations: Sequence[Registered]
) -> dict[OperationKind, tuple[DeploymentId, ...]]:
    """Sort the deployments of `[observe]` by the kind that they serve.

    Args:
        main: verismo.toml as far as it could be read.
        source: its file, which takes the problems.
        operations: every operation that could be read; those that name a deployment say what a
            model at an OpenAI-compatible provider is for.

    Returns:
        Names in fallback order, for kinds that have any.
    """
    found: dict[OperationKind, dict[DeploymentId, None]] = {kind: {} for kind in OBSERVED}
    listed: dict[OperationKind, tuple[str, ...]] = {
        "chat": main.observe.chat,
        "embedding": main.observe.embedding,
        "graphql": main.observe.graphql,
    }
    known = names_of(source, "deployments")
    registered = [one.operation for one in operations]
    for kind, names in listed.items():
        for index, name in enumerate(names):
            path: KeyPath = ("observe", kind, index)
            check_deployment(kind, name, main, known, source, path)
            served = _served(name, main, registered)
            if served and kind not in served:
                uses = " and ".join(served)
                source.warn(path, f"registered operations use this for {uses}, not {kind}")
            found[kind][DeploymentId(name)] = None
    for index, name in enumerate(main.observe.deployments):
        path = ("observe", "deployments", index)
        check_known("deployment", name, known, source, path)
        for kind in _served(name, main, registered):
            found[kind][DeploymentId(name)] = None
        _check_told(index, found, main, source)
    return {kind: tuple(names) for kind, names in found.items() if names}


def _served(name: str, main: MainTable, operations: Sequence[Operation]) -> list[OperationKind]:
    """Return what a deployment serves, by its provider or by the operations that name it."""
    provider = provider_kind(name, main)
    if provider is None:
        return []
    if provider != "openai":
        return [kind for kind in OBSERVED if provider in FITTING[kind]]
    named = {
        "chat" if one.kind == "agent" else one.kind
        for one in operations
        if name in (*one.deployments, *one.candidates)
    }
    return [kind for kind in OBSERVED if kind in named]


def _check_told(
    index: int,
    found: dict[OperationKind, dict[DeploymentId, None]],
    main: MainTable,
    source: Source,
) -> None:
    name = main.observe.deployments[index]
    provider = provider_kind(name, main)
    if provider is None or any(name in names for names in found.values()):
        return
    path: KeyPath = ("observe", "deployments", index)
    if provider == "openai":
        source.error(
            path,
            f"nothing says whether {name} serves chats or embeddings: take it from here and "
            f'write `chat = ["{name}"]` or `embedding = ["{name}"]` under [observe]',
        )
    else:
        source.warn(path, f"{name} is at a provider of kind {provider}: only registered calls run")
