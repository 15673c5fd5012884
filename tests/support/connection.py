"""Requests as octets, and a client that sends them on a raw socket."""

import asyncio
import socket

from tests.support.gateway import Gateway

CHAT_PATH = "/v1/chat/completions"


def post(
    gateway: Gateway, body: bytes, *lines: str, path: str = CHAT_PATH, length: str = ""
) -> bytes:
    """Return the octets of a request."""
    head = (
        f"POST {path} HTTP/1.1",
        "host: x",
        f"authorization: Bearer {gateway.keys['TENANT_001']}",
        "content-type: application/json",
        *lines,
        length or f"content-length: {len(body)}",
    )
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


class Connection:
    """A client on a raw socket with little room, so that not reading is felt soon."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def __aenter__(self) -> "Connection":
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self.gateway.port))
        self.reader, self.writer = await asyncio.open_connection(sock=client)
        return self

    async def __aexit__(self, *args: object) -> None:
        self.writer.transport.abort()

    async def head(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)

    async def answer(self) -> tuple[bytes, bytes]:
        """Return the head and body of an answer with a content-length."""
        head = await self.head()
        fields = dict(
            line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
        )
        return head, await self.reader.readexactly(int(fields[b"content-length"]))

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 5)
