"""The OpenTelemetry names that Verismo emits, and the version of the conventions they are from.

The GenAI conventions are still "Development" and have moved to a repository of their own, so names
may change: this module is the only place that spells them. Attributes that would carry content
(`gen_ai.input.messages`, `gen_ai.output.messages`, `gen_ai.system_instructions`,
`gen_ai.tool.call.*`) are left out on purpose.

Source: OpenTelemetry semantic conventions 1.44.0 (HTTP, errors) and the GenAI conventions as they
stood when they were moved to open-telemetry/semantic-conventions-genai.
"""

from typing import Final

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

OPERATION_CHAT: Final = "chat"
OPERATION_EMBEDDINGS: Final = "embeddings"

VERISMO: Final = "verismo."
"""Start of our own attributes; the facts of a hop are `verismo.<their name in the graph>`."""
VERISMO_PROV_ID: Final = "verismo.prov_id"
VERISMO_POLICY_REVISION: Final = "verismo.policy.revision"
VERISMO_TENANT: Final = "verismo.tenant"
VERISMO_OPERATION: Final = "verismo.operation"
VERISMO_DEPLOYMENT: Final = "verismo.deployment"
VERISMO_CACHE: Final = "verismo.cache"
VERISMO_COST_USD_MICROS: Final = "verismo.cost_usd_micros"


def gen_ai_operation(kind: str) -> str:
    """Return the `gen_ai.operation.name` of a kind of operation, empty if it is not a model call.

    Args:
        kind: `chat`, `embedding`, `graphql`, `http`, `models` or `unknown`.
    """
    if kind == "embedding":
        return OPERATION_EMBEDDINGS
    return OPERATION_CHAT if kind == "chat" else ""
