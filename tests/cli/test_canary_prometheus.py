"""The comparison reads both arms out of one Prometheus server, a real one where there is one."""

import asyncio
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import AsyncExitStack, ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from tests.support.countedgateway import CountedGateway
from tests.support.federated import FederatedArm
from tests.support.waiting import until

from verismo.adapt.canaryfile import CanaryFile, replay
from verismo.adapters.metrics_http import HttpMetrics
from verismo.control.federation import Federated, federate_url, read_federated
from verismo.control.metricstext import TextRefused, parse_selector
from verismo.control.scrapes import Meters, SourceLies, grown
from verismo.ports.scrape import ScrapeFailed

SHIM = Path(__file__).parents[2] / "controllers" / "adaptive-canary.py"
AWAY = "http://127.0.0.1:9"
ARMS = ("--baseline", 'job="blue"', "--candidate", '{job="green"}')
METERS = Meters(
    parse_selector("verismo_request_seconds{outcome=answer}"),
    parse_selector("verismo_requests_total{status=5..}"),
    parse_selector("verismo_cost_usd_total"),
)
START_S_MAX = 30.0


@contextmanager
def serving(answer):
    """Serve what `answer` makes of a path: a status and a body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = answer(self)
            self.send_response(status)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("location", f"{AWAY}/")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def published(gateway, requests=300):
    """Serve a gateway's metrics; it answers some requests before each scrape."""
    lock = threading.Lock()

    def answer(_):
        with lock:
            gateway.serve(requests)
            return 200, gateway.text().replace(b"# EOF\n", b"")

    with serving(answer) as address:
        yield address


@contextmanager
def prometheus(folder, jobs):
    """Run a Prometheus server that scrapes some addresses by job, and end it."""
    targets = "".join(
        f"  - job_name: {job}\n    static_configs: [{{targets: {addresses}}}]\n"
        for job, addresses in jobs.items()
    )
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n{targets}"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *("prometheus", f"--config.file={folder / 'prometheus.yml'}"),
                *(f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={address}"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield f"http://{address}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(20)


async def read(metrics, server, job, stale_s=5):
    """Return what the server has of a job; None while it has nothing that is data."""
    try:
        text = await metrics.read(federate_url(server, f'job="{job}"', METERS))
        return read_federated(
            text, METERS, Federated(stale_s * 1_000, ""), time.time_ns() // 1_000_000
        )
    except (ScrapeFailed, SourceLies, TextRefused):
        return None


async def scraped(server, targets):
    """Wait until so many targets of each job are up."""
    metrics = HttpMetrics(5.0)

    async def are_up():
        found = [await read(metrics, server, job) for job in targets]
        return all(
            one is not None and len(one.targets) == wanted
            for one, wanted in zip(found, targets.values(), strict=True)
        )

    try:
        await until(are_up, START_S_MAX)
    finally:
        await metrics.aclose()


def kept(out):
    return msgspec.json.decode(out.read_bytes(), type=CanaryFile)


def compared_by_shim(server, out, *more):
    return subprocess.run(
        [
            *(sys.executable, str(SHIM), "--prometheus", server, *ARMS, "--out", str(out)),
            *("--window-s", "2", "--stale-s", "2", *more),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.external("prometheus")
def test_arms_of_a_real_server_are_compared_and_a_failing_one_rolled_back(tmp_path):
    with (
        published(CountedGateway(1)) as one,
        published(CountedGateway(2)) as other,
        published(CountedGateway(3, failing=0.6)) as green,
        prometheus(tmp_path, {"blue": [one, other], "green": [green]}) as server,
    ):
        asyncio.run(scraped(server, {"blue": 2, "green": 1}))
        out = tmp_path / "f.json"
        found = compared_by_shim(server, out, "--window", "4")
    assert found.returncode == 4, found.stderr
    file = kept(out)
    assert (file.verdict, file.origin) == ("ROLLBACK", "scraped")
    assert f'Prometheus server {server}: {{job="blue"}} and {{job="green"}}' in file.note
    assert replay(file).differing == ()


@pytest.mark.slow
@pytest.mark.external("prometheus")
def test_an_equal_arm_of_a_real_server_is_promoted(tmp_path):
    with (
        published(CountedGateway(1), 500) as blue,
        published(CountedGateway(2), 500) as green,
        prometheus(tmp_path, {"blue": [blue], "green": [green]}) as server,
    ):
        asyncio.run(scraped(server, {"blue": 1, "green": 1}))
        out = tmp_path / "f.json"
        # Costs need more windows to be evidence.
        weights = ("--score-weights", "p95=0.6,error=0.4")
        found = compared_by_shim(server, out, "--window", "4", *weights)
    assert found.returncode == 0, found.stdout + found.stderr
    assert replay(kept(out)).is_concluded


@pytest.mark.slow
@pytest.mark.external("prometheus")
async def test_a_target_that_a_real_server_loses_is_a_counter_reset(tmp_path):
    metrics = HttpMetrics(5.0)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(metrics.aclose)
        one = stack.enter_context(published(CountedGateway(1)))
        with ExitStack() as lost:
            other = lost.enter_context(published(CountedGateway(2)))
            jobs = {"blue": [one, other], "away": [AWAY.removeprefix("http://")]}
            server = stack.enter_context(prometheus(tmp_path, jobs))
            await scraped(server, {"blue": 2})
            whole = await read(metrics, server, "blue")
            assert await read(metrics, server, "away") is None
        await scraped(server, {"blue": 1})
        less = await read(metrics, server, "blue")
        with pytest.raises(SourceLies, match="came or went"):
            grown(whole, less)


class Lies:
    """A server that answers `/federate` with what it is told to.

    Args:
        status: of its answers.
        alter: is applied to the text.
        age_ms: how old what it has is.
    """

    def __init__(self, status=200, alter=lambda text: text, age_ms=0):
        self.status, self.age_ms = status, age_ms
        self.arms = {
            'job="blue"': FederatedArm({"a": CountedGateway(1)}, "blue"),
            'job="green"': FederatedArm({"b": CountedGateway(2)}, "green"),
        }
        self.arms['job="green"'].alter = alter
        self.keys = set()
        self._lock = threading.Lock()

    def __call__(self, request):
        """Answer."""
        url = urlsplit(request.path)
        (asked,) = parse_qs(url.query)["match[]"]
        assert url.path == "/prom/federate"
        self.keys.add(request.headers.get("authorization"))
        with self._lock:
            arm = next(arm for text, arm in self.arms.items() if asked.endswith(f",{text}}}"))
            arm.scrape(time.time_ns() // 1_000_000 - self.age_ms)
            return self.status, arm.text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lies", "words"),
    [
        (Lies(alter=lambda text: re.sub(r"(502.*}) 0", r"\1 NaN", text)), "counts nan"),
        (Lies(alter=lambda text: re.sub(r"(502.*}) 0", r"\1 -1", text)), "counts -1.0"),
        (Lies(alter=lambda _: "<html>Log in</html>"), "is no sample"),
        (Lies(alter=lambda _: ""), "no_target"),
        (Lies(age_ms=60_000), "stale: up is 60"),
        (Lies(age_ms=-60_000), "clock_ahead"),
        (Lies(status=302), "it answers 302"),
        (Lies(status=400), "it answers 400"),
        (Lies(status=401), "it answers 401"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_server_that_lies_is_no_data(verismo, tmp_path, lies, words):
    out, key_file = tmp_path / "f.json", tmp_path / "key"
    key_file.write_text("secret-of-the-server\n")
    with serving(lies) as address:
        found = verismo(
            *("canary", "compare", "--prometheus", f"http://{address}/prom", *ARMS),
            *("--window", 1, "--window-s", 1, "--key-file", key_file, "--out", out),
        )
    assert found.code == 3, found.err
    assert lies.keys == {"Bearer secret-of-the-server"}
    file = kept(out)
    assert (file.verdict, file.reasons[0]) == ("HOLD", "insufficient_data")
    assert words in file.reasons[1]
    assert "secret" not in out.read_text() + found.out + found.err


@pytest.mark.parametrize(
    "words",
    [
        ("--baseline", "http://blue"),
        ("--candidate", "blue"),
        ("--candidate", 'job=~"("'),
        ("--candidate", "{}"),
        ("--candidate", '{job="blue"}'),
        ("--candidate", 'job="green'),
        ("--prometheus", "prometheus:9090"),
        ("--prometheus", "http://user:word@prometheus:9090"),
        ("--prometheus", "http://prometheus/?a=b"),
        ("--stale-s", "0"),
        ("--stale-s", "61"),
        ("--stale-s", "NaN"),
    ],
)
def test_wrong_usage_is_exit_code_2(verismo, tmp_path, words):
    out = tmp_path / "f"
    found = verismo(
        "canary", "compare", "--prometheus", AWAY, *ARMS, "--window", 1, "--out", out, *words
    )
    assert found.code == 2
    assert not out.exists()


def test_a_selector_or_an_age_without_a_server_is_exit_code_2(verismo, tmp_path):
    found = verismo("canary", "compare", *ARMS, "--out", tmp_path / "f")
    assert found.code == 2
    assert "a selector needs --prometheus" in found.err
    urls = ("--baseline", AWAY, "--candidate", f"{AWAY}/other", "--stale-s", 5)
    found = verismo("canary", "compare", *urls, "--out", tmp_path / "f")
    assert (found.code, "--stale-s goes with" in found.err) == (2, True)
