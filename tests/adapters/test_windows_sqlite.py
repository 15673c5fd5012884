"""windows.db: an interval is there whole or not at all, and once."""

import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import msgspec
import pytest

from verismo.adapters.windows_sqlite import FILE_NAME, PRUNE_ROWS_MAX, SqliteWindows
from verismo.model.errors import StateError
from verismo.model.window import Histogram, Window
from verismo.ports.windows import DeploymentLoad, Interval, IntervalThere, RouteSpend, Written

WINDOW_MS = 10_000


def interval(start_ms=0, writer="s0", **more):
    return Interval(writer, start_ms, start_ms + WINDOW_MS, **more)


def full(start_ms=0, writer="s0"):
    window = Window(
        *("T", "chat", "candidate", "new", start_ms, start_ms + WINDOW_MS, 3, 1, 10, 50),
        latency=Histogram((5, 9), (1, 1)),
        first_token=Histogram((2,), (1,)),
        unpriced=1,
    )
    return interval(
        start_ms,
        writer,
        windows=(window,),
        spends=(RouteSpend("T", "chat", 12),),
        loads=(DeploymentLoad("new", 120, 3, 1),),
    )


@pytest.fixture
def windows(tmp_path):
    opened = SqliteWindows(tmp_path / FILE_NAME)
    yield opened
    opened.close()


def test_what_was_written_is_read_as_it_was(windows):
    windows.write(full())
    assert windows.intervals(0, 1) == [full()]


def test_intervals_come_by_start_and_writer_within_the_times_asked_for(windows):
    for start_ms, writer in ((20_000, "s0"), (10_000, "s1"), (10_000, "s0"), (0, "s0")):
        windows.write(interval(start_ms, writer))
    found = windows.intervals(10_000, 20_000)
    assert [(one.start_ms, one.writer) for one in found] == [(10_000, "s0"), (10_000, "s1")]
    assert windows.written(0, 10_000) == [Written(0, WINDOW_MS, "s0")]


def test_an_interval_that_was_written_before_is_refused_and_stays_as_it_was(windows):
    windows.write(full())
    with pytest.raises(IntervalThere, match="s0 has written the interval at 0 before"):
        windows.write(interval())
    assert windows.intervals(0, 1) == [full()]


def test_another_process_reads_what_is_written(windows, tmp_path):
    windows.write(full())
    other = SqliteWindows(tmp_path / FILE_NAME)
    assert other.intervals(0, 1) == [full()]
    other.write(full(writer="s1"))
    other.close()
    assert len(windows.intervals(0, 1)) == 2


def test_writers_that_come_at_once_all_get_through(tmp_path):
    def write(index):
        opened = SqliteWindows(tmp_path / FILE_NAME)
        for at in range(20):
            opened.write(full(at * WINDOW_MS, f"s{index}"))
        opened.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as read:
        assert read.execute("SELECT count(*) FROM interval").fetchone() == (80,)


def test_pruning_forgets_what_ended_before_and_nothing_else(windows):
    for at in range(5):
        windows.write(interval(at * WINDOW_MS))
    windows.prune(2 * WINDOW_MS + 1)
    assert [one.start_ms for one in windows.written(0, 10**9)] == [20_000, 30_000, 40_000]


def test_intervals_that_a_clock_dated_that_was_ahead_are_forgotten_and_can_be_written(windows):
    for at in range(5):
        windows.write(interval(at * WINDOW_MS))
    assert windows.forget_future(2 * WINDOW_MS) == 2
    assert windows.forget_future(2 * WINDOW_MS) == 0
    assert [one.start_ms for one in windows.written(0, 10**9)] == [0, 10_000, 20_000]
    windows.write(full(3 * WINDOW_MS))
    assert windows.intervals(3 * WINDOW_MS, 10**9) == [full(3 * WINDOW_MS)]


@pytest.mark.slow
def test_pruning_goes_on_until_all_is_forgotten(windows):
    for at in range(PRUNE_ROWS_MAX + 1):
        windows.write(interval(at * WINDOW_MS))
    windows.prune(10**12)
    assert windows.written(0, 10**12) == []


def test_the_file_is_its_owners_only_and_made_by_the_first_call(tmp_path):
    path = tmp_path / "data" / FILE_NAME
    opened = SqliteWindows(path)
    assert not path.exists()
    assert opened.intervals(0, 1) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    opened.close()


def test_a_file_of_a_newer_version_is_refused(windows, tmp_path):
    windows.write(interval())
    windows.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as changed:
        changed.execute("PRAGMA user_version = 9")
    with pytest.raises(StateError, match="version 9; this program knows up to 1"):
        windows.intervals(0, 1)


@pytest.mark.parametrize("damage", [b"not a database", b"\x00" * 4096])
def test_a_damaged_file_is_an_error_with_a_next_step(tmp_path, damage):
    path = tmp_path / FILE_NAME
    path.write_bytes(damage)
    opened = SqliteWindows(path)
    with pytest.raises(StateError, match="cannot be used") as caught:
        opened.write(interval())
    assert "no decision" in caught.value.advice


@pytest.mark.parametrize(
    "counted",
    [b"\xc1", b"", msgspec.msgpack.encode(full(writer="s1")), msgspec.msgpack.encode([1])],
)
def test_a_damaged_row_blinds_nobody_to_the_others_and_is_told_once(
    windows, tmp_path, caplog, counted
):
    for start_ms in (0, WINDOW_MS):
        windows.write(Interval("s0", start_ms, start_ms + WINDOW_MS))
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as changed, changed:
        changed.execute("UPDATE interval SET counted = ? WHERE start_ms = 0", (counted,))
    for _ in range(2):
        assert [one.start_ms for one in windows.intervals(0, 2 * WINDOW_MS)] == [WINDOW_MS]
    [told] = caplog.records
    assert (told.fields["writer"], told.fields["start_ms"]) == ("s0", 0)


def test_it_can_be_used_again_once_the_cause_is_gone(tmp_path):
    path = tmp_path / FILE_NAME
    path.mkdir()
    opened = SqliteWindows(path)
    with pytest.raises(StateError):
        opened.write(interval())
    path.rmdir()
    opened.write(interval())
    assert opened.intervals(0, 1) == [interval()]
    opened.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_lost_in_use_is_made_again_for_all_processes(tmp_path, replaced):
    path = tmp_path / FILE_NAME
    with closing(SqliteWindows(path)) as writer, closing(SqliteWindows(path)) as reader:
        writer.write(interval(0))
        assert len(reader.intervals(0, 1)) == 1
        for file in tmp_path.glob(f"{FILE_NAME}*"):
            file.unlink()
        if replaced:
            path.touch()
        assert reader.intervals(0, WINDOW_MS + 1) == []
        writer.write(interval(WINDOW_MS))
        assert [one.start_ms for one in reader.intervals(0, WINDOW_MS + 1)] == [WINDOW_MS]
