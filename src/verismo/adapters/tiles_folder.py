"""Tiles, entry bundles and checkpoints in a folder that any static file server can serve.

`<root>/<region>/<yyyy>/{checkpoint,tile/...}`: the paths of C2SP tlog-tiles. A file gets its name
by `link`, which fails where the name is taken: no path ever has two contents, whoever tries. What
is not finished lies in `.partial/` beside the tiles and is of no use after a crash.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from verismo.adapters.checkpoint_file import PUBLIC_MODE, CheckpointFile
from verismo.adapters.folder_sync import sync_folder
from verismo.model.errors import StateError
from verismo.model.ledger import LogId, read_log_id
from verismo.ports.ledger import LedgerForked, TileFile

CHECKPOINT = "checkpoint"
UNFINISHED = ".partial"
FILE_BYTES_MAX = 17_000_000
"""More than the largest bundle that the format allows."""


class FolderTiles:
    """A `TileStore` and `TileReader`; one writer at a time, any number of readers.

    Args:
        root: the folder above the regions, such as `<data>/log`; made when it is first written to.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: set[Path] = set()
        """Folders that this process has made durable names for."""

    def read(self, log: LogId, path: str) -> bytes | None:
        """Return a file by its path within the log, None if it is not there."""
        return read_file(self._root / log.path / path)

    def write(self, log: LogId, files: Sequence[TileFile]) -> None:
        """Write tiles and bundles once; see `ports.ledger.TileStore`."""
        folder = self._root / log.path
        touched: set[Path] = set()
        try:
            self._make_folder(folder / UNFINISHED, touched)
            for file in files:
                target = folder / file.path
                self._make_folder(target.parent, touched)
                if not _link(target, file.content, folder / UNFINISHED):
                    _compare(target, file.content)
                touched.add(target.parent)
            for path in touched:
                # A crash before this: names may be missing after a power cut, and the integrator
                # writes the same files again, since it has not noted them yet.
                sync_folder(path)
        except OSError as error:
            self._known.clear()
            raise _unwritable(folder, error) from error

    def prune(self, log: LogId, paths: Sequence[str]) -> None:
        """Remove every partial tile of full tiles that are there, by the full tiles' paths."""
        folder = self._root / log.path
        try:
            for path in paths:
                partial = folder / f"{path}.p"
                if (folder / path).is_file() and partial.is_dir():
                    shutil.rmtree(partial)
                    self._known.discard(partial)
        except OSError as error:
            raise _unwritable(folder, error) from error

    def publish(self, log: LogId, note: bytes) -> None:
        """Replace the log's checkpoint; see `ports.ledger.TileStore`."""
        folder = self._root / log.path
        CheckpointFile(folder / CHECKPOINT, folder / ".lock").replace(note)

    def partial_paths(self, log: LogId) -> list[str]:
        """Return the paths of every partial tile and bundle that is there, sorted.

        Raises:
            StateError: the folder cannot be read.
        """
        folder = self._root / log.path
        try:
            found = [path for path in folder.glob("tile/**/*.p/*") if path.is_file()]
        except OSError as error:
            raise StateError(f"{folder} cannot be read: {error.strerror}") from error
        return sorted(path.relative_to(folder).as_posix() for path in found)

    def paths(self, log: LogId) -> list[str]:
        """Return the paths of every file in the log's folder, sorted, hidden ones included.

        Raises:
            StateError: the folder cannot be read.
        """
        folder = self._root / log.path
        try:
            found = [path for path in folder.rglob("*") if not path.is_dir()]
        except OSError as error:
            raise StateError(f"{folder} cannot be read: {error.strerror}") from error
        return sorted(path.relative_to(folder).as_posix() for path in found)

    def logs(self) -> list[LogId]:
        """Return every log that has a checkpoint here, sorted.

        Raises:
            StateError: the folder cannot be read.
        """
        try:
            paths = list(self._root.glob(f"*/*/{CHECKPOINT}"))
        except OSError as error:
            raise StateError(f"{self._root} cannot be read: {error.strerror}") from error
        found = [read_log_id(path.parts[-3], path.parts[-2]) for path in paths]
        return sorted(one for one in found if one is not None)

    def _make_folder(self, folder: Path, touched: set[Path]) -> None:
        """Make a folder, and remember every folder whose names changed by that."""
        if folder in self._known:
            return
        made = folder
        missing: list[Path] = []
        while made not in self._known and not made.is_dir():
            missing.append(made)
            made = made.parent
        for path in reversed(missing):
            path.mkdir(mode=0o755, exist_ok=True)
            touched.add(path.parent)
        self._known.add(folder)


def read_file(path: Path) -> bytes | None:
    """Return a published file, None if there is none.

    Raises:
        StateError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise StateError(
            f"{path} cannot be read: {error.strerror}",
            next_step="Check the disk and that this user may read the folder.",
        ) from error


def _link(target: Path, content: bytes, unfinished: Path) -> bool:
    """Write a new file whole; False if the name is taken."""
    # A name that nobody else has: a process number comes again with every start of a container,
    # and what lies there may be one file with a tile (see below).
    partial = unfinished / f"{os.getpid()}-{os.urandom(8).hex()}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PUBLIC_MODE)
    try:
        with open(descriptor, "wb", buffering=0) as file:
            written = file.write(content)
            while written < len(content):
                written += file.write(content[written:])
            os.fdatasync(descriptor)
        # A crash here: the name is free, and the unfinished file is of no use to anybody.
        os.link(partial, target)
        # A crash here: the tile is there under both names, and nobody opens the other one again.
    except FileExistsError:
        return False
    finally:
        os.unlink(partial)
    return True


def _compare(target: Path, content: bytes) -> None:
    if read_file(target) != content:
        raise LedgerForked(
            f"{target} has other bytes than the ledger would write there",
            next_step="Stop the gateway, keep everything as it is and follow "
            "docs/runbooks/ledger-refused.md: the ledger's state is older than what is published, "
            "or the tile was changed.",
        )


def _unwritable(folder: Path, error: OSError) -> StateError:
    return StateError(
        f"the log in {folder} cannot be written: {error.strerror}",
        next_step="Check space and rights of the folder. Answers go on; the integrator tries again "
        "by itself, and no record is lost.",
    )
