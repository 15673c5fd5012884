"""Anthropic's Messages API behind OpenAI's chat completions: translated both ways.

The one dialect that transforms (decisions 18): the graph shows it as a `transform` hop.

Source: Anthropic Messages API, version 2023-06-01.
"""

from verismo.gateway.dialects.anthropic_answer import translate_answer, translate_failure
from verismo.gateway.dialects.anthropic_request import translate_request
from verismo.gateway.dialects.anthropic_stream import AnthropicTranslator
from verismo.gateway.dialects.dialect import Inbound, Outbound
from verismo.gateway.dialects.failure import JSON_MEDIA, check_status, is_success
from verismo.gateway.dialects.openai import wants_usage
from verismo.gateway.jsonbody import JsonBody
from verismo.model.errors import MalformedRequest
from verismo.model.operation import Deployment

API_VERSION = "2023-06-01"


class AnthropicDialect:
    """Speaks to Anthropic, whose base URL ends in `/v1`."""

    @property
    def transforms(self) -> bool:
        """True: bodies are translated."""
        return True

    def outbound(self, kind: str, body: JsonBody, deployment: Deployment, stream: bool) -> Outbound:
        """Spell a chat call; see `ProviderDialect.outbound`.

        Raises:
            MalformedRequest: the operation is no chat, or a member cannot be expressed.
        """
        if kind != "chat":
            raise MalformedRequest(
                f"Anthropic models cannot run {kind} operations; use another deployment"
            )
        return Outbound(
            method="POST",
            path="/messages",
            headers=(
                ("content-type", JSON_MEDIA),
                ("accept", "text/event-stream" if stream else JSON_MEDIA),
                ("anthropic-version", API_VERSION),
            ),
            body=translate_request(body, deployment.model, stream=stream),
        )

    def inbound(self, kind: str, status: int, media: str, body: bytes) -> Inbound:
        """Translate a whole answer or an error; see `ProviderDialect.inbound`.

        Raises:
            UpstreamBroken: a success that is no message, or a status that is no answer.
        """
        check_status(status)
        return translate_answer(body) if is_success(status) else translate_failure(status, body)

    def translator(self, body: JsonBody) -> AnthropicTranslator:
        """Return a new translator for the stream that answers this client body."""
        return AnthropicTranslator(shows_usage=wants_usage(body))
