"""An unsigned pass-through on Verismo's own stack: `passthrough.py PORT WHOLE_PORT STREAM_PORT`.

The same server, event loop and upstream adapter as a worker, and nothing between them: no key, no
policy, no graph, no signature, no journal. What Verismo costs beside it are its duties.
"""

import inspect
import socket
import sys
from collections.abc import Awaitable, Callable

import uvloop

from verismo.adapters.http_uvicorn import HttpServer, ServerSettings
from verismo.model.operation import Timeouts
from verismo.ports.upstream import Upstream, UpstreamCall
from verismo.wiring import worker

Message = dict[str, object]
HEADERS = (("content-type", "application/json"), ("authorization", "Bearer none"))
RESPONSE_BYTES_MAX = 33_554_432


def wired_upstream() -> Upstream:
    """Return an upstream client of the kind that a worker is wired with."""
    for name, kind in vars(worker).items():
        if name.endswith("Upstream") and inspect.isclass(kind) and kind is not Upstream:
            client: Upstream = kind()
            return client
    raise LookupError("verismo.wiring.worker imports no upstream adapter")


class Passthrough:
    """The ASGI application.

    Args:
        whole_port: where requests for whole answers are sent.
        stream_port: where requests for streams are sent.
    """

    def __init__(self, whole_port: int, stream_port: int) -> None:
        self._whole = f"http://127.0.0.1:{whole_port}"
        self._stream = f"http://127.0.0.1:{stream_port}"
        self._upstream = wired_upstream()

    async def __call__(
        self,
        scope: dict[str, str],
        receive: Callable[[], Awaitable[dict[str, bytes]]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), bool(message.get("more_body"))
        call = UpstreamCall(
            method=scope["method"],
            url=(self._stream if b'"stream":' in body[:100] else self._whole) + scope["path"],
            headers=HEADERS,
            body=body,
            timeouts=Timeouts(),
            response_bytes_max=RESPONSE_BYTES_MAX,
        )
        reply = await self._upstream.send(call)
        try:
            media = reply.header("content-type").encode()
            headers = [(b"content-type", media)]
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
            async for chunk in reply.chunks():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        finally:
            await reply.aclose()
        await send({"type": "http.response.body", "body": b""})


async def _serve(port: int, whole_port: int, stream_port: int) -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(2_048)
    settings = ServerSettings(header_bytes_max=65_536, head_s_max=60.0, drain_s_max=1)
    await HttpServer(Passthrough(whole_port, stream_port), settings).serve(listener)


if __name__ == "__main__":
    uvloop.run(_serve(*(int(word) for word in sys.argv[1:4])))
