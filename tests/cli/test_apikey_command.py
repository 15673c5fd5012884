"""`verismo apikey`: what is printed, what is stored, what is refused."""

import json
import time

import pytest
from click.testing import CliRunner

from verismo.cli.apikey import apikey
from verismo.model.apikey import is_in_force, key_matches, parse_api_key
from verismo.model.errors import OperatorError, StateError
from verismo.model.ids import TenantId
from verismo.wiring.firststart import prepare_data
from verismo.wiring.handles import find_tenant_handle
from verismo.wiring.state import open_state

CONFIG = """
data = "var"

[tenants.TENANT_001]
region = "eu"
purposes = ["support", "research"]
models = ["*"]
"""

DAY_MS = 86_400_000


@pytest.fixture
def root(tmp_path):
    (tmp_path / "verismo.toml").write_text(CONFIG)
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "main.rego").write_text("package verismo\n")
    return tmp_path


@pytest.fixture
def run(root):
    def invoke(*arguments, error=None):
        result = CliRunner().invoke(apikey, [*arguments, "-c", str(root / "verismo.toml")])
        if error is None:
            assert result.exit_code == 0, result.output
        else:
            assert isinstance(result.exception, error)
        return result

    return invoke


def stored(root):
    with open_state(root / "var") as state:
        return list(state.directory.api_keys())


def stored_admins(root):
    with open_state(root / "var") as state:
        return list(state.admins.admin_keys())


def test_key_alone_goes_to_standard_output(run):
    result = run("create", "--tenant", "TENANT_001")
    assert parse_api_key(result.stdout.strip()) is not None
    assert "not shown again" in result.stderr


def test_quiet_prints_nothing_but_the_key(run):
    result = run("create", "--tenant", "TENANT_001", "--quiet")
    assert result.output == result.stdout
    assert parse_api_key(result.stdout.strip()) is not None


def test_printed_key_matches_what_is_stored(run, root):
    text = parse_api_key(run("create", "--tenant", "TENANT_001", "--quiet").stdout.strip())
    (key,) = stored(root)
    assert key.id == text.id
    assert key_matches(text, key.secret_sha256)
    assert (key.role, key.purpose, key.expires_ms, key.revoked_ms) == ("caller", "", 0, 0)


def test_secret_is_in_no_file(run, root):
    text = run("create", "--tenant", "TENANT_001", "--quiet").stdout.strip()
    secret = text.rsplit("_", 1)[1].encode()
    files = [file for file in (root / "var").rglob("*") if file.is_file()]
    assert files
    assert all(secret not in file.read_bytes() for file in files)


def test_options_are_stored(run, root):
    before_ms = time.time_ns() // 1_000_000
    run(
        *("create", "--tenant", "TENANT_001", "--name", "ci", "--expires", "90d"),
        *("--purpose", "research", "--role", "auditor"),
        *("--requests-per-minute", "60", "--tokens-per-minute", "9000"),
    )
    (key,) = stored(root)
    assert (key.name, key.purpose, key.role) == ("ci", "research", "auditor")
    assert (key.rate.requests_per_minute, key.rate.tokens_per_minute) == (60, 9000)
    assert key.expires_ms - key.created_ms == 90 * DAY_MS
    assert key.created_ms >= before_ms
    assert is_in_force(key, key.created_ms)


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [("--tenant", "TENANT_01", "TENANT_001"), ("--purpose", "suport", "support")],
)
def test_unknown_name_is_refused_with_the_nearest(run, root, option, value, hint):
    arguments = {"--tenant": "TENANT_001", option: value}
    flat = [text for pair in arguments.items() for text in pair]
    result = run("create", *flat, error=OperatorError)
    assert f"did you mean {hint}?" in result.exception.detail
    assert not (root / "var" / "state.db").exists()


@pytest.mark.parametrize("text", ["90", "d", "0d", "-1d", "1.5d", "90 d", "9999999999w", "∞d"])
def test_duration_that_is_none_is_refused(run, text):
    result = run("create", "--tenant", "TENANT_001", "--expires", text, error=SystemExit)
    assert result.exit_code == 2
    assert "--expires" in result.stderr


def test_list_shows_keys_without_their_hashes(run, root):
    run("create", "--tenant", "TENANT_001", "--name", "ci")
    (key,) = stored(root)
    for output in (run("list").stdout, run("list", "--json").stdout):
        assert key.id in output
        assert "TENANT_001" in output
        assert "in force" in output
        assert key.secret_sha256 not in output


def test_list_json_has_stable_members(run):
    run("create", "--tenant", "TENANT_001", "--name", "ci")
    (row,) = json.loads(run("list", "--json").stdout)
    assert row.keys() == {
        *("id", "tenant", "name", "purpose", "role", "requests_per_minute", "tokens_per_minute"),
        *("created_ms", "expires_ms", "revoked_ms", "state"),
    }


def test_list_for_one_tenant_leaves_the_others_out(run):
    run("create", "--tenant", "TENANT_001")
    assert json.loads(run("list", "--json", "--tenant", "TENANT_002").stdout) == []


def test_escape_sequence_in_a_name_does_not_reach_the_terminal(run):
    run("create", "--tenant", "TENANT_001", "--name", "\x1b[2Jgone")
    assert "\x1b" not in run("list").stdout


@pytest.mark.parametrize("by", ["id", "whole key"])
def test_revoked_key_is_listed_as_revoked(run, root, by):
    text = run("create", "--tenant", "TENANT_001", "--quiet").stdout.strip()
    (key,) = stored(root)
    assert key.id in run("revoke", key.id if by == "id" else text).stdout
    (row,) = json.loads(run("list", "--json").stdout)
    assert row["state"] == "revoked"
    assert row["revoked_ms"] > 0


def test_expired_key_is_listed_as_expired(run, root):
    run("create", "--tenant", "TENANT_001", "--expires", "1m")
    with open_state(root / "var") as state:
        database = state._database
        with database.writing() as connection:
            connection.exec_driver_sql("UPDATE api_key SET expires_ms = 1")
    (row,) = json.loads(run("list", "--json").stdout)
    assert row["state"] == "expired"


@pytest.mark.parametrize("group", [(), ("admin",)])
def test_unknown_id_cannot_be_revoked(run, group):
    result = run(*group, "revoke", "zzzzzzzzzz", error=OperatorError)
    assert "zzzzzzzzzz" in result.exception.detail
    assert " ".join(("verismo apikey", *group, "list")) in result.exception.advice


def test_admin_key_has_its_own_prefix_and_store(run, root):
    result = run("admin", "create", "--name", "on call", "--role", "operator", "--expires", "12h")
    text = parse_api_key(result.stdout.strip(), "va")
    (key,) = stored_admins(root)
    assert key_matches(text, key.secret_sha256)
    assert (key.name, key.role) == ("on call", "operator")
    assert key.expires_ms - key.created_ms == DAY_MS // 2
    assert stored(root) == []


def test_admin_role_is_viewer_unless_said(run, root):
    run("admin", "create", "--name", "dashboard", "--quiet")
    assert [key.role for key in stored_admins(root)] == ["viewer"]


def test_admin_keys_are_listed_and_revoked(run, root):
    run("admin", "create", "--name", "on call")
    (key,) = stored_admins(root)
    run("admin", "revoke", key.id)
    (row,) = json.loads(run("admin", "list", "--json").stdout)
    assert row["state"] == "revoked"
    for output in (run("admin", "list").stdout, run("admin", "list", "--json").stdout):
        assert "on call" in output
        assert key.secret_sha256 not in output


def test_create_tells_the_audience_beside_the_key_once_there_is_one(run, root):
    first = run("create", "--tenant", "TENANT_001")
    assert "audience" not in first.stderr
    prepare_data(root / "var")
    handle = find_tenant_handle(root / "var", TenantId("TENANT_001"))
    result = run("create", "--tenant", "TENANT_001")
    assert f"audience {handle}." in result.stderr
    assert handle not in result.stdout
    assert "audience" not in run("create", "--tenant", "TENANT_001", "--quiet").stderr


def test_no_key_is_made_while_the_secret_of_handles_is_open_to_others(run, root):
    prepare_data(root / "var")
    (root / "var" / "keys" / "handles.key").chmod(0o644)
    run("create", "--tenant", "TENANT_001", error=StateError)
    assert stored(root) == []
