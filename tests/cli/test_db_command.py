"""`verismo db`: what it says and does at each state of the schema."""

import sqlite3

import pytest
from click.testing import CliRunner

from verismo.cli.db import db
from verismo.model.errors import StateError
from verismo.wiring.state import open_state, schema_status


@pytest.fixture
def root(tmp_path):
    (tmp_path / "verismo.toml").write_text("[tenants]\n")
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "main.rego").write_text("package verismo\n")
    return tmp_path


@pytest.fixture
def run(root):
    def invoke(command):
        return CliRunner().invoke(db, [command, "-c", str(root / "verismo.toml")])

    return invoke


def make_older(root):
    """Take the base revision's mark away: the schema before the first."""
    open_state(root / "var").close()
    connection = sqlite3.connect(root / "var" / "state.db")
    with connection:
        tables = ("api_key", "admin_key", "observation", "change_counter", "erasure")
        for table in tables:
            connection.execute(f"DROP TABLE {table}")
        connection.execute("DELETE FROM alembic_version")
    connection.close()


def make_newer(root):
    open_state(root / "var").close()
    connection = sqlite3.connect(root / "var" / "state.db")
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()


def test_current_of_a_fresh_folder_fails_and_creates_nothing(run, root):
    result = run("current")
    assert result.exit_code == 1
    assert result.stdout.startswith("absent")
    assert not (root / "var").exists()


def test_upgrade_creates_a_fresh_file_and_can_be_run_again(run):
    assert run("upgrade").stdout.startswith("created with schema")
    assert run("upgrade").stdout.startswith("nothing to do")
    assert run("current").stdout.startswith("current")


def test_older_schema_fails_current_until_upgraded(run, root):
    make_older(root)
    assert run("current").exit_code == 1
    with pytest.raises(StateError, match="schema") as caught:
        open_state(root / "var")
    assert "verismo db upgrade" in caught.value.advice
    assert run("upgrade").stdout.startswith("upgraded")
    assert run("current").exit_code == 0
    open_state(root / "var").close()


def test_newer_schema_is_refused_by_upgrade(run, root):
    make_newer(root)
    assert run("current").exit_code == 1
    result = run("upgrade")
    assert isinstance(result.exception, StateError)
    assert schema_status(root / "var").found == "9999"
