"""Conformance of an upstream adapter: answers whose framing is wrong, ambiguous or hostile.

Two promises. What is plainly broken is `UpstreamBroken`. What one may read in two ways is either
refused or read in the one safe way, and never does the next call get an octet of it.
"""

import contextlib

import pytest
from tests.ports.upstream_calls import SECOND, UpstreamCase, answer, call_to, chunked, fetch
from tests.ports.upstream_server import Connection, Script, answering, serving

from verismo.model.errors import UpstreamBroken
from verismo.model.operation import Timeouts
from verismo.ports.upstream import Upstream

EVIL = answer(b"evil")
OK = answer(b"ok")
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
FRAMING_TIMEOUTS = Timeouts(connect_ms=2_000, first_byte_ms=2_000, total_ms=2_000)


def head(*lines: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", *lines, "", "")).encode("latin-1")


REFUSED = {
    "garbage": b"\x00\x01\x02 not http\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "HTTP/0.9": b"<html>hello</html>\n",
    "HTTP/2 in a status line": b"HTTP/2 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "HTTP/1.7": b"HTTP/1.7 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "RTSP": b"RTSP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "status of two digits": b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok",
    "status 099": b"HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\nok",
    "status 999": b"HTTP/1.1 999 OK\r\ncontent-length: 2\r\n\r\nok",
    "switching protocols": b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n" + EVIL,
    "two different lengths": head("content-length: 2", "content-length: 6") + b"ok" + EVIL,
    "two equal lengths": head("content-length: 2", "content-length: 2") + b"ok",
    "list of lengths": head("content-length: 2, 2") + b"ok",
    "signed length": head("content-length: +2") + b"ok",
    "negative length": head("content-length: -2") + b"ok",
    "hexadecimal length": head("content-length: 0x2") + b"ok",
    "empty length": head("content-length:") + b"ok",
    "length over 64 bits": head("content-length: 18446744073709551618") + b"ok",
    "length and chunked": head("content-length: 4", "transfer-encoding: chunked")
    + b"2\r\nok\r\n0\r\n\r\n",
    "chunked and length": head("transfer-encoding: chunked", "content-length: 4")
    + b"2\r\nok\r\n0\r\n\r\n",
    "chunked twice": head("transfer-encoding: chunked", "transfer-encoding: chunked")
    + b"2\r\nok\r\n0\r\n\r\n",
    "chunked in a list": head("transfer-encoding: chunked, chunked") + b"2\r\nok\r\n0\r\n\r\n",
    "another coding before": head("transfer-encoding: gzip, chunked") + b"2\r\nok\r\n0\r\n\r\n",
    "another coding": head("transfer-encoding: identity", "content-length: 2") + b"ok",
    "misspelt coding": head("transfer-encoding: xchunked", "content-length: 2") + b"ok",
    "folded header": head("x-a: one", " two", "content-length: 2") + b"ok",
    "space before the colon": head("x-a : one", "content-length: 2") + b"ok",
    "length with a space before the colon": head("content-length : 2") + b"ok",
    "header without a name": head(": one", "content-length: 2") + b"ok",
    "header without a colon": head("x-a", "content-length: 2") + b"ok",
    "NUL in a header": head("x-a: one\x00two", "content-length: 2") + b"ok",
    "bare CR in a header": head("x-a: one\rtwo", "content-length: 2") + b"ok",
    "chunk size that overflows": CHUNKED + b"fffffffffffffffff\r\nok\r\n0\r\n\r\n",
    "chunk size that is no number": CHUNKED + b"zz\r\nok\r\n0\r\n\r\n",
    "negative chunk size": CHUNKED + b"-2\r\nok\r\n0\r\n\r\n",
    "chunk size with 0x": CHUNKED + b"0x2\r\nok\r\n0\r\n\r\n",
    "empty chunk size": CHUNKED + b"\r\nok\r\n0\r\n\r\n",
    "chunk without its CRLF": CHUNKED + b"2\r\nokXX0\r\n\r\n",
    "chunk longer than its size": CHUNKED + b"2\r\nok!\r\n0\r\n\r\n",
    "too many headers": head(*(f"x-{n}: {n}" for n in range(200)), "content-length: 2") + b"ok",
    "too long a header": head("x-a: " + "a" * 900_000, "content-length: 2") + b"ok",
}
"""Answers that every adapter refuses."""

AMBIGUOUS = {
    "bare LF": (b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok", b"ok"),
    "bare LF in a chunk": (CHUNKED + b"2\nok\n0\n\n", b"ok"),
    "chunk extension": (CHUNKED + b"2;name=value\r\nok\r\n0\r\n\r\n", b"ok"),
    "quoted chunk extension": (CHUNKED + b'2;a="b;c"\r\nok\r\n0\r\n\r\n', b"ok"),
    "LF in a chunk extension": (CHUNKED + b"2;\nx\r\nok\r\n0\r\n\r\n", b"ok"),
    "trailer that frames": (CHUNKED + b"2\r\nok\r\n0\r\ncontent-length: 9\r\n\r\n", b"ok"),
    "NUL in the reason": (b"HTTP/1.1 200 O\x00\r\ncontent-length: 2\r\n\r\nok", b"ok"),
    "leading empty line": (b"\r\n" + OK, b"ok"),
    "continue": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
    "early hints": (b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK, b"ok"),
    "interim answers without end": (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 30 + OK, b"ok"),
    "space after the length": (head("content-length: 2 ") + b"ok", b"ok"),
    "204 with a length": (b"HTTP/1.1 204 X\r\ncontent-length: 2\r\n\r\nok", b""),
    "204 with chunks": (
        b"HTTP/1.1 204 X\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"",
    ),
    "304 with a body": (b"HTTP/1.1 304 X\r\ncontent-length: 2\r\n\r\nok", b""),
    "octets after the end": (OK + b"more", b"ok"),
    "empty lines after the end": (OK + b"\r\n\r\n", b"ok"),
    "response splitting": (OK + EVIL, b"ok"),
    "response splitting behind chunks": (chunked(b"ok") + EVIL, b"ok"),
    "response splitting behind a close": (answer(b"ok", "connection: close") + EVIL, b"ok"),
    "response splitting in half": (OK + b"HTTP/1.1 200 OK\r\ncontent-le", b"ok"),
    "HTTP/1.0 with a length": (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", b"ok"),
}
"""Answers that may be refused or read, and as what."""


def hostile(raw: bytes) -> Script:
    """Return a script: the first request of all gets the raw octets, every other one `SECOND`."""
    left = [raw]

    async def script(connection: Connection) -> None:
        while await connection.request() is not None:
            await connection.send(left.pop() if left else answer(SECOND))

    return script


class Framing(UpstreamCase):
    """Smuggling, splitting, bombs and garbage."""

    @pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
    async def test_bad_framing_is_refused(self, upstream: Upstream, raw: bytes) -> None:
        async with serving(hostile(raw)) as server:
            call = call_to(server.url, timeouts=FRAMING_TIMEOUTS)
            with pytest.raises(UpstreamBroken):
                await fetch(upstream, call)
            assert await fetch(upstream, call) == (200, SECOND)

    @pytest.mark.parametrize(("raw", "body"), AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
    async def test_ambiguous_framing_never_mixes_answers(
        self, upstream: Upstream, raw: bytes, body: bytes
    ) -> None:
        async with serving(hostile(raw)) as server:
            call = call_to(server.url, timeouts=FRAMING_TIMEOUTS)
            with contextlib.suppress(UpstreamBroken):  # refusing is always allowed here
                assert (await fetch(upstream, call))[1] == body
            for _ in range(2):
                assert await fetch(upstream, call) == (200, SECOND)

    async def test_an_unasked_answer_on_an_idle_connection_is_never_taken(
        self, upstream: Upstream
    ) -> None:
        async def script(connection: Connection) -> None:
            if connection.number > 1:
                await answering(answer(SECOND))(connection)
            await connection.request()
            await connection.send(OK)
            await connection.gone()

        async with serving(script) as server:
            assert await fetch(upstream, call_to(server.url)) == (200, b"ok")

        async def unasked(connection: Connection) -> None:
            if connection.number > 1:
                await answering(answer(SECOND))(connection)
            await connection.request()
            await connection.send(OK)
            await connection.send(EVIL)
            await connection.gone()

        async with serving(unasked) as server:
            assert await fetch(upstream, call_to(server.url)) == (200, b"ok")
            await server.until(lambda state: state.open == 0)  # it was noticed and dropped
            assert await fetch(upstream, call_to(server.url)) == (200, SECOND)

    async def test_an_answer_to_head_has_no_body(self, upstream: Upstream) -> None:
        async with serving(hostile(head("content-length: 9", "x-a: b"))) as server:
            call = call_to(server.url, method="HEAD", body=b"", timeouts=FRAMING_TIMEOUTS)
            reply = await upstream.send(call)
            assert (reply.status, reply.header("x-a")) == (200, "b")
            assert await reply.read() == b""
            await reply.aclose()
            assert await fetch(upstream, call_to(server.url)) == (200, SECOND)

    async def test_a_head_that_never_ends_is_refused(self, upstream: Upstream) -> None:
        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(b"HTTP/1.1 200 OK\r\nx-a: ")
            while True:
                await connection.send(b"a" * 65_536)

        async with serving(script) as server:
            with pytest.raises(UpstreamBroken):
                await fetch(upstream, call_to(server.url))

    @pytest.mark.parametrize(
        "endless", [b"a" * 65_536, b"x-a: b\r\n" * 8_192], ids=["one trailer", "many trailers"]
    )
    async def test_trailers_that_never_end_are_refused(
        self, upstream: Upstream, endless: bytes
    ) -> None:
        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(chunked(b"ok", end=b"0\r\nx-a: "))
            while True:
                await connection.send(endless)

        async with serving(script) as server:
            with pytest.raises(UpstreamBroken):
                await fetch(upstream, call_to(server.url))

    async def test_a_chunk_extension_that_never_ends_is_refused(self, upstream: Upstream) -> None:
        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(CHUNKED + b"2;a=")
            while True:
                await connection.send(b"a" * 65_536)

        async with serving(script) as server:
            with pytest.raises(UpstreamBroken):
                await fetch(upstream, call_to(server.url))
