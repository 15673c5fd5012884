"""Tool inputs: a value that fits a tool's JSON Schema, decided by the request's digest.

It covers the keywords that tool definitions use (type, properties, items, enum, const, anyOf,
oneOf); it is no validator, and references are not followed.
"""

from typing import Literal

import msgspec

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]
Scalar = None | bool | int | float | str
SchemaType = Literal["object", "array", "string", "integer", "number", "boolean", "null"]

_DEPTH_MAX = 8
"""Deeper levels become empty, so that a schema can never make an endless value."""


class Schema(msgspec.Struct, frozen=True, rename={"any_of": "anyOf", "one_of": "oneOf"}):
    """The part of a JSON Schema that shapes a simulated value; other keywords are passed over."""

    type: SchemaType | list[SchemaType] | msgspec.UnsetType = msgspec.UNSET
    properties: dict[str, "Schema | bool"] = {}
    items: "Schema | bool" = True
    enum: list[msgspec.Raw] = []
    const: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    any_of: list["Schema | bool"] = []
    one_of: list["Schema | bool"] = []


def value_for(schema: Schema | bool, digest: bytes, depth: int = 0) -> JsonValue:
    """Return a value that fits a schema.

    Args:
        schema: of a tool's parameters.
        digest: 32 octets; decides numbers and choices.
        depth: how deep this value lies.
    """
    if isinstance(schema, bool):
        return "simulated"
    alternatives = schema.any_of or schema.one_of
    if alternatives and depth < _DEPTH_MAX:
        return value_for(alternatives[0], digest, depth + 1)
    if schema.const is not msgspec.UNSET:
        return _plain(schema.const)
    if schema.enum:
        return _plain(schema.enum[digest[depth] % len(schema.enum)])
    return _value_of_type(schema, digest, depth)


def _value_of_type(schema: Schema, digest: bytes, depth: int) -> JsonValue:
    kind = schema.type
    if kind is msgspec.UNSET:
        kind = "object" if schema.properties else "string"
    elif isinstance(kind, list):
        kind = kind[0] if kind else "null"
    if kind == "object":
        members = schema.properties.items() if depth < _DEPTH_MAX else ()
        return {name: value_for(member, digest, depth + 1) for name, member in members}
    if kind == "array":
        return [value_for(schema.items, digest, depth + 1)] if depth < _DEPTH_MAX else []
    scalars: dict[str, Scalar] = {
        "string": f"simulated-{digest[depth]:02x}",
        "integer": digest[depth],
        "number": digest[depth] + 0.5,
        "boolean": digest[depth] % 2 == 0,
        "null": None,
    }
    return scalars[kind]


def _plain(raw: msgspec.Raw) -> JsonValue:
    value: JsonValue = msgspec.json.decode(raw)
    return value
