"""The file `<data>/adapt.db`: decisions, steering, and the lease of whoever decides."""

import sqlite3
from pathlib import Path

from verismo.adapters.adapt_schema import SCHEMA
from verismo.adapters.leased_sqlite import Layout, LeasedFile
from verismo.attest.controlrecord import NUMBERS_PER_S
from verismo.model.errors import StateError

FILE_NAME = "adapt.db"


class AdaptFile(LeasedFile):
    """The open file, and its lease. Any thread may call; calls take turns.

    Args:
        path: the file; it is made, readable by its owner only, if it is not there.
        read_only: open it to read alone; a file that is not there yet reads as an empty one.

    Raises:
        StateError: the file cannot be used, or is of a newer version.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(path, _LAYOUT, read_only=read_only)


def pass_numbers(path: Path, now_ms: int, taken: int = 0) -> int:
    """Keep numbers that may have been given out, and that a file does not know, from coming again.

    Args:
        path: a file that was restored, is new, or has lost its end; nobody decides by it now.
        now_ms: Unix ms.
        taken: the highest number that is known to have been given out, 0 for none.

    Returns:
        The number after which this file goes on, if it was not further already.

    Raises:
        StateError: it cannot be written.
    """
    # A clock that was set back is not believed against a number that is there.
    passed = max(now_ms // 1_000, -(-taken // NUMBERS_PER_S)) * NUMBERS_PER_S
    file = AdaptFile(path)
    try:
        with file.writing(None) as connection:
            connection.execute("UPDATE passed SET n = ? WHERE n < ?", (passed, passed))
    finally:
        file.close()
    return passed


def _translated(path: Path, error: sqlite3.Error) -> StateError:
    return StateError(
        f"{path} cannot be used: {error}",
        next_step="Check space and rights of the data folder. Gateways keep what they were told "
        "last; deciding goes on once the file can be used again.",
    )


_LAYOUT = Layout(
    SCHEMA,
    does="decides",
    translated=_translated,
    bring_back="Nothing is decided until then: stop Verismo, bring the file back, from where it "
    "was moved to or from a backup, and start again.",
)
