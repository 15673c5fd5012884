"""A witness's folder: made once, never without its memory, never with another key's."""

import sqlite3
from contextlib import closing

import pytest
from tests.support.witness import NAME, NOW_S

from verismo.adapters.witness_key import WitnessKey
from verismo.adapters.witness_sqlite import EVIDENCE_MAX, SqliteWitness
from verismo.model.errors import OperatorError, StateError
from verismo.ports.witness import SplitView, TrustedLog, WitnessedHead
from verismo.wiring.witness import KEY_FILE, MEMORY_FILE, make_witness, open_witness

ORIGIN = "gateway.example/log/eu/2026"


@pytest.fixture
def store(tmp_path):
    with closing(SqliteWitness.make(tmp_path / "w.db", NAME, bytes(32))) as made:
        yield made


def head(size, origin=ORIGIN):
    return WitnessedHead(origin, size, bytes([size]) * 32, NOW_S, b"note")


def test_a_new_memory_is_empty(store):
    assert (store.head(ORIGIN), store.heads(), store.trusted(), store.evidence()) == (
        None,
        (),
        (),
        (),
    )
    assert store.identity() == (NAME, bytes(32))


def test_a_head_is_replaced_only_by_who_knew_it(store):
    assert store.advance(None, head(3))
    assert not store.advance(None, head(4))
    assert not store.advance(head(2), head(4))
    assert store.advance(head(3), head(4))
    assert store.advance(None, head(1, "other.example"))
    assert store.heads() == (head(4), head(1, "other.example"))


def test_what_was_stored_is_there_for_the_next_process(store, tmp_path):
    store.advance(None, head(3))
    store.trust([TrustedLog(ORIGIN, bytes(32))])
    with closing(SqliteWitness(tmp_path / "w.db")) as again:
        assert again.head(ORIGIN) == head(3)
        assert again.trusted() == (TrustedLog(ORIGIN, bytes(32)),)


def test_every_commit_is_synced(store):
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_trusting_again_changes_nothing(store):
    one = TrustedLog(ORIGIN, bytes(32))
    assert store.trust([one]) == 1
    assert store.trust([one, TrustedLog("gateway.example/log/", bytes(32), every_log=True)]) == 1
    assert len(store.trusted()) == 2


def test_distrusting_leaves_other_keys_and_what_was_cosigned(store):
    kept = TrustedLog(ORIGIN, b"k" * 32)
    store.trust([TrustedLog(ORIGIN, bytes(32)), kept])
    assert store.advance(None, head(3))
    assert store.distrust(bytes(32)) == (TrustedLog(ORIGIN, bytes(32)),)
    assert store.distrust(bytes(32)) == ()
    assert store.trusted() == (kept,)
    assert store.head(ORIGIN) == head(3), "the next key goes on from there"


def test_evidence_is_kept_once_for_a_size_and_does_not_fill_the_disk(store):
    first = SplitView(ORIGIN, 1, NOW_S, b"known", b"other")
    store.keep_evidence(first)
    store.keep_evidence(SplitView(ORIGIN, 1, NOW_S + 1, b"known", b"third"))
    assert store.evidence() == (first,)
    for size in range(2, EVIDENCE_MAX + 9):
        store.keep_evidence(SplitView(ORIGIN, size, NOW_S, b"known", b"other"))
    assert len(store.evidence()) == EVIDENCE_MAX


def test_a_closed_or_locked_memory_is_a_state_error(store, tmp_path, monkeypatch):
    monkeypatch.setattr("verismo.adapters.witness_sqlite.BUSY_MS_MAX", 1)
    with (
        closing(sqlite3.connect(tmp_path / "w.db", isolation_level=None)) as other,
        closing(SqliteWitness(tmp_path / "w.db")) as impatient,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="locked"):
            impatient.advance(None, head(1))
    store.close()
    with pytest.raises(StateError):
        store.head(ORIGIN)


def test_a_full_disk_leaves_the_old_head(store):
    store.advance(None, head(3))
    connection = store._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    large = WitnessedHead(ORIGIN, 4, bytes(32), NOW_S, bytes(100_000))
    with pytest.raises(StateError, match="full"):
        store.advance(head(3), large)
    assert store.head(ORIGIN) == head(3)
    connection.execute("PRAGMA max_page_count = 1000000")
    assert store.advance(head(3), large)


def test_a_witness_is_made_with_a_key_of_its_own_that_nobody_else_can_read(tmp_path):
    vkey = make_witness(tmp_path, NAME)
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / MEMORY_FILE).stat().st_mode & 0o777 == 0o600
    with open_witness(tmp_path) as opened:
        assert opened.vkey == vkey
        assert opened.key.public.role == "witness"
        assert "seed" not in repr(opened.key)


def test_a_witness_is_never_made_over_another(tmp_path):
    make_witness(tmp_path, NAME)
    before = (tmp_path / KEY_FILE).read_bytes()
    with pytest.raises(StateError):
        make_witness(tmp_path, NAME)
    (tmp_path / MEMORY_FILE).unlink()
    with pytest.raises(StateError, match="exists"):
        make_witness(tmp_path, NAME)
    assert (tmp_path / KEY_FILE).read_bytes() == before


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb"])
def test_a_name_that_notes_cannot_carry_is_refused(tmp_path, name):
    with pytest.raises(OperatorError, match="--name"):
        make_witness(tmp_path, name)
    assert not (tmp_path / KEY_FILE).exists()


def test_a_key_without_its_memory_does_not_begin_anew(tmp_path):
    make_witness(tmp_path, NAME)
    (tmp_path / MEMORY_FILE).unlink()
    with pytest.raises(StateError, match="memory") as caught, open_witness(tmp_path):
        pass
    assert "newest copy" in caught.value.advice


def test_the_memory_of_another_key_is_refused(tmp_path):
    make_witness(tmp_path / "a", NAME)
    make_witness(tmp_path / "b", NAME)
    (tmp_path / "a" / MEMORY_FILE).replace(tmp_path / "b" / MEMORY_FILE)
    with pytest.raises(StateError, match="another key"), open_witness(tmp_path / "b"):
        pass


def test_a_key_file_that_others_can_read_is_refused(tmp_path):
    make_witness(tmp_path, NAME)
    (tmp_path / KEY_FILE).chmod(0o640)
    with pytest.raises(StateError, match="others"):
        WitnessKey(tmp_path / KEY_FILE)


def test_a_key_file_of_another_length_is_refused(tmp_path):
    (tmp_path / KEY_FILE).write_bytes(bytes(31))
    (tmp_path / KEY_FILE).chmod(0o600)
    with pytest.raises(StateError, match="31 bytes"):
        WitnessKey(tmp_path / KEY_FILE)


def test_a_file_that_is_no_memory_or_of_a_later_version_is_refused(tmp_path):
    path = tmp_path / "w.db"
    path.write_bytes(b"")
    with pytest.raises(StateError, match="no witness"):
        SqliteWitness(path)
    path.write_bytes(b"text, no database " * 100)
    with pytest.raises(StateError):
        SqliteWitness(path)
    path.unlink()
    SqliteWitness.make(path, NAME, bytes(32)).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(StateError, match="version 9"):
        SqliteWitness(path)
