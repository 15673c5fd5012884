"""What an MCP operation lets through: its revision, its methods, its tools, and true headers.

Runs once the operation is known and before the policy is asked, so that rules only ever see calls
of registered tools whose headers say what the body says.
"""

from collections.abc import Mapping

from verismo.gateway.mcpheaders import REVISION_HEADER, check_headers
from verismo.gateway.mcpmessage import CALL, INVALID_PARAMS, REVISION, BadMessage, McpCall
from verismo.model.errors import MethodUnregistered, RevisionUnsupported, ToolUnregistered
from verismo.model.operation import Operation

_HANDSHAKE = "initialize"
_FALLEN_BACK = (
    "; a client that speaks it falls back to this handshake where its `server/discover` was "
    "refused: then the refusal before this one names the cause"
)
"""The official clients show this refusal alone, whatever the first one was."""


def check_call(operation: Operation, call: McpCall, headers: Mapping[str, str]) -> None:
    """Refuse a call that the operation does not let through.

    Args:
        operation: the registered one.
        call: the client's message.
        headers: of the request, by lower-case name.

    Raises:
        RevisionUnsupported: an older client, or a newer one.
        BadMessage: the message lacks what every one must have.
        HeaderMismatch: a header does not say what the body says.
        MethodUnregistered: not a method of this operation.
        ToolUnregistered: not a tool of this operation.
    """
    _check_revision(call, headers)
    declared = operation.param_headers.get(call.name, {}) if call.method == CALL else {}
    check_headers(call, headers, declared)
    if call.method not in operation.methods:
        raise MethodUnregistered(
            f"{call.method[:64]!r} is not let through; {operation.id} has "
            f"{', '.join(operation.methods)}"
        )
    if call.method == CALL and call.name not in operation.tools:
        raise ToolUnregistered(f"{operation.id} has no tool {call.name[:64]!r}")


def _check_revision(call: McpCall, headers: Mapping[str, str]) -> None:
    """Tell a client of another era so first: it lacks everything else that is asked for here."""
    header = headers.get(REVISION_HEADER, "")
    if call.revision and call.has_capabilities:
        if header == call.revision != REVISION:
            raise _unsupported(header)
        return
    if call.method == _HANDSHAKE:
        raise _unsupported(_asked_for(call) or header, _FALLEN_BACK)
    if header and header != REVISION:
        raise _unsupported(header)
    raise BadMessage(
        "`params._meta` must name the protocol version and the client's capabilities",
        INVALID_PARAMS,
        call.id,
    )


def _asked_for(call: McpCall) -> str:
    params = call.body.members.get("params")
    version = params.get("protocolVersion") if isinstance(params, dict) else None
    return version if isinstance(version, str) else ""


def _unsupported(requested: str, more: str = "") -> RevisionUnsupported:
    # The answer repeats it, and half a surrogate pair cannot be written.
    named = requested[:32].encode("utf-8", "replace").decode()
    return RevisionUnsupported(
        f"MCP revision {named!r} is not spoken here, but {REVISION} is{more}",
        requested=named,
        supported=(REVISION,),
    )
