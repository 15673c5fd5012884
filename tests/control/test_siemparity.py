"""Parity of a sink with the ledger, hour by hour, and the watch that looks at it."""

import json
import threading

import msgspec
import pytest
from tests.support import siem

from verismo.adapters.siem_file import FileSink, FileSinkReader, FileSinkSettings
from verismo.adapters.siem_sqlite import FILE_NAME, SqliteSiemStore
from verismo.attest import ocsf_frame
from verismo.control import siemparity
from verismo.control.siem import ExportDesk, SinkExport, event_list
from verismo.control.siemparity import GRACE_MS, ParityDesk, ParityWatch, compare_sink
from verismo.model.errors import StateError

START, HOUR = siem.START_MS, siem.HOUR_MS
STEP_MS = 180_000
"""Twenty records an hour."""


@pytest.fixture
def store(tmp_path):
    store = SqliteSiemStore(tmp_path / FILE_NAME)
    yield store
    store.close()


@pytest.fixture
def leaves():
    return siem.KeptLeaves({siem.LOG: siem.chats(60, step_ms=STEP_MS)})


@pytest.fixture
async def desk(store, leaves):
    """Return the desk of a sink that was sent everything."""
    sink = siem.KeptSink()
    await SinkExport(ExportDesk("main", sink, leaves, store, lambda: START)).round()
    return ParityDesk("main", leaves, store, siem.KeptReader([e.data for e in sink.events]))


def indices(found):
    return [named.index for named in found]


def altered(line):
    return json.dumps({**json.loads(line), "severity_id": 4}).encode()


async def test_sink_that_was_sent_everything_has_parity(desk):
    outcome = compare_sink(desk, START, START + HOUR)
    assert outcome.is_whole
    assert (outcome.report.expected, outcome.waiting) == (20, 0)
    [manifest] = outcome.manifests
    assert (manifest.count, manifest.first_index, manifest.last_index) == (20, 0, 19)


async def test_hours_together_are_the_hours_alone(desk):
    del desk.reader.kept[5], desk.reader.kept[30]
    whole = compare_sink(desk, START, START + 3 * HOUR).report
    alone = [compare_sink(desk, START + n * HOUR, START + (n + 1) * HOUR).report for n in range(3)]
    assert whole.expected == sum(one.expected for one in alone) == 60
    assert whole.missing == tuple(m for one in alone for m in one.missing)
    assert indices(whole.missing) == [5, 31]


async def test_dropped_doubled_altered_and_reordered_records_are_named(desk):
    kept = desk.reader.kept
    kept[7] = altered(kept[7])
    kept.append(kept[2])
    del kept[11]
    kept.reverse()
    outcome = compare_sink(desk, START, START + HOUR)
    report = outcome.report
    assert indices(report.missing) == [11]
    assert indices(report.altered) == [7]
    assert indices(report.duplicate) == [2]
    assert not outcome.is_whole
    assert report.parity_ppm == 900_000


async def test_full_hour_is_compared_in_parts(desk, monkeypatch):
    kept = desk.reader.kept
    kept[7] = altered(kept[7])
    del kept[11]
    once = compare_sink(desk, START, START + HOUR)
    monkeypatch.setattr(siemparity, "EVENTS_MAX", 3)
    desk.reader.looks = 0
    parts = compare_sink(desk, START, START + HOUR)
    assert desk.reader.looks == 7
    assert parts == once


async def test_what_was_not_sent_yet_is_missing_and_said_to_wait(desk, leaves):
    leaves.kept[siem.LOG] += siem.chats(63, step_ms=STEP_MS)[60:]
    outcome = compare_sink(desk, START + 3 * HOUR, START + 4 * HOUR)
    assert indices(outcome.report.missing) == [60, 61, 62]
    assert outcome.waiting == 3
    assert outcome.contradicted == ()


async def test_late_record_of_an_earlier_hour_is_found_in_it(desk, leaves, store):
    late = siem.answer(siem.stated(900, START + 60_000))
    leaves.kept[siem.LOG].append(late)
    sink = siem.KeptSink()
    await SinkExport(ExportDesk("main", sink, leaves, store, lambda: START)).round()
    desk.reader.kept += [event.data for event in sink.events]
    outcome = compare_sink(desk, START, START + HOUR)
    assert outcome.is_whole
    assert outcome.report.expected == 21


async def test_history_that_was_rewritten_contradicts_the_manifest(desk, leaves):
    forged = siem.answer(siem.stated(4, START + 4 * STEP_MS, op="another.operation"))
    leaves.kept[siem.LOG][4] = forged
    [event] = event_list(siem.LOG, [siem.logged_record(forged, 4)])
    desk.reader.kept[4] = event.data
    outcome = compare_sink(desk, START, START + HOUR)
    assert outcome.report.is_whole
    assert [manifest.hour_ms for manifest in outcome.contradicted] == [START]
    assert not outcome.is_whole


async def test_hours_sent_before_the_mapping_changed_are_altered_whole_and_later_ones_are_not(
    store, leaves, monkeypatch
):
    """The runbook tells an update from an attack by this."""
    sink = siem.KeptSink()
    export = SinkExport(ExportDesk("main", sink, leaves, store, lambda: START))
    later = leaves.kept[siem.LOG][20:]
    del leaves.kept[siem.LOG][20:]
    with monkeypatch.context() as older:
        older.setattr(ocsf_frame, "MAPPING", "1")
        await export.round()
    leaves.kept[siem.LOG] += later
    await export.round()
    desk = ParityDesk("main", leaves, store, siem.KeptReader([e.data for e in sink.events]))
    before = compare_sink(desk, START, START + HOUR)
    assert indices(before.report.altered) == list(range(20))
    assert (before.report.missing, before.report.foreign) == ((), ())
    assert len(before.contradicted) == 1
    assert compare_sink(desk, START + HOUR, START + 3 * HOUR).is_whole


async def test_export_that_goes_on_meanwhile_contradicts_nothing(desk, leaves, store):
    class Going(siem.KeptReader):
        def lines(self, since_ms, until_ms):
            leaves.kept[siem.LOG].append(siem.answer(siem.stated(901, START + 60_000)))
            return super().lines(since_ms, until_ms)

    going = msgspec.structs.replace(desk, reader=Going(desk.reader.kept))
    assert compare_sink(going, START, START + HOUR).contradicted == ()


async def test_store_that_was_lost_says_that_nothing_was_sent(desk, tmp_path):
    empty = SqliteSiemStore(tmp_path / "empty.db")
    outcome = compare_sink(msgspec.structs.replace(desk, store=empty), START, START + HOUR)
    assert outcome.report.is_whole
    assert outcome.waiting == 20
    assert outcome.manifests == ()
    empty.close()


async def test_file_sink_has_parity_end_to_end(store, leaves, tmp_path):
    sink = FileSink(FileSinkSettings(tmp_path / "siem", rotate_bytes_max=20_000), lambda: 1.0)
    desk = ExportDesk("main", sink, leaves, store, lambda: START, batch_events_max=7)
    await SinkExport(desk).round()
    await sink.aclose()
    reader = FileSinkReader(tmp_path / "siem")
    assert len(list((tmp_path / "siem").iterdir())) > 5
    outcome = compare_sink(ParityDesk("main", leaves, store, reader), START, START + 3 * HOUR)
    assert outcome.is_whole
    assert outcome.report.matched == 60


class Pruned:
    """Leaves of which only the first records are there still."""

    def __init__(self, leaves, kept) -> None:
        self._leaves = leaves
        self._kept = kept
        self.logs, self.size, self.is_lost = leaves.logs, leaves.size, leaves.is_lost

    def read(self, log, after_index, limit):
        if after_index + limit >= self._kept:
            raise StateError(f"leaf {self._kept} of {log} has no record", next_step="Restore it.")
        return self._leaves.read(log, after_index, limit)


async def test_forged_event_of_a_pruned_leaf_is_foreign_and_breaks_nothing_off(desk, leaves):
    forged = json.loads(desk.reader.kept[3])
    forged["metadata"] |= {"uid": "forged", "sequence": 55}
    desk.reader.kept.append(json.dumps(forged).encode())
    pruned = msgspec.structs.replace(desk, leaves=Pruned(leaves, 45))
    report = compare_sink(pruned, START, START + HOUR).report
    assert [(one.uid, one.index) for one in report.foreign] == [("forged", -1)]
    assert (report.matched, report.missing) == (20, ())


class Clock:
    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock():
    return Clock(START + HOUR + GRACE_MS)


@pytest.fixture
async def watch(desk, clock):
    watch = ParityWatch(desk, clock)
    yield watch
    watch.close()


async def test_hour_is_looked_at_once_it_is_over_and_had_its_grace(desk, watch, clock):
    clock.now_ms -= 1
    watch._last_hour_ms = START - HOUR
    await watch.round()
    assert watch.status.parity_ppm is None
    clock.now_ms += 1
    await watch.round()
    assert watch.status == siemparity.ParityStatus(1_000_000, clock.now_ms)
    looks = desk.reader.looks
    await watch.round()
    assert desk.reader.looks == looks


async def test_first_look_after_a_start_is_at_the_last_hour(watch, desk):
    await watch.round()
    assert desk.reader.looks == 1


async def test_hour_without_parity_is_looked_at_until_it_has_it(watch, desk, clock):
    line = desk.reader.kept.pop(5)
    await watch.round()
    assert watch.status.parity_ppm == 950_000
    clock.now_ms += HOUR
    await watch.round()
    assert watch.status.parity_ppm == 950_000
    desk.reader.kept.append(line)
    clock.now_ms += HOUR
    await watch.round()
    assert watch.status.parity_ppm == 1_000_000


async def test_hour_without_parity_is_given_up_after_a_day(watch, desk, clock):
    desk.reader.kept.pop(5)
    await watch.round()
    clock.now_ms += 24 * HOUR
    await watch.round()
    assert watch.status.parity_ppm == 1_000_000


async def test_hours_that_were_slept_through_are_looked_at(watch, desk, clock):
    desk.reader.kept.pop(25)
    clock.now_ms += 2 * HOUR
    await watch.round()
    assert watch.status.parity_ppm == 950_000


async def test_sink_that_cannot_be_read_is_no_data_and_looked_at_again(watch, desk, clock, caplog):
    desk.reader.error = StateError("no such folder", next_step="Make it.")
    desk.reader.kept.pop(5)
    await watch.round()
    await watch.round()
    assert watch.status.parity_ppm is None
    assert [record.message for record in caplog.records] == ["parity cannot be looked at"]
    desk.reader.error = None
    clock.now_ms += HOUR
    await watch.round()
    assert watch.status.parity_ppm == 950_000


async def test_contradicted_hour_is_never_shown_as_whole(watch, leaves, desk):
    forged = siem.answer(siem.stated(4, START + 4 * STEP_MS, op="another.operation"))
    leaves.kept[siem.LOG][4] = forged
    [event] = event_list(siem.LOG, [siem.logged_record(forged, 4)])
    desk.reader.kept[4] = event.data
    await watch.round()
    assert watch.status.parity_ppm == 999_999


async def test_comparison_ends_with_the_process(desk, clock):
    reached, goes_on = threading.Event(), threading.Event()

    class Endless(siem.KeptReader):
        def lines(self, since_ms, until_ms):
            reached.set()
            goes_on.wait(5)
            while True:
                yield b"{}"

    watch = ParityWatch(msgspec.structs.replace(desk, reader=Endless()), clock)
    closing = threading.Thread(target=lambda: (reached.wait(5), watch.close()))
    closing.start()
    goes_on.set()
    await watch.round()
    closing.join(5)
    assert not closing.is_alive()
    assert watch.status.parity_ppm is None
