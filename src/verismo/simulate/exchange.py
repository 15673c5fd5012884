"""One HTTP exchange, the simulator's side: read, pause, write, notice when the client leaves."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping

CLOSE = "verismo.close"
"""Member of the ASGI scope that holds a function closing the connection after what was written."""

Scope = MutableMapping[str, object]
Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]


class ClientGone(Exception):
    """The client closed the connection before its answer had ended."""


class BodyTooLarge(Exception):
    """The request's body is over the simulator's limit."""


class Exchange:
    """An ASGI request and its answer.

    Args:
        scope: of type `http`.
        receive: ASGI.
        send: ASGI.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._watch: asyncio.Task[None] | None = None

    def text(self, name: str) -> str:
        """Return a text or ASCII member of the scope, or an empty text."""
        value = self._scope.get(name, "")
        if isinstance(value, bytes):
            return value.decode("latin-1")
        return value if isinstance(value, str) else ""

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the request's headers in order, names in lower case."""
        raw = self._scope["headers"]
        if not isinstance(raw, list):
            raise TypeError("ASGI headers must be a list")
        return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw)

    async def read(self, bytes_max: int) -> bytes:
        """Read the whole body.

        Raises:
            ClientGone: it left while sending.
            BodyTooLarge: more than `bytes_max` octets came.
        """
        pieces: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await self._receive()
            pieces.append(_body_of(message))
            size += len(pieces[-1])
            if size > bytes_max:
                raise BodyTooLarge(f"the body is over {bytes_max} octets")
            more = bool(message.get("more_body"))
        return b"".join(pieces)

    async def pause(self, duration_ms: float) -> None:
        """Let time pass; with 0 only let other exchanges run.

        Raises:
            ClientGone: the client left meanwhile.
        """
        watch = self._watching()
        if duration_ms > 0:
            await asyncio.wait({watch}, timeout=duration_ms / 1000)
        else:
            await asyncio.sleep(0)
        if watch.done():
            raise ClientGone

    async def hold(self) -> None:
        """Send nothing until the client leaves.

        Raises:
            ClientGone: always, in the end.
        """
        await asyncio.wait({self._watching()})
        raise ClientGone

    async def start(self, status: int, headers: RawHeaders) -> None:
        """Send status and headers; without a content length the body is sent in chunks."""
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes, *, more: bool) -> None:
        """Send part of the body."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def close(self) -> None:
        """Close the connection once what was written is sent, and wait until it is closed."""
        close = self._scope.get(CLOSE)
        if callable(close):
            close()
            await asyncio.wait({self._watching()})

    def release(self) -> None:
        """End the watch; call it last."""
        if self._watch is not None:
            self._watch.cancel()

    def _watching(self) -> asyncio.Task[None]:
        if self._watch is None:
            self._watch = asyncio.create_task(self._until_gone())
        return self._watch

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _body_of(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    body = message.get("body", b"")
    return body if isinstance(body, bytes) else b""
