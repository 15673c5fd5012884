"""A key ring that is gone or an old copy is noticed, whoever signs by it next."""

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.keyring import DAY_MS, RULES, START_MS

from verismo.adapters.backup import make_backup
from verismo.adapters.keyring_memory import RingMemory
from verismo.adapters.ledger_sqlite import FILE_NAME, SqliteLedger
from verismo.adapters.restoration import restore_backup
from verismo.adapters.signer_file import FileSigner
from verismo.attest.succession import KeyRules
from verismo.control.leafsources import KEY_RING
from verismo.model.errors import StateError
from verismo.wiring.keys import (
    TokenKeys,
    clock_ms,
    open_newest_rotation,
    open_rotation,
    open_signer,
    prepare_keys,
)


def with_versions(data: Path, count: int) -> None:
    """Begin a ring and make emergency versions after the first."""
    prepare_keys(data, RULES, START_MS)
    for _ in range(count - 1):
        open_rotation(data, RULES).rotate("token", START_MS, "again")


def took(data: Path, version: int) -> None:
    """Have the ledger take versions of the ring."""
    with closing(SqliteLedger(data / FILE_NAME)) as ledger:
        token = ledger.acquire("test", START_MS, 3_000)
        ledger.assign(token, [], {KEY_RING: version})
        ledger.release(token)


def keep_first(data: Path) -> None:
    """Put the old copy back: version 1 alone."""
    for file in (data / "keyring").iterdir():
        if file.name != "00000001.json":
            file.unlink()


def forget(data: Path) -> None:
    """Leave no second copy, as before there was one."""
    shutil.rmtree(data / "keys" / "checkpoints")


def keys_of(data: Path) -> list[Path]:
    return sorted((data / "keys").rglob("*"))


@pytest.mark.parametrize("is_gone", [False, True])
@pytest.mark.parametrize("witness", ["memory", "ledger"])
def test_lost_or_old_ring_is_refused_and_nothing_is_made(
    tmp_path: Path, witness: str, *, is_gone: bool
):
    """Attack: a ring of before the revocation, by which the revoked key signs again."""
    with_versions(tmp_path, 4)
    if witness == "ledger":
        took(tmp_path, 4)
        forget(tmp_path)
    if is_gone:
        shutil.rmtree(tmp_path / "keyring")
    else:
        keep_first(tmp_path)
    before = keys_of(tmp_path)
    for begin in (
        lambda: prepare_keys(tmp_path, RULES, START_MS),
        lambda: TokenKeys(tmp_path, RULES, FileSigner, lambda: START_MS),
        lambda: open_signer(tmp_path, "log", RULES, START_MS),
    ):
        with pytest.raises(StateError, match="version 4 was in use before") as refused:
            begin()
        assert "verismo keys ring --adopt" in refused.value.advice
    assert keys_of(tmp_path) == before
    assert (tmp_path / "keyring").exists() is not is_gone


@pytest.mark.parametrize(("place", "name"), [(RingMemory, "read"), (SqliteLedger, "cursors")])
@pytest.mark.parametrize("begin", [TokenKeys, open_newest_rotation])
def test_version_that_is_made_during_the_look_is_not_missed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: type,
    name: str,
    begin: Callable[[Path, KeyRules], object],
):
    """A rotation in the same moment: whatever tells of it, the ring has it."""
    prepare_keys(tmp_path, RULES, clock_ms())
    took(tmp_path, 1)
    look, begun = getattr(place, name), []

    def look_after_rotation(self: object) -> object:
        if not begun:
            begun.append(True)
            open_rotation(tmp_path, RULES).rotate("token", clock_ms(), "again")
            took(tmp_path, 2)
        return look(self)

    monkeypatch.setattr(place, name, look_after_rotation)
    begin(tmp_path, RULES)
    assert begun
    assert len(open_rotation(tmp_path, RULES).history()) == 2


def test_second_copy_brings_the_ring_back(tmp_path: Path):
    with_versions(tmp_path, 4)
    before = open_rotation(tmp_path, RULES).history()
    for bring_down in (keep_first, lambda data: shutil.rmtree(data / "keyring")):
        bring_down(tmp_path)
        open_rotation(tmp_path, RULES).adopt(RingMemory(tmp_path).read(), START_MS)
        assert open_rotation(tmp_path, RULES).history() == before
        assert prepare_keys(tmp_path, RULES, START_MS) == []


def test_adopting_less_than_was_in_use_is_still_refused(tmp_path: Path):
    with_versions(tmp_path, 4)
    took(tmp_path, 4)
    forget(tmp_path)
    history = open_rotation(tmp_path, RULES).history()
    keep_first(tmp_path)
    open_rotation(tmp_path, RULES).adopt(history[:3], START_MS)
    with pytest.raises(StateError, match="ends with version 3"):
        prepare_keys(tmp_path, RULES, START_MS)


def test_later_token_key_alone_tells_that_there_was_a_ring(tmp_path: Path):
    with_versions(tmp_path, 2)
    forget(tmp_path)
    shutil.rmtree(tmp_path / "keyring")
    with pytest.raises(StateError, match=r"is gone, but .* has keys of it"):
        prepare_keys(tmp_path, RULES, START_MS)


def test_first_start_that_crashed_before_its_ring_is_begun_again(tmp_path: Path):
    prepare_keys(tmp_path, RULES, START_MS)
    forget(tmp_path)
    shutil.rmtree(tmp_path / "keyring")
    prepare_keys(tmp_path, RULES, START_MS)
    assert len(open_rotation(tmp_path, RULES).history()) == 1


def test_ring_that_was_begun_anew_is_another_one(tmp_path: Path):
    with_versions(tmp_path, 1)
    with_versions(tmp_path / "other", 3)
    shutil.rmtree(tmp_path / "keyring")
    shutil.copytree(tmp_path / "other" / "keyring", tmp_path / "keyring")
    with pytest.raises(StateError, match=r"version 1 .* is not the one"):
        prepare_keys(tmp_path, RULES, START_MS)


def test_folder_of_before_the_second_copy_gets_one_at_its_next_start(tmp_path: Path):
    with_versions(tmp_path, 2)
    took(tmp_path, 2)
    forget(tmp_path)
    assert prepare_keys(tmp_path, RULES, START_MS) == []
    assert RingMemory(tmp_path).read() == open_rotation(tmp_path, RULES).history()


def test_ledger_that_cannot_be_read_keeps_no_gateway_from_its_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with_versions(tmp_path, 2)
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 100)
    with caplog.at_level("WARNING", "verismo.keys"):
        assert prepare_keys(tmp_path, RULES, START_MS) == []
    assert "the ledger cannot say how new the key ring is" in caplog.messages


@pytest.mark.parametrize("with_keys", [True, False])
def test_restored_backup_starts_though_the_ring_went_on_since(tmp_path: Path, *, with_keys: bool):
    """It is equal to its own ledger. What is newer the keys tell, where they are put back."""
    data, copy, restored = tmp_path / "data", tmp_path / "copy", tmp_path / "restored"
    with_versions(data, 2)
    took(data, 2)
    (data / "journal").mkdir()
    make_backup(data, copy, with_keys=with_keys, now_ms=START_MS)
    open_rotation(data, RULES).rotate("token", START_MS + DAY_MS, "again")
    restore_backup(copy, restored, "00000000", START_MS)
    if with_keys:
        assert prepare_keys(restored, RULES, START_MS) == []
        return
    shutil.copytree(data / "keys", restored / "keys")
    with pytest.raises(StateError, match="version 3 was in use before"):
        prepare_keys(restored, RULES, START_MS)
    open_rotation(restored, RULES).adopt(RingMemory(restored).read(), START_MS)
    assert prepare_keys(restored, RULES, START_MS + DAY_MS) == []
