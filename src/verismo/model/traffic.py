"""What passes through the request path: requests, replies, token usage."""

from collections.abc import AsyncGenerator

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Tokens that a provider says it counted; never an estimate of ours.

    Args:
        input_tokens: tokens of the prompt, cached ones included.
        output_tokens: tokens of the answer, reasoning included; 0 for embeddings.
        cached_input_tokens: the part of the input that the provider read from its cache.
    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0


class Request(msgspec.Struct, frozen=True):
    """One HTTP request, whole.

    Args:
        method: upper case.
        path: as it was sent, percent-encoding kept, without the query.
        query: the raw query string, without the question mark.
        headers: by lower-case name; of repeated headers the last.
        body: octets, content coding removed.
        received_ms: Unix ms; the one wall clock reading of this request.
        request_id: goes into `x-request-id` and the log.
        peer: address of the client, behind trusted proxies the one they name.
    """

    method: str
    path: str
    query: bytes
    headers: dict[str, str]
    body: bytes
    received_ms: int
    request_id: str
    peer: str = ""


class Reply(msgspec.Struct, frozen=True):
    """One HTTP answer.

    Args:
        status: HTTP status.
        headers: raw name (lower case) and value pairs; content-length is the server's.
        body: octets; empty when `events` is set.
        events: for a stream, the blocks to send as they come; its end ends the response, and an
            exception from it breaks the connection off.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    events: AsyncGenerator[bytes, None] | None = None
