"""What every store of the SIEM export must do (port: `verismo.ports.siem.SiemStore`).

A subclass gives two fixtures: `store`, fresh and empty, and `elsewhere`, a second opening of it.
"""

import threading

import msgspec
import pytest
from tests.ports.siem_conformance import events_of
from tests.support import siem

from verismo.attest.parity import extend_tallies
from verismo.model.siem import HourTally
from verismo.ports.siem import (
    NOTHING_SENT,
    Advance,
    CursorMoved,
    DeadLetter,
    Progress,
    SiemStore,
)

EVENTS = events_of(6)
TALLY = HourTally(siem.LOG, siem.START_MS, 3, 0, 2, (b"a" * 32, b"b" * 32), (b"c" * 32, b"d" * 32))


def dead(event=EVENTS[0], sink="main", reason="too long"):
    return DeadLetter(sink, event, reason, 1_000)


def batch(from_index, to_index, sink="main", log=siem.LOG, hours=(), letters=()):
    return Advance(sink, log, from_index, to_index, tuple(hours), tuple(letters))


class SiemStoreConformance:
    def test_nothing_is_sent_at_first(self, store: SiemStore):
        assert store.cursor("main", siem.LOG) == NOTHING_SENT
        assert list(store.progress()) == []
        assert list(store.dead_letters()) == []
        assert list(store.hours("main", 0, 2**62)) == []

    def test_cursor_moves_with_the_batch_and_is_seen_elsewhere(self, store, elsewhere):
        store.advance(batch(-1, 4))
        elsewhere.advance(batch(4, 9))
        assert store.cursor("main", siem.LOG) == 9

    def test_cursors_of_sinks_and_logs_are_apart(self, store: SiemStore):
        store.advance(batch(-1, 4))
        store.advance(batch(-1, 7, sink="other"))
        store.advance(batch(-1, 2, log="another"))
        assert store.cursor("main", siem.LOG) == 4
        assert store.cursor("other", siem.LOG) == 7
        assert store.cursor("main", "another") == 2

    @pytest.mark.parametrize("from_index", [-1, 3, 5])
    def test_batch_after_another_cursor_changes_nothing(self, store: SiemStore, from_index):
        store.advance(batch(-1, 4))
        late = batch(from_index, 8, hours=[TALLY], letters=[dead()])
        with pytest.raises(CursorMoved):
            store.advance(late)
        assert store.cursor("main", siem.LOG) == 4
        assert list(store.hours("main", 0, 2**62)) == []
        assert list(store.dead_letters()) == []

    def test_of_two_processes_with_one_batch_one_advances(self, store, elsewhere):
        outcomes = []

        def advance(one):
            try:
                one.advance(batch(-1, 4))
                outcomes.append("moved")
            except CursorMoved:
                outcomes.append("late")

        threads = [threading.Thread(target=advance, args=(one,)) for one in (store, elsewhere)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["late", "moved"]

    def test_hours_are_read_back_as_they_were_stored(self, store: SiemStore):
        store.advance(batch(-1, 2, hours=[TALLY]))
        assert list(store.hours("main", siem.START_MS, siem.START_MS + 1)) == [TALLY]

    def test_stored_hour_can_grow_on(self, store: SiemStore):
        first = extend_tallies({}, EVENTS[:3])
        store.advance(batch(-1, 2, hours=first))
        kept = {t.hour_ms: t for t in store.hours("main", 0, 2**62)}
        store.advance(batch(2, 5, hours=extend_tallies(kept, EVENTS[3:])))
        assert tuple(store.hours("main", 0, 2**62)) == extend_tallies({}, EVENTS)

    def test_hours_of_a_span_come_by_log_and_hour(self, store: SiemStore):
        hours = [
            msgspec.structs.replace(TALLY, hour_ms=siem.START_MS + n * siem.HOUR_MS)
            for n in (2, 0, 1)
        ]
        store.advance(batch(-1, 2, hours=hours))
        start, end = siem.START_MS, siem.START_MS + 2 * siem.HOUR_MS
        found = [tally.hour_ms for tally in store.hours("main", start, end)]
        assert found == [start, start + siem.HOUR_MS]
        assert list(store.hours("other", 0, 2**62)) == []

    def test_dead_letters_are_kept_with_the_batch(self, store, elsewhere):
        store.advance(batch(-1, 4, letters=[dead(EVENTS[3]), dead(EVENTS[1])]))
        assert [one.event for one in elsewhere.dead_letters("main")] == [EVENTS[1], EVENTS[3]]
        assert elsewhere.dead_letters()[0] == dead(EVENTS[1])
        assert list(elsewhere.dead_letters("other")) == []
        assert len(elsewhere.dead_letters("main", limit=1)) == 1

    def test_progress_counts_the_dead(self, store: SiemStore):
        store.advance(batch(-1, 4, letters=[dead(EVENTS[3]), dead(EVENTS[1])]))
        store.advance(batch(-1, 9, sink="other"))
        assert list(store.progress()) == [
            Progress("main", siem.LOG, 4, 2),
            Progress("other", siem.LOG, 9, 0),
        ]

    def test_queued_letters_are_those_named(self, store: SiemStore):
        store.advance(batch(-1, 4, letters=[dead(e) for e in EVENTS[:3]]))
        assert store.queue_dead_letters("main", [EVENTS[1].uid, "unknown"]) == 1
        assert [one.state for one in store.dead_letters()] == ["dead", "queued", "dead"]
        assert store.queue_dead_letters("other") == 0
        assert store.queue_dead_letters("main") == 2
        assert store.queue_dead_letters("main") == 0

    def test_settled_letters_are_gone_or_dead_again(self, store: SiemStore):
        store.advance(batch(-1, 4, letters=[dead(e) for e in EVENTS[:3]]))
        store.queue_dead_letters("main")
        one, two, _ = store.dead_letters()
        again = msgspec.structs.replace(two, state="dead", reason="refused again")
        store.settle_dead_letters([one], [again])
        left = list(store.dead_letters())
        assert [letter.event for letter in left] == [EVENTS[1], EVENTS[2]]
        assert (left[0].reason, left[0].state) == ("refused again", "dead")
        assert left[1].state == "queued"

    def test_queued_letters_can_be_asked_for_alone(self, store: SiemStore):
        store.advance(batch(-1, 4, letters=[dead(e) for e in EVENTS[:3]]))
        store.queue_dead_letters("main", [EVENTS[2].uid])
        assert [one.event for one in store.dead_letters("main", state="queued")] == [EVENTS[2]]
