"""The integrator: what it takes, in which log, and what it never does."""

import errno
import os
import shutil
import sqlite3
from contextlib import closing
from urllib.parse import quote

import msgspec
import pytest
from tests.support.ledger import EU, ISSUER, NOW_MS, US, Place, row

from verismo.adapters import tiles_folder
from verismo.adapters.ledger_sqlite import FILE_NAME
from verismo.attest.checkpoint import read_checkpoint
from verismo.attest.leaf import LeafType
from verismo.attest.note import read_note
from verismo.model.errors import StateError
from verismo.model.ledger import LogId, origin_of, year_start_ms
from verismo.ports.ledger import LeafPlace, LedgerForked, SourceRow
from verismo.ports.signer import SigningFailed


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def size_of(note):
    return read_checkpoint(read_note(note).text).size


def test_the_first_step_publishes_what_there_is(place):
    place.source.add(3)
    progress = place.integrator().step(NOW_MS)
    assert (progress.taken, progress.is_behind) == (3, False)
    assert size_of(progress.published[EU]) == 3
    place.check_all()


@pytest.mark.parametrize("count", [1, 255, 256, 257, 511, 512, 700])
def test_trees_around_full_tiles_prove_themselves(place, count):
    place.source.add(count)
    place.integrator().step(NOW_MS)
    place.check_all()


def test_a_log_that_grows_by_steps_is_the_same_as_one_that_grew_at_once(place):
    integrator, now_ms = place.integrator(rows_max=100), NOW_MS
    for count in (1, 99, 1, 156, 300, 0, 7):
        place.source.add(count)
        now_ms += 1_000
        while integrator.step(now_ms).is_behind:
            now_ms += 1_000
        place.check_all()


def test_answers_go_to_the_log_of_their_own_region_and_year(place):
    new_year_ms = year_start_ms(2027)
    place.source.add(2, slot="s0", region="eu", iat=new_year_ms - 1)
    place.source.add(1, slot="s0", region="eu", iat=new_year_ms)
    place.source.add(1, slot="s1", region="us", iat=new_year_ms - 1)
    # A clock that stepped back over the boundary: what counts is what the statement says.
    place.source.add(1, slot="s0", region="eu", iat=new_year_ms - 5)
    published = place.integrator().step(new_year_ms + 1_000).published
    sizes = {log: size_of(note) for log, note in published.items()}
    assert sizes == {EU: 3, LogId("eu", 2027): 1, US: 1}
    place.check_all()
    assert place.store().locate("s0", 4) == LeafPlace(EU, 2)
    assert place.store().locate("s0", 3) == LeafPlace(LogId("eu", 2027), 0)


def test_gaps_go_to_the_home_region_as_leaves_of_type_5(place):
    void = SourceRow(7, LeafType.VOID, b'{"first":2,"iat":%d,"last":7}' % NOW_MS, b"h..v")
    place.source.lists["s0"] = [row(1), void, row(8)]
    place.integrator(home_region="us").step(NOW_MS)
    place.check_all()
    assert place.store().locate("s0", 7) == LeafPlace(US, 0)
    assert place.store().locate("s0", 8) == LeafPlace(EU, 1)
    assert place.store().locate("s0", 5) is None
    assert place.entries(US, 1)[0][0] == LeafType.VOID


@pytest.mark.parametrize("step_ms", [-86_400_000, -1, 0, 86_400_000])
def test_a_clock_that_steps_does_no_harm(place, step_ms):
    integrator = place.integrator()
    place.source.add(3)
    integrator.step(NOW_MS)
    place.source.add(3)
    integrator.step(NOW_MS + step_ms)
    place.source.add(3)
    integrator.step(NOW_MS + step_ms + 1_000)
    place.check_all()


def test_a_lease_of_a_clock_that_stepped_back_is_not_waited_for(place):
    place.source.add(1)
    place.integrator(holder="dead").step(NOW_MS + 3_600_000)
    place.source.add(1)
    place.integrator(holder="b").step(NOW_MS)
    place.check_all()


def test_checkpoints_come_at_most_once_an_interval(place):
    integrator, signed = place.integrator(), []
    for tick in range(12):
        place.source.add(1)
        signed += integrator.step(NOW_MS + 250 * tick).published.values()
    assert [size_of(note) for note in signed] == [1, 5, 9]


def test_partial_tiles_go_once_the_full_tile_is_there(place):
    integrator = place.integrator()
    place.source.add(255)
    integrator.step(NOW_MS)
    assert place.tiles.read(EU, "tile/0/000.p/255") is not None
    place.source.add(1)
    integrator.step(NOW_MS + 1_000)
    folder = place.log_folder / EU.path / "tile"
    assert not (folder / "0" / "000.p").exists()
    assert not (folder / "entries" / "000.p").exists()
    place.check_all()


def test_one_source_that_cannot_be_read_does_not_stop_the_others(place):
    place.source.add(5, slot="s0")
    place.source.add(5, slot="s1")
    place.source.broken = {"s0"}
    integrator = place.integrator()
    with pytest.raises(StateError, match="s0 is broken"):
        integrator.step(NOW_MS)
    assert place.check(EU) == 5
    place.source.broken.clear()
    integrator.step(NOW_MS + 1_000)
    place.check_all()


@pytest.mark.parametrize("statement", [b"{", b"\xff", b"[]", b'{"iat":1,"region":".."}'])
def test_what_stands_before_a_damaged_record_is_integrated(place, statement):
    place.source.add(5)
    place.source.lists["s0"].append(SourceRow(6, LeafType.ANSWER, statement, b"h..s"))
    place.source.add(5)
    with pytest.raises(StateError):
        place.integrator().step(NOW_MS)
    assert place.check(EU) == 5
    assert place.store().cursors() == {"s0": 5}


def test_a_full_disk_loses_nothing(place, monkeypatch):
    integrator = place.integrator()
    place.source.add(300)
    link = os.link

    def full(source, target):
        if "entries" in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        link(source, target)

    monkeypatch.setattr(tiles_folder.os, "link", full)
    for second in range(3):
        with pytest.raises(StateError, match="No space left"):
            integrator.step(NOW_MS + 1_000 * second)
    assert place.check(EU) == 0
    monkeypatch.undo()
    integrator.step(NOW_MS + 5_000)
    place.check_all()


def test_a_log_key_that_fails_holds_only_the_checkpoint_up(place):
    class Failing:
        kid, public_key = place.signer.kid, place.signer.public_key

        def sign(self, message):
            raise SigningFailed("no")

    place.source.add(3)
    with pytest.raises(StateError, match="could not be signed"):
        place.integrator(msgspec.structs.replace(place.desk(), signer=Failing())).step(NOW_MS)
    assert place.store().logs()[0].integrated == 3
    place.integrator().step(NOW_MS)
    place.check_all()


# A restored old copy -----------------------------------------------------------------------------


def grown(place):
    """Let a log grow by two checkpoints; returns a copy of the ledger between them."""
    integrator = place.integrator()
    place.source.add(10)
    integrator.step(NOW_MS)
    saved = place.folder / "saved.db"
    with (
        closing(sqlite3.connect(place.folder / FILE_NAME)) as live,
        closing(sqlite3.connect(saved)) as copy,
    ):
        live.backup(copy)
    place.source.add(10)
    integrator.step(NOW_MS + 1_000)
    integrator.release()
    return saved


def put_back(place, saved):
    for path in place.folder.glob(FILE_NAME + "*"):
        path.unlink()
    if saved is not None:
        shutil.copy(saved, place.folder / FILE_NAME)


@pytest.mark.parametrize("forgotten", ["nothing", "second place", "published"])
def test_a_restored_old_ledger_is_refused_by_either_place(place, forgotten):
    saved = grown(place)
    put_back(place, saved)
    if forgotten == "second place":
        shutil.rmtree(place.folder / "keys" / "checkpoints")
    if forgotten == "published":
        (place.log_folder / EU.path / "checkpoint").unlink()
    note = place.tiles.read(EU, "checkpoint")
    place.source.add(30)
    with pytest.raises(LedgerForked, match="an old copy of the ledger") as refusal:
        place.integrator().step(NOW_MS + 60_000)
    assert "ledger adopt" in refusal.value.advice
    assert place.tiles.read(EU, "checkpoint") == note


def test_a_deleted_ledger_is_refused(place):
    grown(place)
    put_back(place, None)
    with pytest.raises(LedgerForked, match="an old copy of the ledger"):
        place.integrator().step(NOW_MS + 60_000)


def test_another_history_of_the_same_size_is_refused(place):
    grown(place)
    put_back(place, None)
    memory, tiles = place.folder / "keys" / "checkpoints", place.log_folder
    memory.rename(place.folder / "memory")
    tiles.rename(place.folder / "tiles")
    place.source.lists.clear()
    place.source.add(20, region="eu", iat=NOW_MS + 5)
    integrator = place.integrator()
    integrator.step(NOW_MS)
    integrator.release()
    (place.folder / "memory").rename(place.folder / "keys" / "checkpoints2")
    shutil.rmtree(memory)
    (place.folder / "keys" / "checkpoints2").rename(memory)
    with pytest.raises(LedgerForked, match="another history"):
        place.integrator().step(NOW_MS + 60_000)


def test_a_changed_tile_is_refused_where_it_would_be_built_on(place):
    place.source.add(300)
    integrator = place.integrator()
    integrator.step(NOW_MS)
    integrator.release()
    tile = place.log_folder / EU.path / "tile" / "0" / "000"
    tile.write_bytes(b"\0" * 8_192)
    with pytest.raises(LedgerForked, match="another history"):
        place.integrator().step(NOW_MS + 60_000)


def test_a_changed_issuer_is_refused(place):
    place.source.add(3)
    integrator = place.integrator()
    integrator.step(NOW_MS)
    integrator.release()
    with pytest.raises(LedgerForked, match="not of other"):
        place.integrator(issuer="https://other.example").step(NOW_MS + 60_000)


def signed_as(issuer, seq_n):
    stated = {"iat": NOW_MS, "iss": issuer, "region": "eu", "seq": {"signer": "s0", "n": seq_n}}
    return SourceRow(seq_n, LeafType.ANSWER, msgspec.json.encode(stated), b"h..s")


def test_records_of_another_issuer_are_refused_before_any_log_is_made(place):
    place.source.lists["s0"] = [signed_as("verismo", 1), signed_as(ISSUER, 2)]
    place.source.add(3, slot="s1")
    integrator = place.integrator()
    for _ in range(2):
        with pytest.raises(LedgerForked, match="record 1 of s0 was signed as 'verismo'") as caught:
            integrator.step(NOW_MS)
        assert "Set `issuer` back" in caught.value.advice
    assert place.store().logs() == []
    assert not place.log_folder.exists()


def test_setting_the_issuer_back_takes_its_records_in(place):
    place.source.lists["s0"] = [signed_as("verismo", seq_n) for seq_n in (1, 2, 3)]
    with pytest.raises(LedgerForked):
        place.integrator(holder="b").step(NOW_MS)
    place.integrator(issuer="verismo").step(NOW_MS + 60_000)
    checkpoint = read_checkpoint(read_note(place.tiles.read(EU, "checkpoint")).text)
    assert (checkpoint.origin, checkpoint.size) == ("verismo/log/eu/2026", 3)


def test_issuers_that_name_the_same_log_are_one(place):
    place.source.lists["s0"] = [signed_as(f"{ISSUER}/", 1), signed_as(ISSUER, 2)]
    place.integrator().step(NOW_MS)
    place.check_all()


@pytest.mark.parametrize("failing", [None, "remember", "publish"])
def test_logs_that_no_longer_grow_are_signed_again_with_a_new_log_key(place, monkeypatch, failing):
    place.source.add(3)
    place.source.add(2, slot="s1", region="us")
    integrator = place.integrator()
    before = integrator.step(NOW_MS).published
    integrator.release()
    place.renew_key()
    if failing is not None:
        integrator = place.integrator()
        desk = integrator._desk
        with monkeypatch.context() as patch:
            patch.setattr(desk.memory if failing == "remember" else desk.tiles, failing, _fail)
            with pytest.raises(StateError, match="crashed"):
                integrator.step(NOW_MS + 60_000)
    integrator = place.integrator()
    after = integrator.step(NOW_MS + 120_000).published
    assert set(before) == set(after) == {EU, US}
    for log in (EU, US):
        assert read_note(after[log]).text == read_note(before[log]).text
        assert place.tiles.read(log, "checkpoint") == after[log] != before[log]
        assert place.memory.remembered(origin_of(ISSUER, log)) == after[log]
    place.check_all()
    assert integrator.step(NOW_MS + 180_000).published == {}


def _fail(*_):
    raise StateError("crashed")


def test_no_checkpoint_is_signed_under_a_name_that_cannot_be_read_again(place):
    issuer = "https://" + "i" * 120
    place.source.add(3, region="r" * 128)
    for _ in range(2):
        with pytest.raises(StateError, match="too long") as caught:
            place.integrator(issuer=issuer).step(NOW_MS)
        assert not isinstance(caught.value, LedgerForked)
        assert "a new data folder" in caught.value.advice
    assert place.store().latest_checkpoint(LogId("r" * 128, 2026)) is None


@pytest.mark.parametrize("issuer", ["i" * 102, "//".join("i" * 20)])
def test_the_longest_names_of_logs_are_signed_and_read_again(place, issuer):
    region = "r" * (246 - len(quote(issuer, safe="")) - len("%2Flog%2F%2F2026"))
    for seconds in (0, 60):
        place.source.add(3, region=region)
        integrator = place.integrator(issuer=issuer)
        assert integrator.step(NOW_MS + 1_000 * seconds).published
        integrator.release()


def test_the_second_place_is_told_before_the_world(place):
    place.source.add(3)
    place.integrator().step(NOW_MS)
    note = place.tiles.read(EU, "checkpoint")
    assert place.memory.remembered(origin_of(ISSUER, EU)) == note
    assert place.store().latest_checkpoint(EU).note == note


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A log with a full tile at level 1."""
    place = Place(tmp_path_factory.mktemp("large"))
    place.source.add(257 * 256 + 7)
    integrator = place.integrator(rows_max=70_000)
    integrator.step(NOW_MS)
    integrator.release()
    place.close()
    return place


@pytest.mark.slow
@pytest.mark.parametrize("content", [None, b"", b"cut"], ids=["missing", "empty", "cut"])
@pytest.mark.parametrize("path", ["tile/0/256", "tile/1/000"])
def test_a_tile_that_the_edge_or_the_root_needs_is_refused_if_damaged(
    large, tmp_path, path, content
):
    shutil.copytree(large.folder, tmp_path, dirs_exist_ok=True)
    tile = tmp_path / "log" / EU.path / path
    tile.unlink()
    if content is not None:
        tile.write_bytes(content)
    with pytest.raises(LedgerForked) as refusal:
        Place(tmp_path).integrator().step(NOW_MS + 60_000)
    assert "archive" in refusal.value.advice or "audit" in refusal.value.advice


@pytest.mark.slow
def test_a_tile_that_nothing_is_built_on_does_not_stop_the_log(large, tmp_path):
    """The audit names it; the log goes on meanwhile."""
    shutil.copytree(large.folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "log" / EU.path / "tile" / "0" / "000").unlink()
    copy = Place(tmp_path)
    copy.source.lists = {"s0": [*large.source.lists["s0"], row(257 * 256 + 8)]}
    note = copy.integrator().step(NOW_MS + 60_000).published[EU]
    assert size_of(note) == 257 * 256 + 8
