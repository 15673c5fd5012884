"""Streams a prebuilt answer, all events in one write, to whoever asks: `streamer.py PORT`."""

import asyncio
import sys

import uvloop
from bodies import reply_events

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
_HEALTH = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def chunked(events: list[bytes]) -> bytes:
    """Return a chunked answer with one chunk for each event."""
    chunks = (b"%x\r\n%b\r\n" % (len(event), event) for event in events)
    return _HEAD + b"".join(chunks) + b"0\r\n\r\n"


class Streamer(asyncio.Protocol):
    """Reads requests by their content-length and answers each with the same octets.

    Args:
        answer: what to send.
    """

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            mark = head.find(b"\r\ncontent-length:")
            length = int(head[mark + 17 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
            if len(self._received) < end + 4 + length:
                return
            self._received = self._received[end + 4 + length :]
            self._transport.write(_HEALTH if head.startswith(b"get ") else self._answer)


async def _serve(port: int) -> None:
    answer = chunked(reply_events())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Streamer(answer), "127.0.0.1", port, backlog=4_096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
