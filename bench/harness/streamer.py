"""Streams a prebuilt answer to whoever asks, one write for each event: `streamer.py PORT`.

A model gives its words one after another, so an event comes alone; there is no pause between them.
Below /burst all of them come in one write; below /long there are 500, below /paced 500 with 2 ms
between them, below /slow as many as elsewhere with 40 ms between them.
"""

import asyncio
import sys

import uvloop
from bodies import LONG_STREAM_EVENTS, reply_events

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
PACE_S = 0.002
SLOW_PACE_S = 0.04
_HEALTH = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def chunked(events: list[bytes]) -> list[bytes]:
    """Return the writes of a chunked answer: each event a chunk, the head before the first."""
    chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    return [_HEAD + chunks[0], *chunks[1:-1], chunks[-1] + b"0\r\n\r\n"]


class Streamer(asyncio.Protocol):
    """Reads requests by their content-length and answers each with the same octets.

    Args:
        writes: what to send.
        long: what to send below /long and /paced.
    """

    def __init__(self, writes: list[bytes], long: list[bytes]) -> None:
        self._writes = writes
        self._long = long
        self._burst = b"".join(writes)
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            mark = head.find(b"\r\ncontent-length:")
            length = int(head[mark + 17 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
            if len(self._received) < end + 4 + length:
                return
            self._received = self._received[end + 4 + length :]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        if head.startswith(b"get "):
            self._transport.write(_HEALTH)
        elif head.startswith(b"post /burst/"):
            self._transport.write(self._burst)
        elif head.startswith(b"post /long/"):
            self._write_from(self._long, 0)
        elif head.startswith(b"post /paced/"):
            self._write_paced(self._long, PACE_S, self._loop.time(), 0)
        elif head.startswith(b"post /slow/"):
            self._write_paced(self._writes, SLOW_PACE_S, self._loop.time(), 0)
        else:
            self._write_from(self._writes, 0)

    def _write_from(self, writes: list[bytes], index: int) -> None:
        # One turn of the loop for each write: uvloop joins the writes of one turn.
        self._transport.write(writes[index])
        if index + 1 < len(writes):
            self._loop.call_soon(self._write_from, writes, index + 1)

    def _write_paced(self, writes: list[bytes], pace_s: float, begun_s: float, index: int) -> None:
        self._transport.write(writes[index])
        if index + 1 < len(writes):
            due_s = begun_s + (index + 1) * pace_s
            self._loop.call_at(due_s, self._write_paced, writes, pace_s, begun_s, index + 1)


async def _serve(port: int) -> None:
    writes, long = chunked(reply_events()), chunked(reply_events(LONG_STREAM_EVENTS))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Streamer(writes, long), "127.0.0.1", port, backlog=4_096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
