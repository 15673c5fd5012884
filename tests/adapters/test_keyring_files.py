"""The ring in files: written once, durable, checked, and without a private key in it."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.keyring import DAY_MS, RULES, START_MS

from verismo.adapters.keyring_files import KeyRingFiles
from verismo.attest.keys import import_key, thumbprint
from verismo.control.rotation import Rotation
from verismo.model.errors import StateError
from verismo.ports.keyring import RingVersion


def started(data: Path) -> Rotation:
    files = KeyRingFiles(data)
    rotation = Rotation(files, RULES)
    rotation.begin(import_key(files.make_first_token_key(), "token"), START_MS, START_MS)
    return rotation


def version(number: int, jws: bytes = b"h..s") -> RingVersion:
    return RingVersion(number, b"statement", jws, START_MS)


def test_versions_come_back_as_they_were_written(tmp_path: Path):
    files = KeyRingFiles(tmp_path)
    assert files.versions() == ()
    files.append(version(1))
    files.append(version(2))
    assert files.versions() == KeyRingFiles(tmp_path).versions() == (version(1), version(2))


def test_folder_that_cannot_be_looked_at_is_an_error_and_no_empty_ring(tmp_path: Path):
    unreachable = tmp_path / ("x" * 300)  # no file system has such a name, whoever asks
    with pytest.raises(StateError, match="cannot be read") as refused:
        KeyRingFiles(unreachable).versions()
    assert "user that runs Verismo" in refused.value.advice


def test_version_is_written_once(tmp_path: Path):
    files, other = KeyRingFiles(tmp_path), KeyRingFiles(tmp_path)
    files.append(version(1))
    with pytest.raises(StateError, match="another process was first"):
        other.append(version(1, b"h..t"))
    assert KeyRingFiles(tmp_path).versions() == (version(1),)


@pytest.mark.parametrize("number", [0, 2, 3])
def test_version_out_of_order_is_refused(tmp_path: Path, number: int):
    with pytest.raises(StateError):
        KeyRingFiles(tmp_path).append(version(number))
    assert not (tmp_path / "keyring").exists()


@pytest.mark.slow
def test_processes_that_append_the_same_version_agree_on_one(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path;"
        "from verismo.adapters.keyring_files import KeyRingFiles;"
        "from verismo.ports.keyring import RingVersion;"
        "from verismo.model.errors import StateError\n"
        "sys.stdin.read(1)\n"
        "version = RingVersion(1, b's', sys.argv[2].encode(), 1)\n"
        "try: KeyRingFiles(Path(sys.argv[1])).append(version)\n"
        "except StateError: print('refused')\n"
        "else: print('written')"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "abc"
    ]
    said = [racer.communicate("x", timeout=30)[0].strip() for racer in racers]
    assert sorted(said) == ["refused", "refused", "written"]
    (kept,) = KeyRingFiles(tmp_path).versions()
    assert kept.jws == b"abc"[said.index("written") : said.index("written") + 1]
    assert [path.name for path in (tmp_path / "keyring").iterdir()] == ["00000001.json"]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"version":2}'])
def test_damaged_version_is_a_state_error(tmp_path: Path, content: bytes):
    KeyRingFiles(tmp_path).append(version(1))
    (tmp_path / "keyring" / "00000001.json").write_bytes(content)
    with pytest.raises(StateError, match="cannot be read") as caught:
        KeyRingFiles(tmp_path).versions()
    assert "backup" in caught.value.advice


def test_version_under_another_number_is_refused(tmp_path: Path):
    KeyRingFiles(tmp_path).append(version(1))
    folder = tmp_path / "keyring"
    (folder / "00000002.json").write_bytes((folder / "00000001.json").read_bytes())
    with pytest.raises(StateError, match="holds version 1"):
        KeyRingFiles(tmp_path).versions()


def test_folder_that_cannot_be_made_is_a_state_error(tmp_path: Path):
    (tmp_path / "keyring").write_text("a file stands here")
    with pytest.raises(StateError, match="cannot make"):
        KeyRingFiles(tmp_path).append(version(1))


def test_made_key_is_its_owners_alone_and_signs(tmp_path: Path):
    files = KeyRingFiles(tmp_path)
    public = files.make_key("evidence")
    kid = thumbprint(public)
    path = files.key_file(kid, "evidence")
    assert path.name == f"evidence-{kid}.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert files.signer(kid, "evidence").public_key == public


def test_first_token_key_keeps_its_old_name(tmp_path: Path):
    files = KeyRingFiles(tmp_path)
    public = files.make_first_token_key()
    assert files.make_first_token_key() == public, "it is made once"
    assert files.key_file(thumbprint(public), "token").name == "token.key"
    assert files.signer(thumbprint(public), "token").public_key == public


def test_file_with_another_key_is_refused(tmp_path: Path):
    files = KeyRingFiles(tmp_path)
    kids = [thumbprint(files.make_key("log")) for _ in range(2)]
    one, two = (files.key_file(kid, "log") for kid in kids)
    one.write_bytes(two.read_bytes())
    with pytest.raises(StateError, match="does not hold the key"):
        files.signer(kids[0], "log")


def test_key_of_another_role_is_not_found(tmp_path: Path):
    files = KeyRingFiles(tmp_path)
    kid = thumbprint(files.make_key("log"))
    with pytest.raises(StateError):
        files.signer(kid, "token")


def test_destroyed_key_is_gone_and_no_other(tmp_path: Path):
    files = KeyRingFiles(tmp_path)
    first = thumbprint(files.make_first_token_key())
    second, third = (thumbprint(files.make_key("token")) for _ in range(2))
    assert files.destroy(second)
    assert not files.destroy(second)
    assert not files.destroy("../handles")
    assert files.destroy(first)
    assert [path.name for path in (tmp_path / "keys").iterdir()] == [f"token-{third}.key"]


def test_ring_over_files_is_verified_by_a_fresh_reader(tmp_path: Path):
    rotation = started(tmp_path)
    rotation.rotate("token", START_MS)
    rotation.revoke(rotation.history()[-1].ring.keys[0].kid, START_MS + DAY_MS, "it leaked")
    again = Rotation(KeyRingFiles(tmp_path), RULES)
    assert again.history() == rotation.history()
    stored = KeyRingFiles(tmp_path).versions()
    assert [one.statement for one in stored] == [one.statement for one in again.history()]
    assert [one.version for one in stored] == [1, 2, 3]
