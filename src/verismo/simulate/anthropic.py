"""The Anthropic dialect: `POST /v1/messages`, whole or as the Messages API's event stream.

The credential comes in `x-api-key`, or as a bearer token, which the SDK sends since version 2.

Source: the Anthropic API reference: messages, streaming messages, errors, versions. Token counts
follow `answer.tokens_of`; a block that is not text or a tool's result counts 85 tokens.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from verismo.simulate.answer import Answer, Call, pieces_of, slices_of, tokens_of
from verismo.simulate.settings import SimulatorSettings
from verismo.simulate.toolinput import JsonValue, Schema, value_for

MEDIA_BLOCK_TOKENS = 85
_LEAD_TOKENS = 4
"""Length of the text that stands before a tool call that was not forced: "Simulated answer"."""
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

StopReason = Literal["end_turn", "max_tokens", "tool_use"]


class InputBlock(msgspec.Struct, frozen=True):
    """A content block of a message; only its type and text are read."""

    type: str
    text: str = ""
    content: str | list["InputBlock"] = ""


class MessageParam(msgspec.Struct, frozen=True):
    """One message of the conversation."""

    role: Literal["user", "assistant"]
    content: str | list[InputBlock]


class ToolParam(msgspec.Struct, frozen=True):
    """A tool of the request."""

    name: str
    input_schema: Schema


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether and which tool must be used."""

    type: Literal["auto", "any", "tool", "none"]
    name: str = ""
    disable_parallel_tool_use: bool = False


class MessageRequest(msgspec.Struct, frozen=True):
    """What the simulator reads of a request."""

    model: str
    max_tokens: int
    messages: list[MessageParam]
    system: str | list[InputBlock] = ""
    stream: bool = False
    tools: list[ToolParam] = []
    tool_choice: ToolChoice = ToolChoice(type="auto")


class TextBlock(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """A text block of an answer."""

    text: str


class ToolUseBlock(msgspec.Struct, frozen=True, tag_field="type", tag="tool_use"):
    """A tool call of an answer."""

    id: str
    name: str
    input: JsonValue


Block = TextBlock | ToolUseBlock


class MessageUsage(msgspec.Struct, frozen=True):
    """Token counts."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer, or in `message_start` its beginning."""

    id: str
    type: str = "message"
    role: str = "assistant"
    model: str
    content: list[Block]
    stop_reason: StopReason | None
    stop_sequence: None = None
    usage: MessageUsage


class MessageStart(msgspec.Struct, frozen=True, tag_field="type", tag="message_start"):
    """The first event."""

    message: Message


class BlockStart(msgspec.Struct, frozen=True, tag_field="type", tag="content_block_start"):
    """A block begins, empty."""

    index: int
    content_block: Block


class Ping(msgspec.Struct, frozen=True, tag_field="type", tag="ping"):
    """Keeps the connection alive; says nothing."""


class TextDelta(msgspec.Struct, frozen=True, tag_field="type", tag="text_delta"):
    """More of a text."""

    text: str


class InputJsonDelta(msgspec.Struct, frozen=True, tag_field="type", tag="input_json_delta"):
    """More of a tool's input, as JSON text."""

    partial_json: str


class BlockDelta(msgspec.Struct, frozen=True, tag_field="type", tag="content_block_delta"):
    """A block grows."""

    index: int
    delta: TextDelta | InputJsonDelta


class BlockStop(msgspec.Struct, frozen=True, tag_field="type", tag="content_block_stop"):
    """A block is whole."""

    index: int


class StopDelta(msgspec.Struct, frozen=True):
    """Why the answer ends."""

    stop_reason: StopReason
    stop_sequence: None = None


class OutputUsage(msgspec.Struct, frozen=True):
    """Tokens of the answer, cumulative."""

    output_tokens: int


class MessageDelta(msgspec.Struct, frozen=True, tag_field="type", tag="message_delta"):
    """The answer's last facts."""

    delta: StopDelta
    usage: OutputUsage


class MessageStop(msgspec.Struct, frozen=True, tag_field="type", tag="message_stop"):
    """The last event."""


class ErrorDetail(msgspec.Struct, frozen=True):
    """What went wrong."""

    type: str
    message: str


class ErrorBody(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """The body of an error, and the error event of a stream."""

    error: ErrorDetail


Event = MessageStart | BlockStart | Ping | BlockDelta | BlockStop | MessageDelta | MessageStop


class InvalidMessage(ValueError):
    """The request is well-formed but asks for something impossible."""


_decoder = msgspec.json.Decoder(MessageRequest)
_encoder = msgspec.json.Encoder()


class Anthropic:
    """Answers `/v1/messages`.

    Args:
        settings: of the simulator.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings

    def answer(self, call: Call) -> Answer:
        """Answer a call."""
        bearer = call.headers.get("authorization", "").removeprefix("Bearer ")
        key = call.headers.get("x-api-key") or bearer
        if call.method != "POST":
            return self.error(405, "Method Not Allowed")
        if not key:
            return self.error(401, "x-api-key or Authorization: Bearer header is required")
        if self._settings.api_key and key != self._settings.api_key:
            return self.error(401, "invalid x-api-key")
        if "anthropic-version" not in call.headers:
            return self.error(400, "anthropic-version: header is required")
        try:
            return self._message(_decoder.decode(call.body), call)
        except InvalidMessage as error:
            return self.error(400, str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self.error(400, f"Invalid request: {error}")

    def error(self, status: int, message: str) -> Answer:
        """Return an error in Anthropic's shape."""
        kind = _ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        body = ErrorBody(ErrorDetail(type=kind, message=message))
        return Answer(status=status, body=_encoder.encode(body))

    def _message(self, request: MessageRequest, call: Call) -> Answer:
        if self._settings.models and request.model not in self._settings.models:
            return self.error(404, f"model: {request.model}")
        if request.max_tokens < 1:
            raise InvalidMessage("max_tokens: must be at least 1")
        if not request.messages:
            raise InvalidMessage("messages: at least one message is required")
        blocks, stop_reason = _generate(request, call)
        prompt = _input_tokens(request)
        cached = min(prompt, call.cached_tokens)
        message = Message(
            id=f"msg_{call.digest.hex()[:24]}",
            model=request.model,
            content=blocks,
            stop_reason=stop_reason,
            usage=MessageUsage(
                # Anthropic counts cached tokens beside the input, not within it.
                input_tokens=prompt - cached,
                output_tokens=sum(map(_block_tokens, blocks)),
                cache_read_input_tokens=cached,
            ),
        )
        if not request.stream:
            return Answer(status=200, body=_encoder.encode(message))
        return Answer(
            status=200,
            events=tuple(_spell(_encoder.encode(event)) for event in _stream(message)),
            failure=_spell(self.error(529, "Simulated failure in a stream.").body),
            media="text/event-stream; charset=utf-8",
        )


def _spell(event: bytes) -> bytes:
    """Name an event by its `type`, which is its first member."""
    return b"event: " + event.split(b'"', 4)[3] + b"\ndata: " + event + b"\n\n"


def _generate(request: MessageRequest, call: Call) -> tuple[list[Block], StopReason]:
    tools, forced = _called_tools(request)
    if not tools:
        given = min(call.answer_tokens, request.max_tokens)
        text = TextBlock("".join(pieces_of(call.digest, given)))
        return [text], "max_tokens" if given < call.answer_tokens else "end_turn"
    blocks: list[Block] = [
        ToolUseBlock(
            id=f"toolu_{call.digest.hex()[:20]}{position:04d}",
            name=tool.name,
            input=value_for(tool.input_schema, call.digest[position % 16 :]),
        )
        for position, tool in enumerate(tools)
    ]
    if not forced:
        blocks.insert(0, TextBlock("".join(pieces_of(call.digest, _LEAD_TOKENS))))
    return blocks, "tool_use"


def _called_tools(request: MessageRequest) -> tuple[list[ToolParam], bool]:
    """Return the tools that the answer uses, and whether the choice forced them."""
    choice = request.tool_choice
    if choice.type == "tool":
        named = [tool for tool in request.tools if tool.name == choice.name]
        if not named:
            raise InvalidMessage(f"tool_choice: tool {choice.name!r} not found in tools")
        return named[:1], True
    if choice.type == "any":
        if not request.tools:
            raise InvalidMessage("tool_choice: only allowed when tools are given")
        return request.tools[:1], True
    last = request.messages[-1]
    if choice.type == "none" or last.role != "user":
        return [], False
    asked = _text_of(last.content)
    called = [tool for tool in request.tools if f"call {tool.name}" in asked]
    return called[:1] if choice.disable_parallel_tool_use else called, False


def _stream(message: Message) -> Iterator[Event]:
    """Yield the events in the Messages API's order; a ping follows the first block's start."""
    opening = msgspec.structs.replace(
        message,
        content=[],
        stop_reason=None,
        usage=msgspec.structs.replace(message.usage, output_tokens=1),
    )
    yield MessageStart(opening)
    for index, block in enumerate(message.content):
        yield BlockStart(index, _emptied(block))
        if index == 0:
            yield Ping()
        for delta in _deltas(block):
            yield BlockDelta(index, delta)
        yield BlockStop(index)
    yield MessageDelta(
        StopDelta(message.stop_reason or "end_turn"), OutputUsage(message.usage.output_tokens)
    )
    yield MessageStop()


def _emptied(block: Block) -> Block:
    if isinstance(block, TextBlock):
        return TextBlock("")
    return ToolUseBlock(id=block.id, name=block.name, input={})


def _deltas(block: Block) -> Iterator[TextDelta | InputJsonDelta]:
    if isinstance(block, TextBlock):
        octets = block.text.encode()
        for start in range(0, len(octets), 4):
            yield TextDelta(octets[start : start + 4].decode())
        return
    yield InputJsonDelta("")
    for part in slices_of(_encoder.encode(block.input).decode()):
        yield InputJsonDelta(part)


def _text_of(content: str | list[InputBlock]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block.text for block in content if block.type == "text")


def _content_tokens(content: str | list[InputBlock]) -> int:
    if isinstance(content, str):
        return tokens_of(content)
    results = sum(_content_tokens(b.content) for b in content if b.type == "tool_result")
    media = sum(block.type not in ("text", "tool_result") for block in content)
    return tokens_of(_text_of(content)) + results + media * MEDIA_BLOCK_TOKENS


def _input_tokens(request: MessageRequest) -> int:
    messages = sum(_content_tokens(message.content) for message in request.messages)
    return _content_tokens(request.system) + messages


def _block_tokens(block: Block) -> int:
    if isinstance(block, TextBlock):
        return tokens_of(block.text)
    return tokens_of(block.name + _encoder.encode(block.input).decode())
