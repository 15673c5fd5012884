"""The shape of the files in operations/: one Struct for each table; see `tables.py`."""

from typing import Annotated

import msgspec

from verismo.config.tables import Alias, DocumentId, Name
from verismo.model.operation import McpMethod, OperationKind

ToolName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9._-]{1,128}\Z",
        description="1 to 128 letters, digits, `.`, `_` and `-`",
    ),
]
"""As MCP asks for. Never a pattern: what may run is listed, one by one."""


class OperationTable(msgspec.Struct, frozen=True):
    """Something registered that a client may run; stands in a file under operations/.

    Args:
        kind: `chat`, `embedding`, `graphql`, `http`, `mcp` or `agent`.
        purpose: the purpose that its data is used for; a tenant must have it among its own.
        deployments: in fallback order; their providers must fit the kind. An `agent` may have none:
            then it runs at the client, which has its runs sealed.
        candidates: deployments that serve only what a rollout gives them, and are never fallen
            back to; none of `deployments`.
        aliases: other names that clients may put into `model`.
        tenants: who may run it; empty means every tenant.
        name: for people; by default the table's name, for GraphQL the document's operation name.
        document: for `graphql` the file with the document's text, relative to this file.
        id: for `graphql` the recorded id, `sha256:` + 64 hex digits of the document's exact
            bytes; a document that no longer matches is refused. Omitted: computed.
        tools: for `mcp` the tools of the server that may be listed and called; no patterns.
        methods: for `mcp` what may be asked of the server; omitted: what tools need, which is
            `server/discover`, `tools/list` and `tools/call`.
        param_headers: for `mcp` by tool: the argument, by its dotted path, that the header
            `Mcp-Param-<key>` repeats, as the tool's schema says by `x-mcp-header`.
    """

    kind: OperationKind
    purpose: Name
    deployments: tuple[Name, ...] = ()
    candidates: tuple[Name, ...] = ()
    aliases: tuple[Alias, ...] = ()
    tenants: tuple[Name, ...] = ()
    name: str = ""
    document: str = ""
    id: DocumentId = ""
    tools: tuple[ToolName, ...] = ()
    methods: tuple[McpMethod, ...] = ()
    param_headers: dict[str, dict[str, str]] = {}


class OperationsTable(msgspec.Struct, frozen=True):
    """A file under operations/.

    Args:
        operations: by id; for `graphql` by a name of your own, as its id is the document's hash.
    """

    operations: dict[str, OperationTable] = {}
