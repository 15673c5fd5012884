"""Reads every file under operations/ and makes registered operations of them."""

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from verismo.config.locate import KeyPath
from verismo.config.mcpoperations import mcp_operation
from verismo.config.operationtable import OperationsTable, OperationTable
from verismo.config.reading import read_table
from verismo.config.source import Findings, Source, open_source
from verismo.model.document import DOCUMENT_BYTES_MAX, NotOneOperation, outline
from verismo.model.ids import DeploymentId, OperationId, TenantId
from verismo.model.operation import Operation

FOLDER: Final = "operations"
RESERVED: Final = "unregistered"
"""Statements about unknown chat and embedding calls carry this in place of an id."""


class Registered(msgspec.Struct, frozen=True):
    """An operation and where it stands in the files.

    Args:
        operation: the value for the plan.
        source: its file.
        path: its table in that file.
    """

    operation: Operation
    source: Source
    path: KeyPath


def read_operations(root: Path, findings: Findings) -> list[Registered]:
    """Read every `*.toml` under operations/, in the order of their paths, but no hidden files.

    Args:
        root: the configuration folder.
        findings: where problems go.

    Returns:
        The operations that could be read, with unique ids.
    """
    found: dict[str, Registered] = {}
    folder = root / FOLDER
    used: set[Path] = set()
    for path in _visible(folder, "*.toml"):
        source = open_source(path, path.relative_to(root).as_posix(), findings)
        if source is None:
            continue
        table = read_table(OperationsTable, source.tree, source, ())
        for key, entry in (table.operations if table else {}).items():
            registered = _register(key, entry, source, root, used)
            if registered is None:
                continue
            earlier = found.setdefault(registered.operation.id, registered)
            if earlier is not registered:
                source.error(
                    registered.path,
                    f"the same operation stands at {earlier.source.place(earlier.path)}",
                )
    for document in _visible(folder, "*.graphql"):
        if document.resolve() not in used:
            _warn_of_stray_document(document, root, findings)
    return list(found.values())


def _visible(folder: Path, pattern: str) -> list[Path]:
    """List files without those in hidden folders.

    A folder that Kubernetes mounts from a ConfigMap holds each file twice: once as a link, once in
    a hidden folder that the links point to.
    """
    return [
        path
        for path in sorted(folder.rglob(pattern))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _warn_of_stray_document(document: Path, root: Path, findings: Findings) -> None:
    label = document.relative_to(root).as_posix()
    source = Source(label, document, "", findings)
    source.warn((), "no operation names this document, so it cannot be run")


def _register(
    key: str, entry: OperationTable, source: Source, root: Path, used: set[Path]
) -> Registered | None:
    path: KeyPath = ("operations", key)
    if not entry.deployments and entry.kind != "agent":
        source.error((*path, "deployments"), "must name at least one deployment")
    if entry.candidates and not entry.deployments:
        source.error((*path, "candidates"), "need a deployment that they are compared with")
    for name in ("tools", "methods", "param_headers"):
        if entry.kind != "mcp" and getattr(entry, name):
            source.error((*path, name), f"is for kind mcp, not {entry.kind}")
    if entry.kind == "graphql":
        return _register_document(key, entry, source, root, used)
    if key == RESERVED:
        source.error(path, f"{RESERVED!r} is reserved for operations that are not registered")
    for name in ("document", "id"):
        if getattr(entry, name):
            source.error((*path, name), f"is for kind graphql, not {entry.kind}")
    operation = _operation(OperationId(key), entry.name or key, entry)
    if entry.kind == "mcp":
        operation = mcp_operation(operation, entry, source, path)
    return Registered(operation, source, path)


def _register_document(
    key: str, entry: OperationTable, source: Source, root: Path, used: set[Path]
) -> Registered | None:
    path: KeyPath = ("operations", key)
    if not entry.document:
        source.error(path, "document is missing: a GraphQL operation is its document")
        return None
    file = (source.path.parent / entry.document).resolve()
    used.add(file)
    where = (*path, "document")
    data = _read_document(file, root, source, where)
    if data is None:
        return None
    document_id = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if entry.id and entry.id != document_id:
        source.error(
            (*path, "id"),
            f"{entry.document} has changed: it is {document_id} now. Put the file back, or "
            "register the new text as a new operation by recording its id",
        )
        return None
    try:
        text = data.decode("utf-8")
        found = outline(text)
    except UnicodeDecodeError:
        source.error(where, f"{entry.document} is not UTF-8")
        return None
    except NotOneOperation as error:
        source.error(where, f"{entry.document}: {error}")
        return None
    operation = _operation(OperationId(document_id), entry.name or found.name or key, entry)
    operation = msgspec.structs.replace(operation, document=text, document_type=found.kind)
    return Registered(operation, source, path)


def _read_document(file: Path, root: Path, source: Source, where: KeyPath) -> bytes | None:
    if not file.is_relative_to((root / FOLDER).resolve()):
        source.error(where, f"must stay inside {FOLDER}/")
        return None
    try:
        data = file.read_bytes()
    except OSError as error:
        source.error(where, f"{file.name} cannot be read: {error.strerror}")
        return None
    if len(data) > DOCUMENT_BYTES_MAX:
        source.error(where, f"{file.name} is over {DOCUMENT_BYTES_MAX} bytes")
        return None
    return data


def _operation(operation_id: OperationId, name: str, entry: OperationTable) -> Operation:
    return Operation(
        id=operation_id,
        name=name,
        kind=entry.kind,
        purpose=entry.purpose,
        deployments=tuple(DeploymentId(name) for name in entry.deployments),
        aliases=entry.aliases,
        tenants=tuple(TenantId(name) for name in entry.tenants),
        candidates=tuple(DeploymentId(name) for name in entry.candidates),
    )
