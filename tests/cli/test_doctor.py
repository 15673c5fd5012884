"""`verismo doctor`: each thing that may be wrong on a machine, made wrong on purpose."""

import errno
import importlib.metadata
import os
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verismo.adapters.adapt_file import FILE_NAME, AdaptFile
from verismo.adapters.decisions_sqlite import SqliteSteering
from verismo.attest.note import ALGORITHM_COSIGNATURE, verifier_key
from verismo.attest.steeringdoc import sign_steering
from verismo.cli.doctor import (
    FREE_BYTES_FAIL,
    FREE_BYTES_WARN,
    FSYNC_MS_MAX,
    FSYNC_MS_MIN,
    PACKAGES,
    examine_clock,
    examine_controllers,
    examine_packages,
    examine_port,
    examine_python,
    judge_fsync,
    judge_space,
    measure_fsync_ms,
)
from verismo.config.load import load_config
from verismo.model.plan import plan_digest
from verismo.model.steering import Steering
from verismo.ports.steering import SteeringRow
from verismo.wiring.firststart import prepare_data
from verismo.wiring.keys import clock_ms, open_signer


@pytest.fixture
def listener():
    """Return a bound and listening socket of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def free_ports(initialised):
    """Let the gateway of the folder take any free port, so that tests may run side by side."""
    path = initialised / "verismo.toml"
    text = (
        path.read_text().replace("# port = 8080", "port = 0").replace("# port = 8081", "port = 0")
    )
    path.write_text(text)
    return path


def lines_of(out: str, what: str) -> list[str]:
    return [line for line in out.splitlines() if re.match(rf"(ok|warn|fail) +{what} ", line)]


@pytest.mark.slow  # imports every package
def test_a_working_folder_has_no_failure(verismo, free_ports):
    outcome = verismo("doctor", "--offline")
    assert outcome.code == 0
    assert "fail" not in outcome.out
    for what in (
        "python",
        "packages",
        "clock",
        "config",
        "policy",
        "data",
        "fsync",
        "disk",
        "key files",
    ):
        assert lines_of(outcome.out, what), what
    assert re.search(r"fsync +median \d+\.\d{3} ms over 16 flushes", outcome.out)
    assert "browsers verify answers only over https://" in outcome.out


def test_nothing_is_left_behind(verismo, free_ports):
    before = sorted(free_ports.parent.rglob("*"))
    verismo("doctor", "--offline")
    assert sorted(free_ports.parent.rglob("*")) == before


def test_a_bad_configuration_fails_with_its_lines(verismo, free_ports):
    free_ports.write_text(free_ports.read_text() + "wrong = 1\n[[\n")
    outcome = verismo("doctor", "--offline")
    assert outcome.code == 1
    assert "fail  config" in outcome.out
    assert "verismo.toml:" in outcome.out


def test_a_policy_that_no_worker_would_load_fails_with_its_line(verismo, free_ports):
    (free_ports.parent / "policy" / "bad.rego").write_text("package verismo.bad\nx { true }\n")
    outcome = verismo("doctor", "--offline")
    assert outcome.code == 1
    [line] = lines_of(outcome.out, "policy")
    assert line.startswith("fail")
    assert "bad.rego:2:" in line
    assert "next: Mend it and run `verismo policy check`" in outcome.out
    assert lines_of(outcome.out, "disk"), "the rest is looked at all the same"


def test_a_missing_configuration_fails_with_a_next_step(verismo, tmp_path):
    outcome = verismo("doctor", "-c", tmp_path / "verismo.toml")
    assert outcome.code == 1
    assert "verismo init DIR" in outcome.out


def test_a_provider_that_listens_is_reached_and_one_that_does_not_fails(
    verismo, free_ports, listener
):
    port = listener.getsockname()[1]
    text = free_ports.read_text().replace("127.0.0.1:9090/v1", f"127.0.0.1:{port}/v1")
    free_ports.write_text(text.replace("127.0.0.1:9090", "127.0.0.1:1"))
    outcome = verismo("doctor")
    assert outcome.code == 1
    levels = [line.split()[0] for line in lines_of(outcome.out, "provider")]
    assert levels == ["ok", "fail", "fail"]
    assert f"127.0.0.1:{port} in" in outcome.out


def test_witnesses_sinks_and_stores_are_reached_or_warned_about(verismo, free_ports, listener):
    """Answers wait for none of them, so nothing fails."""
    port = listener.getsockname()[1]
    (free_ports.parent / "witnesses").write_text(
        f"witness near {witness_key()} http://127.0.0.1:{port}\n"
        f"witness far {witness_key()} http://127.0.0.1:1\n"
        "quorum near\n"
    )
    text = free_ports.read_text().replace('# policy = ""', 'policy = "witnesses"', 1)
    text = text.replace(
        '# kind = "folder"\n',
        'kind = "s3"\nbucket = "bucket"\nregion = "eu"\nendpoint = "http://127.0.0.1:1"\n',
        1,
    )
    text += f'\n[siem.sinks.soc]\nkind = "syslog"\naddress = "127.0.0.1:{port}"\n'
    text += '[siem.sinks.collector]\nkind = "http"\nurl = "http://127.0.0.1:1/x"\n'
    text += '[siem.sinks.disk]\nkind = "file"\n'
    free_ports.write_text(text)
    out = verismo("doctor").out
    for what, levels in (("witness", ["ok", "warn"]), ("siem", ["warn", "ok"])):
        assert [line.split()[0] for line in lines_of(out, what)] == levels, what
    assert f"127.0.0.1:{port} in" in lines_of(out, "witness")[0]
    [archive] = lines_of(out, "archive")
    assert "bucket: Connection refused" in archive
    assert lines_of(verismo("doctor", "--offline").out, "witness") == []


def witness_key() -> str:
    raw = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    return verifier_key("witness.example/w", raw, ALGORITHM_COSIGNATURE).vkey


def test_published_checkpoints_beside_the_keys_are_no_open_key_files(verismo, free_ports):
    checkpoint = free_ports.parent / "var" / "keys" / "checkpoints" / "x%2Flog%2Fus%2F2026"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch(mode=0o644)
    outcome = verismo("doctor", "--offline")
    assert outcome.code == 0
    assert "can be read by others" not in outcome.out


def test_a_missing_credential_fails(verismo, free_ports, monkeypatch):
    text = free_ports.read_text().replace('9090/v1"', '9090/v1"\napi_key_env = "SIM_KEY"')
    free_ports.write_text(text)
    monkeypatch.delenv("SIM_KEY", raising=False)
    outcome = verismo("doctor", "--offline")
    assert outcome.code == 1
    assert "simulator has none" in outcome.out
    monkeypatch.setenv("SIM_KEY", "sk-very-secret")
    outcome = verismo("doctor", "--offline")
    assert outcome.code == 0
    assert "simulator has one" in outcome.out
    assert "sk-very-secret" not in outcome.out


def test_a_key_file_that_others_can_read_fails(verismo, free_ports):
    key = free_ports.parent / "var" / "keys" / "token.pem"
    key.parent.mkdir(parents=True)
    key.write_text("k")
    key.chmod(0o644)
    outcome = verismo("doctor", "--offline")
    assert outcome.code == 1
    assert f"chmod 600 {key}" in outcome.out
    key.chmod(0o600)
    assert verismo("doctor", "--offline").code == 0


@pytest.mark.parametrize(
    ("number", "told", "next_step"),
    [
        (errno.EIO, "Input/output error", "write permission"),
        (errno.ENOSPC, "No space left on device", "Make space"),
    ],
)
def test_a_data_folder_that_cannot_be_written_fails(
    verismo, free_ports, monkeypatch, number, told, next_step
):
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        outcome = verismo("doctor", "--offline")
    assert outcome.code == 1
    assert told in outcome.out
    assert next_step in outcome.out


def test_a_database_from_the_future_fails(verismo, free_ports):
    database = free_ports.parent / "var" / "state.db"
    database.parent.mkdir()
    database.write_bytes(b"")
    os.utime(database, (4_000_000_000, 4_000_000_000))
    outcome = verismo("doctor", "--offline")
    assert outcome.code == 1
    assert "state.db is" in outcome.out
    assert "the clock is behind" in outcome.out


@pytest.mark.slow  # makes keys
def test_steering_that_gateways_would_not_follow_is_told(verismo, free_ports):
    config = load_config(free_ports, {})
    assert "no steering yet" in examine_controllers(config).detail
    prepare_data(config.data, config.keys)
    signer = open_signer(config.data, "plan", config.keys, clock_ms())
    file = AdaptFile(config.data / FILE_NAME)
    token, store = file.acquire("a", 1, 1), SqliteSteering(file)

    def publish(version, base):
        steering = Steering(1, version, base, config.plan.issuer, clock_ms())
        statement, jws = sign_steering(steering, signer.kid, signer.sign)
        return SteeringRow(version, statement, jws, 1)

    store.publish(token, publish(1, plan_digest(config.plan)))
    found = examine_controllers(config)
    assert (found.level, found.detail) == ("ok", "record 0, steering version 1")
    store.publish(token, publish(2, "b" * 64))
    found = examine_controllers(config)
    assert (found.level, "another configuration" in found.detail) == ("warn", True)
    store.publish(token, msgspec.structs.replace(publish(3, "b" * 64), statement=b"{}"))
    found = examine_controllers(config)
    assert (found.level, "verismo audit" in found.next_step) == ("fail", True)
    file.close()
    adapt = msgspec.structs.replace(config.adapt, enabled=False)
    assert examine_controllers(msgspec.structs.replace(config, adapt=adapt)).level == "ok"


def test_an_old_python_fails():
    assert examine_python((3, 10, 9)).level == "fail"
    assert examine_python((3, 11, 0)).level == "ok"


def test_a_package_that_is_missing_fails_and_is_named():
    finding = examine_packages(("json", "no_such_package"))
    assert finding.level == "fail"
    assert "no_such_package" in finding.detail
    assert "verismo[gateway]" in finding.next_step


@pytest.mark.slow  # reads the metadata of every installed package
def test_every_package_of_the_extra_is_looked_at():
    owners = importlib.metadata.packages_distributions()
    looked_at = {
        owner.lower().replace("_", "-")
        for module in PACKAGES
        for owner in owners[module.partition(".")[0]]
    }
    wanted = [
        re.match(r"[A-Za-z0-9._-]+", requirement)[0]
        for requirement in importlib.metadata.requires("verismo")
        if "extra == 'gateway'" in requirement or 'extra == "gateway"' in requirement
    ]
    assert wanted
    assert {name.lower() for name in wanted} <= looked_at
    assert len(PACKAGES) == len(wanted)


def test_a_clock_behind_its_installation_fails(tmp_path):
    newest = tmp_path / "x"
    newest.write_text("")
    now_s = newest.stat().st_mtime
    assert examine_clock(now_s, newest, "x").level == "ok"
    assert examine_clock(now_s - 59, newest, "x").level == "ok"
    assert examine_clock(now_s - 3_600, newest, "x").level == "fail"


@pytest.mark.parametrize(
    ("median_ms", "level"),
    [(FSYNC_MS_MIN / 2, "warn"), (FSYNC_MS_MIN, "ok"), (FSYNC_MS_MAX, "ok"), (50.0, "warn")],
)
def test_a_flush_that_is_too_fast_or_too_slow_is_a_warning(median_ms, level):
    finding = judge_fsync(median_ms)
    assert finding.level == level
    assert f"{median_ms:.3f} ms" in finding.detail


def test_flushes_are_really_made(tmp_path, monkeypatch):
    flushed = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (flushed.append(fd), real(fd)))
    assert measure_fsync_ms(tmp_path) > 0
    assert len(flushed) == 16
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("free_bytes", "level"),
    [
        (FREE_BYTES_FAIL - 1, "fail"),
        (FREE_BYTES_FAIL, "warn"),
        (FREE_BYTES_WARN - 1, "warn"),
        (FREE_BYTES_WARN, "ok"),
    ],
)
def test_little_space_is_a_warning_and_none_a_failure(free_bytes, level):
    assert judge_space(free_bytes).level == level


def test_a_free_port_is_fine_and_one_held_by_a_stranger_fails(listener):
    assert examine_port("port", "127.0.0.1", 0).level == "ok"
    # The stranger takes connections and hangs up without a word.
    hang_up = threading.Thread(target=lambda: listener.accept()[0].close())
    hang_up.start()
    finding = examine_port("port", "127.0.0.1", listener.getsockname()[1])
    hang_up.join(timeout=10)
    assert finding.level == "fail"
    assert "choose another port" in finding.next_step


@pytest.mark.parametrize(
    ("text", "level", "said"),
    [
        ('tls_cert = "c.pem"\ntls_key = "k.pem"', "ok", "on"),
        ('trusted_proxies = ["10.0.0.0/8"]', "ok", "at the trusted proxies"),
        ("", "warn", "only over https://"),
    ],
)
def test_tls_here_or_at_a_proxy_is_what_browsers_need(verismo, free_ports, text, level, said):
    for name in ("c.pem", "k.pem"):
        (free_ports.parent / name).write_text("pem")
        (free_ports.parent / name).chmod(0o600)
    free_ports.write_text(free_ports.read_text().replace("[listen]\n", f"[listen]\n{text}\n"))
    (line,) = lines_of(verismo("doctor", "--offline").out, "tls")
    assert line.startswith(level)
    assert said in line


def test_a_tls_key_that_others_can_read_fails(verismo, free_ports):
    for name in ("c.pem", "k.pem"):
        (free_ports.parent / name).write_text("pem")
        (free_ports.parent / name).chmod(0o644)
    text = 'tls_cert = "c.pem"\ntls_key = "k.pem"'
    free_ports.write_text(free_ports.read_text().replace("[listen]\n", f"[listen]\n{text}\n"))
    outcome = verismo("doctor", "--offline")
    assert outcome.code == 1
    (line,) = lines_of(outcome.out, "key files")
    assert str(free_ports.parent / "k.pem") in line


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 404)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_held_by_a_running_gateway_is_only_a_warning(host):
    with HTTPServer((host, 0), Healthy) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        finding = examine_port("port", host, server.server_port)
        thread.join(timeout=10)
    assert finding.level == "warn"
    assert "answers /healthz" in finding.detail


def test_an_address_of_another_machine_fails():
    finding = examine_port("port", "192.0.2.1", 0)
    assert finding.level == "fail"
