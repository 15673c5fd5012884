"""What a verifying transport does with one request, for synchronous and asynchronous callers alike.

The conversation awaits a `Wire`. Behind an asynchronous client the wire really waits; behind a
synchronous one its methods never suspend, so `run` takes the conversation to its end in one step.
There is one text of the logic, and no thread and no event loop is started for it.
"""

from collections.abc import Callable, Coroutine, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

import httpx2

from verismo.attest.headers import ATTEST_NONCE
from verismo.attest.report import Report, SeenRequest
from verismo.client.errors import ForeignAddress, KeysUnavailable, VerificationFailed
from verismo.client.keyring import DOCUMENT_BYTES_MAX, KeyRing
from verismo.client.session import Session, opening_kid
from verismo.client.settings import Gateway
from verismo.client.site import Place, Site

OnReport = Callable[[Report, httpx2.Request], None]
"""Told the verdict on each answer of the gateway, once; called from whichever thread reads it."""

REPORT = "verismo.report"
EXCHANGE = "verismo.exchange"
FETCH_TIMEOUT_S = 10.0

T = TypeVar("T")


class Chunks(Protocol):
    """The body of an open answer, content coding removed."""

    async def next(self) -> bytes | None:
        """Return the next octets, None at the end; raises what httpx2 raises."""
        ...

    async def close(self) -> None:
        """Give the connection back or break it off. Calling it twice is allowed."""
        ...


class Wire(Protocol):
    """The one thing that differs between synchronous and asynchronous callers."""

    async def body(self, request: httpx2.Request) -> bytes:
        """Return the request's body, read whole."""
        ...

    async def send(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and return the answer with its body unread."""
        ...

    def chunks(self, response: httpx2.Response) -> Chunks:
        """Return the answer's body."""
        ...

    def stream(self, reader: "StreamReader") -> httpx2.SyncByteStream | httpx2.AsyncByteStream:
        """Return what the client reads a verified stream from."""
        ...

    def renewing(self) -> AbstractAsyncContextManager[None]:
        """Let one renewal of the keys run at a time; the others wait for it."""
        ...


def run(conversation: Coroutine[None, None, T]) -> T:
    """Take a conversation over a wire that never suspends to its end."""
    try:
        conversation.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    conversation.close()
    raise RuntimeError("a synchronous wire has suspended")


class Conversation:
    """Sends requests to one gateway and verifies its answers. Safe for concurrent use.

    Args:
        gateway: what is trusted and demanded.
        on_report: told each verdict; what it raises reaches the application.

    Raises:
        ConfigError: the address or the keys cannot be used.
    """

    def __init__(self, gateway: Gateway, on_report: OnReport | None) -> None:
        self._gateway = gateway
        self._site = Site(gateway.base_url)
        self._ring = KeyRing(gateway.keys, self._site.jwks_url)
        self._on_report = on_report

    async def converse(self, wire: Wire, request: httpx2.Request) -> httpx2.Response:
        """Send a request and return its answer, verified or to be verified as it is read.

        Raises:
            VerificationFailed: the answer is refused.
            KeysUnavailable: no key set; nothing was sent.
            ForeignAddress: the request is not for the gateway; nothing was sent.
            httpx2.TransportError: the connection failed.
        """
        place = self._site.place(request.method, request.url)
        if place.kind == "elsewhere" and self._gateway.on_verdict.elsewhere == "refuse":
            raise ForeignAddress(f"{request.url.copy_with(query=None)} is not the gateway")
        if place.kind != "proven":
            return await wire.send(request)
        body = await wire.body(request)
        await self._renew_due(wire)  # before sending: an answer that nobody can verify costs money
        session = self._open(request, place, body)
        response = await wire.send(request)
        chunks = wire.chunks(response)
        way = session.arrive(response.status_code, response.headers.multi_items())
        try:
            if way == "stream":
                return await self._stream(wire, session, request, response, chunks)
            if way == "whole":
                return await self._whole(wire, session, request, response, chunks)
            self._settle(session, request, response)
            return response
        except BaseException:
            await chunks.close()
            raise

    def _open(self, request: httpx2.Request, place: Place, body: bytes) -> Session:
        nonce = self._gateway.nonces()
        request.headers[ATTEST_NONCE] = nonce
        # What is signed is the decoded body. Decoding is done below for those who code it all the
        # same; asking for none leaves one thing less between the signature and the application.
        request.headers["accept-encoding"] = "identity"
        return Session(
            self._gateway, SeenRequest(request.method, place.path, place.query, body), nonce
        )

    async def _whole(
        self,
        wire: Wire,
        session: Session,
        request: httpx2.Request,
        response: httpx2.Response,
        chunks: Chunks,
    ) -> httpx2.Response:
        body = await _read(chunks, self._gateway.body_bytes_max)
        await self._renew_for(wire, session.kid)
        session.judge(self._ring.verifier, body)
        verified = httpx2.Response(
            response.status_code,
            headers=list(session.headers),
            content=body,
            extensions=response.extensions,
        )
        self._settle(session, request, verified)
        return verified

    async def _stream(
        self,
        wire: Wire,
        session: Session,
        request: httpx2.Request,
        response: httpx2.Response,
        chunks: Chunks,
    ) -> httpx2.Response:
        """Wait for the first signed head, which a gateway sends at once: it names the key."""
        opening = b""
        while (kid := opening_kid(opening)) is None:
            data = await chunks.next()
            if data is None:
                kid = ""
                break
            opening += data
        await self._renew_for(wire, kid)
        session.begin(self._ring.verifier)
        reader = StreamReader(session, chunks, opening)
        verified = httpx2.Response(
            response.status_code,
            headers=list(session.headers),
            stream=wire.stream(reader),
            extensions=response.extensions,
        )
        jwks, extensions = self._ring.document, verified.extensions
        reader.settle_with(lambda: self._report(session, request, extensions, jwks))
        return verified

    def _settle(self, session: Session, request: httpx2.Request, response: httpx2.Response) -> None:
        self._report(session, request, response.extensions, self._ring.document)
        refusal = session.refusal()
        if refusal is not None:
            raise refusal

    def _report(
        self,
        session: Session,
        request: httpx2.Request,
        extensions: MutableMapping[str, object],
        jwks: bytes,
    ) -> None:
        """Hand the verdict out: beside the answer, and to who wants to be told."""
        report = session.report
        extensions[REPORT] = report
        exchange = session.exchange(jwks)
        if exchange is not None:
            extensions[EXCHANGE] = exchange
        if self._on_report is not None:
            self._on_report(report, request)

    async def _renew_due(self, wire: Wire) -> None:
        if not self._ring.is_due(self._gateway.clock_ms()):
            return
        async with wire.renewing():
            now_ms = self._gateway.clock_ms()
            if self._ring.is_due(now_ms):  # else another request has just done it
                await self._fetch(wire, now_ms)

    async def _renew_for(self, wire: Wire, kid: str) -> None:
        """Fetch the set again for a key that it lacks, if the cooldown lets it."""
        if not kid or self._ring.knows(kid):
            return
        async with wire.renewing():
            now_ms = self._gateway.clock_ms()
            if self._ring.knows(kid) or not self._ring.may_renew(now_ms):
                return
            try:
                await self._fetch(wire, now_ms)
            except (httpx2.HTTPError, KeysUnavailable):
                # The answer is here and was paid for: as a connection error the SDK would ask for
                # it again. The set in use stays, and the answer is INVALID by check 3.
                return

    async def _fetch(self, wire: Wire, now_ms: int) -> None:
        request = httpx2.Request(
            "GET",
            self._ring.url,
            headers={"accept-encoding": "identity"},
            extensions={"timeout": httpx2.Timeout(FETCH_TIMEOUT_S).as_dict()},
        )
        response = await wire.send(request)
        chunks = wire.chunks(response)
        try:
            document = await _read(chunks, DOCUMENT_BYTES_MAX)
        finally:
            await chunks.close()
        if len(document) > DOCUMENT_BYTES_MAX:
            raise KeysUnavailable(f"{self._ring.url}: longer than {DOCUMENT_BYTES_MAX} octets")
        control = response.headers.get("cache-control", "")
        self._ring.store(response.status_code, control, document, now_ms)


class StreamReader:
    """Reads one verified stream: what `next` returns may be used.

    Args:
        session: begun.
        chunks: the rest of the body.
        opening: what was read of it already.
    """

    def __init__(self, session: Session, chunks: Chunks, opening: bytes) -> None:
        self._session = session
        self._chunks = chunks
        self._opening = opening
        self._report: Callable[[], None] = _nobody
        self._failure: VerificationFailed | None = None
        self._is_judged = False

    def settle_with(self, report: Callable[[], None]) -> None:
        """Set what is called when the verdict is there."""
        self._report = report

    async def next(self) -> bytes | None:
        """Return proven events, or None at the end.

        Raises:
            VerificationFailed: the stream is refused from here on.
            httpx2.TransportError: it broke off and `prefix` is `pass`, or it timed out.
        """
        while not self._is_judged:
            if released := await self._advance():
                return released
        if self._failure is not None:
            raise self._failure
        return None

    async def close(self) -> None:
        """End the reading. A stream that was left early is judged by what was seen; no error."""
        try:
            self._judge()
        finally:
            await self._chunks.close()

    async def _advance(self) -> bytes:
        data: bytes | None
        data, self._opening = self._opening, b""
        try:
            if not data:
                data = await self._chunks.next()
        except httpx2.TimeoutException:
            self._judge()
            raise
        except httpx2.TransportError as error:
            # A gateway that cannot seal the end breaks the connection off: a cut, not a failure
            # of the network that sending the request again would mend.
            self._judge()
            if self._failure is None:
                raise
            raise self._failure from error
        if data is None:
            self._judge()
            return b""
        released = self._session.feed(data)
        if self._session.contradicted:
            self._judge()
        return released

    def _judge(self) -> None:
        """Judge and report, once."""
        if self._is_judged:
            return
        self._is_judged = True
        self._session.finish()
        self._failure = self._session.refusal()
        self._report()


async def _read(chunks: Chunks, octets_max: int) -> bytes:
    """Read a body to its end, or until it is over the limit."""
    body = bytearray()
    while len(body) <= octets_max and (data := await chunks.next()) is not None:
        body += data
    return bytes(body)


def _nobody() -> None:
    """Nobody is told."""
