"""The file signer and the making of secret files."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from verismo.adapters import secret_file
from verismo.adapters.secret_file import make_secret, read_secret
from verismo.adapters.signer_file import FileSigner
from verismo.model.errors import StateError

SEED = bytes(range(32))


def key_file(folder: Path, content: bytes = SEED, mode: int = 0o600) -> Path:
    path = folder / "token.key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_signature_is_the_one_that_another_library_makes(tmp_path: Path):
    signer = FileSigner(key_file(tmp_path), "token")
    other = Ed25519PrivateKey.from_private_bytes(SEED)
    for message in (b"", b"message", os.urandom(2_000)):
        assert signer.sign(message) == other.sign(message)
    assert signer.public_key == other.public_key().public_bytes_raw()


def test_rfc_8032_test_1(tmp_path: Path):
    """Source: RFC 8032, section 7.1, TEST 1."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    signer = FileSigner(key_file(tmp_path, seed), "token")
    assert signer.public_key.hex() == (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    )
    assert signer.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974")


def test_kid_is_the_thumbprint_of_the_public_key(tmp_path: Path):
    signer = FileSigner(key_file(tmp_path), "token")
    assert signer.kid == signer.public.kid
    assert signer.public.role == "token"


def test_repr_shows_the_kid_and_no_key(tmp_path: Path):
    signer = FileSigner(key_file(tmp_path), "token")
    assert repr(signer) == f"FileSigner(kid={signer.kid})"
    assert SEED.hex() not in repr(vars(signer))


@pytest.mark.parametrize("content", [b"", SEED[:-1], SEED + b"\n", SEED.hex().encode()])
def test_seed_of_another_length_is_refused(tmp_path: Path, content: bytes):
    with pytest.raises(StateError, match="32") as caught:
        FileSigner(key_file(tmp_path, content), "token")
    assert "backup" in caught.value.advice


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777, 0o620])
def test_key_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int):
    with pytest.raises(StateError, match=f"{mode:04o}") as caught:
        FileSigner(key_file(tmp_path, mode=mode), "token")
    assert "chmod 600" in caught.value.advice


def test_missing_key_is_a_state_error(tmp_path: Path):
    with pytest.raises(StateError, match="No such file"):
        FileSigner(tmp_path / "token.key", "token")


def test_made_secret_is_random_and_for_its_owner_only(tmp_path: Path):
    path = tmp_path / "keys" / "token.key"
    assert make_secret(path)
    first = read_secret(path)
    assert len(first) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not make_secret(path), "it is made once"
    assert read_secret(path) == first
    assert list(path.parent.iterdir()) == [path], "no half file is left"
    make_secret(tmp_path / "keys" / "other.key")
    assert read_secret(tmp_path / "keys" / "other.key") != first


def test_a_crash_while_a_secret_is_made_keeps_no_later_process_of_its_number_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Killed(BaseException):
        pass

    def crash(*_: object, **__: object) -> None:
        raise Killed

    path = tmp_path / "keyring" / "00000002.json"
    with monkeypatch.context() as patched:
        patched.setattr(secret_file.os, "fsync", crash)
        with pytest.raises(Killed):
            make_secret(path)
    assert list(path.parent.iterdir()), "the crash left something behind"
    assert make_secret(path)
    assert len(read_secret(path)) == 32


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_whom_the_folder_belongs(tmp_path: Path):
    folder = tmp_path / "keyring"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65_534, 65_533)
    assert make_secret(folder / "00000002.json")
    made = (folder / "00000002.json").stat()
    assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (65_534, 65_533, 0o600)


def test_folder_that_cannot_be_made_is_a_state_error(tmp_path: Path):
    (tmp_path / "keys").write_text("a file stands here")
    with pytest.raises(StateError, match="cannot make"):
        make_secret(tmp_path / "keys" / "token.key")


@pytest.mark.slow
def test_processes_that_make_the_same_secret_agree_on_one(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path;"
        "from verismo.adapters.secret_file import make_secret;"
        "sys.stdin.read(1); print(make_secret(Path(sys.argv[1])))"
    )
    path = tmp_path / "keys" / "token.key"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    said = [racer.communicate("x", timeout=30)[0].strip() for racer in racers]
    assert sorted(said) == ["False", "False", "True"]
    assert len(read_secret(path)) == 32


def test_public_key_verifies_with_another_library(tmp_path: Path):
    make_secret(tmp_path / "keys" / "token.key")
    signer = FileSigner(tmp_path / "keys" / "token.key", "token")
    Ed25519PublicKey.from_public_bytes(signer.public_key).verify(signer.sign(b"m"), b"m")
