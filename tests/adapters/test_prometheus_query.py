"""One number of Prometheus: exactly one sample, of now, that is a count; or no data."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from verismo.adapters.prometheus_query import PrometheusNumber
from verismo.model.errors import StateError

NOW_S = 1_790_000_000.0


class Prometheus:
    """Answers each query with what it was told to."""

    def __init__(self):
        self.status = 200
        self.body = b""
        self.queries = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                parts = urlsplit(self.path)
                outer.queries.append((parts.path, parse_qs(parts.query)["query"][0]))
                self.send_response(outer.status)
                self.send_header("content-length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *arguments):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))

    def says(self, *samples, kind="vector", status="success"):
        data = {
            "resultType": kind,
            "result": [{"metric": {}, "value": list(sample)} for sample in samples],
        }
        self.body = json.dumps({"status": status, "data": data}).encode()


@pytest.fixture
def prometheus():
    prometheus = Prometheus()
    prometheus.thread.start()
    yield prometheus
    prometheus.server.shutdown()
    prometheus.thread.join()
    prometheus.server.server_close()


@pytest.fixture
def number(prometheus):
    url = f"http://127.0.0.1:{prometheus.server.server_port}"
    return PrometheusNumber(url, 'sum(waiting{app="reader"})', lambda: NOW_S)


def test_a_number_is_asked_for_and_told(number, prometheus):
    prometheus.says((NOW_S, "2.5"))
    assert number.milli() == 2_500
    assert prometheus.queries == [("/api/v1/query", 'sum(waiting{app="reader"})')]


def test_replicas_are_whole(number, prometheus):
    prometheus.says((NOW_S, "7"))
    assert number.replicas() == 7
    prometheus.says((NOW_S, "7.5"))
    with pytest.raises(StateError, match=r"7\.5 replicas"):
        number.replicas()


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf", "-1", "1e12", "seven", ""])
def test_what_is_no_count_is_no_number(number, prometheus, text):
    prometheus.says((NOW_S, text))
    with pytest.raises(StateError):
        number.milli()


@pytest.mark.parametrize("count", [0, 2])
def test_no_sample_and_several_are_no_number(number, prometheus, count):
    prometheus.says(*[(NOW_S, "1")] * count)
    with pytest.raises(StateError, match=f"{count} samples"):
        number.milli()


@pytest.mark.parametrize("at_s", [NOW_S - 61, NOW_S + 61])
def test_a_sample_of_another_time_is_no_number(number, prometheus, at_s):
    prometheus.says((at_s, "1"))
    with pytest.raises(StateError, match="clocks"):
        number.milli()


def test_an_answer_of_another_kind_is_no_number(number, prometheus):
    prometheus.says((NOW_S, "1"), kind="matrix")
    with pytest.raises(StateError, match="cannot be read"):
        number.milli()
    prometheus.says((NOW_S, "1"), status="error")
    with pytest.raises(StateError, match="cannot be read"):
        number.milli()
    prometheus.body = b"<html>"
    with pytest.raises(StateError, match="cannot be read"):
        number.milli()
    prometheus.body = b" " * 1_100_000
    with pytest.raises(StateError, match="over 1048576 bytes"):
        number.milli()
    prometheus.status, prometheus.body = 503, b"{}"
    with pytest.raises(StateError, match="503"):
        number.milli()


def test_a_prometheus_that_is_away_is_no_number():
    number = PrometheusNumber("http://127.0.0.1:9", "up", lambda: NOW_S)
    with pytest.raises(StateError) as caught:
        number.milli()
    assert "Prometheus" in caught.value.advice
