"""Secret files: made once, whole or absent, mode 0600, never replaced, read by their owner alone.

What is in them is for others; this needs no library, so that a witness can use it as well.
"""

import os
import stat
from pathlib import Path

from verismo.adapters.folder_sync import sync_folder
from verismo.model.errors import StateError

SECRET_BYTES = 32


def make_secret(path: Path, octets: int = SECRET_BYTES) -> bool:
    """Make a secret file if it is not there: complete or absent, never half, mode 0600.

    Args:
        path: where; its folder is made with mode 0700.
        octets: how many random bytes.

    Returns:
        True if it was made now. Two processes at once agree on one file.

    Raises:
        StateError: the folder or file cannot be written.
    """
    return store_secret(path, os.urandom(octets))


def store_secret(path: Path, content: bytes) -> bool:
    """Store a file that is complete or absent, never half, and never replaced; mode 0600.

    Args:
        path: where; its folder is made with mode 0700.
        content: all of it.

    Returns:
        True if it was stored now; False if a file stood there already and stays as it is.

    Raises:
        StateError: the folder or file cannot be written.
    """
    if path.exists():
        return False
    # A process number alone comes again with every start of a container: what a crash has left
    # under it would keep the file from ever being made.
    partial = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(8).hex()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            give_to_owner(file.fileno(), path.parent)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)  # fails where another process was first; its file stands
        except FileExistsError:
            return False
        finally:
            partial.unlink()
        sync_folder(path.parent)
    except OSError as error:
        raise StateError(
            f"cannot make {path}: {error.strerror}",
            next_step="Give the data folder to the user that runs Verismo.",
        ) from error
    return True


def read_secret(path: Path) -> bytes:
    """Read a secret file that nobody else may read.

    Raises:
        StateError: missing, or readable by group or others.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise StateError(
                f"{path} can be read by others (mode {mode:04o})",
                next_step=f"chmod 600 {path}; if others may have read it, replace the key.",
            )
        return path.read_bytes()
    except OSError as error:
        raise StateError(
            f"cannot read {path}: {error.strerror}",
            next_step="Check that the data folder is the right one and whole.",
        ) from error


def give_to_owner(descriptor: int, folder: Path) -> None:
    """Give a file or folder that root makes to whom the folder that it is in belongs.

    An operator's command that runs as root would else leave a key or a version of the key ring that
    the gateway's user cannot read: it would sign on with a key that was just revoked.
    """
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
