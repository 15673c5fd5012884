"""Anthropic's whole answers and errors, said in OpenAI's words.

`created` is 0: Anthropic names no time, and a translation that read a clock could not be repeated
by an auditor. Thinking is left out, because chat completions have no place for it.

Source: Anthropic Messages API, version 2023-06-01; OpenAI API reference, the completion object.
"""

from typing import Annotated

import msgspec

from verismo.gateway.dialects.dialect import Inbound
from verismo.gateway.dialects.failure import (
    JSON_MEDIA,
    UNREADABLE,
    error_body,
    failed,
    refused_credential,
)
from verismo.model.canonical import MAX_INTEGER
from verismo.model.errors import UpstreamBroken
from verismo.model.traffic import Usage

CREATED = 0
"""OpenAI's `created` of every translated answer; see the module's text."""

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
FINISH_REASON_DEFAULT = "stop"
"""For reasons that came after this table: the answer is whole as far as anyone said."""

OVERLOADED_STATUS = 529
ERROR_TYPES = {
    "overloaded_error": "server_error",
    "api_error": "server_error",
    "timeout_error": "server_error",
    "not_found_error": "invalid_request_error",
    "request_too_large": "invalid_request_error",
}
"""Anthropic's types that OpenAI's clients know under another name; the others have the same."""

TokenCount = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]


class Tokens(msgspec.Struct):
    """Anthropic's usage; its input count leaves out what the cache took or gave."""

    input_tokens: TokenCount | None = None
    output_tokens: TokenCount | None = None
    cache_read_input_tokens: TokenCount | None = None
    cache_creation_input_tokens: TokenCount | None = None

    def counted(self) -> Usage | None:
        """Return the usage as Verismo counts it, cached tokens within the input."""
        if self.input_tokens is None:
            return None
        cached = self.cache_read_input_tokens or 0
        written = self.cache_creation_input_tokens or 0
        return Usage(self.input_tokens + cached + written, self.output_tokens or 0, cached)


class ErrorDetail(msgspec.Struct):
    """Anthropic's error member."""

    type: str = "api_error"
    message: str = ""


class _Failure(msgspec.Struct):
    error: ErrorDetail


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Message(msgspec.Struct):
    id: str
    content: list[_Block]
    model: str = ""
    stop_reason: str | None = None
    usage: Tokens | None = None


class CachedTokens(msgspec.Struct):
    """OpenAI's `prompt_tokens_details`."""

    cached_tokens: int


class CompletionUsage(msgspec.Struct):
    """OpenAI's usage."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class CalledFunction(msgspec.Struct, omit_defaults=True):
    """OpenAI's function of a tool call; in a stream a piece of it."""

    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    id: str
    type: str
    function: CalledFunction


class _ChatMessage(msgspec.Struct, omit_defaults=True):
    role: str
    content: str | None
    refusal: None
    tool_calls: list[_ToolCall] = []


class _Choice(msgspec.Struct):
    index: int
    message: _ChatMessage
    logprobs: None
    finish_reason: str


class _Completion(msgspec.Struct, omit_defaults=True):
    id: str
    object: str
    created: int
    model: str
    choices: list[_Choice]
    usage: CompletionUsage | None = None


_messages = msgspec.json.Decoder(_Message)
_failures = msgspec.json.Decoder(_Failure)


def translate_answer(body: bytes) -> Inbound:
    """Return a chat completion for a successful message.

    Args:
        body: Anthropic's octets.

    Raises:
        UpstreamBroken: the body is no message.
    """
    try:
        message = _messages.decode(body)
    except UNREADABLE as error:
        raise UpstreamBroken("the provider's answer is not an Anthropic message") from error
    usage = message.usage.counted() if message.usage else None
    calls = [
        _ToolCall(block.id, "function", CalledFunction(block.name, arguments_text(block.input)))
        for block in message.content
        if block.type == "tool_use"
    ]
    texts = [block.text for block in message.content if block.type == "text"]
    content = "".join(texts) if texts or not calls else None
    completion = _Completion(
        id=message.id,
        object="chat.completion",
        created=CREATED,
        model=message.model,
        choices=[
            _Choice(
                index=0,
                message=_ChatMessage("assistant", content, None, calls),
                logprobs=None,
                finish_reason=finish_reason(message.stop_reason),
            )
        ],
        usage=completion_usage(usage) if usage else None,
    )
    return Inbound(200, JSON_MEDIA, msgspec.json.encode(completion), usage, message.model)


def translate_failure(status: int, body: bytes) -> Inbound:
    """Return an OpenAI error for an error of Anthropic.

    Args:
        status: 400 to 599; 529 (overloaded) becomes 503, which clients know to retry.
        body: Anthropic's octets.
    """
    if status == 401:
        return refused_credential()
    client_status = 503 if status == OVERLOADED_STATUS else status
    try:
        detail = _failures.decode(body).error
    except UNREADABLE:
        text = f"the provider answered with status {status} and no Anthropic error"
        return failed(client_status, text)
    return Inbound(client_status, JSON_MEDIA, translate_error(detail))


def translate_error(detail: ErrorDetail) -> bytes:
    """Return an OpenAI error body for Anthropic's error member."""
    error_type = ERROR_TYPES.get(detail.type, detail.type)
    return error_body(detail.message or detail.type, error_type, detail.type)


def arguments_text(given: msgspec.Raw) -> str:
    """Return a tool's input as OpenAI's text of arguments; no input is an empty object."""
    text = bytes(given).decode()
    return "{}" if text == "null" else text


def finish_reason(stop_reason: str | None) -> str:
    """Return OpenAI's word for why the model stopped."""
    return FINISH_REASONS.get(stop_reason or "", FINISH_REASON_DEFAULT)


def completion_usage(usage: Usage) -> CompletionUsage:
    """Return OpenAI's usage member."""
    return CompletionUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=CachedTokens(usage.cached_input_tokens),
    )
