"""Alters a copy of a recorded adapt.db, and says which records are altered by it."""

import json
import shutil
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from random import Random

Places = frozenset[tuple[str, int]]
"""Kind of number, `record` or `steering`, and the number."""


class Planter:
    """One copy of adapt.db without the triggers that guard it."""

    def __init__(self, connection: sqlite3.Connection, chance: Random) -> None:
        self._connection = connection
        self._chance = chance

    def rows(self, select: str, *values: object) -> list[tuple]:
        return self._connection.execute(select, values).fetchall()

    def pick(self, select: str, *values: object) -> tuple:
        return self._chance.choice(self.rows(select + " ORDER BY 1", *values))

    def statement(self, n: int) -> dict:
        return json.loads(self.rows("SELECT statement FROM record WHERE n = ?", n)[0][0])

    def blob(self, digest: str) -> bytes:
        return zlib.decompress(
            self.rows("SELECT deflated FROM blob WHERE digest = ?", digest)[0][0]
        )

    def put(self, digest: str, content: bytes) -> None:
        self.run("UPDATE blob SET deflated = ? WHERE digest = ?", zlib.compress(content), digest)

    def run(self, statement: str, *values: object) -> None:
        assert self._connection.execute(statement, values).rowcount > 0

    def naming(self, *digests: str) -> Places:
        marks = ", ".join("?" * len(digests))
        rows = self.rows(f"SELECT n FROM named WHERE digest IN ({marks})", *digests)
        return frozenset(("record", n) for (n,) in rows)

    def altered(self, value: object) -> object:
        """Return JSON with one number, text or truth value in it changed."""
        spots = list(_spots(value))
        path, was = self._chance.choice(spots)
        if isinstance(was, bool):
            now: object = not was
        elif isinstance(was, int):
            now = was + self._chance.choice((-1, 1, 1_000))
        else:
            now = f"{was}x"
        return _with(value, path, now)

    def a_decision(self, rule: str | None = None) -> int:
        if rule is None:
            return self.pick("SELECT n FROM record WHERE rule <> 'outcome'")[0]
        return self.pick("SELECT n FROM record WHERE rule = ?", rule)[0]

    # Each of the following plants one alteration and returns where.

    def _alter_blob(self, n: int, name: str) -> Places:
        digest = self.statement(n)[name]
        value = self.altered(json.loads(self.blob(digest)))
        self.put(digest, json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
        return self.naming(digest)

    def window(self) -> Places:
        return self._alter_blob(self.a_decision("canary"), "inputs")

    def observation(self) -> Places:
        return self._alter_blob(self.a_decision(), "inputs")

    def setting(self) -> Places:
        return self._alter_blob(self.a_decision(), "settings")

    def state(self) -> Places:
        return self._alter_blob(self.a_decision(), "before")

    def decision(self) -> Places:
        return self._alter_blob(self.a_decision(), "decision")

    def verdict(self) -> Places:
        """Change the verdict in the decision, in the signed record, or in the table."""
        n = self.a_decision()
        statement = self.statement(n)
        where = self._chance.randrange(3)
        if where == 0:
            digest = statement["decision"]
            value = json.loads(self.blob(digest))
            self.put(digest, json.dumps({**value, "verdict": "RELEASE"}).encode())
            return self.naming(digest)
        if where == 1:
            self._state(n, {**statement, "verdict": "RELEASE"})
        else:
            self.run("UPDATE record SET verdict = 'RELEASE' WHERE n = ?", n)
        return _record(n)

    def digest(self) -> Places:
        n = self.a_decision()
        statement = self.statement(n)
        name = self._chance.choice(["before", "inputs", "settings", "decision", "prev"])
        was = statement[name]
        flipped = ("0" if was[0] != "0" else "1") + was[1:]
        self._state(n, {**statement, name: flipped})
        return _record(n)

    def member(self) -> Places:
        """Change any member of a signed record, outcomes too."""
        (n,) = self.pick("SELECT n FROM record")
        self._state(n, self.altered(self.statement(n)))
        return _record(n)

    def column(self) -> Places:
        """Change a column that is not signed itself."""
        (n,) = self.pick("SELECT n FROM record")
        name = self._chance.choice(["rule", "subject", "verdict", "written_ms"])
        more = "written_ms + 1" if name == "written_ms" else f"{name} || 'x'"
        self.run(f"UPDATE record SET {name} = {more} WHERE n = ?", n)
        return _record(n)

    def signature(self) -> Places:
        (n,), (other,) = self._two("SELECT n FROM record")
        self.run(
            "UPDATE record SET jws = (SELECT jws FROM record WHERE n = ?) WHERE n = ?", other, n
        )
        return _record(n)

    def order(self) -> Places:
        """Let two records change places, with everything but their numbers in the table."""
        (n,), (other,) = self._two("SELECT n FROM record")
        columns = "rule, subject, verdict, statement, jws, written_ms"
        [ours] = self.rows(f"SELECT {columns} FROM record WHERE n = ?", n)
        [theirs] = self.rows(f"SELECT {columns} FROM record WHERE n = ?", other)
        update = (
            "UPDATE record SET rule = ?, subject = ?, verdict = ?, statement = ?, jws = ?, "
            "written_ms = ? WHERE n = ?"
        )
        self.run(update, *theirs, n)
        self.run(update, *ours, other)
        return _record(n, other)

    def deleted_row(self) -> Places:
        """Delete a record; an outcome at the end alone is only missed by the ledger."""
        (last, rule) = self.rows("SELECT n, rule FROM record ORDER BY n DESC LIMIT 1")[0]
        below = last if rule == "outcome" else last + 1
        (n,) = self.pick("SELECT n FROM record WHERE n < ?", below)
        self.run("DELETE FROM record WHERE n = ?", n)
        return _record(n)

    def deleted_blob(self) -> Places:
        (digest,) = self.pick("SELECT digest FROM blob")
        places = self.naming(digest)
        self.run("DELETE FROM blob WHERE digest = ?", digest)
        return places

    def swapped_blobs(self) -> Places:
        (one,), (other,) = self._two("SELECT digest FROM blob")
        ours, theirs = self.blob(one), self.blob(other)
        self.put(one, theirs)
        self.put(other, ours)
        return self.naming(one, other)

    def damaged_blob(self) -> Places:
        (digest,) = self.pick("SELECT digest FROM blob")
        [(deflated,)] = self.rows("SELECT deflated FROM blob WHERE digest = ?", digest)
        cut = deflated[: self._chance.randrange(len(deflated))]
        self.run("UPDATE blob SET deflated = ? WHERE digest = ?", cut, digest)
        return self.naming(digest)

    def weight(self) -> Places:
        """Change the steering that gateways were told."""
        (version,) = self.pick("SELECT version FROM steering")
        [(statement,)] = self.rows("SELECT statement FROM steering WHERE version = ?", version)
        changed = _canonical(self.altered(json.loads(statement)))
        self.run("UPDATE steering SET statement = ? WHERE version = ?", changed, version)
        return frozenset({("steering", version)})

    def deleted_version(self) -> Places:
        (version,) = self.pick("SELECT version FROM steering")
        self.run("DELETE FROM steering WHERE version = ?", version)
        return frozenset({("steering", version)})

    def _two(self, select: str) -> list[tuple]:
        return self._chance.sample(self.rows(select + " ORDER BY 1"), 2)

    def _state(self, n: int, statement: object) -> None:
        self.run("UPDATE record SET statement = ? WHERE n = ?", _canonical(statement), n)


KINDS = (
    *("window", "observation", "setting", "state", "decision", "verdict", "digest", "member"),
    *("column", "signature", "order", "deleted_row", "deleted_blob", "swapped_blobs"),
    *("damaged_blob", "weight", "deleted_version"),
)


def plant(original: Path, copy: Path, kind: str, seed: int) -> Places:
    """Copy a file, plant one alteration into the copy, and return where it is."""
    for suffix in ("-wal", "-shm"):
        copy.with_name(copy.name + suffix).unlink(missing_ok=True)
    shutil.copyfile(original, copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = OFF")
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        return getattr(Planter(connection, Random(f"{kind} {seed}")), kind)()


def _record(*numbers: int) -> Places:
    return frozenset(("record", n) for n in numbers)


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _spots(value: object, path: tuple = ()):
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _spots(item, (*path, name))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _spots(item, (*path, at))
    elif value is not None:
        yield path, value


def _with(value: object, path: tuple, now: object) -> object:
    if not path:
        return now
    first, *rest = path
    if isinstance(value, dict):
        return {**value, first: _with(value[first], tuple(rest), now)}
    return [_with(one, tuple(rest), now) if at == first else one for at, one in enumerate(value)]
