"""`verismo witness`: one command makes one, one serves it, and little has to be installed."""

import json
import signal
import socket
import subprocess
import sys

import httpx2
import pytest
from click.testing import CliRunner
from tests.support.tilelog import ORIGIN, NoteKey, TileLog, entry_of
from tests.support.witness import NAME, forked, submission

from verismo.attest.cosignature import verify_cosignature
from verismo.attest.note import parse_vkey, read_signature_lines, verifier_key
from verismo.cli.main import cli
from verismo.model.errors import OperatorError

VKEY = NoteKey(ORIGIN).key.vkey
CORE_ALONE = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"nacl", "sqlalchemy", "alembic", "regorus", "genai_prices",
                                      "graphql", "prometheus_client", "opentelemetry", "orjson",
                                      "pyreqwest", "uvloop", "pydantic", "boto3", "numpy"}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
from verismo.cli.main import main
main()
"""


def run(*arguments, code=0):
    result = CliRunner().invoke(cli, ["witness", *map(str, arguments)])
    if isinstance(result.exception, OperatorError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def folder(tmp_path):
    run("init", tmp_path / "w", "--name", NAME)
    return tmp_path / "w"


def test_init_prints_the_key_for_policy_files(tmp_path):
    key = parse_vkey(run("init", tmp_path / "w", "--name", NAME).strip())
    assert (key.name, key.algorithm) == (NAME, 4)


def test_trust_takes_one_log_or_every_log_of_a_gateway(folder):
    assert f"trusted: {ORIGIN}\n1 new, 0 known before" in run("trust", folder, "--vkey", VKEY)
    assert "0 new, 1 known before" in run("trust", folder, "--vkey", VKEY)
    output = run("trust", folder, "--vkey", VKEY, "--every-log")
    assert "trusted: gateway.example/log/REGION/YEAR\n1 new" in output


def test_distrust_takes_a_key_away_from_every_log_that_it_signed_for(folder):
    other = verifier_key(ORIGIN, NoteKey("another").key.raw).vkey
    for arguments in (("--vkey", VKEY), ("--vkey", VKEY, "--every-log"), ("--vkey", other)):
        run("trust", folder, *arguments)
    gone = run("distrust", folder, "--vkey", VKEY).splitlines()
    assert gone == [
        "no longer trusted: gateway.example/log/REGION/YEAR",
        f"no longer trusted: {ORIGIN}",
    ]
    assert json.loads(run("status", folder, "--json"))["trusted"] == [ORIGIN], "the other key stays"
    with pytest.raises(OperatorError, match="not trusted here"):
        run("distrust", folder, "--vkey", VKEY)


def test_trust_takes_the_logs_of_a_policy_file(folder, tmp_path):
    policy = tmp_path / "policy"
    policy.write_text(f"log {VKEY}\nquorum none\n")
    assert f"trusted: {ORIGIN}" in run("trust", folder, "--policy", policy)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no log is named"),
        (("--vkey", "nonsense"), "--vkey"),
        (("--vkey", NoteKey("w", 4).key.vkey), "key of a witness"),
        (("--vkey", NoteKey("rekor.example").key.vkey, "--every-log"), "/log/REGION/YEAR"),
        (("--policy", "/nonexistent"), "No such file"),
    ],
)
def test_what_names_no_log_is_refused(folder, arguments, words):
    with pytest.raises(OperatorError, match=words):
        run("trust", folder, *arguments)


def test_a_policy_without_logs_or_with_a_broken_line_is_refused(folder, tmp_path):
    policy = tmp_path / "policy"
    policy.write_text("quorum none\n")
    with pytest.raises(OperatorError, match="names no log"):
        run("trust", folder, "--policy", policy)
    policy.write_text("# first\nlog nonsense\nquorum none\n")
    with pytest.raises(OperatorError, match="line 2"):
        run("trust", folder, "--policy", policy)


@pytest.mark.slow
def test_a_witness_runs_with_the_core_and_an_http_server_alone(folder):
    run("trust", folder, "--vkey", VKEY)
    log = TileLog()
    log.grow(5)
    other = forked([entry_of(90 + n) for n in range(5)], ORIGIN)
    serve = ["witness", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(
        [sys.executable, "-c", CORE_ALONE, *serve],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            url = process.stdout.readline().removeprefix("witness: ").strip()
            key = parse_vkey(process.stdout.readline().removeprefix("verifier key: ").strip())
            answer = httpx2.post(f"{url}/add-checkpoint", content=submission(log, 0).encode())
            assert answer.status_code == 200
            (line,) = read_signature_lines(answer.text)
            assert verify_cosignature(key, log.checkpoint().text, line) > 0
            split = httpx2.post(f"{url}/add-checkpoint", content=submission(other, 5).encode())
            assert split.status_code == 409
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    assert process.returncode == 0
    shown = json.loads(run("status", folder, "--json", code=1))
    assert [(one["origin"], one["size"]) for one in shown["logs"]] == [(ORIGIN, 5)]
    out = folder / "evidence"
    output = run("status", folder, "--evidence", out, code=1)
    assert f"SPLIT VIEW: {ORIGIN} has signed two roots of size 5" in output
    assert (out / "1-cosigned").read_bytes() == log.checkpoint().encode()
    assert (out / "1-refused").read_bytes() == other.checkpoint().encode()


def test_status_of_a_new_witness(folder):
    output = run("status", folder)
    assert f"witness {NAME}" in output


def test_a_folder_without_a_witness_is_told(tmp_path):
    with pytest.raises(OperatorError, match=r"witness\.key"):
        run("status", tmp_path)


def test_a_port_that_is_taken_is_told(folder):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OperatorError, match="cannot bind"),
    ):
        run("serve", folder, "--port", taken.getsockname()[1])
