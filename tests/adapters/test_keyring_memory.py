"""The second place of the key ring: it never goes back, and root leaves it to its owner."""

import os
import threading
from pathlib import Path

import pytest
from tests.support.keyring import RULES, START_MS

from verismo.adapters.keyring_files import KeyRingFiles
from verismo.adapters.keyring_memory import RememberedRing, RingMemory
from verismo.attest.keyring import SignedRing
from verismo.attest.keys import import_key
from verismo.control.rotation import Rotation
from verismo.model.errors import StateError


def started(files: KeyRingFiles) -> Rotation:
    rotation = Rotation(files, RULES)
    rotation.begin(import_key(files.make_first_token_key(), "token"), START_MS, START_MS)
    return rotation


def history_of(folder: Path, versions: int) -> tuple[SignedRing, ...]:
    rotation = started(KeyRingFiles(folder))
    for _ in range(versions - 1):
        rotation.rotate("plan", START_MS, "again")
    return rotation.history()


def test_every_version_is_remembered(tmp_path: Path):
    rotation = started(RememberedRing(tmp_path))
    memory = RingMemory(tmp_path)
    assert memory.read() == rotation.history()
    rotation.rotate("token", START_MS)
    assert memory.read() == rotation.history()
    assert len(memory.read()) == 2


def test_nothing_is_remembered_before_there_is_a_ring(tmp_path: Path):
    assert RingMemory(tmp_path).read() == ()
    assert list(tmp_path.iterdir()) == [], "a look leaves nothing behind"


def test_older_ring_does_not_take_the_place_of_the_newest(tmp_path: Path):
    history = history_of(tmp_path / "a", 3)
    memory = RingMemory(tmp_path)
    memory.keep(history)
    memory.keep(history[:1])
    assert memory.read() == history


def test_ring_of_somebody_else_is_refused(tmp_path: Path):
    memory = RingMemory(tmp_path)
    memory.keep(history_of(tmp_path / "a", 1))
    before = memory.path.read_bytes()
    with pytest.raises(StateError, match=r"version 1 .* not the one") as refused:
        memory.keep(history_of(tmp_path / "b", 2))
    assert f"--adopt {memory.path}" in refused.value.advice
    assert memory.path.read_bytes() == before


def test_version_beside_the_remembered_one_is_not_stored(tmp_path: Path):
    """Attack: the second version of an old copy of the ring, another than the world has seen."""
    rotation = started(RememberedRing(tmp_path))
    rotation.rotate("token", START_MS)
    (tmp_path / "keyring" / "00000002.json").unlink()
    with pytest.raises(StateError, match=r"version 2 .* not the one"):
        Rotation(RememberedRing(tmp_path), RULES).rotate("evidence", START_MS)
    assert len(KeyRingFiles(tmp_path).versions()) == 1


def test_second_of_two_processes_is_told_that_it_was_second(tmp_path: Path):
    first = started(RememberedRing(tmp_path))
    late = RememberedRing(tmp_path)
    assert len(late.versions()) == 1
    first.rotate("token", START_MS)
    beside = KeyRingFiles(tmp_path).versions()[0]
    with pytest.raises(StateError, match="another process was first"):
        late.append(beside)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_damaged_memory_is_an_error_with_a_way_out(tmp_path: Path, content: bytes):
    rotation = started(RememberedRing(tmp_path))
    memory = RingMemory(tmp_path)
    memory.path.write_bytes(content)
    with pytest.raises(StateError, match="cannot be read") as refused:
        memory.read()
    assert "out of the way" in refused.value.advice
    memory.path.unlink()
    RememberedRing(tmp_path).remember()
    assert memory.read() == rotation.history()


def test_memory_that_cannot_be_written_keeps_no_version_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "checkpoints").write_text("a file stands here")
    with caplog.at_level("WARNING", "verismo.keys"):
        rotation = started(KeyRingFiles(tmp_path))
        RememberedRing(tmp_path).remember()
    assert "the key ring is not remembered" in caplog.messages
    assert len(rotation.history()) == 1


def test_two_at_once_leave_the_newest(tmp_path: Path):
    history = history_of(tmp_path / "a", 6)
    memory = RingMemory(tmp_path)
    threads = [
        threading.Thread(target=memory.keep, args=(history[:count],)) for count in (6, 1, 5, 2, 4)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert memory.read() == history


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_folder_that_root_makes_belongs_to_whom_the_keys_belong(tmp_path: Path):
    history = history_of(tmp_path / "a", 1)
    (tmp_path / "keys").mkdir(mode=0o700)
    os.chown(tmp_path / "keys", 65_534, 65_533)
    RingMemory(tmp_path).keep(history)
    made = (tmp_path / "keys" / "checkpoints").stat()
    assert (made.st_uid, made.st_gid) == (65_534, 65_533), "the gateway replaces what is in it"
