"""The audit names each thing that is wrong, and nothing on a ledger that is right."""

import shutil

import msgspec
import pytest
from tests.support.keyring import START_MS
from tests.support.ledger import EU, ISSUER, NOW_MS, US, Place, row
from tests.support.planring import PlanRing

from verismo.attest.controlrecord import NO_RECORD, NUMBERS_PER_S, ControlRecord, sign_record
from verismo.attest.leaf import LeafType
from verismo.attest.note import verifier_key
from verismo.attest.tile import entries_path, tiles_between
from verismo.control.journalaudit import KeyAudit, RecordAudit, SequenceAudit
from verismo.control.treeaudit import TreeAudit, audit_older
from verismo.model import canonical
from verismo.model.decision import Subject
from verismo.model.ledger import origin_of
from verismo.ports.ledger import SourceRow

SIZE = 700
VOID = SourceRow(SIZE + 4, LeafType.VOID, b'{"first":%d,"iat":%d}' % (SIZE + 2, NOW_MS), b"h..v")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A ledger of two slots, grown in steps, with a recorded gap."""
    place = Place(tmp_path_factory.mktemp("whole"))
    integrator = place.integrator()
    for second in range(7):
        place.source.add(SIZE // 7, slot="s0")
        place.source.add(20, slot="s1", region="eu" if second % 2 else "us")
        # An hour each, so that the checkpoints are kept.
        integrator.step(NOW_MS + second * 3_600_000)
    place.source.add(1)
    place.source.lists["s0"].append(VOID)
    integrator.step(NOW_MS + 8 * 3_600_000)
    integrator.release()
    place.close()
    return place


@pytest.fixture
def place(whole, tmp_path):
    """A copy of it that a test may damage."""
    shutil.copytree(whole.folder, tmp_path, dirs_exist_ok=True)
    copy = Place(tmp_path)
    copy.source.lists = {name: list(rows) for name, rows in whole.source.lists.items()}
    return copy


def audit(place, logs=(EU, US)):
    """Return kind and words of every finding."""
    store, counted, found = place.store(), {}, []
    sources = dict.fromkeys(place.source.names(), place.source)
    for log in logs:
        key = verifier_key(origin_of(ISSUER, log), place.signer.public_key)
        records = RecordAudit(log, key.name, store, sources, counted)
        history = {one.size: one.root for one in store.checkpoints(log)}
        walk = TreeAudit(
            lambda path, log=log: place.tiles.read(log, path), key, history, records.see
        )
        found += walk.findings()
    for name in sources:
        sequence = SequenceAudit(name, place.source, store)
        found += sequence.findings(store.cursors()[name], counted.get(name, 0))
    return [(one.kind, one.detail) for one in found]


def test_a_ledger_that_is_right_has_no_findings(whole):
    assert len(whole.store().checkpoints(EU)) == 8
    assert audit(whole) == []


def test_a_changed_byte_of_any_file_under_the_checkpoint_is_found(place):
    size = place.check(EU)
    tiles = list(tiles_between(0, size))
    paths = [tile.path for tile in tiles]
    paths += [entries_path(tile.index, tile.width) for tile in tiles if tile.level == 0]
    assert len(paths) == 7
    for path in paths:
        file = place.log_folder / EU.path / path
        content = file.read_bytes()
        for at in (0, len(content) // 2, len(content) - 1):
            file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            assert audit(place, [EU]), path
        file.write_bytes(content)
    assert audit(place) == []


def test_a_changed_byte_of_any_tile_of_an_older_checkpoint_is_found(place):
    key = verifier_key(origin_of(ISSUER, EU), place.signer.public_key)

    def older():
        paths = place.tiles.partial_paths(EU)
        return list(audit_older(paths, lambda path: place.tiles.read(EU, path), key))

    assert older() == []
    paths = place.tiles.partial_paths(EU)
    assert len(paths) > 5
    for path in paths:
        file = place.log_folder / EU.path / path
        content = file.read_bytes()
        file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        # A wider one in the same place may be blamed instead: one of the two was changed.
        found = older()
        alone = sum(one.startswith(path.rpartition("/")[0] + "/") for one in paths) == 1
        assert found or alone, path
        file.write_bytes(content)


def test_a_missing_tile_is_named(place):
    (place.log_folder / EU.path / "tile" / "0" / "001").unlink()
    assert ("tile", "tile/0/001 is not there") in audit(place)


def test_a_missing_bundle_ends_the_walk_and_is_named(place):
    (place.log_folder / EU.path / "tile" / "entries" / "001").unlink()
    assert ("bundle", "tile/entries/001 is not there") in audit(place)


def test_a_checkpoint_of_another_key_is_refused(place, tmp_path):
    other = Place(tmp_path / "other")
    other.source.lists = place.source.lists
    other.integrator().step(NOW_MS)
    note = other.tiles.read(EU, "checkpoint")
    (place.log_folder / EU.path / "checkpoint").write_bytes(note)
    assert audit(place, [EU])[0][0] == "checkpoint"


def test_an_older_checkpoint_put_in_place_of_the_published_is_found(place):
    older = place.store().checkpoints(EU)[2]
    (place.log_folder / EU.path / "checkpoint").write_bytes(older.note)
    assert any(kind == "history" and "larger than" in words for kind, words in audit(place))


def test_a_changed_record_is_named(place):
    rows = place.source.lists["s0"]
    rows[299] = msgspec.structs.replace(rows[299], jws=b"h..forged")
    [(kind, words)] = audit(place)
    assert kind == "record"
    assert "s0 300" in words


def test_a_dropped_record_is_named_in_tree_and_sequence(place):
    del place.source.lists["s0"][299]
    found = audit(place)
    assert ("sequence", "numbers 300 to 300 are missing without a void") in found
    assert [words for kind, words in found if kind == "missing"]
    assert "s0 300" in next(words for kind, words in found if kind == "missing")


def test_a_record_slipped_in_below_the_cursor_is_named(place):
    rows = place.source.lists["s0"]
    rows.insert(rows.index(VOID), row(SIZE + 3))
    found = audit(place)
    assert ("missing", f"record {SIZE + 3} is in no log") in found


def test_a_gap_without_a_void_is_named(place):
    place.source.lists["s0"].remove(VOID)
    place.source.lists["s0"].append(row(SIZE + 5))
    found = audit(place)
    assert ("sequence", f"numbers {SIZE + 2} to {SIZE + 4} are missing without a void") in found


def test_a_cut_journal_is_named(place):
    del place.source.lists["s1"][100:]
    assert ("sequence", "ends with 100, but the ledger took 140") in audit(place)


def test_leaves_without_a_record_are_named(place):
    store = place.store()
    with store.writing(None) as connection:
        connection.execute("DELETE FROM run WHERE first_seq = 201 AND count > 50")
    assert "foreign" in [kind for kind, _ in audit(place)]


def test_rows_that_wait_are_no_finding(place):
    place.source.lists["s0"].append(row(SIZE + 5))
    assert audit(place) == []


class TestWhatTheControlPlaneSigned:
    """Decisions: their keys have the role `plan`, their numbers go on after a restore."""

    @pytest.fixture
    def ring(self):
        return PlanRing()

    def rows(self, ring, *numbers, role="plan"):
        found, prev = [], NO_RECORD
        for n in numbers:
            record = ControlRecord(
                *(1, ISSUER, START_MS + 1, n, prev, "outcome", "steering", 1, Subject()),
                of=NO_RECORD,
                result="published",
                steering=1,
            )
            signer = ring.signer(role)
            statement, jws = sign_record(record, signer.kid, signer.sign)
            prev = canonical.digest(statement)
            found.append(SourceRow(n, LeafType.DECISION, statement, jws))
        return found

    def findings(self, ring, rows):
        class Rows:
            def rows(self, name, after, limit):
                return [one for one in rows if one.seq_n > after][:limit]

        judge = KeyAudit(ring.keys).judge
        sequence = SequenceAudit("@decisions", Rows(), None, judge)
        return [(one.kind, one.detail) for one in sequence.findings(0, 0)]

    def test_records_in_order_have_no_finding(self, ring):
        assert self.findings(ring, self.rows(ring, 1, 2, 3)) == []

    def test_a_record_that_was_removed_is_named(self, ring):
        [(kind, detail)] = self.findings(ring, self.rows(ring, 1, 3))
        assert (kind, "numbers 2 to 2 are missing" in detail) == ("sequence", True)

    def test_numbers_that_go_on_after_a_restore_are_no_gap(self, ring):
        restored = 1_790_000_000 * NUMBERS_PER_S
        assert self.findings(ring, self.rows(ring, 1, restored + 1, restored + 2)) == []
        [(kind, _)] = self.findings(ring, self.rows(ring, 1, restored + 2))
        assert kind == "sequence"

    def test_a_record_by_a_token_key_is_named(self, ring):
        found = self.findings(ring, self.rows(ring, 1, role="token"))
        assert [kind for kind, _ in found] == ["key"]
        assert "no plan key of the ring" in found[0][1]
