"""Opens what is kept in `state.db` of a data folder: the directory, administrators, erasures."""

from pathlib import Path
from types import TracebackType

from verismo.adapters import state_sqlite
from verismo.adapters.admins_sqlite import SqliteAdmins
from verismo.adapters.directory_sqlite import SqliteDirectory
from verismo.adapters.erasures_sqlite import SqliteErasures
from verismo.adapters.state_sqlite import FILE_NAME, SchemaStatus, StateDatabase
from verismo.ports.admins import Admins
from verismo.ports.directory import Directory
from verismo.ports.erasures import Erasures


class State:
    """An open `state.db`; a context manager that closes it.

    Args:
        data: the data folder; it and the file are created if they are not there.

    Raises:
        StateError: the file cannot be used, or `verismo db upgrade` is due.
    """

    def __init__(self, data: Path) -> None:
        self._database = StateDatabase(data / FILE_NAME)
        self.directory: Directory = SqliteDirectory(self._database)
        self.admins: Admins = SqliteAdmins(self._database)
        self.erasures: Erasures = SqliteErasures(self._database)

    def __enter__(self) -> "State":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file's connections."""
        self._database.close()


def open_state(data: Path) -> State:
    """Open the state of a data folder; close it, or use it as a context manager."""
    return State(data)


def open_directory(data: Path) -> Directory:
    """Open the directory of a data folder for the life of the process."""
    return State(data).directory


def schema_status(data: Path) -> SchemaStatus:
    """Say how the schema of a data folder's `state.db` stands, without changing it."""
    return state_sqlite.schema_status(data / FILE_NAME)


def upgrade_schema(data: Path) -> SchemaStatus:
    """Bring the schema of a data folder's `state.db` to the newest revision.

    Returns:
        How it stood before.
    """
    return state_sqlite.upgrade_schema(data / FILE_NAME)
