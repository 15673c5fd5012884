"""The directory in SQLite: the port's conformance, and what a file adds to it."""

import pytest
from tests.ports.directory_conformance import DirectoryConformance, api_key

from verismo.adapters.directory_sqlite import SqliteDirectory
from verismo.adapters.state_sqlite import StateDatabase
from verismo.model.errors import StateError


@pytest.fixture
def directory(tmp_path):
    with StateDatabase(tmp_path / "state.db") as database:
        yield SqliteDirectory(database)


@pytest.fixture
def elsewhere(tmp_path, directory):
    with StateDatabase(tmp_path / "state.db") as database:
        yield SqliteDirectory(database)


class TestSqliteDirectory(DirectoryConformance):
    pass


def test_keys_survive_closing_the_file(tmp_path):
    with StateDatabase(tmp_path / "state.db") as database:
        SqliteDirectory(database).add_api_key(api_key())
    with StateDatabase(tmp_path / "state.db") as database:
        assert list(SqliteDirectory(database).api_keys()) == [api_key()]


def test_row_that_is_no_key_is_an_operators_error(tmp_path, directory):
    directory.add_api_key(api_key())
    with StateDatabase(tmp_path / "state.db") as database, database.writing() as connection:
        connection.exec_driver_sql("UPDATE api_key SET role = 'root'")
    with pytest.raises(StateError, match="role"):
        directory.api_keys()
