"""Leaves with their records, over a real ledger, real journals and a real key ring."""

import hashlib

import msgspec
import pytest
from tests.support.archived import ISSUER, TWO, Gateway, at
from tests.support.siem import KeptSink

from verismo.adapters.siem_sqlite import FILE_NAME, SqliteSiemStore
from verismo.attest.leaf import LeafType, leaf_entry
from verismo.attest.tile import read_bundle
from verismo.control.siem import ExportDesk, SinkExport
from verismo.control.siemleaves import LeafStores, LedgerLeaves
from verismo.model.errors import StateError

EU, US = (f"gateway.example/log/{region}/2026" for region in ("eu", "us"))
NOON = at("2026-11-20 12:00")


@pytest.fixture
async def gateway(tmp_path):
    gateway = Gateway(tmp_path, at("2026-11-20 00:00"))
    yield gateway
    gateway.close()


@pytest.fixture
def leaves(gateway):
    return LedgerLeaves(ISSUER, stores(gateway))


def stores(gateway):
    return LeafStores(
        *(gateway.store, gateway.reader, gateway.ring, gateway.adapt, gateway.tiles),
    )


def all_of(leaves, log, step):
    found = []
    while read := leaves.read(log, len(found) - 1, step):
        found += read
    return found


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 7, 1_000])
async def test_leaves_come_without_a_gap_and_are_what_the_tree_holds(gateway, leaves, step):
    for number in range(4):
        await gateway.serve(5, NOON + number * 1_000)
        await gateway.serve(3, NOON + number * 1_000 + 500, tenant=TWO, region="us")
        await gateway.serve(2, NOON + number * 1_000 + 700, slot="s1")
        gateway.integrate(NOON + number * 1_000 + 900)
    assert list(leaves.logs()) == [EU, US]
    entries = {EU: [], US: []}
    for log in (EU, US):
        found = all_of(leaves, log, step)
        assert [one.index for one in found] == list(range(leaves.size(log)))
        entries[log] = [leaf_entry(LeafType(one.kind), one.statement, one.jws) for one in found]
    published = {
        log: b"".join(read_bundle(gateway.tiles.read(log_id, path)))
        for log, log_id, path in (
            (EU, gateway.store.logs()[0].log, f"tile/entries/000.p/{len(entries[EU])}"),
            (US, gateway.store.logs()[1].log, f"tile/entries/000.p/{len(entries[US])}"),
        )
    }
    assert published == {log: b"".join(found) for log, found in entries.items()}


async def test_key_ring_and_gaps_are_leaves_too(gateway, leaves):
    await gateway.serve(2, NOON)
    gateway.skip(3)
    await gateway.serve(1, NOON + 10)
    gateway.integrate(NOON + 20)
    kinds = [one.kind for one in leaves.read(EU, -1, 100)]
    assert kinds.count(LeafType.KEY_RING) == len(gateway.ring.versions())
    assert kinds.count(LeafType.VOID) == 1
    assert kinds.count(LeafType.ANSWER) == 3


async def test_records_that_are_not_integrated_are_not_read(gateway, leaves):
    await gateway.serve(2, NOON)
    gateway.integrate(NOON + 20)
    size = leaves.size(EU)
    await gateway.serve(5, NOON + 30)
    assert leaves.size(EU) == size
    assert leaves.read(EU, size - 1, 100) == []


async def test_log_that_is_not_there_is_empty(leaves):
    assert list(leaves.logs()) == []
    assert leaves.size("elsewhere/log/eu/2026") == 0
    assert list(leaves.read("elsewhere/log/eu/2026", -1, 5)) == []


async def test_record_that_is_gone_is_told_and_never_skipped(gateway, tmp_path):
    await gateway.serve(3, NOON)
    gateway.integrate(NOON + 20)

    class Pruned:
        def scan_uncaptured(self, slot, after_seq, limit):
            rows = gateway.reader.scan_uncaptured(slot, after_seq, limit)
            return [one for one in rows if one.seq_n != 2]

    leaves = LedgerLeaves(ISSUER, msgspec.structs.replace(stores(gateway), journal=Pruned()))
    with pytest.raises(StateError, match="has no record in s0") as raised:
        leaves.read(EU, -1, 100)
    assert "backup" in raised.value.advice


@pytest.mark.slow
async def test_decisions_and_steering_are_leaves_like_others(gateway, leaves):
    await gateway.serve(2, NOON)
    gateway.decide(3, NOON + 10)
    gateway.integrate(NOON + 20)
    found = all_of(leaves, EU, 2)
    kinds = [one.kind for one in found]
    assert kinds.count(LeafType.DECISION) == 3
    assert kinds.count(LeafType.PLAN) == 1
    entries = read_bundle(
        gateway.tiles.read(gateway.store.logs()[0].log, f"tile/entries/000.p/{len(found)}")
    )
    assert [leaf_entry(LeafType(one.kind), one.statement, one.jws) for one in found] == list(
        entries
    )


@pytest.mark.slow
async def test_everything_in_the_ledger_is_exported_once(gateway, leaves, tmp_path):
    store, sink = SqliteSiemStore(tmp_path / FILE_NAME), KeptSink()
    export = SinkExport(ExportDesk("main", sink, leaves, store, lambda: NOON))
    for number in range(5):
        await gateway.serve(7, NOON + number * 100)
        gateway.integrate(NOON + number * 100 + 50)
        await export.round()
    places = [(event.log, event.index) for event in sink.events]
    assert sorted(places) == [(EU, index) for index in range(leaves.size(EU))]
    digests = {hashlib.sha256(event.data).digest() for event in sink.events}
    assert len(digests) == len(places)
    store.close()
