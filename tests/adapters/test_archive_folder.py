import os
import stat
from pathlib import Path

import pytest
from tests.ports.archive_conformance import NAME, ArchiveConformance, lock

from verismo.adapters.archive_folder import FolderArchive
from verismo.model import canonical
from verismo.model.errors import IntegrityError
from verismo.ports.archive import ArchiveUnusable

NOW_MS = 1_800_000_000_000


@pytest.fixture
def now_ms() -> int:
    return NOW_MS


@pytest.fixture
def archive(tmp_path: Path) -> FolderArchive:
    return FolderArchive(tmp_path / "archive")


@pytest.fixture
def archive_elsewhere(tmp_path: Path) -> FolderArchive:
    return FolderArchive(tmp_path / "archive")


class TestFolderArchive(ArchiveConformance):
    pass


def object_file(folder: Path) -> Path:
    return folder / "archive" / "objects" / NAME


def test_proof_says_that_only_a_folder_keeps_the_lock(archive):
    proof = archive.put(NAME, b"content", lock(NOW_MS))
    assert proof.enforced_by == "folder"
    assert proof.version == ""


def test_object_is_deleted_once_its_lock_has_run_out(archive):
    proof = archive.put(NAME, b"content", lock(NOW_MS))
    archive.remove(NAME, proof.until_ms)
    assert archive.find(NAME) is None
    assert archive.names("") == []


def test_objects_are_read_only_and_nobody_elses(archive, tmp_path):
    archive.put(NAME, b"content", lock(NOW_MS))
    assert stat.S_IMODE(object_file(tmp_path).stat().st_mode) == 0o400
    assert stat.S_IMODE((tmp_path / "archive" / "objects").stat().st_mode) == 0o700


def test_object_whose_lock_was_not_yet_written_is_finished_by_the_same_put(archive, tmp_path):
    proof = archive.put(NAME, b"content", lock(NOW_MS))
    (tmp_path / "archive" / "locks" / f"{NAME}.json").unlink()
    assert archive.find(NAME) is None
    with pytest.raises(IntegrityError, match=NAME):
        archive.put(NAME, b"other", lock(NOW_MS))
    assert archive.put(NAME, b"content", lock(NOW_MS)) == proof


def test_put_that_failed_before_its_name_was_given_leaves_nothing(archive, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(ArchiveUnusable, match="No space left"):
            archive.put(NAME, b"content", lock(NOW_MS))
    assert not object_file(tmp_path).exists()
    assert archive.put(NAME, b"content", lock(NOW_MS)).bytes == 7


def test_put_that_failed_after_its_name_was_given_is_repeated(archive, tmp_path, monkeypatch):
    link, calls = os.link, []

    def stored_but_failed(source, target):
        link(source, target)
        calls.append(target)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "link", stored_but_failed)
        with pytest.raises(ArchiveUnusable, match="Input/output"):
            archive.put(NAME, b"content", lock(NOW_MS))
    assert calls == [object_file(tmp_path)]
    assert archive.put(NAME, b"content", lock(NOW_MS)).sha256 == canonical.digest(b"content")


def test_leftovers_of_a_crash_are_no_objects(archive, tmp_path):
    archive.put(NAME, b"content", lock(NOW_MS))
    object_file(tmp_path).with_name(".partial-1-ab").write_bytes(b"half")
    assert archive.names("attest/") == [NAME]


def test_object_altered_on_disk_is_seen(archive, tmp_path):
    archive.put(NAME, b"content", lock(NOW_MS))
    object_file(tmp_path).chmod(0o600)
    object_file(tmp_path).write_bytes(b"contenT")
    with pytest.raises(IntegrityError, match="not what was stored"):
        archive.get(NAME)
    with pytest.raises(IntegrityError, match="other bytes"):
        archive.put(NAME, b"content", lock(NOW_MS))


def test_damaged_lock_is_no_permission_to_delete(archive, tmp_path):
    archive.put(NAME, b"content", lock(NOW_MS))
    path = tmp_path / "archive" / "locks" / f"{NAME}.json"
    path.chmod(0o600)
    path.write_bytes(b"{}")
    with pytest.raises(IntegrityError, match="damaged"):
        archive.remove(NAME, NOW_MS)
    assert object_file(tmp_path).exists()


def test_folder_that_is_a_file_is_refused_with_a_next_step(tmp_path):
    (tmp_path / "archive").write_bytes(b"")
    archive = FolderArchive(tmp_path / "archive")
    for call in (
        lambda: archive.put(NAME, b"", lock(NOW_MS)),
        lambda: archive.find(NAME),
        lambda: archive.get(NAME),
        lambda: archive.remove(NAME, NOW_MS),
    ):
        with pytest.raises(ArchiveUnusable) as refused:
            call()
        assert "repeat the command" in refused.value.advice
