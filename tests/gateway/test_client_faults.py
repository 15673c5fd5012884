"""Clients that are slow, leave, send nonsense or attack the framing: the right end, and no leak."""

import asyncio
import gzip
import json

import msgspec
import pytest
from tests.support.connection import CHAT_PATH, Connection, post
from tests.support.gateway import Gateway, Setup, chat_body
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY_BYTES_MAX = 200_000


@pytest.fixture(scope="module")
def setup() -> Setup:
    return Setup(
        edits={
            "# request_bytes_max = 33554432": f"request_bytes_max = {BODY_BYTES_MAX}",
            "# header_bytes_max = 65536": "header_bytes_max = 8000",
            "# request_ms_max = 60000": "request_ms_max = 400",
            "# client_stall_ms_max = 60000": "client_stall_ms_max = 500",
        }
    )


def last(gateway: Gateway) -> dict:
    return json.loads(gateway.records()[-1].statement)


@pytest.mark.parametrize("size", [10, 150_000])
async def test_client_that_leaves_before_its_answer_ends_the_call_and_leaves_a_record(
    gateway: Gateway, size: int
):
    """With a body so large that reading was paused, too."""
    before, left = len(gateway.records()), gateway.upstream.disconnects
    requests, finished = gateway.upstream.requests, len(gateway.telemetry.finished)
    async with Connection(gateway) as client:
        client.writer.write(post(gateway, chat_body("[simulate: stall]", user="x" * size)))
        await gateway.upstream.wait_until(lambda seen: seen.requests == requests + 1)
    await gateway.upstream.wait_until(lambda seen: seen.disconnects == left + 1)
    await until(lambda: len(gateway.records()) == before + 1)
    assert last(gateway)["res"]["status"] == 499
    hops = json.loads(gateway.records()[-1].graph)["nodes"]
    assert hops[-1]["attrs"]["end"] == "client_gone"
    assert [hop["attrs"]["error"] for hop in hops if hop["kind"] == "model"] == ["client_gone"]
    await until(lambda: gateway.telemetry.now_in_flight == 0)
    # It is reported after its record, which others see as soon as it is in the file.
    await until(lambda: len(gateway.telemetry.finished) == finished + 1)
    assert gateway.telemetry.finished[-1].status == 499


async def test_client_that_leaves_within_a_stream_ends_it_with_one_unfinished_record(
    gateway: Gateway,
):
    before, left = len(gateway.records()), gateway.upstream.disconnects
    async with Connection(gateway) as client:
        client.writer.write(post(gateway, chat_body("[simulate: stall=3]", stream=True)))
        await asyncio.wait_for(client.reader.readuntil(b"chat.completion.chunk"), 5)
    await gateway.upstream.wait_until(lambda seen: seen.disconnects == left + 1)
    await until(lambda: len(gateway.records()) == before + 1)
    assert last(gateway)["res"]["fin"] is False
    assert last(gateway)["res"]["events"] >= 1
    await until(lambda: gateway.telemetry.now_in_flight == 0)
    assert len(gateway.records()) == before + 1


async def test_client_that_leaves_at_the_head_of_a_stream_leaves_one_record_too(gateway: Gateway):
    """Pipelined behind an answer that nobody reads, the stream's head cannot even be sent."""
    before, requests = len(gateway.records()), gateway.upstream.requests
    async with Connection(gateway) as client:
        client.writer.transport.set_write_buffer_limits(high=10_000_000)
        client.writer.write(
            post(gateway, chat_body("[simulate: tokens=100000]"))
            + post(gateway, chat_body("[simulate: stall=2]", stream=True))
        )
        await gateway.upstream.wait_until(lambda seen: seen.requests == requests + 2)
        await until(lambda: len(gateway.records()) == before + 1)
    await until(lambda: len(gateway.records()) == before + 2)
    await until(lambda: gateway.upstream.in_flight == 0)
    await until(lambda: gateway.telemetry.now_in_flight == 0)


@pytest.mark.slow
async def test_client_that_does_not_read_its_stream_is_broken_off(gateway: Gateway):
    before = len(gateway.records())
    async with Connection(gateway) as client:
        client.writer.write(post(gateway, chat_body("[simulate: tokens=20000]", stream=True)))
        await until(lambda: len(gateway.records()) == before + 1, 15)
        await until(lambda: gateway.telemetry.now_in_flight == 0)
        assert last(gateway)["res"]["fin"] is False
        await until(lambda: gateway.upstream.in_flight == 0)
        await until(lambda: gateway.worker.server.connections == 1, 10)


@pytest.mark.slow
async def test_client_that_does_not_read_a_large_answer_is_broken_off(gateway: Gateway):
    body = b'{"order":"[simulate: huge=16000000]"}'
    async with Connection(gateway) as client:
        client.writer.write(post(gateway, body, path="/v1/operations/support.echo"))
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")
        assert gateway.worker.server.connections == 2
        await until(lambda: gateway.worker.server.connections == 1, 10)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.reader.readexactly(16_000_000)


@pytest.mark.slow
async def test_body_that_comes_too_slowly_is_a_408(gateway: Gateway):
    async with Connection(gateway) as client:
        client.writer.write(post(gateway, b"", length="content-length: 100") + b'{"model"')
        head, body = await client.answer()
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["code"] == "request_timeout"
    assert b"attest-" not in head


def check_unread(gateway: Gateway, answered: bytes, status: int, code: str) -> None:
    """A whole refusal for people, RFC 9457 and OpenAI clients, unsigned, counted, and the last."""
    head, _, body = answered.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answered
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert fields[b"content-type"] == b"application/problem+json"
    assert (fields[b"connection"], int(fields[b"content-length"])) == (b"close", len(body))
    assert fields[b"date"]
    assert not [name for name in fields if name.startswith(b"attest-")]
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["title"]
    assert problem["detail"]
    assert problem["next_step"]
    assert problem["instance"] == f"urn:verismo:request:{fields[b'x-request-id'].decode()}"
    assert problem["error"]["code"] == code
    assert problem["error"]["type"] == "invalid_request_error"
    assert gateway.telemetry.refused == {code: 1}


@pytest.fixture(autouse=True)
def nothing_refused(gateway: Gateway) -> None:
    """Let each test count what is refused before identification from nothing."""
    gateway.telemetry.refused.clear()


@pytest.mark.slow
async def test_connection_on_which_nothing_is_asked_is_closed_without_a_word(gateway: Gateway):
    async with Connection(gateway) as client:
        assert await client.rest() == b""
    assert not gateway.telemetry.refused


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"POST ", b"POST /x HTTP/1.1\r\nhost: x\r\nx-slow: "])
async def test_head_that_comes_too_slowly_is_a_408(gateway: Gateway, sent: bytes):
    async with Connection(gateway) as client:
        client.writer.write(sent)
        check_unread(gateway, await client.rest(), 408, "request_timeout")


@pytest.mark.slow
async def test_second_head_that_comes_too_slowly_is_a_408(gateway: Gateway):
    async with Connection(gateway) as client:
        client.writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        head, _ = await client.answer()
        assert head.startswith(b"HTTP/1.1 200 ")
        client.writer.write(b"GET /hea")
        check_unread(gateway, await client.rest(), 408, "request_timeout")


@pytest.mark.slow
async def test_head_that_trickles_is_cut_off_all_the_same(gateway: Gateway):
    """Slowloris: an octet now and then does not renew the time."""
    async with Connection(gateway) as client:
        client.writer.write(b"POST /x HTTP/1.1\r\nx-slow: ")
        ended = asyncio.create_task(client.rest())
        async with asyncio.timeout(5):
            while not ended.done():
                client.writer.write(b"a")
                await asyncio.wait({ended}, timeout=0.1)


async def test_headers_over_the_limit_are_a_431(gateway: Gateway):
    lines = ("connection: close", "x-long: " + "a" * 9_000)
    answered = await gateway.raw(post(gateway, b"{}", *lines))
    assert answered.startswith(b"HTTP/1.1 431 ")
    assert b"x-request-id: " in answered


async def test_head_without_an_end_is_a_431_before_it_fills_the_memory(gateway: Gateway):
    async with Connection(gateway) as client:
        client.writer.write(b"GET / HTTP/1.1\r\nx: " + b"a" * 7_000)
        await client.writer.drain()
        client.writer.write(b"a" * 7_000)
        check_unread(gateway, await client.rest(), 431, "headers_too_large")


@pytest.mark.parametrize("pieces", [1, 2], ids=["at once", "in two pieces"])
@pytest.mark.parametrize("target", ["/" + "a" * 70_000, "/graphql?query=" + "a" * 9_000])
async def test_path_or_query_over_the_limit_is_a_414(gateway: Gateway, target: str, pieces: int):
    data = f"GET {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
    size = -(-len(data) // pieces)
    async with Connection(gateway) as client:
        for start in range(0, len(data), size):
            client.writer.write(data[start : start + size])
            await asyncio.sleep(0)
        check_unread(gateway, await client.rest(), 414, "uri_too_long")


async def test_many_small_headers_are_counted_together(gateway: Gateway):
    lines = ["connection: close", *(f"x-{number}: {'v' * 20}" for number in range(400))]
    assert (await gateway.raw(post(gateway, b"{}", *lines))).startswith(b"HTTP/1.1 431 ")


async def test_body_over_the_limit_is_a_413_by_its_word_and_in_fact(gateway: Gateway):
    before = len(gateway.records())
    declared = post(gateway, b"", length=f"content-length: {BODY_BYTES_MAX + 1}")
    piece = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    chunked = post(gateway, piece * 60, length="transfer-encoding: chunked")
    for data in (declared, chunked):
        async with Connection(gateway) as client:
            client.writer.write(data)
            head, body = await client.answer()
            assert head.startswith(b"HTTP/1.1 413 ")
            assert json.loads(body)["error"]["code"] == "body_too_large"
    assert len(gateway.records()) == before, "before identification nothing is signed"


async def test_body_of_the_greatest_size_is_taken(gateway: Gateway):
    body = chat_body()
    answer = await gateway.send("POST", CHAT_PATH, body + b" " * (BODY_BYTES_MAX - len(body)))
    assert answer.status == 200
    await gateway.proven(answer)


async def test_chunked_body_is_committed_to_without_its_framing(gateway: Gateway):
    body = chat_body()
    chunks = (
        b"5\r\n" + body[:5] + b"\r\n" + b"%x\r\n" % (len(body) - 5) + body[5:] + b"\r\n0\r\n\r\n"
    )
    async with Connection(gateway) as client:
        client.writer.write(post(gateway, chunks, length="transfer-encoding: chunked"))
        head, _ = await client.answer()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert last(gateway)["req"]["len"] == len(body)


DEEP = b'{"model":"support.answer","messages":' + b"[" * 90_000 + b"]" * 90_000 + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"{} {}",
        b"\xff{}",
        b"\xef\xbb\xbf{}",
        b'{"model":1}',
        b'{"model":null}',
        b'{"model":""}',
        b'{"messages":[]}',
        b'{"model":"support.answer","stream":"yes"}',
        b'{"model":"support.answer","stream":1}',
        b'{"model":"support.answer","temperature":NaN}',
        b'{"model":"support.answer","temperature":-Infinity}',
        b'{"model":"support.answer","seed":' + b"9" * 5_000 + b"}",
        b'{"model":"support.answer","a":"\x01"}',
        b"{'model':'support.answer'}",
        b'{"model":"support.answer",}',
        DEEP,
    ],
    ids=lambda body: repr(body[:40]),
)
async def test_body_that_is_not_the_json_that_is_wanted_is_a_signed_400(gateway: Gateway, body):
    requests = gateway.upstream.requests
    answer = await gateway.send(
        "POST", CHAT_PATH, body, headers={"content-type": "application/json"}
    )
    assert (answer.status, answer.json()["code"]) == (400, "malformed_request")
    await gateway.proven(answer)
    assert gateway.upstream.requests == requests


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"support.answer","model":"analytics.summary"}',
        b'{"model":"support.answer","mod\\u0065l":"analytics.summary"}',
        b'{"model":"support.answer","messages":[{"role":"user","role":"system"}]}',
    ],
)
async def test_member_that_stands_twice_is_refused(gateway: Gateway, body: bytes):
    """Two parsers may take different ones of them."""
    answer = await gateway.send("POST", CHAT_PATH, body)
    assert (answer.status, answer.json()["code"]) == (400, "duplicate_member")
    await gateway.proven(answer)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_body_of_another_type_or_compressed_is_a_signed_415(gateway: Gateway, headers):
    body = gzip.compress(chat_body()) if "content-encoding" in headers else chat_body()
    answer = await gateway.send("POST", CHAT_PATH, body, headers=headers)
    assert (answer.status, answer.json()["code"]) == (415, "unsupported_media_type")
    await gateway.proven(answer)


@pytest.mark.parametrize("nonce", ["", "a" * 87, "with space", "semi;colon", "caf\u00e9"])
async def test_nonce_outside_its_alphabet_is_a_signed_400(gateway: Gateway, nonce: str):
    lines = (f"attest-nonce: {nonce}",)
    async with Connection(gateway) as client:
        client.writer.write(post(gateway, chat_body(), *lines))
        head, body = await client.answer()
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"attest-signature" in head
    assert b"Attest-Nonce" in body


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/models"),
        ("POST", "/v1/embeddings"),
        ("GET", "/graphql"),
        ("POST", "/graphql"),
        ("POST", "/v1/operations/support.echo"),
        ("POST", "/v1/agents/any"),
        ("POST", "/v1/runs/any"),
        ("POST", "/mcp/any"),
    ],
)
async def test_nonce_outside_its_alphabet_is_refused_on_every_signed_path(
    gateway: Gateway, method: str, path: str
):
    body = chat_body() if method == "POST" else b""
    answer = await gateway.send(method, path, body, headers={"attest-nonce": "no nonce!"})
    assert answer.status == 400
    assert b"Attest-Nonce" in answer.body
    assert answer.statement.nonce is msgspec.UNSET
    await gateway.proven(msgspec.structs.replace(answer, nonce=None))


async def test_pipelined_requests_are_answered_in_their_order(gateway: Gateway):
    before = len(gateway.records())
    bodies = [
        chat_body(f"[simulate: slow={30 - 10 * n}] number {n}", user=str(n)) for n in range(3)
    ]
    async with Connection(gateway) as client:
        client.writer.write(b"".join(post(gateway, body) for body in bodies))
        prov_ids = []
        for _ in bodies:
            head, _ = await client.answer()
            assert head.startswith(b"HTTP/1.1 200 ")
            prov_ids.append(head.split(b"attest-prov-id: ")[1][:36].decode())
    records = gateway.records()[before:]
    assert [record.prov_id for record in records] == prov_ids
    assert [json.loads(r.statement)["req"]["len"] for r in records] == [len(b) for b in bodies]


async def test_authorization_that_stands_twice_is_refused(gateway: Gateway):
    """Else a proxy may check one and the gateway use the other."""
    before = len(gateway.records())
    second = f"authorization: Bearer {gateway.keys['TENANT_002']}"
    async with Connection(gateway) as client:
        client.writer.write(post(gateway, chat_body(), second))
        head, body = await client.answer()
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"stands twice" in body
    assert len(gateway.records()) == before


SMUGGLED = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (("content-length: 4", "transfer-encoding: chunked"), b"0\r\n\r\n" + SMUGGLED),
        (("transfer-encoding: chunked", "content-length: 4"), b"0\r\n\r\n" + SMUGGLED),
        (("content-length: 2", "content-length: 40"), b"{}" + SMUGGLED),
        (("content-length: 2, 2",), b"{}"),
        (("content-length: +2",), b"{}"),
        (("content-length: 0x2",), b"{}"),
        (("content-length: -1",), b"{}"),
        (("transfer-encoding: xchunked",), b"0\r\n\r\n" + SMUGGLED),
        (("transfer-encoding: identity, chunked, identity",), b"0\r\n\r\n" + SMUGGLED),
        (("transfer-encoding: chunked",), b"2\n{}\n0\n\n" + SMUGGLED),
        (("transfer-encoding: chunked",), b"-2\r\n{}\r\n0\r\n\r\n"),
        (("transfer-encoding : chunked",), b"0\r\n\r\n" + SMUGGLED),
        ((" folded: line", "content-length: 2"), b"{}"),
    ],
    ids=lambda part: repr(part)[:60],
)
async def test_smuggling_by_ambiguous_framing_is_a_400_or_a_closed_connection(
    gateway: Gateway, lines, body
):
    """At most one answer comes, whatever stands behind the ambiguous request.

    Where the fault is in the body, the request is under way already and is broken off.
    """
    requests = gateway.upstream.requests
    data = "\r\n".join(
        (
            f"POST {CHAT_PATH} HTTP/1.1",
            "host: x",
            f"authorization: Bearer {gateway.keys['TENANT_001']}",
            "content-type: application/json",
            *lines,
        )
    )
    answered = await gateway.raw(data.encode() + b"\r\n\r\n" + body)
    assert answered == b"" or answered.startswith(b"HTTP/1.1 400 ")
    assert answered.count(b"HTTP/1.1 ") <= 1
    assert gateway.upstream.requests == requests


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nna\x00me: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=repr,
)
async def test_what_is_no_http_1_is_a_400(gateway: Gateway, data: bytes):
    before = len(gateway.records())
    check_unread(gateway, await gateway.raw(data), 400, "malformed_request")
    assert len(gateway.records()) == before, "before identification nothing is signed"


async def test_upgrade_that_is_not_offered_is_ignored(gateway: Gateway):
    """RFC 9110, 7.8: a server may ignore an Upgrade; curl --http2 sends one with its POST."""
    async with Connection(gateway) as client:
        client.writer.write(
            post(gateway, chat_body(), "connection: Upgrade, HTTP2-Settings", "upgrade: h2c")
        )
        head, _ = await client.answer()
    assert head.startswith(b"HTTP/1.1 200 ")


async def test_body_of_a_request_with_an_upgrade_is_not_the_next_request(gateway: Gateway):
    """Request smuggling behind a proxy that passes Upgrade on: the body arrives by itself."""
    before = len(gateway.records())
    inner = f"GET /v1/models HTTP/1.1\r\nauthorization: Bearer {gateway.keys['TENANT_002']}\r\n\r\n"
    lines = ("connection: Upgrade", "upgrade: h2c")
    whole = post(gateway, inner.encode(), *lines)
    async with Connection(gateway) as client:
        client.writer.write(whole[: -len(inner)])
        await client.writer.drain()
        await asyncio.sleep(0)
        client.writer.write(inner.encode())
        head, _ = await client.answer()
    assert head.startswith(b"HTTP/1.1 400 ")
    (record,) = gateway.records()[before:]
    assert json.loads(record.statement)["req"]["path"] == CHAT_PATH


async def test_connect_is_refused(gateway: Gateway):
    answered = await gateway.raw(b"CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n")
    check_unread(gateway, answered, 405, "method_not_allowed")
    assert b"\r\nallow: " in answered


async def test_expect_continue_is_answered_before_the_body(gateway: Gateway):
    body = chat_body()
    async with Connection(gateway) as client:
        whole = post(gateway, body, "expect: 100-continue")
        client.writer.write(whole[: -len(body)])
        assert (await client.head()).startswith(b"HTTP/1.1 100 ")
        client.writer.write(body)
        head, _ = await client.answer()
    assert head.startswith(b"HTTP/1.1 200 ")


async def test_path_of_any_length_and_bytes_is_refused_signed_and_short(gateway: Gateway):
    """The path stands in the statement, which has to fit into a header."""
    for name in ("a" * 3_000, "%C3%A9", "..%2f..", "a/b"):
        answer = await gateway.send("POST", f"/v1/operations/{name}", b"{}")
        assert answer.status == 404, name
        if len(name) < 100:
            await gateway.proven(answer)
