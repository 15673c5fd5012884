"""A kept HTTP/1.1 connection on a blocking socket: for one client that asks, waits, asks again."""

import socket
from dataclasses import dataclass
from typing import Self

_READ_BYTES = 262_144
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Answer:
    """An answer; of a chunked one `body` is its chunks as they came."""

    status: int
    body: bytes


class Connection:
    """One connection to a port of this machine.

    Args:
        port: where to.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def message(self, method: str, path: str, body: bytes, key: str) -> bytes:
        """Return a request's octets, so that making them is not measured."""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def ask(self, message: bytes) -> Answer:
        """Send a request and read its answer whole.

        Raises:
            ConnectionError: the other side hung up.
            TimeoutError: it says nothing.
        """
        self._socket.sendall(message)
        received = self._more(b"")
        while (end := received.find(b"\r\n\r\n")) < 0:
            received = self._more(received)
        head = received[:end].lower()
        mark = head.find(b"\r\ncontent-length:")
        if mark < 0:
            while not received.endswith(b"\r\n0\r\n\r\n"):
                received = self._more(received)
            return Answer(int(head[9:12]), received[end + 4 :])
        length = int(head[mark + 17 :].split(b"\r\n", 1)[0])
        while len(received) < end + 4 + length:
            received = self._more(received)
        return Answer(int(head[9:12]), received[end + 4 :])

    def _more(self, received: bytes) -> bytes:
        data = self._socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionResetError("the gateway closed the connection")
        return received + data
