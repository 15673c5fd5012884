"""OpenAI chat completions: an answer whole or as a stream.

Source: the OpenAI API reference, chat completions and chat completion chunks. Token counts follow
`answer.tokens_of`; an image, audio or file part counts 85 tokens.
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
    tokens_in,
    tokens_of,
)
from verismo.simulate.chatrequest import (
    ChatRequest,
    FunctionDefinition,
    called_tools,
    message_tokens,
)
from verismo.simulate.reader import (
    MODEL,
    called_by_reader,
    question_and_sources,
    read,
    takes_query,
)
from verismo.simulate.toolinput import Schema, value_for

FinishReason = Literal["stop", "length", "tool_calls"]


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


class PromptTokens(msgspec.Struct, frozen=True):
    """What the prompt's tokens were; `cached_tokens` are counted within them."""

    cached_tokens: int


class ChatUsage(msgspec.Struct, frozen=True):
    """Token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokens


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


_encoder = msgspec.json.Encoder()


def answer_chat(request: ChatRequest, call: Call) -> Answer:
    """Answer a chat completion request, whole or as a stream.

    Raises:
        InvalidChat: the tool choice names no tool of the request.
    """
    generate = _read if request.model == MODEL else _generate
    choices = [
        generate(request, call, bytes([index & 0xFF]) + call.digest)
        for index in range(request.n or 1)
    ]
    prompt = sum(message_tokens(message) for message in request.messages)
    completion = sum(choice.tokens for choice in choices)
    cached = PromptTokens(min(prompt, call.cached_tokens))
    usage = ChatUsage(prompt, completion, prompt + completion, cached)
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


def _generate(request: ChatRequest, call: Call, digest: bytes) -> Generated:
    tools = called_tools(request)
    if tools:
        return _calling([_tool_call(tool, digest, at) for at, tool in enumerate(tools)])
    return _saying(request, pieces_of(digest, call.answer_tokens))


def _read(request: ChatRequest, call: Call, digest: bytes) -> Generated:
    """Let the simulated reader answer: what it says is decided by the prompt alone."""
    question, sources = question_and_sources(request.messages)
    tools = called_by_reader(request, sources)
    if tools:
        calls = [_tool_call(tool, digest, at, question) for at, tool in enumerate(tools)]
        return _calling(calls)
    return _saying(request, tokens_in(read(question, sources)))


def _calling(calls: list[ToolCall]) -> Generated:
    return Generated(pieces=[], tool_calls=calls, finish_reason="tool_calls")


def _saying(request: ChatRequest, pieces: list[str]) -> Generated:
    """Say pieces, as many as the request allows."""
    limits = (request.max_completion_tokens, request.max_tokens, len(pieces))
    given = min(limit for limit in limits if limit is not None)
    reason: FinishReason = "length" if given < len(pieces) else "stop"
    return Generated(pieces=pieces[:given], tool_calls=[], finish_reason=reason)


def _tool_call(
    function: FunctionDefinition, digest: bytes, position: int, query: str | None = None
) -> ToolCall:
    schema = function.parameters if function.parameters is not None else Schema(type="object")
    value = value_for(schema, digest[position % 16 :])
    if query is not None and takes_query(function):
        value = {"query": query}
    return ToolCall(
        id=f"call_{digest.hex()[2:22]}{position:04d}",
        type="function",
        function=FunctionCall(name=function.name, arguments=_encoder.encode(value).decode()),
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
