"""The outbox: nothing is lost whatever fails, nothing piles up, and one sink waits for no other."""

import asyncio
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import siem

from verismo.adapters.siem_sqlite import FILE_NAME, SqliteSiemStore
from verismo.attest.parity import extend_tallies
from verismo.attest.rollup import SiemCounters
from verismo.control import siem as export_module
from verismo.control.siem import (
    ExportDesk,
    ExportStatus,
    SinkExport,
    event_list,
    lag_ms,
    siem_counters,
)
from verismo.model.errors import StateError
from verismo.ports.siem import Progress, SinkUnavailable

AWAY = SinkUnavailable("the receiver is away")


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now_ms = siem.START_MS

    def __call__(self) -> int:
        return self.now_ms


class FaultyStore(SqliteSiemStore):
    """The store whose next transactions fail: nothing stored, or stored and not told."""

    faults: list[str] = []  # noqa: RUF012 - replaced by each test

    def advance(self, change):
        fault = self.faults.pop(0) if self.faults else ""
        if fault != "not stored":
            super().advance(change)
        if fault:
            raise StateError("the disk failed", next_step="Mend it.")


@pytest.fixture
def store(tmp_path):
    store = FaultyStore(tmp_path / FILE_NAME)
    store.faults = []
    yield store
    store.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def leaves():
    return siem.KeptLeaves({siem.LOG: siem.chats(20)})


@pytest.fixture
def sink():
    return siem.KeptSink()


@pytest.fixture
def export(store, leaves, sink, clock):
    return SinkExport(ExportDesk("main", sink, leaves, store, clock, batch_events_max=6))


def events_of(leaves, name=siem.LOG):
    return event_list(name, leaves.read(name, -1, 10_000))


async def rounds(export, clock, count=30):
    for _ in range(count):
        await export.round()
        clock.now_ms += int(export_module.RETRY_S_MAX * 1_000)


async def test_every_leaf_is_sent_in_order_and_counted(export, store, leaves, sink):
    await export.round()
    assert sink.events == events_of(leaves)
    assert store.cursor("main", siem.LOG) == 19
    assert tuple(store.hours("main", 0, 2**62)) == extend_tallies({}, events_of(leaves))


async def test_new_leaves_are_sent_by_the_next_round(export, leaves, sink):
    await export.round()
    leaves.kept[siem.LOG] += siem.chats(23)[20:]
    await export.round()
    assert sink.events == events_of(leaves)


async def test_every_log_is_sent(store, sink, clock):
    leaves = siem.KeptLeaves({"one/log/eu/2026": siem.chats(7), "one/log/us/2026": siem.chats(9)})
    await SinkExport(ExportDesk("main", sink, leaves, store, clock)).round()
    assert [progress.cursor for progress in store.progress()] == [6, 8]
    assert len(sink.events) == 16


async def test_nothing_to_send_leaves_the_sink_alone(store, sink, clock):
    export = SinkExport(ExportDesk("main", sink, siem.KeptLeaves({siem.LOG: []}), store, clock))
    await export.round()
    assert sink.batches == []
    assert export.status.is_up


async def test_batches_and_reads_are_bounded(store, sink, clock):
    leaves = siem.KeptLeaves({siem.LOG: siem.chats(300)})
    export = SinkExport(ExportDesk("main", sink, leaves, store, clock, batch_events_max=100))
    await export.round()
    assert max(sink.batches) == 100
    assert max(leaves.limits) == export_module.READ_LEAVES_MAX
    assert len(sink.events) == 300


@pytest.mark.parametrize("fault", ["not taken", "but taken"])
async def test_batch_that_the_sink_did_not_take_is_sent_again(
    export, store, sink, leaves, clock, fault
):
    sink.faults = [(fault, AWAY)]
    await export.round()
    assert store.cursor("main", siem.LOG) == -1
    assert not export.status.is_up
    await rounds(export, clock, 2)
    uids = list(dict.fromkeys(event.uid for event in sink.events))
    assert uids == [event.uid for event in events_of(leaves)]
    assert len(sink.events) == 20 + (6 if fault == "but taken" else 0)
    assert export.status.is_up


@pytest.mark.parametrize("fault", ["not stored", "but stored"])
async def test_cursor_that_failed_to_move_loses_nothing(export, store, sink, leaves, clock, fault):
    store.faults = [fault]
    await rounds(export, clock, 3)
    uids = list(dict.fromkeys(event.uid for event in sink.events))
    assert uids == [event.uid for event in events_of(leaves)]
    assert tuple(store.hours("main", 0, 2**62)) == extend_tallies({}, events_of(leaves))
    assert len(sink.events) == 20 + (6 if fault == "not stored" else 0)


@pytest.mark.slow
@given(
    sends=st.lists(st.sampled_from(["", "not taken", "but taken"]), max_size=8),
    moves=st.lists(st.sampled_from(["", "not stored", "but stored"]), max_size=8),
    batch=st.integers(2, 9),
)
@settings(max_examples=40, deadline=None)
def test_whatever_fails_nothing_is_lost_and_counts_are_exact(tmp_path_factory, sends, moves, batch):
    store = FaultyStore(tmp_path_factory.mktemp("siem") / FILE_NAME)
    store.faults = list(moves)
    leaves, sink, clock = siem.KeptLeaves({siem.LOG: siem.chats(20)}), siem.KeptSink(), Clock()
    sink.faults = [(one, AWAY) for one in sends]
    export = SinkExport(ExportDesk("main", sink, leaves, store, clock, batch_events_max=batch))
    asyncio.run(rounds(export, clock))
    expected = events_of(leaves)
    assert list(dict.fromkeys(sink.events)) == expected
    assert tuple(store.hours("main", 0, 2**62)) == extend_tallies({}, expected)
    assert store.cursor("main", siem.LOG) == 19
    store.close()


async def test_pauses_double_up_to_their_limit(export, sink, clock):
    sink.faults = [("not taken", AWAY)] * 20
    await export.round()
    pauses = []
    for left in range(18, 9, -1):
        began_ms = clock.now_ms
        while len(sink.faults) > left:
            clock.now_ms += 500
            await export.round()
        pauses.append(clock.now_ms - began_ms)
    assert pauses == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]


@pytest.mark.parametrize(("asked_s", "waited_s"), [(300.0, 300), (10**9, 3_600), (0.0, 1)])
async def test_retry_after_is_obeyed_within_reason(export, sink, clock, asked_s, waited_s):
    sink.faults = [("not taken", SinkUnavailable("busy", retry_after_s=asked_s))]
    await export.round()
    clock.now_ms += waited_s * 1_000 - 1
    await export.round()
    assert sink.events == []
    clock.now_ms += 1
    await export.round()
    assert len(sink.events) == 20


async def test_failure_is_logged_once_and_its_end_once(export, sink, clock, caplog):
    caplog.set_level(logging.INFO, "verismo.siem")
    sink.faults = [("not taken", AWAY)] * 3
    await rounds(export, clock, 6)
    assert [record.message for record in caplog.records] == [
        "the export waits",
        "the export goes on",
    ]


async def test_ledger_that_cannot_be_read_is_waited_for(export, leaves, sink, clock):
    leaves.error = StateError("ledger.db is locked", next_step="Wait.")
    await export.round()
    assert not export.status.is_up
    leaves.error = None
    await rounds(export, clock, 1)
    await rounds(export, clock, 1)
    assert len(sink.events) == 20


async def test_lag_is_felt_although_nobody_could_look(export, leaves, clock):
    leaves.error = StateError("ledger.db is locked", next_step="Wait.")
    await export.round()
    began_ms = clock.now_ms
    await rounds(export, clock, 3)
    assert export.status.oldest_ms == began_ms
    leaves.error = None
    await rounds(export, clock, 2)
    assert export.status.oldest_ms == 0


async def test_older_ledger_in_place_of_a_newer_one_is_not_passed_over(
    export, leaves, sink, clock, caplog
):
    await export.round()
    del leaves.kept[siem.LOG][10:]
    await export.round()
    assert not export.status.is_up
    assert "was sent 20 leaves" in caplog.records[-1].fields["error"]
    leaves.kept[siem.LOG] += siem.chats(30)[10:]
    await rounds(export, clock, 2)
    assert export.status.is_up


async def test_damaged_count_is_told_and_stops_the_export(
    export, store, sink, leaves, clock, caplog
):
    del leaves.kept[siem.LOG][6:]
    await export.round()
    store._connection.execute("UPDATE hour SET uid_hashes = x'00'")
    leaves.kept[siem.LOG] += siem.chats(9)[6:]
    await export.round()
    assert "damaged" in caplog.records[-1].fields["error"]
    assert store.cursor("main", siem.LOG) == 5


async def test_refused_event_is_a_dead_letter_and_the_rest_goes_on(export, store, sink, leaves):
    sink.refuse = lambda event: event.index in (3, 8)
    await export.round()
    assert [letter.event.index for letter in store.dead_letters("main")] == [3, 8]
    assert store.dead_letters("main")[0].reason == "refused here"
    assert len(sink.events) == 18
    assert tuple(store.hours("main", 0, 2**62)) == extend_tallies({}, events_of(leaves))


async def test_queued_dead_letter_is_sent_again(export, store, sink):
    sink.refuse = lambda event: event.index in (3, 8)
    await export.round()
    sink.refuse = lambda event: event.index == 8
    store.queue_dead_letters("main")
    await export.round()
    assert sink.events[-1].index == 3
    [left] = store.dead_letters("main")
    assert (left.event.index, left.state) == (8, "dead")
    await export.round()
    assert len(sink.events) == 19


async def test_dead_letter_is_not_sent_again_unasked(export, sink, clock):
    sink.refuse = lambda event: event.index == 3
    await export.round()
    sink.refuse = lambda _: False
    await rounds(export, clock, 3)
    assert len(sink.events) == 19


async def test_sink_that_hangs_delays_no_other(store, leaves, sink, clock):
    class Hanging(siem.KeptSink):
        async def send(self, events):
            await asyncio.Event().wait()
            return ()

    hanging = SinkExport(ExportDesk("dead", Hanging(), leaves, store, clock))
    well = SinkExport(ExportDesk("main", sink, leaves, store, clock))
    stuck = asyncio.create_task(hanging.round())
    await asyncio.wait_for(well.round(), 5)
    assert len(sink.events) == 20
    assert not stuck.done()
    stuck.cancel()
    await asyncio.wait({stuck})
    assert store.cursor("dead", siem.LOG) == -1


async def test_two_processes_lose_nothing_and_count_once(store, leaves, clock, tmp_path):
    other_store = SqliteSiemStore(tmp_path / FILE_NAME)
    sinks = [siem.KeptSink(), siem.KeptSink()]
    exports = [
        SinkExport(ExportDesk("main", one, leaves, its, clock, batch_events_max=3))
        for one, its in zip(sinks, (store, other_store), strict=True)
    ]
    for _ in range(20):
        await asyncio.gather(*(export.round() for export in exports))
        clock.now_ms += 60_000
    got = {event.index for one in sinks for event in one.events}
    assert got == set(range(20))
    assert tuple(store.hours("main", 0, 2**62)) == extend_tallies({}, events_of(leaves))
    other_store.close()


async def test_status_knows_how_long_the_oldest_event_waits(export, sink, clock):
    sink.faults = [("not taken", AWAY)]
    await export.round()
    assert export.status.oldest_ms == siem.START_MS
    assert export.status.failures == 1
    await rounds(export, clock, 2)
    assert export.status.oldest_ms == 0
    assert export.status.delivered == 20


async def test_lag_is_of_what_waits_and_not_of_the_batch_that_was_just_sent(export, store):
    while store.cursor("main", siem.LOG) < 19:
        await export.step()
    sent = export.status
    assert sent.oldest_ms > 0, "the export has looked again"
    assert lag_ms(sent, 0, sent.oldest_ms + 5) == 0
    assert lag_ms(sent, 1, sent.oldest_ms + 5) == 5
    assert lag_ms(sent, None, sent.oldest_ms + 5) == 5
    assert lag_ms(sent, 1, sent.oldest_ms - 5) == 0


def test_lag_of_a_sink_that_is_down_counts_since_nobody_could_look():
    assert lag_ms(ExportStatus(is_up=False, oldest_ms=10), 0, 15) == 5
    assert lag_ms(ExportStatus(is_up=False), 0, 15) == 0


async def test_counters_for_the_rollup_are_of_one_log(export, store, sink):
    sink.refuse = lambda event: event.index == 3
    await export.round()
    assert list(store.progress()) == [Progress("main", siem.LOG, 19, 1)]
    assert siem_counters(store, siem.LOG) == (SiemCounters("main", 19, 1, 20),)
    assert siem_counters(store, "another") == ()
