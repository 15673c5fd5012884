"""Verdicts on heads: doubt, reuse, and bodies that end with the connection."""

import pytest

from verismo.adapters.upstream_framing import Framing, judge

LENGTH = {b"content-length": b"5"}
CHUNKED = {b"transfer-encoding": b"Chunked"}


def verdict(status=200, version="1.1", headers=LENGTH, method="POST", secure=False) -> Framing:
    return judge(status, version, headers, method=method, secure=secure)


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("headers", [LENGTH, CHUNKED])
def test_a_delimited_answer_keeps_the_connection(headers: dict[bytes, bytes], secure: bool) -> None:
    assert verdict(headers=headers, secure=secure) == ("", True, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": 600},
        {"version": "0.9"},
        {"version": "2.0"},
        {"headers": LENGTH | CHUNKED},
        {"headers": {b"transfer-encoding": b"gzip, chunked"}},
        {"headers": {b"transfer-encoding": b""}},
        {"headers": CHUNKED, "version": "1.0"},
        {"headers": {b"content-length": b""}},
        {"headers": {b"content-length": b"5,5"}},
        {"headers": {b"content-length": "\u0665".encode()}},
        {"headers": {}, "secure": True},
        {"headers": LENGTH | CHUNKED, "status": 204},
    ],
)
def test_doubt_is_a_refusal(changes) -> None:
    doubt, reusable, until_close = verdict(**changes)
    assert doubt
    assert not reusable
    assert not until_close


@pytest.mark.parametrize(
    ("changes", "reusable"),
    [
        ({"status": 204, "headers": {}}, True),
        ({"status": 204, "headers": {}, "secure": True}, True),
        ({"status": 204}, False),
        ({"status": 204, "headers": CHUNKED}, False),
        ({"status": 304}, True),
        ({"status": 304, "version": "1.0"}, False),
        ({"method": "HEAD"}, False),
        ({"method": "HEAD", "headers": {}, "secure": True}, False),
    ],
)
def test_answers_without_a_body_never_wait_for_the_close(changes, reusable: bool) -> None:
    assert verdict(**changes) == ("", reusable, False)


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    assert verdict(headers={}) == ("", False, True)
    assert verdict(headers={}, version="1.0") == ("", False, True)


def test_http_1_0_is_never_kept() -> None:
    assert verdict(version="1.0") == ("", False, False)
