"""Tiles and checkpoints in folders: their conformance, and what a disk can do."""

import errno
import os
import stat

import pytest
from tests.ports.ledger_conformance import (
    CheckpointMemoryConformance,
    TileStoreConformance,
    note,
)
from tests.support.ledger import EU

from verismo.adapters import checkpoint_file, tiles_folder
from verismo.adapters.checkpoint_file import FolderCheckpoints
from verismo.adapters.tiles_folder import FolderTiles
from verismo.model.errors import StateError
from verismo.ports.ledger import LedgerForked, TileFile

TILE = TileFile("tile/0/000", b"t" * 8_192)


class TestFolderTiles(TileStoreConformance):
    @pytest.fixture
    def tiles(self, tmp_path):
        return FolderTiles(tmp_path / "log")


class TestFolderCheckpoints(CheckpointMemoryConformance):
    @pytest.fixture
    def memory(self, tmp_path):
        return FolderCheckpoints(tmp_path / "keys" / "checkpoints")


@pytest.fixture
def tiles(tmp_path):
    return FolderTiles(tmp_path)


def test_a_static_file_server_can_read_what_is_published(tiles, tmp_path):
    tiles.write(EU, [TILE])
    tiles.publish(EU, note(1))
    for path in (EU.path + "/tile/0/000", EU.path + "/checkpoint"):
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) & 0o444 == 0o444 & ~umask()


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_nothing_unfinished_is_left_beside_the_tiles(tiles, tmp_path):
    tiles.write(EU, [TILE])
    tiles.publish(EU, note(1))
    assert list((tmp_path / EU.path / ".partial").iterdir()) == []
    names = {path.name for path in (tmp_path / EU.path).iterdir()}
    assert names == {".lock", ".partial", "checkpoint", "tile"}


class Killed(BaseException):
    """Ends a write where a crash would: nothing after it runs."""


@pytest.mark.parametrize("call", ["fdatasync", "link", "unlink"])
def test_a_crash_within_a_write_changes_no_tile_of_a_later_process_of_its_number(
    tmp_path, monkeypatch, call
):
    def crash(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(tiles_folder.os, call, crash)
        patched.setattr(tiles_folder.os, "unlink", crash)  # nothing tidies up after a crash
        with pytest.raises(Killed):
            FolderTiles(tmp_path).write(EU, [TILE])
    after = FolderTiles(tmp_path)
    assert after.read(EU, TILE.path) == (TILE.content if call == "unlink" else None)
    assert list((tmp_path / EU.path / ".partial").iterdir()), "the crash left something behind"
    after.write(EU, [TileFile("tile/0/001", b"n" * 8_192), TILE])
    assert after.read(EU, TILE.path) == TILE.content
    assert after.read(EU, "tile/0/001") == b"n" * 8_192


@pytest.mark.parametrize("call", ["open", "fdatasync", "link", "fsync"])
def test_a_disk_that_fails_leaves_no_half_of_a_tile(tiles, monkeypatch, call):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    tiles.write(EU, [TileFile("tile/0/001", b"first")])
    with monkeypatch.context() as patched:
        patched.setattr(tiles_folder.os, call, fail)
        with pytest.raises(StateError, match="No space left") as refusal:
            tiles.write(EU, [TILE])
    assert "no record is lost" in refusal.value.advice
    assert tiles.read(EU, TILE.path) in (None, TILE.content)
    tiles.write(EU, [TILE])
    assert tiles.read(EU, TILE.path) == TILE.content


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_disk_that_fails_leaves_a_whole_checkpoint(tiles, monkeypatch, call):
    tiles.publish(EU, note(1))

    def fail(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_file.os, call, fail)
        with pytest.raises(StateError):
            tiles.publish(EU, note(2))
    assert tiles.read(EU, "checkpoint") in (note(1), note(2))
    tiles.publish(EU, note(3))
    assert tiles.read(EU, "checkpoint") == note(3)


def test_a_torn_checkpoint_is_not_silently_replaced(tiles, tmp_path):
    tiles.publish(EU, note(5))
    (tmp_path / EU.path / "checkpoint").write_bytes(note(5)[:20])
    with pytest.raises(LedgerForked, match="is no checkpoint"):
        tiles.publish(EU, note(6))


def test_what_cannot_be_read_is_said(tiles, tmp_path, monkeypatch):
    tiles.write(EU, [TILE])

    def fail(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", fail)
    with pytest.raises(StateError, match="Permission denied"):
        tiles.read(EU, TILE.path)
