"""One MCP message as a client posts it: a single JSON-RPC request of the stateless revision.

Read strictly, because the gateway decides by what it reads and the server runs what it reads: an
object that says anything twice, also in another case, would let the two read different things.
Whether the request is one that may run is not decided here.

Source: JSON-RPC 2.0; Model Context Protocol 2026-07-28, "Base Protocol" and "Streamable HTTP".
"""

import math
from collections.abc import Iterable
from typing import Final

import msgspec

from verismo.gateway.jsonbody import JsonBody, JsonValue, parse_object
from verismo.model.errors import MalformedRequest
from verismo.model.hop import Attribute

REVISION: Final = "2026-07-28"
"""The revision that is spoken, with clients and with servers."""
META_REVISION: Final = "io.modelcontextprotocol/protocolVersion"
META_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
HEADER_MISMATCH: Final = -32020
UNSUPPORTED_REVISION: Final = -32022

CALL: Final = "tools/call"
NAMED_BY: Final = {CALL: "name", "prompts/get": "name", "resources/read": "uri"}
"""The parameter that says what a request is about; the header `Mcp-Name` repeats it."""

ID_CHARS_MAX = 256
METHOD_CHARS_MAX = 128
_NAME_CHARS_MAX = 256
"""Of a resource's URI; a graph is no place for longer ones."""
SAFE_INTEGER_MAX = 2**53 - 1
"""Beyond it two JSON parsers may read different numbers (RFC 8259, section 6)."""
ARGUMENTS_MAX = 64
ARGUMENT_NAME_CHARS_MAX = 128
ARGUMENT_CHARS_MAX = 256
"""What a rule may look at: names, paths, queries; not documents."""

_MEMBERS = frozenset({"jsonrpc", "id", "method", "params"})
_PARAMETERS = ("name", "uri", "arguments", "_meta", "cursor", "inputResponses", "requestState")
_META = (META_REVISION, META_CAPABILITIES, "traceparent", "tracestate", "progressToken")

Scalar = None | bool | int | float | str
RequestId = int | str


class BadMessage(MalformedRequest):
    """The body is JSON, or nearly, but no request that MCP knows.

    Args:
        detail: what is wrong.
        rpc_code: the JSON-RPC error code that says so.
        request_id: the request's id, if it could be read.
    """

    def __init__(self, detail: str, rpc_code: int, request_id: RequestId | None = None) -> None:
        super().__init__(detail)
        self.rpc_code = rpc_code
        self.request_id = request_id


class Projection(msgspec.Struct, frozen=True):
    """What a policy sees of a tool's arguments.

    Args:
        values: scalar values by name; a text is cut to `ARGUMENT_CHARS_MAX` characters.
        names: every argument's name, sorted.
        partial: names of those whose value is cut, or is a list, an object, or a number that
            JSON parsers disagree about, sorted. A rule that needs the whole value refuses these.
    """

    values: dict[str, Scalar]
    names: tuple[str, ...]
    partial: tuple[str, ...]


class McpCall(msgspec.Struct, frozen=True):
    """One request.

    Args:
        id: as the client gave it; the answer has the same.
        method: such as `tools/call`.
        name: what it is about: a tool's or prompt's name, a resource's URI; else empty.
        revision: the protocol revision that the body names, empty if it names none.
        has_capabilities: whether the body says what the client can do, which it must.
        arguments: of the tool.
        arguments_text: the exact JSON text of `params.arguments`; empty if there is none.
        projection: what a policy sees of them.
        traceparent, tracestate: as `params._meta` has them, else empty.
        body: the whole message.
    """

    id: RequestId
    method: str
    name: str
    revision: str
    has_capabilities: bool
    arguments: dict[str, JsonValue]
    arguments_text: str
    projection: Projection
    traceparent: str
    tracestate: str
    body: JsonBody

    @property
    def names(self) -> dict[str, Attribute]:
        """What a graph calls it before anything else is known of it."""
        names: dict[str, Attribute] = {"method": self.method}
        if self.name:
            names["tool"] = self.name[:_NAME_CHARS_MAX]
        return names

    @property
    def runs_once(self) -> bool:
        """Whether it may act on something, so that it is not tried again once it was sent."""
        return self.method == CALL

    def retraced(self, traceparent: str) -> bytes:
        """Return the client's bytes with our span in the place of its own, if it named one.

        Args:
            traceparent: of the call that we make.
        """
        if not self.traceparent:
            return self.body.text.encode()
        params = _nested(self.body, "params")
        meta = _nested(params, "_meta")
        inner = meta.spliced({"traceparent": f'"{traceparent}"'}).decode()
        return self.body.spliced({"params": params.spliced({"_meta": inner}).decode()})


def read_call(body: bytes) -> McpCall:
    """Read a client's message.

    Args:
        body: UTF-8 octets.

    Raises:
        BadMessage: it is no single request; says which rule it breaks.
        DuplicateMember: an object names a member twice.
    """
    if body.lstrip(b" \t\r\n").startswith(b"["):
        raise BadMessage("a batch is no MCP message; send each request alone", INVALID_REQUEST)
    try:
        message = parse_object(body)
    except MalformedRequest as error:
        raise BadMessage(error.detail, PARSE_ERROR) from error
    if not _MEMBERS.issuperset(message.members):
        raise BadMessage(
            "a request has `jsonrpc`, `id`, `method` and `params` and nothing else", INVALID_REQUEST
        )
    if message.members.get("jsonrpc") != "2.0":
        raise BadMessage('`jsonrpc` must be "2.0"', INVALID_REQUEST)
    identifier = _read_id(message)
    try:
        return _read_params(message, identifier, _read_method(message))
    except BadMessage as error:
        raise BadMessage(error.detail, error.rpc_code, identifier) from error


def _read_id(message: JsonBody) -> RequestId:
    if "id" not in message.members:
        raise BadMessage(
            "the message has no `id`: notifications are not taken; close the connection to cancel",
            INVALID_REQUEST,
        )
    identifier = message.members["id"]
    if isinstance(identifier, bool) or not isinstance(identifier, int | str):
        raise BadMessage("`id` must be a string or an integer", INVALID_REQUEST)
    if isinstance(identifier, int):
        if abs(identifier) > SAFE_INTEGER_MAX:
            raise BadMessage("`id` is beyond 2^53 - 1", INVALID_REQUEST)
    elif len(identifier) > ID_CHARS_MAX or not _is_unicode(identifier):
        raise BadMessage(
            f"`id` must be Unicode text of at most {ID_CHARS_MAX} characters", INVALID_REQUEST
        )
    return identifier


def _read_method(message: JsonBody) -> str:
    method = message.members.get("method")
    if not isinstance(method, str) or not 0 < len(method) <= METHOD_CHARS_MAX:
        raise BadMessage(
            f"`method` must be a string of 1 to {METHOD_CHARS_MAX} characters", INVALID_REQUEST
        )
    return method


def _read_params(message: JsonBody, identifier: RequestId, method: str) -> McpCall:
    params = _object(message.members, "params", INVALID_REQUEST)
    _refuse_lookalikes("params", params, _PARAMETERS)
    meta = _object(params, "_meta", INVALID_PARAMS)
    _refuse_lookalikes("params._meta", meta, _META)
    arguments = _object(params, "arguments", INVALID_PARAMS)
    _refuse_lookalikes("params.arguments", arguments, ())
    named_by = NAMED_BY.get(method)
    name = params.get(named_by) if named_by is not None else ""
    if not isinstance(name, str):
        raise BadMessage(f"`params.{named_by}` must be a string", INVALID_PARAMS)
    revision = meta.get(META_REVISION)
    return McpCall(
        id=identifier,
        method=method,
        name=name,
        revision=revision if isinstance(revision, str) else "",
        has_capabilities=isinstance(meta.get(META_CAPABILITIES), dict),
        arguments=arguments,
        arguments_text=_text(_nested(message, "params"), "arguments")
        if "arguments" in params
        else "",
        projection=project(arguments),
        traceparent=_string(meta, "traceparent"),
        tracestate=_string(meta, "tracestate"),
        body=message,
    )


def project(arguments: dict[str, JsonValue]) -> Projection:
    """Return what a policy sees of a tool's arguments.

    Raises:
        BadMessage: there are more arguments than are looked at, or a name is too long.
    """
    if len(arguments) > ARGUMENTS_MAX:
        raise BadMessage(f"a tool takes at most {ARGUMENTS_MAX} arguments", INVALID_PARAMS)
    values: dict[str, Scalar] = {}
    partial: list[str] = []
    for name, value in arguments.items():
        if len(name) > ARGUMENT_NAME_CHARS_MAX:
            raise BadMessage(
                f"an argument's name has at most {ARGUMENT_NAME_CHARS_MAX} characters",
                INVALID_PARAMS,
            )
        if isinstance(value, str):
            values[name] = value[:ARGUMENT_CHARS_MAX]
            if len(value) > ARGUMENT_CHARS_MAX:
                partial.append(name)
        elif isinstance(value, list | dict) or not _is_safe(value):
            partial.append(name)
        else:
            values[name] = value
    return Projection(values, tuple(sorted(arguments)), tuple(sorted(partial)))


def _is_safe(value: bool | int | float | None) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or abs(value) <= SAFE_INTEGER_MAX


def _refuse_lookalikes(where: str, members: dict[str, JsonValue], known: Iterable[str]) -> None:
    """Refuse names that a parser which ignores case would take for one another.

    Some JSON libraries do, and take the last one: a tool that is checked would not be the one that
    runs.
    """
    if len({name.casefold() for name in members}) != len(members):
        raise BadMessage(
            f"two members of `{where}` differ only in upper and lower case", INVALID_PARAMS
        )
    exact = {name.casefold(): name for name in known}
    for name in members:
        if exact.get(name.casefold(), name) != name:
            meant = exact[name.casefold()]
            raise BadMessage(
                f"`{where}` has {name[:64]!r} where `{meant}` is meant", INVALID_PARAMS
            )


def _object(members: dict[str, JsonValue], name: str, rpc_code: int) -> dict[str, JsonValue]:
    """Return an object member; an empty one where it is missing or null."""
    value = members.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadMessage(f"`{name}` must be an object", rpc_code)
    return value


def _string(members: dict[str, JsonValue], name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""


def _nested(body: JsonBody, name: str) -> JsonBody:
    """Return an object member with the places of its own members."""
    return parse_object(_text(body, name).encode())


def _text(body: JsonBody, name: str) -> str:
    start, stop = body.spans[name]
    return body.text[start:stop]


def _is_unicode(text: str) -> bool:
    """Say whether a text has no half of a surrogate pair, which no answer could repeat."""
    return text.isascii() or text == text.encode("utf-8", "replace").decode("utf-8")
