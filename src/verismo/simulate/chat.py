"""OpenAI chat completions: the request's shape, and its answer whole or as a stream.

Source: the OpenAI API reference, chat completions and chat completion chunks. Token counts follow
`answer.tokens_of`; an image, audio or file part counts 85 tokens. Stop sequences, log
probabilities and response formats are taken and passed over.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from verismo.simulate.answer import (
    CREATED_S,
    FINGERPRINT,
    Answer,
    Call,
    pieces_of,
    slices_of,
    tokens_of,
)
from verismo.simulate.toolinput import Schema, value_for

MEDIA_PART_TOKENS = 85
"""Counted for a part that is not text; what OpenAI counts for an image at low detail."""
CHOICES_MAX = 128

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
FinishReason = Literal["stop", "length", "tool_calls"]


class TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """A text part of a message."""

    text: str


class ImageUrl(msgspec.Struct, frozen=True):
    """Where an image is: an address or a data URL."""

    url: str
    detail: str = "auto"


class ImagePart(msgspec.Struct, frozen=True, tag_field="type", tag="image_url"):
    """An image part of a message."""

    image_url: ImageUrl


class AudioPart(msgspec.Struct, frozen=True, tag_field="type", tag="input_audio"):
    """An audio part of a message; taken as it is."""

    input_audio: msgspec.Raw


class FilePart(msgspec.Struct, frozen=True, tag_field="type", tag="file"):
    """A file part of a message; taken as it is."""

    file: msgspec.Raw


class RefusalPart(msgspec.Struct, frozen=True, tag_field="type", tag="refusal"):
    """An earlier refusal of the assistant."""

    refusal: str


Part = TextPart | ImagePart | AudioPart | FilePart | RefusalPart


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of the conversation."""

    role: Role
    content: str | list[Part] | None = None


class FunctionDefinition(msgspec.Struct, frozen=True):
    """A function that the model may ask the application to call."""

    name: str
    parameters: Schema | None = None


class ToolDefinition(msgspec.Struct, frozen=True):
    """A tool of the request."""

    type: Literal["function"]
    function: FunctionDefinition


class NamedFunction(msgspec.Struct, frozen=True):
    """The name inside a tool choice."""

    name: str


class NamedToolChoice(msgspec.Struct, frozen=True):
    """A tool choice that forces one function."""

    type: Literal["function"]
    function: NamedFunction


class StreamOptions(msgspec.Struct, frozen=True):
    """Whether a stream ends with a chunk that holds the usage."""

    include_usage: bool = False


class ChatRequest(msgspec.Struct, frozen=True):
    """What the simulator reads of a chat completion request."""

    model: str
    messages: list[ChatMessage]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[ToolDefinition] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedToolChoice | None = None
    parallel_tool_calls: bool | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


class FunctionCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call's function name and its arguments as JSON text, or a part of them."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    arguments: str | msgspec.UnsetType = msgspec.UNSET


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool call of an answer, or a part of one in a stream, where `index` names it."""

    index: int | msgspec.UnsetType = msgspec.UNSET
    id: str | msgspec.UnsetType = msgspec.UNSET
    type: str | msgspec.UnsetType = msgspec.UNSET
    function: FunctionCall = FunctionCall()


class AnswerMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The assistant's message."""

    role: str = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: list[ToolCall] | msgspec.UnsetType = msgspec.UNSET


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of `n`."""

    index: int
    message: AnswerMessage
    logprobs: None = None
    finish_reason: FinishReason


class ChatUsage(msgspec.Struct, frozen=True):
    """Token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    id: str
    object: str = "chat.completion"
    created: int = CREATED_S
    model: str
    choices: list[Choice]
    usage: ChatUsage
    system_fingerprint: str = FINGERPRINT


class Delta(msgspec.Struct, frozen=True):
    """What one chunk adds."""

    role: str | msgspec.UnsetType = msgspec.UNSET
    content: str | msgspec.UnsetType | None = msgspec.UNSET
    tool_calls: list[ToolCall] | msgspec.UnsetType = msgspec.UNSET


class ChunkChoice(msgspec.Struct, frozen=True):
    """One choice's part of a chunk."""

    index: int
    delta: Delta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a stream. `usage` is null in all but the last, if usage was asked for."""

    id: str
    object: str = "chat.completion.chunk"
    created: int = CREATED_S
    model: str
    system_fingerprint: str = FINGERPRINT
    choices: list[ChunkChoice]
    usage: ChatUsage | msgspec.UnsetType | None = msgspec.UNSET


class Generated(msgspec.Struct, frozen=True):
    """One generated choice before it is spelled whole or as chunks.

    Args:
        pieces: of the text, one token each; empty if tools are called.
        tool_calls: whole calls.
        finish_reason: why it ends.
    """

    pieces: list[str]
    tool_calls: list[ToolCall]
    finish_reason: FinishReason

    @property
    def tokens(self) -> int:
        """Tokens of the text, or of the calls' names and arguments."""
        spelled = (f"{call.function.name}{call.function.arguments}" for call in self.tool_calls)
        return len(self.pieces) + sum(tokens_of(text) for text in spelled)


class InvalidChat(ValueError):
    """The request is well-formed but asks for something impossible; `param` names the member."""

    def __init__(self, detail: str, param: str) -> None:
        super().__init__(detail)
        self.param = param


_decoder = msgspec.json.Decoder(ChatRequest)
_encoder = msgspec.json.Encoder()


def parse_chat(body: bytes) -> ChatRequest:
    """Read a chat completion request.

    Raises:
        msgspec.DecodeError: not JSON, or not of this shape.
        InvalidChat: a value out of its range.
    """
    request = _decoder.decode(body)
    if not request.messages:
        raise InvalidChat("Invalid 'messages': empty array.", "messages")
    if request.n is not None and not 1 <= request.n <= CHOICES_MAX:
        raise InvalidChat(f"Invalid 'n': 1 to {CHOICES_MAX}.", "n")
    for name, limit in (
        ("max_tokens", request.max_tokens),
        ("max_completion_tokens", request.max_completion_tokens),
    ):
        if limit is not None and limit < 1:
            raise InvalidChat(f"Invalid '{name}': at least 1.", name)
    if request.tool_choice not in (None, "none") and not request.tools:
        raise InvalidChat("'tool_choice' is only allowed when 'tools' are given.", "tool_choice")
    return request


def answer_chat(request: ChatRequest, call: Call) -> Answer:
    """Answer a chat completion request, whole or as a stream.

    Raises:
        InvalidChat: the tool choice names no tool of the request.
    """
    tools = called_tools(request)
    choices = [
        _generate(request, call, bytes([index & 0xFF]) + call.digest, tools)
        for index in range(request.n or 1)
    ]
    prompt = sum(_message_tokens(message) for message in request.messages)
    completion = sum(choice.tokens for choice in choices)
    usage = ChatUsage(prompt, completion, prompt + completion)
    identifier = f"chatcmpl-{call.digest.hex()[:24]}"
    if request.stream:
        chunks = _stream(request, choices, usage, identifier)
        events = (*(b"data: " + _encoder.encode(c) + b"\n\n" for c in chunks), b"data: [DONE]\n\n")
        return Answer(status=200, events=events, media="text/event-stream; charset=utf-8")
    whole = [
        Choice(
            index=index,
            message=AnswerMessage(
                content=None if choice.tool_calls else "".join(choice.pieces),
                tool_calls=choice.tool_calls or msgspec.UNSET,
            ),
            finish_reason=choice.finish_reason,
        )
        for index, choice in enumerate(choices)
    ]
    body = Completion(id=identifier, model=request.model, choices=whole, usage=usage)
    return Answer(status=200, body=_encoder.encode(body))


def called_tools(request: ChatRequest) -> list[FunctionDefinition]:
    """Return the functions that the answer calls.

    A named choice calls that function, `required` the first; else those whose name stands after
    "call " in the last message, if the user wrote it.

    Raises:
        InvalidChat: the named function is not among the tools.
    """
    functions = [tool.function for tool in request.tools or ()]
    choice = request.tool_choice
    if isinstance(choice, NamedToolChoice):
        named = [function for function in functions if function.name == choice.function.name]
        if not named:
            raise InvalidChat(f"Tool {choice.function.name!r} is not in 'tools'.", "tool_choice")
        return named[:1]
    if choice == "required":
        return functions[:1]
    last = request.messages[-1]
    if choice == "none" or not functions or last.role != "user":
        return []
    asked = _text_of(last)
    called = [function for function in functions if f"call {function.name}" in asked]
    return called[:1] if request.parallel_tool_calls is False else called


def _generate(
    request: ChatRequest, call: Call, digest: bytes, tools: list[FunctionDefinition]
) -> Generated:
    if tools:
        calls = [_tool_call(function, digest, at) for at, function in enumerate(tools)]
        return Generated(pieces=[], tool_calls=calls, finish_reason="tool_calls")
    wanted = call.answer_tokens
    limits = (request.max_completion_tokens, request.max_tokens, wanted)
    given = min(limit for limit in limits if limit is not None)
    return Generated(
        pieces=pieces_of(digest, given),
        tool_calls=[],
        finish_reason="length" if given < wanted else "stop",
    )


def _tool_call(function: FunctionDefinition, digest: bytes, position: int) -> ToolCall:
    schema = function.parameters if function.parameters is not None else Schema(type="object")
    arguments = _encoder.encode(value_for(schema, digest[position % 16 :])).decode()
    return ToolCall(
        id=f"call_{digest.hex()[2:22]}{position:04d}",
        type="function",
        function=FunctionCall(name=function.name, arguments=arguments),
    )


def _stream(
    request: ChatRequest, choices: list[Generated], usage: ChatUsage, identifier: str
) -> Iterator[Chunk]:
    """Yield the chunks in OpenAI's order: role, deltas, finish, and usage if it was asked for."""
    asked = request.stream_options is not None and request.stream_options.include_usage
    for index, choice in enumerate(choices):
        for delta in _deltas(choice):
            yield Chunk(
                id=identifier,
                model=request.model,
                choices=[ChunkChoice(index=index, delta=delta)],
                usage=None if asked else msgspec.UNSET,
            )
        end = ChunkChoice(index=index, delta=Delta(), finish_reason=choice.finish_reason)
        yield Chunk(
            id=identifier,
            model=request.model,
            choices=[end],
            usage=None if asked else msgspec.UNSET,
        )
    if asked:
        yield Chunk(id=identifier, model=request.model, choices=[], usage=usage)


def _deltas(choice: Generated) -> Iterator[Delta]:
    yield Delta(role="assistant", content=None if choice.tool_calls else "")
    for piece in choice.pieces:
        yield Delta(content=piece)
    for index, call in enumerate(choice.tool_calls):
        opening = FunctionCall(name=call.function.name, arguments="")
        yield Delta(
            tool_calls=[ToolCall(index=index, id=call.id, type=call.type, function=opening)]
        )
        for part in slices_of(str(call.function.arguments)):
            yield Delta(tool_calls=[ToolCall(index=index, function=FunctionCall(arguments=part))])


def _text_of(message: ChatMessage) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    return "\n".join(part.text for part in message.content if isinstance(part, TextPart))


def _message_tokens(message: ChatMessage) -> int:
    content = message.content
    media = 0
    if isinstance(content, list):
        media = sum(not isinstance(part, TextPart | RefusalPart) for part in content)
    return tokens_of(_text_of(message)) + media * MEDIA_PART_TOKENS
