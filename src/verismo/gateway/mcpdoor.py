"""The door for MCP clients: `POST /mcp/{operation}`, refusals as JSON-RPC errors.

Source: Model Context Protocol 2026-07-28, "Streamable HTTP" and "Error Codes"; JSON-RPC 2.0, 5.1.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from verismo.gateway.ask import Ask
from verismo.gateway.dialects.failure import UNREADABLE
from verismo.gateway.doors import Refusal, require_json
from verismo.gateway.mcpmessage import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    UNSUPPORTED_REVISION,
    BadMessage,
    RequestId,
    read_call,
)
from verismo.gateway.trace import parent_sampled
from verismo.model.errors import (
    OperatorError,
    OriginRefused,
    PolicyRefusal,
    RevisionUnsupported,
    UpstreamBroken,
    UpstreamTimeout,
    VerismoError,
)
from verismo.model.operation import OperationKind
from verismo.model.traffic import Request

MCP_PREFIX: Final = "/mcp/"
_MEDIA: Final = "application/json"
_MAY_HAVE_RUN: Final = (
    "The tool may have run: find that out before you call it again; operators: docs/mcp.md, "
    '"When it does not work".'
)

_RPC_CODES: Final[Mapping[str, int]] = {
    "malformed_request": INVALID_REQUEST,
    "duplicate_member": INVALID_REQUEST,
    "header_mismatch": HEADER_MISMATCH,
    "revision_unsupported": UNSUPPORTED_REVISION,
    "method_unregistered": METHOD_NOT_FOUND,
    "tool_unregistered": INVALID_PARAMS,
}
"""Our codes for which JSON-RPC or MCP has one. All others are answered with the HTTP status as the
JSON-RPC code: MCP leaves the numbers outside of JSON-RPC's own range to applications."""


class _Data(msgspec.Struct, omit_defaults=True):
    code: str
    title: str
    status: int
    next_step: str
    type: str
    instance: str
    reasons: tuple[str, ...] = ()
    retry_after_s: int | None = None
    supported: tuple[str, ...] = ()
    requested: str | None = None


class _Error(msgspec.Struct):
    code: int
    message: str
    data: _Data


class _ErrorResponse(msgspec.Struct):
    jsonrpc: str
    id: RequestId | None
    error: _Error


class _TracedMeta(msgspec.Struct):
    traceparent: object = None
    tracestate: object = None


class _TracedParams(msgspec.Struct):
    meta: _TracedMeta = msgspec.field(name="_meta")


class _Traced(msgspec.Struct):
    params: _TracedParams


_traced = msgspec.json.Decoder(_Traced)


class McpDoor:
    """Model Context Protocol over Streamable HTTP, in its stateless revision.

    Args:
        docs_base: where error types are documented.
        origins: the origins that browsers may call from; `*` for any.
    """

    kind: OperationKind = "mcp"

    def __init__(self, docs_base: str, origins: frozenset[str]) -> None:
        self._docs_base = docs_base
        self._origins = origins

    def ask(self, request: Request) -> Ask:
        """Read the operation from the path and the message from the body; see `Door.ask`."""
        origin = request.headers.get("origin")
        if origin is not None and "*" not in self._origins and origin not in self._origins:
            raise OriginRefused(f"a page of {origin[:128]!r} may not call this gateway")
        require_json(request)
        call = read_call(request.body)
        return Ask(kind="mcp", name=request.path[len(MCP_PREFIX) :], body=call.body, call=call)

    def refuse(self, error: VerismoError, instance: str, ask: Ask | None = None) -> Refusal:
        """Spell a refusal as a JSON-RPC error response."""
        next_step = _next_step(error, ask)
        detail = error.detail.encode("utf-8", "replace").decode()
        data = _Data(
            code=error.code,
            title=error.title,
            status=error.status,
            next_step=next_step,
            type=f"{self._docs_base}#{error.code}",
            instance=instance,
            reasons=error.reasons if isinstance(error, PolicyRefusal) else (),
            retry_after_s=error.retry_after_s,
            supported=error.supported if isinstance(error, RevisionUnsupported) else (),
            requested=error.requested if isinstance(error, RevisionUnsupported) else None,
        )
        message = f"{detail.rstrip('.')}. {next_step}"
        response = _ErrorResponse(
            "2.0", _id_of(error, ask), _Error(_rpc_code(error), message, data)
        )
        return Refusal(error.status, _MEDIA, msgspec.json.encode(response))


def with_trace(request: Request) -> Request:
    """Return a request whose trace context, if it stands in the message alone, is in the headers.

    MCP clients that are instrumented put it into `params._meta`, and not all of them into the
    headers as well. A message that cannot be read is returned as it is: its refusal comes later.
    Only this is read of it here, because the caller's rate is not checked yet.
    """
    if b'"traceparent"' not in request.body:
        return request
    if parent_sampled(request.headers.get("traceparent", "")) is not None:
        return request
    try:
        meta = _traced.decode(request.body).params.meta
    except UNREADABLE:
        return request
    if not isinstance(meta.traceparent, str) or parent_sampled(meta.traceparent) is None:
        return request
    headers = {name: value for name, value in request.headers.items() if name != "tracestate"}
    headers["traceparent"] = meta.traceparent
    state = meta.tracestate
    if isinstance(state, str) and state and state.isascii() and state.isprintable():
        headers["tracestate"] = state
    return msgspec.structs.replace(request, headers=headers)


def _next_step(error: VerismoError, ask: Ask | None) -> str:
    """Return the reader's next step; never "retry" for a tool that may have acted already."""
    if ask is not None and ask.runs_once and isinstance(error, UpstreamBroken | UpstreamTimeout):
        return _MAY_HAVE_RUN
    return error.advice if isinstance(error, OperatorError) else error.next_step


def _id_of(error: VerismoError, ask: Ask | None) -> RequestId | None:
    if ask is not None and ask.call is not None:
        return ask.call.id
    return error.request_id if isinstance(error, BadMessage) else None


def _rpc_code(error: VerismoError) -> int:
    if isinstance(error, BadMessage):
        return error.rpc_code
    return _RPC_CODES.get(error.code, error.status)
