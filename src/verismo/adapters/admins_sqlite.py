"""Administrators' keys in `state.db` (port: `verismo.ports.admins`)."""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy import exc

from verismo.adapters.state_sqlite import StateDatabase
from verismo.model.errors import NotFound, StateError
from verismo.model.ids import KeyId
from verismo.ports.admins import AdminKey

_admin_key = sa.Table(
    "admin_key",
    sa.MetaData(),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("role", sa.Text),
    sa.Column("secret_sha256", sa.Text),
    sa.Column("created_ms", sa.BigInteger),
    sa.Column("expires_ms", sa.BigInteger),
    sa.Column("revoked_ms", sa.BigInteger),
)


class SqliteAdmins:
    """The administrators of one data folder; see `verismo.ports.admins.Admins`."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def admin_keys(self) -> Sequence[AdminKey]:
        """Return every key by creation time."""
        query = sa.select(_admin_key).order_by(_admin_key.c.created_ms, _admin_key.c.id)
        with self._database.reading() as connection:
            return [_key_of(row) for row in connection.execute(query)]

    def add_admin_key(self, key: AdminKey) -> None:
        """Store a new key.

        Raises:
            StateError: the id is taken or the store cannot be written.
        """
        with self._database.writing() as connection:
            try:
                connection.execute(sa.insert(_admin_key).values(msgspec.structs.asdict(key)))
            except exc.IntegrityError as error:
                raise StateError(
                    f"the admin key id {key.id} is taken", next_step="Create the key again."
                ) from error

    def revoke_admin_key(self, key_id: KeyId, now_ms: int) -> AdminKey:
        """Revoke a key; the first revocation's time stays.

        Raises:
            NotFound: no such key.
        """
        update = (
            sa.update(_admin_key)
            .where(_admin_key.c.id == key_id, _admin_key.c.revoked_ms == 0)
            .values(revoked_ms=now_ms)
        )
        with self._database.writing() as connection:
            connection.execute(update)
            row = connection.execute(sa.select(_admin_key).where(_admin_key.c.id == key_id)).first()
            if row is None:
                raise NotFound(f"there is no admin key with the id {key_id}")
            return _key_of(row)


def _key_of(row: sa.Row[tuple[object, ...]]) -> AdminKey:
    # str(): SQLAlchemy's column names are a subclass of str, which msgspec refuses as keys.
    return msgspec.convert({str(name): value for name, value in row._mapping.items()}, AdminKey)
