"""Makes the names in a folder durable; needs no library, so that a witness can use it as well."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable: a link, rename or removal survives a power cut after this.

    Raises:
        OSError: the folder cannot be opened, or the disk fails.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
