"""Reads a JSON body of the control API: bounded, strict, every member once."""

import json
from typing import TypeVar

import msgspec
from starlette.requests import Request

from verismo.model.errors import (
    BodyTooLarge,
    DuplicateMember,
    MalformedRequest,
    UnsupportedMediaType,
)

BODY_BYTES_MAX = 65_536
"""The largest body is a request for a key: a few hundred bytes."""

_Json = str | int | float | bool | None | list["_Json"] | dict[str, "_Json"]
_Wanted = TypeVar("_Wanted")


async def read_body(request: Request, wanted: type[_Wanted]) -> _Wanted:
    """Read and check a body.

    Args:
        request: its body is JSON.
        wanted: the type to read it as.

    Raises:
        UnsupportedMediaType: it is not declared as JSON.
        BodyTooLarge: it has more than 64 KiB.
        DuplicateMember: an object names a member twice.
        MalformedRequest: no JSON, or not of the wanted shape.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise UnsupportedMediaType("the body must be application/json")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise BodyTooLarge(f"the body has more than {BODY_BYTES_MAX} bytes")
        parts.append(part)
    try:
        value = json.loads(b"".join(parts), object_pairs_hook=_unique)
        return msgspec.convert(value, wanted)
    except (ValueError, RecursionError) as error:
        # msgspec's words name the member and the type that is wanted, never the value.
        detail = str(error) if isinstance(error, msgspec.ValidationError) else "not a JSON text"
        raise MalformedRequest(detail) from error


def _unique(pairs: list[tuple[str, _Json]]) -> dict[str, _Json]:
    members: dict[str, _Json] = {}
    for name, value in pairs:
        if name in members:
            raise DuplicateMember(f"the member {name[:64]!r} stands twice")
        members[name] = value
    return members
