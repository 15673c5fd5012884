"""The archive in a folder: written once, fsynced, with each object's lock recorded beside it.

A folder is no WORM store. This adapter refuses to overwrite and to delete before the date, and its
files are read-only; whoever owns the folder or the disk can still do both. Each upload proof says
so: `enforced_by` is `folder`. Put the folder on storage that keeps locks of its own, or use S3 with
Object Lock, where seven years have to be more than a promise.

`objects/<name>` holds the bytes, `locks/<name>.json` what `put` answered.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from verismo.adapters.archive_names import check_name, refuse_other_bytes, refuse_weaker_mode
from verismo.adapters.folder_sync import sync_folder
from verismo.model import canonical
from verismo.model.errors import IntegrityError
from verismo.model.retention import Lock, UploadProof
from verismo.ports.archive import ArchiveUnusable, RetentionHolds

OBJECTS = "objects"
LOCKS = "locks"
_PARTIAL = ".partial-"


class FolderArchive:
    """Objects in a folder; see `ports.archive.Archive`.

    Args:
        folder: made when the first object is stored.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, content: bytes, lock: Lock) -> UploadProof:
        """Store an object durably, then its lock, then read both back."""
        path = self._object(name)
        proof = UploadProof(
            name=name,
            sha256=canonical.digest(content),
            bytes=len(content),
            version="",
            mode=lock.mode,
            until_ms=lock.until_ms,
            enforced_by="folder",
        )
        try:
            if not path.exists():
                _publish(path, content)
            refuse_other_bytes(name, _digest_of(path), proof.sha256)
            # A crash here leaves an object without a lock: `find` does not know it, and the next
            # `put` of the same bytes comes this way again.
            known = self._recorded(name)
            if known is None or not known.satisfies(lock):
                _replace(self._lock(name), canonical.encode(_longer(known, proof, lock)))
        except OSError as error:
            raise self._unusable(error) from error
        found = self.find(name)
        if found is None or found.sha256 != proof.sha256 or not found.satisfies(lock):
            raise IntegrityError(f"{path} does not read back as it was stored; check the disk")
        return found

    def find(self, name: str) -> UploadProof | None:
        """Read back an object: its digest is computed from its bytes again."""
        try:
            known = self._recorded(name)
            path = self._object(name)
            if known is None or not path.exists():
                return None
            return msgspec.structs.replace(
                known, sha256=_digest_of(path), bytes=path.stat().st_size
            )
        except OSError as error:
            raise self._unusable(error) from error

    def get(self, name: str) -> bytes:
        """Return an object's bytes, checked against the digest that was recorded."""
        try:
            known = self._recorded(name)
            content = self._object(name).read_bytes()
        except FileNotFoundError as error:
            raise IntegrityError(f"{self._folder} holds no {name}") from error
        except OSError as error:
            raise self._unusable(error) from error
        if known is None or canonical.digest(content) != known.sha256:
            raise IntegrityError(f"{self._object(name)} is not what was stored there")
        return content

    def names(self, prefix: str) -> Sequence[str]:
        """Return the names that begin with a prefix, sorted."""
        root = self._folder / OBJECTS
        # Years of other logs lie beside it, and it is asked for one before each upload.
        below = root / prefix.rpartition("/")[0]
        found = (path.relative_to(root).as_posix() for path in below.rglob("*") if path.is_file())
        return sorted(one for one in found if one.startswith(prefix) and _PARTIAL not in one)

    def remove(self, name: str, now_ms: int) -> None:
        """Delete an object whose lock has run out by `now_ms`."""
        try:
            known = self._recorded(name)
            if known is not None and now_ms < known.until_ms:
                raise RetentionHolds(f"{name} is locked until {known.until_ms} (Unix ms)")
            # The object first: a lock without an object means nothing, the reverse would be an
            # object that any caller may delete.
            self._object(name).unlink(missing_ok=True)
            self._lock(name).unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def _object(self, name: str) -> Path:
        return self._folder / OBJECTS / check_name(name)

    def _lock(self, name: str) -> Path:
        return self._folder / LOCKS / f"{check_name(name)}.json"

    def _recorded(self, name: str) -> UploadProof | None:
        path = self._lock(name)
        try:
            return canonical.decode(path.read_bytes(), UploadProof)
        except FileNotFoundError:
            return None
        except canonical.NotCanonical as error:
            raise IntegrityError(f"{path} is damaged: the lock of {name} is not known") from error

    def _unusable(self, error: OSError) -> ArchiveUnusable:
        return ArchiveUnusable(
            f"the archive {self._folder} cannot be used: {error}",
            next_step="Check that the folder is there, has space, and is this user's; then repeat "
            "the command.",
        )


def _longer(known: UploadProof | None, wanted: UploadProof, lock: Lock) -> UploadProof:
    """Return the wanted lock, in the mode that an earlier one has."""
    if known is None:
        return wanted
    refuse_weaker_mode(known, lock)
    return msgspec.structs.replace(wanted, mode=known.mode)


def _publish(path: Path, content: bytes) -> None:
    """Give a name its bytes in one step, once the disk has them; a name that is taken stays."""
    partial = _write_beside(path, content)
    try:
        os.link(partial, path)
    except FileExistsError:
        return  # another writer was first; its bytes are compared next
    finally:
        partial.unlink()
    sync_folder(path.parent)


def _replace(path: Path, content: bytes) -> None:
    partial = _write_beside(path, content)
    partial.rename(path)
    sync_folder(path.parent)


def _write_beside(path: Path, content: bytes) -> Path:
    _make_folders(path.parent)
    partial = path.with_name(f"{_PARTIAL}{os.getpid()}-{os.urandom(8).hex()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    return partial


def _make_folders(folder: Path) -> None:
    """Make a folder and its parents so that a power cut does not lose their names."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
