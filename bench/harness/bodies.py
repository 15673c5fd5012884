"""The octets that are sent and answered: one size in every gateway, whatever the model's name."""

import json

SMALL_BYTES = 330
PROMPT87K_BYTES = 87_000
REPLY_BYTES = 600
STREAM_EVENTS = 50
LONG_STREAM_EVENTS = 500
MODEL = "gpt-4o-mini"

_TEXT = "The quick brown fox jumps over the lazy dog while the attesting gateway signs. "


def request_body(model: str, size_bytes: int, *, stream: bool = False) -> bytes:
    """Return a chat request of exactly some size.

    Args:
        model: what to ask for.
        size_bytes: of the whole body.
        stream: whether to ask for events, and for the usage at their end.
    """
    asked: dict[str, object] = {"model": model, "temperature": 0}
    if stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    messages = [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": ""}]
    messages[1]["content"] = _filler(size_bytes - len(json.dumps(asked | {"messages": messages})))
    return json.dumps(asked | {"messages": messages}).encode()


def reply_body() -> bytes:
    """Return the upstream's whole answer, of exactly REPLY_BYTES."""
    answer = {
        "id": "chatcmpl-bench000000000000000000000",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 64, "completion_tokens": 48, "total_tokens": 112},
        "system_fingerprint": "fp_bench",
    }
    answer["choices"][0]["message"]["content"] = _filler(REPLY_BYTES - len(json.dumps(answer)))
    return json.dumps(answer).encode()


def reply_events(events: int = STREAM_EVENTS) -> list[bytes]:
    """Return the upstream's streamed answer: so many events, the usage last, then [DONE]."""
    deltas = [_event({"delta": {"role": "assistant", "content": ""}})]
    deltas += [_event({"delta": {"content": f" word{n}"}}) for n in range(events - 3)]
    deltas.append(_event({"delta": {}}, finish="stop"))
    usage = {"prompt_tokens": 64, "completion_tokens": 47, "total_tokens": 111}
    return [*deltas, _event(None, usage=usage), b"data: [DONE]\n\n"]


def _event(choice: dict[str, object] | None, finish: str | None = None, **more: object) -> bytes:
    chunk: dict[str, object] = {
        "id": "chatcmpl-bench000000000000000000000",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [] if choice is None else [{"index": 0, **choice, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(chunk | more).encode() + b"\n\n"


def _filler(size_bytes: int) -> str:
    return (_TEXT * (size_bytes // len(_TEXT) + 1))[:size_bytes]
