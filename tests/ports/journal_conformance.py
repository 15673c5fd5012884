"""What every journal must do (port: `verismo.ports.journal`).

A subclass gives one fixture, `storage`: an empty place where journals of one slot can be opened
one after the other, and readers at any time.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Protocol

import msgspec
import pytest

from verismo.model.errors import StateError
from verismo.model.ids import ProvId, TenantId, prov_id_from
from verismo.ports.journal import Journal, JournalFailed, JournalReader, OpenStream, Record

NOW_MS = 1_790_000_000_000


class Storage(Protocol):
    """Where the journals under test live; `slot` is the name that `open` opens."""

    slot: str

    def open(self) -> Journal: ...

    def reader(self) -> JournalReader: ...


def prov_id(number: int, kind: str = "answer") -> ProvId:
    return prov_id_from(NOW_MS + number, hashlib.sha256(f"{kind}{number}".encode()).digest()[:10])


def answer(seq_n: int, tenant: str = "TENANT_001", cost: int = 0, size_bytes: int = 200) -> Record:
    return Record(
        kind="answer",
        seq_n=seq_n,
        prov_id=prov_id(seq_n),
        tenant=TenantId(tenant),
        statement=b'{"n":%d}' % seq_n,
        jws=b"header..signature",
        graph=b"g" * size_bytes,
        cost_usd_micros=cost,
        captured=b"",
        written_ms=NOW_MS + seq_n,
    )


def void(first: int, last: int) -> Record:
    return Record(
        kind="void",
        seq_n=last,
        prov_id=prov_id(last, f"void{first}"),
        tenant=TenantId(""),
        statement=b'{"first":%d,"last":%d}' % (first, last),
        jws=b"header..signature",
        graph=b"",
        written_ms=NOW_MS + last,
    )


def stream(number: int) -> OpenStream:
    return OpenStream(
        prov_id=prov_id(number),
        tenant=TenantId("TENANT_001"),
        head=b'{"i":0}',
        jws=b"header..signature",
        context=b'{"number":%d}' % number,
        written_ms=NOW_MS + number,
    )


def check_sequence(records: Sequence[Record]) -> None:
    """Every number is there exactly once: as a record, or within the gap that a void records."""
    last = 0
    for record in records:
        if record.kind == "void":
            assert record.statement == void(last + 1, record.seq_n).statement
        else:
            assert record.seq_n == last + 1
        last = record.seq_n
    assert len({record.prov_id for record in records}) == len(records)


class JournalConformance:
    async def test_empty_journal_begins_at_nought(self, storage: Storage):
        journal = storage.open()
        assert journal.last_seq() == 0
        assert list(journal.lost_streams()) == []
        await journal.close()

    async def test_record_is_read_back_as_it_was_written(self, storage: Storage):
        record = Record(
            kind="answer",
            seq_n=1,
            prov_id=prov_id(1),
            tenant=TenantId("TENANT_ü"),
            statement=b"\x00statement\xff",
            jws=b"h..s",
            graph=b"[]",
            cost_usd_micros=2**53 - 1,
            captured=b"\x00" * 100_000,
            written_ms=NOW_MS,
        )
        journal = storage.open()
        await journal.append(record)
        assert storage.reader().find(record.prov_id) == record
        assert list(storage.reader().scan(storage.slot, 0, 10)) == [record]
        await journal.close()

    async def test_acknowledged_record_is_visible_at_once(self, storage: Storage):
        journal, reader = storage.open(), storage.reader()
        for number in range(1, 20):
            await journal.append(answer(number))
            assert reader.find(prov_id(number)) == answer(number)
            assert journal.last_seq() == number
        await journal.close()

    async def test_concurrent_appends_are_stored_in_the_order_of_the_calls(self, storage: Storage):
        journal = storage.open()
        await asyncio.gather(*[journal.append(answer(n)) for n in range(1, 501)])
        records = storage.reader().scan(storage.slot, 0, 1_000)
        assert [record.seq_n for record in records] == list(range(1, 501))
        await journal.close()

    async def test_number_that_does_not_rise_is_refused_and_harms_nobody(self, storage: Storage):
        journal = storage.open()
        await journal.append(answer(5))
        for seq_n in (5, 4, 0, -1):
            with pytest.raises(JournalFailed):
                await journal.append(answer(seq_n))
        await journal.append(answer(6))
        records = storage.reader().scan(storage.slot, 0, 10)
        assert [record.seq_n for record in records] == [4, 5, 6]
        await journal.close()

    async def test_number_given_twice_in_one_batch_harms_no_other(self, storage: Storage):
        journal = storage.open()
        appends = [journal.append(answer(n)) for n in (5, 5, 4, 6)]
        first, again, earlier, last = await asyncio.gather(*appends, return_exceptions=True)
        assert (first, last) == (None, None)
        assert isinstance(again, JournalFailed)
        assert isinstance(earlier, JournalFailed)
        check_sequence(storage.reader().scan(storage.slot, 0, 10))
        await journal.close()

    async def test_void_from_outside_is_refused(self, storage: Storage):
        journal = storage.open()
        with pytest.raises(JournalFailed):
            await journal.append(void(1, 1))
        await journal.close()

    async def test_text_that_is_no_prov_id_is_refused(self, storage: Storage):
        journal = storage.open()
        bad = ProvId("00000000-0000-4000-8000-000000000000")
        with pytest.raises(JournalFailed):
            await journal.append(Record("answer", 1, bad, TenantId("t"), b"s", b"j", b"g"))
        with pytest.raises(JournalFailed):
            await journal.open_stream(OpenStream(bad, TenantId("t"), b"h", b"j", b"c"))
        await journal.append(answer(1))
        check_sequence(storage.reader().scan(storage.slot, 0, 10))
        await journal.close()

    async def test_skipped_numbers_are_recorded_as_one_void(self, storage: Storage):
        journal = storage.open()
        await journal.append(answer(1))
        await journal.append(answer(5))
        records = storage.reader().scan(storage.slot, 0, 10)
        assert [(record.kind, record.seq_n) for record in records] == [
            ("answer", 1),
            ("void", 4),
            ("answer", 5),
        ]
        check_sequence(records)
        await journal.close()

    async def test_gaps_within_one_batch_are_recorded(self, storage: Storage):
        journal = storage.open()
        await asyncio.gather(*[journal.append(answer(n)) for n in (2, 3, 7, 9)])
        records = storage.reader().scan(storage.slot, 0, 20)
        check_sequence(records)
        assert [r.seq_n for r in records if r.kind == "void"] == [1, 6, 8]
        await journal.close()

    async def test_reopened_journal_goes_on_after_its_last_number(self, storage: Storage):
        journal = storage.open()
        await asyncio.gather(*[journal.append(answer(n)) for n in range(1, 8)])
        await journal.close()
        journal = storage.open()
        assert journal.last_seq() == 7
        await journal.append(answer(8))
        await journal.close()
        check_sequence(storage.reader().scan(storage.slot, 0, 20))

    async def test_second_owner_is_refused(self, storage: Storage):
        journal = storage.open()
        with pytest.raises(StateError):
            storage.open()
        await journal.append(answer(1))
        await journal.close()
        await storage.open().close()

    async def test_append_after_close_fails_closed(self, storage: Storage):
        journal = storage.open()
        await journal.append(answer(1))
        await journal.close()
        with pytest.raises(JournalFailed):
            await journal.append(answer(2))
        with pytest.raises(JournalFailed):
            await journal.open_stream(stream(3))

    async def test_close_twice_is_allowed(self, storage: Storage):
        journal = storage.open()
        await journal.append(answer(1))
        await asyncio.gather(journal.close(), journal.close())
        await journal.close()

    async def test_close_stores_what_waits(self, storage: Storage):
        journal = storage.open()
        appends = [asyncio.create_task(journal.append(answer(n))) for n in range(1, 301)]
        await asyncio.sleep(0)
        await journal.close()
        await asyncio.gather(*appends)
        check_sequence(storage.reader().scan(storage.slot, 0, 1_000))
        assert len(storage.reader().scan(storage.slot, 0, 1_000)) == 300

    async def test_open_stream_is_lost_until_its_record_is_stored(self, storage: Storage):
        journal = storage.open()
        for number in (3, 1, 2):
            await journal.open_stream(stream(number))
        await journal.append(answer(1))
        await journal.close()

        journal = storage.open()
        assert list(journal.lost_streams()) == [stream(3), stream(2)]
        await journal.append(answer(2))
        await journal.append(answer(3))
        await journal.close()

        journal = storage.open()
        assert list(journal.lost_streams()) == []
        await journal.close()

    async def test_stream_opened_and_closed_in_one_batch_is_not_lost(self, storage: Storage):
        journal = storage.open()
        await asyncio.gather(
            journal.open_stream(stream(1)),
            journal.open_stream(stream(2)),
            journal.append(answer(1)),
        )
        await journal.close()
        journal = storage.open()
        assert list(journal.lost_streams()) == [stream(2)]
        await journal.close()

    async def test_cancelled_append_harms_no_other(self, storage: Storage):
        journal = storage.open()
        appends = [asyncio.create_task(journal.append(answer(n))) for n in range(1, 51)]
        await asyncio.sleep(0)
        for append in appends[::2]:
            append.cancel()
        results = await asyncio.gather(*appends, return_exceptions=True)
        assert results[1::2] == [None] * 25
        await journal.append(answer(51))
        records = storage.reader().scan(storage.slot, 0, 100)
        check_sequence(records)
        assert {r.seq_n for r in records if r.kind == "answer"} >= {*range(2, 51, 2), 51}
        await journal.close()

    async def test_journal_is_open_until_it_is_closed(self, storage: Storage):
        journal = storage.open()
        assert journal.is_open()
        await journal.append(answer(1))
        assert journal.is_open()
        await journal.close()
        assert not journal.is_open()

    async def test_journal_without_a_failed_commit_names_no_failure(self, storage: Storage):
        journal = storage.open()
        assert journal.failure() == ""
        await journal.append(answer(1))
        assert journal.failure() == ""
        await journal.close()
        assert journal.failure() == ""

    async def test_scan_is_bounded_and_resumes(self, storage: Storage):
        journal, reader = storage.open(), storage.reader()
        await asyncio.gather(*[journal.append(answer(n)) for n in range(1, 31)])
        seen: list[int] = []
        while batch := reader.scan(storage.slot, seen[-1] if seen else 0, 7):
            assert len(batch) <= 7
            seen += [record.seq_n for record in batch]
        assert seen == list(range(1, 31))
        assert list(reader.scan(storage.slot, 0, 0)) == []
        assert list(reader.scan(storage.slot, 0, -1)) == []
        await journal.close()

    async def test_uncaptured_records_are_the_same_but_for_the_content(self, storage: Storage):
        journal, reader = storage.open(), storage.reader()
        kept = [msgspec.structs.replace(answer(n), captured=b"c" * 9_000) for n in range(1, 5)]
        for record in kept:
            await journal.append(record)
        bare = [msgspec.structs.replace(record, captured=b"") for record in kept]
        assert list(reader.scan_uncaptured(storage.slot, 1, 2)) == bare[1:3]
        assert list(reader.scan_uncaptured(storage.slot, 0, 10)) == bare
        assert list(reader.scan(storage.slot, 0, 10)) == kept
        assert list(reader.scan_uncaptured(storage.slot, 0, -1)) == []
        assert list(reader.scan_uncaptured("nobody", 0, 10)) == []
        await journal.close()

    async def test_reader_knows_only_what_is_there(self, storage: Storage):
        reader = storage.reader()
        assert list(reader.slots()) == []
        assert reader.find(prov_id(1)) is None
        assert list(reader.scan(storage.slot, 0, 10)) == []
        journal = storage.open()
        assert list(reader.slots()) == [storage.slot]
        assert reader.find(prov_id(1)) is None
        assert reader.find(ProvId("' OR 1=1 --")) is None
        await journal.append(answer(1))
        assert reader.find(prov_id(1)) == answer(1)
        assert list(reader.scan("nobody", 0, 10)) == []
        await journal.close()

    async def test_cost_is_summed_by_slot_and_tenant_from_a_time_on(self, storage: Storage):
        journal, reader = storage.open(), storage.reader()
        for number, (tenant, cost) in enumerate(
            [("a", 10), ("b", 7), ("a", 5), ("c", 0), ("a", 1)], start=1
        ):
            await journal.append(answer(number, tenant, cost))
        assert reader.spent_by_slot(0) == {storage.slot: {"a": 16, "b": 7}}
        assert reader.spent_by_slot(NOW_MS + 2) == {storage.slot: {"a": 6, "b": 7}}
        assert reader.spent_by_slot(NOW_MS + 3) == {storage.slot: {"a": 6}}
        assert reader.spent_by_slot(NOW_MS + 6) == {storage.slot: {}}
        await journal.close()
