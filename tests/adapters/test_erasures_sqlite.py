"""Erasures in SQLite: the port's conformance, and the markers of earlier versions."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.ports.erasures_conformance import ONE, OTHER, ErasuresConformance

from verismo.adapters.erasures_sqlite import SqliteErasures, adopt_markers
from verismo.adapters.state_sqlite import StateDatabase
from verismo.adapters.vault_file import FileVault
from verismo.model.errors import Erased, StateError
from verismo.model.ids import prov_id_from
from verismo.wiring.backup import back_up, restore
from verismo.wiring.state import open_state
from verismo.wiring.vault import erased_tenants, open_vault, record_erasure

PROV_ID = prov_id_from(1, bytes(10))


@pytest.fixture
def database(tmp_path: Path):
    with StateDatabase(tmp_path / "state.db") as database:
        yield database


@pytest.fixture
def erasures(database: StateDatabase):
    return SqliteErasures(database)


@pytest.fixture
def erasures_elsewhere(tmp_path: Path, erasures: SqliteErasures):
    with StateDatabase(tmp_path / "state.db") as database:
        yield SqliteErasures(database)


class TestSqliteErasures(ErasuresConformance):
    pass


@pytest.fixture
def markers(tmp_path: Path) -> Path:
    folder = tmp_path / "keys" / "tenants"
    folder.mkdir(parents=True)
    (folder / f"{ONE}.erased").write_text("2026-01-01T00:00:00Z\n")
    (folder / f"{OTHER}.erased").touch()
    os.utime(folder / f"{OTHER}.erased", (7, 7))
    (folder / "TENANT_003.key").write_bytes(b"k" * 32)
    return folder


def test_markers_of_earlier_versions_are_recorded_with_their_times(markers: Path, erasures):
    adopt_markers(markers, erasures)
    assert erasures.erased() == {ONE: 1_767_225_600_000, OTHER: 7_000}
    assert [path.name for path in markers.iterdir()] == ["TENANT_003.key"]


def test_marker_of_who_is_recorded_already_changes_nothing(markers: Path, erasures):
    """A crash left it, or a backup of the keys brought it back."""
    erasures.record(ONE, 5_000)
    adopt_markers(markers, erasures)
    assert erasures.erased()[ONE] == 5_000


def test_marker_that_cannot_be_recorded_stays_and_counts(markers: Path, erasures, tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        connection.execute("DROP TABLE change_counter")
    with pytest.raises(StateError):
        adopt_markers(markers, erasures)
    assert FileVault(markers, erasures).is_erased(ONE)


def test_marker_that_cannot_be_deleted_is_an_operators_error(markers: Path, erasures, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "unlink", fail)
    with pytest.raises(StateError, match="cannot be moved"):
        adopt_markers(markers, erasures)
    assert erasures.is_erased(ONE)


@pytest.mark.parametrize("is_marked", [False, True], ids=["fresh", "marked-before"])
def test_erased_tenant_stays_erased_in_a_backup_without_keys(tmp_path: Path, is_marked: bool):
    data, copy, restored = tmp_path / "data", tmp_path / "copy", tmp_path / "restored"
    with open_state(data) as state:
        sealed = open_vault(data, state).seal(ONE, PROV_ID, b"words")
    if is_marked:
        marker = data / "keys" / "tenants" / f"{ONE}.erased"
        marker.write_text("2026-01-01T00:00:00Z\n")
    else:
        record_erasure(data, ONE, 5_000)
    with open_state(data) as state:
        open_vault(data, state)  # as each worker does at its start
    back_up(data, copy, with_keys=False)
    restore(copy, restored)
    assert not (restored / "keys").exists()
    shutil.copytree(data / "keys", restored / "keys")
    with open_state(restored) as state:
        vault = open_vault(restored, state)
        assert vault.is_erased(ONE)
        with pytest.raises(Erased):
            vault.open(ONE, PROV_ID, sealed)
        with pytest.raises(StateError, match="was erased"):
            vault.seal(ONE, PROV_ID, b"words")
        assert not vault.is_erased(OTHER)


def test_asking_who_was_erased_makes_no_folder(tmp_path: Path):
    assert erased_tenants(tmp_path / "data") == {}
    assert not (tmp_path / "data").exists()
