"""`adapt.db`: records, bytes and steering under one lease, read while they are written."""

import hashlib
import sqlite3
import stat
import zlib
from contextlib import closing

import pytest
from tests.ports.journal_conformance import answer

from verismo.adapters.adapt_file import AdaptFile, pass_numbers
from verismo.adapters.adapt_leaves import ArchivedAdapt, open_leaves
from verismo.adapters.decisions_sqlite import SqliteDecisions, SqliteSteering
from verismo.model.errors import StateError
from verismo.ports.decisions import DecisionRow
from verismo.ports.ledger import LeaseElsewhere
from verismo.ports.steering import SteeringRow

NOW_MS = 1_790_000_000_000
TTL_MS = 3_000


def blob(text: str) -> tuple[str, bytes]:
    return hashlib.sha256(text.encode()).hexdigest(), text.encode()


def row(n: int, rule: str = "canary", subject: str = "a", at_ms: int = NOW_MS) -> DecisionRow:
    return DecisionRow(n, rule, subject, "HOLD", b"s%d" % n, b"j%d" % n, at_ms)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "adapt.db"


@pytest.fixture
def file(path):
    opened = AdaptFile(path)
    yield opened
    opened.close()


@pytest.fixture
def token(file):
    return file.acquire("a", NOW_MS, TTL_MS)


@pytest.fixture
def store(file):
    return SqliteDecisions(file)


@pytest.fixture
def steering(file):
    return SqliteSteering(file)


def test_the_file_is_its_owners_alone_and_survives_power_cuts(path, file):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with file.reading() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_new_file_is_empty(store, steering):
    assert (store.last(), store.tip(), list(store.rows(0, 9))) == (0, None, [])
    assert (store.newest(("canary",), "a"), list(store.subjects(("canary",)))) == (None, [])
    assert (store.first_since(0), store.blob("a" * 64)) == (0, None)
    assert (steering.version(), steering.last(), steering.newest()) == (0, 0, None)


def test_a_reader_of_a_file_that_is_not_there_yet_finds_it_later(path):
    reading = AdaptFile(path, read_only=True)
    assert SqliteSteering(reading).version() == 0
    assert not path.exists()
    writing = AdaptFile(path)
    SqliteSteering(writing).publish(
        writing.acquire("a", NOW_MS, TTL_MS), SteeringRow(1, b"s", b"j", NOW_MS)
    )
    assert SqliteSteering(reading).version() == 1
    with pytest.raises(StateError):
        reading.acquire("b", NOW_MS, TTL_MS)
    reading.close()
    writing.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_written_to_a_file_that_was_deleted_or_replaced(
    path, file, store, steering, token, replaced
):
    store.append(token, row(1), {})
    path.rename(path.with_suffix(".old"))
    if replaced:
        path.write_bytes(path.with_suffix(".old").read_bytes())
    for write in (
        lambda: store.append(token, row(2), {}),
        lambda: steering.publish(token, SteeringRow(1, b"s", b"j", NOW_MS)),
        lambda: file.renew(token, NOW_MS, TTL_MS),
        lambda: file.acquire("a", NOW_MS, TTL_MS),
    ):
        with pytest.raises(StateError, match="deleted, moved or replaced"):
            write()
    path.with_suffix(".old").rename(path)
    store.append(token, row(2), {})
    assert store.last() == 2


class TestRecords:
    def test_what_was_appended_is_read_back_by_another_process(self, path, store, token):
        digest, content = blob("an observation")
        store.append(token, row(1), {digest: content})
        other = AdaptFile(path, read_only=True)
        read = SqliteDecisions(other)
        assert (list(read.rows(0, 9)), read.tip(), read.last()) == ([row(1)], row(1), 1)
        assert read.blob(digest) == content
        other.close()

    def test_rows_come_in_order_and_in_pages(self, store, token):
        for n in range(1, 6):
            store.append(token, row(n), {})
        assert [one.n for one in store.rows(1, 3)] == [2, 3, 4]

    @pytest.mark.parametrize("n", [1, 3])
    def test_a_number_out_of_turn_is_refused_and_nothing_of_it_stays(self, store, token, n):
        store.append(token, row(1), {})
        digest, content = blob("lost")
        with pytest.raises(StateError, match="out of turn; the next one is 2"):
            store.append(token, row(n), {digest: content})
        assert (store.last(), store.blob(digest)) == (1, None)

    def test_the_newest_of_any_of_some_rules_is_found(self, store, token):
        for n, rule, subject in ((1, "canary", "a"), (2, "canary-act", "a"), (3, "canary", "b")):
            store.append(token, row(n, rule, subject), {})
        assert store.newest(("canary",), "a").n == 1
        assert store.newest(("canary", "canary-act"), "a").n == 2
        assert store.newest(("budget",), "a") is None
        assert list(store.subjects(("canary", "canary-act"))) == ["a", "b"]

    def test_the_first_since_a_time_is_found(self, store, token):
        for n in (1, 2, 3):
            store.append(token, row(n, at_ms=NOW_MS + n), {})
        assert (store.first_since(0), store.first_since(NOW_MS + 2)) == (1, 2)
        assert store.first_since(NOW_MS + 4) == 0

    def test_a_record_can_be_neither_changed_nor_removed(self, path, store, token):
        store.append(token, row(1), {})
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            for statement in ("UPDATE record SET verdict = 'x'", "DELETE FROM record"):
                with pytest.raises(sqlite3.IntegrityError, match="never"):
                    other.execute(statement)


class TestBytes:
    def test_the_same_bytes_are_kept_once(self, path, store, token):
        digest, content = blob("settings")
        for n in (1, 2):
            store.append(token, row(n), {digest: content})
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("SELECT COUNT(*) FROM blob").fetchone() == (1,)

    @pytest.mark.parametrize(
        "deflated", [b"", b"damaged", zlib.compress(b"x")[:-1], zlib.compress(b"x") + b"more"]
    )
    def test_damaged_bytes_are_told_with_a_next_step(self, path, store, token, deflated):
        digest, content = blob("an observation")
        store.append(token, row(1), {digest: content})
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("UPDATE blob SET deflated = ?", (deflated,))
        with pytest.raises(StateError, match="damaged") as refusal:
            store.blob(digest)
        assert "backup" in refusal.value.advice

    def test_old_bytes_are_forgotten_and_records_stay(self, store, token):
        old, new, both = blob("old"), blob("new"), blob("both")
        store.append(token, row(1, at_ms=NOW_MS), dict([old, both]))
        store.append(token, row(2, at_ms=NOW_MS + 10), dict([new, both]))
        assert store.forget(token, NOW_MS + 5) == 1
        assert store.blob(old[0]) is None
        assert (store.blob(new[0]), store.blob(both[0])) == (new[1], both[1])
        assert store.last() == 2
        assert store.forget(token, NOW_MS + 5) == 0

    def test_what_the_newest_of_a_subject_names_is_kept_whatever_its_age(self, store, token):
        act, look = blob("act"), blob("look")
        store.append(token, row(1, "canary-act", "a"), dict([act]))
        store.append(token, row(2, "canary", "b"), dict([look]))
        assert store.forget(token, NOW_MS + 1_000_000) == 0
        assert store.blob(act[0]) == act[1]


class TestSteering:
    def test_the_newest_version_is_read(self, steering, token):
        for version in (1, 2):
            steering.publish(token, SteeringRow(version, b"s", b"j", NOW_MS + version))
        assert (steering.version(), steering.newest().version) == (2, 2)
        assert [one.version for one in steering.rows(0, 9)] == [1, 2]
        assert [one.version for one in steering.rows(1, 9)] == [2]

    @pytest.mark.parametrize("version", [0, 1, 3])
    def test_a_version_out_of_turn_is_refused(self, steering, token, version):
        steering.publish(token, SteeringRow(1, b"s", b"j", NOW_MS))
        with pytest.raises(StateError, match="out of turn"):
            steering.publish(token, SteeringRow(version, b"t", b"j", NOW_MS))
        assert steering.version() == 1

    def test_a_version_can_be_neither_changed_nor_removed(self, path, steering, token):
        steering.publish(token, SteeringRow(1, b"s", b"j", NOW_MS))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            for statement in ("UPDATE steering SET statement = x'00'", "DELETE FROM steering"):
                with pytest.raises(sqlite3.IntegrityError, match="never"):
                    other.execute(statement)


class TestLease:
    def test_one_holds_it_and_the_other_is_told_who(self, file, token):
        with pytest.raises(LeaseElsewhere, match="a decides"):
            file.acquire("b", NOW_MS + TTL_MS - 1, TTL_MS)
        assert file.holder(NOW_MS) == "a"
        assert file.acquire("b", NOW_MS + TTL_MS, TTL_MS) > token

    def test_a_token_that_is_not_the_last_one_writes_nothing(self, file, store, steering, token):
        file.acquire("b", NOW_MS + TTL_MS, TTL_MS)
        for write in (
            lambda: store.append(token, row(1), {}),
            lambda: steering.publish(token, SteeringRow(1, b"s", b"j", NOW_MS)),
            lambda: store.forget(token, NOW_MS),
            lambda: file.renew(token, NOW_MS, TTL_MS),
        ):
            with pytest.raises(LeaseElsewhere, match="b decides"):
                write()
        file.release(token)
        assert file.holder(NOW_MS + TTL_MS) == "b"
        assert (store.last(), steering.version()) == (0, 0)

    def test_a_lease_that_is_given_up_or_renewed_counts_at_once(self, file, token):
        file.renew(token, NOW_MS + 2_000, TTL_MS)
        with pytest.raises(LeaseElsewhere):
            file.acquire("b", NOW_MS + TTL_MS + 1_999, TTL_MS)
        file.release(token)
        assert file.holder(NOW_MS + 2_000) == ""
        file.acquire("b", NOW_MS + 2_000, TTL_MS)


class TestFaults:
    def test_a_file_of_a_newer_version_is_refused(self, path):
        AdaptFile(path).close()
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA user_version = 2")
        with pytest.raises(StateError, match="version 2; this program"):
            AdaptFile(path)

    def test_what_is_no_database_is_refused_with_a_next_step(self, path):
        path.parent.mkdir()
        path.write_bytes(b"not a database at all" * 100)
        with pytest.raises(StateError, match="cannot be used") as refusal:
            AdaptFile(path)
        assert "Gateways keep what they were told" in refusal.value.advice

    def test_a_folder_that_cannot_be_made_is_refused(self, tmp_path):
        (tmp_path / "data").write_text("a file")
        with pytest.raises(StateError, match="cannot be made"):
            AdaptFile(tmp_path / "data" / "adapt.db")

    def test_a_write_that_fails_leaves_the_file_usable(self, path, store, token):
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute(
                "CREATE TRIGGER full BEFORE INSERT ON blob "
                "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
            )
            with pytest.raises(StateError, match="disk full"):
                store.append(token, row(1), dict([blob("x")]))
            other.execute("DROP TRIGGER full")
        assert store.last() == 0
        store.append(token, row(1), dict([blob("x")]))
        assert store.last() == 1


class TestRestores:
    def test_numbers_that_a_backup_did_not_know_are_not_given_out_again(
        self, path, file, store, steering, token
    ):
        store.append(token, row(1), {})
        steering.publish(token, SteeringRow(1, b"s", b"j", NOW_MS))
        pass_numbers(path, NOW_MS)
        passed = NOW_MS // 1_000 * 1_000_000
        assert (store.last(), steering.last()) == (passed, passed)
        assert (store.tip().n, steering.version()) == (1, 1)
        store.append(token, row(passed + 1), {})
        steering.publish(token, SteeringRow(passed + 1, b"s", b"j", NOW_MS))
        assert [one.n for one in store.rows(0, 9)] == [1, passed + 1]
        assert steering.version() == passed + 1

    def test_a_second_restore_passes_the_numbers_of_the_first(self, path, file, store, token):
        pass_numbers(path, NOW_MS)
        store.append(token, row(store.last() + 1), {})
        pass_numbers(path, NOW_MS - 60_000)
        assert store.last() == NOW_MS // 1_000 * 1_000_000 + 1
        pass_numbers(path, NOW_MS + 60_000)
        assert store.last() == (NOW_MS + 60_000) // 1_000 * 1_000_000

    def test_what_an_archive_gives_back_is_leaves_and_nothing_that_decides(self, path):
        path.parent.mkdir()
        archived = ArchivedAdapt(path.parent)
        records = [answer(2), answer(1), answer(2)]
        archived.add("@decisions", records)
        archived.add("@steering", records[1:2])
        archived.finish(NOW_MS)
        leaves = open_leaves(path.parent)
        assert [one.n for one in leaves.rows("@decisions", 0, 9)] == [1, 2]
        assert leaves.rows("@decisions", 1, 9)[0].statement == records[0].statement
        assert [one.n for one in leaves.rows("@steering", 0, 9)] == [1]
        file = AdaptFile(path)
        store = SqliteDecisions(file)
        assert (store.tip(), list(store.rows(0, 9))) == (None, [])
        token = file.acquire("a", NOW_MS, TTL_MS)
        store.append(token, row(store.last() + 1), {})
        assert [one.n for one in leaves.rows("@decisions", 0, 9)] == [1, 2, store.last()]
        leaves.close()
        file.close()
