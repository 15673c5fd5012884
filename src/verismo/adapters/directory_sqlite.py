"""API keys and observed operations in `state.db` (port: `verismo.ports.directory`)."""

import hashlib
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import sqlite

from verismo.adapters.state_sqlite import StateDatabase
from verismo.model.errors import NotFound, StateError
from verismo.model.ids import KeyId, TenantId
from verismo.model.tenant import ApiKey, RateLimit
from verismo.ports.directory import Observation

OBSERVATIONS_MAX = 10_000
"""The port's bound for each tenant; past it the least recent go."""

_metadata = sa.MetaData()
_api_key = sa.Table(
    "api_key",
    _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text),
    sa.Column("secret_sha256", sa.Text),
    sa.Column("name", sa.Text),
    sa.Column("purpose", sa.Text),
    sa.Column("role", sa.Text),
    sa.Column("created_ms", sa.BigInteger),
    sa.Column("expires_ms", sa.BigInteger),
    sa.Column("revoked_ms", sa.BigInteger),
    sa.Column("requests_per_minute", sa.BigInteger),
    sa.Column("tokens_per_minute", sa.BigInteger),
)
_observation = sa.Table(
    "observation",
    _metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("document_sha256", sa.Text, primary_key=True),
    sa.Column("document", sa.Text),
    sa.Column("count", sa.BigInteger),
    sa.Column("last_ms", sa.BigInteger),
)


class SqliteDirectory:
    """The directory of one data folder; see `verismo.ports.directory.Directory`."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def version(self) -> int:
        """Return a number that rises with every change, whichever process made it."""
        return self._database.version()

    def api_keys(self) -> Sequence[ApiKey]:
        """Return every key by creation time."""
        query = sa.select(_api_key).order_by(_api_key.c.created_ms, _api_key.c.id)
        with self._database.reading() as connection:
            return [_key_of(row) for row in connection.execute(query)]

    def add_api_key(self, key: ApiKey) -> None:
        """Store a new key.

        Raises:
            StateError: the id is taken or the store cannot be written.
        """
        fields = msgspec.structs.asdict(key)
        rate: RateLimit = fields.pop("rate")
        fields.update(msgspec.structs.asdict(rate))
        with self._database.writing() as connection:
            try:
                connection.execute(sa.insert(_api_key).values(fields))
            except exc.IntegrityError as error:
                raise StateError(
                    f"the API key id {key.id} is taken", next_step="Create the key again."
                ) from error

    def revoke_api_key(self, key_id: KeyId, now_ms: int) -> ApiKey:
        """Revoke a key; the first revocation's time stays.

        Raises:
            NotFound: no such key.
        """
        update = (
            sa.update(_api_key)
            .where(_api_key.c.id == key_id, _api_key.c.revoked_ms == 0)
            .values(revoked_ms=now_ms)
        )
        with self._database.writing() as connection:
            connection.execute(update)
            row = connection.execute(sa.select(_api_key).where(_api_key.c.id == key_id)).first()
            if row is None:
                raise NotFound(f"there is no API key with the id {key_id}")
            return _key_of(row)

    def observe(self, observations: Sequence[Observation]) -> None:
        """Add counts in one transaction, then drop each tenant's least recent over the bound."""
        if not observations:
            return
        insert = sqlite.insert(_observation)
        upsert = insert.on_conflict_do_update(
            index_elements=list(_observation.primary_key),
            set_={
                "count": _observation.c.count + insert.excluded.count,
                "last_ms": sa.func.max(_observation.c.last_ms, insert.excluded.last_ms),
            },
        )
        with self._database.writing() as connection:
            connection.execute(upsert, [_row_of(seen) for seen in observations])
            for tenant in sorted({seen.tenant for seen in observations}):
                connection.execute(_trim(tenant))

    def observations(self, tenant: TenantId | None = None) -> Sequence[Observation]:
        """Return what was observed, most frequent first, then most recent."""
        columns = [_observation.c[name] for name in Observation.__struct_fields__]
        query = sa.select(*columns).order_by(
            _observation.c.count.desc(), _observation.c.last_ms.desc(), *_observation.primary_key
        )
        if tenant is not None:
            query = query.where(_observation.c.tenant == tenant)
        with self._database.reading() as connection:
            return [_observation_of(row) for row in connection.execute(query)]


def _trim(tenant: TenantId) -> sa.Delete:
    row_id: sa.ColumnClause[int] = sa.literal_column("rowid", sa.Integer)
    kept = (
        sa.select(row_id)
        .select_from(_observation)
        .where(_observation.c.tenant == tenant)
        .order_by(_observation.c.last_ms.desc(), row_id.desc())
        .limit(-1)
        .offset(OBSERVATIONS_MAX)
    )
    return sa.delete(_observation).where(row_id.in_(kept))


def _row_of(seen: Observation) -> dict[str, str | int]:
    # A lone surrogate, which a client can send as a JSON escape, cannot be stored as UTF-8; one
    # such name must not make the whole batch fail.
    name = seen.name.encode("utf-8", "replace").decode("utf-8")
    document = seen.document.encode("utf-8", "replace")
    return {
        "tenant": seen.tenant,
        "kind": seen.kind,
        "name": name,
        "document_sha256": hashlib.sha256(document).hexdigest(),
        "document": document.decode("utf-8"),
        "count": seen.count,
        "last_ms": seen.last_ms,
    }


def _key_of(row: sa.Row[tuple[object, ...]]) -> ApiKey:
    # str(): SQLAlchemy's column names are a subclass of str, which msgspec refuses as keys.
    fields = {str(name): value for name, value in row._mapping.items()}
    rate = {name: fields[name] for name in RateLimit.__struct_fields__}
    return msgspec.convert({**fields, "rate": rate}, ApiKey)


def _observation_of(row: sa.Row[tuple[object, ...]]) -> Observation:
    return msgspec.convert(dict(zip(Observation.__struct_fields__, row, strict=True)), Observation)
