"""Backup and restore: consistent while in use, checked file by file, never a forked sequence."""

import asyncio
import hashlib
import io
import json
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.ports.journal_conformance import NOW_MS, answer, check_sequence, prov_id, void

from verismo.adapters.adapt_file import AdaptFile
from verismo.adapters.backup import CHUNK_BYTES, Manifest, make_backup
from verismo.adapters.decisions_sqlite import SqliteDecisions
from verismo.adapters.journal_reader import SqliteJournalReader
from verismo.adapters.journal_slot import BACKUP_MANIFEST, next_slot_name
from verismo.adapters.journal_sqlite import SqliteJournal
from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.restoration import restore_backup
from verismo.adapters.rollups_folder import FolderRollups
from verismo.adapters.secret_file import make_secret
from verismo.adapters.vault_file import FileVault
from verismo.attest.controlrecord import NUMBERS_PER_S
from verismo.attest.succession import KeyRules
from verismo.cli.backup import backup as backup_command
from verismo.cli.backup import restore as restore_command
from verismo.control.daystatements import GATEWAY
from verismo.model.errors import StateError
from verismo.model.ids import TenantId
from verismo.model.ledger import LogId
from verismo.ports.decisions import DecisionRow
from verismo.wiring.keys import prepare_keys

EPOCH = "0a1b2c3d"


async def write_answers(data: Path, slot: str, first: int, last: int) -> None:
    journal = SqliteJournal(data, slot, void)
    await asyncio.gather(*[journal.append(answer(n)) for n in range(first, last + 1)])
    await journal.close()


def write_state(data: Path) -> None:
    with sqlite3.connect(data / "state.db") as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE api_key (id TEXT)")
        connection.execute("INSERT INTO api_key VALUES ('aaaa')")
    connection.close()


def write_keys(data: Path) -> None:
    (data / "keys" / "tenants").mkdir(parents=True)
    (data / "keys" / "token.pem").write_bytes(b"private")
    (data / "keys" / "tenants" / "TENANT_001.key").write_bytes(b"data key")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "var"
    folder.mkdir()
    asyncio.run(write_answers(folder, "s0", 1, 20))
    asyncio.run(write_answers(folder, "s1", 101, 105))
    write_state(folder)
    write_keys(folder)
    return folder


@pytest.fixture
def data(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template, tmp_path / "var")


@pytest.fixture(params=["copy", "copy.tar.gz"])
def out(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tmp_path / request.param


def back_up(data: Path, out: Path, *, with_keys: bool = True) -> Manifest:
    return make_backup(data, out, with_keys=with_keys, now_ms=NOW_MS)


def restore(source: Path, data: Path, epoch: str = EPOCH) -> Manifest:
    return restore_backup(source, data, epoch, NOW_MS)[0]


async def test_restored_folder_holds_what_was_backed_up(data: Path, out: Path, tmp_path: Path):
    made = back_up(data, out)
    assert made.slots == {"s0": 20, "s1": 105}
    target = tmp_path / "restored"
    assert restore(out, target) == made
    before, after = SqliteJournalReader(data), SqliteJournalReader(target)
    for slot in ("s0", "s1"):
        assert after.scan(slot, 0, 1_000) == before.scan(slot, 0, 1_000)
    assert list(after.slots()) == ["s0", "s1"]
    assert after.find(prov_id(105)) == answer(105)
    with sqlite3.connect(target / "state.db") as connection:
        assert connection.execute("SELECT id FROM api_key").fetchall() == [("aaaa",)]
    connection.close()
    assert (target / "keys" / "token.pem").read_bytes() == b"private"
    assert (target / "keys" / "tenants" / "TENANT_001.key").read_bytes() == b"data key"
    assert not (target / BACKUP_MANIFEST).exists()


def test_nobody_else_may_read_a_backup_or_what_is_restored_from_it(
    data: Path, out: Path, tmp_path: Path
):
    back_up(data, out)
    restore(out, tmp_path / "restored")
    for root in (out, tmp_path / "restored"):
        for path in [root, *root.rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_private_keys_are_copied_only_if_asked_for(data: Path, out: Path, tmp_path: Path):
    made = back_up(data, out, with_keys=False)
    assert not made.has_keys
    assert made.left_out == ("keys",)
    restore(out, tmp_path / "restored")
    assert not (tmp_path / "restored" / "keys").exists()


def test_key_ring_is_always_copied_and_private_keys_only_if_asked_for(
    data: Path, out: Path, tmp_path: Path
):
    make_secret(data / "keys" / "token.key")
    prepare_keys(data, KeyRules(), NOW_MS)
    (data / "keyring" / ".00000002.json.77").write_bytes(b"half of a version")
    (data / "keys" / ".token-x.key.77").write_bytes(b"half of a key")
    made = back_up(data, out, with_keys=False)
    assert made.left_out == ("keys",)
    restore(out, tmp_path / "restored")
    assert KeyRingFiles(tmp_path / "restored").versions() == KeyRingFiles(data).versions()
    assert not (tmp_path / "restored" / "keys").exists()
    whole = out.with_name(f"with-keys-{out.name}")
    back_up(data, whole)
    restore(whole, tmp_path / "whole")
    names = {path.name for path in (data / "keys").glob("[a-z]*.key")}
    assert {path.name for path in (tmp_path / "whole" / "keys").glob("*.key")} == names
    assert prepare_keys(tmp_path / "whole", KeyRules(), NOW_MS + 1) == []


def test_every_data_key_comes_back_also_the_one_of_what_belongs_to_no_tenant(
    data: Path, out: Path, tmp_path: Path
):
    vault = FileVault(data / "keys" / "tenants")
    sealed = {one: vault.seal_file(one, "name", b"records") for one in (GATEWAY, TenantId("A_1"))}
    back_up(data, out)
    restore(out, tmp_path / "restored")
    restored = FileVault(tmp_path / "restored" / "keys" / "tenants")
    for tenant, content in sealed.items():
        assert restored.open_file(tenant, "name", content) == b"records"


def test_file_that_no_restore_takes_is_told_when_the_backup_is_made(data: Path, out: Path):
    (data / "keys" / "token (old).pem").write_bytes(b"somebody's copy")
    with pytest.raises(StateError, match=r"token \(old\)\.pem is no file of a data folder"):
        back_up(data, out)
    assert not out.exists()
    back_up(data, out, with_keys=False)


def test_finished_days_are_copied_so_that_no_day_is_rolled_up_twice(
    data: Path, out: Path, tmp_path: Path
):
    rollups = FolderRollups(data / "rollups")
    log, day = LogId("eu-west.1", 2026), date(2026, 11, 22)
    files = {"rollup.dsse.json": b"{}", "statements/~gateway/07.ndjson.gz.enc": b"sealed"}
    one = rollups.begin(log, day)
    for name, content in files.items():
        one.add(name, content)
    one.finish()
    rollups.proven(log, day, ())
    rollups.begin(log, date(2026, 11, 23)).add("rollup.dsse.json", b"half of a day")
    back_up(data, out)
    restore(out, tmp_path / "restored")
    copy = FolderRollups(tmp_path / "restored" / "rollups")
    assert copy.days(log) == [day]
    assert {name: copy.read(log, day, name) for name in copy.names(log, day)} == files
    assert copy.proofs(log, day) == ()
    assert not list((tmp_path / "restored" / "rollups").rglob(".*"))


def test_manifest_names_what_was_left_out(data: Path, out: Path):
    (data / "tiles").mkdir()
    (data / "keys" / "link.pem").symlink_to("token.pem")
    made = back_up(data, out)
    assert made.left_out == ("tiles",)
    assert sorted(made.files) == [
        "journal/s0.db",
        "journal/s1.db",
        "keys/tenants/TENANT_001.key",
        "keys/token.pem",
        "state.db",
    ]


async def test_backup_during_appends_is_a_whole_beginning_of_the_journal(
    data: Path, out: Path, tmp_path: Path
):
    journal = SqliteJournal(data, "s0", void)
    done, under_way = asyncio.Event(), asyncio.Event()
    seq_n = 20

    async def append() -> None:
        nonlocal seq_n
        while not done.is_set():
            seq_n += 1
            await journal.append(answer(seq_n))
            if journal.last_seq() > 100:
                under_way.set()

    appends = [asyncio.create_task(append()) for _ in range(8)]
    await asyncio.wait_for(under_way.wait(), 10)
    acknowledged = journal.last_seq()
    made = await asyncio.to_thread(back_up, data, out)
    later = journal.last_seq()
    done.set()
    await asyncio.gather(*appends)
    await journal.close()
    assert acknowledged <= made.slots["s0"] <= later + 8
    restore(out, tmp_path / "restored")
    records = SqliteJournalReader(tmp_path / "restored").scan("s0", 0, 10_000)
    check_sequence(records)
    assert len(records) == made.slots["s0"]


async def test_slot_without_tables_is_not_in_the_backup(data: Path, out: Path):
    (data / "journal" / "s2.db").touch()
    assert back_up(data, out).slots.keys() == {"s0", "s1"}


async def test_restored_slot_cannot_be_continued(data: Path, out: Path, tmp_path: Path):
    back_up(data, out)
    target = tmp_path / "restored"
    restore(out, target)
    with pytest.raises(StateError, match=r"ended with a restore: s0-until-20\.db"):
        SqliteJournal(target, "s0", void)
    assert next_slot_name(data, 0) == "s0"
    assert next_slot_name(target, 0) == f"s0r{EPOCH}"
    # A slot that the backup does not hold may have given numbers out after it.
    assert next_slot_name(target, 7) == f"s7r{EPOCH}"


async def test_restored_folder_goes_on_under_fresh_slots(data: Path, out: Path, tmp_path: Path):
    back_up(data, out)
    target = tmp_path / "restored"
    restore(out, target)
    await write_answers(target, next_slot_name(target, 0), 1, 3)
    reader = SqliteJournalReader(target)
    assert list(reader.slots()) == ["s0", f"s0r{EPOCH}", "s1"]
    assert [r.seq_n for r in reader.scan(f"s0r{EPOCH}", 0, 10)] == [1, 2, 3]
    assert [r.seq_n for r in reader.scan("s0", 18, 10)] == [19, 20]


async def test_second_restore_of_one_backup_uses_other_slots(data: Path, out: Path, tmp_path: Path):
    back_up(data, out)
    restore(out, tmp_path / "first", "00000001")
    restore(out, tmp_path / "second", "00000002")
    names = {next_slot_name(tmp_path / name, 0) for name in ("first", "second")}
    assert len(names) == 2


async def test_backup_of_a_restored_folder_keeps_ended_slots_ended(
    data: Path, out: Path, tmp_path: Path
):
    back_up(data, out)
    first, second = tmp_path / "first", tmp_path / "second"
    restore(out, first, "00000001")
    await write_answers(first, "s0r00000001", 1, 3)
    again = tmp_path / "again.tar.gz"
    assert back_up(first, again).slots == {"s0": 20, "s0r00000001": 3, "s1": 105}
    restore(again, second, "00000002")
    assert sorted(path.name for path in (second / "journal").iterdir()) == [
        "RESTORED",
        "s0-until-20.db",
        "s0r00000001-until-3.db",
        "s1-until-105.db",
    ]
    assert next_slot_name(second, 0) == "s0r00000002"
    assert SqliteJournalReader(second).find(prov_id(20)) == answer(20)


def test_damaged_marker_stops_the_naming_of_slots(data: Path):
    (data / "journal" / "RESTORED").write_text("{}")
    with pytest.raises(StateError, match="RESTORED"):
        next_slot_name(data, 0)


def test_backup_is_not_a_data_folder(data: Path, tmp_path: Path):
    back_up(data, tmp_path / "copy")
    with pytest.raises(StateError, match="backup"):
        SqliteJournal(tmp_path / "copy", "s0", void)
    with pytest.raises(StateError, match="backup"):
        back_up(tmp_path / "copy", tmp_path / "other")


def test_backup_refuses_a_place_that_is_taken_or_within_the_data(data: Path, tmp_path: Path):
    (tmp_path / "taken.tar.gz").write_text("precious")
    for place in (tmp_path / "taken.tar.gz", tmp_path, data / "copy", tmp_path / "no" / "copy"):
        with pytest.raises(StateError):
            back_up(data, place)
    with pytest.raises(StateError, match="neither"):
        back_up(tmp_path / "no", tmp_path / "copy")
    assert (tmp_path / "taken.tar.gz").read_text() == "precious"
    assert not list(tmp_path.glob(".*"))


def test_backup_of_a_damaged_journal_fails_and_leaves_nothing(data: Path, out: Path):
    path = data / "journal" / "s0.db"
    content = bytearray(path.read_bytes())
    # The leaf page of the first records, which no look-up of the last number reads.
    leaf = content.index(b'{"n":1}') // 4_096 * 4_096
    assert content[leaf] == 13
    content[leaf + 3 : leaf + 5] = b"\xff\xff"
    path.write_bytes(content)
    with pytest.raises(StateError, match="is damaged"):
        back_up(data, out)
    assert sorted(p.name for p in data.parent.iterdir()) == ["var"]


def test_restore_refuses_a_folder_that_is_not_empty(data: Path, out: Path):
    back_up(data, out)
    before = sorted(data.rglob("*"))
    with pytest.raises(StateError, match="not empty"):
        restore(out, data)
    assert sorted(data.rglob("*")) == before


def flip_a_byte(copy: Path) -> None:
    path = copy / "journal" / "s0.db"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut_a_file(copy: Path) -> None:
    path = copy / "journal" / "s0.db"
    path.write_bytes(path.read_bytes()[:-1])


def lengthen_a_file(copy: Path) -> None:
    with (copy / "state.db").open("ab") as file:
        file.write(b"x")


def remove_a_file(copy: Path) -> None:
    (copy / "keys" / "token.pem").unlink()


def add_a_file(copy: Path) -> None:
    (copy / "keys" / "another.pem").write_text("planted")


def change_manifest(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def damage(copy: Path) -> None:
        manifest = json.loads((copy / BACKUP_MANIFEST).read_bytes())
        change(manifest)
        (copy / BACKUP_MANIFEST).write_text(json.dumps(manifest))

    return damage


DAMAGES = {
    "flipped byte": flip_a_byte,
    "cut file": cut_a_file,
    "longer file": lengthen_a_file,
    "missing file": remove_a_file,
    "planted file": add_a_file,
    "no manifest": lambda copy: (copy / BACKUP_MANIFEST).unlink(),
    "manifest is no JSON": lambda copy: (copy / BACKUP_MANIFEST).write_text("{"),
    "newer manifest": change_manifest(lambda m: m.update(v=2, more="unknown")),
    "unknown member": change_manifest(lambda m: m.update(more=1)),
    "lowered last number": change_manifest(lambda m: m["slots"].update(s0=19)),
    "slot not named": change_manifest(lambda m: m["slots"].pop("s0")),
    "slot without file": change_manifest(lambda m: m["slots"].update(s9=1)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("is_archive", [False, True])
def test_damaged_backup_is_refused_and_nothing_of_it_stays(
    data: Path, tmp_path: Path, damage: Callable[[Path], None], is_archive: bool
):
    source = tmp_path / "copy"
    back_up(data, source)
    damage(source)
    if is_archive:
        source = pack(source, tmp_path / "packed.tar.gz")
    target = tmp_path / "restored"
    with pytest.raises(StateError):
        restore(source, target)
    assert list(target.iterdir()) == []


def pack(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.rglob("*"), key=lambda path: path.name != BACKUP_MANIFEST):
            if path.is_file():
                tar.add(path, path.relative_to(folder).as_posix())
    return archive


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_cut_archive_is_refused(data: Path, tmp_path: Path, share: float):
    archive = tmp_path / "copy.tar.gz"
    back_up(data, archive)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(StateError):
        restore(archive, tmp_path / "restored")
    assert list((tmp_path / "restored").iterdir()) == []


def test_byte_after_the_end_of_a_large_file_is_refused(data: Path, tmp_path: Path):
    (data / "keys" / "large.bin").write_bytes(bytes(CHUNK_BYTES))
    back_up(data, tmp_path / "copy")
    with (tmp_path / "copy" / "keys" / "large.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(StateError, match=r"large\.bin is damaged"):
        restore(tmp_path / "copy", tmp_path / "restored")


def test_file_that_is_no_archive_is_refused(tmp_path: Path):
    (tmp_path / "copy.tar.gz").write_text("not an archive")
    with pytest.raises(StateError):
        restore(tmp_path / "copy.tar.gz", tmp_path / "restored")


@pytest.mark.parametrize(
    "name",
    ["../evil.db", "/tmp/evil.db", "keys/../../evil", "journal/../evil.db", "keys/.hidden", "x"],
)
def test_path_that_leaves_the_folder_is_refused(tmp_path: Path, name: str):
    content = b"evil"
    manifest = {
        "v": 1,
        "made_ms": 0,
        "has_keys": False,
        "slots": {},
        # The digest is right: only the name is wrong.
        "files": {name: {"sha256": hash_of(content), "bytes": len(content)}},
    }
    archive = tmp_path / "copy.tar.gz"
    write_archive(archive, [(BACKUP_MANIFEST, json.dumps(manifest).encode()), (name, content)])
    with pytest.raises(StateError, match="not or only once"):
        restore(archive, tmp_path / "restored")
    assert not list(tmp_path.rglob("evil*"))


def test_link_in_a_backup_is_refused(data: Path, tmp_path: Path):
    back_up(data, tmp_path / "copy")
    key = tmp_path / "copy" / "keys" / "token.pem"
    key.unlink()
    key.symlink_to("/etc/hostname")
    with pytest.raises(StateError, match="plain file"):
        restore(tmp_path / "copy", tmp_path / "restored")
    archive = tmp_path / "copy.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "copy" / BACKUP_MANIFEST, BACKUP_MANIFEST)
        tar.add(key, "keys/token.pem")
    with pytest.raises(StateError, match="plain file"):
        restore(archive, tmp_path / "restored")
    assert list((tmp_path / "restored").iterdir()) == []


def test_file_that_comes_twice_is_refused(data: Path, tmp_path: Path):
    back_up(data, tmp_path / "copy")
    archive = pack(tmp_path / "copy", tmp_path / "copy.tar.gz")
    with tarfile.open(archive) as tar:
        files = [(m.name, tar.extractfile(m).read()) for m in tar]
    write_archive(archive, [*files, files[-1]])
    with pytest.raises(StateError, match="not or only once"):
        restore(archive, tmp_path / "restored")


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_archive(archive: Path, files: list[tuple[str, bytes]]) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


KILLED_RESTORE = """
import resource, signal, sys
from pathlib import Path
from verismo.adapters.restoration import restore_backup
from verismo.adapters.rollups_folder import FolderRollups
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
restore_backup(Path(sys.argv[1]), Path(sys.argv[2]), "00000001", 0)
"""


@pytest.mark.slow
def test_restore_that_was_killed_is_not_served_from(data: Path, out: Path, tmp_path: Path):
    asyncio.run(write_answers(data, "s0", 21, 400))
    back_up(data, out)
    target = tmp_path / "restored"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_RESTORE, str(out), str(target)], check=False, timeout=30
    )
    assert killed.returncode == -signal.SIGXFSZ
    assert (target / "journal" / "s0.db").exists()
    for slot in ("s0", "s5", next_slot_name(target, 0)):
        with pytest.raises(StateError, match="did not end"):
            SqliteJournal(target, slot, void)
    with pytest.raises(StateError, match="not empty"):
        restore(out, target)


def test_commands_say_what_was_done_and_what_is_missing(data: Path, out: Path, tmp_path: Path):
    runner, target = CliRunner(), tmp_path / "restored"
    (data / "tiles").mkdir()
    made = runner.invoke(backup_command, ["--data", str(data), "--out", str(out)])
    assert made.exit_code == 0, made.output
    assert "slot s0: up to number 20" in made.output
    assert "private keys: not in this backup" in made.output
    assert "left out: tiles" in made.output
    brought = runner.invoke(restore_command, ["--from", str(out), "--data", str(target)])
    assert brought.exit_code == 0, brought.output
    assert "3 files verified" in brought.output
    assert "slot s0: ended with number 20" in brought.output
    assert f"fresh slots: {next_slot_name(target, 0)}" in brought.output
    assert "warning: answers given after the backup" in brought.stderr
    assert "private keys: not in this backup" in brought.output


def test_command_says_that_private_keys_are_inside(data: Path, out: Path, tmp_path: Path):
    runner = CliRunner()
    made = runner.invoke(backup_command, ["--data", str(data), "--out", str(out), "--with-keys"])
    assert "private keys: IN this backup" in made.output
    target = tmp_path / "restored"
    brought = runner.invoke(restore_command, ["--from", str(out), "--data", str(target)])
    assert "private keys" not in brought.output


def test_decisions_come_back_and_go_on_under_numbers_that_were_not_lost(
    data: Path, out: Path, tmp_path: Path
):
    file = AdaptFile(data / "adapt.db")
    token, store = file.acquire("a", NOW_MS, 5_000), SqliteDecisions(file)
    store.append(token, DecisionRow(1, "canary", "{}", "HOLD", b"s", b"j", NOW_MS), {})
    manifest = back_up(data, out)
    store.append(token, DecisionRow(2, "canary", "{}", "HOLD", b"lost", b"j", NOW_MS), {})
    file.close()
    assert "adapt.db" in manifest.files
    assert not any(name.startswith("adapt.db") for name in manifest.left_out)
    restore(out, tmp_path / "restored")
    restored = AdaptFile(tmp_path / "restored" / "adapt.db")
    found = SqliteDecisions(restored)
    assert [one.statement for one in found.rows(0, 9)] == [b"s"]
    assert found.last() == NOW_MS // 1_000 * NUMBERS_PER_S
    restored.close()
