"""MCP servers over Streamable HTTP, in its stateless revision.

The client's own bytes go out, with our span in the place of its trace context; the headers that
repeat them were compared with them before. One response comes back, as JSON.

Source: Model Context Protocol 2026-07-28, "Streamable HTTP".
"""

from collections.abc import Mapping
from typing import NoReturn

import msgspec

from verismo.attest.commitment import commit
from verismo.gateway.dialects.dialect import Inbound, Outbound
from verismo.gateway.dialects.failure import JSON_MEDIA, check_status, is_success
from verismo.gateway.jsonbody import JsonBody
from verismo.gateway.mcpanswer import STREAM_MEDIA, read_response, shown_to_client
from verismo.gateway.mcpheaders import forwarded
from verismo.gateway.mcpmessage import CALL, REVISION, McpCall
from verismo.model.errors import MalformedRequest, UpstreamBroken
from verismo.model.hop import Attribute
from verismo.model.operation import Deployment, Operation

_ONLY_CALLS = "an MCP server answers MCP requests only, and never by a stream"


class Errand(msgspec.Struct, frozen=True):
    """One call on its way to a server.

    Args:
        call: what the client asks.
        operation: what it asks it of.
        headers: of its request, by lower-case name.
        salt: of its answer.
        traceparent: of the call that we make.
    """

    call: McpCall
    operation: Operation
    headers: Mapping[str, str]
    salt: bytes
    traceparent: str


class McpDialect:
    """Speaks to an MCP server.

    Args:
        errand: the call; without one nothing is spelled.
    """

    def __init__(self, errand: Errand | None = None) -> None:
        self._errand = errand

    def on(self, errand: Errand) -> "McpDialect":
        """Return this dialect for one call."""
        return McpDialect(errand)

    @property
    def transforms(self) -> bool:
        """False: bodies are passed on; what is taken out of a list is counted in the hop."""
        return False

    @property
    def facts(self) -> dict[str, Attribute]:
        """What a graph says about the call before it is answered: no content, only commitments."""
        call = self._given().call
        facts: dict[str, Attribute] = {"method": call.method}
        if call.method == CALL:
            facts["tool"] = call.name
            text = call.arguments_text.encode()
            facts["arguments"] = commit("arguments", self._given().salt, text)
        return facts

    def outbound(self, kind: str, body: JsonBody, deployment: Deployment, stream: bool) -> Outbound:
        """Spell a call; see `ProviderDialect.outbound`. The deployment's model is the path.

        Raises:
            MalformedRequest: another kind, or a stream.
        """
        if kind != "mcp" or stream:
            raise MalformedRequest(_ONLY_CALLS)
        errand = self._given()
        return Outbound(
            method="POST",
            path=deployment.model,
            headers=(
                ("content-type", JSON_MEDIA),
                ("accept", f"{JSON_MEDIA}, {STREAM_MEDIA}"),
                *forwarded(errand.headers),
            ),
            body=errand.call.retraced(errand.traceparent),
        )

    def inbound(self, kind: str, status: int, media: str, body: bytes) -> Inbound:
        """Read a server's answer; see `ProviderDialect.inbound`.

        Raises:
            UpstreamBroken: it is no response to this call, or a success and a failure at once.
        """
        check_status(status)
        errand = self._given()
        try:
            response = read_response(errand.call, media, body)
        except UpstreamBroken as error:
            if is_success(status):
                raise
            raise UpstreamBroken(
                f"the MCP server answered {status} without a response to this request: the path is "
                f"another one, or it does not speak revision {REVISION}"
            ) from error
        if response.outcome == "result" and not is_success(status):
            raise UpstreamBroken(f"the MCP server gave a result with status {status}")
        operation = errand.operation
        shown, facts = shown_to_client(errand.call, response, operation.tools, operation.methods)
        facts["result"] = commit("result", errand.salt, response.outcome_text.encode())
        return Inbound(status=status, media=JSON_MEDIA, body=shown, facts=facts)

    def translator(self, body: JsonBody) -> NoReturn:
        """Refuse.

        Raises:
            MalformedRequest: always; answers are not streamed.
        """
        raise MalformedRequest(_ONLY_CALLS)

    def _given(self) -> Errand:
        if self._errand is None:
            raise MalformedRequest(_ONLY_CALLS)
        return self._errand
