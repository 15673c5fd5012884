"""Open-loop load: requests are due at a fixed rate, whether or not earlier ones are answered."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness import results
from harness.percentiles import percentile
from harness.table import Value

CONNECTIONS = 32
"""Enough for answers of up to 64 ms at 500/s; a request that waits for one has its wait counted."""


@dataclass
class Paced:
    """What was measured.

    Args:
        connections: kept ones.
        seconds: from the first due time to the last answer.
        failed: not answered 200 with the wanted octets.
        times_ms: of the others, from the moment when each was due.
    """

    connections: int
    seconds: float = 0.0
    failed: int = 0
    times_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class OpenLoop:
    """Asks at a rate.

    Args:
        port: on this machine.
        path: where bodies are posted to.
        rate_per_s: how many are due each second.
        wanted: octets that a right answer has in it.
        headers: further header lines, each with its line end.
    """

    port: int
    path: str
    rate_per_s: int
    wanted: bytes
    headers: str = ""

    async def run(self, bodies: Sequence[bytes], seconds: int) -> Paced:
        """Post bodies in turn for a time and wait for every answer."""
        return await self._send(
            [self._message("POST", self.path, body) for body in bodies], seconds
        )

    async def run_reads(self, paths: Sequence[str], seconds: int) -> Paced:
        """Get paths in turn for a time and wait for every answer."""
        return await self._send([self._message("GET", path, b"") for path in paths], seconds)

    async def _send(self, messages: Sequence[bytes], seconds: int) -> Paced:
        loop = asyncio.get_running_loop()
        paced = Paced(connections=CONNECTIONS)
        idle: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()
        for _ in range(CONNECTIONS):
            streams = await asyncio.open_connection("127.0.0.1", self.port)
            idle.put_nowait(_Connection(*streams))
        begun_s = loop.time()
        async with asyncio.TaskGroup() as tasks:
            for number in range(seconds * self.rate_per_s):
                due_s = begun_s + number / self.rate_per_s
                await asyncio.sleep(max(0.0, due_s - loop.time()))
                message = messages[number % len(messages)]
                tasks.create_task(self._ask(idle, message, due_s, paced))
        paced.seconds = loop.time() - begun_s
        while not idle.empty():
            idle.get_nowait().writer.close()
        return paced

    async def _ask(
        self, idle: "asyncio.LifoQueue[_Connection]", message: bytes, due_s: float, paced: Paced
    ) -> None:
        connection = await idle.get()
        status, body = await connection.ask(message)
        if status == 200 and self.wanted in body:
            paced.times_ms.append((asyncio.get_running_loop().time() - due_s) * 1e3)
        else:
            paced.failed += 1
        idle.put_nowait(connection)

    def _message(self, method: str, path: str, body: bytes) -> bytes:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Content-Type: application/json\r\n{self.headers}Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(frozen=True)
class _Connection:
    """A kept connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, message: bytes) -> tuple[int, bytes]:
        """Send a request and read its answer, which has a content-length."""
        self.writer.write(message)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0])
        return int(head[9:12]), await self.reader.readexactly(length)


def paced_row(name: str, paced: Paced) -> dict[str, Value]:
    """Return a result's row: how many were answered, and percentiles; a flag if one was not."""
    row: dict[str, Value] = {
        "name": name,
        "connections": paced.connections,
        "requests": len(paced.times_ms),
        "requests_per_s": None,
    }
    if paced.failed:
        return row | {"flag": f"{paced.failed} failed"}
    row["requests_per_s"] = results.rounded(len(paced.times_ms) / paced.seconds)
    for percent in (50, 95, 99):
        row[f"p{percent}_ms"] = results.rounded(percentile(paced.times_ms, percent))
    return row
