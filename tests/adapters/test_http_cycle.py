"""How an answer is spelled on the wire, and how a body that is already here is handed over."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable

import pytest
import uvicorn
from uvicorn.server import ServerState

from verismo.adapters.http_cycle import WHOLE_BODY
from verismo.adapters.http_uvicorn import KEEP_ALIVE_S, ServerSettings, _protocol_with

SETTINGS = ServerSettings(header_bytes_max=8_192, head_s_max=5, drain_s_max=1)
GET = b"GET /a%20b?x=1 HTTP/1.1\r\nhost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


class Asked:
    """A connection and what an application does with each of its requests."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.failures: list[BaseException] = []

        async def watched(scope, receive, send) -> None:
            try:
                await app(scope, receive, send)
            except RuntimeError as error:
                self.failures.append(error)
                raise

        config = uvicorn.Config(watched, ws="none", lifespan="off", log_config=None)
        self.state = ServerState()
        self.protocol = _protocol_with(SETTINGS)(config, self.state, {})
        self.transport = Transport()
        self.protocol.connection_made(self.transport)

    async def ask(self, request: bytes) -> list[bytes]:
        """Send octets, let every request of theirs end and return the writes since the last."""
        self.transport.writes.clear()
        self.protocol.data_received(request)
        while self.state.tasks:
            await asyncio.wait(set(self.state.tasks))
            await asyncio.sleep(0)
        return list(self.transport.writes)


def answering(*bodies: bytes, status: int = 200, headers=()) -> Callable[..., Awaitable[None]]:
    """Return an application that answers with these pieces."""

    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for number, body in enumerate(bodies, start=1):
            more_body = number < len(bodies)
            await send({"type": "http.response.body", "body": body, "more_body": more_body})

    return app


def length(octets: int) -> tuple[bytes, bytes]:
    return (b"content-length", b"%d" % octets)


async def test_whole_answer_leaves_in_one_write():
    asked = Asked(answering(b"body", headers=[(b"a", b"1"), length(4)]))
    for _ in range(2):
        [octets] = await asked.ask(GET)
        assert octets == b"HTTP/1.1 200 OK\r\na: 1\r\ncontent-length: 4\r\n\r\nbody"
    assert asked.state.total_requests == 2


async def test_pieces_without_a_length_are_chunks_and_the_first_comes_with_the_head():
    assert await Asked(answering(b"one", b"", b"three")).ask(GET) == [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n",
        b"5\r\nthree\r\n0\r\n\r\n",
    ]


async def test_answer_to_head_has_no_body():
    head = GET.replace(b"GET", b"HEAD")
    [octets] = await Asked(answering(b"body", headers=[length(4)])).ask(head)
    assert octets.endswith(b"content-length: 4\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
async def test_status_without_a_body_is_not_chunked(status: int):
    [octets] = await Asked(answering(b"", status=status)).ask(GET)
    assert b"transfer-encoding" not in octets
    assert octets.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "request_", [GET.replace(b"1.1", b"1.0"), GET[:-2] + b"connection: close\r\n\r\n"]
)
async def test_client_that_does_not_keep_the_connection_is_told_and_it_closes(request_: bytes):
    asked = Asked(answering(b"x", headers=[length(1)]))
    [octets] = await asked.ask(request_)
    assert b"\r\nconnection: close\r\n" in octets
    assert asked.transport.is_closed


@pytest.mark.parametrize(
    "value", [b"a\r\nset-cookie: x", b"a\nb", b"a\rb", b"\x00", b"\x1b[", b"\x7f"]
)
@pytest.mark.parametrize("place", ["name", "value"])
async def test_header_that_could_split_the_answer_is_never_written(value: bytes, place: str):
    header = (value, b"v") if place == "name" else (b"n", value)
    asked = Asked(answering(b"x", headers=[header, length(1)]))
    written = b"".join(await asked.ask(GET))
    assert value not in written
    assert "control character" in str(asked.failures[0])


@pytest.mark.parametrize("name", [b"connection", b"transfer-encoding"])
async def test_header_that_frames_the_answer_is_the_servers(name: bytes):
    asked = Asked(answering(b"x", headers=[(name, b"chunked"), length(1)]))
    assert b"x" not in await asked.ask(GET)
    assert "server's alone" in str(asked.failures[0])


async def test_application_that_ends_without_an_answer_is_answered_for_with_a_500():
    async def silent(scope, receive, send) -> None:
        """Say nothing."""

    asked = Asked(silent)
    [octets] = await asked.ask(GET)
    assert octets.startswith(b"HTTP/1.1 500 ")
    assert octets.count(b"connection: close\r\n") == 1
    assert asked.transport.is_closed


async def test_tabs_and_octets_beyond_ascii_are_kept_in_a_header():
    [octets] = await Asked(answering(b"", headers=[(b"n", b"a\tb\xe9"), length(0)])).ask(GET)
    assert b"\r\nn: a\tb\xe9\r\n" in octets


@pytest.mark.parametrize("stated", [3, 5])
async def test_body_of_another_length_than_stated_ends_the_connection(stated: int):
    asked = Asked(answering(b"body", headers=[length(stated)]))
    await asked.ask(GET)
    assert "another length" in str(asked.failures[0])
    assert asked.transport.is_closed
    assert b"".join(asked.transport.writes) == b""


@pytest.mark.parametrize(
    "kinds", [("body",), ("start", "start"), ("start", "body", "body"), ("start", "body", "start")]
)
async def test_message_out_of_its_turn_is_a_mistake(kinds: tuple[str, ...]):
    async def app(scope, receive, send) -> None:
        for kind in kinds:
            await send({"type": f"http.response.{kind}", "status": 200, "headers": [length(0)]})

    asked = Asked(app)
    await asked.ask(GET)
    assert "out of its turn" in str(asked.failures[0])


async def test_pipelined_requests_are_answered_in_their_order():
    async def app(scope, receive, send) -> None:
        await answering(scope["query_string"], headers=[length(3)])(scope, receive, send)

    asked = Asked(app)
    requests = [GET.replace(b"x=1", b"x=%d" % number) for number in (1, 2, 3)]
    written = await asked.ask(b"".join(requests))
    assert [octets[-3:] for octets in written] == [b"x=1", b"x=2", b"x=3"]


async def test_scope_says_what_was_asked():
    scopes = []

    async def app(scope, receive, send) -> None:
        scopes.append(scope)
        await answering(b"", headers=[length(0)])(scope, receive, send)

    await Asked(app).ask(GET)
    [scope] = scopes
    assert (scope["method"], scope["http_version"]) == ("GET", "1.1")
    assert (scope["path"], scope["raw_path"]) == ("/a b", b"/a%20b")
    assert scope["query_string"] == b"x=1"


class Reading:
    """An application that takes the body at hand, or else waits for it."""

    def __init__(self) -> None:
        self.at_hand: list[bytes | None] = []
        self.received: list[bytes] = []

    async def __call__(self, scope, receive, send) -> None:
        self.at_hand.append(scope["extensions"][WHOLE_BODY]["take"]())
        if self.at_hand[-1] is None:
            message = await receive()
            while message.get("more_body"):
                self.received.append(message["body"])
                message = await receive()
            self.received.append(message.get("body", b"gone"))
        await answering(b"", headers=[length(0)])(scope, receive, send)


async def test_body_that_came_with_its_head_is_at_hand():
    app = Reading()
    asked = Asked(app)
    await asked.ask(POST + b"body")
    await asked.ask(GET)
    assert app.at_hand == [b"body", b""]


async def test_body_that_is_still_coming_is_not_at_hand():
    app = Reading()
    asked = Asked(app)
    asked.protocol.data_received(POST + b"bo")
    await asyncio.sleep(0)
    assert app.at_hand == [None]
    await asked.ask(b"dy")
    assert b"".join(app.received) == b"body"


async def test_body_of_a_client_that_left_is_not_at_hand():
    asked = Asked(Reading())
    asked.protocol.data_received(POST + b"body")
    asked.protocol.connection_lost(None)
    assert asked.protocol.cycle.whole_body() is None
    await asyncio.wait(set(asked.state.tasks))


async def test_connection_without_a_request_is_closed_when_its_time_is_over():
    asked = Asked(answering(b"", headers=[length(0)]))
    await asked.ask(GET)
    since = asked.protocol._idle_since
    asked.protocol.end_if_idle(since - 1)
    assert not asked.transport.is_closed
    asked.protocol.data_received(GET[:10])
    asked.protocol.end_if_idle(since + KEEP_ALIVE_S)
    assert not asked.transport.is_closed, "a request has begun"
    await asked.ask(GET[10:])
    asked.protocol.end_if_idle(asked.protocol._idle_since + 1)
    assert asked.transport.is_closed


async def test_answered_request_leaves_nothing_to_the_collector():
    left = []

    async def app(scope, receive, send) -> None:
        left.append(weakref.ref(scope["extensions"][WHOLE_BODY]["take"].__self__))
        await answering(b"", headers=[length(0)])(scope, receive, send)

    asked = Asked(app)
    gc.disable()
    try:
        await asked.ask(GET)
        await asked.ask(GET)
        assert left[0]() is None, "only the connection's last request is still known"
    finally:
        gc.enable()
