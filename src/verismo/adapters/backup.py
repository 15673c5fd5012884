"""A consistent copy of a data folder, taken while the gateway runs.

What is copied, in this order: `rollups/`, `ledger.db`, the journals, `adapt.db`, `state.db`,
`keyring/`, then `keys/`. Each database is one snapshot (SQLite's backup interface). The order is
what keeps the copy whole: a rollup is of entries of the ledger, the ledger names records, a record
names a tenant, an operation and a key, and a version of the key ring names private keys; all of
them were there before, so what is copied afterwards holds them. The ring is public and always
copied: without it the answers of the past could not be verified. Nothing else in the folder is
copied; the manifest names what was left out.

Of the keys the checkpoints are left out: they tell an old copy of the ledger, which they could not
if they were as old. The published log is left out: it is public, and the records give it again.

The manifest's hashes find damage, not forgery: who can change a backup can change its manifest.
Forged records are found by their signatures, which `verismo verify` checks.
"""

import hashlib
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from verismo.adapters import journal_schema as schema
from verismo.adapters.adapt_file import FILE_NAME as ADAPT_FILE
from verismo.adapters.folder_sync import sync_folder
from verismo.adapters.journal_slot import BACKUP_MANIFEST, JOURNAL_FOLDER, slot_files
from verismo.adapters.keyring_files import RING_FOLDER
from verismo.adapters.rollups_folder import FOLDER as ROLLUPS_FOLDER
from verismo.model.errors import StateError

MANIFEST_VERSION = 1
STATE_FILE = "state.db"
LEDGER_FILE = "ledger.db"
CHECKPOINTS_FOLDER = "checkpoints"
"""Below the keys: the second place of `ports.ledger.CheckpointMemory`."""
KEYS_FOLDER = "keys"
ARCHIVE_SUFFIXES = (".tar.gz", ".tgz")
PATH = re.compile(
    rf"{JOURNAL_FOLDER}/[a-z0-9-]{{1,64}}\.db|{re.escape(STATE_FILE)}|{re.escape(LEDGER_FILE)}"
    rf"|{re.escape(ADAPT_FILE)}"
    rf"|{RING_FOLDER}/[0-9]{{8}}\.json"
    rf"|{ROLLUPS_FOLDER}(/[A-Za-z0-9_~-][A-Za-z0-9._~-]{{0,127}}){{4,6}}"
    # `~gateway.key` is the data key of what belongs to no tenant.
    rf"|{KEYS_FOLDER}(/[A-Za-z0-9_~][A-Za-z0-9._-]{{0,127}}){{1,4}}"
)
"""Of every file of a backup: a restore writes nothing else, so a backup holds nothing else."""
CHUNK_BYTES = 1_048_576
_GZIP_LEVEL = 1
"""Records are mostly hashes and signatures, which no level makes smaller."""


class BackupFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a backup: hex SHA-256 and size."""

    sha256: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup holds; its file is `verismo-backup.json`.

    Args:
        v: format version; a restore refuses one that it does not know.
        made_ms: when the copy was begun, Unix ms.
        has_keys: whether the private keys are in it.
        slots: the last number of each slot, ended ones included.
        files: by path within the backup.
        left_out: names in the data folder that were not copied, sorted.
    """

    v: int
    made_ms: int
    has_keys: bool
    slots: dict[str, int]
    files: dict[str, BackupFile]
    left_out: tuple[str, ...] = ()


def make_backup(data: Path, out: Path, *, with_keys: bool, now_ms: int) -> Manifest:
    """Copy a data folder while it is in use.

    Args:
        data: the data folder.
        out: a folder that does not exist yet, or a file `*.tar.gz` or `*.tgz`.
        with_keys: also copy `keys/`, the private signing keys and the tenants' data keys.
        now_ms: Unix ms, for the manifest.

    Returns:
        The manifest of the backup. Files are 0600, folders 0700, and so is the archive.

    Raises:
        StateError: there is nothing to copy, `out` exists, a file cannot be copied, or a restore
            would refuse its name. Nothing is left at `out`.
    """
    _refuse_places(data, out)
    staging: Path | None = None
    try:
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        content = staging / "content"
        content.mkdir(mode=0o700)
        if (data / ROLLUPS_FOLDER).is_dir():
            _copy_files(data / ROLLUPS_FOLDER, content / ROLLUPS_FOLDER)
        if (data / LEDGER_FILE).exists():
            _copy_database(data / LEDGER_FILE, content / LEDGER_FILE)
        slots = _copy_journals(data, content)
        if (data / ADAPT_FILE).exists():
            _copy_database(data / ADAPT_FILE, content / ADAPT_FILE)
        if (data / STATE_FILE).exists():
            _copy_database(data / STATE_FILE, content / STATE_FILE)
        if (data / RING_FOLDER).is_dir():
            _copy_files(data / RING_FOLDER, content / RING_FOLDER)
        if with_keys:
            _copy_files(data / KEYS_FOLDER, content / KEYS_FOLDER)
        manifest = Manifest(
            v=MANIFEST_VERSION,
            made_ms=now_ms,
            has_keys=with_keys,
            slots=slots,
            files=_files(content),
            left_out=_left_out(data, with_keys=with_keys),
        )
        write_durably(content / BACKUP_MANIFEST, msgspec.json.encode(manifest))
        # A crash up to here leaves only the hidden staging folder, which may be deleted.
        _publish(content, out)
    except (OSError, sqlite3.Error, tarfile.TarError) as error:
        raise StateError(
            f"{data} cannot be copied to {out}: {error}",
            next_step="Check space and rights of both folders, then run the backup again.",
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging)
    return manifest


def is_archive(path: Path) -> bool:
    """Say whether a path names an archive and not a folder."""
    return path.name.endswith(ARCHIVE_SUFFIXES)


def write_durably(path: Path, content: bytes) -> None:
    """Write a new 0600 file and wait until the disk has it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _refuse_places(data: Path, out: Path) -> None:
    if (data / BACKUP_MANIFEST).exists():
        raise StateError(f"{data} is a backup itself", next_step="Name the gateway's data folder.")
    if not (data / JOURNAL_FOLDER).is_dir() and not (data / STATE_FILE).is_file():
        raise StateError(
            f"{data} holds neither a journal nor {STATE_FILE}",
            next_step="Name the gateway's data folder: `data` in verismo.toml.",
        )
    if os.path.lexists(out):
        raise StateError(f"{out} exists", next_step="Name a file or folder that is not there yet.")
    if not out.parent.is_dir():
        raise StateError(f"{out.parent} is not a folder", next_step="Make it first.")
    if out.resolve().is_relative_to(data.resolve()):
        raise StateError(f"{out} lies within {data}", next_step="Name a place outside of it.")


def _copy_journals(data: Path, content: Path) -> dict[str, int]:
    (content / JOURNAL_FOLDER).mkdir(mode=0o700)
    slots: dict[str, int] = {}
    for slot, path in sorted(slot_files(data).items()):
        copy = content / JOURNAL_FOLDER / path.name
        _copy_database(path, copy)
        with closing(sqlite3.connect(copy)) as connection:
            if schema.SCHEMA.is_there(connection, path):
                slots[slot] = schema.last_seq(connection)
        if slot not in slots:
            # Its writer has made the file and not yet its tables: it holds nothing.
            copy.unlink()
    return slots


def _copy_database(source: Path, copy: Path) -> None:
    """Copy one snapshot of a database into one plain file, without a log beside it."""
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as reader,
        closing(sqlite3.connect(copy, isolation_level=None)) as writer,
    ):
        reader.backup(writer)
        writer.execute("PRAGMA journal_mode = DELETE")
        verdict = writer.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise StateError(
            f"{source} is damaged: {verdict}",
            next_step="Keep the folder as it is and restore the last good backup elsewhere.",
        )


def _copy_files(source: Path, copy: Path) -> None:
    copy.mkdir(mode=0o700)
    if not source.is_dir():
        return
    for path in _paths(source):
        target = copy / path
        is_hidden = any(part.startswith(".") for part in target.relative_to(copy).parts)
        if is_hidden or path.startswith(f"{CHECKPOINTS_FOLDER}/"):
            continue  # half of what is being made, or what a crash left; see the module
        try:
            content = (source / path).read_bytes()
        except FileNotFoundError:
            continue  # thinned meanwhile: a day that went to the archive, a key past its use
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(target, content)


def _left_out(data: Path, *, with_keys: bool) -> tuple[str, ...]:
    databases = (STATE_FILE, LEDGER_FILE, ADAPT_FILE)
    copied = {name + end for name in databases for end in ("", "-wal", "-shm")}
    copied |= {JOURNAL_FOLDER, RING_FOLDER, ROLLUPS_FOLDER}
    if with_keys:
        copied.add(KEYS_FOLDER)
    return tuple(sorted(name for name in os.listdir(data) if name not in copied))


def _paths(folder: Path) -> Iterator[str]:
    """Yield the files below a folder, relative and sorted; links are not followed."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path.relative_to(folder).as_posix()


def _files(content: Path) -> dict[str, BackupFile]:
    """Describe every file that was copied; a copy that no restore takes is none."""
    names = list(_paths(content))
    for name in names:
        if not PATH.fullmatch(name):
            raise StateError(
                f"{name} is no file of a data folder, and no restore would take it",
                next_step="Move it elsewhere, then run the backup again.",
            )
    return {name: _describe(content / name) for name in names}


def _describe(path: Path) -> BackupFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return BackupFile(sha256=digest, bytes=path.stat().st_size)


def _publish(content: Path, out: Path) -> None:
    """Give the finished copy its name in one step, once the disk has all of it."""
    finished = content
    if is_archive(out):
        finished = content.with_name("archive")
        _write_archive(content, finished)
    else:
        for path in (content, *(p for p in content.rglob("*") if p.is_dir())):
            sync_folder(path)
        for path in (p for p in content.rglob("*") if p.is_file()):
            _sync_file(path)
    finished.rename(out)
    sync_folder(out.parent)


def _write_archive(content: Path, archive: Path) -> None:
    descriptor = os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        with tarfile.open(
            fileobj=file, mode="w:gz", compresslevel=_GZIP_LEVEL, format=tarfile.PAX_FORMAT
        ) as tar:
            # First, so that a restore knows what to expect before it writes anything.
            tar.add(content / BACKUP_MANIFEST, BACKUP_MANIFEST)
            for path in _paths(content):
                if path != BACKUP_MANIFEST:
                    tar.add(content / path, path)
        file.flush()
        os.fsync(descriptor)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
