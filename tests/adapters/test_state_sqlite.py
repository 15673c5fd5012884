"""The state database: durability settings, transactions, and schemas old and new."""

import multiprocessing
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from verismo.adapters import admins_sqlite, directory_sqlite, erasures_sqlite, state_sqlite
from verismo.adapters.directory_sqlite import SqliteDirectory
from verismo.adapters.state_sqlite import (
    MIGRATIONS,
    StateDatabase,
    schema_status,
    upgrade_schema,
)
from verismo.model.errors import StateError

NEWEST = str(ScriptDirectory(MIGRATIONS).get_current_head())

LATER = '''"""Adds a column, as a later version of Verismo would."""

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{newest}"


def upgrade():
    op.add_column("api_key", sa.Column("note", sa.Text, nullable=False, server_default="old"))
    {more}
'''

ROWS = {
    "0001": [
        "INSERT INTO api_key VALUES ('aaaaaaaaaa', 'T', 'ab', 'n', 'p', 'caller', 1, 2, 3, 4, 5)",
        "INSERT INTO admin_key VALUES ('bbbbbbbbbb', 'n', 'viewer', 'cd', 1, 2, 3)",
        "INSERT INTO observation VALUES ('T', 'chat', 'gpt-4o', 'ef', '', 7, 8)",
    ]
}
ROWS["0002"] = [*ROWS["0001"], "INSERT INTO erasure VALUES ('T', 9)"]
"""Data of each revision, as that revision's version wrote it."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "state.db"


@pytest.fixture
def later(tmp_path):
    """Migrations of a version to come: today's and one more."""
    return later_migrations(tmp_path / "later", "")


def later_migrations(folder: Path, more: str) -> Path:
    shutil.copytree(MIGRATIONS, folder)
    text = LATER.format(newest=NEWEST, more=more)
    (folder / "versions" / "state_9999.py").write_text(text)
    return folder


def test_every_connection_is_durable_and_waits_for_writers(path):
    with StateDatabase(path) as database, database.reading() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 5_000}


def test_only_the_owner_can_read_the_file(path):
    with StateDatabase(path) as database, database.writing():
        modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {0o600}


def _insert_then_fail(connection: sa.Connection) -> None:
    connection.exec_driver_sql(ROWS["0001"][1])
    connection.exec_driver_sql("SELECT * FROM nowhere")


def test_exception_rolls_the_transaction_back(path):
    with StateDatabase(path) as database:
        before = database.version()
        with pytest.raises(StateError, match="nowhere"), database.writing() as connection:
            _insert_then_fail(connection)
        with database.reading() as connection:
            assert connection.exec_driver_sql("SELECT * FROM admin_key").all() == []
        assert database.version() == before


def test_second_writer_waits_for_the_first(path):
    inside = threading.Event()
    with StateDatabase(path) as database:
        before = database.version()

        def write() -> None:
            inside.set()
            with database.writing():
                pass

        with database.writing():
            thread = threading.Thread(target=write)
            thread.start()
            assert inside.wait(timeout=10)
        thread.join(timeout=10)
        assert database.version() == before + 2


def test_writer_that_never_ends_is_an_operators_error(path, monkeypatch):
    monkeypatch.setattr(state_sqlite, "BUSY_MS_MAX", 20)
    with StateDatabase(path) as first, StateDatabase(path) as second:
        with first.writing(), pytest.raises(StateError, match="locked by another writer"):
            second.writing().__enter__()
        with second.writing():
            pass


def test_reader_is_not_held_up_by_a_writer(path):
    with StateDatabase(path) as database, StateDatabase(path) as other, database.writing():
        assert other.version() == 1


def test_file_that_is_no_database_is_refused(path):
    path.parent.mkdir()
    path.write_bytes(b"not SQLite at all, but long enough to be looked at" * 100)
    with pytest.raises(StateError, match="damaged") as caught:
        StateDatabase(path)
    assert "verismo restore" in caught.value.advice


def test_someone_elses_database_is_left_alone(path):
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE orders (id INTEGER)")
    other.close()
    for use in (StateDatabase, schema_status, upgrade_schema):
        with pytest.raises(StateError, match="other tables"):
            use(path)


def test_folder_that_cannot_be_made_is_an_operators_error(tmp_path):
    (tmp_path / "data").write_text("a file, not a folder")
    with pytest.raises(StateError, match="cannot be created"):
        StateDatabase(tmp_path / "data" / "state.db")


def test_lost_change_counter_is_an_operators_error(path):
    with StateDatabase(path) as database:
        with database.writing() as connection:
            connection.exec_driver_sql("DELETE FROM change_counter")
        with pytest.raises(StateError, match="change counter"):
            database.version()


ROUNDS = 20


def _open_again_and_again(folder: Path, together: Barrier) -> None:
    for number in range(ROUNDS):
        together.wait(timeout=60)
        with StateDatabase(folder / str(number) / "state.db") as database, database.writing():
            pass


@pytest.mark.slow
def test_processes_that_start_together_create_one_schema(tmp_path):
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(3)
    arguments = [tmp_path, together]
    processes = [context.Process(target=_open_again_and_again, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=90)
    assert [process.exitcode for process in processes] == [0] * 3
    for number in range(ROUNDS):
        with StateDatabase(tmp_path / str(number) / "state.db") as database:
            assert database.version() == 4
        assert [file.name for file in (tmp_path / str(number)).iterdir()] == ["state.db"]


def test_process_that_comes_second_takes_the_first_ones_file(path, monkeypatch):
    link = os.link

    def link_after_another(source: Path, target: Path) -> None:
        with monkeypatch.context() as undone:
            undone.setattr(os, "link", link)
            with StateDatabase(target) as first, first.writing():
                pass
        link(source, target)

    monkeypatch.setattr(os, "link", link_after_another)
    with StateDatabase(path) as second:
        assert second.version() == 2
    assert [file.name for file in path.parent.iterdir()] == ["state.db"]


def test_fresh_file_has_the_newest_schema(path):
    assert schema_status(path).verdict == "absent"
    assert not path.exists()
    StateDatabase(path).close()
    assert schema_status(path) == state_sqlite.SchemaStatus(NEWEST, NEWEST, "current")


def test_newest_revision_is_that_of_the_migrations():
    assert state_sqlite.NEWEST == NEWEST


def everything_in(path: Path) -> list[str]:
    with sqlite3.connect(path) as database:
        whole = sorted("".join(row.split()) for row in database.iterdump())
    database.close()
    return whole


def test_fresh_schema_is_what_all_migrations_make(path, tmp_path):
    migrations = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, migrations)
    StateDatabase(path).close()
    other = tmp_path / "migrated.db"
    StateDatabase(other, migrations).close()
    assert everything_in(path) == everything_in(other)


@pytest.mark.slow
@pytest.mark.parametrize("is_there", [True, False], ids=["there", "fresh"])
def test_opening_does_not_load_alembic(path, is_there):
    if is_there:
        StateDatabase(path).close()
    code = (
        "import sys; from pathlib import Path;"
        "import verismo.cli.worker, verismo.cli.control;"
        "from verismo.wiring.state import open_state;"
        "open_state(Path(sys.argv[1])).close();"
        "print('alembic' in sys.modules)"
    )
    command = (sys.executable, "-c", code, str(path.parent))
    assert subprocess.check_output(command, text=True, timeout=60) == "False\n"


def test_file_left_empty_by_a_crash_is_created_again(path):
    path.parent.mkdir()
    path.touch()
    with StateDatabase(path) as database:
        assert database.version() == 1


@pytest.mark.parametrize(
    "tables",
    [
        directory_sqlite._metadata,
        admins_sqlite._admin_key.metadata,
        erasures_sqlite._erasure.metadata,
    ],
)
def test_adapters_tables_are_what_the_migrations_make(path, tables):
    with StateDatabase(path) as database, database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, tables)
    ours = set(tables.tables)
    differences = [
        change
        for change in found
        if isinstance(change, tuple)
        and change[0] in ("add_table", "add_column", "remove_column")
        and str(getattr(change[1], "name", change[2])) in ours
    ]
    assert differences == []


@pytest.mark.parametrize(
    "revision", [script.revision for script in ScriptDirectory(MIGRATIONS).walk_revisions()]
)
def test_upgrade_from_each_revision_keeps_its_data(path, tmp_path, revision):
    only = tmp_path / "only"
    shutil.copytree(MIGRATIONS, only)
    for script in (only / "versions").glob("state_*.py"):
        if script.stem.removeprefix("state_") > revision:
            script.unlink()
    with StateDatabase(path, only) as database, database.writing() as connection:
        for row in ROWS[revision]:
            connection.exec_driver_sql(row)
    upgrade_schema(path)
    with StateDatabase(path) as database:
        directory = SqliteDirectory(database)
        assert [(key.id, key.rate.tokens_per_minute) for key in directory.api_keys()] == [
            ("aaaaaaaaaa", 5)
        ]
        assert [row.count for row in directory.observations()] == [7]
        assert len(admins_sqlite.SqliteAdmins(database).admin_keys()) == 1
        erased = erasures_sqlite.SqliteErasures(database).erased()
        assert erased == ({} if revision == "0001" else {"T": 9})
        assert database.version() == 2


def test_older_schema_is_refused_until_it_is_upgraded(path, later):
    with StateDatabase(path) as database, database.writing() as connection:
        connection.exec_driver_sql(ROWS["0001"][0])
    assert schema_status(path, later).verdict == "older"
    with pytest.raises(StateError, match=NEWEST) as caught:
        StateDatabase(path, later)
    assert "verismo db upgrade" in caught.value.advice
    assert upgrade_schema(path, later).verdict == "older"
    with StateDatabase(path, later) as database, database.reading() as connection:
        assert connection.exec_driver_sql("SELECT id, note FROM api_key").all() == [
            ("aaaaaaaaaa", "old")
        ]


def test_newer_schema_is_refused_by_opening_and_by_upgrade(path, later):
    StateDatabase(path, later).close()
    assert schema_status(path).verdict == "newer"
    for use in (StateDatabase, upgrade_schema):
        with pytest.raises(StateError, match="newer version of Verismo") as caught:
            use(path)
        assert "restore a backup" in caught.value.advice


def test_upgrade_of_a_current_file_changes_nothing(path):
    StateDatabase(path).close()
    assert upgrade_schema(path).verdict == "current"
    assert schema_status(path).verdict == "current"


def test_upgrade_that_fails_half_way_leaves_the_old_schema(path, tmp_path):
    StateDatabase(path).close()
    broken = later_migrations(tmp_path / "broken", 'op.execute("SELECT * FROM nowhere")')
    with pytest.raises(StateError, match="nowhere"):
        upgrade_schema(path, broken)
    assert schema_status(path).verdict == "current"
    with StateDatabase(path) as database, database.reading() as connection:
        assert "note" not in [c["name"] for c in sa.inspect(connection).get_columns("api_key")]
