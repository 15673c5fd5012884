"""The ask: what a client wants to run, read from its request by the door it came through."""

import msgspec

from verismo.gateway.jsonbody import JsonBody
from verismo.gateway.mcpmessage import McpCall
from verismo.model.operation import OperationKind


class Ask(msgspec.Struct, frozen=True):
    """What the client wants to run.

    Args:
        kind: which kind of operation.
        name: what the client called it: the `model` text, a document id, or the last path part.
        body: the parsed body.
        stream: whether it wants a stream.
        document: the GraphQL text it sent, else empty.
        operation_name: of a GraphQL request, else empty.
        by_id: whether it named a GraphQL document by id rather than by text.
        registers: whether it tries to register a GraphQL document as Apollo's clients do.
        call: the message of an MCP client.
    """

    kind: OperationKind
    name: str
    body: JsonBody
    stream: bool = False
    document: str = ""
    operation_name: str = ""
    by_id: bool = True
    registers: bool = False
    call: McpCall | None = None

    @property
    def runs_once(self) -> bool:
        """Whether it may act on something, so that it is not tried again once it was sent."""
        return self.call is not None and self.call.runs_once
