"""The export's store in SQLite: the port's contract, damage and faults."""

import sqlite3
import stat

import pytest
from tests.ports.siem_store_conformance import TALLY, SiemStoreConformance, batch, dead
from tests.support import siem

from verismo.adapters.siem_sqlite import FILE_NAME, SqliteSiemStore
from verismo.model.errors import StateError


@pytest.fixture
def store(tmp_path):
    store = SqliteSiemStore(tmp_path / FILE_NAME)
    yield store
    store.close()


@pytest.fixture
def elsewhere(store, tmp_path):
    other = SqliteSiemStore(tmp_path / FILE_NAME)
    yield other
    other.close()


class TestSqliteSiemStore(SiemStoreConformance):
    pass


def test_what_was_stored_survives_closing(tmp_path):
    store = SqliteSiemStore(tmp_path / FILE_NAME)
    store.advance(batch(-1, 4, hours=[TALLY], letters=[dead()]))
    store.close()
    again = SqliteSiemStore(tmp_path / FILE_NAME)
    assert again.cursor("main", siem.LOG) == 4
    assert len(again.dead_letters()) == len(again.hours("main", 0, 2**62)) == 1
    again.close()


def test_commits_are_flushed(store):
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_file_is_its_owners_alone(store, tmp_path):
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) & ~0o600 == 0


def test_batch_that_cannot_be_stored_whole_is_not_stored(store, tmp_path):
    with sqlite3.connect(tmp_path / FILE_NAME) as other:
        other.execute(
            "CREATE TRIGGER full BEFORE INSERT ON dead_letter "
            "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    other.close()
    with pytest.raises(StateError, match="disk full"):
        store.advance(batch(-1, 4, hours=[TALLY], letters=[dead()]))
    assert store.cursor("main", siem.LOG) == -1
    assert list(store.hours("main", 0, 2**62)) == []
    store.advance(batch(-1, 4, hours=[TALLY]))
    assert store.cursor("main", siem.LOG) == 4


def test_file_of_a_newer_program_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / FILE_NAME) as newer:
        newer.execute("PRAGMA user_version = 2")
    newer.close()
    with pytest.raises(StateError, match="version 2"):
        SqliteSiemStore(tmp_path / FILE_NAME)


def test_damaged_file_says_what_to_do(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 1_000)
    with pytest.raises(StateError) as raised:
        SqliteSiemStore(tmp_path / FILE_NAME)
    assert "dedupe" in raised.value.advice


def test_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError):
        SqliteSiemStore(tmp_path / "file" / FILE_NAME)
