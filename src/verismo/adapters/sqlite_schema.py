"""What the SQLite files of a data folder share: versioned tables, and writing all or nothing."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from verismo.model.errors import StateError

NEWER: Final = "Run the version of Verismo that wrote it, or a newer one."


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of a file, and the version that `PRAGMA user_version` says.

    Args:
        tables: statements, each ended by `;` and a line feed.
        version: from 1 on; 0 is a file whose tables are not there yet.
        next_step: for whoever runs a program that is older than the file.
    """

    tables: str
    version: int = 1
    next_step: str = NEWER

    def is_there(self, connection: sqlite3.Connection, path: Path) -> bool:
        """Say whether the tables are there, and refuse a file of a newer program.

        Args:
            connection: of the file.
            path: of the file, for the error.

        Raises:
            StateError: the file was written by a newer version of Verismo.
        """
        found = _version(connection)
        if found > self.version:
            raise StateError(
                f"{path} has version {found}; this program knows up to {self.version}",
                next_step=self.next_step,
            )
        return found == self.version

    def create(self, connection: sqlite3.Connection) -> None:
        """Create the tables and their version in one transaction, if they are not there."""
        with transaction(connection):
            if _version(connection) == 0:
                self.write(connection)

    def write(self, connection: sqlite3.Connection) -> None:
        """Write the tables and their version inside a transaction that is under way."""
        # Not executescript(), which would end the transaction that keeps others out.
        for statement in self.tables.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {self.version}")

    def prepare(self, connection: sqlite3.Connection, path: Path) -> None:
        """Create the tables if they are not there, and refuse a file of a newer program.

        Raises:
            StateError: the file was written by a newer version of Verismo.
        """
        if not self.is_there(connection, path):
            self.create(connection)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all or nothing: an exception inside rolls back.

    Args:
        connection: in no transaction, made with `isolation_level=None`.

    Raises:
        sqlite3.OperationalError: another writer did not end in the connection's time.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        # A crash here: nothing of the transaction is there.
        connection.execute("COMMIT")
        # A crash here: all of it is there, and whoever asked was not told.
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
