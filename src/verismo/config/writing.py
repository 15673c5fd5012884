"""Writes configuration files: whole or not at all."""

import os
import tempfile
from pathlib import Path

from verismo.model.errors import OperatorError


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace a file atomically: a reader, or a crash, sees the old file or the new one.

    Args:
        path: the file; its folder is made if need be.
        data: the new content.
        mode: permissions of the new file.

    Raises:
        OperatorError: it cannot be written; nothing has changed.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise OperatorError(
            f"{path} cannot be written: {error.strerror}",
            next_step="Check the folder's owner, permissions and free space.",
        ) from error


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable: a rename or removal survives a power cut after this."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
