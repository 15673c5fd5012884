"""Registrations as text: what stands in a file under operations/, and where its document lies."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from verismo.cli.manifest import Document
from verismo.config.operations import FOLDER
from verismo.config.operationtable import OperationsTable, OperationTable
from verismo.config.writing import write_whole
from verismo.model.errors import OperatorError

_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_NAME_CHARACTERS_MAX: Final = 64
"""Keeps the file name of a document under every file system's 255 bytes."""


def safe_name(text: str) -> str:
    """Return a text with everything outside `A-Z a-z 0-9 . _ -` replaced by `-`.

    Returns:
        At most 64 characters that start with a letter, a digit or `_`; empty if nothing is left.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".-")
    return name[:_NAME_CHARACTERS_MAX].rstrip("-")


def document_table(document: Document) -> str:
    """Return the name of a document's table, such as `User-0123456789ab`: for people to find."""
    return f"{safe_name(document.name) or 'anonymous'}-{document.digest[:12]}"


def document_file(document: Document) -> str:
    """Return where a document lies, relative to operations/."""
    return f"documents/{document_table(document)}.graphql"


def write_document(root: Path, document: Document) -> None:
    """Write a document's exact bytes below operations/ of a configuration folder."""
    path = root / FOLDER / document_file(document)
    write_whole(path, document.text.encode("utf-8"))


def read_registrations(path: Path) -> dict[str, OperationTable]:
    """Return the tables of a file under operations/; none if there is no such file.

    Raises:
        OperatorError: it cannot be read; `verismo config check` names the line.
    """
    if not path.exists():
        return {}
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
        return msgspec.convert(tree, OperationsTable).operations
    except (OSError, ValueError) as error:
        raise OperatorError(
            f"{path} cannot be read: {error}", next_step="Run `verismo config check`."
        ) from error


def registrations_text(tables: Mapping[str, OperationTable]) -> str:
    """Spell tables as TOML, in their order, each after an empty line."""
    return "".join(f"\n{_table(key, table)}" for key, table in tables.items())


def _table(key: str, table: OperationTable) -> str:
    lines = [f"[operations.{_string(key)}]"]
    for name in OperationTable.__struct_fields__:
        value: str | tuple[str, ...] | dict[str, dict[str, str]] = getattr(table, name)
        if isinstance(value, tuple) and value:
            lines.append(f"{name} = [{', '.join(map(_string, value))}]")
        elif isinstance(value, str) and value:
            lines.append(f"{name} = {_string(value)}")
        elif isinstance(value, dict) and value:
            inner = {
                key: _inline({k: _string(v) for k, v in one.items()}) for key, one in value.items()
            }
            lines.append(f"{name} = {_inline(inner)}")
    return "\n".join(lines) + "\n"


def _inline(members: Mapping[str, str]) -> str:
    """Spell an inline table of values that are spelled already."""
    return f"{{ {', '.join(f'{_string(key)} = {value}' for key, value in members.items())} }}"


def _string(text: str) -> str:
    """Spell a TOML basic string; what a terminal might obey is escaped (client text!).

    Source: TOML 1.0.0, "String".
    """
    return f'"{"".join(map(_character, text))}"'


def _character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    point = ord(character)
    return f"\\u{point:04X}" if point < 0x10000 else f"\\U{point:08X}"
