"""One connection fed octet by octet: mutated answers, any split, and h11 as the oracle."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Iterator

import h11
import pytest
from tests.ports.upstream_calls import answer, call_to, chunked
from tests.ports.upstream_framing import AMBIGUOUS, REFUSED

from verismo.adapters.upstream_connection import Connection, Deadlines
from verismo.adapters.upstream_exchange import Exchange
from verismo.adapters.upstream_settings import UpstreamSettings
from verismo.model.errors import UpstreamBroken, UpstreamError

BODY_A = b"A" * 40
BODY_B = b"B" * 40
VALID = (
    answer(BODY_A, "content-type: application/json", "x-request-id: 1"),
    chunked(BODY_A[:7], BODY_A[7:30], BODY_A[30:]),
    chunked(BODY_A, end=b"0\r\nx-sum: 1\r\n\r\n"),
    b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + answer(BODY_A),
    b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + BODY_A,
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\ncontent-length: 40\r\n\r\n" + BODY_A,
)
HOSTILE = (*REFUSED.values(), *(raw for raw, _ in AMBIGUOUS.values()))
SEEDS = (*VALID, *(raw for raw in HOSTILE if len(raw) < 1_000))
SPLICES = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\x00",
    b" ",
    b":",
    b"0\r\n\r\n",
    b"content-length: 0\r\n",
    b"transfer-encoding: chunked\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"ffffffff\r\n",
    b"\xff",
    b"-",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"connection: close\r\n",
    b"upgrade: h2c\r\nconnection: upgrade\r\n",
)


class Wire:
    """A connection on a real socket pair whose octets the test hands over itself."""

    def __init__(self) -> None:
        self.freed = 0
        self.lost = 0

    def note_freed(self, connection: Connection) -> None:
        self.freed += 1

    def note_lost(self, connection: Connection) -> None:
        self.lost += 1

    @contextlib.asynccontextmanager
    async def connect(self, settings: UpstreamSettings) -> AsyncIterator[Connection]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.setblocking(False)
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(settings, self.note_freed, self.note_lost, secure=False),
                sock=ours,
            )
            try:
                yield connection
            finally:
                connection.abort()
                await asyncio.sleep(0)


def begin(connection: Connection, response_bytes_max: int = 100_000) -> Exchange:
    call = call_to("http://a.example/", response_bytes_max=response_bytes_max)
    later_s = asyncio.get_running_loop().time() + 60
    return connection.begin(call, b"POST / HTTP/1.1\r\n\r\n", Deadlines(later_s, later_s))


def outcome(exchange: Exchange) -> bytes | UpstreamError:
    """Return what the caller gets; that it waits for nothing any more is part of the check."""

    async def call() -> bytes:
        await exchange.opened()
        return await exchange.read()

    steps = call()
    try:
        steps.send(None)
    except StopIteration as done:
        return done.value
    except UpstreamError as error:
        return error
    steps.close()
    raise AssertionError("the call hangs although its connection is gone")


def pieces(data: bytes, random_source: random.Random) -> Iterator[bytes]:
    """Split data at random places; now and then into single octets."""
    size_max = random_source.choice((1, 5, 40, 10_000))
    at = 0
    while at < len(data):
        size = random_source.randint(1, size_max)
        yield data[at : at + size]
        at += size


def mutated(data: bytes, random_source: random.Random) -> bytes:
    """Change one to four places: flip, cut, double, insert or replace."""
    changed = bytearray(data)
    for _ in range(random_source.randint(1, 4)):
        at = random_source.randrange(len(changed) + 1)
        end = min(len(changed), at + random_source.randint(1, 12))
        kind = random_source.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << random_source.randrange(8)
        elif kind == 1:
            del changed[at:end]
        elif kind == 2:
            changed[at:at] = changed[at:end]
        elif kind == 3:
            changed[at:at] = random_source.choice(SPLICES)
        elif kind == 4:
            changed[at:end] = random_source.choice(SPLICES)
        elif kind == 5 and at < len(changed):
            changed[at] = random_source.randrange(256)
    return bytes(changed)


async def feed(data: bytes, random_source: random.Random) -> tuple[bytes | UpstreamError, int]:
    """Return what a call makes of the octets and how often its connection was freed."""
    wire = Wire()
    async with wire.connect(UpstreamSettings()) as connection:
        exchange = begin(connection)
        for piece in pieces(data, random_source):
            connection.data_received(piece)
        connection.eof_received()
        connection.connection_lost(None)
        return outcome(exchange), wire.freed


def oracle(data: bytes) -> bytes | None:
    """Return the body as h11 reads it, or None if it refuses."""
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=2_000_000)
    client.send(h11.Request(method="POST", target="/", headers=[("host", "a.example")]))
    client.send(h11.EndOfMessage())
    body = b""
    ended = False
    try:
        client.receive_data(data)
        while True:
            event = client.next_event()
            if isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return body
            elif event is h11.NEED_DATA and not ended:
                client.receive_data(b"")
                ended = True
            elif event in (h11.NEED_DATA, h11.PAUSED):
                return None
    except h11.RemoteProtocolError:
        return None


@pytest.mark.parametrize("raw", VALID)
async def test_every_split_reads_the_same(raw: bytes) -> None:
    expected = b"" if b"204" in raw else BODY_A
    for seed in range(60):
        assert (await feed(raw, random.Random(seed)))[0] == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
async def test_mutated_answers_are_read_as_the_oracle_does_or_refused(seed: int) -> None:
    random_source = random.Random(seed)
    agreed = refused = 0
    for _ in range(1_500):
        data = mutated(random_source.choice(SEEDS if seed % 2 else VALID), random_source)
        result, _ = await feed(data, random_source)
        if isinstance(result, bytes):
            other = oracle(data)
            assert other in (None, result), data
            agreed += other is not None
        else:
            refused += 1
    assert agreed > 100, "the mutations leave some answers whole"
    assert refused > 100, "the mutations break some answers"


@pytest.mark.slow
@pytest.mark.parametrize("first", VALID)
async def test_nothing_behind_an_answer_gets_into_it_or_into_the_next(first: bytes) -> None:
    random_source = random.Random(2)
    whole = b"" if b"204" in first else BODY_A
    for _ in range(300):
        surplus = mutated(answer(BODY_B), random_source) or b"B"
        wire = Wire()
        async with wire.connect(UpstreamSettings()) as connection:
            exchange = begin(connection)
            for piece in pieces(first + surplus, random_source):
                connection.data_received(piece)
            until_close = b"connection: close" in first
            if until_close:
                connection.eof_received()
                connection.connection_lost(None)
            result = outcome(exchange)
            if until_close:  # all octets up to the close are the body, by definition
                assert result == BODY_A + surplus
            else:
                assert result == whole
            # An empty line in the same segment is all that llhttp drops without a word.
            assert not connection.usable() or not surplus.strip(b"\r\n")


async def test_octets_before_a_call_are_never_its_answer() -> None:
    wire = Wire()
    async with wire.connect(UpstreamSettings()) as connection:
        connection.data_received(answer(BODY_B))
        assert not connection.usable()
        with pytest.raises(RuntimeError):
            begin(connection)


async def test_a_freed_connection_serves_the_next_call_alone() -> None:
    wire = Wire()
    async with wire.connect(UpstreamSettings()) as connection:
        for number in range(1, 50):
            body = b"%d" % number
            exchange = begin(connection)
            for piece in pieces(chunked(body), random.Random(number)):
                connection.data_received(piece)
            assert outcome(exchange) == body
            assert wire.freed == number
            assert connection.usable()
        assert wire.lost == 0


@pytest.mark.parametrize(
    ("settings", "raw"),
    [
        (UpstreamSettings(headers_max=3), answer(b"ok", "a: 1", "b: 2", "c: 3")),
        (UpstreamSettings(head_bytes_max=100), answer(b"ok", f"a: {'1' * 90}", "b: 2")),
    ],
)
async def test_the_limits_of_a_head_hold_in_any_split(
    settings: UpstreamSettings, raw: bytes
) -> None:
    for seed in range(20):
        async with Wire().connect(settings) as connection:
            exchange = begin(connection)
            for piece in pieces(raw, random.Random(seed)):
                connection.data_received(piece)
            result = outcome(exchange)
            assert isinstance(result, UpstreamBroken)
            assert "limit" in result.detail


async def test_a_lost_connection_is_reported_once() -> None:
    wire = Wire()
    async with wire.connect(UpstreamSettings()) as connection:
        exchange = begin(connection)
        connection.data_received(b"HTTP/1.1 2")
        cause = ConnectionResetError("reset")
        connection.connection_lost(cause)
        result = outcome(exchange)
        assert isinstance(result, UpstreamBroken)
        assert result.__cause__ is cause
        assert wire.lost == 1
        assert not connection.usable()
