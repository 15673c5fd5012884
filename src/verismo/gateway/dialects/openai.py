"""OpenAI-compatible providers: the client's own bytes go out, the provider's own bytes come back.

Only `model` and, for streams, `stream_options.include_usage` are spliced into the request
(decisions 17, 18). Of the answer only `model` and `usage` are read; deltas of a stream are never
decoded, save the first one for the model's name.

Source: OpenAI API reference, chat completions and embeddings.
"""

import json
import re
from typing import Annotated

import msgspec

from verismo.gateway.dialects.dialect import Inbound, Outbound
from verismo.gateway.dialects.failure import (
    JSON_MEDIA,
    UNREADABLE,
    check_status,
    is_success,
    openai_failure,
)
from verismo.gateway.dialects.sse import SseSplitter, event_data, is_done
from verismo.gateway.jsonbody import JsonBody, parse_object
from verismo.model.canonical import MAX_INTEGER
from verismo.model.errors import MalformedRequest, UpstreamBroken
from verismo.model.operation import Deployment
from verismo.model.traffic import Usage

PATHS = {"chat": "/chat/completions", "embedding": "/embeddings"}

TokenCount = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]

_counted = re.compile(rb'"usage"[ \t]*:[ \t]*\{').search
"""A usage that is an object; OpenAI writes `"usage":null` into every other chunk. Inside a JSON
string the quotes would be escaped, so that content cannot look like this."""


class OpenAiDialect:
    """Speaks to OpenAI and everything that speaks like it."""

    @property
    def transforms(self) -> bool:
        """False: bodies are not translated."""
        return False

    def outbound(self, kind: str, body: JsonBody, deployment: Deployment, stream: bool) -> Outbound:
        """Spell a chat or embedding call; see `ProviderDialect.outbound`.

        Raises:
            MalformedRequest: the operation's kind is another, or `stream_options` is no object.
        """
        if kind not in PATHS:
            raise MalformedRequest(f"an OpenAI-compatible provider cannot run a {kind} operation")
        replacements = {"model": json.dumps(deployment.model)}
        streams = stream and kind == "chat"
        if streams:
            replacements |= _usage_asked_for(body)
        return Outbound(
            method="POST",
            path=PATHS[kind],
            headers=(
                ("content-type", JSON_MEDIA),
                ("accept", "text/event-stream" if streams else JSON_MEDIA),
            ),
            body=body.spliced(replacements),
        )

    def inbound(self, kind: str, status: int, media: str, body: bytes) -> Inbound:
        """Read a whole answer; see `ProviderDialect.inbound`. The body stays as it is.

        Raises:
            UpstreamBroken: a success that is not a JSON object, or a status that is no answer.
        """
        check_status(status)
        if not is_success(status):
            return openai_failure(status, media, body)
        answer = read_answer(body)
        return Inbound(status, media or JSON_MEDIA, body, answer.counted(), answer.model)

    def translator(self, body: JsonBody) -> "OpenAiTranslator":
        """Return a new translator for the stream that answers this client body."""
        return OpenAiTranslator(shows_usage=wants_usage(body))


class OpenAiTranslator:
    """Passes an OpenAI stream on, event by event; see `StreamTranslator`."""

    __slots__ = ("_ended", "_model", "_shows_usage", "_splitter", "_started", "_usage")

    def __init__(self, *, shows_usage: bool) -> None:
        self._splitter = SseSplitter()
        self._shows_usage = shows_usage
        self._started = False
        self._ended = False
        self._model = ""
        self._usage: Usage | None = None

    @property
    def usage(self) -> Usage | None:
        """Tokens counted, once the provider has said so."""
        return self._usage

    @property
    def model(self) -> str:
        """The model that answered, from the first event; empty before it."""
        return self._model

    @property
    def ended(self) -> bool:
        """Whether `[DONE]` was seen."""
        return self._ended

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take bytes as they arrived and return the events for the client.

        Raises:
            UpstreamBroken: the first event or the one with the usage is no JSON object, or an
                event is over 1 MiB.
        """
        if self._ended:
            return []
        events = self._splitter.feed(chunk)
        if not events:
            return events
        if not self._started and not is_done(events[0]):
            self._started = True
            self._model = read_answer(event_data(events[0])).model
        octets = b"".join(events)
        start = _find_telling(octets)
        if start < 0:
            return events
        # An event has a blank line at its end and nowhere else, so blank lines count events.
        plain = octets.count(b"\n\n", 0, start)
        shown = events[:plain]
        for event in events[plain:]:
            if is_done(event):
                self._ended = True
                break
            if _counted(event) is None or self._shows(event):
                shown.append(event)
        return shown

    def finish(self) -> list[bytes]:
        """Take note of the clean end of the provider's body.

        An unfinished event is dropped, as the standard says, but a `[DONE]` without its blank line
        counts as the end that it is.
        """
        self._ended = self._ended or is_done(self._splitter.rest())
        return []

    def _shows(self, event: bytes) -> bool:
        """Read a chunk with a usage and say whether the client gets it."""
        answer = read_answer(event_data(event))
        usage = answer.counted()
        if usage is None:
            return True
        self._usage = usage
        self._model = answer.model or self._model
        return self._shows_usage or answer.choices is None or len(answer.choices) > 0


def _find_telling(events: bytes) -> int:
    """Return where something stands that may be the end marker or a usage that is not null, or -1.

    All events are searched at once: most have neither.
    """
    done, usage = events.find(b"[DONE]"), events.find(b'"usage"')
    if usage >= 0:
        counted = _counted(events, usage)
        usage = counted.start() if counted is not None else -1
    return max(done, usage) if done < 0 or usage < 0 else min(done, usage)


def wants_usage(body: JsonBody) -> bool:
    """Say whether the client itself asked for the usage chunk of a stream."""
    options = body.members.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _usage_asked_for(body: JsonBody) -> dict[str, str]:
    """Return the splice that makes the provider count, keeping the client's other options."""
    options = body.members.get("stream_options")
    if options is None:
        return {"stream_options": '{"include_usage":true}'}
    if not isinstance(options, dict):
        raise MalformedRequest("`stream_options` must be an object")
    start, end = body.spans["stream_options"]
    inner = parse_object(body.text[start:end].encode())
    if inner.flag("include_usage"):
        return {}
    return {"stream_options": inner.spliced({"include_usage": "true"}).decode()}


class _CachedTokens(msgspec.Struct):
    cached_tokens: TokenCount | None = None


class _Counted(msgspec.Struct):
    prompt_tokens: TokenCount | None = None
    completion_tokens: TokenCount | None = None
    prompt_tokens_details: _CachedTokens | None = None


class Answer(msgspec.Struct):
    """The part of a completion, an embedding or a chunk that the gateway reads.

    Args:
        model: the model that answered; empty if it is not named.
        usage: tokens as counted, None if there are none.
        choices: how many there are matters, not what they hold; None if there is no list.
    """

    model: str = ""
    usage: _Counted | None = None
    choices: list[msgspec.Raw] | None = None

    def counted(self) -> Usage | None:
        """Return the usage, or None if the provider did not count the input."""
        usage = self.usage
        if usage is None or usage.prompt_tokens is None:
            return None
        details = usage.prompt_tokens_details
        cached = details.cached_tokens if details is not None else None
        return Usage(usage.prompt_tokens, usage.completion_tokens or 0, cached or 0)


class _LooseAnswer(msgspec.Struct):
    """The same with members of any type, for providers that get one of them wrong."""

    model: msgspec.Raw = msgspec.Raw(b'""')
    usage: msgspec.Raw = msgspec.Raw(b"null")
    choices: msgspec.Raw = msgspec.Raw(b"null")


_answers = msgspec.json.Decoder(Answer)
_loose_answers = msgspec.json.Decoder(_LooseAnswer)


def read_answer(data: bytes) -> Answer:
    """Read model and usage, forgiving a member of the wrong type as if it were missing.

    Args:
        data: JSON octets of a completion, an embedding list or a chunk.

    Raises:
        UpstreamBroken: not a JSON object.
    """
    try:
        return _answers.decode(data)
    except msgspec.ValidationError:
        return _read_loosely(data)
    except UNREADABLE as error:
        raise UpstreamBroken("the provider's answer is not JSON") from error


def _read_loosely(data: bytes) -> Answer:
    try:
        loose = _loose_answers.decode(data)
    except UNREADABLE as error:
        raise UpstreamBroken("the provider's answer is not a JSON object") from error
    answer = Answer()
    for name, member in (
        ("model", loose.model),
        ("usage", loose.usage),
        ("choices", loose.choices),
    ):
        try:
            one = _answers.decode(b'{"%s":%s}' % (name.encode(), bytes(member)))
        except UNREADABLE:
            continue
        answer = msgspec.structs.replace(answer, **{name: getattr(one, name)})
    return answer
