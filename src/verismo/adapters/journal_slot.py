"""Signer slots: the names of journal files, who owns one, and which names a restore has ended.

A slot is a signer's name in statements (`seq.signer`) and one file `journal/<slot>.db`. A restored
backup may be older than the last answer that was given, so no slot of it may go on: its next
number was perhaps given out already, and one number for two answers is a fork. A restore
therefore renames `s0.db` to `s0-until-<last number>.db`, which only readers open, and leaves the
marker `journal/RESTORED`; from then on slots have fresh names, `s0r<epoch>`. The epoch is random
and not counted, because one backup may be restored twice.
"""

import fcntl
import os
import re
from pathlib import Path

import msgspec

from verismo.adapters.folder_sync import sync_folder
from verismo.model.errors import StateError

JOURNAL_FOLDER = "journal"
RESTORED_MARKER = "RESTORED"
BACKUP_MANIFEST = "verismo-backup.json"
"""In a data folder it says: this is a backup, or a restore that did not end. Nobody may write."""

SLOT_NAME = r"[a-z][a-z0-9]{0,31}"
_FILE_NAME = re.compile(rf"(?P<slot>{SLOT_NAME})(?P<ended>-until-\d{{1,19}})?\.db")


class Restored(msgspec.Struct, frozen=True):
    """The marker that a restore leaves.

    Args:
        epoch: what the names of new slots end with, 8 hex digits.
        restored_ms: Unix ms.
        last_seq: the last number of each slot that ended.
    """

    epoch: str
    restored_ms: int
    last_seq: dict[str, int]


def next_slot_name(data: Path, index: int) -> str:
    """Return the name of the slot that the worker of an index writes to: `s0`, `s1`, ...

    Args:
        data: the data folder.
        index: the worker's index, 0 or more.

    Returns:
        `s<index>`, or `s<index>r<epoch>` in a folder that was restored from a backup.

    Raises:
        StateError: the marker of a restore cannot be read.
    """
    path = data / JOURNAL_FOLDER / RESTORED_MARKER
    try:
        restored = msgspec.json.decode(path.read_bytes(), type=Restored)
    except FileNotFoundError:
        return f"s{index}"
    except (OSError, msgspec.MsgspecError) as error:
        raise StateError(
            f"{path} cannot be read: {error}",
            next_step="Restore the backup again into an empty folder; never delete the marker.",
        ) from error
    return f"s{index}r{restored.epoch}"


def slot_files(data: Path) -> dict[str, Path]:
    """Return the journal file of each slot, ended slots included.

    Raises:
        StateError: the folder cannot be read, or a slot that ended has a file that goes on.
    """
    try:
        names = os.listdir(data / JOURNAL_FOLDER)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StateError(f"{data / JOURNAL_FOLDER} cannot be read: {error}") from error
    files: dict[str, Path] = {}
    for match in filter(None, map(_FILE_NAME.fullmatch, names)):
        path = data / JOURNAL_FOLDER / match[0]
        other = files.setdefault(match["slot"], path)
        if other is not path:
            raise StateError(
                f"slot {match['slot']} has two journal files, {other.name} and {path.name}",
                next_step="Find out which one answers were given from; keep the other elsewhere.",
            )
    return files


def ended_name(slot: str, last_seq: int) -> str:
    """Return the file name of a slot that ended with a number."""
    return f"{slot}-until-{last_seq}.db"


def has_ended(path: Path) -> bool:
    """Say whether a journal file belongs to a slot that a restore ended."""
    match = _FILE_NAME.fullmatch(path.name)
    return match is not None and match["ended"] is not None


class SlotOwnership:
    """The exclusive right to write one slot, held from construction to `release`.

    It is a flock on `<slot>.lock`: the kernel drops it when the process dies, however it dies, and
    a second opening in the same process is refused too (a POSIX record lock would not do that).

    Args:
        data: the data folder; `journal/` is made if it is not there.
        slot: the slot's name, letters and digits.

    Raises:
        StateError: another process owns the slot, the slot has ended, or the folder is a backup.
    """

    def __init__(self, data: Path, slot: str) -> None:
        if not re.fullmatch(SLOT_NAME, slot):
            raise StateError(f"{slot!r} is not a slot name", next_step="Use s0, s1, ...")
        folder = _journal_folder(data)
        self.path = folder / f"{slot}.db"
        self._descriptor = _lock(folder / f"{slot}.lock", slot)
        try:
            _refuse_ended(data, slot)
        except StateError:
            self.release()
            raise

    def release(self) -> None:
        """Give the slot up; twice is allowed. The lock file stays: deleting it would race."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _journal_folder(data: Path) -> Path:
    if (data / BACKUP_MANIFEST).exists():
        raise StateError(
            f"{data} holds {BACKUP_MANIFEST}: it is a backup, or a restore that did not end",
            next_step="Run `verismo restore --from BACKUP --data DIR` into another, empty folder.",
        )
    folder = data / JOURNAL_FOLDER
    try:
        is_new = not data.exists()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A record is only as durable as the names on the way to its file.
        sync_folder(data)
        if is_new:
            sync_folder(data.parent)
    except OSError as error:
        raise StateError(
            f"{folder} cannot be made: {error}", next_step="Give the data folder to this user."
        ) from error
    return folder


def _lock(path: Path, slot: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(f"{path} cannot be opened: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise StateError(
            f"journal slot {slot} is owned by the process with pid {owner}",
            next_step="Stop that process, or use another data folder; "
            "two writers of one slot would fork its sequence.",
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
    return descriptor


def _refuse_ended(data: Path, slot: str) -> None:
    path = slot_files(data).get(slot)
    if path is not None and has_ended(path):
        raise StateError(
            f"journal slot {slot} ended with a restore: {path.name}",
            next_step="Start with `verismo serve`, which gives workers fresh slot names.",
        )
