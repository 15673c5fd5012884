"""A file that holds a log's last checkpoint and never goes back to a smaller one.

Used twice: for the checkpoint that is published with the tiles, and for the second place beside the
log key, which tells an old copy of the ledger that was put back.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verismo.attest.checkpoint import Checkpoint, read_checkpoint
from verismo.attest.note import NoteRefused, read_note
from verismo.model.errors import StateError
from verismo.model.ledger import origin_file
from verismo.ports.ledger import LedgerForked

PUBLIC_MODE = 0o644
"""What is published may be read by a web server of another user."""


class CheckpointFile:
    """One such file.

    Args:
        path: where; its folder is made when it is first replaced.
        lock: a file that keeps two processes from replacing it at once.
    """

    def __init__(self, path: Path, lock: Path) -> None:
        self._path = path
        self._lock = lock

    def read(self) -> bytes | None:
        """Return the note, None if there is none.

        Raises:
            StateError: it cannot be read.
        """
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self._path, error) from error

    def replace(self, note: bytes) -> None:
        """Put a note in its place, durably and in one step.

        Raises:
            LedgerForked: the one that is there is larger, or as large with another root.
            StateError: it cannot be written; the old one stands.
        """
        checkpoint = head_of(note, self._path)
        try:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with _locked(self._lock):
                # Looked at under the lock: one whose lease went elsewhere may come late.
                current = self.read()
                if current is not None:
                    _refuse_older(self._path, head_of(current, self._path), checkpoint)
                replace_file(self._path, note)
        except OSError as error:
            raise _unusable(self._path, error) from error


class FolderCheckpoints:
    """A `CheckpointMemory` in a folder: one file for each origin.

    Args:
        folder: beside the log key, such as `<data>/keys/checkpoints`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def remembered(self, origin: str) -> bytes | None:
        """Return the last signed note of an origin, None for none."""
        return self._file(origin).read()

    def remember(self, origin: str, note: bytes) -> None:
        """Replace it; see `ports.ledger.CheckpointMemory`."""
        self._file(origin).replace(note)

    def _file(self, origin: str) -> CheckpointFile:
        name = origin_file(origin)
        return CheckpointFile(self._folder / name, self._folder / ".lock")


def head_of(note: bytes, where: Path) -> Checkpoint:
    """Return what a signed note says, unverified.

    Args:
        note: its octets.
        where: the file, for the error.

    Raises:
        LedgerForked: no checkpoint; whoever wrote that file was not the integrator.
    """
    try:
        return read_checkpoint(read_note(note).text)
    except NoteRefused as error:
        raise LedgerForked(
            f"{where} is no checkpoint: {error}",
            next_step="Find out who changed it, and put the last checkpoint back: the one in the "
            "published log, in keys/checkpoints, or at a witness.",
        ) from error


def replace_file(path: Path, content: bytes, mode: int = PUBLIC_MODE) -> None:
    """Replace a small file durably: it is the old one or the new one, never half.

    Raises:
        OSError: it could not be done; the old one stands.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        # A crash here: the old file stands, and the hidden one is written over by the next try.
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_older(path: Path, current: Checkpoint, wanted: Checkpoint) -> None:
    if wanted.size > current.size and wanted.origin == current.origin:
        return
    if (wanted.origin, wanted.size, wanted.root) == (current.origin, current.size, current.root):
        return
    raise LedgerForked(
        f"{path} has {current.origin} at size {current.size}; it is not replaced by "
        f"{wanted.origin} at size {wanted.size}",
        next_step="An older copy of the ledger is in use, or another issuer. Stop the gateway, "
        "keep everything as it is and follow docs/runbooks/ledger-refused.md.",
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: OSError) -> StateError:
    return StateError(
        f"the checkpoint {path} cannot be read or written: {error.strerror}",
        next_step="Check space and rights of its folder; the integrator tries again by itself.",
    )
