"""Receivers for the SIEM sinks: an HTTP collector and a syslog server, small and strict."""

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping

import msgspec
from tests.support.waiting import until


class Posted(msgspec.Struct, frozen=True):
    """One request to the collector."""

    method: str
    target: str
    headers: dict[str, str]
    lines: tuple[bytes, ...]


Judge = Callable[[Posted], tuple[int, Mapping[str, str]]]
"""Returns status and headers; lines of a 2xx are kept."""


def take_all(_: Posted) -> tuple[int, Mapping[str, str]]:
    return 200, {}


class Listener:
    """A TCP server that can go away and come back at the same port."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._tls, limit=1 << 24
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await until(lambda: not self._writers)
        await self._server.wait_closed()
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self.exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        raise NotImplementedError


class Collector(Listener):
    """Takes NDJSON by POST and gives it back by GET with `since_ms` and `until_ms`."""

    def __init__(self, judge: Judge = take_all, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.judge = judge
        self.answer = b"ok"
        self.kept: list[bytes] = []
        self.posts: list[Posted] = []

    @property
    def url(self) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}/collect"

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        fields = (line.split(":", 1) for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, value in fields}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        posted = Posted(method, target, headers, tuple(body.splitlines()))
        status, extra = self.judge(posted)
        answer = self.answer
        if method == "POST":
            self.posts.append(posted)
            if 200 <= status < 300:
                self.kept += posted.lines
        else:
            answer = b"\n".join(line for line in self.kept if self._is_in(line, target))
        fields = {"content-length": str(len(answer)), **extra}
        text = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {status} x\r\n{text}\r\n".encode() + answer)
        await writer.drain()
        return True

    def _is_in(self, line: bytes, target: str) -> bool:
        since, until = (int(part.split("=")[1]) for part in target.split("?")[1].split("&"))
        return since <= json.loads(line)["time"] < until


class SyslogReceiver(Listener):
    """Takes octet-counted messages over TCP."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.messages: list[bytes] = []

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        count = await reader.readuntil(b" ")
        assert count[:1] != b"0"
        assert count[:-1].isdigit()
        self.messages.append(await reader.readexactly(int(count)))
        return True
