import gzip
import io
import json
import tarfile

import msgspec
import pytest
from msgspec import UNSET
from tests.support.archived import DAY_MS, EU, ISSUER, ONE, TWO, US, Gateway, answer, at, day

from verismo.adapters.archive_folder import FolderArchive
from verismo.attest import rollup
from verismo.attest.keyentry import public_key
from verismo.attest.keyring import check_history, read_keyring
from verismo.attest.note import Note, NoteSignature, read_note
from verismo.control import dayfiles
from verismo.control.dayrollup import head_of, make_rollup, rolled_up
from verismo.control.rollups import Rollups, Vaulted, archive_day, due_days
from verismo.model import canonical
from verismo.model.errors import IntegrityError, StateError
from verismo.model.ledger import LogId, origin_of
from verismo.model.retention import compliance_lock
from verismo.ports.archive import ArchiveUnreachable
from verismo.ports.ledger import StoredCheckpoint

pytestmark = pytest.mark.slow

FIRST, SECOND, THIRD = day("2026-11-20"), day("2026-11-21"), day("2026-11-22")
MORNING = at("2026-11-20 09:00")
LATER = at("2026-11-23 09:00")


@pytest.fixture
async def gateway(tmp_path):
    made = Gateway(tmp_path / "data", MORNING)
    yield made
    made.close()


@pytest.fixture
def vaulted(tmp_path):
    return Vaulted(FolderArchive(tmp_path / "archive"), compliance_lock)


async def live(gateway: Gateway) -> None:
    """Three days: five leaves and the key ring, none, four more."""
    await gateway.serve(3, MORNING)
    gateway.skip(2)
    await gateway.serve(1, MORNING + 3_600_000, tenant=TWO, status=403)
    gateway.integrate(MORNING + 4_000_000)
    await gateway.serve(4, MORNING + 2 * DAY_MS, status=503)
    gateway.integrate(MORNING + 2 * DAY_MS + 10_000)


def told(gateway, which=FIRST, log=EU):
    return rolled_up(gateway.rollups, log, which)


def trusted(gateway):
    ring = gateway.desk().ring()[-1].ring
    return {key.kid: public_key(key) for key in ring.keys}


async def test_rollup_counts_types_decisions_and_status_classes(gateway):
    await live(gateway)
    envelope = make_rollup(gateway.desk(), EU, FIRST, LATER)
    found = rollup.open_rollup(envelope, trusted(gateway)).predicate
    rings = len(gateway.ring.versions())
    assert found.origin == "gateway.example/log/eu/2026"
    assert (found.first, found.last, found.size) == (0, 4 + rings, 5 + rings)
    assert found.leaves == {"answer": 4, "void": 1, "key_ring": rings}
    assert found.answers == {"allow 2xx": 3, "deny 4xx": 1}
    assert found.keyring.version == rings
    assert found.previous is UNSET
    assert found.siem is UNSET


async def test_subjects_are_the_files_of_the_day(gateway):
    await live(gateway)
    statement = rollup.read_rollup(make_rollup(gateway.desk(), EU, FIRST, LATER))
    names = gateway.rollups.names(EU, FIRST)
    assert [one.name for one in statement.subject] == [
        name for name in names if name not in (dayfiles.ROLLUP, dayfiles.MANIFEST)
    ]
    for subject in statement.subject:
        content = gateway.rollups.read(EU, FIRST, subject.name)
        assert canonical.digest(content) == subject.digest.sha256
    manifest = dayfiles.read_manifest(gateway.rollups.read(EU, FIRST, dayfiles.MANIFEST))
    assert [one.name for one in manifest.files] == [n for n in names if n != dayfiles.MANIFEST]


async def test_days_tile_the_log_and_each_rollup_follows_the_one_before(gateway):
    await live(gateway)
    assert Rollups(gateway.desk(), None).step(LATER) == [(EU, FIRST), (EU, SECOND), (EU, THIRD)]
    found = [told(gateway, which) for which in (FIRST, SECOND, THIRD)]
    assert [one.first for one in found] == [0, found[0].size, found[1].size]
    assert found[1].last == found[1].first - 1
    assert found[2].answers == {"allow 5xx": 4}
    envelopes = [gateway.rollups.read(EU, one, dayfiles.ROLLUP) for one in (FIRST, SECOND, THIRD)]
    rollup.check_chain(envelopes, trusted(gateway))
    assert found[2].consistency
    assert Rollups(gateway.desk(), None).step(LATER) == []


async def test_same_day_twice_is_the_same_bytes(gateway):
    await live(gateway)
    first = make_rollup(gateway.desk(), EU, FIRST, LATER)
    assert make_rollup(gateway.desk(), EU, FIRST, LATER + DAY_MS) == first


async def test_day_made_later_holds_the_same_leaves_as_one_made_at_midnight(gateway):
    await gateway.serve(3, MORNING)
    gateway.integrate(MORNING + 10_000)
    # Signed at the day's last moment, and at the first of the next: the latter is not the day's.
    await gateway.serve(2, at("2026-11-20 23:59"))
    gateway.integrate(at("2026-11-20 23:59") + 59_999)
    await gateway.serve(5, at("2026-11-21 00:00"))
    gateway.integrate(at("2026-11-21 00:00"))
    for hour in range(1, 5):
        await gateway.serve(1, at(f"2026-11-21 0{hour}:00"))
        gateway.integrate(at(f"2026-11-21 0{hour}:00"))
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    assert told(gateway).leaves["answer"] == 5


async def test_each_log_has_rollups_of_its_own(gateway):
    await gateway.serve(2, MORNING)
    await gateway.serve(3, MORNING + 10, region="us")
    gateway.integrate(MORNING + 10_000)
    Rollups(gateway.desk(), None).step(LATER)
    assert told(gateway, log=US).leaves == {"answer": 3}
    assert told(gateway, log=EU).answers == {"allow 2xx": 2}


async def test_day_that_is_not_over_is_refused(gateway):
    await live(gateway)
    for now_ms in (MORNING, at("2026-11-21 00:04")):
        with pytest.raises(StateError, match="not over"):
            make_rollup(gateway.desk(), EU, FIRST, now_ms)
    assert make_rollup(gateway.desk(), EU, FIRST, at("2026-11-21 00:05"))


async def test_day_before_the_first_checkpoint_and_day_that_was_passed_are_refused(gateway):
    await live(gateway)
    with pytest.raises(StateError, match="no checkpoint before"):
        make_rollup(gateway.desk(), EU, day("2026-11-19"), LATER)
    make_rollup(gateway.desk(), EU, THIRD, LATER)
    assert told(gateway, THIRD).first == 0
    with pytest.raises(StateError, match="later days have one"):
        make_rollup(gateway.desk(), EU, FIRST, LATER)


async def test_tree_over_many_tiles_is_packed_and_unpacked_whole(gateway):
    await gateway.serve(600, MORNING)
    gateway.integrate(MORNING + 10_000)
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    await gateway.serve(700, MORNING + DAY_MS)
    gateway.integrate(MORNING + DAY_MS + 10_000)
    make_rollup(gateway.desk(), EU, SECOND, LATER)
    size = told(gateway, SECOND).size
    for which in (FIRST, SECOND):
        found = told(gateway, which)
        name = dayfiles.tiles_name(found.first, found.size)
        assert dayfiles.tiles_range(name) == (found.first, found.size)
        packed = gateway.rollups.read(EU, which, name)
        chunk = dayfiles.unpack_tiles(packed, EU)
        assert sum(run.count for run in chunk.runs) == found.size - found.first
        assert dayfiles.pack_tiles(chunk.files, chunk.runs) == packed
        for file in chunk.files:
            assert gateway.tiles.read(EU, file.path) in (file.content, None)
    assert size == 1_300 + len(gateway.ring.versions())


async def test_record_that_its_leaf_does_not_commit_to_stops_the_rollup(gateway, monkeypatch):
    await live(gateway)
    scan = gateway.reader.scan

    def altered(slot, after, limit):
        return [
            msgspec.structs.replace(one, statement=one.statement.replace(b"allow", b"deny!"))
            for one in scan(slot, after, limit)
        ]

    with monkeypatch.context() as changed:
        changed.setattr(gateway.reader, "scan", altered)
        with pytest.raises(IntegrityError, match="not the one that leaf"):
            make_rollup(gateway.desk(), EU, FIRST, LATER)
    assert gateway.rollups.days(EU) == []
    assert make_rollup(gateway.desk(), EU, FIRST, LATER)


async def test_record_missing_from_the_journal_stops_the_rollup(gateway, monkeypatch):
    await live(gateway)
    monkeypatch.setattr(gateway.reader, "scan", lambda slot, after, limit: ())
    with pytest.raises(IntegrityError, match="not in its source"):
        make_rollup(gateway.desk(), EU, FIRST, LATER)


async def test_forged_entry_in_the_published_log_stops_the_rollup(gateway):
    await live(gateway)
    folder = gateway.folder / "log" / "eu" / "2026" / "tile" / "entries"
    bundles = [path for path in folder.rglob("*") if path.is_file()]
    for path in bundles:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.chmod(0o600)
        path.write_bytes(content)
    with pytest.raises(IntegrityError, match="do not lead to the root"):
        make_rollup(gateway.desk(), EU, FIRST, LATER)


async def test_missing_tile_stops_the_rollup(gateway):
    await live(gateway)
    for path in (gateway.folder / "log" / "eu" / "2026" / "tile" / "0").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(IntegrityError, match="missing from the published log"):
        make_rollup(gateway.desk(), EU, FIRST, LATER)


async def test_unfinished_day_of_a_crash_is_thrown_away(gateway):
    await live(gateway)
    writer = gateway.rollups.begin(EU, FIRST)
    writer.add("statements/x/00.ndjson.gz.enc", b"half a day")
    assert gateway.rollups.days(EU) == []
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    assert "statements/x/00.ndjson.gz.enc" not in gateway.rollups.names(EU, FIRST)


async def test_of_two_processes_that_finish_one_day_one_is_refused(gateway):
    await live(gateway)
    writer = gateway.rollups.begin(EU, FIRST)
    writer.add("checkpoint", b"of the other process")
    # The other process moves its unfinished day away from under this one.
    writer.finish()
    late = gateway.rollups.begin(EU, FIRST)
    late.add("checkpoint", b"late")
    with pytest.raises(StateError, match="cannot be used"):
        late.finish()
    assert gateway.rollups.read(EU, FIRST, "checkpoint") == b"of the other process"


async def test_damaged_rollup_on_disk_is_named_and_not_built_upon(gateway):
    await live(gateway)
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    path = gateway.folder / "rollups" / "eu" / "2026" / "2026-11-20" / "rollup.dsse.json"
    path.write_bytes(b"{}")
    with pytest.raises(StateError, match="2026-11-20 on this machine is damaged"):
        make_rollup(gateway.desk(), EU, SECOND, LATER)


async def test_counters_of_the_export_are_told_as_they_were_read(gateway):
    await live(gateway)
    counters = (rollup.SiemCounters(sink="file", exported=9, dead=0, next_index=9),)
    gateway.siem = (counters, b'{"hours":[]}')
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    assert told(gateway).siem == counters
    assert gateway.rollups.read(EU, FIRST, dayfiles.SIEM) == b'{"hours":[]}'


async def test_cosigned_checkpoint_of_the_day_is_the_one_that_is_kept(gateway):
    await gateway.serve(3, MORNING)
    gateway.integrate(MORNING + 10_000)
    cosigned = cosign(gateway)
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    assert gateway.rollups.read(EU, FIRST, dayfiles.CHECKPOINT) == cosigned
    assert told(gateway).witnessed is UNSET


async def test_later_cosigned_checkpoint_is_kept_beside_it_and_proven_to_cover_the_day(gateway):
    await live(gateway)
    cosigned = cosign(gateway)
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    assert gateway.rollups.read(EU, FIRST, dayfiles.WITNESSED) == cosigned
    found = told(gateway)
    assert found.witnessed.size == found.size + 4
    assert read_note(gateway.rollups.read(EU, FIRST, dayfiles.CHECKPOINT)).text.splitlines()[1] == (
        str(found.size)
    )


async def test_checkpoint_with_a_quorum_is_found_beside_the_published_one(gateway):
    await gateway.serve(3, MORNING)
    gateway.integrate(MORNING + 10_000)
    cosigned = cosign(gateway, publish=False)
    (gateway.folder / "log" / "eu" / "2026" / "cosigned").write_bytes(cosigned)
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    assert gateway.rollups.read(EU, FIRST, dayfiles.CHECKPOINT) == cosigned


async def test_witnesses_of_a_smaller_tree_say_nothing_of_the_day(gateway):
    await gateway.serve(3, MORNING)
    gateway.integrate(MORNING + 10_000)
    smaller = cosign(gateway, publish=False)
    (gateway.folder / "log" / "eu" / "2026" / "cosigned").write_bytes(smaller)
    await gateway.serve(3, MORNING + 20_000)
    gateway.integrate(MORNING + 30_000)
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    assert told(gateway).witnessed is UNSET
    assert dayfiles.WITNESSED not in gateway.rollups.names(EU, FIRST)


def cosign(gateway, *, publish=True) -> bytes:
    note = read_note(gateway.tiles.read(EU, "checkpoint"))
    witness = NoteSignature("witness.example", b"\1\2\3\4", bytes(72))
    cosigned = Note(note.text, (*note.signatures, witness)).encode()
    if publish:
        gateway.tiles.publish(EU, cosigned)
    return cosigned


async def test_statements_and_content_are_never_in_clear(gateway, vaulted, tmp_path):
    await gateway.serve(1, MORNING, content=b"the secret prompt")
    await live(gateway)
    Rollups(gateway.desk(), vaulted).step(LATER)
    record = gateway.reader.scan("s0", 0, 1)[0]
    names = vaulted.archive.names(dayfiles.ROOT)
    assert any("/statements/" in name for name in names)
    for name in names:
        content = vaulted.archive.get(name)
        plain = [content]
        if name.endswith(".tar.gz"):
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                plain += [tar.extractfile(member).read() for member in tar]
        elif name.endswith(".gz"):
            plain.append(gzip.decompress(content))
        for told_openly in (b"the secret prompt", record.statement, record.jws, ONE.encode()):
            assert not any(told_openly in one for one in plain), name
        assert ONE not in name


async def test_statements_open_with_the_tenants_key_and_hold_the_whole_record(gateway):
    await gateway.serve(2, MORNING, content=b"prompt")
    gateway.integrate(MORNING + 10_000)
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    prefix = dayfiles.day_prefix(origin_of(ISSUER, EU), FIRST)
    handle = json.loads(answer(1, 1).statement)["aud"]
    name = f"statements/{handle}/09.ndjson.gz.enc"
    sealed = gateway.rollups.read(EU, FIRST, name)
    found = dayfiles.unpack_records(gateway.vault.open_file(ONE, prefix + name, sealed))
    assert [one.record for one in found] == list(gateway.reader.scan("s0", 0, 10))
    content = gateway.vault.open(ONE, found[0].record.prov_id, found[0].record.captured)
    assert content == b"prompt"


async def test_erased_tenants_statements_are_counted_and_left_out(gateway):
    await live(gateway)
    key = gateway.folder / "keys" / "tenants" / f"{TWO}.key"
    key.with_suffix(".erased").parent.mkdir(exist_ok=True)
    key.with_suffix(".erased").touch()
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    assert told(gateway).erased == 1
    assert told(gateway).leaves["answer"] == 4
    handle = json.loads(answer(1, 1, tenant=TWO).statement)["aud"]
    assert not any(handle in name for name in gateway.rollups.names(EU, FIRST))


async def test_much_content_goes_into_further_parts(gateway, monkeypatch):
    monkeypatch.setattr("verismo.control.daystatements.PART_BYTES", 2_000)
    await gateway.serve(9, MORNING)
    gateway.integrate(MORNING + 10_000)
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    parts = [n for n in gateway.rollups.names(EU, FIRST) if "/09" in n and "gateway" not in n]
    assert [name.rsplit("/", 1)[1] for name in parts][:2] == [
        "09-1.ndjson.gz.enc",
        "09-2.ndjson.gz.enc",
    ]
    assert told(gateway).answers == {"allow 2xx": 9}


async def test_what_the_archive_answered_is_in_the_next_rollup_once(gateway, vaulted):
    await live(gateway)
    Rollups(gateway.desk(), vaulted).step(LATER)
    for earlier, later in ((FIRST, SECOND), (SECOND, THIRD)):
        proofs = gateway.rollups.proofs(EU, earlier)
        assert told(gateway, later).uploads == proofs
        assert all(proof.until_ms == compliance_lock(earlier).until_ms for proof in proofs)
        assert proofs[-1].name.endswith("/manifest.json")
    assert told(gateway, FIRST).uploads == ()


async def test_proofs_that_come_late_are_told_by_the_first_rollup_after_them(gateway, vaulted):
    await live(gateway)
    for which in (FIRST, SECOND):
        make_rollup(gateway.desk(), EU, which, LATER)
    late = [archive_day(gateway.desk(), vaulted, EU, which) for which in (FIRST, SECOND)]
    make_rollup(gateway.desk(), EU, THIRD, LATER)
    assert told(gateway, THIRD).uploads == (*late[0], *late[1])


async def test_archived_day_keeps_little_on_this_machine(gateway, vaulted):
    await live(gateway)
    Rollups(gateway.desk(), vaulted).step(LATER)
    assert set(gateway.rollups.names(EU, FIRST)) <= dayfiles.KEPT
    assert vaulted.archive.names(dayfiles.day_prefix(origin_of(ISSUER, EU), FIRST))
    before = gateway.rollups.proofs(EU, FIRST)
    assert archive_day(gateway.desk(), vaulted, EU, FIRST) == before


async def test_interrupted_upload_goes_on_where_it_was(gateway, vaulted, monkeypatch):
    await live(gateway)
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    put, stored = vaulted.archive.put, []

    def interrupted(name, content, lock):
        if len(stored) == 3:
            raise ArchiveUnreachable("the line is cut")
        stored.append(name)
        return put(name, content, lock)

    with monkeypatch.context() as broken:
        broken.setattr(vaulted.archive, "put", interrupted)
        with pytest.raises(ArchiveUnreachable):
            archive_day(gateway.desk(), vaulted, EU, FIRST)
    assert gateway.rollups.proofs(EU, FIRST) is None
    assert not any(name.endswith(dayfiles.MANIFEST) for name in vaulted.archive.names(""))
    assert len(archive_day(gateway.desk(), vaulted, EU, FIRST)) > 3


async def test_other_bytes_in_the_archive_are_named_and_nothing_is_thinned(gateway, vaulted):
    await live(gateway)
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    names = gateway.rollups.names(EU, FIRST)
    taken = dayfiles.day_prefix(origin_of(ISSUER, EU), FIRST) + dayfiles.ROLLUP
    vaulted.archive.put(taken, b"another gateway's", compliance_lock(FIRST))
    with pytest.raises(IntegrityError, match=r"rollup\.dsse\.json"):
        archive_day(gateway.desk(), vaulted, EU, FIRST)
    assert gateway.rollups.names(EU, FIRST) == names


async def test_one_log_that_fails_does_not_hold_up_the_others(gateway):
    await gateway.serve(2, MORNING)
    await gateway.serve(3, MORNING + 10, region="us")
    gateway.integrate(MORNING + 10_000)
    for path in (gateway.folder / "log" / "eu" / "2026" / "tile").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(IntegrityError, match="missing from the published log"):
        Rollups(gateway.desk(), None).step(LATER)
    assert told(gateway, log=US).leaves == {"answer": 3}


def checkpoint(size, text):
    return StoredCheckpoint(EU, size, b"", b"", at(text))


def test_days_without_leaves_are_due_within_the_logs_year_only():
    kept = [checkpoint(5, "2026-12-30 10:00"), checkpoint(9, "2027-01-02 00:10")]
    due = list(due_days(EU, kept, (), 0, at("2027-02-01 00:00")))
    assert [one.isoformat() for one in due] == ["2026-12-30", "2026-12-31", "2027-01-02"]
    assert list(due_days(EU, kept, due, 9, at("2027-02-01 00:00"))) == []
    assert list(due_days(EU, (), (), 0, at("2027-02-01 00:00"))) == []


def test_clock_that_stepped_back_does_not_make_a_day_end_with_a_smaller_tree():
    kept = [checkpoint(5, "2026-11-20 10:00"), checkpoint(9, "2026-11-20 09:00")]
    assert head_of(kept, FIRST).size == 9
    assert list(due_days(EU, kept, (), 0, at("2026-11-22 00:00"))) == [FIRST]


def test_keyring_in_the_archive_is_the_published_document(tmp_path):
    gateway = Gateway(tmp_path / "data", MORNING)
    gateway.integrate(MORNING + 10_000)
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    history = read_keyring(gateway.rollups.read(EU, FIRST, dayfiles.KEYRING))
    newest = check_history(None, history)
    assert (newest.version, newest.sha256) == (
        told(gateway).keyring.version,
        told(gateway).keyring.sha256,
    )
    gateway.close()


@pytest.mark.parametrize(
    "name",
    [
        "attest/v1/gw/log/eu/2026/2026/11/31/checkpoint",
        "attest/v1/gw/log/eu/26/2026/11/20/checkpoint",
        "attest/v2/gw/log/eu/2026/2026/11/20/checkpoint",
        "attest/v1/gw/log/eu/2026/2026/11/20/",
    ],
)
def test_foreign_name_is_no_place_of_the_archive(name):
    assert dayfiles.read_place(name) is None


def test_place_of_an_object_is_read_back():
    name = dayfiles.day_prefix("gw:8080/log/eu/2026", FIRST) + "statements/ab/09.ndjson.gz.enc"
    place = dayfiles.read_place(name)
    assert place == dayfiles.Place(
        "gw:8080/log/eu/2026", LogId("eu", 2026), FIRST, "statements/ab/09.ndjson.gz.enc"
    )


def packed_with(name, content=b"x", kind=tarfile.REGTYPE):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size, member.type = len(content), kind
        tar.addfile(member, io.BytesIO(content))
    return gzip.compress(packed.getvalue())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no gzip",
        gzip.compress(b"no tar" * 200),
        gzip.compress(b"cut off" * 200)[:-5],
        packed_with("../../etc/passwd"),
        packed_with("tile/entries/../000"),
        packed_with("tile/0/000", kind=tarfile.SYMTYPE),
        packed_with("runs.ndjson", b"{}\n"),
    ],
    ids=["empty", "no gzip", "no tar", "cut", "traversal", "entries", "link", "runs"],
)
def test_forged_file_of_tiles_is_refused(data):
    with pytest.raises(IntegrityError):
        dayfiles.unpack_tiles(data, EU)


def test_bomb_is_refused_before_it_fills_the_memory(monkeypatch):
    monkeypatch.setattr(dayfiles, "UNPACKED_BYTES_MAX", 1_000)
    with pytest.raises(IntegrityError, match="larger than any"):
        dayfiles.gunzip(gzip.compress(bytes(2_000)))
