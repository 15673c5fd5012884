"""The answer to octets that never became a request: no application sees them, so none answers.

The bodies are the application's all the same: whoever makes the server says how it refuses.
"""

import os
from collections.abc import Callable, Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from verismo.model.errors import VerismoError
from verismo.model.traffic import Reply

Refuse = Callable[[VerismoError], Reply]
"""Counts what could not be read, and spells its refusal; called once for each."""


def bare_refusal(error: VerismoError) -> Reply:
    """Return a refusal without a body, for servers whose clients are programs of ours."""
    identifier = os.urandom(12).hex().encode("ascii")
    return Reply(status=error.status, headers=[(b"x-request-id", identifier)])


def refusal_octets(reply: Reply, server_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a refusal as it goes over the wire; the connection is closed after it.

    Args:
        reply: whole.
        server_headers: that every answer of this server has, such as the date.
    """
    headers = [
        *server_headers,
        *reply.headers,
        (b"content-length", b"%d" % len(reply.body)),
        (b"connection", b"close"),
    ]
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return STATUS_LINE[reply.status] + lines + b"\r\n" + reply.body
