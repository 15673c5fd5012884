"""Administrators in SQLite: the port's conformance."""

import pytest
from tests.ports.admins_conformance import AdminsConformance

from verismo.adapters.admins_sqlite import SqliteAdmins
from verismo.adapters.state_sqlite import StateDatabase


@pytest.fixture
def admins(tmp_path):
    with StateDatabase(tmp_path / "state.db") as database:
        yield SqliteAdmins(database)


@pytest.fixture
def admins_elsewhere(tmp_path, admins):
    with StateDatabase(tmp_path / "state.db") as database:
        yield SqliteAdmins(database)


class TestSqliteAdmins(AdminsConformance):
    pass
