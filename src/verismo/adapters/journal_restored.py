"""Journals made again from an archive's records: ended slots, which only readers open.

The names are those that a restored backup has (`journal_slot`), so new answers go to fresh slots,
and the marker says with which number each slot ended.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from verismo.adapters import journal_schema as schema
from verismo.adapters.backup import write_durably
from verismo.adapters.folder_sync import sync_folder
from verismo.adapters.journal_slot import JOURNAL_FOLDER, RESTORED_MARKER, Restored, ended_name
from verismo.model.errors import StateError
from verismo.ports.journal import Record


class RestoredJournals:
    """See `ports.rollups.RestoredRecords`.

    Args:
        data: the data folder to be; it has no journals.
        epoch: 8 random hex digits: what the names of new slots end with.
    """

    def __init__(self, data: Path, epoch: str) -> None:
        self._folder = data / JOURNAL_FOLDER
        self._epoch = epoch

    def add(self, slot: str, records: Sequence[Record]) -> None:
        """Store records of a slot, one transaction for each call."""
        columns = ", ".join(schema.RECORD_COLUMNS)
        marks = ", ".join("?" * len(schema.RECORD_COLUMNS))
        with self._opened(slot) as connection:
            connection.execute("BEGIN")
            connection.executemany(
                f"INSERT OR IGNORE INTO record ({columns}) VALUES ({marks})",
                [schema.record_row(record) for record in records],
            )
            connection.execute("COMMIT")

    def finish(self, last_seq: Mapping[str, int], now_ms: int) -> None:
        """Give every slot the name of one that has ended, and leave the marker."""
        for slot, last in last_seq.items():
            with self._opened(slot):
                pass
            self._partial(slot).chmod(0o400)
            self._partial(slot).rename(self._folder / ended_name(slot, last))
        restored = Restored(epoch=self._epoch, restored_ms=now_ms, last_seq=dict(last_seq))
        with _translated(self._folder):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_durably(self._folder / RESTORED_MARKER, msgspec.json.encode(restored))
            sync_folder(self._folder)

    @contextmanager
    def _opened(self, slot: str) -> Iterator[sqlite3.Connection]:
        path = self._partial(slot)
        with _translated(path):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if not path.exists():
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                if not schema.SCHEMA.is_there(connection, path):
                    schema.SCHEMA.create(connection)
                yield connection

    def _partial(self, slot: str) -> Path:
        return self._folder / f".{slot}.partial"


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error, ValueError) as error:
        raise StateError(
            f"{path} cannot be written: {error}",
            next_step="Check space and rights, empty the folder, and restore again.",
        ) from error
