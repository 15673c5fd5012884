"""Versioned tables of SQLite files, made once and by one process, and transactions."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from verismo.adapters.sqlite_schema import Schema, transaction
from verismo.model.errors import StateError

SCHEMA = Schema(
    "CREATE TABLE kept (n INTEGER NOT NULL) STRICT;\n"
    "CREATE TRIGGER kept_for_ever BEFORE DELETE ON kept\n"
    "    BEGIN SELECT RAISE(ABORT, 'kept'); END;\n",
    version=3,
    next_step="Run a newer one.",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(opened(path)) as one:
        yield one


def opened(path: Path, timeout_s: float = 0) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, timeout=timeout_s)


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [n for (n,) in connection.execute("SELECT n FROM kept ORDER BY n")]


def test_tables_are_made_once_triggers_among_them(path, connection):
    assert not SCHEMA.is_there(connection, path)
    SCHEMA.prepare(connection, path)
    assert SCHEMA.is_there(connection, path)
    connection.execute("INSERT INTO kept VALUES (1)")
    SCHEMA.prepare(connection, path)
    SCHEMA.create(connection)
    assert numbers(connection) == [1]
    with pytest.raises(sqlite3.IntegrityError, match="kept"):
        connection.execute("DELETE FROM kept")


def test_second_process_that_creates_them_at_once_finds_them_made(path, connection):
    with closing(opened(path)) as other:
        assert not SCHEMA.is_there(other, path)
        SCHEMA.create(connection)
        SCHEMA.create(other)
        assert SCHEMA.is_there(other, path)


def test_crash_while_tables_are_made_leaves_none_of_them(path, connection):
    broken = Schema("CREATE TABLE one (n INTEGER) STRICT;\nCREATE NONSENSE;\n")
    with pytest.raises(sqlite3.OperationalError):
        broken.create(connection)
    assert connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone() == (0,)
    assert not broken.is_there(connection, path)


@pytest.mark.parametrize("ask", [SCHEMA.is_there, SCHEMA.prepare])
def test_file_of_a_newer_program_is_refused_with_what_to_do(path, connection, ask):
    connection.execute("PRAGMA user_version = 4")
    with pytest.raises(StateError, match="version 4; this program knows up to 3") as raised:
        ask(connection, path)
    assert str(path) in str(raised.value)
    assert raised.value.advice == "Run a newer one."


def test_transaction_that_fails_leaves_nothing_and_the_connection_usable(path, connection):
    SCHEMA.create(connection)
    with pytest.raises(sqlite3.IntegrityError), transaction(connection):
        connection.executemany("INSERT INTO kept VALUES (?)", [(1,), (None,)])
    assert numbers(connection) == []
    with transaction(connection):
        connection.execute("INSERT INTO kept VALUES (2)")
    assert numbers(connection) == [2]


def test_transaction_beside_another_writer_is_refused_and_writes_nothing(path, connection):
    SCHEMA.create(connection)
    with (
        closing(opened(path)) as other,
        transaction(other),
        pytest.raises(sqlite3.OperationalError, match="locked"),
        transaction(connection),
    ):
        pytest.fail("two writers at once")
    with transaction(connection):
        connection.execute("INSERT INTO kept VALUES (1)")
    assert numbers(connection) == [1]
