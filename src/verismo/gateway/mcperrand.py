"""How calls of MCP servers differ from others: what they carry, how often, how much comes back."""

from verismo.gateway.ask import Ask
from verismo.gateway.journey import Journey
from verismo.gateway.mcpdialect import Errand
from verismo.gateway.mcpmessage import McpCall
from verismo.model.errors import UpstreamError, UpstreamUnreachable
from verismo.model.limits import Limits
from verismo.model.operation import Provider


def errand_of(journey: Journey, call: McpCall) -> Errand:
    """Return what a call takes along to its server.

    Args:
        journey: the request; its operation is known.
        call: the client's message.
    """
    resolved = journey.resolved
    if resolved is None:
        raise TypeError("nothing is called before it is resolved")
    return Errand(
        call=call,
        operation=resolved.operation,
        headers=journey.request.headers,
        salt=journey.salt,
        traceparent=journey.trace.traceparent(),
    )


def may_have_run(ask: Ask, error: UpstreamError) -> bool:
    """Say whether a tool may have run although its call failed: then nobody else is asked."""
    return ask.runs_once and not isinstance(error, UpstreamUnreachable)


def answer_bytes_max(limits: Limits, provider: Provider) -> int:
    """Return how long the answer of a provider may be."""
    if provider.kind == "mcp":
        return min(limits.response_bytes_max, limits.mcp_result_bytes_max)
    return limits.response_bytes_max
