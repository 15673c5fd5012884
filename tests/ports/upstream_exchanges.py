"""Conformance of an upstream adapter: what goes out, what comes back, and reuse."""

import asyncio
import gzip
import zlib

import pytest
from tests.ports.upstream_calls import (
    SECOND,
    Listener,
    UpstreamCase,
    answer,
    call_to,
    chunked,
    fetch,
)
from tests.ports.upstream_server import Connection, answering, closing, serving

from verismo.adapters.upstream_settings import UpstreamSettings
from verismo.model.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from verismo.ports.upstream import Upstream

LARGE = bytes(range(256)) * 20_000


class Exchanges(UpstreamCase):
    """Requests as sent, bodies as received, and connections used again."""

    async def test_the_request_arrives_as_it_was_given(self, upstream: Upstream) -> None:
        async with serving(answering(answer(b"hello", "X-Kind: Plain"))) as server:
            url = f"{server.url}/v1/chat?a=1&b=%20"
            call = call_to(url, headers=(("content-type", "application/json"),), body=b'{"a":1}')
            reply = await upstream.send(call)
            assert (reply.status, reply.header("x-kind")) == (200, "Plain")
            assert await reply.read() == b"hello"
            await reply.aclose()
            received = server.requests[0]
        assert received.line == "POST /v1/chat?a=1&b=%20 HTTP/1.1"
        assert received.body == b'{"a":1}'
        assert received.header("content-type") == "application/json"
        assert received.header("host") == f"127.0.0.1:{server.port}"
        names = [name for name, _ in received.headers]
        assert names.count("content-length") == 1
        assert "cookie" not in names

    async def test_a_get_has_no_body_and_a_post_always_a_length(self, upstream: Upstream) -> None:
        async with serving(answering(answer(b"ok"))) as server:
            await fetch(upstream, call_to(server.url, method="GET", body=b""))
            await fetch(upstream, call_to(server.url, method="POST", body=b""))
            get, post = server.requests
        assert get.line == "GET / HTTP/1.1"
        assert get.header("content-length") == ""
        assert post.header("content-length") == "0"

    async def test_a_large_request_arrives_whole(self, upstream: Upstream) -> None:
        async with serving(answering(answer(b"ok"))) as server:
            assert await fetch(upstream, call_to(server.url, body=LARGE)) == (200, b"ok")
            assert server.requests[0].body == LARGE

    @pytest.mark.parametrize(
        ("raw", "status", "body"),
        [
            pytest.param(answer(b""), 200, b"", id="empty"),
            pytest.param(chunked(b"ab", b"cd"), 200, b"abcd", id="chunks"),
            pytest.param(chunked(), 200, b"", id="no chunk"),
            pytest.param(chunked(b"ab", end=b"0\r\nx-sum: 1\r\n\r\n"), 200, b"ab", id="trailer"),
            pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", id="204"),
            pytest.param(
                b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", 304, b"", id="304"
            ),
            pytest.param(answer(b"no", status="429 Too Many Requests"), 429, b"no", id="429"),
            pytest.param(
                b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", 200, b"ok", id="no reason"
            ),
        ],
    )
    @pytest.mark.parametrize("trickled", [False, True])
    async def test_a_body_is_read_and_the_connection_used_again(
        self, upstream: Upstream, raw: bytes, status: int, body: bytes, trickled: bool
    ) -> None:
        async def script(connection: Connection) -> None:
            while await connection.request() is not None:
                await connection.trickle(raw, 1 if trickled else len(raw))

        async with serving(script) as server:
            for _ in range(3):
                assert await fetch(upstream, call_to(server.url)) == (status, body)
            assert server.accepted == 1

    async def test_a_body_without_a_length_ends_with_the_connection(
        self, upstream: Upstream
    ) -> None:
        raw = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end"
        async with serving(closing(raw)) as server:
            for _ in range(2):
                assert await fetch(upstream, call_to(server.url)) == (200, b"until the end")
            assert server.accepted == 2

    @pytest.mark.parametrize("raw", [answer(LARGE), chunked(*[LARGE[:60_000]] * 20)])
    async def test_a_large_body_is_read_and_streamed_alike(
        self, upstream: Upstream, raw: bytes
    ) -> None:
        async with serving(answering(raw)) as server:
            call = call_to(server.url, response_bytes_max=len(raw))
            _, whole = await fetch(upstream, call)
            reply = await upstream.send(call)
            streamed = b"".join([piece async for piece in reply.chunks()])
            await reply.aclose()
            assert streamed == whole
            assert len(whole) > 1_000_000
            assert server.accepted == 1

    async def test_chunks_come_as_they_are_sent(self, upstream: Upstream) -> None:
        seen = asyncio.Event()

        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(chunked(b"one", end=b""))
            await seen.wait()
            await connection.send(b"3\r\ntwo\r\n0\r\n\r\n")
            await connection.gone()

        async with serving(script) as server:
            reply = await upstream.send(call_to(server.url))
            pieces = reply.chunks()
            assert await anext(pieces) == b"one"
            seen.set()  # the second half is sent only after the first was seen
            assert [piece async for piece in pieces] == [b"two"]
            await reply.aclose()

    async def test_what_is_listened_to_comes_as_it_arrives(self, upstream: Upstream) -> None:
        seen = asyncio.Event()

        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(chunked(b"one", end=b""))
            await seen.wait()
            await connection.send(b"3\r\ntwo\r\n0\r\n\r\n")
            await connection.gone()

        async with serving(script) as server:
            reply = await upstream.send(call_to(server.url))
            listener = Listener(reply)
            assert await listener.some() == b"one"
            assert not listener.is_whole
            assert reply.take() == (b"", False)
            seen.set()
            assert await listener.rest() == b"two"
            assert reply.take() == (b"", True), "the end stays the end"
            await reply.aclose()

    async def test_wait_that_is_given_up_loses_nothing_of_what_is_listened_to(
        self, upstream: Upstream
    ) -> None:
        given_up = asyncio.Event()

        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(chunked(end=b""))
            await given_up.wait()
            await connection.send(b"4\r\nlate\r\n0\r\n\r\n")
            await connection.gone()

        async with serving(script) as server:
            reply = await upstream.send(call_to(server.url))
            listener = Listener(reply)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(listener.some(), 0.01)
            given_up.set()
            assert await listener.rest() == b"late"
            await reply.aclose()

    @pytest.mark.parametrize("raw", [answer(b""), chunked(), answer(LARGE), chunked(LARGE)])
    async def test_a_body_that_is_listened_to_is_whole(
        self, upstream: Upstream, raw: bytes
    ) -> None:
        async with serving(answering(raw)) as server:
            reply = await upstream.send(call_to(server.url, response_bytes_max=len(LARGE)))
            body = await Listener(reply).rest()
            assert body == (LARGE if len(raw) > len(LARGE) else b"")
            with pytest.raises(UpstreamBroken, match="read or closed"):
                reply.listen(lambda: None)
            await reply.aclose()
            assert (await fetch(upstream, call_to(server.url, response_bytes_max=len(LARGE))))[0]
            assert server.accepted == 1, "the connection is used again"

    @pytest.mark.parametrize("coding", ["gzip", "deflate"])
    async def test_a_content_coding_is_removed(self, upstream: Upstream, coding: str) -> None:
        packed = gzip.compress(LARGE) if coding == "gzip" else zlib.compress(LARGE)
        raw = answer(packed, f"content-encoding: {coding}")
        async with serving(answering(raw)) as server:
            call = call_to(server.url, response_bytes_max=len(LARGE))
            assert await fetch(upstream, call) == (200, LARGE)
            reply = await upstream.send(call)
            assert b"".join([piece async for piece in reply.chunks()]) == LARGE
            await reply.aclose()

    @pytest.mark.parametrize("cut", [-9, -1])
    async def test_a_truncated_content_coding_is_refused(
        self, upstream: Upstream, cut: int
    ) -> None:
        raw = answer(gzip.compress(b"hello" * 99)[:cut], "content-encoding: gzip")
        async with serving(answering(raw)) as server:
            with pytest.raises(UpstreamBroken):
                await fetch(upstream, call_to(server.url))

    async def test_a_damaged_content_coding_is_refused(self, upstream: Upstream) -> None:
        raw = answer(b"this is not gzip at all", "content-encoding: gzip")
        async with serving(answering(raw)) as server:
            with pytest.raises(UpstreamBroken):
                await fetch(upstream, call_to(server.url))

    @pytest.mark.parametrize("raw", [answer(b"x" * 101), chunked(b"x" * 50, b"x" * 51)])
    @pytest.mark.parametrize("streamed", ["", "chunks", "listen"])
    async def test_a_body_over_the_limit_is_refused(
        self, upstream: Upstream, raw: bytes, streamed: str
    ) -> None:
        async with serving(answering(raw)) as server:
            with pytest.raises(UpstreamTooLarge):
                await self._consume(upstream, server.url, 100, streamed)
            await self._consume(upstream, server.url, 101, streamed)

    @pytest.mark.parametrize("streamed", ["", "chunks", "listen"])
    async def test_a_decompression_bomb_is_refused(self, upstream: Upstream, streamed: str) -> None:
        raw = answer(gzip.compress(bytes(30_000_000)), "content-encoding: gzip")
        async with serving(answering(raw)) as server:
            with pytest.raises(UpstreamTooLarge):
                await self._consume(upstream, server.url, 100_000, streamed)

    async def _consume(
        self, upstream: Upstream, url: str, response_bytes_max: int, streamed: str
    ) -> None:
        reply = await upstream.send(call_to(url, response_bytes_max=response_bytes_max))
        try:
            if streamed == "listen":
                await Listener(reply).rest()
            elif streamed:
                async for piece in reply.chunks():
                    assert piece
            else:
                await reply.read()
        finally:
            await reply.aclose()

    async def test_redirects_are_not_followed(self, upstream: Upstream) -> None:
        raw = answer(b"", "location: /elsewhere", status="302 Found")
        async with serving(answering(raw)) as server:
            reply = await upstream.send(call_to(server.url))
            assert (reply.status, reply.header("location")) == (302, "/elsewhere")
            await reply.aclose()
            assert len(server.requests) == 1

    async def test_cookies_are_not_kept(self, upstream: Upstream) -> None:
        async with serving(answering(answer(b"ok", "set-cookie: a=b; path=/"))) as server:
            for _ in range(2):
                await fetch(upstream, call_to(server.url))
            assert server.requests[1].header("cookie") == ""

    async def test_proxies_of_the_environment_are_not_used(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        upstream = self.make(UpstreamSettings())
        async with serving(answering(answer(b"direct"))) as server:
            assert await fetch(upstream, call_to(server.url)) == (200, b"direct")
            await upstream.aclose()

    async def test_headers_are_found_by_lower_case_name(self, upstream: Upstream) -> None:
        lines = ("X-Request-ID: one", "x-request-id: two", "X-Spaced: \t a b \t")
        async with serving(answering(answer(b"", *lines))) as server:
            reply = await upstream.send(call_to(server.url))
            assert reply.header("x-request-id") == "one"
            assert reply.header("x-spaced") == "a b"
            assert reply.header("x-absent") == ""
            await reply.aclose()

    async def test_a_header_beyond_ascii_does_no_harm(self, upstream: Upstream) -> None:
        async with serving(answering(answer(b"ok", "x-name: caf\xe9", "x-plain: a"))) as server:
            reply = await upstream.send(call_to(server.url))
            assert reply.header("x-name") in ("caf\xe9", "")
            assert reply.header("x-plain") == "a"
            assert await reply.read() == b"ok"
            await reply.aclose()

    async def test_an_outgoing_header_may_hold_latin_1(self, upstream: Upstream) -> None:
        async with serving(answering(answer(b"ok"))) as server:
            await fetch(upstream, call_to(server.url, headers=(("x-title", "a b"),)))
            assert server.requests[0].header("x-title") == "a b"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("x-a", "one\r\nx-evil: two"),
            ("x-a", "one\nx-evil: two"),
            ("x-a", "one\rtwo"),
            ("x-a", "one\x00two"),
            ("x-a", "euro \u20ac"),
            ("x-a\r\nx-evil", "one"),
            ("x-a: b", "one"),
            ("", "one"),
            ("host", "evil.example"),
            ("content-length", "7"),
            ("transfer-encoding", "chunked"),
            ("connection", "authorization"),
        ],
    )
    async def test_header_injection_is_refused(
        self, upstream: Upstream, name: str, value: str
    ) -> None:
        async with serving(answering(answer(b"ok"))) as server:
            with pytest.raises(UpstreamUnreachable) as caught:
                await upstream.send(call_to(server.url, headers=((name, value),)))
            assert not caught.value.retryable
            assert server.requests == []

    @pytest.mark.parametrize(
        "url",
        [
            "{}/a\r\nx-evil: 1",
            "{}/a b",
            "{}/a HTTP/1.1\r\n\r\nGET /b",
            "{}/\u00e9",
            "{}/a#fragment",
            "http://user:password@127.0.0.1/",
            "ftp://127.0.0.1/",
            "http://127.0.0.1:99999/",
            "http:///a",
            "/relative",
            "",
        ],
    )
    async def test_url_injection_is_refused(self, upstream: Upstream, url: str) -> None:
        async with serving(answering(answer(b"ok"))) as server:
            with pytest.raises(UpstreamUnreachable) as caught:
                await upstream.send(call_to(url.format(server.url)))
            assert "password" not in str(caught.value)
            assert server.requests == []

    @pytest.mark.parametrize("method", ["GET /b HTTP/1.1\r\n\r\nPOST", "get", "", "CONNECT"])
    async def test_method_injection_is_refused(self, upstream: Upstream, method: str) -> None:
        async with serving(answering(answer(b"ok"))) as server:
            with pytest.raises(UpstreamUnreachable):
                await upstream.send(call_to(server.url, method=method))
            assert server.requests == []

    async def test_a_connection_closed_while_idle_is_replaced(self, upstream: Upstream) -> None:
        async with serving(closing(answer(b"ok"))) as server:
            for number in range(1, 6):
                assert await fetch(upstream, call_to(server.url)) == (200, b"ok")
                await server.until(lambda state: state.open == 0)
                assert server.accepted == number

    async def test_an_answer_that_announces_the_close_is_whole(self, upstream: Upstream) -> None:
        async with serving(answering(answer(b"ok", "connection: close"))) as server:
            for _ in range(3):
                assert await fetch(upstream, call_to(server.url)) == (200, b"ok")
            assert server.accepted == 3

    async def test_a_hundred_concurrent_calls_get_their_own_answers(
        self, upstream: Upstream
    ) -> None:
        async def script(connection: Connection) -> None:
            while (received := await connection.request()) is not None:
                await connection.trickle(answer(received.body * 50), 400)

        async with serving(script) as server:
            bodies = [b"call %d." % number for number in range(100)]
            for _ in range(2):
                calls = [fetch(upstream, call_to(server.url, body=body)) for body in bodies]
                answers = await asyncio.gather(*calls)
                assert answers == [(200, body * 50) for body in bodies]
            assert server.accepted <= 100

    async def test_a_body_is_read_once(self, upstream: Upstream) -> None:
        async with serving(answering(answer(b"ok"))) as server:
            reply = await upstream.send(call_to(server.url))
            assert await reply.read() == b"ok"
            with pytest.raises(UpstreamError):
                await reply.read()
            await reply.aclose()

    async def test_nothing_is_read_after_closing(self, upstream: Upstream) -> None:
        async with serving(answering(answer(b"ok"))) as server:
            reply = await upstream.send(call_to(server.url))
            await reply.aclose()
            await reply.aclose()
            with pytest.raises(UpstreamError):
                await reply.read()
            with pytest.raises(UpstreamError):
                await anext(reply.chunks())
            assert reply.status == 200

    async def test_closing_the_client_closes_every_connection(self, upstream: Upstream) -> None:
        async with serving(answering(answer(SECOND))) as server:
            calls = [fetch(upstream, call_to(server.url)) for _ in range(10)]
            await asyncio.gather(*calls)
            await upstream.aclose()
            await server.until(lambda state: state.open == 0)
            with pytest.raises(UpstreamUnreachable):
                await upstream.send(call_to(server.url))
