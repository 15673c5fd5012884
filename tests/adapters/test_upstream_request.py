"""Calls as octets: what is sent, what is remembered, what is refused."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ports.upstream_calls import call_to

from verismo.adapters.upstream_request import (
    CACHE_ENTRIES_MAX,
    Origin,
    RequestEncoder,
    check_header,
    parse_url,
)
from verismo.model.errors import UpstreamUnreachable


def encode(encoder: RequestEncoder, **changes) -> bytes:
    call = call_to(changes.pop("url", "http://a.example/v1?q=1"), **changes)
    return encoder.encode(call)[1]


def test_a_head_is_spelled_as_expected() -> None:
    head = encode(RequestEncoder(accept_gzip=False), headers=(("x-a", "b"),), body=b"{}")
    assert head == (
        b"POST /v1?q=1 HTTP/1.1\r\n"
        b"host: a.example\r\n"
        b"accept-encoding: identity\r\n"
        b"authorization: Bearer sk-this-is-the-credential\r\n"
        b"x-a: b\r\n"
        b"content-length: 2\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize(
    ("url", "origin", "authority", "target"),
    [
        ("http://a.example", Origin("http", "a.example", 80), "a.example", "/"),
        ("https://a.example/", Origin("https", "a.example", 443), "a.example", "/"),
        ("https://A.example:8443/x", Origin("https", "a.example", 8443), "A.example:8443", "/x"),
        ("http://a.example?q=1", Origin("http", "a.example", 80), "a.example", "/?q=1"),
        ("http://[::1]:81/x%20y", Origin("http", "::1", 81), "[::1]:81", "/x%20y"),
        ("http://a/b;c=d/~e!$&'()*+,:@?f/?g", Origin("http", "a", 80), "a", None),
    ],
)
def test_urls_are_split(url: str, origin: Origin, authority: str, target: str | None) -> None:
    assert parse_url(url) == (origin, authority, target or url.removeprefix("http://a"))


@given(st.text(max_size=40))
def test_no_text_in_a_url_makes_a_second_line(text: str) -> None:
    try:
        head = encode(RequestEncoder(accept_gzip=False), url=f"http://a.example/{text}")
    except UpstreamUnreachable:
        return
    assert head.count(b"\r\n") == head.count(b"\r") == head.count(b"\n") == 6
    assert head.split(b"\r\n")[0].count(b" ") == 2


@given(st.text(max_size=20), st.text(max_size=40))
def test_no_text_in_a_header_makes_a_second_header(name: str, value: str) -> None:
    try:
        head = encode(RequestEncoder(accept_gzip=False), headers=((name, value),))
    except UpstreamUnreachable:
        return
    # h11 is the oracle: what another strict parser makes of our octets.
    server = h11.Connection(h11.SERVER)
    server.receive_data(head)
    request = server.next_event()
    assert isinstance(request, h11.Request)
    assert (name.encode(), value.encode("latin-1")) in request.headers
    assert len(request.headers) == 5


def test_what_is_remembered_is_bounded() -> None:
    encoder = RequestEncoder(accept_gzip=False)
    first = encode(encoder, url="http://a.example/0", headers=(("x-a", "0"),))
    for number in range(2 * CACHE_ENTRIES_MAX + 7):
        encode(encoder, url=f"http://a.example/{number}", headers=(("x-a", f"{number}"),))
    assert len(encoder._starts) <= CACHE_ENTRIES_MAX
    assert len(encoder._lines) <= CACHE_ENTRIES_MAX
    assert encode(encoder, url="http://a.example/0", headers=(("x-a", "0"),)) == first


def test_long_texts_are_not_remembered() -> None:
    encoder = RequestEncoder(accept_gzip=False)
    encode(encoder, url="http://a.example/" + "a" * 5_000, headers=(("x-a", "b" * 5_000),))
    assert len(encoder._starts) == 0
    assert len(encoder._lines) == 1  # the credential


def test_a_refusal_names_the_header_and_not_its_value() -> None:
    with pytest.raises(UpstreamUnreachable) as caught:
        check_header("authorization", "Bearer secret\n")
    assert "`authorization`" in caught.value.detail
    assert "secret" not in caught.value.detail
    assert not caught.value.retryable


def test_header_whose_value_never_comes_again_drives_nothing_out() -> None:
    encoder = RequestEncoder(accept_gzip=False)
    for number in range(CACHE_ENTRIES_MAX + 1):
        head = encode(encoder, headers=(("traceparent", f"00-{number}"),))
        assert b"\r\ntraceparent: 00-%d\r\n" % number in head
    assert [name for name, _ in encoder._lines] == ["authorization"]
