"""`verismo keys`: what it prints, what it refuses, and that no private key leaves its folder."""

import base64
import io
import json
import shlex
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from verismo.adapters.backup import make_backup
from verismo.adapters.ledger_sqlite import SqliteLedger
from verismo.attest.keyring import check_history, read_keyring
from verismo.attest.keys import read_jwks
from verismo.model.ledger import ENTRY_BYTES, LogId
from verismo.ports.ledger import Growth

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "ops" / "attest" / "jwks-rotate.py"
JWKS = Path("evidence/v0.3.5/attest/jwks.json")


@pytest.fixture
def started(initialised: Path, verismo) -> Path:
    """A folder whose keys are made."""
    assert verismo("keys", "rotate").code == 0
    return initialised


def listed(verismo, *options: str) -> list[dict]:
    outcome = verismo("keys", "list", "--json", *options)
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def token_states(verismo) -> list[str]:
    return [row["state"] for row in listed(verismo, "--role", "token")]


@pytest.mark.parametrize("command", [("list",), ("ring",), ("jwks",)])
def test_before_the_first_start_there_is_nothing_to_show(initialised, verismo, command):
    outcome = verismo("keys", *command)
    assert outcome.code == 2
    assert "no key ring yet" in outcome.err
    assert "verismo serve" in outcome.err


def test_first_call_makes_the_keys_and_the_second_publishes_the_next(initialised, verismo):
    first = verismo("keys", "rotate")
    assert first.code == 0
    assert "version 1" in first.out
    assert token_states(verismo) == ["active"]
    second = verismo("keys", "rotate")
    assert "version 2" in second.out
    assert token_states(verismo) == ["active", "pending"]
    third = verismo("keys", "rotate")
    assert third.code == 0
    assert "nothing changed" in third.out
    assert token_states(verismo) == ["active", "pending"]


def test_list_is_a_table_of_every_key(started, verismo):
    outcome = verismo("keys", "list")
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["KID", "ROLE", "STATE", "BEGINS", "ENDS", "NOTE"]
    assert [line.split()[1] for line in lines[1:]] == ["token", "evidence", "log", "rollup", "plan"]


@pytest.mark.parametrize(
    "options", [["--emergency"], ["--reason", "x"], ["--emergency", "--reason", " "]]
)
def test_emergency_and_its_reason_belong_together(started, verismo, options):
    outcome = verismo("keys", "rotate", *options)
    assert outcome.code == 2
    assert "belong together" in outcome.err
    assert token_states(verismo) == ["active"]


def test_emergency_asks_first_and_says_so_in_the_ring(started, verismo, monkeypatch):
    words = ("keys", "rotate", "--emergency", "--reason", "the disk was copied")
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert verismo(*words).code == 1, "somebody said no"
    assert token_states(verismo) == ["active"]
    assert verismo(*words, "--yes").code == 0
    rows = listed(verismo, "--role", "token")
    assert [row["emergency"] for row in rows] == ["", "the disk was copied"]
    assert "emergency: the disk was copied" in verismo("keys", "list").out


def test_revoked_key_is_replaced_and_stays_revoked(started, verismo, monkeypatch):
    (first,) = listed(verismo, "--role", "token")
    words = ("keys", "revoke", first["kid"], "--reason", "left on a laptop")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert verismo(*words).code == 1, "nobody said yes"
    outcome = verismo(*words, "--yes", "--at", "2026-01-31T12:00Z")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith(f"revoked {first['kid']}\n")
    assert "new token key" in outcome.out
    assert token_states(verismo) == ["revoked", "active"]
    assert listed(verismo)[0]["revoked_ms"] == 1_769_860_800_000
    again = verismo(*words, "--yes")
    assert again.code == 2
    assert "revoked already" in again.err


def test_revoked_log_key_prints_what_witnesses_and_verifiers_need_next(
    started, verismo, tmp_path: Path
):
    logs = LogId("eu", 2026), LogId("us", 2026)
    with closing(SqliteLedger(started / "var" / "ledger.db")) as ledger:
        token = ledger.acquire("test", 1, 3_000)
        ledger.assign(token, [Growth(log, 0, bytes(ENTRY_BYTES), ()) for log in logs], {})
        ledger.release(token)
    (before,) = listed(verismo, "--role", "log")
    old = json.loads(verismo("ledger", "status", "--json").out)["logs"][0]["vkey"]
    verismo("witness", "init", tmp_path / "w", "--name", "witness.example/w1")
    verismo("witness", "trust", tmp_path / "w", "--vkey", old, "--every-log")
    outcome = verismo("keys", "revoke", before["kid"], "--reason", "copied", "--yes", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["key"]["role"] == "log", "what scripts read stays JSON"
    assert "witnesses answer 403" in outcome.err
    status = json.loads(verismo("ledger", "status", "--json").out)
    vkeys = [one["vkey"] for one in status["logs"]]
    assert len(vkeys) == 2
    assert all(f"  {vkey}\n" in outcome.err for vkey in vkeys)
    commands = [line for line in outcome.err.splitlines() if "verismo witness" in line]
    told = [
        verismo(*(tmp_path / "w" if word == "DIR" else word for word in shlex.split(line)[1:]))
        for line in commands
    ]
    assert [(one.code, one.out.splitlines()[-1]) for one in told] == [
        (0, "1 new, 0 known before"),
        (0, f"no longer trusted: {old.partition('+')[0].removesuffix('eu/2026')}REGION/YEAR"),
    ]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_log_key_is_revoked_though_its_logs_cannot_be_read(started, verismo, options):
    """The command has done what it was asked for: nobody has to guess whether."""
    (started / "var" / "ledger.db").write_bytes(b"damaged" * 2_000)
    (before,) = listed(verismo, "--role", "log")
    outcome = verismo("keys", "revoke", before["kid"], "--reason", "copied", "--yes", *options)
    assert outcome.code == 0, outcome.err
    assert f"{before['kid']} is revoked, but its logs cannot be named: " in outcome.err
    assert "witnesses answer 403" in outcome.err
    assert "`verismo ledger status`" in outcome.err
    assert [bool(row["reason"]) for row in listed(verismo, "--role", "log")] == [True, False]
    if options:
        assert json.loads(outcome.out)["key"]["role"] == "log", "what scripts read stays JSON"


def test_other_revocations_speak_of_no_witness(started, verismo):
    (token,) = listed(verismo, "--role", "token")
    outcome = verismo("keys", "revoke", token["kid"], "--reason", "x", "--yes")
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.parametrize(
    "words", [("{kid}", "--yes"), ("--yes", "{kid}"), ("--yes", "--", "{kid}")]
)
def test_kid_that_begins_with_a_dash_is_no_option(started, verismo, words):
    kid = "-s-Y9o0ZcJyqkR1mPfE8h3u5wXvTb7gLdN2aKiCxQhM"
    outcome = verismo("keys", "revoke", "--reason", "x", *[one.format(kid=kid) for one in words])
    assert outcome.code == 2
    assert f"no key {kid!r}" in outcome.err
    assert "option" not in outcome.err


@pytest.mark.parametrize("at", ["yesterday", "2026-01-31T12:00", "12:00Z"])
def test_time_of_a_revocation_needs_a_date_and_a_zone(started, verismo, at):
    assert verismo("keys", "revoke", "x", "--reason", "y", "--yes", "--at", at).code == 2


def test_revocation_in_the_future_is_refused_since_the_key_would_count_until_then(started, verismo):
    [row] = listed(verismo, "--role", "token")
    words = ("keys", "revoke", row["kid"], "--reason", "x", "--yes", "--at", "2199-01-01T00:00Z")
    outcome = verismo(*words)
    assert outcome.code == 2
    assert "in the future" in outcome.err
    assert listed(verismo, "--role", "token") == [row]


def test_role_that_does_not_exist_is_wrong_usage_and_no_empty_list(started, verismo):
    outcome = verismo("keys", "list", "--role", "tokens")
    assert outcome.code == 2
    assert "evidence" in outcome.err


def test_revocation_needs_a_reason(started, verismo):
    assert verismo("keys", "revoke", "x", "--yes").code == 2
    assert verismo("keys", "revoke", "x", "--yes", "--reason", " ").code == 2


def test_unknown_key_is_an_error_with_a_next_step(started, verismo):
    outcome = verismo("keys", "revoke", "nothing", "--reason", "x", "--yes")
    assert outcome.code == 2
    assert "verismo keys list" in outcome.err


def test_json_of_a_change_names_the_key(started, verismo):
    told = json.loads(verismo("keys", "rotate", "--json").out)
    assert told["changed"] is True
    assert told["version"] == 2
    assert told["key"]["state"] == "pending"


def test_ring_can_be_written_and_checked_elsewhere(started, verismo, tmp_path: Path):
    verismo("keys", "rotate")
    out = tmp_path / "deep" / "keyring.json"
    shown = verismo("keys", "ring", "--out", out)
    assert shown.out.splitlines()[0].split() == ["VERSION", "MADE", "KEYS", "SHA-256"]
    history = read_keyring(out.read_bytes())
    newest = check_history(None, history)
    rows = json.loads(verismo("keys", "ring", "--json").out)
    assert [row["version"] for row in rows] == [1, 2]
    assert rows[-1]["sha256"] == newest.sha256
    assert rows[-1]["prev"] == rows[0]["sha256"]


def test_restored_ring_adopts_the_published_one(started, verismo, tmp_path: Path):
    kept = tmp_path / "kept"
    shutil.copytree(started / "var" / "keyring", kept)
    verismo("keys", "rotate")
    published = tmp_path / "keyring.json"
    verismo("keys", "ring", "--out", published)
    shutil.rmtree(started / "var" / "keyring")
    shutil.copytree(kept, started / "var" / "keyring")
    assert token_states(verismo) == ["active"]
    outcome = verismo("keys", "ring", "--adopt", published)
    assert outcome.code == 0
    assert "adopted up to version 2" in outcome.err
    assert token_states(verismo) == ["active", "pending"]
    published.write_bytes(b"{}")
    assert verismo("keys", "ring", "--adopt", published).code == 2


@pytest.mark.parametrize("is_gone", [False, True])
def test_old_ring_that_was_put_back_signs_nothing_until_the_newest_is_adopted(
    started, verismo, tmp_path: Path, *, is_gone: bool
):
    """Attack: the ring of before a revocation, by which the stolen key would sign again."""
    data = started / "var"
    shutil.copytree(data / "keyring", tmp_path / "old")
    (stolen,) = listed(verismo, "--role", "token")
    revoke = ("keys", "revoke", stolen["kid"], "--reason", "stolen", "--yes")
    assert verismo(*revoke, "--at", "2026-01-31T12:00Z").code == 0
    shutil.rmtree(data / "keyring")
    if not is_gone:
        shutil.copytree(tmp_path / "old", data / "keyring")
    files = sorted((data / "keys").rglob("*"))
    kept = data / "keys" / "checkpoints" / "keyring.json"
    shows = [("keys", "list"), ("keys", "ring"), ("keys", "jwks")] if is_gone else []
    for command in (("serve",), ("keys", "rotate"), revoke, *shows):
        refused = verismo(*command)
        assert refused.code == 2
        assert "version 2 was in use before" in refused.err
        assert f"verismo keys ring --adopt {kept}" in refused.err
    assert sorted((data / "keys").rglob("*")) == files, "no key was made"
    adopted = verismo("keys", "ring", "--adopt", kept)
    assert adopted.code == 0, adopted.err
    assert token_states(verismo) == ["revoked", "active"]
    assert "version 3" in verismo("keys", "rotate").out


def test_key_set_is_printed_or_written(started, verismo, tmp_path: Path):
    printed = verismo("keys", "jwks").out
    assert printed.endswith("}\n")
    out = tmp_path / "a" / "b" / "jwks.json"
    assert verismo("keys", "jwks", "--out", out).code == 0
    assert read_jwks(out.read_bytes()) == read_jwks(printed.encode())
    assert {key.role for key in read_jwks(out.read_bytes()).values()} >= {"token", "evidence"}


def spellings(seed: bytes) -> list[bytes]:
    return [
        seed,
        seed.hex().encode(),
        base64.b64encode(seed).rstrip(b"="),
        base64.urlsafe_b64encode(seed).rstrip(b"="),
    ]


def leaks(folder: Path, seeds: list[bytes]) -> list[str]:
    """Return the files below a folder that hold a private key in some spelling."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    words = [word for seed in seeds for word in spellings(seed)]
    return [str(path) for path in files if any(word in path.read_bytes() for word in words)]


def test_no_private_key_reaches_an_output_folder(started, verismo, tmp_path: Path):
    out = tmp_path / "evidence"
    said = [
        verismo("keys", "rotate", "--out", out / "jwks.json"),
        verismo("keys", "rotate", "--emergency", "--reason", "x", "--yes", "--json"),
        verismo("keys", "ring", "--out", out / "keyring.json"),
        verismo("keys", "list", "--json"),
        verismo("keys", "jwks"),
        verismo("config", "show"),
    ]
    (out / "said.txt").write_text("".join(one.out + one.err for one in said))
    data = started / "var"
    (data / "journal").mkdir()
    make_backup(data, tmp_path / "copy", with_keys=False, now_ms=1)
    seeds = [path.read_bytes() for path in (data / "keys").glob("*.key")]
    assert len(seeds) >= 6
    assert leaks(out, seeds) == []
    assert leaks(tmp_path / "copy", seeds) == []
    assert leaks(data / "keyring", seeds) == []
    assert len(leaks(data / "keys", seeds)) >= 6, "the search finds what is there"
    for word in spellings(seeds[0]):
        (out / "planted").write_bytes(b"..." + word + b"...")
        assert leaks(out, seeds) == [str(out / "planted")]


def run_shim(folder: Path, *options: str, python: str = sys.executable):
    return subprocess.run(
        [python, str(SHIM), *options], cwd=folder, capture_output=True, text=True, timeout=60
    )


@pytest.mark.slow
def test_literal_command_rotates_and_writes_the_key_set(initialised: Path, verismo):
    for states in (["active"], ["active", "pending"], ["active", "pending"]):
        done = run_shim(initialised, "--out", str(JWKS))
        assert done.returncode == 0, done.stderr
        assert token_states(verismo) == states
        kids = {row["kid"] for row in listed(verismo)}
        assert read_jwks((initialised / JWKS).read_bytes()).keys() == kids
    assert [path.name for path in (initialised / JWKS).parent.iterdir()] == ["jwks.json"]


@pytest.mark.slow
def test_literal_command_outside_of_a_folder_says_what_to_do(tmp_path: Path):
    done = run_shim(tmp_path, "--out", str(JWKS))
    assert done.returncode == 2
    assert "verismo init" in done.stderr
    assert not (tmp_path / JWKS).exists()


@pytest.mark.slow
def test_literal_command_without_its_packages_names_the_one_set_up_command(tmp_path: Path):
    """A copy of the checkout without a virtual environment, under a bare interpreter."""
    shim = tmp_path / "ops" / "attest" / SHIM.name
    shim.parent.mkdir(parents=True)
    shutil.copy(SHIM, shim)
    (tmp_path / "src").mkdir()
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-I", str(shim)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == "set it up once with: make environment-run\n"


@pytest.mark.slow
def test_literal_command_finds_the_environment_of_the_checkout(tmp_path: Path):
    shim = tmp_path / "ops" / "attest" / SHIM.name
    shim.parent.mkdir(parents=True)
    shutil.copy(SHIM, shim)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-I", str(shim), "--out", "x"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, f"{shim} --out x\n")


def checkout(folder: Path) -> Path:
    """Return a checkout in which nothing was run yet."""
    shim = folder / "ops" / "attest" / SHIM.name
    shim.parent.mkdir(parents=True)
    shutil.copy(SHIM, shim)
    (folder / "src").symlink_to(ROOT / "src")
    return folder


def run_in_checkout(root: Path, *options: str):
    """Run the literal command at its root."""
    return subprocess.run(
        [sys.executable, "ops/attest/jwks-rotate.py", *options],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
def test_literal_command_in_the_checkout_takes_the_demonstration_that_runs_there(
    initialised: Path, tmp_path: Path
):
    """A checkout with var/demo, as `make run` leaves it."""
    root = checkout(tmp_path / "checkout")
    (root / "var").mkdir()
    shutil.copytree(initialised, root / "var" / "demo")
    done = run_in_checkout(root, "--out", str(JWKS))
    assert done.returncode == 0, done.stderr
    assert f"those of {root / 'var' / 'demo' / 'verismo.toml'}" in done.stderr
    assert read_jwks((root / JWKS).read_bytes())
    assert (root / "var" / "demo" / "var" / "keyring").is_dir()


@pytest.mark.slow
def test_literal_command_in_a_new_checkout_names_what_makes_its_gateway(tmp_path: Path):
    root = checkout(tmp_path / "checkout")
    done = run_in_checkout(root, "--out", str(JWKS))
    assert done.returncode == 2
    assert "`make run`" in done.stderr
    assert "--config" in done.stderr
    assert not (root / JWKS).exists()
    assert not (root / "var").exists()
    assert "Usage: " in run_in_checkout(root, "--help").stdout


def test_shim_is_short():
    assert len(SHIM.read_text(encoding="utf-8").splitlines()) <= 20
