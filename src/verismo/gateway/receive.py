"""Step 1, receive: one whole HTTP request within its limits of size and time.

Nothing here knows who asks, so nothing here is signed; what fails is counted (decisions 15).
"""

import asyncio
import ipaddress
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import msgspec

from verismo.model.errors import (
    BodyTooLarge,
    HeadersTooLarge,
    MalformedRequest,
    RequestTimeout,
)
from verismo.model.limits import Limits
from verismo.model.traffic import Request

# ASGI's own types are untyped mappings; they end in this module and in `app`.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_WHOLE_BODY = "verismo.whole_body"
"""The server's ASGI extension; its `take` returns the body if all of it is here, else None."""

_ONCE = frozenset({"authorization", "content-type", "attest-nonce", "x-api-key", "api-key"})
_ONCE_PREFIX = "mcp-"
"""MCP's headers repeat the body: of two, a proxy and we could believe different ones."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z").match

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ClientGone(Exception):
    """The client left before its request was whole; nobody is left to be answered."""


class Head(msgspec.Struct, frozen=True):
    """The head of a request: enough to find the way and the caller, before any body is taken.

    Args:
        method: upper case.
        path: as it was sent, percent-encoding kept, without the query.
        query: the raw query string, without the question mark.
        headers: by lower-case name; of repeated headers the last.
        request_id: the caller's if it is a plain one, else a new one.
        peer: the client's address, behind trusted proxies the one they name.
        received_ms: Unix ms; the one wall clock reading of this request.
    """

    method: str
    path: str
    query: bytes
    headers: dict[str, str]
    request_id: str
    peer: str
    received_ms: int


def read_head(scope: Scope, limits: Limits, trusted: Sequence[Network], now_ms: int) -> Head:
    """Read a request's head.

    Args:
        scope: the ASGI scope.
        limits: size of the headers.
        trusted: networks of the proxies whose `x-forwarded-for` is believed.
        now_ms: Unix ms.

    Raises:
        HeadersTooLarge: all headers together are over the limit.
        MalformedRequest: a header that decides who asks or what for stands twice.
    """
    headers = _headers(scope, limits)
    client = scope.get("client")
    peer = client[0] if client else ""
    given = headers.get("x-request-id", "")
    return Head(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"],
        headers=headers,
        request_id=given if _REQUEST_ID(given) else new_request_id(),
        peer=client_address(peer, headers, trusted) if trusted else peer,
        received_ms=now_ms,
    )


def new_request_id() -> str:
    """Return a fresh `x-request-id`."""
    return os.urandom(12).hex()


def _headers(scope: Scope, limits: Limits) -> dict[str, str]:
    headers: dict[str, str] = {}
    octets = 0
    for raw_name, raw_value in scope["headers"]:
        octets += len(raw_name) + len(raw_value)
        name = raw_name.decode("latin-1")
        if name in headers and (name in _ONCE or name.startswith(_ONCE_PREFIX)):
            raise MalformedRequest(f"the header {name} stands twice")
        headers[name] = raw_value.decode("latin-1")
    if octets > limits.header_bytes_max:
        raise HeadersTooLarge(f"the headers have {octets} bytes")
    return headers


def body_at_hand(scope: Scope) -> bytes | None:
    """Return a request's body if all of it came together with its head, else None."""
    extensions = scope.get("extensions")
    if not extensions or _WHOLE_BODY not in extensions:
        return None
    body: bytes | None = extensions[_WHOLE_BODY]["take"]()
    return body


async def receive_request(
    head: Head, body: bytes | None, receive: Receive, limits: Limits, body_bytes_max: int
) -> Request:
    """Receive the body and return the request whole.

    Args:
        head: from `read_head`.
        body: from `body_at_hand`; None if it is still to come.
        receive: gives the body's pieces.
        limits: how long the body may take.
        body_bytes_max: how long it may be.

    Raises:
        BodyTooLarge: over the limit, by its own word or in fact.
        RequestTimeout: it did not arrive in time.
        ClientGone: the connection ended first.
    """
    declared = head.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > body_bytes_max:
        raise BodyTooLarge(f"the body has {declared[:20]} bytes; the limit is {body_bytes_max}")
    if body is None:
        body = await _receive_body(receive, limits, body_bytes_max)
    elif len(body) > body_bytes_max:
        raise BodyTooLarge(f"the limit is {body_bytes_max} bytes")
    return Request(
        method=head.method,
        path=head.path,
        query=head.query,
        headers=head.headers,
        body=body,
        received_ms=head.received_ms,
        request_id=head.request_id,
        peer=head.peer,
    )


async def _receive_body(receive: Receive, limits: Limits, body_bytes_max: int) -> bytes:
    pieces: list[bytes] = []
    octets = 0
    try:
        async with asyncio.timeout(limits.request_ms_max / 1_000):
            while True:
                message = await receive()
                piece = _piece(message)
                octets += len(piece)
                if octets > body_bytes_max:
                    raise BodyTooLarge(f"the limit is {body_bytes_max} bytes")
                if not message.get("more_body", False):
                    return piece if not pieces else b"".join((*pieces, piece))
                pieces.append(piece)
    except TimeoutError as error:
        raise RequestTimeout("the request body did not arrive in time") from error


def _piece(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    piece: bytes = message.get("body", b"")
    return piece


def client_address(peer: str, headers: dict[str, str], trusted: Sequence[Network]) -> str:
    """Return who the client is: the peer, or the address that trusted proxies name for it.

    Args:
        peer: address of the connection's other end.
        headers: `x-forwarded-for` is read only if the peer is a trusted proxy.
        trusted: networks of the proxies.

    Returns:
        The right-most address that is not itself a trusted proxy: everything to its left could
        have been written by the client.
    """
    if not trusted or not _is_trusted(peer, trusted):
        return peer
    for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
        address = hop.strip()
        if address and not _is_trusted(address, trusted):
            return address
    return peer


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in trusted)
