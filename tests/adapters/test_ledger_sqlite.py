"""`ledger.db`: the ledger store's conformance, and what is SQLite's own."""

import sqlite3
import stat
from contextlib import closing

import pytest
from tests.ports.ledger_conformance import TTL_MS, LedgerStoreConformance, growth
from tests.support.ledger import NOW_MS

from verismo.adapters.ledger_sqlite import SqliteLedger
from verismo.model.errors import StateError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "ledger.db"


class TestSqliteLedger(LedgerStoreConformance):
    @pytest.fixture
    def ledgers(self, path):
        opened = []

        def open_ledger():
            opened.append(SqliteLedger(path))
            return opened[-1]

        yield open_ledger
        for one in opened:
            one.close()


def test_the_file_is_its_owners_alone_and_survives_power_cuts(path):
    store = SqliteLedger(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with store.reading() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_a_reader_of_a_file_that_is_not_there_yet_finds_it_later(path):
    reader = SqliteLedger(path, read_only=True)
    assert list(reader.logs()) == []
    assert not path.exists()
    store = SqliteLedger(path)
    token = store.acquire("a", NOW_MS, TTL_MS)
    store.assign(token, [growth(0, 3)], {"s0": 3})
    assert reader.logs()[0].assigned == 3
    with pytest.raises(StateError):
        reader.acquire("b", NOW_MS, TTL_MS)
    reader.close()
    store.close()


@pytest.mark.parametrize("put_back", [False, True])
def test_nothing_is_integrated_into_a_file_that_was_deleted_or_replaced(path, put_back):
    with closing(SqliteLedger(path)) as store:
        token = store.acquire("a", NOW_MS, TTL_MS)
        path.unlink()
        if put_back:
            with closing(SqliteLedger(path)) as other:
                other.acquire("b", NOW_MS, TTL_MS)
        with pytest.raises(StateError, match="deleted, moved or replaced") as raised:
            store.assign(token, [growth(0, 3)], {"s0": 3})
        assert "nothing is integrated until then" in raised.value.advice


def test_a_file_of_a_newer_version_is_refused(path):
    SqliteLedger(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(StateError, match="version 2; this program"):
        SqliteLedger(path)


def test_what_is_no_database_is_refused_with_a_next_step(path):
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StateError, match="cannot be used") as refusal:
        SqliteLedger(path)
    assert "Answers go on" in refusal.value.advice


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StateError, match="cannot be made"):
        SqliteLedger(tmp_path / "data" / "ledger.db")


@pytest.mark.parametrize(
    "forbidden",
    [
        "UPDATE run SET first_index = 7",
        "UPDATE checkpoint SET note = x'00'",
        "UPDATE log SET assigned = 0",
        "UPDATE source SET cursor = 0",
        "INSERT INTO run SELECT source, first_seq, 1, log, 99 FROM run",
        "INSERT INTO run SELECT source, 99, 1, log, first_index FROM run",
    ],
)
def test_the_tables_themselves_refuse_to_rewrite_history(path, forbidden):
    store = SqliteLedger(path)
    token = store.acquire("a", NOW_MS, TTL_MS)
    store.assign(token, [growth(0, 3)], {"s0": 3})
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO checkpoint VALUES (1, 1, zeroblob(32), x'01', 0)")
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(forbidden)
