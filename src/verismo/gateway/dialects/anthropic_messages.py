"""The conversation: OpenAI's messages as Anthropic's system text and alternating turns.

Tool results are user content at Anthropic, so a run of `tool` and `user` messages becomes one turn.
System and developer messages are gathered in front, whatever their place was.

Source: OpenAI API reference, chat messages; Anthropic Messages API, messages and content blocks.
"""

import re
from typing import Literal

import msgspec

from verismo.gateway.dialects.failure import UNREADABLE
from verismo.model.errors import MalformedRequest

IMAGE_MEDIA = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
DOCUMENT_MEDIA = frozenset({"application/pdf"})

_data_url = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,(.*)", re.DOTALL | re.IGNORECASE).match
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Part(msgspec.Struct, tag_field="type"):
    """One piece of an OpenAI message's content."""


class _TextPart(_Part, tag="text"):
    text: str


class _RefusalPart(_Part, tag="refusal"):
    refusal: str


class _ImageUrl(msgspec.Struct):
    url: str


class _ImagePart(_Part, tag="image_url"):
    image_url: _ImageUrl


class _File(msgspec.Struct):
    file_data: str | None = None
    filename: str | None = None


class _FilePart(_Part, tag="file"):
    file: _File


class _AudioPart(_Part, tag="input_audio"):
    """Known, so that the refusal can name it."""


Content = str | list[_TextPart | _RefusalPart | _ImagePart | _FilePart | _AudioPart] | None


class _CalledFunction(msgspec.Struct):
    name: str
    arguments: str = ""


class _ToolCall(msgspec.Struct):
    id: str
    type: str = "function"
    function: _CalledFunction | None = None


class ChatMessage(msgspec.Struct):
    """One message of an OpenAI chat request."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    audio: msgspec.Raw = msgspec.Raw(b"null")
    function_call: msgspec.Raw = msgspec.Raw(b"null")


class TextBlock(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Text at Anthropic."""

    text: str


class _Base64Source(msgspec.Struct, tag_field="type", tag="base64"):
    media_type: str
    data: str


class _UrlSource(msgspec.Struct, tag_field="type", tag="url"):
    url: str


class _ImageBlock(msgspec.Struct, tag_field="type", tag="image"):
    source: _Base64Source | _UrlSource


class _DocumentBlock(msgspec.Struct, tag_field="type", tag="document", omit_defaults=True):
    source: _Base64Source
    title: str | None = None


class _ToolUseBlock(msgspec.Struct, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: msgspec.Raw


class _ToolResultBlock(msgspec.Struct, tag_field="type", tag="tool_result", omit_defaults=True):
    tool_use_id: str
    content: "list[Block]" = []


Block = TextBlock | _ImageBlock | _DocumentBlock | _ToolUseBlock | _ToolResultBlock


class Message(msgspec.Struct, frozen=True):
    """One turn at Anthropic."""

    role: str
    content: list[Block]


def translate_messages(messages: list[ChatMessage]) -> tuple[list[TextBlock], list[Message]]:
    """Split a conversation into system text and turns.

    Args:
        messages: in the client's order.

    Returns:
        The system blocks, and the turns with neighbours of one role merged.

    Raises:
        MalformedRequest: a message cannot be expressed, or there is nothing to answer.
    """
    system: list[TextBlock] = []
    turns: list[Message] = []
    for place, message in enumerate(messages):
        where = f"`messages[{place}]`"
        _refuse_unknown(message, where)
        blocks = _blocks(message, where)
        if message.role in ("system", "developer"):
            system += _text_only(blocks, where)
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1].role == role:
            turns[-1].content.extend(blocks)
        elif blocks:
            turns.append(Message(role, blocks))
    if not turns:
        raise MalformedRequest("`messages` holds no user or assistant message with content")
    return system, turns


def _refuse_unknown(message: ChatMessage, where: str) -> None:
    if message.role == "function" or bytes(message.function_call) != b"null":
        raise MalformedRequest(f"{where} uses function calls; use `tool_calls` and role `tool`")
    if bytes(message.audio) != b"null":
        raise MalformedRequest(f"{where} has `audio`, which Anthropic models do not take")
    if message.name is not None and message.role != "tool":
        raise MalformedRequest(
            f"{where} has a `name`, which Anthropic models do not take; put it into the content"
        )


def _blocks(message: ChatMessage, where: str) -> list[Block]:
    content = _content(message.content, where)
    if message.role == "tool":
        if message.tool_call_id is None:
            raise MalformedRequest(f"{where} lacks `tool_call_id`")
        return [_ToolResultBlock(message.tool_call_id, content)]
    if message.role == "assistant":
        if message.refusal:
            content.append(TextBlock(message.refusal))
        content += [_tool_use(call, where) for call in message.tool_calls or []]
    return content


def _content(content: Content, where: str) -> list[Block]:
    """Translate content; empty text, which Anthropic refuses, is left out."""
    if content is None:
        return []
    if isinstance(content, str):
        return [TextBlock(content)] if content else []
    blocks: list[Block] = []
    for place, part in enumerate(content):
        match part:
            case _TextPart(text=text) | _RefusalPart(refusal=text):
                if text:
                    blocks.append(TextBlock(text))
            case _ImagePart(image_url=image):
                blocks.append(_image(image.url, f"{where} part {place}"))
            case _FilePart(file=file):
                blocks.append(_document(file, f"{where} part {place}"))
            case _:
                raise MalformedRequest(
                    f"{where} part {place} is audio, which Anthropic models do not take"
                )
    return blocks


def _text_only(blocks: list[Block], where: str) -> list[TextBlock]:
    texts = [block for block in blocks if isinstance(block, TextBlock)]
    if len(texts) != len(blocks):
        raise MalformedRequest(f"{where} may hold text only; move images to a user message")
    return texts


def _image(url: str, where: str) -> _ImageBlock:
    if url.startswith("https://"):
        return _ImageBlock(_UrlSource(url))
    return _ImageBlock(_inline(url, IMAGE_MEDIA, where))


def _document(file: _File, where: str) -> _DocumentBlock:
    if file.file_data is None:
        raise MalformedRequest(f"{where} names an uploaded file; send it as `file_data`")
    return _DocumentBlock(_inline(file.file_data, DOCUMENT_MEDIA, where), file.filename)


def _inline(url: str, allowed: frozenset[str], where: str) -> _Base64Source:
    match = _data_url(url)
    media = match[1].lower() if match else ""
    if match is None or media not in allowed:
        raise MalformedRequest(
            f"{where} must be a base64 `data:` URL of {', '.join(sorted(allowed))}"
            " (images: an https URL too)"
        )
    return _Base64Source(media, match[2])


def _tool_use(call: _ToolCall, where: str) -> _ToolUseBlock:
    if call.type != "function" or call.function is None:
        raise MalformedRequest(f"{where} calls a tool that is no function")
    arguments = call.function.arguments.strip() or "{}"
    try:
        _objects.decode(arguments)
    except UNREADABLE as error:
        raise MalformedRequest(
            f"{where} calls `{call.function.name[:64]}` with arguments that are no JSON object"
        ) from error
    return _ToolUseBlock(call.id, call.function.name, msgspec.Raw(arguments.encode()))
