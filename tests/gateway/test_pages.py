"""The verifier's page over HTTP: methods, caching and its policy."""

import pytest
from tests.support.gateway import running_gateway
from tests.support.verifypage import FILE

from verismo.gateway.pages import VerifyPage
from verismo.model.errors import StateError

DOCUMENT = FILE.read_bytes()


async def test_anybody_may_read_the_page(tmp_path):
    async with running_gateway(tmp_path) as gateway:
        answer = await gateway.send("GET", "/verify", key=None)
        assert answer.status == 200
        assert answer.body == DOCUMENT
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


async def test_the_header_allows_no_more_than_the_page_and_this_gateway(tmp_path):
    async with running_gateway(tmp_path) as gateway:
        answer = await gateway.send("GET", "/verify", key=None)
    header = answer.headers["content-security-policy"].split("; ")
    assert "connect-src 'self'" in header
    assert "default-src 'none'" in header
    assert "frame-ancestors 'none'" in header
    assert not any("unsafe" in directive or "*" in directive for directive in header)
    within = DOCUMENT.decode().split('Content-Security-Policy" content="')[1].split('"')[0]
    assert set(header) - set(within.split("; ")) == {"connect-src 'self'", "frame-ancestors 'none'"}


async def test_a_page_that_is_known_already_is_not_sent_again(tmp_path):
    async with running_gateway(tmp_path) as gateway:
        first = await gateway.send("GET", "/verify", key=None)
        kept = {"if-none-match": first.headers["etag"]}
        again = await gateway.send("GET", "/verify", key=None, headers=kept)
        assert (again.status, again.body) == (304, b"")
        assert "content-length" not in again.headers
        other = await gateway.send("GET", "/verify", key=None, headers={"if-none-match": '"x"'})
        assert other.status == 200


async def test_head_is_answered_without_a_body(tmp_path):
    async with running_gateway(tmp_path) as gateway:
        answer = await gateway.send("HEAD", "/verify", key=None)
        assert (answer.status, answer.body) == (200, b"")
        assert int(answer.headers["content-length"]) == len(DOCUMENT)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_other_methods_are_refused(tmp_path, method):
    async with running_gateway(tmp_path) as gateway:
        answer = await gateway.send(method, "/verify", key=None)
        assert answer.status == 405
        assert answer.headers["allow"] == "GET, HEAD"


def test_a_page_without_a_policy_is_refused():
    with pytest.raises(StateError, match="no Content-Security-Policy"):
        VerifyPage(b"<!doctype html><title>Verify</title>")
