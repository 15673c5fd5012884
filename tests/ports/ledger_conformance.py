"""What every ledger store, tile store and memory of checkpoints must do (`verismo.ports.ledger`).

A subclass gives the fixture: `ledgers` opens the same store again and again, `tiles` and `memory`
are one empty store each.
"""

import base64
import hashlib

import msgspec
import pytest
from tests.support.ledger import EU, NOW_MS, US

from verismo.ports.ledger import (
    Growth,
    LeafPlace,
    LeaseElsewhere,
    LedgerForked,
    LogState,
    Run,
    StoredCheckpoint,
    TileFile,
)

TTL_MS = 3_000


def growth(first, count, *, log=EU, source="s0", seq=None):
    entries = b"".join(
        bytes([1]) + hashlib.sha256(b"%d" % n).digest() for n in range(first, first + count)
    )
    run = Run(source, first + 1 if seq is None else seq, count, log, first)
    return Growth(log, first, entries, (run,))


def checkpoint(size, signed_ms=NOW_MS, log=EU):
    return StoredCheckpoint(
        log, size, hashlib.sha256(b"%d" % size).digest(), b"n%d" % size, signed_ms
    )


def note(size, root=b"r", origin="o"):
    text = f"{origin}\n{size}\n{base64.b64encode(hashlib.sha256(root).digest()).decode()}\n"
    return f"{text}\n— o {base64.b64encode(b'k' * 68).decode()}\n".encode()


class LedgerStoreConformance:
    """A `LedgerStore` with its `Lease` and `LedgerReader`."""

    def test_a_new_store_is_empty(self, ledgers):
        store = ledgers()
        assert (dict(store.cursors()), list(store.logs())) == ({}, [])
        assert store.latest_checkpoint(EU) is None
        assert store.locate("s0", 1) is None
        assert list(store.runs(EU, 0, 10)) == []
        assert store.pending(EU, 0) == b""

    def test_what_was_assigned_is_found_by_another_process(self, ledgers):
        store = ledgers()
        token = store.acquire("a", NOW_MS, TTL_MS)
        store.assign(token, [growth(0, 5), growth(0, 2, log=US, source="s1")], {"s0": 5, "s1": 2})
        other = ledgers()
        assert other.cursors() == {"s0": 5, "s1": 2}
        assert other.logs() == [LogState(EU, 5, 0), LogState(US, 2, 0)]
        assert [other.locate("s0", n) for n in (1, 5)] == [LeafPlace(EU, 0), LeafPlace(EU, 4)]
        assert other.locate("s1", 2) == LeafPlace(US, 1)
        assert (other.locate("s0", 6), other.locate("s0", 0), other.locate("s2", 1)) == (None,) * 3
        assert other.pending(EU, 3) == growth(0, 5).entries[3 * 33 :]

    def test_a_gap_in_the_numbers_has_no_place(self, ledgers):
        store = ledgers()
        token = store.acquire("a", NOW_MS, TTL_MS)
        store.assign(token, [growth(0, 2), growth(2, 1, seq=9)], {"s0": 9})
        assert store.locate("s0", 9) == LeafPlace(EU, 2)
        assert store.locate("s0", 5) is None

    def test_runs_begin_with_the_one_that_holds_the_index(self, ledgers):
        store = ledgers()
        token = store.acquire("a", NOW_MS, TTL_MS)
        for first in (0, 10, 20):
            store.assign(token, [growth(first, 10)], {"s0": first + 10})
        assert [run.first_index for run in store.runs(EU, 0, 2)] == [0, 10]
        assert [run.first_index for run in store.runs(EU, 15, 9)] == [10, 20]
        assert list(store.runs(EU, 30, 9)) == []

    def test_a_growth_that_does_not_follow_on_is_refused_whole(self, ledgers):
        store = ledgers()
        token = store.acquire("a", NOW_MS, TTL_MS)
        store.assign(token, [growth(0, 5)], {"s0": 5})
        for first in (4, 6):
            with pytest.raises(LedgerForked):
                store.assign(token, [growth(0, 1, log=US), growth(first, 1)], {"s0": 6})
        assert store.logs() == [LogState(EU, 5, 0)]
        assert store.cursors() == {"s0": 5}

    def test_a_token_that_was_overtaken_writes_nothing(self, ledgers):
        store, other = ledgers(), ledgers()
        stale = store.acquire("a", NOW_MS, TTL_MS)
        store.assign(stale, [growth(0, 5)], {"s0": 5})
        fresh = other.acquire("b", NOW_MS + TTL_MS, TTL_MS)
        assert fresh > stale
        for write in (
            lambda: store.assign(stale, [growth(5, 1)], {"s0": 6}),
            lambda: store.integrated(stale, EU, 5),
            lambda: store.add_checkpoint(stale, checkpoint(5)),
            lambda: store.renew(stale, NOW_MS, TTL_MS),
        ):
            with pytest.raises(LeaseElsewhere):
                write()
        store.release(stale)
        other.integrated(fresh, EU, 5)
        assert store.logs() == [LogState(EU, 5, 5)]
        assert other.latest_checkpoint(EU) is None

    def test_a_lease_is_given_to_one_at_a_time(self, ledgers):
        store = ledgers()
        token = store.acquire("a", NOW_MS, TTL_MS)
        for now_ms in (NOW_MS, NOW_MS + TTL_MS - 1):
            with pytest.raises(LeaseElsewhere):
                store.acquire("b", now_ms, TTL_MS)
        store.renew(token, NOW_MS + 2_000, TTL_MS)
        with pytest.raises(LeaseElsewhere):
            store.acquire("b", NOW_MS + TTL_MS, TTL_MS)
        assert store.acquire("a", NOW_MS + 1, TTL_MS) == token + 1
        store.release(token)
        with pytest.raises(LeaseElsewhere):
            store.acquire("b", NOW_MS + 2, TTL_MS)
        store.release(token + 1)
        assert store.acquire("b", NOW_MS + 2, TTL_MS) == token + 2

    def test_entries_are_kept_from_the_last_full_tile_on(self, ledgers):
        store = ledgers()
        token = store.acquire("a", NOW_MS, TTL_MS)
        store.assign(token, [growth(0, 200)], {"s0": 200})
        store.assign(token, [growth(200, 200)], {"s0": 400})
        store.integrated(token, EU, 400)
        assert store.pending(EU, 256) == growth(256, 144).entries
        with pytest.raises(LedgerForked):
            store.pending(EU, 0)

    def test_checkpoints_only_grow_and_cover_only_what_is_integrated(self, ledgers):
        store = ledgers()
        token = store.acquire("a", NOW_MS, TTL_MS)
        store.assign(token, [growth(0, 10)], {"s0": 10})
        store.integrated(token, EU, 5)
        store.add_checkpoint(token, checkpoint(4))
        for size in (3, 4, 6):
            with pytest.raises(LedgerForked):
                store.add_checkpoint(token, checkpoint(size))
        assert store.latest_checkpoint(EU) == checkpoint(4)
        with pytest.raises(LedgerForked):
            store.add_checkpoint(token, checkpoint(1, log=US))

    def test_the_last_checkpoint_may_be_signed_anew_and_never_be_another(self, ledgers):
        store = ledgers()
        token = store.acquire("a", NOW_MS, TTL_MS)
        store.assign(token, [growth(0, 10)], {"s0": 10})
        store.integrated(token, EU, 10)
        for size in (4, 6):
            store.add_checkpoint(token, checkpoint(size, NOW_MS + size * 3_600_000))
        last = checkpoint(6, NOW_MS + 24 * 3_600_000)
        anew = msgspec.structs.replace(last, note=b"signed with another key")
        for refused in (
            last,
            msgspec.structs.replace(anew, root=bytes(32)),
            msgspec.structs.replace(checkpoint(4), note=anew.note),
        ):
            with pytest.raises(LedgerForked):
                store.add_checkpoint(token, refused)
        store.add_checkpoint(token, anew)
        assert store.latest_checkpoint(EU) == anew
        assert [one.size for one in store.checkpoints(EU)] == [4, 6]

    def test_the_last_checkpoint_of_each_hour_is_kept(self, ledgers):
        store = ledgers()
        token = store.acquire("a", NOW_MS, TTL_MS)
        store.assign(token, [growth(0, 10)], {"s0": 10})
        store.integrated(token, EU, 10)
        hour_ms = NOW_MS // 3_600_000 * 3_600_000
        for size, at_ms in ((1, 0), (2, 1), (3, 3_600_000), (5, 3_600_001), (6, 7_200_000)):
            store.add_checkpoint(token, checkpoint(size, hour_ms + at_ms))
        assert [one.size for one in store.checkpoints(EU)] == [2, 5, 6]

    def test_a_cursor_never_goes_back(self, ledgers):
        store = ledgers()
        token = store.acquire("a", NOW_MS, TTL_MS)
        store.assign(token, [growth(0, 5)], {"s0": 5})
        with pytest.raises(LedgerForked):
            store.assign(token, [], {"s0": 4})
        assert store.cursors() == {"s0": 5}


class TileStoreConformance:
    """A `TileStore`."""

    def test_what_was_written_is_read(self, tiles):
        tiles.write(EU, [TileFile("tile/0/000.p/1", b"a"), TileFile("tile/0/x001/000", b"b")])
        assert tiles.read(EU, "tile/0/000.p/1") == b"a"
        assert tiles.read(EU, "tile/0/x001/000") == b"b"
        for path in ("tile/0/000", "tile/0", "checkpoint", "tile/0/000.p/1/2"):
            assert tiles.read(EU, path) is None
        assert tiles.read(US, "tile/0/000.p/1") is None

    def test_the_same_bytes_again_are_fine_and_others_are_refused(self, tiles):
        tiles.write(EU, [TileFile("tile/0/000", b"a")])
        tiles.write(EU, [TileFile("tile/0/000", b"a")])
        with pytest.raises(LedgerForked):
            tiles.write(EU, [TileFile("tile/0/000", b"b")])
        assert tiles.read(EU, "tile/0/000") == b"a"

    def test_partial_tiles_go_only_where_the_full_one_is(self, tiles):
        files = [TileFile(f"tile/0/00{n}.p/{w}", b"a") for n in (0, 1) for w in (1, 2)]
        tiles.write(EU, [*files, TileFile("tile/0/000", b"full")])
        tiles.prune(EU, ["tile/0/000", "tile/0/001"])
        found = [tiles.read(EU, file.path) for file in files]
        assert found == [None, None, b"a", b"a"]
        tiles.write(EU, [TileFile("tile/0/000.p/3", b"again")])
        assert tiles.read(EU, "tile/0/000.p/3") == b"again"

    def test_a_checkpoint_is_replaced_by_larger_ones_alone(self, tiles):
        tiles.publish(EU, note(5))
        tiles.publish(EU, note(7))
        assert tiles.read(EU, "checkpoint") == note(7)
        for other in (note(6), note(7, b"another root"), note(8, origin="another")):
            with pytest.raises(LedgerForked):
                tiles.publish(EU, other)
        assert tiles.read(EU, "checkpoint") == note(7)

    def test_a_cosigned_checkpoint_takes_the_place_of_the_plain_one(self, tiles):
        tiles.publish(EU, note(5))
        cosigned = note(5) + note(5).split(b"\n\n")[1].replace(b" o ", b" w ")
        tiles.publish(EU, cosigned)
        assert tiles.read(EU, "checkpoint") == cosigned

    def test_what_is_no_checkpoint_is_refused(self, tiles):
        with pytest.raises(LedgerForked):
            tiles.publish(EU, b"hello")


class CheckpointMemoryConformance:
    """A `CheckpointMemory`."""

    def test_nothing_is_remembered_at_first(self, memory):
        assert memory.remembered("gateway.example/log/eu/2026") is None

    def test_origins_are_kept_apart(self, memory):
        for origin in ("a/log/eu/2026", "a/log/eu.2026", "a/log/../2026", "a%2Flog"):
            memory.remember(origin, note(1, origin.encode()))
        assert memory.remembered("a/log/eu/2026") == note(1, b"a/log/eu/2026")
        assert memory.remembered("a/log/../2026") == note(1, b"a/log/../2026")

    def test_a_smaller_one_is_refused(self, memory):
        memory.remember("o", note(5))
        memory.remember("o", note(5))
        for other in (note(4), note(5, b"another root")):
            with pytest.raises(LedgerForked):
                memory.remember("o", other)
        assert memory.remembered("o") == note(5)
