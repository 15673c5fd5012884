"""A small gateway on a socket that really signs, and lets a test stand between it and the client.

Whole answers and streams have the format of the real one, made with the attest core and PyNaCl.
`alter` is the attacker: it gets the honest answer and returns what is sent instead.
"""

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import msgspec
from nacl.signing import SigningKey

from verismo.attest import jws
from verismo.attest.commitment import commit
from verismo.attest.headers import content_digest, proof_headers, stream_headers
from verismo.attest.keys import Jwks, import_key, to_jwk
from verismo.attest.statement import (
    Head,
    Sequence,
    StatedGraph,
    StatedPolicy,
    StatedRequest,
    StatedResponse,
    Statement,
)
from verismo.attest.stream import DONE_EVENT, Chain, signed_comment
from verismo.model import canonical
from verismo.model.ids import prov_id_from

ISSUER = "https://gate.example"
AUDIENCE = "t-4f2a"
WAIT_S = 10.0


class Token:
    """A token key."""

    def __init__(self, seed: int = 1, alg: str = "Ed25519") -> None:
        self._key = SigningKey(bytes([seed]) * 32)
        self.public = import_key(bytes(self._key.verify_key), "token", alg)

    def sign(self, payload: bytes, typ: str) -> str:
        protected = jws.protected_header(self.public.kid, typ, self.public.alg)
        signature = self._key.sign(jws.signing_input(protected, payload)).signature
        return jws.detached(protected, signature)


def jwks(*tokens: Token) -> bytes:
    return msgspec.json.encode(Jwks(tuple(to_jwk(token.public) for token in tokens)))


class Cut:
    """In `pieces`: the connection breaks here."""


class Hold:
    """In `pieces`: nothing more is sent until the client leaves or the test lets go."""


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: bytes
    headers: dict[str, str]
    body: bytes

    @property
    def nonce(self) -> str | None:
        return self.headers.get("attest-nonce")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    pieces: list[object]
    is_chunked: bool = False

    def without(self, *names: bytes) -> "Answer":
        return replace(self, headers=[pair for pair in self.headers if pair[0] not in names])

    def with_header(self, name: bytes, value: bytes) -> "Answer":
        rest = self.without(name)
        return replace(rest, headers=[*rest.headers, (name, value)])

    def unsigned(self) -> "Answer":
        return replace(
            self, headers=[pair for pair in self.headers if not pair[0].startswith(b"attest-")]
        )


@dataclass
class SigningGateway:
    """What it signs with, says and saw; tests set the members."""

    token: Token = field(default_factory=Token)
    published: bytes = b""
    max_age_s: int = 300
    jwks_status: int = 200
    text: str = "Hello world."
    words: int = 6
    head_every: int = 2
    kinds: str = "text"
    alter: Callable[[Asked, Answer], Answer] = lambda asked, answer: answer
    asked: list[Asked] = field(default_factory=list)
    jwks_reads: int = 0
    url: str = ""
    client_left: threading.Event = field(default_factory=threading.Event)
    holding: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.published = self.published or jwks(self.token)

    # --- honest answers -----------------------------------------------------------------------

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/.well-known/attest/jwks.json":
            self.jwks_reads += 1
            control = f"public, max-age={self.max_age_s}".encode()
            return Answer(self.jwks_status, [(b"cache-control", control)], [self.published])
        if asked.path in ("/healthz", "/nowhere") or asked.path.startswith("/v1/prov/"):
            return Answer(200 if asked.path != "/nowhere" else 404, [], [b'{"status":"alive"}'])
        self.asked.append(asked)
        if asked.body and json.loads(asked.body).get("stream"):
            honest = self.stream(asked, self.events())
        else:
            honest = self.whole(asked, 200, self.completion())
        return self.alter(asked, honest)

    def whole(self, asked: Asked, status: int, body: bytes) -> Answer:
        prov_id, salt = _prov_id(), os.urandom(32)
        stated = StatedResponse(
            status=status,
            media="application/json",
            mode="body",
            commit=commit("res", salt, body),
            len=len(body),
            fin=True,
        )
        statement = self.statement(asked, prov_id, salt, stated)
        headers = proof_headers(
            prov_id, salt, statement, self.token.sign(statement, jws.TYPE_STATEMENT)
        )
        headers += [
            (b"content-type", b"application/json"),
            (b"content-digest", content_digest(body)),
        ]
        return Answer(status, headers, [body])

    def stream(self, asked: Asked, events: list[bytes], *, fin: bool = True) -> Answer:
        prov_id, salt = _prov_id(), os.urandom(32)
        chain = Chain(salt, prov_id, commit("req", salt, asked.body))
        pieces: list[object] = [self.head(asked, prov_id, chain)]
        for event in events:
            chain.add(event)
            pieces.append(event)
            if chain.events % self.head_every == 0:
                pieces.append(self.head(asked, prov_id, chain))
        if fin:
            chain.add(DONE_EVENT)
        stated = StatedResponse(
            status=200,
            media="text/event-stream",
            mode="sse",
            commit=chain.head.hex(),
            len=chain.octets,
            fin=fin,
            events=chain.events,
        )
        statement = self.statement(asked, prov_id, salt, stated)
        pieces.append(signed_comment(statement, self.token.sign(statement, jws.TYPE_STATEMENT)))
        if fin:
            pieces.append(DONE_EVENT)
        headers = [*stream_headers(prov_id, salt), (b"content-type", b"text/event-stream")]
        return Answer(200, headers, pieces, is_chunked=True)

    def head(self, asked: Asked, prov_id: str, chain: Chain) -> bytes:
        head = Head(
            v=1,
            iss=ISSUER,
            prov_id=prov_id,
            iat=_now_ms(),
            aud=AUDIENCE,
            n=chain.events,
            head=chain.head.hex(),
            nonce=asked.nonce if asked.nonce else msgspec.UNSET,
        )
        payload = canonical.encode(head)
        return signed_comment(payload, self.token.sign(payload, jws.TYPE_HEAD))

    def statement(self, asked: Asked, prov_id: str, salt: bytes, stated: StatedResponse) -> bytes:
        query = commit("query", salt, asked.query) if asked.query else msgspec.UNSET
        return canonical.encode(
            Statement(
                v=1,
                iss=ISSUER,
                prov_id=prov_id,
                iat=_now_ms(),
                aud=AUDIENCE,
                region="eu",
                op="chat",
                req=StatedRequest(
                    method=asked.method,
                    path=asked.path,
                    commit=commit("req", salt, asked.body),
                    len=len(asked.body),
                    query=query,
                ),
                res=stated,
                dag=StatedGraph(root="0" * 64, nodes=3),
                policy=StatedPolicy(bundle="1" * 64, decision="allow"),
                cache="off",
                plan="2" * 64,
                seq=Sequence(signer="s0", n=1),
                nonce=asked.nonce if asked.nonce else msgspec.UNSET,
            )
        )

    def completion(self) -> bytes:
        message: dict[str, object] = {"role": "assistant", "content": self.text}
        if self.kinds == "tools":
            message = {"role": "assistant", "content": None, "tool_calls": [_TOOL]}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return json.dumps({**_FRAME, "object": "chat.completion", "choices": [choice]}).encode()

    def events(self) -> list[bytes]:
        if self.kinds == "tools":
            parts = ['{"ci', 'ty":"', 'Oslo"}']
            first = {**_TOOL, "index": 0, "function": {"name": "weather", "arguments": ""}}
            deltas: list[dict[str, object]] = [{"tool_calls": [first]}]
            deltas += [
                {"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in parts
            ]
        else:
            deltas = [{"content": f"w{number} "} for number in range(self.words)]
        return [event(delta) for delta in deltas]

    # --- the socket ---------------------------------------------------------------------------

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (asked := await _read_request(reader)) is not None:
                if not await self._write(reader, writer, self.answer(asked)):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            self.client_left.set()
        finally:
            writer.close()

    async def _write(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer
    ) -> bool:
        length = sum(len(piece) for piece in answer.pieces if isinstance(piece, bytes))
        framing = b"transfer-encoding: chunked" if answer.is_chunked else b"content-length: %d"
        head = b"HTTP/1.1 %d X\r\n" % answer.status
        head += b"".join(b"%s: %s\r\n" % pair for pair in answer.headers)
        writer.write(head + (framing if answer.is_chunked else framing % length) + b"\r\n\r\n")
        for piece in answer.pieces:
            if isinstance(piece, Cut):
                await writer.drain()
                return False
            if isinstance(piece, Hold):
                await writer.drain()
                self.holding.set()
                await reader.read()  # ends when the client leaves
                self.client_left.set()
                return False
            octets = piece if isinstance(piece, bytes) else b""
            writer.write(b"%x\r\n%s\r\n" % (len(octets), octets) if answer.is_chunked else octets)
            await writer.drain()
        if answer.is_chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


@contextmanager
def serving(gateway: SigningGateway) -> Iterator[SigningGateway]:
    """Run a gateway in a thread of its own, on a free port of this machine."""
    ready = threading.Event()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        ended = asyncio.Event()
        running.append((asyncio.get_running_loop(), ended))
        server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0, limit=2**22)
        gateway.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await ended.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert ready.wait(WAIT_S)
    try:
        yield gateway
    finally:
        loop, ended = running[0]
        loop.call_soon_threadsafe(ended.set)
        thread.join(WAIT_S)


def event(delta: dict[str, object]) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    chunk = {**_FRAME, "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


async def _read_request(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    pairs = (line.split(": ", 1) for line in lines)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    path, _, query = target.partition("?")
    return Asked(method, path, query.encode(), headers, body)


def _prov_id() -> str:
    return prov_id_from(_now_ms(), os.urandom(10))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


_FRAME = {"id": "c1", "created": 1, "model": "m"}
_TOOL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
}
