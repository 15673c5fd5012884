"""The state database `state.db`: SQLite in WAL mode, its schema and its short transactions.

Any number of processes have it open. Writers queue on SQLite's write lock for at most 5 s.
The schema is Alembic's; a fresh file is created at the newest revision, an older one is left alone
until the operator says `verismo db upgrade`, a newer one is refused.

Alembic is loaded only where a schema is changed or refused: it takes longer to load than all of
this takes to run, and every start would wait for it. A fresh file is made from `newest.sql`, which
is what all revisions together make; a test compares.
"""

import contextlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.pool import ConnectionPoolEntry

from verismo.adapters.folder_sync import sync_folder
from verismo.model.errors import StateError

if TYPE_CHECKING:
    from alembic.runtime.migration import RevisionStep

FILE_NAME = "state.db"
BUSY_MS_MAX = 5_000
"""The port's contract: a writer waits for another up to 5 s."""
MIGRATIONS = Path(__file__).with_name("migrations")
NEWEST = "0002"
"""The last revision in `MIGRATIONS`; a test compares."""
SCHEMA = MIGRATIONS / "newest.sql"
"""The schema at `NEWEST`, one statement a line."""

SchemaVerdict = Literal["absent", "older", "current", "newer"]


class SchemaStatus(msgspec.Struct, frozen=True):
    """How a state database stands to this version of Verismo.

    Args:
        found: the revision of the file, empty if there is none yet.
        newest: the revision that this version of Verismo writes.
        verdict: how the two compare.
    """

    found: str
    newest: str
    verdict: SchemaVerdict


class StateDatabase:
    """An open `state.db`. Used from any thread; close it, or leave its `with` block.

    Args:
        path: the file; it is created, readable by its owner only, if it is not there.
        migrations: folder with the Alembic revisions; only tests pass another.

    Raises:
        StateError: the file cannot be opened, is not a state database, or has another schema.
    """

    def __init__(self, path: Path, migrations: Path = MIGRATIONS) -> None:
        self._path = path
        _create(path, migrations)
        self._engine = _engine(path)
        self._peek_lock = threading.Lock()
        try:
            with self.reading() as connection:
                status = _status(connection, migrations)
            if status.verdict == "absent":
                # Somebody else made an empty file.
                status = _upgrade_in_place(path, migrations)
            _refuse_other(path, status)
            with _translated(path):
                self._peek_connection = self._engine.raw_connection()
        except BaseException:
            self._engine.dispose()
            raise

    def __enter__(self) -> "StateDatabase":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection; nothing may be under way."""
        self._peek_connection.close()
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Lend a connection whose statements each see what is committed by then.

        Raises:
            StateError: the file cannot be read.
        """
        with _translated(self._path), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Lend a connection inside one write transaction; an exception rolls it back.

        BEGIN IMMEDIATE takes the write lock first, so a transaction never fails half-way because
        another writer came in between. Each transaction is a change that `version` shows.

        Raises:
            StateError: another writer held the lock for 5 s, or the file cannot be written.
        """
        with _translated(self._path), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.exec_driver_sql("UPDATE change_counter SET version = version + 1")
            connection.exec_driver_sql("COMMIT")

    def version(self) -> int:
        """Return the change counter; `PRAGMA data_version` would differ by connection.

        Asked twice a second by every worker.

        Raises:
            StateError: the file cannot be read.
        """
        row = self.peek("SELECT version FROM change_counter", ())
        if row is None:
            raise _state_error(self._path, "its change counter is missing")
        return row[0]

    def peek(self, query: str, parameters: tuple[str, ...]) -> tuple[int, ...] | None:
        """Return the first row of numbers that a query gives, None if there is none.

        For what is asked again and again: it keeps a connection of its own, since taking one from
        the pool costs more than the question.

        Raises:
            StateError: the file cannot be read.
        """
        with _translated(self._path), self._peek_lock:
            cursor = self._peek_connection.cursor()
            cursor.execute(query, parameters)
            row: tuple[int, ...] | None = cursor.fetchone()
            cursor.close()
        return row


def schema_status(path: Path, migrations: Path = MIGRATIONS) -> SchemaStatus:
    """Say how a file's schema stands to this version of Verismo, without changing anything.

    Raises:
        StateError: the file cannot be read or is not a state database.
    """
    if not path.exists():
        return SchemaStatus("", _newest(migrations), "absent")
    engine = _engine(path)
    try:
        with _translated(path), engine.connect() as connection:
            return _status(connection, migrations)
    finally:
        engine.dispose()


def upgrade_schema(path: Path, migrations: Path = MIGRATIONS) -> SchemaStatus:
    """Bring a file to the newest revision, all steps in one transaction.

    Returns:
        How it stood before. `current` means that nothing was to be done.

    Raises:
        StateError: the file is newer than this Verismo, is not a state database, or is busy.
    """
    if _create(path, migrations):
        return SchemaStatus("", _newest(migrations), "absent")
    return _upgrade_in_place(path, migrations)


def _upgrade_in_place(path: Path, migrations: Path) -> SchemaStatus:
    engine = _engine(path)
    try:
        with _translated(path), engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            before = _status(connection, migrations)
            if before.verdict == "newer":
                _refuse_other(path, before)
            # A crash before COMMIT leaves the old schema whole; the same command runs it again.
            if before.verdict == "absent" and migrations == MIGRATIONS:
                _make(connection)
            else:
                _migrate(connection, migrations)
            connection.exec_driver_sql("COMMIT")
            return before
    finally:
        engine.dispose()


def _create(path: Path, migrations: Path) -> bool:
    """Make the file if it is not there; say whether it was made here.

    It is made whole beside its place and then linked in, so that processes which start together
    see no file or a finished one: switching a file to WAL does not wait for other connections.
    A crash leaves a stray `.state.db.*`, which nothing reads.
    """
    if path.exists():
        return False
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(descriptor)
        temporary = Path(name)
        _upgrade_in_place(temporary, migrations)
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(temporary, path)
            sync_folder(path.parent)
            return True
    except OSError as error:
        raise StateError(
            f"{path} cannot be created: {error.strerror}",
            next_step="Check `data` in verismo.toml and the permissions of that folder.",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return False


def _engine(path: Path) -> sa.Engine:
    # Transactions are begun and ended in the open (see `writing`), not by the driver.
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)), isolation_level="AUTOCOMMIT"
    )
    event.listen(engine, "connect", _set_pragmas)
    return engine


def _set_pragmas(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout={BUSY_MS_MAX}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
    finally:
        cursor.close()


def _status(connection: sa.Connection, migrations: Path) -> SchemaStatus:
    newest = _newest(migrations)
    tables = set(sa.inspect(connection).get_table_names())
    if not tables:
        return SchemaStatus("", newest, "absent")
    if "alembic_version" not in tables:
        raise StateError(
            f"the database holds other tables ({', '.join(sorted(tables)[:3])})",
            next_step="Point `data` in verismo.toml at a folder of its own.",
        )
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    found = "" if row is None else str(row[0])
    if found == newest:
        return SchemaStatus(found, newest, "current")
    return SchemaStatus(found, newest, "older" if _is_known(found, migrations) else "newer")


def _newest(migrations: Path) -> str:
    if migrations == MIGRATIONS:
        return NEWEST
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see the module's docstring

    return str(ScriptDirectory(migrations).get_current_head())


def _is_known(revision: str, migrations: Path) -> bool:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see the module's docstring

    known = {script.revision for script in ScriptDirectory(migrations).walk_revisions()}
    return revision in {"", *known}


def _make(connection: sa.Connection) -> None:
    for statement in SCHEMA.read_text(encoding="utf-8").splitlines():
        connection.exec_driver_sql(statement)


def _migrate(connection: sa.Connection, migrations: Path) -> None:
    from alembic.operations import Operations  # noqa: PLC0415 - see the module's docstring
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    scripts = ScriptDirectory(migrations)

    def steps(revision: str, _: MigrationContext) -> "list[RevisionStep]":
        # What `alembic upgrade head` calls; there is no public name for it.
        return scripts._upgrade_revs("head", revision)

    context = MigrationContext.configure(connection, opts={"fn": steps, "transactional_ddl": True})
    with Operations.context(context):
        context.run_migrations()


def _refuse_other(path: Path, status: SchemaStatus) -> None:
    if status.verdict == "older":
        raise StateError(
            f"{path} has schema {status.found or 'none'}; "
            f"this version of Verismo needs {status.newest}",
            next_step="Make a backup (`verismo backup`), then run `verismo db upgrade`.",
        )
    if status.verdict == "newer":
        raise StateError(
            f"{path} has schema {status.found}, which a newer version of Verismo wrote; "
            f"this version knows {status.newest}",
            next_step="Install the version that wrote it, or restore a backup of before.",
        )


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except exc.DBAPIError as error:
        raise _state_error(path, str(error.orig)) from error
    except (exc.SQLAlchemyError, sqlite3.Error, msgspec.ValidationError) as error:
        raise _state_error(path, str(error)) from error


def _state_error(path: Path, reason: str) -> StateError:
    if "locked" in reason:
        return StateError(
            f"{path} was locked by another writer for {BUSY_MS_MAX // 1_000} s",
            next_step="Try again; if it stays locked, see which process holds it: `fuser` FILE.",
        )
    if "not a database" in reason or "malformed" in reason:
        return StateError(
            f"{path} is damaged: {reason}",
            next_step="Stop Verismo and bring the last backup back: `verismo restore`.",
        )
    return StateError(
        f"{path} cannot be used: {reason}",
        next_step="Check the disk's free space and the permissions of the data folder.",
    )
