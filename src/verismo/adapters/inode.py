"""Which file a path names: SQLite goes on with one that nobody else will find again."""

from pathlib import Path


def inode_of(path: Path) -> int:
    """Return the number of the file that a path names now, 0 for none.

    Args:
        path: of a file that may have been deleted, moved or replaced.
    """
    try:
        return path.stat().st_ino
    except OSError:
        return 0
