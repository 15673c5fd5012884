"""Anthropic's event stream, said as chunks of a chat completion.

    message_start        -> a chunk with the role
    content_block_start  -> for a tool: a chunk with its id and name
    content_block_delta  -> a chunk with text, or with a piece of a tool's arguments
    content_block_stop   -> for a tool that got no arguments: `{}`, which clients can parse
    message_delta        -> a chunk with the finish reason; the token counts so far
    message_stop         -> the usage chunk if the client asked; the stream has ended
    error                -> an error event; the stream stays unended
    ping, anything new   -> nothing

Source: Anthropic Messages API, streaming messages; OpenAI API reference, the chunk object.
"""

import msgspec

from verismo.gateway.dialects.anthropic_answer import (
    CREATED,
    CalledFunction,
    CompletionUsage,
    ErrorDetail,
    Tokens,
    arguments_text,
    completion_usage,
    finish_reason,
    translate_error,
)
from verismo.gateway.dialects.failure import UNREADABLE
from verismo.gateway.dialects.sse import SseSplitter, event_data
from verismo.model.errors import UpstreamBroken
from verismo.model.traffic import Usage


class _Start(msgspec.Struct):
    id: str
    model: str = ""
    usage: Tokens | None = None


class _Block(msgspec.Struct):
    type: str = ""
    text: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Change(msgspec.Struct):
    """The `delta` of content_block_delta and of message_delta."""

    type: str = ""
    text: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    message: _Start | None = None
    content_block: _Block | None = None
    delta: _Change | None = None
    usage: Tokens | None = None
    error: ErrorDetail | None = None


class _ToolCallPiece(msgspec.Struct, omit_defaults=True):
    index: int
    function: CalledFunction
    id: str | None = None
    type: str | None = None


class _Delta(msgspec.Struct, omit_defaults=True):
    role: str | None = None
    content: str | None = None
    tool_calls: list[_ToolCallPiece] = []


class _Choice(msgspec.Struct):
    index: int
    delta: _Delta
    logprobs: None
    finish_reason: str | None


class _Chunk(msgspec.Struct, omit_defaults=True):
    id: str
    object: str
    created: int
    model: str
    choices: list[_Choice]
    usage: CompletionUsage | None = None


class _OpenTool:
    """A tool call whose block is open: its place among the calls, and whether it has arguments."""

    __slots__ = ("has_arguments", "place")

    def __init__(self, place: int, *, has_arguments: bool) -> None:
        self.place = place
        self.has_arguments = has_arguments


_events = msgspec.json.Decoder(_Event)
_encoder = msgspec.json.Encoder()


class AnthropicTranslator:
    """Translates one stream; see `StreamTranslator`."""

    def __init__(self, *, shows_usage: bool) -> None:
        self._splitter = SseSplitter()
        self._shows_usage = shows_usage
        self._start: _Start | None = None
        self._tokens = Tokens()
        self._tools: dict[int, _OpenTool] = {}
        self._tools_seen = 0
        self._ended = False
        self._failed = False

    @property
    def usage(self) -> Usage | None:
        """Tokens counted, once the provider has said so; of a cut stream as far as it was said."""
        return self._tokens.counted()

    @property
    def model(self) -> str:
        """The model that answered, from message_start; empty before it."""
        return self._start.model if self._start else ""

    @property
    def ended(self) -> bool:
        """Whether message_stop was seen."""
        return self._ended

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take bytes as they arrived and return the events that they complete, in order.

        Raises:
            UpstreamBroken: an event is no Anthropic event, out of order, or over 1 MiB.
        """
        translated: list[bytes] = []
        if self._is_over():
            return translated
        for event in self._splitter.feed(chunk):
            translated += self._translate(event_data(event))
            if self._is_over():
                break
        return translated

    def finish(self) -> list[bytes]:
        """Take note of the clean end of the provider's body; only message_stop ends a stream."""
        return []

    def _is_over(self) -> bool:
        return self._ended or self._failed

    def _translate(self, data: bytes) -> list[bytes]:
        try:
            event = _events.decode(data)
        except UNREADABLE as error:
            raise UpstreamBroken("the provider sent an event that is not Anthropic's") from error
        match event.type:
            case "message_start":
                return self._begin(event)
            case "content_block_start":
                return self._open(event)
            case "content_block_delta":
                return self._continue(event)
            case "content_block_stop":
                return self._close(event)
            case "message_delta":
                return self._conclude(event)
            case "message_stop":
                return self._end()
            case "error":
                return self._fail(event)
        return []

    def _begin(self, event: _Event) -> list[bytes]:
        if event.message is None or self._start is not None:
            raise UpstreamBroken("the provider's stream does not start with one message")
        self._start = event.message
        self._count(event.message.usage)
        return [self._chunk(_Delta(role="assistant", content=""))]

    def _open(self, event: _Event) -> list[bytes]:
        block = event.content_block or _Block()
        if block.type == "tool_use":
            given = arguments_text(block.input)
            given = "" if given == "{}" else given
            tool = _OpenTool(self._tools_seen, has_arguments=bool(given))
            self._tools[event.index] = tool
            self._tools_seen += 1
            function = CalledFunction(name=block.name, arguments=given)
            piece = _ToolCallPiece(tool.place, function, block.id, "function")
            return [self._chunk(_Delta(tool_calls=[piece]))]
        if block.type == "text" and block.text:
            return [self._chunk(_Delta(content=block.text))]
        return []

    def _continue(self, event: _Event) -> list[bytes]:
        change = event.delta or _Change()
        if change.type == "text_delta" and change.text:
            return [self._chunk(_Delta(content=change.text))]
        if change.type == "input_json_delta" and change.partial_json:
            tool = self._tools.get(event.index)
            if tool is None:
                raise UpstreamBroken("the provider sent arguments for a tool that it did not call")
            tool.has_arguments = True
            return [self._arguments(tool, change.partial_json)]
        return []

    def _close(self, event: _Event) -> list[bytes]:
        tool = self._tools.pop(event.index, None)
        return [self._arguments(tool, "{}")] if tool and not tool.has_arguments else []

    def _conclude(self, event: _Event) -> list[bytes]:
        self._count(event.usage)
        if event.delta is None or event.delta.stop_reason is None:
            return []
        return [self._chunk(_Delta(), finish_reason(event.delta.stop_reason))]

    def _end(self) -> list[bytes]:
        self._ended = True
        usage = self.usage
        if not self._shows_usage or usage is None:
            return []
        return [self._event([], completion_usage(usage))]

    def _fail(self, event: _Event) -> list[bytes]:
        self._failed = True
        return [b"data: " + translate_error(event.error or ErrorDetail()) + b"\n\n"]

    def _count(self, tokens: Tokens | None) -> None:
        """Take over counts; they are cumulative, and what is not said again stays."""
        if tokens is None:
            return
        for name in Tokens.__struct_fields__:
            value = getattr(tokens, name)
            if value is not None:
                setattr(self._tokens, name, value)

    def _arguments(self, tool: _OpenTool, piece: str) -> bytes:
        function = CalledFunction(arguments=piece)
        return self._chunk(_Delta(tool_calls=[_ToolCallPiece(tool.place, function)]))

    def _chunk(self, delta: _Delta, reason: str | None = None) -> bytes:
        return self._event([_Choice(0, delta, None, reason)])

    def _event(self, choices: list[_Choice], usage: CompletionUsage | None = None) -> bytes:
        start = self._start
        if start is None:
            raise UpstreamBroken("the provider's stream does not start with a message")
        chunk = _Chunk(start.id, "chat.completion.chunk", CREATED, start.model, choices, usage)
        return b"data: " + _encoder.encode(chunk) + b"\n\n"
