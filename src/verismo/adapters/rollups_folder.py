"""Finished days in `<data>/rollups/<region>/<yyyy>/<day>/`, put together beside it first.

A day is written into `.<day>.partial` and gets its name by one rename. A crash before the rename
leaves a hidden folder that the next try throws away; after it the whole day is there.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import msgspec

from verismo.adapters.folder_sync import sync_folder
from verismo.model.errors import StateError
from verismo.model.ledger import LogId, read_log_id
from verismo.model.retention import UploadProof

FOLDER = "rollups"
PROOFS = "uploads.json"
"""What the archive answered; the one file that is written after the day is finished."""
_day = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch


class FolderRollups:
    """Finished days in a folder; see `ports.rollups.RollupStore`.

    Args:
        root: `rollups` of the data folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def logs(self) -> list[LogId]:
        """Return every log that has a folder here, sorted."""
        with _translated(self._root):
            paths = [path for path in self._root.glob("*/*") if path.is_dir()]
        found = [read_log_id(path.parts[-2], path.parts[-1]) for path in paths]
        return sorted(one for one in found if one is not None)

    def days(self, log: LogId) -> Sequence[date]:
        """Return the finished days of a log, earliest first."""
        folder = self._root / log.path
        with _translated(folder):
            if not folder.is_dir():
                return []
            return sorted(date.fromisoformat(one) for one in os.listdir(folder) if _day(one))

    def begin(self, log: LogId, day: date) -> "FolderDay":
        """Begin a day."""
        final = self._folder(log, day)
        partial = final.with_name(f".{final.name}.partial")
        with _translated(partial):
            if partial.exists():
                shutil.rmtree(partial)
            partial.mkdir(mode=0o700, parents=True)
        return FolderDay(partial, final)

    def names(self, log: LogId, day: date) -> Sequence[str]:
        """Return the files of a finished day that are still here, sorted."""
        folder = self._folder(log, day)
        with _translated(folder):
            files = [path for path in folder.rglob("*") if path.is_file()]
        return sorted(
            name for path in files if (name := path.relative_to(folder).as_posix()) != PROOFS
        )

    def read(self, log: LogId, day: date, name: str) -> bytes:
        """Return a file of a finished day."""
        path = self._folder(log, day) / name
        with _translated(path):
            return path.read_bytes()

    def proofs(self, log: LogId, day: date) -> tuple[UploadProof, ...] | None:
        """Return what the archive answered about a day."""
        path = self._folder(log, day) / PROOFS
        with _translated(path):
            if not path.exists():
                return None
            try:
                return msgspec.json.decode(path.read_bytes(), type=tuple[UploadProof, ...])
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise StateError(
                    f"{path} is damaged: {error}",
                    next_step="Delete it; `verismo ledger archive` asks the archive again.",
                ) from error

    def proven(self, log: LogId, day: date, proofs: Sequence[UploadProof]) -> None:
        """Note that all of a day is in the archive."""
        path = self._folder(log, day) / PROOFS
        partial = path.with_name(f".{PROOFS}.{os.getpid()}")
        with _translated(path):
            partial.unlink(missing_ok=True)
            _write(partial, msgspec.json.encode(tuple(proofs)))
            partial.rename(path)
            sync_folder(path.parent)

    def thin(self, log: LogId, day: date, names: Sequence[str]) -> None:
        """Remove files of a day that is in the archive."""
        folder = self._folder(log, day)
        with _translated(folder):
            for name in names:
                (folder / name).unlink(missing_ok=True)
            for path in sorted(folder.rglob("*"), reverse=True):
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()

    def _folder(self, log: LogId, day: date) -> Path:
        return self._root / log.path / day.isoformat()


class FolderDay:
    """A day that is being put together; see `ports.rollups.DayWriter`.

    Args:
        partial: the hidden folder that it grows in.
        final: the name that it gets.
    """

    def __init__(self, partial: Path, final: Path) -> None:
        self._partial = partial
        self._final = final
        self._digests: dict[str, tuple[str, int]] = {}

    def add(self, name: str, content: bytes) -> None:
        """Store a file of the day durably."""
        path = self._partial / name
        with _translated(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, content)
        self._digests[name] = (hashlib.sha256(content).hexdigest(), len(content))

    def digests(self) -> Mapping[str, tuple[str, int]]:
        """Return digest and size of each file so far."""
        return dict(self._digests)

    def finish(self) -> None:
        """Give the day its name."""
        with _translated(self._final):
            for folder in (self._partial, *self._partial.rglob("*")):
                if folder.is_dir():
                    sync_folder(folder)
            # A rename onto a folder that holds files fails: the day that was first stands.
            self._partial.rename(self._final)
            for folder in self._final.parents[:3]:
                sync_folder(folder)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(
            f"{path} cannot be used: {error.strerror}",
            next_step="Check space and rights of the data folder, then repeat the command: a day "
            "is whole or not there.",
        ) from error
