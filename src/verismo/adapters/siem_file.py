"""The SIEM sink that is a folder of NDJSON files, for a log shipper to pick up.

Lines are appended to `events.ndjson`; `send` returns when they are on the disk (fsync), so the
cursor never moves past what a power cut would take. A full file, or one of an earlier period, is
renamed to `events-<UTC time>-<first leaf>.ndjson` and never written again. Nothing is deleted here.
"""

import asyncio
import fcntl
import gzip
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from verismo.adapters.folder_sync import sync_folder
from verismo.model.errors import StateError
from verismo.model.siem import SiemEvent
from verismo.ports.siem import Refusal, SinkUnavailable

CURRENT = "events.ndjson"
MODE = 0o640
"""A shipper of the same group may read; nobody else."""
_TAIL_BYTES = 65_536


class FileSinkSettings(msgspec.Struct, frozen=True):
    """Where the files are and when a new one begins.

    Args:
        folder: made if it is not there.
        rotate_bytes_max: a file that would grow past this is closed first.
        rotate_s_max: a new file begins at each multiple of this, UTC, seconds.
    """

    folder: Path
    rotate_bytes_max: int = 134_217_728
    rotate_s_max: int = 86_400


class FileSink:
    """A `SiemSink` over one folder. When `send` returns, the lines survive a power cut.

    Args:
        settings: the folder and the rotation.
        now_s: returns Unix seconds.
    """

    def __init__(self, settings: FileSinkSettings, now_s: Callable[[], float]) -> None:
        self._settings = settings
        self._now_s = now_s
        self._path = settings.folder / CURRENT
        self._descriptor = -1
        # A cancelled `send` leaves its thread writing: the next call waits for it.
        self._lock = threading.Lock()

    async def send(self, events: Sequence[SiemEvent]) -> Sequence[Refusal]:
        """Append a batch durably; nothing is ever refused.

        Raises:
            SinkUnavailable: the disk is full or fails, or another process writes this file.
        """
        await asyncio.to_thread(self._append, events)
        return ()

    async def aclose(self) -> None:
        """Close the file; the next `send` opens it again."""
        await asyncio.to_thread(self._close_in_turn)

    def _append(self, events: Sequence[SiemEvent]) -> None:
        data = b"".join(event.data + b"\n" for event in events)
        with self._lock:
            try:
                self._open_current()
                if self._is_due(len(data)):
                    self._rotate(events[0])
                    self._open_current()
                self._write(data)
            except OSError as error:
                self._close()
                raise SinkUnavailable(f"{self._path}: {error.strerror}") from error

    def _close_in_turn(self) -> None:
        with self._lock:
            self._close()

    def _write(self, data: bytes) -> None:
        """Write and flush, or leave the file as it was as far as the disk lets us.

        A crash in between leaves a torn last line and the cursor where it was: opening the file
        again cuts the line off, and the batch is sent again.
        """
        start = os.fstat(self._descriptor).st_size
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, start)
            raise

    def _open_current(self) -> None:
        if self._descriptor >= 0 and self._is_current():
            return
        self._close()
        self._settings.folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, MODE)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._close()
            raise SinkUnavailable(f"{self._path} is written by another process") from error
        _cut_torn_line(self._descriptor)
        sync_folder(self._settings.folder)

    def _is_current(self) -> bool:
        """Say whether the open file still is the one at the path: a rotation tool may move it."""
        ours = os.fstat(self._descriptor)
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)

    def _is_due(self, more_bytes: int) -> bool:
        status = os.fstat(self._descriptor)
        period_s = self._settings.rotate_s_max
        is_older = status.st_mtime // period_s != self._now_s() // period_s
        is_full = status.st_size + more_bytes > self._settings.rotate_bytes_max
        return status.st_size > 0 and (is_older or is_full)

    def _rotate(self, first: SiemEvent) -> None:
        """Rename the file; the leaf that begins the next one makes the name unique.

        A crash after the rename leaves no current file: the next one is made as at the first start.
        """
        closed = datetime.fromtimestamp(self._now_s(), UTC).strftime("%Y%m%dT%H%M%SZ")
        target = self._path.with_name(f"events-{closed}-{first.index}.ndjson")
        number = 1
        while target.exists():
            target = self._path.with_name(f"events-{closed}-{first.index}-{number}.ndjson")
            number += 1
        os.rename(self._path, target)
        sync_folder(self._settings.folder)
        self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class FileSinkReader:
    """A `SinkReader` over files of lines: a sink's folder, or one file that a receiver wrote.

    Files that a rotation tool compressed (`.gz`) are read as well.

    Args:
        path: the folder or the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self, since_ms: int, until_ms: int) -> Iterator[bytes]:
        """Yield every whole line of every file; a line being written has no end yet.

        Raises:
            StateError: there is no such folder or file, or it cannot be read.
        """
        del since_ms, until_ms  # Files are not ordered by the events' times.
        try:
            if not self._path.is_dir():
                yield from _whole_lines(self._path)
                return
            # The current file first: if it is renamed meanwhile, its new name is not read again.
            current = self._path / CURRENT
            seen = _identity(current) if current.exists() else None
            if seen is not None:
                yield from _whole_lines(current)
            rotated = sorted(self._path.glob("events-*.ndjson"))
            for file in [*rotated, *sorted(self._path.glob("events-*.ndjson.gz"))]:
                if _identity(file) != seen:
                    yield from _whole_lines(file)
        except (OSError, EOFError) as error:
            raise StateError(
                f"{self._path} cannot be read back: {error}",
                next_step="Name the folder of the sink, or the file that the receiver writes.",
            ) from error


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _whole_lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
        for line in stream:
            if line.endswith(b"\n"):
                yield line


def _cut_torn_line(descriptor: int) -> None:
    """Cut off what a crash left without a line's end; its batch was never counted as sent."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(None, "not a regular file")
    end = status.st_size
    while end > 0:
        start = max(0, end - _TAIL_BYTES)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end != status.st_size:
        os.ftruncate(descriptor, end)
