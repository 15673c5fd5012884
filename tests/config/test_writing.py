"""Atomic replacement of a file, and what a failure leaves behind."""

import os
import stat

import pytest

from verismo.config.writing import write_whole
from verismo.model.errors import OperatorError


def test_a_file_is_replaced_whole_with_its_mode(tmp_path):
    path = tmp_path / "new" / "x"
    write_whole(path, b"one")
    write_whole(path, b"two", 0o600)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["x"]


def test_readers_of_the_old_file_are_not_disturbed(tmp_path):
    path = tmp_path / "x"
    write_whole(path, b"old")
    with path.open("rb") as reader:
        write_whole(path, b"new")
        assert reader.read() == b"old"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_whole(path, b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OperatorError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_folder_in_the_way_is_an_operators_error(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(OperatorError, match="cannot be written"):
        write_whole(tmp_path / "x", b"data")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_file_in_the_place_of_the_parent_is_an_operators_error(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(OperatorError, match="cannot be written"):
        write_whole(tmp_path / "x" / "y", b"data")
