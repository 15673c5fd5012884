"""The promised command compares two URLs, answers by its exit code, and keeps what it saw."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from tests.support.countedgateway import CountedGateway

from verismo.adapt.canaryfile import CanaryFile, replay

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "controllers" / "adaptive-canary.py"
WEIGHTS = ("--score-weights", "p95=0.5,error=0.3,cost=0.2")
AWAY = "http://127.0.0.1:9"


@pytest.fixture
def published():
    """Serve gateways' metrics; each answers a number of requests before it is read."""
    servers = []

    def serve(gateway, requests=150):
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                with lock:
                    gateway.serve(requests)
                    body = gateway.text()
                is_found = self.path == "/metrics"
                self.send_response(200 if is_found else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def compare(verismo, out, baseline, candidate, *more):
    return verismo(
        *("canary", "compare", "--baseline", baseline, "--candidate", candidate),
        *("--window-s", 1, "--out", out, *more),
    )


def kept(out):
    return msgspec.json.decode(out.read_bytes(), type=CanaryFile)


@pytest.mark.slow
def test_the_literal_command_without_data_is_held_with_exit_code_3(tmp_path):
    out = tmp_path / "evidence" / "v0.3.5" / "adapt" / "canary-decisions.json"
    found = subprocess.run(
        [
            *(sys.executable, str(SHIM), "--window", "10", *WEIGHTS, "--window-s", "1"),
            *("--baseline", AWAY, "--candidate", AWAY, "--out", str(out)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert found.returncode == 3, found.stderr
    assert found.stdout.startswith("HOLD")
    file = kept(out)
    assert (file.verdict, file.reasons[0]) == ("HOLD", "insufficient_data")
    assert file.score.weights.p95_ppm == 500_000


def test_the_shim_is_a_shim():
    assert len(SHIM.read_text().splitlines()) <= 15


@pytest.mark.slow
def test_an_equal_candidate_is_promoted_with_exit_code_0(verismo, published, tmp_path):
    out = tmp_path / "f.json"
    urls = published(CountedGateway(1), 400), published(CountedGateway(2), 400)
    found = compare(verismo, out, *urls, "--window", 7)
    assert found.code == 0, found.err
    assert found.out.startswith("PROMOTE")
    file = kept(out)
    assert (file.origin, len(file.decisions)) == ("scraped", 8)
    assert replay(file).differing == ()
    assert replay(file).is_concluded


@pytest.mark.slow
def test_a_candidate_that_fails_is_rolled_back_with_exit_code_4(verismo, published, tmp_path):
    out = tmp_path / "f.json"
    urls = published(CountedGateway(1)), published(CountedGateway(2, failing=0.6))
    found = compare(verismo, out, *urls, "--window", 4)
    assert found.code == 4
    assert kept(out).verdict == "ROLLBACK"


@pytest.mark.slow
def test_a_page_that_is_no_metrics_is_no_data(verismo, published, tmp_path):
    out = tmp_path / "f.json"
    url = published(CountedGateway(1))
    found = compare(verismo, out, url, f"{url}/login", "--window", 1)
    assert found.code == 3
    assert "answers 404" in kept(out).reasons[1]


@pytest.mark.parametrize(
    "words",
    [
        ("--score-weights", "p95=0.5,error=0.3"),
        ("--score-weights", "p95=NaN,error=1"),
        ("--score-weights", "p95=0.5,p95=0.5"),
        ("--score-weights", "speed=1"),
        ("--score-weights", "p95=-0.5,error=1.5"),
        ("--score-weights", ""),
        ("--baseline", "blue"),
        ("--baseline", "ftp://blue"),
        ("--candidate", "http://"),
        ("--window", "0"),
        ("--window", "ten"),
        ("--window-s", "0"),
        ("--errors", "m{a=(}"),
        ("--latency", ""),
        ("--latency-unit", "hours"),
        ("--key-file", "/nowhere"),
        ("--out", "/dev/null/f"),
    ],
)
def test_wrong_usage_is_exit_code_2(verismo, tmp_path, words):
    found = compare(verismo, tmp_path / "f", AWAY, AWAY, "--window", 1, *words)
    assert found.code == 2


def test_without_an_out_or_a_url_nothing_is_compared(verismo):
    for words in (("--baseline", AWAY, "--candidate", AWAY), ("--baseline", AWAY, "--out", "f")):
        assert verismo("canary", "compare", *words).code == 2
