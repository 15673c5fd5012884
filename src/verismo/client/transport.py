"""Transports for httpx2 clients, and so for the openai SDK, that verify each answer first.

    gateway = Gateway("https://gate.example", keys=Path("jwks.json").read_bytes())
    client = OpenAI(
        base_url="https://gate.example/v1",
        http_client=httpx2.Client(transport=VerifyingTransport(gateway)),
    )

An answer that is refused raises `VerificationFailed`; `recording.report_of(response)` has the
report on one that is not. Nothing but the gateway's key set is fetched beside what the application
asks for. Clients of the older `httpx` are not served: use an SDK built on httpx2.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType

import httpx2

from verismo.client.conversation import Chunks, Conversation, OnReport, StreamReader, run
from verismo.client.settings import Gateway


class VerifyingTransport(httpx2.BaseTransport):
    """Verifies every answer of one gateway before the application sees it. Thread-safe.

    Args:
        gateway: what is trusted and demanded.
        inner: sends the requests; a plain `HTTPTransport` if None. Closed with this one.
        on_report: told each verdict once, with its request.

    Raises:
        ConfigError: the address or the keys cannot be used.
    """

    def __init__(
        self,
        gateway: Gateway,
        inner: httpx2.BaseTransport | None = None,
        on_report: OnReport | None = None,
    ) -> None:
        self._conversation = Conversation(gateway, on_report)
        self._wire = _SyncWire(httpx2.HTTPTransport() if inner is None else inner)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; see `Conversation.converse` for what it raises."""
        return run(self._conversation.converse(self._wire, request))

    def close(self) -> None:
        """Close the inner transport."""
        self._wire.inner.close()


class AsyncVerifyingTransport(httpx2.AsyncBaseTransport):
    """Verifies every answer of one gateway before the application sees it; for asyncio.

    Args:
        gateway, on_report: as for `VerifyingTransport`; `on_report` is a plain function.
        inner: sends the requests; a plain `AsyncHTTPTransport` if None. Closed with this one.

    Raises:
        ConfigError: the address or the keys cannot be used.
    """

    def __init__(
        self,
        gateway: Gateway,
        inner: httpx2.AsyncBaseTransport | None = None,
        on_report: OnReport | None = None,
    ) -> None:
        self._conversation = Conversation(gateway, on_report)
        self._wire = _AsyncWire(httpx2.AsyncHTTPTransport() if inner is None else inner)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; see `Conversation.converse` for what it raises."""
        return await self._conversation.converse(self._wire, request)

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._wire.inner.aclose()


class _SyncWire:
    """A `Wire` whose methods never suspend."""

    def __init__(self, inner: httpx2.BaseTransport) -> None:
        self.inner = inner
        self._lock = _SyncLock()

    async def body(self, request: httpx2.Request) -> bytes:
        return request.read()

    async def send(self, request: httpx2.Request) -> httpx2.Response:
        return self.inner.handle_request(request)

    def chunks(self, response: httpx2.Response) -> Chunks:
        return _SyncChunks(response)

    def stream(self, reader: StreamReader) -> httpx2.SyncByteStream:
        return _SyncStream(reader)

    def renewing(self) -> AbstractAsyncContextManager[None]:
        return self._lock


class _SyncLock(AbstractAsyncContextManager[None]):
    """A lock between threads, entered in a way that never suspends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    async def __aenter__(self) -> None:
        self._lock.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()


class _SyncChunks:
    """A `Chunks` whose methods never suspend."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._iterator = response.iter_bytes()

    async def next(self) -> bytes | None:
        return next(self._iterator, None)

    async def close(self) -> None:
        self._response.close()


class _SyncStream(httpx2.SyncByteStream):
    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader

    def __iter__(self) -> Iterator[bytes]:
        while (data := run(self._reader.next())) is not None:
            yield data

    def close(self) -> None:
        run(self._reader.close())


class _AsyncWire:
    """A `Wire` that waits."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self.inner = inner
        self._lock = asyncio.Lock()

    async def body(self, request: httpx2.Request) -> bytes:
        return await request.aread()

    async def send(self, request: httpx2.Request) -> httpx2.Response:
        return await self.inner.handle_async_request(request)

    def chunks(self, response: httpx2.Response) -> Chunks:
        return _AsyncChunks(response)

    def stream(self, reader: StreamReader) -> httpx2.AsyncByteStream:
        return _AsyncStream(reader)

    def renewing(self) -> AbstractAsyncContextManager[None]:
        return self._lock


class _AsyncChunks:
    """A `Chunks` that waits."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._iterator = response.aiter_bytes()

    async def next(self) -> bytes | None:
        return await anext(self._iterator, None)

    async def close(self) -> None:
        if isinstance(self._iterator, AsyncGenerator):
            await self._iterator.aclose()
        await self._response.aclose()


class _AsyncStream(httpx2.AsyncByteStream):
    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (data := await self._reader.next()) is not None:
            yield data

    async def aclose(self) -> None:
        await self._reader.close()
