"""Going on from published logs: what is matched, what is lost, what is appended."""

import json
import shutil

import pytest
from tests.support.ledger import EU, ISSUER, NOW_MS, US, Place

from verismo.attest.checkpoint import read_checkpoint
from verismo.attest.leaf import LeafType
from verismo.attest.note import read_note, verifier_key
from verismo.control.adoption import Adoption
from verismo.control.journalaudit import LOST
from verismo.control.leafsources import KEY_RING, LogChooser
from verismo.control.treeaudit import TreeAudit
from verismo.model.errors import StateError
from verismo.model.ledger import LogId, origin_of
from verismo.ports.ledger import LeafPlace, SourceRow, StoredCheckpoint


def adopt(place, mirror, logs, home_region="eu"):
    """Adopt a mirror's logs into a place whose state is new; returns the outcome."""
    store = place.store()
    token = store.acquire("adopt", NOW_MS, 1_000)
    chooser = LogChooser(ISSUER, home_region)
    adoption = Adoption(store, token, place.tiles, (place.source,), chooser)
    outcome = []
    for log in logs:
        note = mirror.tiles.read(log, "checkpoint")
        head = read_checkpoint(read_note(note).text)
        stored = StoredCheckpoint(log, head.size, head.root, note, NOW_MS)
        outcome.append(adoption.adopt(stored, lambda path, log=log: mirror.tiles.read(log, path)))
    appended = adoption.finish()
    for log in logs:
        note = mirror.tiles.read(log, "checkpoint")
        place.memory.remember(origin_of(ISSUER, log), note)
        place.tiles.publish(log, note)
    store.release(token)
    return outcome, appended


def mixed(place, rounds):
    """Let one slot answer for two regions in turn, and a second slot for one."""
    integrator = place.integrator()
    for number in range(rounds):
        place.source.add(2, slot="s0", region="eu")
        place.source.add(3, slot="s0", region="us")
        place.source.add(70, slot="s1", region="eu")
        integrator.step(NOW_MS + 1_000 * number)
    integrator.release()
    place.close()


def empty_copy(origin, folder):
    """Return a place with the same key and rows, and nothing of the ledger."""
    shutil.copytree(origin.folder / "keys", folder / "keys")
    shutil.rmtree(folder / "keys" / "checkpoints")
    copy = Place(folder)
    copy.source.lists = {name: list(rows) for name, rows in origin.source.lists.items()}
    return copy


def test_every_record_finds_its_own_index_again(tmp_path):
    mirror = Place(tmp_path / "mirror")
    mixed(mirror, 6)
    place = empty_copy(mirror, tmp_path / "new")
    outcome, appended = adopt(place, mirror, [EU, US])
    assert [(one.size, one.lost) for one in outcome] == [(432, 0), (18, 0)]
    assert appended == 0
    for slot, rows in place.source.lists.items():
        for row in rows:
            found = place.store().locate(slot, row.seq_n)
            assert found == mirror.store().locate(slot, row.seq_n)
    place.check_all()
    assert place.integrator().step(NOW_MS + 60_000).taken == 0


def test_rows_that_an_older_log_lacks_are_appended_to_it_and_none_is_doubled(tmp_path):
    mirror = Place(tmp_path / "mirror")
    mixed(mirror, 3)
    older = (mirror.log_folder / US.path / "checkpoint").read_bytes()
    mixed(mirror, 2)
    # The mirror of one region was made earlier than that of the other.
    (mirror.log_folder / US.path / "checkpoint").write_bytes(older)
    place = empty_copy(mirror, tmp_path / "new")
    outcome, appended = adopt(place, mirror, [EU, US])
    assert [(one.size, one.lost) for one in outcome] == [(360, 0), (9, 0)]
    # The last three rows of the slot come after every row that a log has: they are taken later.
    assert appended == 3
    assert place.store().cursors()["s0"] == 22
    place.integrator().step(NOW_MS + 60_000)
    place.check_all()


def test_entries_whose_records_are_lost_keep_their_indices(tmp_path):
    mirror = Place(tmp_path / "mirror")
    mixed(mirror, 4)
    place = empty_copy(mirror, tmp_path / "new")
    kept = {name: rows[: len(rows) // 2] for name, rows in place.source.lists.items()}
    place.source.lists = kept
    outcome, _ = adopt(place, mirror, [EU, US])
    assert sum(one.lost for one in outcome) == sum(map(len, kept.values()))
    assert place.store().locate(LOST, 1) is not None
    place.source.add(5, slot="s0r1", region="eu")
    place.integrator().step(NOW_MS + 60_000)
    key = verifier_key(origin_of(ISSUER, EU), place.signer.public_key)
    assert list(TreeAudit(lambda path: place.tiles.read(EU, path), key).findings()) == []
    assert place.store().locate("s0r1", 5) == LeafPlace(EU, outcome[0].size + 4)


def with_ring(place, *versions):
    """Give a place a key ring; each version is its name and when it was made."""
    place.source.lists[KEY_RING] = [
        SourceRow(n, LeafType.KEY_RING, json.dumps({"iat": iat, "name": name}).encode(), b"h..s")
        for n, (name, iat) in enumerate(versions, 1)
    ]


def restored(tmp_path, published, here):
    """Return the mirror of a log with one ring, and a place that has another one."""
    mirror = Place(tmp_path / "mirror")
    with_ring(mirror, *published)
    mixed(mirror, 2)
    place = empty_copy(mirror, tmp_path / "new")
    with_ring(place, *here)
    return mirror, place


FIRST, REVOKED = ("first", NOW_MS), ("revoked", NOW_MS + 1)
NEXT_YEAR = LogId("eu", 2027)


def test_key_ring_of_before_a_revocation_is_not_gone_on_with(tmp_path):
    """Attack: a restored backup, by whose ring the stolen key would sign again."""
    mirror, place = restored(tmp_path, [FIRST, REVOKED], [FIRST])
    with pytest.raises(StateError, match="eu/2026 has a newer key ring") as refused:
        adopt(place, mirror, [EU, US])
    assert "verismo keys ring --adopt" in refused.value.advice
    assert place.store().cursors()[KEY_RING] == 0, "it has not ended"


def test_key_ring_that_is_newer_than_the_log_is_gone_on_with(tmp_path):
    mirror, place = restored(tmp_path, [FIRST], [FIRST, REVOKED])
    outcome, _ = adopt(place, mirror, [EU, US])
    assert [one.lost for one in outcome] == [0, 0]
    assert place.store().cursors()[KEY_RING] == 1


@pytest.mark.parametrize(("later_ms", "log"), [(2, EU), (31_536_000_000, NEXT_YEAR)])
def test_key_ring_that_was_lost_once_and_has_gone_on_since_is_no_hindrance(tmp_path, later_ms, log):
    """As a restore of before this was refused has left it."""
    later = ("later", NOW_MS + later_ms)
    mirror, place = restored(tmp_path, [FIRST, REVOKED, later], [FIRST, later])
    outcome, _ = adopt(place, mirror, sorted({EU, US, log}))
    assert {one.log: one.lost for one in outcome}[EU] == 1
    assert place.store().locate(KEY_RING, 2).log == log


def test_key_ring_in_another_log_than_it_goes_to_now_is_known_all_the_same(tmp_path):
    mirror, place = restored(tmp_path, [FIRST, REVOKED], [FIRST, REVOKED])
    outcome, _ = adopt(place, mirror, [EU, US], home_region="us")
    assert [one.lost for one in outcome] == [2, 0]
