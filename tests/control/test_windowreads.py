"""Intervals of several workers: complete or waited for, known or not, never made up."""

import pytest

from verismo.adapters.windows_sqlite import FILE_NAME, SqliteWindows
from verismo.control.windowreads import ArmReads, WindowReads, bins_of, compared
from verismo.model.window import Histogram, Window, merge_windows, window_fault
from verismo.ports.windows import DeploymentLoad, Interval, RouteSpend

WINDOW_MS = 10_000
SLOTS = ("s0", "s1")


@pytest.fixture
def source(tmp_path):
    opened = SqliteWindows(tmp_path / FILE_NAME)
    yield opened
    opened.close()


def reads(source, window_ms=WINDOW_MS, slots=SLOTS):
    return WindowReads(source, lambda: slots, window_ms)


def window(start_ms=0, requests=2, length_ms=WINDOW_MS, **more):
    fields = {
        "tenant": "T",
        "operation": "chat",
        "arm": "baseline",
        "deployment": "old",
        "start_ms": start_ms,
        "end_ms": start_ms + length_ms,
        "requests": requests,
        "errors": 0,
        "cost_usd_micros": 0,
        "cost_squares": 0,
        "latency": Histogram((7,), (requests - more.get("refused", 0),)),
    }
    return Window(**(fields | more))


def write(source, start_ms, writer="s0", windows=(), spends=(), loads=(), length_ms=WINDOW_MS):
    source.write(Interval(writer, start_ms, start_ms + length_ms, windows, spends, loads))


def write_all(source, start_ms, **more):
    for slot in SLOTS:
        write(source, start_ms, slot, **more)


@pytest.mark.parametrize("now_ms", [30_000, 30_001, 39_999])
def test_an_interval_is_complete_once_every_worker_wrote_it(source, now_ms):
    write_all(source, 10_000)
    assert reads(source).complete_until(now_ms) == 20_000
    write(source, 20_000, "s0")
    assert reads(source).complete_until(now_ms) == 20_000
    write(source, 20_000, "s1")
    assert reads(source).complete_until(now_ms) == 30_000


def test_nobody_is_waited_for_longer_than_two_intervals(source):
    write(source, 10_000, "s0")
    assert reads(source).complete_until(39_999) == 10_000
    assert reads(source).complete_until(40_000) == 20_000


def test_what_ends_later_than_now_is_not_complete(source):
    for at in range(5):
        write_all(source, at * WINDOW_MS)
    assert reads(source).complete_until(25_000) == 20_000


def test_windows_of_all_workers_add_up_by_key(source):
    write(source, 0, "s0", (window(), window(arm="candidate", deployment="new")))
    write(source, 0, "s1", (window(requests=3),))
    write_all(source, 10_000, windows=(window(10_000),))
    ours, theirs = reads(source).windows(0, 20_000)
    assert (ours.arm, ours.requests, ours.latency.total) == ("baseline", 9, 9)
    assert (ours.start_ms, ours.end_ms) == (0, 20_000)
    assert (theirs.arm, theirs.requests) == ("candidate", 2)


def test_a_late_worker_is_left_out_and_a_silent_one_is_no_hole(source):
    write(source, 0, "s0", (window(),))
    write_all(source, 10_000)
    [only] = reads(source).windows(0, 20_000)
    assert only.requests == 2
    assert reads(source).windows(10_000, 20_000) == []


def test_what_nobody_wrote_is_not_taken_for_silence(source):
    write_all(source, 0, windows=(window(),))
    write_all(source, 20_000, windows=(window(20_000),))
    assert reads(source).windows(0, 30_000) is None
    assert reads(source).windows(0, 10_000) is not None


def test_a_rollout_is_shown_what_is_known_so_that_a_restart_does_not_stop_it(source):
    write_all(source, 0, windows=(window(),))
    write_all(source, 20_000, windows=(window(20_000, arm="candidate", deployment="new"),))
    arms = ArmReads(reads(source))
    assert [one.requests for one in arms.windows(0, 30_000)] == [4, 4]
    assert arms.windows(10_000, 20_000) is None, "a time of which nothing is known is no silence"


def test_intervals_of_another_length_are_not_known(source):
    write_all(source, 0, windows=(window(),))
    assert reads(source, 1_000).windows(0, 10_000) is None
    assert reads(source, 1_000).complete_until(11_000) == 9_000


def test_a_refusal_is_an_error_of_its_arm_and_of_nobody_without_arms(source):
    candidate = window(arm="candidate", deployment="new", requests=5, refused=4, errors=1)
    candidate = compared(candidate)
    assert (candidate.errors, candidate.refused) == (5, 0)
    unsplit = window(arm="unsplit", requests=5, refused=4)
    assert compared(unsplit) is unsplit
    write_all(source, 0, windows=(window(requests=3, refused=2),))
    [found] = ArmReads(reads(source)).windows(0, 10_000)
    assert (found.requests, found.errors, found.refused, found.latency.total) == (6, 4, 0, 2)
    assert not window_fault(found)
    assert ArmReads(reads(source)).windows(10_000, 20_000) is None
    assert ArmReads(reads(source)).complete_until(30_000) == 10_000


def test_comparing_and_adding_up_come_in_any_order():
    one, other = window(requests=4, refused=2), window(10_000, requests=3, refused=1)
    assert compared(merge_windows([one, other])) == merge_windows([compared(one), compared(other)])


def test_spend_is_a_bin_of_ten_seconds_however_long_intervals_are(source):
    for start_ms in range(0, 20_000, 1_000):
        spends = (RouteSpend("T", "chat", 1), RouteSpend("U", "chat", 5))
        write_all(source, start_ms, spends=spends, length_ms=1_000)
    bins = reads(source, 1_000).spends(0, 20_000)
    assert [one.start_ms for one in bins] == [0, 10_000]
    assert [one.offered_usd_micros for one in bins_of(bins, "T", "chat")] == [20, 20]
    assert [one.offered_usd_micros for one in bins_of(bins, "V", "chat")] == [0, 0]


def test_spend_without_a_workers_part_is_not_known(source):
    write(source, 0, "s0", spends=(RouteSpend("T", "chat", 1),))
    write_all(source, 10_000, spends=(RouteSpend("T", "chat", 1),))
    first, second = reads(source).spends(0, 20_000)
    assert first.offered is None
    assert second.offered == {("T", "chat"): 2}
    assert [one.start_ms for one in bins_of((first, second), "T", "chat")] == [10_000]


def test_a_bin_that_is_not_over_is_not_there(source):
    write_all(source, 0)
    assert len(reads(source).spends(0, 19_999)) == 1


def test_loads_of_all_workers_add_up_and_none_is_made_up(source):
    write(source, 0, "s0", loads=(DeploymentLoad("old", 10, 2, 1), DeploymentLoad("new", 5, 1, 0)))
    write(source, 0, "s1", loads=(DeploymentLoad("old", 20, 3, 0),))
    write(source, 10_000, "s0", loads=(DeploymentLoad("old", 10, 2, 1),))
    whole, partial = reads(source).loads(0, 40_000)
    assert whole.loads == (DeploymentLoad("new", 5, 1, 0), DeploymentLoad("old", 30, 5, 1))
    assert (partial.start_ms, partial.end_ms, partial.loads) == (10_000, 20_000, None)


def test_loads_begin_with_the_first_interval_after_the_time_asked_for(source):
    for start_ms in (0, 10_000):
        write_all(source, start_ms)
    assert [one.start_ms for one in reads(source).loads(1, 20_000)] == [10_000]
    assert [one.loads for one in reads(source).loads(1, 20_000)] == [()]


@pytest.mark.parametrize(
    "evil",
    [
        {"requests": -5, "latency": Histogram()},
        {"errors": 3},
        {"cost_usd_micros": 2**62, "cost_squares": 2**62},
        {"cost_usd_micros": 5, "cost_squares": 1},
        {"start_ms": -1_000},
        {"end_ms": 2**62},
        {"latency": Histogram((3_000,), (1,))},
    ],
)
def test_hostile_counts_of_one_interval_poison_no_look_at_the_others(source, evil):
    write(source, 0, windows=(window(), window(arm="candidate", **evil)))
    write(source, WINDOW_MS, windows=(window(WINDOW_MS), window(WINDOW_MS, arm="candidate")))
    found = ArmReads(reads(source, slots=("s0",))).windows(0, 2 * WINDOW_MS)
    assert [(one.arm, one.start_ms, one.requests) for one in found] == [
        ("baseline", WINDOW_MS, 2),
        ("candidate", WINDOW_MS, 2),
    ]
