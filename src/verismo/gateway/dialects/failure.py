"""Failures of a provider in OpenAI's error shape.

A provider's own explanation is kept where it is one, because the caller has to mend its request by
it. The exception is a refused credential: that is the gateway's and not the caller's, and such
texts quote parts of it.
"""

import msgspec

from verismo.gateway.dialects.dialect import Inbound
from verismo.model.errors import UpstreamBroken, UpstreamFailed

JSON_MEDIA = "application/json"
ERROR_TYPE_DEFAULT = "upstream_error"
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises for bytes that are not the JSON that was expected."""
EXPLANATION_CHARACTERS_MAX = 2_000
"""Of a provider's explanation; it stands in the body more than once."""


class _ErrorMember(msgspec.Struct):
    message: str


class _OpenAiShape(msgspec.Struct):
    error: _ErrorMember


class _OtherShape(msgspec.Struct):
    """What other servers write: `message` or `detail` at the top, or `error` as a text."""

    message: str = ""
    detail: str = ""
    error: str = ""


class _Error(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class _ErrorBody(msgspec.Struct):
    error: _Error


_openai_shape = msgspec.json.Decoder(_OpenAiShape)
_other_shape = msgspec.json.Decoder(_OtherShape)


def is_success(status: int) -> bool:
    """Say whether a status is a success."""
    return 200 <= status <= 299


def check_status(status: int) -> None:
    """Refuse a status that is neither a success nor an error.

    Raises:
        UpstreamBroken: 1xx, 3xx (redirects are not followed) or no HTTP status at all.
    """
    if not is_success(status) and not 400 <= status <= 599:
        raise UpstreamBroken(f"the provider answered with status {status}")


def error_body(message: str, error_type: str, code: str | None) -> bytes:
    """Return an OpenAI error body.

    Args:
        message: for people.
        error_type: OpenAI's class of the error, such as `invalid_request_error`.
        code: stable name of the error, if there is one.
    """
    return msgspec.json.encode(_ErrorBody(_Error(message, error_type, None, code)))


def refused_credential() -> Inbound:
    """Return what a client gets when the provider refused the gateway's credential."""
    body = error_body(
        "the provider refused the gateway's credential; operators: check the provider's key",
        ERROR_TYPE_DEFAULT,
        "upstream_credential_refused",
    )
    return Inbound(status=502, media=JSON_MEDIA, body=body)


def openai_failure(status: int, media: str, body: bytes) -> Inbound:
    """Return the client's answer for an error of an OpenAI-compatible provider.

    Args:
        status: 400 to 599.
        media: content type that the provider named.
        body: what the provider sent; kept if it is an OpenAI error, else a failure of ours.
    """
    if status == 401:
        return refused_credential()
    try:
        _openai_shape.decode(body)
    except UNREADABLE:
        return failed(status, _explanation(status, body))
    return Inbound(status=status, media=media if "json" in media else JSON_MEDIA, body=body)


def failed(status: int, explanation: str) -> Inbound:
    """Return an error that the client's own protocol spells.

    Args:
        status: for the client.
        explanation: the provider's or ours.
    """
    failure = UpstreamFailed(explanation[:EXPLANATION_CHARACTERS_MAX], status=status)
    return Inbound(status=status, media=JSON_MEDIA, body=b"", failure=failure)


def _explanation(status: int, body: bytes) -> str:
    try:
        shape = _other_shape.decode(body)
    except UNREADABLE:
        shape = _OtherShape()
    text = shape.message or shape.detail or shape.error
    return text or f"the provider answered with status {status} and no OpenAI error"
