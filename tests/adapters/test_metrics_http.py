"""A metrics page is read whole or not at all, from the address that was named and no other."""

import asyncio
from contextlib import suppress

import pytest

from verismo.adapters.metrics_http import BODY_BYTES_MAX, HttpMetrics
from verismo.ports.scrape import ScrapeFailed


class Page:
    """Answers each request with what it is told to."""

    url = ""
    answer = b""
    asked = b""

    async def serve(self, reader, writer):
        asked = await reader.readuntil(b"\r\n\r\n")
        self.asked = asked.lower()
        writer.write(self.answer)
        try:
            await writer.drain()
        except ConnectionError:
            """The client has read enough."""
        writer.close()


@pytest.fixture
async def page():
    made = Page()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()
    await server.wait_closed()


@pytest.fixture
async def metrics(page):
    keys = {f"{page.url}/metrics": "va_id_secret", f"{page.url}/other": "va_id_another"}
    made = HttpMetrics(5.0, keys)
    yield made
    await made.aclose()


def answering(page, status, body=b""):
    head = f"HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:9/\r\nconnection: close\r\n"
    page.answer = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def test_a_page_is_read_as_it_is(page, metrics):
    answering(page, 200, b"m 1\n")
    assert await metrics.read(f"{page.url}/metrics") == b"m 1\n"


@pytest.mark.parametrize(("path", "key"), [("metrics", "secret"), ("other", "another")])
async def test_each_url_is_sent_its_own_key(page, metrics, path, key):
    answering(page, 200)
    await metrics.read(f"{page.url}/{path}")
    assert f"authorization: bearer va_id_{key}\r\n".encode() in page.asked


async def test_no_key_goes_to_a_url_that_has_none(page, metrics):
    answering(page, 200)
    await metrics.read(f"{page.url}/third")
    assert page.asked
    assert b"authorization" not in page.asked


async def test_no_error_shows_what_a_url_holds_besides_the_address(metrics):
    with pytest.raises(ScrapeFailed) as refused:
        await metrics.read("http://ada:hid@den@127.0.0.1:9/metrics?token=secret")
    assert refused.value.detail.startswith("http://127.0.0.1:9/metrics gives no metrics")
    for hidden in ("hid", "den", "secret"):
        assert hidden not in refused.value.detail


@pytest.mark.parametrize("status", [204, 301, 401, 404, 500])
async def test_another_answer_is_no_page(page, metrics, status):
    answering(page, status, b"m 1\n" * (status != 204))
    with pytest.raises(ScrapeFailed, match=f"it answers {status}"):
        await metrics.read(f"{page.url}/metrics")


@pytest.mark.slow
async def test_a_page_that_drips_is_given_up_on_although_each_step_is_quick():
    over = asyncio.Event()

    async def drip(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n")
        while not over.is_set():
            writer.write(b"m ")
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.05)
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    made = HttpMetrics(0.5)
    try:
        async with asyncio.timeout(60):
            with pytest.raises(ScrapeFailed, match="gives no metrics"):
                await made.read(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics")
    finally:
        over.set()
        await made.aclose()
        server.close()
        await server.wait_closed()


@pytest.mark.slow
async def test_a_page_without_an_end_is_cut_off(page, metrics):
    answering(page, 200, b"x" * (BODY_BYTES_MAX + 1))
    with pytest.raises(ScrapeFailed, match="more than"):
        await metrics.read(f"{page.url}/metrics")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/metrics", "http://[::bad/metrics"])
async def test_an_address_where_nobody_is_says_so(metrics, url):
    with pytest.raises(ScrapeFailed, match="gives no metrics"):
        await metrics.read(url)
