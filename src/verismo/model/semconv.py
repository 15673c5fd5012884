"""The OpenTelemetry names that Verismo emits, and the version of the conventions they are from.

The GenAI conventions are still "Development" and have moved to a repository of their own, so names
may change: this module is the only place that spells them. Attributes that would carry content
(`gen_ai.input.messages`, `gen_ai.output.messages`, `gen_ai.system_instructions`,
`gen_ai.tool.call.*`) are never sent, and dropped where others send them: `CONTENT` and `ASKED` name
them so that their digests can stand in their place.

Source: OpenTelemetry semantic conventions 1.44.0 (HTTP, errors) and the GenAI conventions as they
stood when they were moved to open-telemetry/semantic-conventions-genai.
"""

from types import MappingProxyType
from typing import Final

from verismo.model.hop import HopKind

VERSION: Final = "1.44.0"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
SCOPE: Final = "verismo.gateway"
"""Name of the instrumentation scope of every span."""

SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE_ID: Final = "service.instance.id"

HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
ERROR_TYPE: Final = "error.type"

GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"

GEN_AI_TOOL_NAME: Final = "gen_ai.tool.name"
GEN_AI_TOOL_TYPE: Final = "gen_ai.tool.type"
GEN_AI_TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
GEN_AI_AGENT_NAME: Final = "gen_ai.agent.name"
GEN_AI_WORKFLOW_NAME: Final = "gen_ai.workflow.name"
GEN_AI_DATA_SOURCE_ID: Final = "gen_ai.data_source.id"

OPERATION_CHAT: Final = "chat"
OPERATION_EMBEDDINGS: Final = "embeddings"
OPERATION_EXECUTE_TOOL: Final = "execute_tool"
OPERATION_RETRIEVAL: Final = "retrieval"
OPERATION_INVOKE_AGENT: Final = "invoke_agent"

VERISMO: Final = "verismo."
"""Start of our own attributes; the facts of a hop are `verismo.<their name in the graph>`."""
VERISMO_PROV_ID: Final = "verismo.prov_id"
VERISMO_POLICY_REVISION: Final = "verismo.policy.revision"
VERISMO_TENANT: Final = "verismo.tenant"
VERISMO_OPERATION: Final = "verismo.operation"
VERISMO_DEPLOYMENT: Final = "verismo.deployment"
VERISMO_CACHE: Final = "verismo.cache"
VERISMO_COST_USD_MICROS: Final = "verismo.cost_usd_micros"
VERISMO_COMMIT: Final = "verismo.commit"
"""Commitment to what a span produced, hex."""
VERISMO_OCTETS: Final = "verismo.octets"
"""Its length."""
VERISMO_ARGUMENTS_COMMIT: Final = "verismo.arguments_commit"
"""Commitment to what a span was given, hex."""
VERISMO_SOURCE: Final = "verismo.source"
"""Name of a span event: content that fed the span."""
VERISMO_SOURCE_URI: Final = "verismo.source.uri"
VERISMO_SOURCE_COMMIT: Final = "verismo.source.commit"
VERISMO_SOURCE_OCTETS: Final = "verismo.source.octets"

REPORTED_KINDS: Final = MappingProxyType[str, HopKind](
    {
        OPERATION_CHAT: "model",
        "text_completion": "model",
        "generate_content": "model",
        OPERATION_EMBEDDINGS: "model",
        OPERATION_EXECUTE_TOOL: "tool",
        OPERATION_RETRIEVAL: "retrieval",
        OPERATION_INVOKE_AGENT: "transform",
        "invoke_workflow": "transform",
        "create_agent": "transform",
    }
)
"""What a reported span becomes, by its `gen_ai.operation.name`."""
AGENT_OPERATIONS: Final = frozenset({OPERATION_INVOKE_AGENT, "invoke_workflow", "create_agent"})

REPORTED_FACTS: Final = MappingProxyType(
    {
        GEN_AI_OPERATION_NAME: "action",
        GEN_AI_PROVIDER_NAME: "provider",
        "gen_ai.system": "provider",
        GEN_AI_REQUEST_MODEL: "model",
        GEN_AI_RESPONSE_MODEL: "answered_by",
        GEN_AI_USAGE_INPUT_TOKENS: "input_tokens",
        GEN_AI_USAGE_OUTPUT_TOKENS: "output_tokens",
        GEN_AI_TOOL_NAME: "tool",
        GEN_AI_TOOL_TYPE: "tool_type",
        GEN_AI_TOOL_CALL_ID: "call_id",
        GEN_AI_AGENT_NAME: "agent",
        GEN_AI_WORKFLOW_NAME: "workflow",
        GEN_AI_DATA_SOURCE_ID: "data_source",
        ERROR_TYPE: "error",
        VERISMO_ARGUMENTS_COMMIT: "arguments_commit",
        VERISMO_OCTETS: "octets",
    }
)
"""The attributes of a reported span that are kept, and their names in the graph."""
REPORTED_COUNTS: Final = frozenset(
    {GEN_AI_USAGE_INPUT_TOKENS, GEN_AI_USAGE_OUTPUT_TOKENS, VERISMO_OCTETS}
)
"""Those of them that are numbers; all others are texts."""
READ_OF_SPANS: Final = frozenset({*REPORTED_FACTS, VERISMO_COMMIT})
READ_OF_SOURCES: Final = frozenset(
    {VERISMO_SOURCE_URI, VERISMO_SOURCE_COMMIT, VERISMO_SOURCE_OCTETS}
)

CONTENT: Final = (
    "gen_ai.output.messages",
    "gen_ai.tool.call.result",
    "gen_ai.retrieval.documents",
    "gen_ai.completion",
)
"""Attributes with what a span produced; the first that is there is digested."""
ASKED: Final = (
    "gen_ai.input.messages",
    "gen_ai.tool.call.arguments",
    "gen_ai.retrieval.query.text",
    "gen_ai.prompt",
)
"""Attributes with what a span was given."""


def gen_ai_operation(kind: str) -> str:
    """Return the `gen_ai.operation.name` of a kind of operation, empty if it is not a model call.

    Args:
        kind: `chat`, `embedding`, `graphql`, `http`, `mcp`, `agent`, `models` or `unknown`.
    """
    if kind == "embedding":
        return OPERATION_EMBEDDINGS
    return OPERATION_CHAT if kind == "chat" else ""
