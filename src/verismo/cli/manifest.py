"""Reads persisted GraphQL documents as other tools leave them; nothing in them is believed.

Three shapes: Apollo's persisted query manifest, the map that the Relay compiler writes, and a
folder of `.graphql` files. Each document's id is computed from its text again.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from verismo.model.document import DOCUMENT_BYTES_MAX, NotOneOperation, outline
from verismo.model.errors import OperatorError

APOLLO_FORMAT: Final = "apollo-persisted-query-manifest"
MANIFEST_BYTES_MAX: Final = 268_435_456
"""256 documents of the largest size; real manifests hold a few megabytes."""

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_LABEL = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")


class Document(msgspec.Struct, frozen=True):
    """A GraphQL document that may be registered.

    Args:
        text: its exact source text.
        name: the operation's name; empty if it has none.
        kind: `query`, `mutation` or `subscription`.
        alias: the id that its clients send if that is not the text's SHA-256, else empty.
    """

    text: str
    name: str
    kind: str
    alias: str = ""

    @property
    def digest(self) -> str:
        """The hex SHA-256 of the text's UTF-8 bytes."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()

    @property
    def id(self) -> str:
        """The operation's id: `sha256:` and the digest."""
        return f"sha256:{self.digest}"


class Refused(msgspec.Struct, frozen=True):
    """A document that is not registered, and why."""

    name: str
    reason: str


class ApolloOperation(msgspec.Struct, frozen=True):
    """One entry of Apollo's manifest."""

    id: str
    body: str
    name: str = ""
    type: str = ""


class ApolloManifest(msgspec.Struct, frozen=True):
    """Apollo's persisted query manifest, version 1.

    Source: the npm package @apollo/generate-persisted-query-manifest.
    """

    format: str
    version: int
    operations: tuple[ApolloOperation, ...]


def read_documents(path: Path, *, trust_text: bool) -> tuple[list[Document], list[Refused]]:
    """Read a manifest file or a folder of documents.

    Args:
        path: the file or folder.
        trust_text: take a document whose SHA-256 id does not match its text, under the id that
            its text has. For manifests whose ids were made over a text printed differently.

    Returns:
        What may be registered and what not, in the order of the source.

    Raises:
        OperatorError: it cannot be read, is none of the three shapes, or is empty.
    """
    entries = _folder(path) if path.is_dir() else _manifest(path)
    documents: list[Document] = []
    refused: list[Refused] = []
    for entry in entries:
        found = _document(entry, trust_text=trust_text)
        if isinstance(found, Document):
            documents.append(found)
        else:
            refused.append(found)
    if not documents and not refused:
        raise OperatorError(
            f"{path} holds no documents",
            next_step="Name a manifest with operations, or a folder with .graphql files.",
        )
    return documents, refused


def _folder(path: Path) -> Iterable[ApolloOperation]:
    for file in sorted([*path.rglob("*.graphql"), *path.rglob("*.gql")]):
        label = file.relative_to(path).as_posix()
        try:
            yield ApolloOperation("", file.read_bytes().decode("utf-8"), name=label)
        except (OSError, UnicodeDecodeError) as error:
            raise OperatorError(
                f"{file} cannot be read: {error}", next_step="Mend or remove that file."
            ) from error


def _manifest(path: Path) -> Iterable[ApolloOperation]:
    try:
        if path.stat().st_size > MANIFEST_BYTES_MAX:
            raise OperatorError(f"{path} is over {MANIFEST_BYTES_MAX} bytes", next_step="Split it.")
        data = path.read_bytes()
    except OSError as error:
        raise OperatorError(
            f"{path} cannot be read: {error.strerror}", next_step="Check the path."
        ) from error
    try:
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        if "format" not in members:
            return [
                ApolloOperation(key, text)
                for key, text in msgspec.json.decode(data, type=dict[str, str]).items()
            ]
        manifest = msgspec.json.decode(data, type=ApolloManifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise OperatorError(
            f"{path} is neither an Apollo manifest nor a Relay map of id to text: {error}",
            next_step="Make it again with `generate-persisted-query-manifest` or relay-compiler.",
        ) from error
    if (manifest.format, manifest.version) != (APOLLO_FORMAT, 1):
        raise OperatorError(
            f"{path} has format {manifest.format!r} version {manifest.version}",
            next_step=f"Only {APOLLO_FORMAT!r} version 1 is known.",
        )
    return manifest.operations


def _document(entry: ApolloOperation, *, trust_text: bool) -> Document | Refused:
    label = entry.name or entry.id
    if len(entry.body.encode("utf-8")) > DOCUMENT_BYTES_MAX:
        return Refused(label, f"is over {DOCUMENT_BYTES_MAX} bytes")
    try:
        found = outline(entry.body)
    except NotOneOperation as error:
        return Refused(label, str(error))
    # A mutation that is declared a query could be run by GET, from a cache or a link.
    if entry.type and entry.type != found.kind:
        return Refused(label, f"is declared a {entry.type} but its text is a {found.kind}")
    document = Document(entry.body, found.name, found.kind)
    claimed = entry.id.removeprefix("sha256:")
    if claimed in ("", document.digest):
        return document
    if _SHA256.fullmatch(claimed):
        if trust_text:
            return document
        return Refused(label, f"its id says {claimed[:12]} but its text is {document.digest[:12]}")
    if not _LABEL.fullmatch(entry.id):
        return Refused(label, "its id is not letters, digits and . _ : / @ -")
    return msgspec.structs.replace(document, alias=entry.id)
