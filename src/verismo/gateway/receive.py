"""Step 1, receive: one whole HTTP request within its limits of size and time.

Nothing here knows who asks, so nothing here is signed; what fails is counted (decisions 15).
"""

import asyncio
import ipaddress
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

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

_ONCE = frozenset({"authorization", "content-type", "attest-nonce", "x-api-key", "api-key"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z").match

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ClientGone(Exception):
    """The client left before its request was whole; nobody is left to be answered."""


def read_headers(scope: Scope, limits: Limits) -> dict[str, str]:
    """Return the request's headers by lower-case name.

    Raises:
        HeadersTooLarge: all of them together are over the limit.
        MalformedRequest: a header that decides who asks or what for stands twice.
    """
    headers: dict[str, str] = {}
    octets = 0
    for raw_name, raw_value in scope["headers"]:
        octets += len(raw_name) + len(raw_value)
        name = raw_name.decode("latin-1")
        if name in headers and name in _ONCE:
            raise MalformedRequest(f"the header {name} stands twice")
        headers[name] = raw_value.decode("latin-1")
    if octets > limits.header_bytes_max:
        raise HeadersTooLarge(f"the headers have {octets} bytes")
    return headers


def request_id(headers: dict[str, str]) -> str:
    """Return the caller's `x-request-id` if it is a plain one, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID(given) else os.urandom(12).hex()


async def receive_request(
    scope: Scope, receive: Receive, headers: dict[str, str], limits: Limits, now_ms: int
) -> Request:
    """Receive a request whole.

    Args:
        scope: the ASGI scope.
        receive: gives the body's pieces.
        headers: from `read_headers`.
        limits: body size and time.
        now_ms: the one wall clock reading of this request, Unix ms.

    Raises:
        BodyTooLarge: over the limit, by its own word or in fact.
        RequestTimeout: it did not arrive in time.
        ClientGone: the connection ended first.
    """
    limit = limits.request_bytes_max
    declared = headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge(f"the body has {declared} bytes; the limit is {limit}")
    message = await _first_piece(receive, limits)
    body = _piece(message)
    if message.get("more_body", False):
        body = await _rest(receive, body, limits)
    if len(body) > limit:
        raise BodyTooLarge(f"the body has {len(body)} bytes; the limit is {limit}")
    client = scope.get("client")
    return Request(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"],
        headers=headers,
        body=body,
        received_ms=now_ms,
        request_id=request_id(headers),
        peer=client[0] if client else "",
    )


async def _first_piece(receive: Receive, limits: Limits) -> Message:
    try:
        async with asyncio.timeout(limits.request_ms_max / 1_000):
            return await receive()
    except TimeoutError as error:
        raise RequestTimeout("the request body did not arrive in time") from error


async def _rest(receive: Receive, first: bytes, limits: Limits) -> bytes:
    pieces, octets = [first], len(first)
    try:
        async with asyncio.timeout(limits.request_ms_max / 1_000):
            while True:
                message = await receive()
                piece = _piece(message)
                pieces.append(piece)
                octets += len(piece)
                if octets > limits.request_bytes_max:
                    raise BodyTooLarge(f"the limit is {limits.request_bytes_max} bytes")
                if not message.get("more_body", False):
                    return b"".join(pieces)
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
