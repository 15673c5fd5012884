"""Brings a backup back into an empty data folder, and ends every slot that it holds.

A backup may be older than the last answer that was given. If its slots went on, their next numbers
would name two different answers: a fork. So a restore renames each slot's file to
`<slot>-until-<last number>.db`, which only readers open, and new answers go to slots with fresh
names (`journal_slot.next_slot_name`).

The ledger may have been published further than the backup knows, and to sign on from there would
fork it. So a restore leaves the marker `LEDGER-RESTORED`, and no integrator works beside it until
`verismo ledger adopt` has gone on from what is published.

Decisions and steering go on from the backup's last ones, under numbers that none of the lost ones
can have had.

Crash points: the manifest is the first file that is written into the data folder and the last that
is removed, and no journal is opened beside it. A restore that did not end is therefore never
served from; empty the folder and restore again.
"""

import hashlib
import os
import shutil
import sqlite3
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import msgspec

from verismo.adapters import journal_schema as schema
from verismo.adapters.adapt_file import FILE_NAME as ADAPT_FILE
from verismo.adapters.adapt_file import pass_numbers
from verismo.adapters.backup import (
    CHUNK_BYTES,
    KEYS_FOLDER,
    LEDGER_FILE,
    MANIFEST_VERSION,
    PATH,
    STATE_FILE,
    BackupFile,
    Manifest,
    write_durably,
)
from verismo.adapters.folder_sync import sync_folder
from verismo.adapters.journal_slot import (
    BACKUP_MANIFEST,
    JOURNAL_FOLDER,
    RESTORED_MARKER,
    Restored,
    ended_name,
    has_ended,
    slot_files,
)
from verismo.adapters.keyring_files import RING_FOLDER
from verismo.adapters.rollups_folder import FOLDER as ROLLUPS_FOLDER
from verismo.model.errors import StateError

MANIFEST_BYTES_MAX = 16_777_216
"""About 100,000 files; a manifest over this is no manifest."""
LEDGER_MARKER = "LEDGER-RESTORED"
"""In a data folder it says: the ledger's state may be older than what is published."""
_PARTS = ("", "-wal", "-shm")
"""What SQLite may leave beside a database."""
_IGNORED = frozenset({"lost+found"})
"""What a fresh volume holds before anybody has written to it."""


def restore_backup(source: Path, data: Path, epoch: str, now_ms: int) -> tuple[Manifest, Restored]:
    """Restore a backup into an empty or absent folder; every file is checked against its hash.

    Args:
        source: what `make_backup` wrote, an archive or a folder.
        data: the data folder to be.
        epoch: 8 random hex digits: what the names of new slots end with.
        now_ms: Unix ms, for the marker.

    Returns:
        The backup's manifest, and the marker: which slots ended with which number.

    Raises:
        StateError: the folder is not empty, or the backup is damaged, incomplete or of a newer
            version. The folder is left as empty as it was.
    """
    if data.exists() and (not data.is_dir() or set(os.listdir(data)) - _IGNORED):
        raise StateError(
            f"{data} is not empty", next_step="Restore into a folder that is empty or not there."
        )
    is_restored = False
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _members(source) as members:
            manifest = _read_manifest(source, members)
            _extract_all(manifest, members, data)
        restored = Restored(epoch=epoch, restored_ms=now_ms, last_seq=manifest.slots)
        write_durably(data / LEDGER_MARKER, b"")
        _end_slots(data, restored)
        if (data / ADAPT_FILE).exists():
            pass_numbers(data / ADAPT_FILE, now_ms)
        is_restored = True
    except (OSError, EOFError, zlib.error, sqlite3.Error, tarfile.TarError) as error:
        raise StateError(
            f"{source} cannot be restored: {error}", next_step="Try an older backup, or its copy."
        ) from error
    finally:
        if not is_restored:
            _clear(data)
    (data / BACKUP_MANIFEST).unlink()
    sync_folder(data)
    return manifest, restored


Members = Iterator[tuple[str, IO[bytes]]]


@contextmanager
def _members(source: Path) -> Iterator[Members]:
    """Yield the files of a backup with their paths, the manifest first."""
    if source.is_dir():
        yield _folder_members(source)
        return
    with tarfile.open(source, "r:gz") as tar:
        yield _archive_members(tar)


def _folder_members(folder: Path) -> Members:
    paths = [path for path in sorted(folder.rglob("*")) if not path.is_dir() or path.is_symlink()]
    paths.sort(key=lambda path: path != folder / BACKUP_MANIFEST)
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not path.is_file():
            raise StateError(f"the backup's {name} is not a plain file")
        with path.open("rb") as file:
            yield name, file


def _archive_members(tar: tarfile.TarFile) -> Members:
    for member in tar:
        file = tar.extractfile(member) if member.isreg() else None
        if file is None:
            raise StateError(f"the backup's {member.name!r} is not a plain file")
        with file:
            yield member.name, file


def _read_manifest(source: Path, members: Members) -> Manifest:
    name, file = next(members, ("", None))
    if file is None or name != BACKUP_MANIFEST:
        raise StateError(
            f"{source} is not a backup: it does not begin with {BACKUP_MANIFEST}",
            next_step="Name what `verismo backup --out` wrote.",
        )
    content = file.read(MANIFEST_BYTES_MAX)
    try:
        version = msgspec.json.decode(content, type=_Version).v
        if version != MANIFEST_VERSION:
            raise StateError(
                f"{source} has backup version {version}; this program knows {MANIFEST_VERSION}",
                next_step="Restore with the version of Verismo that made the backup, or a newer.",
            )
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise StateError(f"the manifest of {source} is damaged: {error}") from error


class _Version(msgspec.Struct, frozen=True):
    v: int


def _extract_all(manifest: Manifest, members: Members, data: Path) -> None:
    write_durably(data / BACKUP_MANIFEST, msgspec.json.encode(manifest))
    sync_folder(data)
    # A crash from here to the manifest's removal leaves a folder that no journal opens in.
    missing = dict(manifest.files)
    for name, file in members:
        expected = missing.pop(name, None)
        if expected is None or not PATH.fullmatch(name):
            raise StateError(
                f"the backup holds {name!r}, which is not or only once in its manifest"
            )
        _extract(file, data, name, expected)
    if missing:
        raise StateError(f"the backup lacks {', '.join(sorted(missing))}")


def _extract(file: IO[bytes], data: Path, name: str, expected: BackupFile) -> None:
    target = data / name
    for folder in reversed(target.relative_to(data).parents):
        (data / folder).mkdir(mode=0o700, exist_ok=True)
    digest, left = hashlib.sha256(), expected.bytes
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as copy:
        while chunk := file.read(min(CHUNK_BYTES, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            digest.update(chunk)
            copy.write(chunk)
        copy.flush()
        os.fsync(descriptor)
    sync_folder(target.parent)
    if left != 0 or digest.hexdigest() != expected.sha256:
        raise StateError(
            f"the backup's {name} is damaged: its bytes are not those of the manifest",
            next_step="Use another copy of this backup, or an older one.",
        )


def _end_slots(data: Path, restored: Restored) -> None:
    """Rename each slot's file so that nobody writes to it again, and leave the marker."""
    (data / JOURNAL_FOLDER).mkdir(mode=0o700, exist_ok=True)
    files = slot_files(data)
    if (
        len(files) != len(os.listdir(data / JOURNAL_FOLDER))
        or files.keys() != restored.last_seq.keys()
    ):
        raise StateError("the backup's journals are not those that its manifest names")
    for slot, path in files.items():
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as connection:
            last_seq = (
                schema.last_seq(connection) if schema.SCHEMA.is_there(connection, path) else -1
            )
        if last_seq != restored.last_seq[slot]:
            raise StateError(f"the backup's slot {slot} ends with {last_seq}, not as its manifest")
        path.chmod(0o400)
        if not has_ended(path):
            path.rename(path.with_name(ended_name(slot, last_seq)))
    marker = data / JOURNAL_FOLDER / RESTORED_MARKER
    write_durably(marker, msgspec.json.encode(restored))
    sync_folder(data / JOURNAL_FOLDER)


def _clear(data: Path) -> None:
    """Take back what a failed restore wrote; the folder was empty before it."""
    for name in (JOURNAL_FOLDER, RING_FOLDER, ROLLUPS_FOLDER, KEYS_FOLDER):
        if (data / name).is_dir():
            shutil.rmtree(data / name)
    # The manifest last: as long as anything is left, no journal may be opened here.
    databases = [name + end for name in (STATE_FILE, LEDGER_FILE, ADAPT_FILE) for end in _PARTS]
    for name in (*databases, LEDGER_MARKER, BACKUP_MANIFEST):
        (data / name).unlink(missing_ok=True)
