"""Buckets that several workers share: exact, whoever asks, whatever the file held before."""

import errno
import itertools
import os
import stat
import struct
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from verismo.adapters.rates_mapped import (
    FILE_NAME,
    GROUPS,
    SLOTS_PER_GROUP,
    STEP_BACK_MS,
    MappedRates,
)
from verismo.gateway.ratelimit import Bucket
from verismo.model.errors import StateError

NOW_MS = 1_790_000_000_000
NAME = ("calls", "key", "K", "requests")
CHILD = Path(__file__).with_name("rates_child.py")


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "run" / FILE_NAME


@pytest.fixture
def two(path):
    """Return the tables of two workers."""
    tables = MappedRates(path), MappedRates(path)
    yield tables
    for table in tables:
        table.close()


@pytest.mark.parametrize("rate", [1, 2, 10, 600])
def test_workers_together_allow_exactly_the_limit(two, rate):
    """Also where the limit is less than the number of workers."""
    buckets = [table.bucket(NAME, rate) for table in two]
    allowed = [buckets[i % 2].try_take(1, NOW_MS) for i in range(2 * rate + 4)]
    assert allowed == [True] * rate + [False] * (rate + 4)
    minute = [buckets[i % 2].try_take(1, NOW_MS + 60_000) for i in range(rate + 2)]
    assert sum(minute) == rate


def test_one_worker_alone_gets_all_of_the_limit(two):
    bucket = two[0].bucket(NAME, 10)
    assert sum(bucket.try_take(1, NOW_MS) for _ in range(20)) == 10
    assert two[1].bucket(NAME, 10).level(NOW_MS) == 0


def test_debt_and_what_is_given_back_are_seen_by_the_others(two):
    mine, other = (table.bucket(NAME, 100) for table in two)
    mine.charge(250, NOW_MS)
    assert other.level(NOW_MS) == -150
    other.charge(-200, NOW_MS)
    assert mine.level(NOW_MS) == 50


def test_names_and_refills_are_buckets_of_their_own(two):
    names = [NAME, ("calls", "key", "K", "tokens"), ("calls", "keyK", "", "requests")]
    buckets = [two[0].bucket(name, 1) for name in names] + [two[0].bucket(NAME, 2)]
    assert all(bucket.try_take(1, NOW_MS) for bucket in buckets)


def test_restarted_worker_goes_on_where_it_was(path):
    table = MappedRates(path)
    table.bucket(NAME, 5).charge(5, NOW_MS)
    table.close()
    table = MappedRates(path)
    assert not table.bucket(NAME, 5).try_take(1, NOW_MS)
    table.close()


def test_clocks_a_little_apart_refill_nothing_twice(two):
    mine, other = (table.bucket(NAME, 60) for table in two)
    mine.charge(60, NOW_MS)
    assert other.level(NOW_MS - STEP_BACK_MS) == 0
    other.charge(0.5, NOW_MS - STEP_BACK_MS)
    assert mine.level(NOW_MS) == -0.5


def test_clock_that_had_been_wrong_for_a_while_stops_no_refill(two):
    bucket = two[0].bucket(NAME, 60)
    bucket.charge(60, NOW_MS + 86_400_000)
    assert bucket.level(NOW_MS) == 0
    bucket.charge(1, NOW_MS)
    assert bucket.level(NOW_MS + 2_000) == 1


def owners(table: MappedRates, group: int, count: int) -> list[tuple[str, ...]]:
    """Return names whose buckets, of 1 a minute, share a group."""
    names = (("calls", "key", str(number), "requests") for number in itertools.count())
    of_group = (name for name in names if table.bucket(name, 1).group == group)
    return list(itertools.islice(of_group, count))


@pytest.mark.slow  # looks for names of one group
def test_full_group_forgets_only_what_is_nearest_to_full(two):
    names = owners(two[0], 7, SLOTS_PER_GROUP + 1)
    for place, name in enumerate(names[:-1]):
        two[0].bucket(name, 1).charge(1 + place, NOW_MS)
    last = two[1].bucket(names[-1], 1)
    assert last.try_take(1, NOW_MS)
    assert not last.try_take(1, NOW_MS)
    levels = [two[0].bucket(name, 1).level(NOW_MS) for name in names[:-1]]
    assert levels == [1, *(-float(place) for place in range(1, SLOTS_PER_GROUP))]


@pytest.mark.slow  # looks for names of one group
def test_group_has_room_again_once_its_buckets_are_full(two):
    names = owners(two[0], 9, 2 * SLOTS_PER_GROUP)
    for minute, name in enumerate(names):
        bucket = two[minute % 2].bucket(name, 1)
        assert bucket.try_take(1, NOW_MS + 60_000 * minute)
        assert not bucket.try_take(1, NOW_MS + 60_000 * minute)


@given(st.binary(min_size=40, max_size=40))
def test_damaged_slot_neither_fails_nor_gives_more_than_a_minute(tmp_path_factory, damage):
    table = MappedRates(tmp_path_factory.mktemp("damaged") / FILE_NAME)
    bucket = table.bucket(NAME, 3)
    bucket.charge(1, NOW_MS)
    for slot in range(bucket.group * SLOTS_PER_GROUP, (bucket.group + 1) * SLOTS_PER_GROUP):
        key = table.read(slot)[0]
        values = struct.unpack("<3d", damage[16:])
        table.write(slot, key if any(key) else damage[:16], *values)
    assert sum(bucket.try_take(1, NOW_MS) for _ in range(10)) <= 3
    assert table.bucket(("another",), 3).level(NOW_MS) == 3
    table.close()


def test_worker_that_stopped_under_the_lock_holds_nobody_up(two, path):
    bucket = two[0].bucket(NAME, 2)
    code = (
        "import fcntl, os, sys; file = os.open(sys.argv[1], os.O_RDWR);"
        "fcntl.lockf(file, fcntl.LOCK_EX, 1, int(sys.argv[2])); print('held', flush=True);"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-S", "-c", code, str(path), str(bucket.group)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as stopped:
        assert stopped.stdout.readline() == "held\n"
        assert not two[0].lock(bucket.group)
        assert [bucket.try_take(1, NOW_MS) for _ in range(3)] == [True, True, False]
        stopped.kill()
    assert two[0].lock(bucket.group)


@pytest.mark.slow  # starts processes
@pytest.mark.parametrize("limit", [1, 5_000])
def test_processes_that_take_at_once_get_exactly_the_limit(path, limit):
    MappedRates(path).close()
    with ExitStack() as closing:
        children = [
            closing.enter_context(
                subprocess.Popen(
                    [sys.executable, CHILD, path, str(limit), str(NOW_MS), "4000"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(4)
        ]
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.stdin.write("\n")
            child.stdin.flush()
        assert sum(int(child.stdout.readline()) for child in children) == limit


def test_file_is_its_owners_alone_and_has_its_place_on_the_disk(path):
    MappedRates(path).close()
    status = path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_blocks * 512 >= status.st_size == GROUPS * SLOTS_PER_GROUP * 40


def test_full_disk_is_told_before_anything_is_mapped(path, monkeypatch):
    def full(file: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StateError, match="No space left on device") as caught:
        MappedRates(path)
    assert "Check the space" in caught.value.advice


class AsOneWorker(RuleBasedStateMachine):
    """Three workers' buckets answer what one bucket in memory does."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = NOW_MS
        self.model = Bucket(60, NOW_MS)
        self.file = Path(f"/proc/self/fd/{os.memfd_create('rates')}")
        self.tables = [MappedRates(self.file) for _ in range(3)]
        self.buckets = [table.bucket(NAME, 60) for table in self.tables]

    @rule(worker=st.integers(0, 2), amount=st.integers(1, 70))
    def try_take(self, worker: int, amount: int) -> None:
        took = self.buckets[worker].try_take(amount, self.now_ms)
        assert took == self.model.try_take(amount, self.now_ms)

    @rule(worker=st.integers(0, 2), amount=st.integers(-5, 90))
    def charge(self, worker: int, amount: int) -> None:
        self.buckets[worker].charge(amount, self.now_ms)
        self.model.charge(amount, self.now_ms)

    # Quarters of a second: a quarter of the refill, without rounding.
    @rule(quarters=st.integers(0, 400))
    def wait(self, quarters: int) -> None:
        self.now_ms += quarters * 250

    @invariant()
    def is_the_same_everywhere(self) -> None:
        level = min(60, self.model.level(self.now_ms))
        assert [min(60, one.level(self.now_ms)) for one in self.buckets] == [level] * 3

    def teardown(self) -> None:
        for table in self.tables:
            table.close()
        os.close(int(self.file.name))


TestAsOneWorker = pytest.mark.slow(AsOneWorker.TestCase)
