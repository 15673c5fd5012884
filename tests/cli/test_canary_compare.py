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
GONE = "http://127.0.0.1:7"


@pytest.fixture
def published():
    """Serve gateways' metrics; each answers a number of requests before it is read."""
    servers = []

    def serve(gateway, requests=150, key=""):
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if key and self.headers["authorization"] != f"Bearer {key}":
                    self.send_response(401)
                    self.send_header("content-length", "0")
                    self.end_headers()
                    return
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
    out = Path("evidence/v0.3.5/adapt/canary-decisions.json")
    found = subprocess.run(
        [
            *(sys.executable, str(SHIM), "--window", "10", *WEIGHTS, "--window-s", "1"),
            *("--baseline", AWAY, "--candidate", GONE, "--out", str(out)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert found.returncode == 3, found.stderr
    assert found.stdout.startswith("HOLD")
    file = kept(tmp_path / out)
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
def test_windows_that_do_not_count_are_told_with_those_in_their_place(verismo, published, tmp_path):
    urls = published(CountedGateway(1), 7), published(CountedGateway(2), 7)
    weights = ("--score-weights", "error=0.6,cost=0.4")
    found = compare(verismo, tmp_path / "f.json", *urls, "--window", 1, *weights)
    assert found.code == 3
    assert "with up to 2 more in place of those that do not count" in found.err
    assert "window 2, in place of one that does not count: " in found.err


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
    found = compare(verismo, tmp_path / "f", AWAY, GONE, "--window", 1, *words)
    assert found.code == 2


def test_a_folder_is_made_below_the_working_folder_and_nowhere_else(verismo, tmp_path):
    away = tmp_path / "nonexist"
    found = compare(verismo, away / "o.json", AWAY, GONE, "--window", 1)
    assert (found.code, away.exists()) == (2, False)
    assert f"{away / 'o.json'} cannot be written: No such file" in found.err


@pytest.mark.parametrize("other", [AWAY, "http://ada:hidden@127.0.0.1:9/metrics"])
def test_one_address_for_both_is_exit_code_2(verismo, tmp_path, other):
    found = compare(verismo, tmp_path / "f", AWAY, other, "--window", 1)
    assert found.code == 2
    assert "one address" in found.err
    assert "hidden" not in found.err


@pytest.mark.slow
def test_a_gateway_under_two_names_is_not_compared_with_itself(verismo, published, tmp_path):
    url = published(CountedGateway(1), 400)
    other = url.replace("127.0.0.1", "localhost")
    found = compare(verismo, tmp_path / "f.json", url, other, "--window", 7)
    assert found.code == 3
    assert "the arms overlap" in found.out


def test_without_an_out_or_a_url_nothing_is_compared(verismo):
    for words in (("--baseline", AWAY, "--candidate", AWAY), ("--baseline", AWAY, "--out", "f")):
        assert verismo("canary", "compare", *words).code == 2


def key_files(folder, *keys):
    for number, key in enumerate(keys):
        (folder / f"key{number}").write_text(f"{key}\n")
    return [folder / f"key{number}" for number in range(len(keys))]


@pytest.mark.slow
def test_each_gateway_is_sent_its_own_key_and_none_is_shown(verismo, published, tmp_path):
    out = tmp_path / "f.json"
    urls = [published(CountedGateway(n), key=f"va_id{n}_hidden") for n in (1, 2)]
    blue, green = key_files(tmp_path, "va_id1_hidden", "va_id2_hidden")
    own = ("--baseline-key-file", blue, "--candidate-key-file", green)
    found = compare(verismo, out, *urls, "--window", 1, *own)
    assert [one.verdict for one in kept(out).decisions] != []
    assert not any(one.note for one in kept(out).decisions), "both were read"
    assert "hidden" not in found.out + found.err + out.read_text()


@pytest.mark.slow
def test_a_key_of_one_takes_the_place_of_the_key_of_both(verismo, published, tmp_path):
    out = tmp_path / "f.json"
    urls = [published(CountedGateway(n), key=f"va_id{n}_hidden") for n in (1, 2)]
    blue, green = key_files(tmp_path, "va_id1_hidden", "va_id2_hidden")
    own = ("--key-file", blue, "--candidate-key-file", green)
    compare(verismo, out, *urls, "--window", 1, *own)
    assert not any(one.note for one in kept(out).decisions)


@pytest.mark.slow
def test_what_comes_is_told_at_once_and_then_window_by_window(verismo, published, tmp_path):
    out = tmp_path / "f.json"
    blue, green = published(CountedGateway(1)), published(CountedGateway(2))
    found = compare(verismo, out, blue.replace("//", "//ada:hidden@"), green, "--window", 2)
    lines = found.err.splitlines()
    assert lines[0] == f"comparing {green}/metrics with the baseline {blue}/metrics"
    assert lines[1].startswith(
        "a window lasts 1 s: the first is the reference, the first judgement"
    )
    assert [one.split(":")[0] for one in lines[2:5]] == [
        "reference window",
        "window 1 of 2",
        "window 2 of 2",
    ]
    assert "hidden" not in found.out + found.err + out.read_text()
    assert found.out.splitlines() == [one for one in found.out.splitlines() if "HOLD" in one]


@pytest.mark.slow
def test_a_key_that_is_refused_is_told_before_the_first_window_ends(verismo, published, tmp_path):
    url = published(CountedGateway(1), key="va_id_hidden")
    [wrong] = key_files(tmp_path, "va_wrong")
    found = compare(verismo, tmp_path / "f", url, AWAY, "--window", 1, "--key-file", wrong)
    assert found.code == 3
    [blue, green] = [one for one in found.err.splitlines() if one.startswith("no data yet")]
    assert "baseline" in blue
    assert "answers 401" in blue
    assert "candidate" in green
    assert "va_wrong" not in found.out + found.err


def test_keys_that_do_not_fit_together_are_wrong_usage(verismo, tmp_path):
    out = tmp_path / "f"
    blue, green, torn = key_files(tmp_path, "va_1", "va_2", "va_3\nva_hidden")
    own = ("--baseline-key-file", blue, "--candidate-key-file", green)
    server = ("--prometheus", AWAY, *own)
    assert "--key-file alone" in compare(verismo, out, 'job="a"', 'job="b"', *server).err
    other = f"{AWAY}/other"
    bad = compare(verismo, out, AWAY, other, "--candidate-key-file", torn)
    assert (bad.code, "hidden" in bad.err) == (2, False)
    assert "something else than one key" in bad.err
