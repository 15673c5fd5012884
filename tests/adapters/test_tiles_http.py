"""A published log over HTTP: what a server may answer, and what it may not."""

import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from verismo.adapters import tiles_http
from verismo.adapters.tiles_http import HttpLog
from verismo.model.errors import StateError

LIMIT_BYTES = 100_000
ANSWERS = {"/log/checkpoint": (200, 10), "/log/large": (200, LIMIT_BYTES)}


class Site(BaseHTTPRequestHandler):
    """Answers what `ANSWERS` says; `/log/endless` never ends."""

    def do_GET(self):
        if self.path == "/log/endless":
            self.send_response(200)
            self.end_headers()
            while self.send(b"x" * 65_536):
                pass
            return
        name = self.path.rpartition("/")[2]
        status, count = ANSWERS[self.path] if self.path in ANSWERS else (int(name), 0)
        self.send_response(status)
        self.send_header("content-length", str(count))
        self.end_headers()
        self.send(b"x" * count)

    def send(self, content):
        try:
            self.wfile.write(content)
        except OSError:
            return False
        return True

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def log(monkeypatch):
    monkeypatch.setattr(tiles_http, "BUNDLE_BYTES_MAX", LIMIT_BYTES)
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with closing(HttpLog(f"http://127.0.0.1:{server.server_port}/log/")) as log:
            yield log
        server.shutdown()
        thread.join()


def test_files_are_read_up_to_the_largest_that_a_log_has(log):
    assert log.read("checkpoint") == b"x" * 10
    assert log.read("large") == b"x" * LIMIT_BYTES


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_is_not_there_is_none(log, status):
    assert log.read(str(status)) is None


def test_an_answer_that_never_ends_fills_no_memory(log):
    with pytest.raises(StateError, match="answers more than 100000 bytes"):
        log.read("endless")


def test_a_server_that_fails_is_no_log_without_a_file(log):
    with pytest.raises(StateError, match="answers 500") as refusal:
        log.read("500")
    assert "try again" in refusal.value.advice


def test_nobody_at_the_url_is_said():
    with closing(HttpLog("http://127.0.0.1:9/log")) as log, pytest.raises(StateError, match="read"):
        log.read("checkpoint")
