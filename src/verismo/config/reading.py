"""From a parsed file to typed tables: every key is checked, and every problem is noted."""

import re
import types
from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from verismo.config.locate import KeyPath
from verismo.config.source import Source, Toml, suggestion

S = TypeVar("S", bound=msgspec.Struct)


def read_table(kind: type[S], value: Toml, source: Source, path: KeyPath) -> S | None:
    """Read one TOML table into a Struct.

    Unknown keys, wrong types, values out of range and missing keys each become one problem;
    reading goes on, so that one run tells all of them.

    Args:
        kind: the Struct that describes the table.
        value: what the file has there.
        source: the file, which takes the problems.
        path: where the table stands.

    Returns:
        The value; None if a key without a default is missing or wrong.
    """
    if not isinstance(value, dict):
        source.error(path, f"expected a table, got {_kind_name(value)}")
        return None
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for key in value:
        if key not in fields:
            source.error((*path, key), f"unknown key{suggestion(key, fields)}")
    found: dict[str, object] = {}
    complete = True
    for name, field in fields.items():
        if name in value:
            item = _read_value(field.type, value[name], source, (*path, name))
            if item is not None:
                found[name] = item
                continue
        elif field.required:
            source.error(path, f"{name} is missing")
        complete = complete and not field.required
    return kind(**found) if complete else None


def _read_value(kind: object, value: Toml, source: Source, path: KeyPath) -> object:
    """Return the typed value, or None after noting a problem."""
    table = _struct_of(kind)
    if table is not None:
        return read_table(table, value, source, path)
    bare = _bare(kind)
    if get_origin(bare) is not dict:
        return _read_leaf(kind, value, source, path)
    item = get_args(bare)[1]
    if _struct_of(item) is not None:
        return _read_named_tables(item, value, source, path)
    metas = [part for part in get_args(kind) if isinstance(part, msgspec.Meta)]
    wanted = " of ".join(["a table", *(meta.description or "" for meta in metas)])
    return _read_named_values((item, wanted), value, source, path)


def _read_named_tables(
    kind: type[msgspec.Struct], value: Toml, source: Source, path: KeyPath
) -> dict[str, msgspec.Struct] | None:
    if not isinstance(value, dict):
        source.error(path, f"expected tables, got {_kind_name(value)}")
        return None
    found: dict[str, msgspec.Struct] = {}
    for name, item in value.items():
        if re.fullmatch(r"[A-Za-z0-9._-]{1,128}", name) is None:
            source.error(
                (*path, name), "a name has letters, digits, `.`, `_` and `-`, at most 128 of them"
            )
        table = read_table(kind, item, source, (*path, name))
        if table is not None:
            found[name] = table
    return found


def _read_named_values(
    kind: tuple[object, str], value: Toml, source: Source, path: KeyPath
) -> dict[str, object] | None:
    """Read values by names that the file chooses, of one kind; the second says what they are."""
    item_kind, wanted = kind
    if not isinstance(value, dict):
        source.error(path, f"expected {wanted}, got {_kind_name(value)}")
        return None
    found: dict[str, object] = {}
    for name, item in value.items():
        if isinstance(item, dict) and get_origin(_bare(item_kind)) is not dict:
            source.error((*path, name), "is a table; put a name with a dot in quotes")
            continue
        read = _read_value(item_kind, item, source, (*path, name))
        if read is not None:
            found[name] = read
    return found


def _bare(kind: object) -> object:
    """Return a type without what is annotated to it."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _read_leaf(kind: object, value: Toml, source: Source, path: KeyPath) -> object:
    try:
        found: object = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text, index = _explained(str(error))
        where = path
        if index is not None and get_origin(kind) is tuple and isinstance(value, list):
            where, kind, value = (*path, index), get_args(kind)[0], value[index]
        source.error(where, _described(text, kind, value))
        return None
    if isinstance(found, int) and not isinstance(found, bool) and found < 0:
        source.error(path, "must not be negative")
        return None
    return found


def _explained(message: str) -> tuple[str, int | None]:
    """Turn msgspec's message into ours: no JSON path at its end, `a number` for a decimal."""
    match = re.search(r" - at `\$\[(\d+)\]`$", message)
    index = int(match[1]) if match else None
    text = message[: match.start()] if match else message
    text = text.replace("`decimal`", "a number").replace("`array`", "an array")
    text = text.replace("`str | null`", "`str`").replace(", got `null`", "")
    return text[0].lower() + text[1:], index


def _described(text: str, kind: object, value: Toml) -> str:
    """Say in words what would be right.

    A text is never quoted, unless it is to be one of a few words: it may be a credential that was
    put into the wrong place.
    """
    choices = [choice for choice in _literals(kind) if isinstance(choice, str)]
    if choices and isinstance(value, str):
        return f"{value!r} is not one of {', '.join(choices)}{_nearest(value, choices)}"
    description = _description(kind)
    return f"must be {description}" if "matching regex" in text and description else text


def _description(kind: object) -> str:
    """Return the description of the nearest annotation within a type."""
    for part in get_args(kind):
        if isinstance(part, msgspec.Meta):
            return part.description or ""
        if found := _description(part):
            return found
    return ""


def _nearest(value: str, choices: list[str]) -> str:
    hint = suggestion(value, choices)
    return hint if hint.startswith("; did") else ""


def _literals(kind: object) -> tuple[object, ...]:
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(choice for part in get_args(kind) for choice in _literals(part))
    return get_args(kind) if get_origin(kind) is Literal else ()


def _struct_of(kind: object) -> type[msgspec.Struct] | None:
    """Return the Struct behind a type, also behind `Struct | None`."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    if get_origin(kind) in (Union, types.UnionType):
        return next((t for t in map(_struct_of, get_args(kind)) if t is not None), None)
    return None


def _kind_name(value: Toml) -> str:
    names: Mapping[type, str] = {bool: "a boolean", str: "a text", list: "an array"}
    return names.get(type(value), "a number" if not isinstance(value, dict) else "a table")
