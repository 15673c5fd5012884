"""`verismo config`: check, show, reference."""

import json
import sys
from pathlib import Path

import pytest

from verismo.config.reference import reference
from verismo.wiring.policy import open_policy

COMMANDS = [
    ("config", "check"),
    ("config", "show"),
    ("tenant", "list"),
    ("tenant", "show", "TENANT_001"),
    ("tenant", "add", "T", "--region", "us", "--purpose", "p"),
    ("tenant", "erase", "TENANT_001", "--yes"),
]


def test_check_counts_what_it_found(verismo, initialised):
    outcome = verismo("config", "check")
    assert outcome.code == 0
    assert "OK: 3 tenants, 3 providers, 8 deployments, 6 operations, 0 warnings" in outcome.out


def test_check_prints_warnings_and_passes(verismo, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    verismo("init", tmp_path, "--provider", "openai")
    outcome = verismo("config", "check", "--config", tmp_path / "verismo.toml")
    assert outcome.code == 0
    assert "OPENAI_API_KEY is not set" in outcome.out
    assert "1 warnings" in outcome.out


def test_check_prints_every_error_and_fails(verismo, initialised):
    path = initialised / "verismo.toml"
    path.write_text(path.read_text().replace("[listen]", "[listen]\nprot = 1\nworkers = 0"))
    outcome = verismo("config", "check")
    assert outcome.code == 2
    assert outcome.out == ""
    lines = outcome.err.splitlines()
    assert lines[0].startswith("error: verismo.toml:")
    assert "listen.prot: unknown key; did you mean port?" in lines[0]
    assert "listen.workers: expected `int` >= 1" in lines[1]
    assert lines[2].startswith("next:  ")


def test_check_says_which_policy_would_be_in_force(verismo, initialised):
    out = verismo("config", "check").out
    assert f"policy: {open_policy(initialised / 'policy').bundle}\n" in out


def test_check_refuses_a_policy_that_no_worker_would_load(verismo, initialised):
    (initialised / "policy" / "bad.rego").write_text("package verismo.gateway\nbad { true }\n")
    outcome = verismo("config", "check")
    assert outcome.code == 2
    assert outcome.out == ""
    first, last = outcome.err.splitlines()
    assert first.startswith(
        f"error: the policy in {initialised / 'policy'} is refused: bad.rego:2:"
    )
    assert last.startswith("next:  Mend it and run `verismo policy check`")


def test_check_without_the_interpreter_says_what_to_install(verismo, initialised, monkeypatch):
    for module in ("verismo.wiring.policy", "verismo.adapters.policy_regorus"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "regorus", None)
    outcome = verismo("config", "check")
    assert outcome.code == 2
    assert "the policy cannot be loaded without its interpreter" in outcome.err
    assert "pip install 'verismo[gateway]'" in outcome.err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_missing_file_says_how_to_make_one(verismo, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    outcome = verismo(*command)
    assert outcome.code == 2
    assert f"there is no configuration file {tmp_path / 'verismo.toml'}" in outcome.err
    assert "verismo init DIR" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_show_masks_credentials_in_both_forms(verismo, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    verismo("init", tmp_path, "--provider", "openai")
    plain = verismo("config", "show", "-c", tmp_path / "verismo.toml")
    as_json = verismo("config", "show", "-c", tmp_path / "verismo.toml", "--json")
    assert "sk-very-secret" not in plain.out + plain.err + as_json.out + as_json.err
    assert 'credentials.openai = "********"' in plain.out
    assert json.loads(as_json.out)["credentials"] == {"openai": "********"}


def test_show_tells_overrides_and_defaults(verismo, initialised, monkeypatch):
    monkeypatch.setenv("VERISMO_PORT", "8123")
    outcome = verismo("config", "show")
    assert "listen.port = 8123" in outcome.out
    assert "limits.in_flight_max = 1024" in outcome.out


def test_reference_prints_the_documentation(verismo):
    assert verismo("config", "reference").out == reference()


def test_only_configuration_reads_the_environment():
    """The package says so of itself."""
    source = Path(reference.__code__.co_filename).parents[1]
    readers = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if "os.environ" in path.read_text(encoding="utf-8")
        or "getenv" in path.read_text(encoding="utf-8")
    }
    assert readers == {"config/environment.py", "config/load.py"}
