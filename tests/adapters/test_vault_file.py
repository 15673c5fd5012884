"""The vault on files: what it seals opens again, for its own tenant and answer only."""

import os
import stat
from pathlib import Path

import pytest

from verismo.adapters.vault_file import NONCE_BYTES, FileVault
from verismo.model.errors import Erased, StateError
from verismo.model.ids import ProvId, TenantId, prov_id_from

ONE, OTHER = TenantId("TENANT_001"), TenantId("TENANT_002")


def prov_id(number: int) -> ProvId:
    return prov_id_from(number, bytes(10))


@pytest.fixture
def vault(tmp_path: Path) -> FileVault:
    return FileVault(tmp_path / "tenants")


@pytest.mark.parametrize("content", [b"", b"words", os.urandom(100_000)])
def test_content_opens_as_it_was_sealed(vault: FileVault, content: bytes):
    sealed = vault.seal(ONE, prov_id(1), content)
    assert vault.open(ONE, prov_id(1), sealed) == content
    assert len(content) < 4 or content not in sealed


def test_same_content_is_sealed_differently_each_time(vault: FileVault):
    first, second = (vault.seal(ONE, prov_id(1), b"words") for _ in range(2))
    assert first[:NONCE_BYTES] != second[:NONCE_BYTES]
    assert first[NONCE_BYTES:] != second[NONCE_BYTES:]


def test_content_moved_to_another_answer_or_tenant_does_not_open(vault: FileVault):
    sealed = vault.seal(ONE, prov_id(1), b"words")
    with pytest.raises(StateError, match="not this answer's"):
        vault.open(ONE, prov_id(2), sealed)
    vault.seal(OTHER, prov_id(1), b"so that it has a key")
    with pytest.raises(StateError, match="not this answer's"):
        vault.open(OTHER, prov_id(1), sealed)


@pytest.mark.parametrize("position", [0, NONCE_BYTES, -1])
def test_altered_content_does_not_open(vault: FileVault, position: int):
    sealed = bytearray(vault.seal(ONE, prov_id(1), b"words"))
    sealed[position] ^= 1
    with pytest.raises(StateError, match="altered"):
        vault.open(ONE, prov_id(1), bytes(sealed))


@pytest.mark.parametrize("length", [0, 5, NONCE_BYTES, NONCE_BYTES + 15])
def test_cut_content_does_not_open(vault: FileVault, length: int):
    sealed = vault.seal(ONE, prov_id(1), b"words")
    with pytest.raises(StateError, match="altered"):
        vault.open(ONE, prov_id(1), sealed[:length])


def test_each_tenant_has_a_key_of_its_own_for_its_owner_only(vault: FileVault, tmp_path: Path):
    vault.seal(ONE, prov_id(1), b"")
    vault.seal(OTHER, prov_id(2), b"")
    paths = sorted((tmp_path / "tenants").iterdir())
    assert [path.name for path in paths] == ["TENANT_001.key", "TENANT_002.key"]
    assert paths[0].read_bytes() != paths[1].read_bytes()
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}


def test_another_process_opens_with_the_same_folder(vault: FileVault, tmp_path: Path):
    sealed = vault.seal(ONE, prov_id(1), b"words")
    assert FileVault(tmp_path / "tenants").open(ONE, prov_id(1), sealed) == b"words"


def test_deleting_the_key_erases_and_no_key_is_made_again(vault: FileVault, tmp_path: Path):
    sealed = vault.seal(ONE, prov_id(1), b"words")
    assert not vault.is_erased(ONE)
    (tmp_path / "tenants" / "TENANT_001.key").unlink()
    with pytest.raises(Erased):
        vault.open(ONE, prov_id(1), sealed)
    (tmp_path / "tenants" / "TENANT_001.erased").touch()
    assert vault.is_erased(ONE)
    assert not vault.is_erased(OTHER)
    with pytest.raises(StateError, match="was erased"):
        vault.seal(ONE, prov_id(2), b"more")
    assert not (tmp_path / "tenants" / "TENANT_001.key").exists()


def test_marker_of_erasure_stands_over_a_key_that_came_back(vault: FileVault, tmp_path: Path):
    """A restored backup may hold the key of a tenant that was erased since."""
    sealed = vault.seal(ONE, prov_id(1), b"words")
    (tmp_path / "tenants" / "TENANT_001.erased").touch()
    with pytest.raises(Erased):
        vault.open(ONE, prov_id(1), sealed)


def test_key_that_others_may_read_is_refused(vault: FileVault, tmp_path: Path):
    vault.seal(ONE, prov_id(1), b"")
    (tmp_path / "tenants" / "TENANT_001.key").chmod(0o644)
    with pytest.raises(StateError, match="read by others"):
        vault.seal(ONE, prov_id(1), b"")


def test_archived_file_opens_under_its_own_name_and_tenant_alone(vault: FileVault):
    sealed = vault.seal_file(ONE, "statements/ab/09.ndjson.gz.enc", b"words")
    assert vault.open_file(ONE, "statements/ab/09.ndjson.gz.enc", sealed) == b"words"
    assert b"words" not in sealed
    vault.seal_file(OTHER, "other", b"")
    with pytest.raises(StateError, match="altered"):
        vault.open_file(ONE, "statements/ab/10.ndjson.gz.enc", sealed)
    with pytest.raises(StateError, match="altered"):
        vault.open_file(OTHER, "statements/ab/09.ndjson.gz.enc", sealed)
    with pytest.raises(StateError, match="altered"):
        vault.open(ONE, prov_id(1), sealed)


def test_key_is_made_ahead_once_and_what_is_sealed_later_is_under_it(
    vault: FileVault, tmp_path: Path
):
    assert vault.make_key(ONE)
    key = (tmp_path / "tenants" / "TENANT_001.key").read_bytes()
    assert not vault.make_key(ONE)
    vault.seal(ONE, prov_id(1), b"words")
    assert (tmp_path / "tenants" / "TENANT_001.key").read_bytes() == key


def test_no_key_is_made_ahead_for_who_was_erased(vault: FileVault, tmp_path: Path):
    (tmp_path / "tenants").mkdir()
    (tmp_path / "tenants" / "TENANT_001.erased").touch()
    assert not vault.make_key(ONE)
    assert not (tmp_path / "tenants" / "TENANT_001.key").exists()
