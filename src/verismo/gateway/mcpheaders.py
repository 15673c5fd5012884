"""The headers that repeat what an MCP message says, compared with the message itself.

Proxies on the way route, limit and refuse by these headers. That is only safe if nobody runs a
message that says something else, so a difference is refused here, whatever the server would do.

Source: Model Context Protocol 2026-07-28, "Streamable HTTP", sections "Request Metadata" and
"Server Validation".
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Final

from verismo.gateway.jsonbody import JsonValue
from verismo.gateway.mcpmessage import NAMED_BY, McpCall
from verismo.gateway.trace import parent_sampled
from verismo.model.errors import HeaderMismatch

REVISION_HEADER: Final = "mcp-protocol-version"
METHOD_HEADER: Final = "mcp-method"
NAME_HEADER: Final = "mcp-name"
PARAM_PREFIX: Final = "mcp-param-"

_visible = re.compile(r"[\x20-\x7e\t]*").fullmatch
_encoded = re.compile(r"=\?base64\?(.*)\?=").fullmatch
_decimal = re.compile(r"(-?[0-9]{1,20})(?:\.0{1,20})?").fullmatch


def check_headers(call: McpCall, headers: Mapping[str, str], declared: Mapping[str, str]) -> None:
    """Compare the headers with the message.

    Args:
        call: the message.
        headers: by lower-case name; none of those that are compared stands twice.
        declared: for the tool that is called, the dotted path of the argument that the header
            `Mcp-Param-<key>` repeats.

    Raises:
        HeaderMismatch: one is missing, malformed, or says something else.
    """
    _require(headers, REVISION_HEADER, call.revision)
    _require(headers, METHOD_HEADER, call.method)
    if call.method in NAMED_BY:
        _require(headers, NAME_HEADER, call.name, is_encodable=True)
    elif NAME_HEADER in headers:
        raise HeaderMismatch(f"{NAME_HEADER} is not for {call.method[:64]!r}")
    _check_params(call, headers, declared)
    _check_trace(call, headers)


def forwarded(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the headers of a message that go on to the server, in a stable order."""
    return tuple(
        (name, value)
        for name, value in sorted(headers.items())
        if name in (REVISION_HEADER, METHOD_HEADER, NAME_HEADER) or name.startswith(PARAM_PREFIX)
    )


def _require(
    headers: Mapping[str, str], name: str, wanted: str, *, is_encodable: bool = False
) -> None:
    value = headers.get(name)
    if value is None:
        raise HeaderMismatch(f"the header {name} is missing")
    found = _decoded(name, value) if is_encodable else _checked(name, value)
    if found != wanted:
        raise HeaderMismatch(f"the header {name} says {found[:64]!r}, the body {wanted[:64]!r}")


def _check_params(call: McpCall, headers: Mapping[str, str], declared: Mapping[str, str]) -> None:
    paths = {PARAM_PREFIX + key.lower(): path for key, path in declared.items()}
    for name, path in paths.items():
        value = _at(call.arguments, path)
        if name not in headers:
            if isinstance(value, str | int | float):  # lists and objects have no header
                raise HeaderMismatch(f"the header {name} is missing; it repeats {path!r}")
        elif not _matches(value, _decoded(name, headers[name])):
            raise HeaderMismatch(f"the header {name} is not what the argument {path!r} says")
    undeclared = {
        name: _readings(_decoded(name, value))
        for name, value in headers.items()
        if name.startswith(PARAM_PREFIX) and name not in paths
    }
    if not undeclared:
        return
    # Once through the arguments for all headers: a caller chooses how many there are of both.
    wanted = frozenset(reading for readings in undeclared.values() for reading in readings)
    said = {one for value in _scalars(call.arguments) for one in _spellings(value) if one in wanted}
    for name, readings in undeclared.items():
        if said.isdisjoint(readings):
            raise HeaderMismatch(f"no argument has the value of the header {name}")


def _check_trace(call: McpCall, headers: Mapping[str, str]) -> None:
    """Refuse two traces; in one trace the header stands nearer to us, so it is the one that counts.

    A client that instruments its HTTP library has a span there too, between its MCP span and ours.
    """
    inner, outer = call.traceparent, headers.get("traceparent", "")
    if parent_sampled(inner) is None or parent_sampled(outer) is None:
        return
    if inner.split("-")[1] != outer.split("-")[1]:
        raise HeaderMismatch("`traceparent` names one trace in the header, another in `_meta`")


def _checked(name: str, value: str) -> str:
    if _visible(value) is None:
        raise HeaderMismatch(f"the header {name} has characters that no header may have")
    return value


def _decoded(name: str, value: str) -> str:
    """Return what a header's value stands for: itself, or the text in base64 that it wraps."""
    match = _encoded(_checked(name, value))
    if match is None:
        return value
    try:
        octets = base64.b64decode(match[1], validate=True)
        text = octets.decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise HeaderMismatch(f"the header {name} is not base64 of UTF-8") from error
    if base64.b64encode(octets).decode("ascii") != match[1]:
        # Bits that a decoder drops would let two headers stand for one value.
        raise HeaderMismatch(f"the header {name} is not base64 in its one spelling")
    return text


def _matches(value: JsonValue, text: str) -> bool:
    """Say whether a header's text is the one of an argument's value."""
    return not frozenset(_spellings(value)).isdisjoint(_readings(text))


def _readings(text: str) -> tuple[str | int, ...]:
    """Return what a header's text may stand for: itself, and the whole number that it spells."""
    number = _decimal(text)
    return (text,) if number is None else (text, int(number[1]))


def _spellings(value: JsonValue) -> tuple[str | int | float, ...]:
    """Return what a header must stand for to repeat a value; nothing can repeat a list or null."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, bool):
        return ("true" if value else "false",)
    if isinstance(value, int | float):
        return (value, repr(value))
    return ()


def _at(arguments: Mapping[str, JsonValue], path: str) -> JsonValue:
    """Return the value at a dotted path; None where nothing is, or null."""
    value: JsonValue = dict(arguments)
    for part in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def _scalars(arguments: dict[str, JsonValue]) -> Iterator[JsonValue]:
    """Yield every value that a header could repeat: those that are reached through objects only."""
    waiting: list[JsonValue] = [arguments]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif not isinstance(value, list):
            yield value
