"""An exchange is over in its time, whatever drips in; nothing is followed, and no key is shown."""

import contextlib
import http.server
import socket
import ssl
import threading
import time
from contextlib import contextmanager

import pytest

from verismo.adapters.prometheus_query import READ_S_MAX, PrometheusNumber
from verismo.adapters.timed_http import Asked, Unanswered, exchange
from verismo.model.errors import StateError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
TRUSTED = ssl.create_default_context()
DRIP_S = 0.05


@contextmanager
def dripping(at_once: bytes):
    """A server that sends a byte now and then after what it sends at once, for ever."""
    ended = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(at_once)
                for byte in HEAD[len(at_once) :] + b"x" * 100_000:
                    if ended.wait(DRIP_S):
                        return
                    connection.sendall(bytes([byte]))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        ended.set()
        listening.close()
        thread.join()


@contextmanager
def answering(status, headers, body):
    """A server that answers everything alike; yields its URL and the paths that were asked for."""
    paths = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", paths
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [b"", HEAD], ids=["head", "body"])
def test_a_server_that_drips_bytes_holds_nobody_beyond_the_time(at_once):
    with dripping(at_once) as url:
        began = time.monotonic()
        with pytest.raises(Unanswered, match="within"):
            exchange(Asked("GET", url), TRUSTED, 6 * DRIP_S, 1_000_000)
        assert time.monotonic() - began < 10


@pytest.mark.slow
def test_a_prometheus_that_drips_bytes_does_not_stop_the_controllers():
    with dripping(HEAD) as url:
        began = time.monotonic()
        with pytest.raises(StateError, match="within"):
            PrometheusNumber(url, "up", time.time).milli()
        assert time.monotonic() - began < READ_S_MAX + 10


def test_a_redirect_to_a_place_within_is_not_followed():
    with answering(307, {"location": "/latest/meta-data"}, b"secret") as (url, paths):
        told = exchange(Asked("GET", f"{url}/scale"), TRUSTED, 5, 1_000)
    assert (told.status, told.body, paths) == (307, b"", ["/scale"])


def test_an_answer_that_is_too_long_is_none():
    with (
        answering(200, {}, b"x" * 1_001) as (url, _),
        pytest.raises(Unanswered, match="over 1000 bytes"),
    ):
        exchange(Asked("GET", url), TRUSTED, 5, 1_000)


async def test_it_may_be_called_where_an_event_loop_runs():
    with answering(200, {}, b"here") as (url, paths):
        told = exchange(Asked("GET", url, params={"query": "a b"}), TRUSTED, 5, 1_000)
    assert (told.body, paths) == (b"here", ["/?query=a+b"])


def test_a_request_in_an_error_shows_no_key():
    assert "Bearer" not in repr(Asked("GET", "http://one", {"authorization": "Bearer key"}))
