"""Step 1 on its own: headers, body within limits, and whom a proxy speaks for."""

import asyncio
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.gateway.receive import (
    ClientGone,
    Head,
    body_at_hand,
    client_address,
    read_head,
    receive_request,
)
from verismo.model.errors import (
    BodyTooLarge,
    HeadersTooLarge,
    MalformedRequest,
    RequestTimeout,
)
from verismo.model.limits import Limits

PROXIES = tuple(ipaddress.ip_network(one) for one in ("10.0.0.0/8", "fd00::/8"))
LIMITS = Limits(header_bytes_max=6_000, request_ms_max=30)


def head(*headers: tuple[bytes, bytes], trusted=(), client=("10.0.0.1", 5)) -> Head:
    scope = {
        "method": "POST",
        "raw_path": b"/a%2Fb",
        "query_string": b"x=1",
        "headers": list(headers),
        "client": client,
    }
    return read_head(scope, LIMITS, trusted, 7)


async def receive(*messages: dict, body_bytes_max: int = 10, length: bytes = b"") -> bytes:
    waiting = list(messages)

    async def next_message() -> dict:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    read = head((b"content-length", length)) if length else head()
    return (await receive_request(read, None, next_message, LIMITS, body_bytes_max)).body


def piece(body: bytes, *, more: bool) -> dict:
    return {"type": "http.request", "body": body, "more_body": more}


def test_head_is_taken_as_it_was_sent():
    read = head((b"x", b"1"), (b"x", b"\xe9"))
    assert (read.method, read.path, read.query) == ("POST", "/a%2Fb", b"x=1")
    assert read.headers == {"x": "\xe9"}, "of repeated headers the last"
    assert (read.received_ms, read.peer) == (7, "10.0.0.1")


def test_client_without_an_address_has_none():
    assert head(client=None, trusted=PROXIES).peer == ""


@pytest.mark.parametrize(
    "name", [b"authorization", b"x-api-key", b"api-key", b"attest-nonce", b"content-type"]
)
def test_header_that_decides_may_not_stand_twice(name: bytes):
    with pytest.raises(MalformedRequest, match="stands twice"):
        head((name, b"a"), (name, b"a"))


def test_headers_are_counted_together_with_their_names():
    head((b"x" * 3_000, b"y" * 3_000))
    with pytest.raises(HeadersTooLarge):
        head((b"x" * 3_000, b"y" * 1_500), (b"z", b"y" * 1_500))


async def test_pieces_are_put_together():
    assert await receive(
        piece(b"ab", more=True), piece(b"", more=True), piece(b"c", more=False)
    ) == (b"abc")


async def test_body_over_the_limit_is_refused_as_soon_as_it_is_known():
    with pytest.raises(BodyTooLarge):
        await receive(length=b"11")
    with pytest.raises(BodyTooLarge):
        await receive(piece(b"123456", more=True), piece(b"78901", more=True))
    assert await receive(piece(b"1234567890", more=False), length=b"10") == b"1234567890"


@pytest.mark.parametrize("length", [b"\xb2", b"-1", b"1e3", b"ten"])
async def test_length_that_is_no_number_leaves_the_count_to_the_body(length: bytes):
    """The server refuses such a head; whoever serves the application otherwise may not."""
    assert await receive(piece(b"abc", more=False), length=length) == b"abc"


async def test_length_of_thousands_of_digits_is_too_large():
    with pytest.raises(BodyTooLarge):
        await receive(length=b"9" * 5_000)


async def test_body_that_does_not_come_is_a_timeout():
    with pytest.raises(RequestTimeout):
        await receive(piece(b"a", more=True))


async def test_client_that_leaves_within_its_body_is_gone():
    with pytest.raises(ClientGone):
        await receive(piece(b"a", more=True), {"type": "http.disconnect"})


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("8.8.8.8", "1.2.3.4", "8.8.8.8"),
        ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.9.9.9", "1.2.3.4"),
        ("10.0.0.1", "10.1.1.1", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", " , ,", "10.0.0.1"),
        ("fd00::1", "2001:db8::5", "2001:db8::5"),
        ("not an address", "1.2.3.4", "not an address"),
    ],
)
def test_right_most_address_that_is_no_proxy_is_the_client(peer, forwarded, client):
    """Everything to its left could have been written by the client."""
    assert client_address(peer, {"x-forwarded-for": forwarded}, PROXIES) == client


@given(st.text(max_size=40), st.text(max_size=20))
def test_stranger_is_never_believed(forwarded: str, before: str):
    headers = {"x-forwarded-for": f"{before},{forwarded}"}
    assert client_address("8.8.8.8", headers, PROXIES) == "8.8.8.8"
    assert client_address("10.0.0.1", headers, ()) == "10.0.0.1"


@given(st.lists(st.ip_addresses(v=4).map(str), max_size=5))
def test_what_a_client_writes_before_its_proxy_changes_nothing(forged: list[str]):
    headers = {"x-forwarded-for": ", ".join([*forged, "1.2.3.4", "10.0.0.7"])}
    assert client_address("10.0.0.1", headers, PROXIES) == "1.2.3.4"


async def test_body_at_hand_is_taken_without_waiting_and_within_the_limit():
    async def never() -> dict:
        raise AssertionError("nothing is to be received")

    scope = {"extensions": {"verismo.whole_body": {"take": lambda: b"0123456789"}}}
    body = body_at_hand(scope)
    assert (await receive_request(head(), body, never, LIMITS, 10)).body == b"0123456789"
    with pytest.raises(BodyTooLarge, match="9 bytes"):
        await receive_request(head(), body, never, LIMITS, 9)


@pytest.mark.parametrize("extensions", [{}, {"extensions": {}}, {"extensions": {"tls": {}}}])
def test_server_without_the_extension_has_no_body_at_hand(extensions: dict):
    assert body_at_hand(extensions) is None
