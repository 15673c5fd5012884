"""What the simulator reads of an OpenAI chat completion request.

Source: the OpenAI API reference, chat completions. Stop sequences, log probabilities and response
formats are taken and passed over.
"""

from typing import Literal

import msgspec

from verismo.simulate.answer import tokens_of
from verismo.simulate.toolinput import Schema

MEDIA_PART_TOKENS = 85
"""Counted for a part that is not text; what OpenAI counts for an image at low detail."""
CHOICES_MAX = 128

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


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


class InvalidChat(ValueError):
    """The request is well-formed but asks for something impossible; `param` names the member."""

    def __init__(self, detail: str, param: str) -> None:
        super().__init__(detail)
        self.param = param


_decoder = msgspec.json.Decoder(ChatRequest)


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
    asked = text_of(last)
    called = [function for function in functions if f"call {function.name}" in asked]
    return called[:1] if request.parallel_tool_calls is False else called


def text_of(message: ChatMessage) -> str:
    """Return a message's text; the parts that are not text are left out."""
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    return "\n".join(part.text for part in message.content if isinstance(part, TextPart))


def message_tokens(message: ChatMessage) -> int:
    """Count a message's tokens; a part that is not text counts a fixed number."""
    content = message.content
    media = 0
    if isinstance(content, list):
        media = sum(not isinstance(part, TextPart | RefusalPart) for part in content)
    return tokens_of(text_of(message)) + media * MEDIA_PART_TOKENS
