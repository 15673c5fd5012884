"""Operations: the registered things that may run, and the deployments that run them."""

from typing import Literal

import msgspec

from verismo.model.ids import DeploymentId, OperationId, ProviderId, TenantId

OperationKind = Literal["chat", "embedding", "graphql", "http", "mcp", "agent"]
ProviderKind = Literal["openai", "anthropic", "graphql", "http", "mcp"]
McpMethod = Literal[
    "server/discover",
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
    "prompts/get",
    "completion/complete",
]
"""What an MCP operation may let through. Subscriptions are streams without an end: never."""


class Timeouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Deadlines of one try at a deployment, milliseconds.

    Args:
        connect_ms: until the connection stands.
        first_byte_ms: from sending until the response's headers.
        total_ms: from sending until the last byte; for streams too.
    """

    connect_ms: int = 3_000
    first_byte_ms: int = 60_000
    total_ms: int = 300_000


class Provider(msgspec.Struct, frozen=True):
    """An upstream service: where it is and how it is spoken to. Its key is not in here.

    Args:
        id: name in the configuration.
        kind: the protocol it speaks.
        base_url: without a trailing slash; for `openai` it usually ends in `/v1`.
        timeouts: deadlines of a try.
        auth_header: header that carries the credential, lower case; empty for none.
        auth_scheme: text before the credential, such as `Bearer `.
    """

    id: ProviderId
    kind: ProviderKind
    base_url: str
    timeouts: Timeouts = Timeouts()
    auth_header: str = ""
    auth_scheme: str = ""


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An override of the public price list, USD micros for a million tokens."""

    input_usd_micros_per_mtok: int
    output_usd_micros_per_mtok: int


class Deployment(msgspec.Struct, frozen=True):
    """One provider, model, region and price.

    Args:
        id: name in the configuration.
        provider: which upstream.
        model: the model name that the upstream is asked for; the URL path for `http` and `mcp`.
        region: where the data goes; policy compares it with the tenant's region.
        price: override; None means the public price list (genai-prices).
    """

    id: DeploymentId
    provider: ProviderId
    model: str
    region: str
    price: Price | None = None


class Operation(msgspec.Struct, frozen=True):
    """Something registered that a client may run.

    Args:
        id: for GraphQL `sha256:` + 64 hex digits of the document's exact bytes, else a name of
            letters, digits, `.`, `_` and `-`.
        name: for people; the operation name of a GraphQL document.
        kind: what it is.
        purpose: the purpose that its data is used for; policy checks it against the tenant.
        aliases: other names that a client may put into `model`.
        deployments: in fallback order; an agent that runs at its client has none.
        tenants: who may run it; empty means every tenant.
        document: for GraphQL the exact source text, else empty.
        document_type: `query`, `mutation` or `subscription` for GraphQL, else empty.
        methods: for MCP those that are let through, else empty.
        tools: for MCP the tools that may be listed and called, else empty.
        param_headers: for MCP by tool: which argument, by its dotted path, each `Mcp-Param-<key>`
            header repeats.
        candidates: deployments that serve only what a rollout gives them; never a fallback.
    """

    id: OperationId
    name: str
    kind: OperationKind
    purpose: str
    deployments: tuple[DeploymentId, ...]
    aliases: tuple[str, ...] = ()
    tenants: tuple[TenantId, ...] = ()
    document: str = ""
    document_type: str = ""
    methods: tuple[McpMethod, ...] = ()
    tools: tuple[str, ...] = ()
    param_headers: dict[str, dict[str, str]] = {}
    candidates: tuple[DeploymentId, ...] = ()
