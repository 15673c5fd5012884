"""What of `adapt.db` becomes leaves of the ledger, and what an archive gives back of it.

An archive holds signed records and versions, not the bytes that decisions were made from. So what
comes back from one is kept apart: the ledger can be audited with it, and no controller goes on
from it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from verismo.adapters.adapt_file import FILE_NAME, AdaptFile, pass_numbers
from verismo.model.errors import StateError
from verismo.ports.journal import Record
from verismo.ports.ledger import AdaptRow

_SELECTS: Final[Mapping[str, str]] = {
    "@decisions": "SELECT n, statement, jws, written_ms FROM record WHERE n > :after",
    "@steering": "SELECT version, statement, jws, written_ms FROM steering WHERE version > :after",
}


class SqliteAdaptLeaves:
    """Reads `ports.ledger.AdaptRows`.

    Args:
        file: opened to read.
    """

    def __init__(self, file: AdaptFile) -> None:
        self._file = file

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        self._file.close()

    def rows(self, source: str, after: int, limit: int) -> Sequence[AdaptRow]:
        """Return up to `limit` rows of a sequence with numbers over `after`, in order."""
        select = (
            "SELECT n, statement, jws, written_ms FROM archived "
            f"WHERE source = :source AND n > :after UNION ALL {_SELECTS[source]} "
            "ORDER BY 1 LIMIT :limit"
        )
        values = {"source": source, "after": after, "limit": limit}
        with self._file.reading() as connection:
            return [AdaptRow(*row) for row in connection.execute(select, values)]


class ArchivedAdapt:
    """Takes what an archive gives back; see `ports.rollups.RestoredControl`.

    Args:
        data: the data folder to be; it has no `adapt.db`.
    """

    def __init__(self, data: Path) -> None:
        self._path = data / FILE_NAME

    def add(self, source: str, records: Sequence[Record]) -> None:
        """Store rows of a sequence, one transaction for each call."""
        file = AdaptFile(self._path)
        try:
            with file.writing(None) as connection:
                connection.executemany(
                    "INSERT INTO archived VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    [
                        (source, one.seq_n, one.statement, one.jws, _written_ms(one))
                        for one in records
                    ],
                )
        finally:
            file.close()

    def finish(self, now_ms: int) -> None:
        """Let new numbers begin after every one that there may have been."""
        pass_numbers(self._path, now_ms)


class _Stated(msgspec.Struct, frozen=True):
    iat: int


def _written_ms(record: Record) -> int:
    """Return when a row was written: an archive does not say, and it was signed just before."""
    if record.written_ms:
        return record.written_ms
    try:
        return msgspec.json.decode(record.statement, type=_Stated).iat
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise StateError(
            f"record {record.seq_n} of the archive is damaged: {error}",
            next_step="Restore from another copy of the archive.",
        ) from error


def open_leaves(data: Path) -> SqliteAdaptLeaves:
    """Return what reads a data folder's decisions and steering as leaves."""
    return SqliteAdaptLeaves(AdaptFile(data / FILE_NAME, read_only=True))
