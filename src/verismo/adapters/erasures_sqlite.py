"""Erased tenants in `state.db` (port: `verismo.ports.erasures`), and the markers of before.

Earlier versions wrote `keys/tenants/<ID>.erased`, which a backup without the private keys lacks.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from verismo.adapters.state_sqlite import StateDatabase
from verismo.model.errors import StateError
from verismo.model.ids import TenantId
from verismo.ports.erasures import Erasures

MARKER = ".erased"

_erasure = sa.Table(
    "erasure",
    sa.MetaData(),
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("erased_ms", sa.BigInteger),
)


class SqliteErasures:
    """The erasures of one data folder; see `verismo.ports.erasures.Erasures`."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def is_erased(self, tenant: TenantId) -> bool:
        """Say whether a tenant was erased."""
        query = "SELECT 1 FROM erasure WHERE tenant = ?"
        return self._database.peek(query, (tenant,)) is not None

    def erased(self) -> Mapping[TenantId, int]:
        """Return when each tenant was erased, Unix ms."""
        query = sa.select(_erasure).order_by(_erasure.c.tenant)
        with self._database.reading() as connection:
            return {TenantId(row.tenant): row.erased_ms for row in connection.execute(query)}

    def record(self, tenant: TenantId, now_ms: int) -> None:
        """Record that a tenant is erased; the first time stays."""
        insert = sqlite.insert(_erasure).values(tenant=tenant, erased_ms=now_ms)
        with self._database.writing() as connection:
            connection.execute(insert.on_conflict_do_nothing())


def adopt_markers(folder: Path, erasures: Erasures) -> None:
    """Record what the markers in a folder say, and delete them; any process may do it at any time.

    Args:
        folder: `keys/tenants` of the data folder.
        erasures: where they belong.

    Raises:
        StateError: a marker or the store cannot be read or written.
    """
    try:
        for marker in sorted(folder.glob(f"*{MARKER}")):
            erasures.record(TenantId(marker.name.removesuffix(MARKER)), _marked_ms(marker))
            # A crash here leaves a marker that is recorded; the next start deletes it.
            marker.unlink(missing_ok=True)
    except OSError as error:
        raise StateError(
            f"the markers of erased tenants in {folder} cannot be moved to state.db: "
            f"{error.strerror}",
            next_step="Give the data folder to the user that runs Verismo.",
        ) from error


def _marked_ms(marker: Path) -> int:
    """Return the time in a marker; that of the file if somebody made it by hand."""
    text = marker.read_text(encoding="utf-8", errors="replace").strip()
    try:
        seconds = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        seconds = marker.stat().st_mtime
    return int(seconds) * 1_000
