"""The one JSON encoding that is hashed and signed: RFC 8785 within a restricted domain.

Signed JSON has ASCII keys, strings, integers below 2**53 in magnitude, booleans, null, arrays and
objects; no floats (decisions 1). Within that domain sorted, compact UTF-8 JSON *is* RFC 8785, so
msgspec's encoder is enough; the package rfc8785 is the oracle in the tests. The domain is enforced
when encoding: a value outside it is a mistake of ours and raises.
"""

import functools
import hashlib
import re
from collections.abc import Hashable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TypeVar, cast
from uuid import UUID

import msgspec
import msgspec.inspect

MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 16
"""notes-attest 5.3: deeper nesting has no use in what we sign and only feeds parsers' stacks."""

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]

T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="sorted")
_LEAVES = frozenset({str, bool, type(None)})
_NO_JSON = (bytes, bytearray, memoryview, datetime, date, time, timedelta, UUID, Decimal)
"""msgspec would spell these as strings; what is signed says so itself."""


_EXACT = (
    msgspec.inspect.BoolType,
    msgspec.inspect.IntType,
    msgspec.inspect.LiteralType,
    msgspec.inspect.NoneType,
    msgspec.inspect.StrType,
)
_digest = re.compile("[0-9a-f]{64}").fullmatch
_SHAPES = bytes.maketrans(b"123456789,[-", b"000000000:::")
"""All digits look alike, and so does all that may stand before a number."""
_LONG_NUMBER = b":" + b"0" * 16
"""2**53 has 16 digits. A text may hold such a run too; that costs it the walk, no more."""


class NotCanonical(ValueError):
    """The value or the bytes are outside the signed JSON domain."""


def encode(value: object) -> bytes:
    """Encode a value of the restricted domain as RFC 8785 JSON.

    Args:
        value: a frozen Struct or plain JSON value built of the restricted domain's types.

    Returns:
        UTF-8 bytes, keys sorted, no white space.

    Raises:
        NotCanonical: a float, a non-ASCII key, an integer of 2**53 or more, half a surrogate pair,
            bytes, a date or another type that JSON has not, or nesting over 16.

    Source: RFC 8785; decisions 1.
    """
    try:
        check_domain(msgspec.to_builtins(value, builtin_types=_NO_JSON))
        return _encoder.encode(value)
    except (UnicodeEncodeError, RecursionError, TypeError) as error:
        raise NotCanonical(str(error)) from error


def encode_trusted(value: object) -> bytes:
    """Encode a value whose type already guarantees the domain (a Struct of ints and strings).

    The hot path uses this; the property tests check that it equals `encode` for every such type.
    """
    return _encoder.encode(value)


def check_domain(value: object, depth: int = 0) -> None:
    """Refuse any value outside the signed domain.

    Raises:
        NotCanonical: names what is outside.
    """
    kind = type(value)
    if kind in _LEAVES:
        return
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise NotCanonical("integer of 2**53 or more")
    elif isinstance(value, list | tuple):
        _check_items(value, depth)
    elif isinstance(value, dict):
        if not all(isinstance(key, str) and key.isascii() for key in value):
            raise NotCanonical("key that is not ASCII text")
        _check_items(value.values(), depth)
    else:
        raise NotCanonical(f"a {kind.__name__} cannot be signed")


def _check_items(items: Iterable[object], depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise NotCanonical(f"nesting deeper than {MAX_DEPTH}")
    for item in items:
        if type(item) not in _LEAVES:
            check_domain(item, depth + 1)


def decode(data: bytes, kind: type[T]) -> T:
    """Decode canonical bytes into a typed value and refuse every other spelling of it.

    The bytes must be exactly what `encode` would give for the result: this one comparison refuses
    duplicate keys, white space, escapes, unsorted keys, unknown members and floats alike.

    Args:
        data: UTF-8 JSON as received.
        kind: the Struct type to decode to; unknown fields are refused.

    Raises:
        NotCanonical: not JSON, not of that type, or not spelled canonically.
    """
    try:
        value = msgspec.json.decode(data, type=kind)
        spelled = _encoder.encode(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise NotCanonical(str(error)) from error
    if spelled != data:
        raise NotCanonical("the bytes are not the canonical spelling of their value")
    # Where the type leaves room only for large integers and for keys that are not ASCII, a look
    # at the bytes that finds neither spares the walk through the value.
    if not _leaves_no_room(cast("Hashable", kind)) or not data.isascii() or _has_long_number(data):
        check_domain(msgspec.to_builtins(value))
    return value


def _has_long_number(data: bytes) -> bool:
    """Say whether JSON may hold a number of 16 digits; one may also be all that there is."""
    return _LONG_NUMBER in (b":" + data).translate(_SHAPES)


@functools.cache
def _leaves_no_room(kind: Hashable) -> bool:
    """Say whether a type's values are in the domain but for large integers and their keys."""
    return _is_exact(msgspec.inspect.type_info(kind), frozenset())


def _is_exact(info: msgspec.inspect.Type, above: frozenset[type]) -> bool:
    if isinstance(info, msgspec.inspect.StructType):
        # A type within itself could nest without end.
        below = above | {info.cls}
        return info.cls not in above and all(_is_exact(f.type, below) for f in info.fields)
    if isinstance(info, msgspec.inspect.UnionType):
        return all(_is_exact(one, above) for one in info.types)
    if isinstance(info, msgspec.inspect.VarTupleType):
        return _is_exact(info.item_type, above)
    if isinstance(info, msgspec.inspect.DictType):
        is_text = isinstance(info.key_type, msgspec.inspect.StrType)
        return is_text and _is_exact(info.value_type, above)
    return isinstance(info, _EXACT)


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes as lower-case hex (decisions 2)."""
    return hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Say whether a text is spelled as `digest` spells: 64 characters of lower-case hex."""
    return _digest(text) is not None
