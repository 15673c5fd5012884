import hashlib
import json
import shutil
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from tests.support import objectstore
from tests.support.archived import DAY_MS, EU, ISSUER, ONE, RULES, TWO, US, Gateway, at, day

from verismo.adapters.adapt_file import FILE_NAME as ADAPT_FILE
from verismo.adapters.adapt_file import AdaptFile
from verismo.adapters.adapt_leaves import ArchivedAdapt, open_leaves
from verismo.adapters.archive_folder import FolderArchive
from verismo.adapters.archive_s3 import S3Archive, S3Settings
from verismo.adapters.checkpoint_file import FolderCheckpoints
from verismo.adapters.decisions_sqlite import SqliteDecisions, SqliteSteering
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.journal_restored import RestoredJournals
from verismo.adapters.journal_slot import next_slot_name
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.ledger_sqlite import FILE_NAME, SqliteLedger
from verismo.adapters.rollups_folder import FolderRollups
from verismo.adapters.tiles_folder import FolderTiles
from verismo.adapters.vault_file import FileVault
from verismo.attest.checkpoint import open_checkpoint
from verismo.attest.controlrecord import NUMBERS_PER_S
from verismo.attest.leaf import LeafType, leaf_entry
from verismo.attest.merkle import inclusion_proof, leaf_hash, verify_inclusion
from verismo.attest.note import verifier_key
from verismo.control import dayfiles
from verismo.control.dayleaves import hash_reader
from verismo.control.daystatements import GATEWAY
from verismo.control.restoring import RestoreDesk, restore_ledger
from verismo.control.rollups import Rollups, Vaulted
from verismo.model.errors import Erased, IntegrityError, StateError
from verismo.model.ledger import origin_of
from verismo.model.retention import compliance_lock
from verismo.wiring.keys import open_signer

pytestmark = pytest.mark.slow
MORNING = at("2026-11-20 09:00")
LATER = at("2026-11-23 09:00")
FIRST, SECOND, THIRD = day("2026-11-20"), day("2026-11-21"), day("2026-11-22")
PREFIX = dayfiles.day_prefix(origin_of(ISSUER, EU), FIRST)


@pytest.fixture
async def gateway(tmp_path):
    made = Gateway(tmp_path / "data", MORNING)
    await made.serve(300, MORNING, content=b"the prompt")
    await made.serve(2, MORNING + 3_600_000, tenant=TWO, content=b"the other's prompt")
    await made.serve(3, MORNING + 20, region="us")
    made.integrate(MORNING + 10_000_000)
    made.skip(2)
    await made.serve(260, MORNING + DAY_MS)
    made.integrate(MORNING + DAY_MS + 10_000)
    yield made
    made.close()


@pytest.fixture
def archive(tmp_path):
    return FolderArchive(tmp_path / "archive")


def store(gateway, archive):
    Rollups(gateway.desk(), Vaulted(archive, compliance_lock)).step(LATER)


class Restored:
    """An empty folder that an archive is restored into, with some of the tenants' keys."""

    def __init__(self, folder: Path, keys: Path | None = None, tenants=(ONE, TWO, GATEWAY)):
        folder.mkdir()
        self.folder = folder
        self.tiles = FolderTiles(folder / "log")
        self.ledger = SqliteLedger(folder / FILE_NAME)
        self.rollups = FolderRollups(folder / "rollups")
        self.vault = FileVault(keys or folder / "no-keys")
        self.tenants = tenants

    def restore(self, archive):
        desk = RestoreDesk(
            archive=archive,
            store=self.ledger,
            lease=self.ledger,
            tiles=self.tiles,
            memory=FolderCheckpoints(self.folder / "keys" / "checkpoints"),
            rollups=self.rollups,
            ring=KeyRingFiles(self.folder),
            records=RestoredJournals(self.folder, "0123abcd"),
            control=ArchivedAdapt(self.folder),
            vault=self.vault,
            tenants=tuple(self.tenants),
        )
        return restore_ledger(desk, LATER)

    def records(self):
        with closing(SqliteJournalReader(self.folder)) as reader:
            return [one for slot in reader.slots() for one in reader.scan(slot, 0, 10_000)]

    def prove(self, log, record, signer):
        """Prove a record's inclusion from the restored files and the log's public key alone."""
        note = self.tiles.read(log, "checkpoint")
        key = verifier_key(origin_of(ISSUER, log), signer.public_key)
        checkpoint, _ = open_checkpoint(note, key)
        place = self.ledger.locate("s0", record.seq_n)
        assert place.log == log
        read = hash_reader(self.tiles, log, checkpoint.size)
        proof = inclusion_proof(place.index, checkpoint.size, read)
        entry = leaf_entry(LeafType.ANSWER, record.statement, record.jws)
        leaf = leaf_hash(entry)
        verify_inclusion(leaf, place.index, checkpoint.size, proof, checkpoint.root)


@pytest.fixture
def restored(tmp_path, gateway):
    made = Restored(tmp_path / "restored", gateway.folder / "keys" / "tenants")
    yield made
    made.ledger.close()


@pytest.fixture
def without_keys(tmp_path):
    made = Restored(tmp_path / "bare")
    yield made
    made.ledger.close()


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


async def test_everything_comes_back_from_the_archive_alone(gateway, archive, restored):
    store(gateway, archive)
    found = restored.restore(archive)
    assert files(restored.folder / "log") == files(gateway.folder / "log")
    assert list(restored.ledger.logs()) == list(gateway.store.logs())
    assert restored.ledger.cursors() == gateway.store.cursors()
    for origin in (origin_of(ISSUER, log) for log in (EU, US)):
        places = [one.folder / "keys" / "checkpoints" for one in (restored, gateway)]
        [back, before] = [FolderCheckpoints(place).remembered(origin) for place in places]
        assert back == before is not None
    assert restored.records() == list(gateway.reader.scan("s0", 0, 10_000))
    assert KeyRingFiles(restored.folder).versions() == tuple(
        msgspec.structs.replace(one, written_ms=LATER) for one in gateway.ring.versions()
    )
    assert found.incomplete == ()
    assert [one.origin for one in found.logs] == [origin_of(ISSUER, log) for log in (EU, US)]
    rings = len(gateway.ring.versions())
    assert [one.records for one in found.logs] == [563 + rings, 3]
    assert [one.sealed_files for one in found.logs] == [0, 0]


async def test_captured_content_opens_after_a_restore(gateway, archive, restored):
    store(gateway, archive)
    restored.restore(archive)
    record = restored.records()[0]
    assert restored.vault.open(ONE, record.prov_id, record.captured) == b"the prompt"


async def test_restored_ledger_says_where_every_leaf_came_from(gateway, archive, restored):
    store(gateway, archive)
    restored.restore(archive)
    signer = open_signer(gateway.folder, "log", RULES, LATER)
    for record in gateway.reader.scan("s0", 0, 10_000)[::50]:
        place = gateway.store.locate("s0", record.seq_n)
        assert restored.ledger.locate("s0", record.seq_n) == place
        restored.prove(place.log, record, signer)


async def test_rollups_come_back_and_the_next_one_follows_them(gateway, archive, restored):
    store(gateway, archive)
    restored.restore(archive)
    for which in gateway.rollups.days(EU):
        for name in gateway.rollups.names(EU, which):
            assert restored.rollups.read(EU, which, name) == gateway.rollups.read(EU, which, name)
        assert sorted(restored.rollups.proofs(EU, which), key=lambda one: one.name) == sorted(
            gateway.rollups.proofs(EU, which), key=lambda one: one.name
        )


async def test_new_answers_never_go_to_a_restored_slot(gateway, archive, restored):
    store(gateway, archive)
    restored.restore(archive)
    assert next_slot_name(restored.folder, 0) == "s0r0123abcd"
    last = gateway.store.cursors()["s0"]
    assert (restored.folder / "journal" / f"s0-until-{last}.db").exists()


async def test_without_any_key_the_tree_is_whole_and_no_record_opens(
    gateway, archive, without_keys
):
    store(gateway, archive)
    found = without_keys.restore(archive)
    assert files(without_keys.folder / "log") == files(gateway.folder / "log")
    assert [one.records for one in found.logs] == [0, 0]
    assert all(one.sealed_files for one in found.logs)
    assert without_keys.records() == []
    signer = open_signer(gateway.folder, "log", RULES, LATER)
    record = gateway.reader.scan("s0", 0, 1)[0]
    without_keys.prove(EU, record, signer)


def erase(gateway, tenant):
    key = gateway.folder / "keys" / "tenants" / f"{tenant}.key"
    key.unlink()
    key.with_suffix(".erased").touch()


async def erased_tenant_is_gone_and_proven(gateway, archive, restored):
    """Erase a tenant whose records are archived already; what is locked stays and tells nothing."""
    mine = [one for one in gateway.reader.scan("s0", 0, 10_000) if one.tenant == TWO]
    assert len(mine) == 2
    store(gateway, archive)
    before = {name: archive.find(name) for name in archive.names("")}
    erase(gateway, TWO)
    # The archive still holds every byte under its lock ...
    assert {name: archive.find(name) for name in archive.names("")} == before
    handle = json.loads(mine[0].statement)["aud"]
    [name] = [one for one in before if f"statements/{handle}/" in one]
    with pytest.raises(Erased):
        gateway.vault.open_file(TWO, name, archive.get(name))
    # ... and what it gives back has no word of the tenant's, while the tree is whole.
    found = restored.restore(archive)
    assert sum(one.sealed_files for one in found.logs) == 1
    assert TWO not in {one.tenant for one in restored.records()}
    assert {ONE} <= {one.tenant for one in restored.records()}
    signer = open_signer(gateway.folder, "log", RULES, LATER)
    for record in mine:
        restored.prove(EU, record, signer)


async def test_erasing_a_tenants_key_erases_its_archive_while_every_proof_still_verifies(
    gateway, archive, restored
):
    await erased_tenant_is_gone_and_proven(gateway, archive, restored)


@objectstore.needed
async def test_erasing_a_tenants_key_erases_it_inside_a_locked_bucket(
    gateway, restored, tmp_path, monkeypatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", objectstore.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", objectstore.SECRET_KEY)
    place = tmp_path / "objectstore"
    place.mkdir()
    with objectstore.object_store(place) as endpoint:
        client = objectstore.s3_client(endpoint)
        client.create_bucket(Bucket="seven-years", ObjectLockEnabledForBucket=True)
        archive = S3Archive(S3Settings("seven-years", objectstore.REGION, endpoint, "one"))
        await erased_tenant_is_gone_and_proven(gateway, archive, restored)
        for version in client.list_object_versions(Bucket="seven-years")["Versions"]:
            given = {"Key": version["Key"], "VersionId": version["VersionId"]}
            with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
                client.delete_object(Bucket="seven-years", **given)
        told = client.head_object(Bucket="seven-years", Key=f"one/{PREFIX}rollup.dsse.json")
        until = told["ObjectLockRetainUntilDate"].timestamp()
        assert told["ObjectLockMode"] == "COMPLIANCE"
        assert until * 1_000 == compliance_lock(FIRST).until_ms == at("2033-11-29 00:00")


async def test_day_whose_upload_did_not_end_is_named_and_left_out(
    gateway, archive, restored, tmp_path
):
    store(gateway, archive)
    drop(tmp_path, dayfiles.day_prefix(origin_of(ISSUER, EU), THIRD) + "manifest.json")
    found = restored.restore(archive)
    assert found.incomplete == (dayfiles.day_prefix(origin_of(ISSUER, EU), THIRD),)
    assert [one.days for one in found.logs] == [2, 3]


async def test_day_left_out_in_between_is_seen(gateway, archive, restored, tmp_path):
    store(gateway, archive)
    for name in archive.names(dayfiles.day_prefix(origin_of(ISSUER, EU), SECOND)):
        drop(tmp_path, name)
    with pytest.raises(IntegrityError, match="does not name"):
        restored.restore(archive)


async def test_first_day_left_out_is_seen(gateway, archive, restored, tmp_path):
    store(gateway, archive)
    for name in archive.names(PREFIX):
        drop(tmp_path, name)
    with pytest.raises(IntegrityError, match="before it are missing"):
        restored.restore(archive)


async def test_empty_archive_is_refused(archive, without_keys):
    with pytest.raises(StateError, match="no archive of a ledger") as refused:
        without_keys.restore(archive)
    assert "[archive]" in refused.value.advice


async def test_archive_without_any_key_ring_is_refused(gateway, archive, without_keys, tmp_path):
    store(gateway, archive)
    for name in archive.names(dayfiles.ROOT):
        if name.endswith(dayfiles.KEYRING):
            drop(tmp_path, name)
    with pytest.raises(IntegrityError, match="no day with a key ring"):
        without_keys.restore(archive)


@pytest.mark.parametrize("name", ["checkpoint", "keyring.json", "tiles", "statements/"])
async def test_file_that_the_rollup_does_not_name_is_refused(
    gateway, archive, restored, tmp_path, name
):
    """Who can write the store can give a file other bytes, and its recorded digest with them."""
    store(gateway, archive)
    [*_, full] = [one for one in archive.names(PREFIX) if one.startswith(PREFIX + name)]
    forge(tmp_path, full, archive.get(full) + b" ")
    with pytest.raises(IntegrityError, match="not the file that the rollup names"):
        restored.restore(archive)


async def test_rollup_of_a_key_that_is_not_in_the_ring_is_refused(
    gateway, archive, restored, tmp_path
):
    store(gateway, archive)
    envelope = json.loads(archive.get(PREFIX + dayfiles.ROLLUP))
    envelope["signatures"][0]["sig"] = "A" * 86 + "=="
    forge(tmp_path, PREFIX + dayfiles.ROLLUP, json.dumps(envelope).encode())
    with pytest.raises(IntegrityError, match="no valid signature"):
        restored.restore(archive)


async def test_whole_archive_of_another_gateway_has_another_ring(
    gateway, archive, restored, tmp_path
):
    """A forger's own archive is consistent in itself; the digest of its ring tells it apart."""
    other = Gateway(tmp_path / "forger", MORNING)
    await other.serve(2, MORNING)
    other.integrate(MORNING + 10_000)
    store(other, archive)
    found = restored.restore(archive)
    other.close()
    own = hashlib.sha256(gateway.ring.versions()[-1].statement).hexdigest()
    assert found.ring.sha256 != own


async def test_rollup_moved_to_another_day_is_refused(gateway, archive, restored, tmp_path):
    store(gateway, archive)
    moved = tmp_path / "archive" / "objects" / PREFIX
    for root in ("objects", "locks"):
        source = tmp_path / "archive" / root / PREFIX
        shutil.copytree(source, source.parent / "19")
    assert moved.exists()
    with pytest.raises(IntegrityError, match="is of "):
        restored.restore(archive)


async def test_restore_into_a_ledger_that_is_not_empty_is_refused(gateway, archive, restored):
    store(gateway, archive)
    restored.restore(archive)
    with pytest.raises(StateError):
        restored.restore(archive)


def drop(folder: Path, name: str) -> None:
    (folder / "archive" / "objects" / name).unlink()
    (folder / "archive" / "locks" / f"{name}.json").unlink()


def forge(folder: Path, name: str, content: bytes) -> None:
    path = folder / "archive" / "objects" / name
    path.chmod(0o600)
    path.write_bytes(content)
    lock = folder / "archive" / "locks" / f"{name}.json"
    told = json.loads(lock.read_bytes())
    told |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    lock.chmod(0o600)
    lock.write_bytes(json.dumps(told, sort_keys=True, separators=(",", ":")).encode())


async def test_decisions_and_steering_come_back_as_leaves_and_nothing_goes_on_from_them(
    tmp_path, archive
):
    gateway = Gateway(tmp_path / "deciding", MORNING)
    await gateway.serve(3, MORNING)
    gateway.decide(4, MORNING + 10)
    gateway.integrate(MORNING + 10_000)
    await gateway.serve(1, MORNING + DAY_MS)
    gateway.integrate(MORNING + DAY_MS + 10_000)
    store(gateway, archive)
    restored = Restored(tmp_path / "restored", gateway.folder / "keys" / "tenants")
    restored.restore(archive)
    assert restored.ledger.cursors() == gateway.store.cursors()
    with closing(open_leaves(restored.folder)) as leaves:
        for source, count in (("@decisions", 4), ("@steering", 1)):
            found = leaves.rows(source, 0, 100)
            assert len(found) == count
            assert found == gateway.adapt.rows(source, 0, 100)
    with closing(AdaptFile(restored.folder / ADAPT_FILE)) as file:
        assert SqliteDecisions(file).tip() is None
        assert SqliteDecisions(file).last() == LATER // 1_000 * NUMBERS_PER_S
        assert SqliteSteering(file).newest() is None
    slots = {path.name for path in (restored.folder / "journal").iterdir()}
    assert not any("@" in name for name in slots)
    restored.ledger.close()
    gateway.close()
