"""What is missing from an archive is named, be it a file, a manifest, days or a whole log."""

import shutil

import pytest
from tests.support.archived import DAY_MS, EU, ISSUER, TWO, US, Gateway, at, day

from verismo.adapters.archive_folder import FolderArchive
from verismo.attest.note import Note, NoteSignature, read_note
from verismo.attest.rollup import read_rollup
from verismo.control import dayfiles
from verismo.control.dayrollup import make_rollup
from verismo.control.rollups import Rollups, Vaulted, archive_log
from verismo.model.errors import IntegrityError
from verismo.model.ledger import origin_of
from verismo.model.retention import compliance_lock
from verismo.wiring.rollups import restore_from

pytestmark = pytest.mark.slow

FIRST, SECOND = day("2026-11-20"), day("2026-11-21")
MORNING = at("2026-11-20 09:00")
LATER = at("2026-11-22 09:00")
EU_ORIGIN, US_ORIGIN = origin_of(ISSUER, EU), origin_of(ISSUER, US)


@pytest.fixture
async def gateway(tmp_path):
    made = Gateway(tmp_path / "data", MORNING)
    made.siem = ((), b'{"hours":[]}')
    await made.serve(3, MORNING)
    await made.serve(2, MORNING + 10, tenant=TWO)
    await made.serve(3, MORNING + 20, region="us")
    made.integrate(MORNING + 10_000)
    # A gap, whose record is no tenant's, on the second day too.
    made.skip(1)
    await made.serve(2, MORNING + DAY_MS)
    await made.serve(2, MORNING + DAY_MS, region="us")
    made.integrate(MORNING + DAY_MS + 10_000)
    yield made
    made.close()


@pytest.fixture
def archive(gateway, tmp_path):
    made = FolderArchive(tmp_path / "archive")
    Rollups(gateway.desk(), Vaulted(made, compliance_lock)).step(LATER)
    return made


@pytest.fixture
def restore(gateway, tmp_path):
    def restored(archive):
        return restore_from(archive, tmp_path / "restored", gateway.folder / "keys" / "tenants")

    return restored


def prefix(origin, which):
    return dayfiles.day_prefix(origin, which)


def drop(tmp_path, begin) -> int:
    """Delete every object whose name begins so, with what was recorded of it."""
    names = FolderArchive(tmp_path / "archive").names(begin)
    for name in names:
        (tmp_path / "archive" / "objects" / name).unlink()
        (tmp_path / "archive" / "locks" / f"{name}.json").unlink()
    return len(names)


async def test_whole_archive_lacks_nothing(archive, restore):
    found = restore(archive)
    assert (found.incomplete, found.missing) == ((), ())


@pytest.mark.parametrize("which", [FIRST, SECOND], ids=["first", "last"])
@pytest.mark.parametrize(
    "name",
    [
        "siem-manifest.json",
        "keyring.json",
        "logs.json",
        "checkpoint",
        "statements/gateway/",
        "statements/",
        "tiles-",
    ],
)
async def test_file_that_the_rollup_names_and_is_gone_is_named(
    archive, restore, tmp_path, name, which
):
    [*_, gone] = archive.names(prefix(EU_ORIGIN, which) + name)
    assert drop(tmp_path, gone) == 1
    with pytest.raises(IntegrityError) as refused:
        restore(archive)
    assert f"lacks {gone.removeprefix(prefix(EU_ORIGIN, which))}" in str(refused.value)
    assert prefix(EU_ORIGIN, which) in str(refused.value)
    assert not (tmp_path / "restored").exists()


async def test_cosigned_checkpoint_that_is_gone_is_named(gateway, restore, tmp_path):
    note = read_note(gateway.tiles.read(EU, dayfiles.CHECKPOINT))
    witness = NoteSignature("witness.example", b"\1\2\3\4", bytes(72))
    gateway.tiles.publish(EU, Note(note.text, (*note.signatures, witness)).encode())
    archive = FolderArchive(tmp_path / "archive")
    Rollups(gateway.desk(), Vaulted(archive, compliance_lock)).step(LATER)
    assert drop(tmp_path, prefix(EU_ORIGIN, FIRST) + dayfiles.WITNESSED) == 1
    with pytest.raises(IntegrityError, match=r"lacks checkpoint\.witnessed"):
        restore(archive)


async def test_many_files_that_are_gone_are_counted(archive, restore, tmp_path):
    named = {one.name for one in subjects(archive, EU_ORIGIN, FIRST)}
    kept = {dayfiles.ROLLUP, dayfiles.MANIFEST, dayfiles.KEYRING}
    for name in named - kept:
        drop(tmp_path, prefix(EU_ORIGIN, FIRST) + name)
    with pytest.raises(IntegrityError, match=rf"and {len(named - kept) - 3} more"):
        restore(archive)


def subjects(archive, origin, which):
    return read_rollup(archive.get(prefix(origin, which) + dayfiles.ROLLUP)).subject


async def test_manifest_of_the_last_day_is_told_as_left_out(archive, restore, tmp_path):
    drop(tmp_path, prefix(EU_ORIGIN, SECOND) + dayfiles.MANIFEST)
    found = restore(archive)
    assert found.incomplete == (prefix(EU_ORIGIN, SECOND),)
    # The other log's rollup of that day knows more of this one.
    [missing] = found.missing
    assert missing.startswith(EU_ORIGIN)
    assert "ends with" in missing


@pytest.mark.parametrize("name", ["manifest.json", "logs.json", "keyring.json", "rollup.dsse.json"])
async def test_what_the_gateway_keeps_of_a_day_is_put_back(
    gateway, archive, restore, tmp_path, name
):
    drop(tmp_path, prefix(EU_ORIGIN, SECOND) + name)
    (gateway.folder / "rollups" / "eu" / "2026" / SECOND.isoformat() / "uploads.json").unlink()
    archive_log(gateway.desk(), Vaulted(archive, compliance_lock), EU, LATER)
    found = restore(archive)
    assert (found.incomplete, found.missing) == ((), ())


async def test_manifest_of_an_earlier_day_is_named(archive, restore, tmp_path):
    drop(tmp_path, prefix(EU_ORIGIN, FIRST) + dayfiles.MANIFEST)
    with pytest.raises(IntegrityError, match=r"2026/11/20/manifest\.json is gone"):
        restore(archive)


async def test_log_whose_every_manifest_is_gone_is_missing(archive, restore, tmp_path):
    for which in (FIRST, SECOND):
        drop(tmp_path, prefix(US_ORIGIN, which) + dayfiles.MANIFEST)
    found = restore(archive)
    assert len(found.incomplete) == 2
    assert found.missing == (
        f"{US_ORIGIN} is missing: {prefix(EU_ORIGIN, SECOND)} tells 5 leaves of it",
    )


async def test_log_that_is_gone_as_a_whole_is_missing(archive, restore, tmp_path):
    assert drop(tmp_path, f"{dayfiles.ROOT}{US_ORIGIN}/") > 5
    found = restore(archive)
    assert [one.origin for one in found.logs] == [EU_ORIGIN]
    [missing] = found.missing
    assert missing.startswith(f"{US_ORIGIN} is missing")


async def test_last_days_of_one_log_that_are_gone_are_missing(archive, restore, tmp_path):
    drop(tmp_path, prefix(US_ORIGIN, SECOND))
    found = restore(archive)
    assert found.incomplete == ()
    assert found.missing == (
        f"{US_ORIGIN} ends with 3 leaves: {prefix(EU_ORIGIN, SECOND)} tells 5 leaves of it",
    )


async def test_log_that_may_have_been_deleted_by_now_is_not_missed(
    archive, restore, tmp_path, monkeypatch
):
    drop(tmp_path, f"{dayfiles.ROOT}{US_ORIGIN}/")
    # Its last day is locked until 8 January 2034.
    monkeypatch.setattr("verismo.wiring.rollups.clock_ms", lambda: at("2034-01-09 00:00"))
    assert restore(archive).missing == ()


async def test_log_that_another_tells_otherwise_is_refused(tmp_path):
    """One key, two histories: each log of the archive is whole, and they are not of one ledger."""
    Gateway(tmp_path / "one", MORNING).close()
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for name, status in (("one", 200), ("two", 403)):
        gateway = Gateway(tmp_path / name, MORNING)
        await gateway.serve(2, MORNING)
        await gateway.serve(3, MORNING + 20, region="us", status=status)
        gateway.integrate(MORNING + 10_000)
        made = FolderArchive(tmp_path / f"archive-{name}")
        Rollups(gateway.desk(), Vaulted(made, compliance_lock)).step(LATER)
        gateway.close()
    archive = FolderArchive(tmp_path / "archive")
    for name, region in (("one", "eu"), ("two", "us")):
        source = FolderArchive(tmp_path / f"archive-{name}")
        for one in source.names(f"{dayfiles.ROOT}gateway.example/log/{region}/"):
            archive.put(one, source.get(one), compliance_lock(FIRST))
    with pytest.raises(IntegrityError, match="tells another root"):
        restore_from(archive, tmp_path / "restored", None)


async def test_only_log_names_no_other(tmp_path):
    gateway = Gateway(tmp_path / "alone", MORNING)
    await gateway.serve(3, MORNING)
    gateway.integrate(MORNING + 10_000)
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    assert dayfiles.OTHERS not in gateway.rollups.names(EU, FIRST)
    gateway.close()


async def test_other_logs_are_told_as_they_were_at_the_days_end(gateway):
    make_rollup(gateway.desk(), EU, FIRST, LATER)
    [other] = dayfiles.read_others(gateway.rollups.read(EU, FIRST, dayfiles.OTHERS))
    make_rollup(gateway.desk(), US, FIRST, LATER)
    told = read_rollup(gateway.rollups.read(US, FIRST, dayfiles.ROLLUP)).predicate
    assert (other.origin, other.size, other.root) == (US_ORIGIN, told.size, told.root)
