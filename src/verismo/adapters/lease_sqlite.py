"""A lease with a fencing token, as one row of a SQLite file; see `ports.ledger.Lease`.

Every write of the file looks at the token first, in its own transaction under SQLite's write lock:
a holder whose lease went elsewhere changes nothing, whenever it wakes up.
"""

import sqlite3

from verismo.ports.ledger import LeaseElsewhere

TABLE = """CREATE TABLE lease (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    token INTEGER NOT NULL,
    holder TEXT NOT NULL,
    until_ms INTEGER NOT NULL
) STRICT;
INSERT INTO lease VALUES (1, 0, '', 0);
"""


def acquire(
    connection: sqlite3.Connection, holder: str, *, now_ms: int, ttl_ms: int, does: str
) -> int:
    """Take the lease inside a transaction and return its token.

    Args:
        connection: in a write transaction.
        holder: who takes it; the same holder may take it again.
        now_ms: Unix ms.
        ttl_ms: how long it holds without being renewed.
        does: what a holder does, for the error: `integrates the ledger`.

    Raises:
        LeaseElsewhere: another holder has it.
    """
    token, current, until_ms = connection.execute(
        "SELECT token, holder, until_ms FROM lease"
    ).fetchone()
    # A lease that ends later than one could is of a clock that has stepped back since.
    if current not in ("", holder) and now_ms < until_ms <= now_ms + ttl_ms:
        raise LeaseElsewhere(
            f"{current} {does}",
            next_step="Nothing to do: one does, the others stand by. If that process is dead, its "
            "lease runs out by itself.",
        )
    connection.execute(
        "UPDATE lease SET token = ?, holder = ?, until_ms = ?",
        (token + 1, holder, now_ms + ttl_ms),
    )
    return int(token) + 1


def renew(connection: sqlite3.Connection, now_ms: int, ttl_ms: int) -> None:
    """Prolong the lease, in a transaction that has looked at the token."""
    connection.execute("UPDATE lease SET until_ms = ?", (now_ms + ttl_ms,))


def release(connection: sqlite3.Connection, token: int) -> None:
    """Give the lease up; the token stays used, and nothing happens if it went elsewhere."""
    connection.execute("UPDATE lease SET holder = '', until_ms = 0 WHERE token = ?", (token,))


def holder_of(connection: sqlite3.Connection, now_ms: int) -> str:
    """Return who holds the lease now, empty if nobody does."""
    found = connection.execute("SELECT holder FROM lease WHERE until_ms > ?", (now_ms,)).fetchone()
    return "" if found is None else str(found[0])


def check_token(connection: sqlite3.Connection, token: int, does: str) -> None:
    """Refuse to write under a token that is not the last one given out.

    Raises:
        LeaseElsewhere: a later token was given out.
    """
    latest, current = connection.execute("SELECT token, holder FROM lease").fetchone()
    if latest != token:
        raise LeaseElsewhere(
            f"the lease went elsewhere: {current or 'another process'} {does}",
            next_step="Nothing to do: one does, the others stand by.",
        )
