"""What an MCP server answered: read to its final response, checked, and cut to what is let through.

A server may answer a request by one JSON object or by a stream of events that ends with it. The
client gets the JSON object either way; notifications on the way to it are not passed on.

Source: Model Context Protocol 2026-07-28, "Streamable HTTP", section "Receiving Messages".
"""

import json
from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from verismo.gateway.dialects.failure import UNREADABLE
from verismo.gateway.dialects.sse import EVENT_BYTES_MAX, SseSplitter, event_data
from verismo.gateway.jsonbody import JsonBody, JsonValue, parse_object
from verismo.gateway.mcpmessage import (
    CALL,
    METHOD_NOT_FOUND,
    REVISION,
    SAFE_INTEGER_MAX,
    UNSUPPORTED_REVISION,
    McpCall,
)
from verismo.model.errors import CallerError, ResultTooLarge, UpstreamBroken
from verismo.model.hop import Attribute
from verismo.model.operation import McpMethod
from verismo.ports.upstream import UpstreamReply

STREAM_MEDIA: Final = "text/event-stream"

_CAPABILITIES: Final[dict[str, tuple[McpMethod, ...]]] = {
    "tools": ("tools/list", "tools/call"),
    "resources": ("resources/list", "resources/templates/list", "resources/read"),
    "prompts": ("prompts/list", "prompts/get"),
    "completions": ("completion/complete",),
}
"""The methods that a server offers by a capability; others it has are not let through."""
_RESULT_TYPE_CHARS_MAX = 64
_OTHER_REVISION = f"the MCP server does not speak revision {REVISION}"


class _Envelope(msgspec.Struct):
    """Tells a response from what may come before it: only that has no method."""

    method: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_envelopes = msgspec.json.Decoder(_Envelope)


class Response(msgspec.Struct, frozen=True):
    """A server's response to one request.

    Args:
        body: the JSON object, as the server spelled it.
        outcome: `result` or `error`: which of its members says what came of it.
        value: that member.
    """

    body: JsonBody
    outcome: str
    value: dict[str, JsonValue]

    @property
    def outcome_text(self) -> str:
        """The exact JSON text of that member."""
        start, stop = self.body.spans[self.outcome]
        return self.body.text[start:stop]

    def facts(self) -> dict[str, Attribute]:
        """Return what a graph says about it, without content."""
        facts: dict[str, Attribute] = {}
        if self.outcome == "error":
            code = self.value.get("code")
            if isinstance(code, int) and abs(code) <= SAFE_INTEGER_MAX:
                facts["rpc_error"] = code
            return facts
        kind = self.value.get("resultType")
        facts["result_type"] = (
            kind.encode("ascii", "replace").decode()[:_RESULT_TYPE_CHARS_MAX]
            if isinstance(kind, str)
            else "complete"
        )
        facts["is_error"] = self.value.get("isError") is True
        return facts


async def read_stream(reply: UpstreamReply) -> bytes:
    """Return a server's event stream up to the event that holds its response.

    What the server says after it is not waited for.

    Raises:
        UpstreamError: as `UpstreamReply.read`.
        ResultTooLarge: an event is.
    """
    pieces: list[bytes] = []
    splitter = SseSplitter()
    chunks = reply.chunks()
    try:
        async for piece in chunks:
            pieces.append(piece)
            if any(_is_response(event_data(event)) for event in _completed(splitter, piece)):
                break
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
    return b"".join(pieces)


def _completed(splitter: SseSplitter, piece: bytes) -> list[bytes]:
    try:
        return splitter.feed(piece)
    except UpstreamBroken as error:
        # The server answers, only too much: no reason to avoid it.
        raise ResultTooLarge(
            f"the MCP server's stream has an event over {EVENT_BYTES_MAX} bytes, whatever the limit"
        ) from error


def read_response(call: McpCall, media: str, body: bytes) -> Response:
    """Read a server's answer.

    Args:
        call: what was asked.
        media: the answer's content type.
        body: octets; of a stream as `read_stream` returned them.

    Raises:
        UpstreamBroken: it is no response to this request.
    """
    if media.partition(";")[0].strip().lower() == STREAM_MEDIA:
        body = _response_event(body)
    try:
        message = parse_object(body)
    except CallerError as error:
        raise UpstreamBroken(
            f"the MCP server's answer is not strict JSON: {error.detail}"
        ) from error
    members = message.members
    outcomes = [name for name in ("result", "error") if name in members]
    value = members[outcomes[0]] if len(outcomes) == 1 else None
    if members.get("jsonrpc") != "2.0" or not isinstance(value, dict) or "method" in members:
        raise UpstreamBroken("the MCP server's answer is no JSON-RPC response")
    answered = members.get("id")
    is_same = answered == call.id and type(answered) is type(call.id)
    # A server that refuses a request before it has read its id cannot repeat it.
    if not is_same and not (answered is None and outcomes == ["error"]):
        raise UpstreamBroken("the MCP server answered another request")
    return Response(message, outcomes[0], value)


def _response_event(stream: bytes) -> bytes:
    for event in SseSplitter().feed(stream):
        data = event_data(event)
        if _is_response(data):
            return data
    raise UpstreamBroken("the MCP server's stream ended without a response")


def _is_response(data: bytes) -> bool:
    try:
        return _envelopes.decode(data).method is msgspec.UNSET
    except UNREADABLE:
        return False


def listed_tools(response: Response, registered: tuple[str, ...]) -> tuple[bytes, int]:
    """Return a `tools/list` answer without the tools that are not registered.

    Args:
        response: the server's.
        registered: the tools of the operation.

    Returns:
        The answer for the client, and how many tools it does not show.

    Raises:
        UpstreamBroken: the list is none.
    """
    tools = response.value.get("tools")
    if not isinstance(tools, list):
        raise UpstreamBroken("the MCP server's list of tools is none")
    shown = [tool for tool in tools if isinstance(tool, dict) and tool.get("name") in registered]
    if len(shown) == len(tools):
        return response.body.text.encode(), 0
    return _respelled(response, {**response.value, "tools": list(shown)}), len(tools) - len(shown)


def discovered(response: Response, methods: tuple[McpMethod, ...]) -> bytes:
    """Return a `server/discover` answer that promises what is let through, and no more.

    Args:
        response: the server's.
        methods: those of the operation.

    Raises:
        UpstreamBroken: the server does not speak the revision that is spoken here.
    """
    versions, capabilities = (
        response.value.get("supportedVersions"),
        response.value.get("capabilities"),
    )
    if not isinstance(versions, list) or REVISION not in versions:
        raise UpstreamBroken(_OTHER_REVISION)
    if not isinstance(capabilities, dict):
        raise UpstreamBroken("the MCP server does not say what it can do")
    # Without their settings: those offer notifications of changes, which nobody would send.
    kept: dict[str, JsonValue] = {
        name: {}
        for name, needed in _CAPABILITIES.items()
        if name in capabilities and any(method in methods for method in needed)
    }
    changed: dict[str, JsonValue] = {"supportedVersions": [REVISION], "capabilities": kept}
    return _respelled(response, {**response.value, **changed})


def _respelled(response: Response, value: dict[str, JsonValue]) -> bytes:
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise UpstreamBroken("the MCP server's answer has a number that is too large") from error
    except RecursionError as error:  # reading it takes a little less of the stack
        raise UpstreamBroken("the MCP server's answer is nested too deeply") from error
    return response.body.spliced({"result": text})


def _refuses_revision(call: McpCall, response: Response) -> bool:
    """Say whether an error is that of a server of another revision: every one can be discovered."""
    code = response.value.get("code")
    is_unknown = call.method == "server/discover" and code == METHOD_NOT_FOUND
    return is_unknown or code == UNSUPPORTED_REVISION


def shown_to_client(
    call: McpCall, response: Response, tools: tuple[str, ...], methods: tuple[McpMethod, ...]
) -> tuple[bytes, dict[str, Attribute]]:
    """Return the answer for the client, and what a graph says about it.

    Args:
        call: what was asked.
        response: what the server answered.
        tools: registered ones.
        methods: those that are let through.

    Raises:
        UpstreamBroken: the answer is not what the method promises.
    """
    facts = response.facts()
    if response.outcome == "error":
        if _refuses_revision(call, response):
            # The client speaks the right one: passed on, this would send its user the wrong way.
            raise UpstreamBroken(_OTHER_REVISION)
        return response.body.text.encode(), facts
    if call.method != CALL:
        del facts["is_error"]
    if call.method == "tools/list":
        body, facts["hidden"] = listed_tools(response, tools)
        return body, facts
    if call.method == "server/discover":
        return discovered(response, methods), facts
    return response.body.text.encode(), facts
