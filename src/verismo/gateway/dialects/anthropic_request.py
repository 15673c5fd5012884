"""A chat request of OpenAI, said in Anthropic's words.

Nothing is lost without a word: a member that Anthropic has no word for is refused by name, save
those that change nothing about the answer (cache and storage hints, image detail). Messages that
say nothing are left out, because Anthropic refuses empty text.

Source: OpenAI API reference, chat completions; Anthropic Messages API, version 2023-06-01.
"""

import msgspec

from verismo.gateway.dialects.anthropic_messages import (
    ChatMessage,
    Message,
    TextBlock,
    translate_messages,
)
from verismo.gateway.dialects.failure import UNREADABLE
from verismo.gateway.jsonbody import JsonBody, JsonValue
from verismo.model.errors import MalformedRequest

MAX_TOKENS_DEFAULT = 4_096
"""Anthropic requires `max_tokens`, OpenAI does not; this stands in where the client set none."""

TEMPERATURE_MAX = 1.0
"""Anthropic's upper end; OpenAI's is 2."""

MAPPED = frozenset(
    {
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "stop",
        "stream",
        "stream_options",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "user",
        "safety_identifier",
        "reasoning_effort",
        "response_format",
    }
)
"""Members that are translated."""

WITHOUT_EFFECT = frozenset(
    ["metadata", "prediction", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"]
)
"""Members that change cost, speed or storage at OpenAI but not the answer: left out."""

NEUTRAL: dict[str, tuple[JsonValue, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "service_tier": ("auto",),
    "store": (False,),
    "verbosity": ("medium",),
}
"""Members that Anthropic cannot express, with the values that say nothing, as null does too."""

EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})

_NULL = msgspec.Raw(b"null")
_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = _NULL
    strict: bool | None = None


class _Tool(msgspec.Struct):
    type: str
    function: _Function | None = None


class _NamedFunction(msgspec.Struct):
    name: str


class _NamedTool(msgspec.Struct):
    type: str
    function: _NamedFunction | None = None


class _JsonSchema(msgspec.Struct):
    schema: msgspec.Raw = _NULL


class _ResponseFormat(msgspec.Struct):
    type: str
    json_schema: _JsonSchema | None = None


class _ChatRequest(msgspec.Struct):
    """The members of `MAPPED`, typed."""

    messages: list[ChatMessage]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _NamedTool | None = None
    parallel_tool_calls: bool | None = None
    user: str | None = None
    safety_identifier: str | None = None
    reasoning_effort: str | None = None
    response_format: _ResponseFormat | None = None


class _ToolDefinition(msgspec.Struct, omit_defaults=True):
    name: str
    input_schema: msgspec.Raw
    description: str | None = None
    strict: bool | None = None


class _ToolChoice(msgspec.Struct, omit_defaults=True):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool = False


class _Metadata(msgspec.Struct):
    user_id: str


class _OutputFormat(msgspec.Struct):
    type: str
    schema: msgspec.Raw


class _OutputConfig(msgspec.Struct, omit_defaults=True):
    effort: str | None = None
    format: _OutputFormat | None = None


class _Thinking(msgspec.Struct):
    type: str


class _MessagesRequest(msgspec.Struct, omit_defaults=True):
    """What Anthropic is sent."""

    model: str
    max_tokens: int
    messages: list[Message]
    system: list[TextBlock] = []
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] = []
    tools: list[_ToolDefinition] = []
    tool_choice: _ToolChoice | None = None
    metadata: _Metadata | None = None
    output_config: _OutputConfig | None = None
    thinking: _Thinking | None = None
    stream: bool = False


_requests = msgspec.json.Decoder(_ChatRequest)


def translate_request(body: JsonBody, model: str, *, stream: bool) -> bytes:
    """Return the body of a Messages call.

    Args:
        body: a chat request as OpenAI's clients send it.
        model: Anthropic's name of the model.
        stream: whether events are wanted.

    Raises:
        MalformedRequest: a member is wrong or cannot be expressed; names it and says what to do.
    """
    _refuse_inexpressible(body.members)
    try:
        request = _requests.decode(body.text)
    except UNREADABLE as error:
        raise MalformedRequest(f"the chat request is not valid: {_reason(error)}") from error
    system, messages = translate_messages(request.messages)
    wanted = request.max_completion_tokens
    wanted = request.max_tokens if wanted is None else wanted
    if request.temperature is not None and request.temperature > TEMPERATURE_MAX:
        raise MalformedRequest("`temperature` goes from 0 to 1 for Anthropic models; lower it")
    user = request.safety_identifier or request.user
    translated = _MessagesRequest(
        model=model,
        max_tokens=MAX_TOKENS_DEFAULT if wanted is None else wanted,
        messages=messages,
        system=system,
        temperature=request.temperature,
        top_p=request.top_p,
        stop_sequences=[request.stop] if isinstance(request.stop, str) else request.stop or [],
        tools=[_tool(place, tool) for place, tool in enumerate(request.tools or [])],
        tool_choice=_tool_choice(request),
        metadata=_Metadata(user) if user else None,
        output_config=_output_config(request),
        thinking=_Thinking("disabled") if request.reasoning_effort == "none" else None,
        stream=stream,
    )
    return msgspec.json.encode(translated)


def _reason(error: Exception) -> str:
    """Return what is wrong and where, without the wrong value, which is content."""
    reason, _, place = str(error).rpartition(" - at ")
    if reason.startswith("Invalid"):
        return f"unknown value at {place}"
    return f"{reason} at {place}" if reason else place


def _refuse_inexpressible(members: dict[str, JsonValue]) -> None:
    for name, value in members.items():
        if name in MAPPED or name in WITHOUT_EFFECT or value is None:
            continue
        if value not in NEUTRAL.get(name, ()):
            raise MalformedRequest(
                f"`{name[:64]}` with this value cannot be expressed for Anthropic models; leave it "
                "out or use an operation with an OpenAI-compatible deployment"
            )


def _tool(place: int, tool: _Tool) -> _ToolDefinition:
    function = tool.function
    if tool.type != "function" or function is None:
        raise MalformedRequest(
            f"`tools[{place}]` is no function; Anthropic models take tools of type `function`"
        )
    return _ToolDefinition(
        name=function.name,
        input_schema=_present(function.parameters) or _NO_PARAMETERS,
        description=function.description,
        strict=function.strict or None,
    )


def _tool_choice(request: _ChatRequest) -> _ToolChoice | None:
    """Translate `tool_choice` and `parallel_tool_calls`, which Anthropic says in one member."""
    single = request.parallel_tool_calls is False
    choice = request.tool_choice
    if not request.tools:
        if choice in (None, "none", "auto"):
            return None
        raise MalformedRequest("`tool_choice` demands a tool, but `tools` names none")
    match choice:
        case None:
            return _ToolChoice("auto", disable_parallel_tool_use=True) if single else None
        case "none":
            return _ToolChoice("none")
        case "auto":
            return _ToolChoice("auto", disable_parallel_tool_use=single)
        case "required":
            return _ToolChoice("any", disable_parallel_tool_use=single)
        case _NamedTool(type="function", function=_NamedFunction(name=name)):
            return _ToolChoice("tool", name, disable_parallel_tool_use=single)
    raise MalformedRequest(
        "`tool_choice` must be `none`, `auto`, `required` or name one function for Anthropic models"
    )


def _output_config(request: _ChatRequest) -> _OutputConfig | None:
    """Translate `reasoning_effort` and `response_format`."""
    effort = request.reasoning_effort
    effort = None if effort == "none" else effort
    if effort is not None and effort not in EFFORTS:
        raise MalformedRequest(
            f"`reasoning_effort` must be none or one of {', '.join(sorted(EFFORTS))} for Anthropic"
        )
    output = _output_format(request.response_format)
    return _OutputConfig(effort, output) if effort or output else None


def _output_format(wanted: _ResponseFormat | None) -> _OutputFormat | None:
    if wanted is None or wanted.type == "text":
        return None
    schema = _present(wanted.json_schema.schema) if wanted.json_schema else None
    if wanted.type != "json_schema" or schema is None:
        raise MalformedRequest(
            "`response_format` must be `text` or a `json_schema` with its `schema` for Anthropic"
        )
    return _OutputFormat("json_schema", schema)


def _present(member: msgspec.Raw) -> msgspec.Raw | None:
    """Return a raw member, or None if it is missing or null."""
    return None if bytes(member) == b"null" else member
