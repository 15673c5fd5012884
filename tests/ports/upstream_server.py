"""A provider on a raw socket that can misbehave byte by byte.

A script is a coroutine function that is handed each accepted connection; it reads requests with
`Connection.request` and sends whatever bytes it likes. The server counts connections and requests,
so that a test can prove reuse, breaking off and the absence of leaks.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

WAIT_S = 30.0
"""How long a test waits for something that must happen before it fails."""


@dataclass(frozen=True)
class Received:
    """One request as it arrived: the request line, lower-case header pairs and the body."""

    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


class Connection:
    """One accepted connection, as a script sees it."""

    def __init__(
        self,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: "UpstreamServer",
    ) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self._server = server

    async def request(self) -> Received | None:
        """Read one request; None when the client has closed the connection."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        line, *rest = head[:-4].decode("latin-1").split("\r\n")
        pairs = (text.partition(":") for text in rest)
        headers = tuple((name.lower(), value.strip()) for name, _, value in pairs)
        length = next((int(value) for name, value in headers if name == "content-length"), 0)
        body = await self.reader.readexactly(length)
        received = Received(line, headers, body, self.number)
        async with self._server.changed:
            self._server.requests.append(received)
            self._server.changed.notify_all()
        return received

    async def send(self, data: bytes) -> None:
        """Send bytes and wait until the socket has taken them."""
        self.writer.write(data)
        await self.writer.drain()

    async def trickle(self, data: bytes, size: int = 1) -> None:
        """Send bytes in many small segments, letting the client run between them."""
        for start in range(0, len(data), size):
            await self.send(data[start : start + size])
            await asyncio.sleep(0)

    async def gone(self) -> None:
        """Wait until the client has closed or reset the connection."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass

    def reset(self) -> None:
        """Break the connection with a TCP RST."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        """Close the connection in order (FIN)."""
        self.writer.close()


Script = Callable[[Connection], Awaitable[None]]


@dataclass
class UpstreamServer:
    """What a test sees of the server."""

    url: str = ""
    port: int = 0
    accepted: int = 0
    open: int = 0
    requests: list[Received] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, condition: Callable[["UpstreamServer"], bool]) -> None:
        """Wait until a condition on the counters holds; fails after `WAIT_S`."""
        async with asyncio.timeout(WAIT_S), self.changed:
            await self.changed.wait_for(lambda: condition(self))


def answering(*answers: bytes) -> Script:
    """Return a script: each request gets the next answer, the last one for ever; no closing."""
    left = list(answers)

    async def script(connection: Connection) -> None:
        while await connection.request() is not None:
            await connection.send(left.pop(0) if len(left) > 1 else left[0])

    return script


def closing(answer: bytes) -> Script:
    """Return a script: each connection's first request gets the answer, then an orderly close."""

    async def script(connection: Connection) -> None:
        if await connection.request() is not None:
            await connection.send(answer)

    return script


async def shut(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever state the client left it in."""
    with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
        writer.close()
        async with asyncio.timeout(WAIT_S):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(
    script: Script, tls: ssl.SSLContext | None = None
) -> AsyncIterator[UpstreamServer]:
    """Serve a script on 127.0.0.1 and a port of the system's choice."""
    state = UpstreamServer()
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        state.accepted += 1
        state.open += 1
        try:
            await script(Connection(state.accepted, reader, writer, state))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went or the test is over: tests look at the counters
        finally:
            tasks.discard(task)
            await shut(writer)
            state.open -= 1
            async with state.changed:
                state.changed.notify_all()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    state.port = server.sockets[0].getsockname()[1]
    state.url = f"{'https' if tls else 'http'}://127.0.0.1:{state.port}"
    try:
        yield state
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """Yield a port whose listener never accepts and whose queue is full: connecting hangs."""
    listener = socket.socket()
    fillers: list[socket.socket] = []
    try:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        yield listener.getsockname()[1]
    finally:
        for one in (*fillers, listener):
            one.close()


@contextlib.contextmanager
def refused_port() -> Iterator[int]:
    """Yield a port on which nothing listens; it stays bound, so nobody else can take it."""
    holder = socket.socket()
    try:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
    finally:
        holder.close()
