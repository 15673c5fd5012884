"""What all workers of a data folder share of budgets: `<data>/budget.db`.

A worker leases a part of a tenant's day: `granted` is what it may spend of it and `spent` what it
has told. The sum over all workers of the larger of the two never passes the budget, save by calls
that cost more than was set aside for them. A lease lasts a few seconds on the machine's monotonic
clock, which no step of the wall clock moves. What a worker that is gone did not spend comes back
after that; what it did spend is read from its journal.

Nothing here needs to survive a power cut, since the journals have it all: `synchronous=OFF`.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from verismo.adapters.inode import inode_of
from verismo.adapters.sqlite_schema import Schema, transaction
from verismo.model.errors import StateError
from verismo.model.ids import OperationId, TenantId
from verismo.model.units import UsdMicros

FILE_NAME = "budget.db"
BUSY_MS_MAX = 50
"""How long a call may wait for another worker; each holds the file for a fraction of a ms."""
OPENING_BUSY_MS_MAX = 5_000
"""All workers open it at once at a start, and the first of them makes its tables."""
LEASE_MS = 10_000
"""How long a lease holds without being renewed; ten times the pause between two renewals."""
BURST_MS = 10_000
"""What a route's bucket holds at most: that long of its rate."""
_MINUTE_MS = 60_000
_TABLES = """
CREATE TABLE lease (
    tenant TEXT NOT NULL,
    day_ms INTEGER NOT NULL,
    slot TEXT NOT NULL,
    granted INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, day_ms, slot)
) STRICT, WITHOUT ROWID;
CREATE TABLE bucket (
    tenant TEXT NOT NULL,
    operation TEXT NOT NULL,
    level INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, operation)
) STRICT, WITHOUT ROWID;
"""
_SCHEMA = Schema(
    _TABLES,
    next_step="Run the version of Verismo that wrote it, or stop it and move the file away: what "
    "was spent is in the journals.",
)


class Ask(msgspec.Struct, frozen=True):
    """What a worker wants of a tenant's day.

    Args:
        slot: the worker.
        tenant: whose budget.
        day_ms: start of the UTC day, Unix ms.
        limit: the budget of the day, USD micros.
        spent: what this worker has spent of it so far.
        target: what it wants to have in all, spent included; less than it has gives back.
    """

    slot: str
    tenant: TenantId
    day_ms: int
    limit: UsdMicros
    spent: int
    target: int


class Standing(msgspec.Struct, frozen=True):
    """How a worker stands in a tenant's day, USD micros.

    Args:
        granted: what it has in all, spent included.
        left: what nobody has.
        unspent: what was not spent, as far as workers have told.
    """

    granted: int
    left: int
    unspent: int


class Lapsed(msgspec.Struct, frozen=True):
    """A lease that its worker did not renew."""

    slot: str
    tenant: TenantId
    day_ms: int
    until_ms: int


class Drawn(msgspec.Struct, frozen=True):
    """What a route's bucket gave.

    Args:
        usd_micros: 0 if it is empty.
        wait_ms: until it is not.
    """

    usd_micros: int
    wait_ms: int


class SqliteSlices:
    """The file, opened; to be used by one thread at a time.

    Times are ms of the machine's monotonic clock, except `day_ms`.

    Args:
        path: it is made, readable by its owner only, if it is not there.

    Raises:
        StateError: it cannot be used, or a newer version of Verismo wrote it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(
                path,
                isolation_level=None,
                check_same_thread=False,
                timeout=OPENING_BUSY_MS_MAX / 1_000,
            )
        self._inode = inode_of(path)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def is_in_place(self) -> bool:
        """Say whether workers that open the path now get this file; not once it was deleted."""
        return inode_of(self._path) == self._inode

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def begin(self, slot: str, day_ms: int, spent: Mapping[str, Mapping[TenantId, int]]) -> None:
        """Start a worker: what its predecessor did not spend is free, what the journals say stands.

        Args:
            slot: the worker; no other process uses it.
            day_ms: start of the UTC day, Unix ms.
            spent: what the journal of each slot has of it.
        """
        with self._transaction() as connection:
            connection.execute("DELETE FROM lease WHERE day_ms < ?", (day_ms,))
            for each, costs in spent.items():
                for tenant, cost in costs.items():
                    connection.execute(
                        "INSERT INTO lease VALUES (?, ?, ?, ?, ?, 0) ON CONFLICT DO UPDATE "
                        "SET spent = max(spent, excluded.spent)",
                        (tenant, day_ms, each, cost, cost),
                    )
            connection.execute(
                "UPDATE lease SET granted = spent, until_ms = 0 WHERE slot = ?", (slot,)
            )

    def lease(self, ask: Ask, now_ms: int) -> Standing:
        """Take, keep, renew or give back a part of a day, and tell what was spent.

        Raises:
            StateError: the file cannot be used now.
        """
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT slot, granted, spent FROM lease WHERE tenant = ? AND day_ms = ?",
                (ask.tenant, ask.day_ms),
            ).fetchall()
            others = sum(max(row[1], row[2]) for row in rows if row[0] != ask.slot)
            told = sum(row[2] for row in rows if row[0] != ask.slot)
            had, before = next((row[1:] for row in rows if row[0] == ask.slot), (0, 0))
            spent = max(ask.spent, before)
            # What it has already stays its own even where others have overspent: calls are in
            # flight on it.
            granted = max(spent, min(ask.target, max(had, ask.limit - others)))
            connection.execute(
                "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?, ?)",
                (ask.tenant, ask.day_ms, ask.slot, granted, spent, now_ms + LEASE_MS),
            )
        return Standing(
            granted, max(0, ask.limit - others - granted), max(0, ask.limit - told - spent)
        )

    def held(self, day_ms: int) -> Mapping[TenantId, int]:
        """Return what all workers together have of each tenant's day, spent included."""
        with self._translated():
            rows = self._connection.execute(
                "SELECT tenant, SUM(max(granted, spent)) FROM lease WHERE day_ms = ? "
                "GROUP BY tenant",
                (day_ms,),
            ).fetchall()
        return {TenantId(tenant): held for tenant, held in rows}

    def lapsed(self, now_ms: int) -> Sequence[Lapsed]:
        """Return leases that ran out and hold something. One from before a boot has, too."""
        with self._translated():
            rows = self._connection.execute(
                "SELECT slot, tenant, day_ms, until_ms FROM lease "
                "WHERE granted > spent AND NOT until_ms BETWEEN ? AND ?",
                (now_ms, now_ms + LEASE_MS),
            ).fetchall()
        return [Lapsed(slot, TenantId(tenant), day, until) for slot, tenant, day, until in rows]

    def release(self, lapsed: Lapsed, spent: int) -> None:
        """Free what a worker that is gone did not spend, unless it has come back.

        Args:
            lapsed: from `lapsed`.
            spent: what its journal has of that day.
        """
        with self._transaction() as connection:
            connection.execute(
                "UPDATE lease SET granted = max(spent, ?), spent = max(spent, ?) "
                "WHERE tenant = ? AND day_ms = ? AND slot = ? AND until_ms = ?",
                (spent, spent, lapsed.tenant, lapsed.day_ms, lapsed.slot, lapsed.until_ms),
            )

    def draw(
        self,
        route: tuple[TenantId, OperationId],
        per_minute: int,
        want: tuple[int, int],
        now_ms: int,
    ) -> Drawn:
        """Take from the token bucket of a throttled route, which starts full.

        A bucket with anything in it gives what is needed and goes into debt for the rest, so that
        a request dearer than the bucket is let through once it has waited for the debts before it.

        Args:
            route: tenant and operation.
            per_minute: what fills it, USD micros, over 0.
            want: what is needed, and what is wanted if it is there, USD micros.
            now_ms: of the monotonic clock.
        """
        needed, wanted = want
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT level, at_ms FROM bucket WHERE tenant = ? AND operation = ?", route
            ).fetchone()
            full = BURST_MS * per_minute
            # Counted in USD micros times 60,000, so that short pauses do not round to nothing.
            level, at_ms = row or (full, now_ms)
            level = min(full, level + max(0, now_ms - at_ms) * per_minute)
            given = max(needed, min(wanted, level // _MINUTE_MS)) if level > 0 else 0
            level -= given * _MINUTE_MS
            connection.execute(
                "INSERT OR REPLACE INTO bucket VALUES (?, ?, ?, ?)", (*route, level, now_ms)
            )
        return Drawn(given, 0 if given else -level // per_minute + 1)

    def _prepare(self) -> None:
        with self._translated():
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=OFF")
            _SCHEMA.prepare(self._connection, self._path)
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MS_MAX}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._translated(), transaction(self._connection):
            yield self._connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, OverflowError) as error:
            raise StateError(
                f"{self._path} cannot be used: {error}",
                next_step="Check the disk and the data folder's permissions. If the file is "
                "damaged, stop Verismo and move it away: what was spent is in the journals.",
            ) from error
