"""`verismo verify`: saved exchanges, curl's files, one live call, vectors; exit codes 0, 1, 2."""

import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

VECTORS = Path(__file__).parents[2] / "vectors"
sys.path.insert(0, str(VECTORS))

import forge  # noqa: E402 - stands in the folder that was just added

from verismo.cli import live as live_module  # noqa: E402 - as above
from verismo.cli.main import cli  # noqa: E402 - as above
from verismo.model.errors import OperatorError  # noqa: E402 - as above


def run(*arguments):
    return CliRunner().invoke(cli, ["verify", *map(str, arguments)])


@pytest.fixture
def saved(tmp_path):
    """Write an exchange with its key set, and return its path."""

    def save(case, name="exchange.json", **members):
        document = {**case.document(), "jwks": {"keys": case.keys}, **members}
        path = tmp_path / name
        path.write_text(json.dumps(document))
        return path

    return save


EMBEDDED = "--trust-embedded-keys"


def test_a_saved_answer_is_verified_with_every_check_on_a_line(saved):
    result = run(saved(forge.whole()), EMBEDDED)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines[1:18]] == [str(n) for n in range(1, 18)]
    assert lines[-1] == "VERIFIED"


def forged_by_its_author(saved):
    """Return an exchange that somebody signed with a key of their own, and put that key in."""
    case = forge.whole(forge.Recipe(key=forge.OTHER))
    case.keys = [forge.OTHER.jwk]
    return saved(case)


def test_file_that_brings_its_own_keys_is_not_trusted(saved):
    result = run(forged_by_its_author(saved))
    assert result.exit_code == 1
    *_, note, last = result.output.splitlines()
    assert last == "NOT TRUSTED"
    assert "VERIFIED by keys that came in the file" in note
    assert "--jwks" in note
    found = json.loads(run(forged_by_its_author(saved), "--json").output)[0]
    assert (found["trusted"], found["verdict"]) == (False, "VERIFIED")


def test_keys_of_the_file_are_trusted_only_on_demand(saved):
    result = run(forged_by_its_author(saved), EMBEDDED)
    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == "VERIFIED"


def test_a_key_set_of_ones_own_is_trusted(saved, tmp_path):
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [forge.TOKEN.jwk]}))
    result = run(saved(forge.whole()), "--jwks", jwks)
    assert result.exit_code == 0
    assert "keys that came" not in result.output


def test_what_the_file_expects_of_itself_is_shown_as_such(saved):
    now_ms = forge.TIME_MS
    path = saved(forge.whole(), issuer=forge.ISSUER, now_ms=now_ms, age_ms_max=1_000)
    told = "note: expected as the file itself says: "
    assert f"{told}issuer, nonce, now_ms, age_ms_max\n" in run(path, EMBEDDED).output
    mine = ("--issuer", forge.ISSUER, "--max-age", "1")
    assert f"{told}nonce\n" in run(path, EMBEDDED, *mine).output
    found = json.loads(run(path, "--json").output)[0]
    assert found["expected_by_file"] == ["issuer", "nonce", "now_ms", "age_ms_max"]


def test_the_key_set_that_is_given_overrules_the_one_that_came_along(saved, tmp_path):
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [forge.OTHER.jwk]}))
    result = run(saved(forge.whole()), "--jwks", jwks)
    assert result.exit_code == 1
    assert "is not in the key set" in result.output


def test_a_prefix_is_not_verified(saved):
    made = forge.stream()
    result = run(saved(made.case(made.blocks[:4])), EMBEDDED)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "VERIFIED_PREFIX (2 events)"


def test_json_lists_one_result_for_each_exchange(saved):
    forged = forge.whole()
    forged.answer += b" "
    unsigned = forge.whole()
    unsigned.headers = []
    paths = [
        saved(forge.whole(), "a.json"),
        saved(forged, "b.json"),
        saved(unsigned, "c.json"),
        saved(forge.stream().case(), "d.json"),
    ]
    result = run(*paths, "--json")
    assert result.exit_code == 1
    found = json.loads(result.output)
    assert [r["verdict"] for r in found] == ["VERIFIED", "INVALID", "UNSIGNED", "VERIFIED"]
    assert found[0]["statement"]["iss"] == forge.ISSUER
    assert found[3]["events"] == 6
    assert found[1]["checks"][10] == {
        "number": 11,
        "name": "response",
        "outcome": "fail",
        "detail": "the answer had 65 octets, seen were 66",
    }


@pytest.mark.parametrize(
    ("option", "value", "number"),
    [("--issuer", "https://evil.example", 7), ("--audience", "x", 7), ("--nonce", "AAAA", 8)],
)
def test_options_overrule_what_the_exchange_says_of_itself(saved, option, value, number):
    result = run(saved(forge.whole()), option, value, "--json")
    assert result.exit_code == 1
    checks = json.loads(result.output)[0]["checks"]
    assert [c["number"] for c in checks if c["outcome"] == "fail"] == [number]


def test_max_age_looks_at_the_present(saved):
    result = run(saved(forge.whole()), "--max-age", "1", "--json")
    check = json.loads(result.output)[0]["checks"][8]
    assert check["outcome"] == "fail"
    assert result.exit_code == 1


def test_control_characters_do_not_reach_the_terminal(saved):
    case = forge.whole(forge.Recipe(change=lambda s: s.update(iss="\x1b[2Jhttps://gateway")))
    case.expected = {}
    result = run(saved(case))
    assert "\x1b" not in result.output
    assert "?[2Jhttps://gateway" in result.output


def write_parts(folder, case, status_lines="HTTP/1.1 200 OK\r\n"):
    head = status_lines + "".join(f"{name}: {value}\r\n" for name, value in case.headers) + "\r\n"
    names = ("request", "headers", "body", "jwks", "graph")
    paths = {name: folder / name for name in names}
    paths["request"].write_bytes(case.question)
    paths["headers"].write_bytes(head.encode())
    paths["body"].write_bytes(case.answer)
    paths["jwks"].write_text(json.dumps({"keys": case.keys}))
    paths["graph"].write_text(case.graph)
    return paths


def part_options(paths):
    return (
        *("--response-headers", paths["headers"], "--response-body", paths["body"]),
        *("--jwks", paths["jwks"]),
    )


def test_curls_files_are_verified(tmp_path):
    case = forge.whole(forge.Recipe(query="a=1"))
    paths = write_parts(tmp_path, case, "HTTP/1.1 100 Continue\r\n\r\nHTTP/2 200\r\n")
    result = run(
        *part_options(paths),
        *("--request", paths["request"], "--path", f"{case.path}?{case.query}"),
        *("--graph", paths["graph"], "--nonce", forge.NONCE, "--json"),
    )
    assert result.exit_code == 0, result.output
    checks = json.loads(result.output)[0]["checks"]
    assert {c["number"] for c in checks if c["outcome"] == "skip"} == {7, 9, 15, 16, 17}


def test_curls_files_without_the_request_skip_its_check(tmp_path):
    result = run(*part_options(write_parts(tmp_path, forge.whole())), "--json")
    assert result.exit_code == 0
    assert json.loads(result.output)[0]["checks"][9]["outcome"] == "skip"


def test_a_graph_is_read_out_of_its_record(tmp_path):
    paths = write_parts(tmp_path, forge.whole())
    paths["graph"].write_text('{"prov_id": "x", "graph":' + forge.whole().graph + "}")
    assert run(*part_options(paths), "--graph", paths["graph"]).exit_code == 0
    paths["graph"].write_text('{"graph": {}}')
    assert run(*part_options(paths), "--graph", paths["graph"]).exit_code == 1


def test_another_method_is_noticed(tmp_path):
    case = forge.whole()
    paths = write_parts(tmp_path, case)
    options = ("--request", paths["request"], "--path", case.path, "--method", "put")
    assert run(*part_options(paths), *options).exit_code == 1


@pytest.mark.parametrize("text", ["", "no headers", "HTTP/1.1\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"])
def test_a_file_that_is_not_curls_is_a_usage_error(tmp_path, text):
    paths = write_parts(tmp_path, forge.whole())
    paths["headers"].write_text(text)
    assert "curl -D" in advice(*part_options(paths))


def advice(*arguments):
    """Return what an operator reads where the command cannot go on."""
    error = run(*arguments).exception
    assert isinstance(error, OperatorError)
    return f"{error.detail} {error.advice}"


def verismo(*arguments):
    command = [sys.executable, "-m", "verismo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--response-body", "BODY"],
        ["--url", "http://127.0.0.1:1"],
        ["EXCHANGE", "--vectors", VECTORS],
        ["missing.json"],
        ["EXCHANGE", "--no-such-option"],
    ],
)
def test_wrong_usage_is_exit_code_2(saved, arguments):
    path = saved(forge.whole())
    given = [path if a in ("EXCHANGE", "BODY") else a for a in arguments]
    assert run(*given).exit_code == 2


def test_an_exchange_without_keys_says_what_to_give(tmp_path):
    path = tmp_path / "exchange.json"
    path.write_text(json.dumps(forge.whole().document()))
    assert "--jwks" in advice(path)
    assert "missing.json cannot be read" in advice(path, "--jwks", "missing.json")


def test_what_is_not_an_exchange_says_how_to_make_one(tmp_path):
    path = tmp_path / "exchange.json"
    path.write_text("{}")
    assert "--save" in advice(path)


def test_a_key_set_that_is_refused_is_not_verified(saved, tmp_path):
    jwks = tmp_path / "jwks.json"
    jwks.write_text('{"keys":[{"kty":"OKP","crv":"Ed25519"}]}')
    result = run(saved(forge.whole()), "--jwks", jwks)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "INVALID"


@pytest.mark.slow
def test_vectors_print_each_verdict():
    result = run("--vectors", VECTORS, "--json")
    assert result.exit_code == 0
    found = json.loads(result.output)
    index = json.loads((VECTORS / "index.json").read_bytes())
    assert found == {name: entry["verdict"] for name, entry in index.items()}
    human = run("--vectors", VECTORS).output.splitlines()
    assert human[-1] == f"{len(found)} of {len(found)} vectors as expected"


def test_a_vector_that_differs_fails(tmp_path):
    document = json.loads((VECTORS / "whole.json").read_bytes())
    (tmp_path / "whole.json").write_text(json.dumps({**document, "verdict": "INVALID"}))
    result = run("--vectors", tmp_path)
    assert result.exit_code == 1
    assert "DIFFERS" in result.output


@pytest.mark.slow
def test_offline_use_loads_the_core_dependencies_alone(saved):
    path = saved(forge.whole())
    program = (
        "import sys\n"
        "from verismo.cli.verify import verify\n"
        f"verify([{str(path)!r}, {EMBEDDED!r}], standalone_mode=False)\n"
    )
    checked = (
        "import sys, atexit\n"
        "names = lambda: sorted({name.split('.')[0] for name in sys.modules})\n"
        "atexit.register(lambda: print('LOADED', *names()))\n"
    )
    command = [sys.executable, "-c", checked + program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    loaded = set(done.stdout.rsplit("LOADED", 1)[1].split())
    assert {"click", "cryptography", "msgspec"} <= loaded
    assert not loaded & {"httpx2", "httpx", "nacl", "orjson", "sqlalchemy", "starlette", "regorus"}
    assert done.returncode == 0


class Gateway(BaseHTTPRequestHandler):
    """A gateway of one answer: it signs what it is asked, as a real one does."""

    protocol_version = "HTTP/1.1"
    key = "vk_test"

    def do_GET(self):
        if self.path == "/.well-known/attest/jwks.json":
            self.reply(200, [], json.dumps({"keys": [forge.TOKEN.jwk]}).encode())
        elif self.path.startswith("/v1/prov/") and self.authorized():
            record = b'{"graph":' + self.server.graph.encode() + b"}"
            self.reply(self.server.record_status, [], self.server.record or record)
        else:
            self.reply(404, [], b"{}")

    def do_POST(self):
        question = self.rfile.read(int(self.headers["content-length"]))
        if not self.authorized():
            self.reply(401, [("content-type", "application/json")], b"{}")
            return
        asked = json.loads(question)
        known = {"question": question, "nonce": self.headers["attest-nonce"], "path": self.path}
        change = lambda s: s.update(iat=self.server.now_ms())  # noqa: E731 - one use
        if asked.get("stream"):
            made = forge.stream(forge.stream_recipe(**known, change=change))
            case = made.case()
        else:
            case = forge.whole(forge.Recipe(**known, change=change))
        self.server.graph = case.graph
        answer = case.answer + self.server.appended
        self.reply(case.status, case.headers, answer[: len(answer) - self.server.cut])

    def authorized(self):
        return self.headers["authorization"] == f"Bearer {self.key}"

    def reply(self, status, headers, body):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        kind = dict(headers).get("content-type")
        self.send_header("content-length", str(len(body) + self.server.missing.get(kind, 0)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Keep quiet."""


@pytest.fixture
def gateway():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    server.graph, server.appended = "", b""
    server.record, server.record_status = b"", 200
    server.cut = 0
    server.missing = {}  # content type -> octets that are promised and never sent
    server.now_ms = lambda: time.time_ns() // 1_000_000
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def address(server):
    return f"http://127.0.0.1:{server.server_address[1]}"


def live_advice(server):
    error = live(server).exception
    assert isinstance(error, OperatorError)
    return error.detail


def live(server, *options, key="vk_test"):
    return run("--url", address(server), "--key", key, "--model", "support-chat", *options)


@pytest.mark.parametrize("options", [(), ("--stream",)])
def test_a_live_answer_is_verified_and_saved(gateway, tmp_path, options):
    path = tmp_path / "saved.json"
    result = live(gateway, *options, "--max-age", "60", "--save", path)
    assert result.exit_code == 0, result.output
    skipped = [line.split()[0] for line in result.output.splitlines() if " skip " in line]
    assert skipped == [*(["7", "14"] if options else ["7"]), "15", "16", "17"]
    again = run(path, "--json", EMBEDDED)
    assert again.exit_code == 0
    assert json.loads(again.output)[0]["verdict"] == "VERIFIED"


def test_the_key_set_can_be_fetched(gateway, tmp_path):
    path = tmp_path / "exchange.json"
    path.write_text(json.dumps(forge.whole().document()))
    result = run(path, "--jwks", f"{address(gateway)}/.well-known/attest/jwks.json")
    assert result.exit_code == 0
    assert "answers 404" in advice(path, "--jwks", f"{address(gateway)}/missing")


def test_a_live_answer_that_was_changed_is_not_verified(gateway):
    gateway.appended = b" "
    result = live(gateway)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "INVALID"


def test_a_graph_that_cannot_be_had_is_a_check_that_was_not_made(gateway):
    gateway.record_status = 410
    result = live(gateway, "--json")
    assert result.exit_code == 0
    assert json.loads(result.output)[0]["checks"][12]["outcome"] == "skip"


def test_a_record_that_is_none_is_an_error_of_the_address(gateway):
    gateway.record = b"<html>"
    assert "something else than a record" in live_advice(gateway)


def test_a_stream_that_breaks_off_is_a_prefix(gateway):
    gateway.missing = {"text/event-stream": 10}
    gateway.cut = 5
    result = live(gateway, "--stream")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "VERIFIED_PREFIX (5 events)"


def test_a_body_that_breaks_off_is_an_error(gateway):
    gateway.missing = {"application/json": 10}
    assert "broke off" in live_advice(gateway)


def test_an_endless_answer_is_not_read_to_its_end(gateway, monkeypatch):
    monkeypatch.setattr(live_module, "FETCHED_BYTES_MAX", 2_000)
    gateway.appended = b" " * 500_000
    assert live(gateway).output.splitlines()[-1] == "INVALID"


def test_a_folder_without_vectors_is_an_error(tmp_path):
    assert "holds no vectors" in advice("--vectors", tmp_path)
    (tmp_path / "x.json").write_text("{}")
    assert "not a test vector" in advice("--vectors", tmp_path)
    document = json.loads((VECTORS / "whole.json").read_bytes())
    document["exchange"]["response"].update(body_base64="AAAA", body_text="x")
    (tmp_path / "x.json").write_text(json.dumps(document))
    assert "body_base64 or as body_text" in advice("--vectors", tmp_path)


def test_a_request_belongs_to_a_path(tmp_path):
    paths = write_parts(tmp_path, forge.whole())
    assert run(*part_options(paths), "--request", paths["request"]).exit_code == 2


def test_an_answer_before_identification_is_unsigned(gateway):
    result = live(gateway, key="vk_wrong")
    assert result.exit_code == 1
    *_, note, verdict = result.output.splitlines()
    assert verdict == "UNSIGNED"
    assert "HTTP status 401" in note


def test_a_place_that_cannot_be_written_is_told(gateway, tmp_path):
    (tmp_path / "file").touch()
    outcome = live(gateway, "--save", tmp_path / "file" / "answer.json")
    assert isinstance(outcome.exception, OperatorError)
    assert "cannot be written" in str(outcome.exception)


@pytest.mark.slow
def test_a_gateway_that_is_not_there_is_exit_code_2():
    result = verismo(
        *("verify", "--url", "http://127.0.0.1:1", "--key", "k", "--model", "m"),
    )
    assert result.returncode == 2
    assert "cannot be reached" in result.stderr
