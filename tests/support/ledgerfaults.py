"""Parts of an integrator that fail at one chosen write: not stored, or stored and not told."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec
from tests.support.ledger import Place

from verismo.adapters.ledger_sqlite import SqliteLedger
from verismo.control.integrator import LedgerDesk
from verismo.model.errors import StateError
from verismo.model.ledger import LogId
from verismo.ports.ledger import (
    CheckpointMemory,
    Growth,
    LogState,
    StoredCheckpoint,
    TileFile,
    TileStore,
)

Mode = Literal["not stored", "stored"]
T = TypeVar("T")


class Faults:
    """Counts writes, and calls `fail` around one of them.

    Args:
        at: which write, from 1; 0 for none.
        mode: whether that write is stored.
        fail: what happens then; by default a StateError.
    """

    def __init__(self, at: int = 0, mode: Mode = "stored", fail: Callable[[], None] | None = None):
        self.at = at
        self.mode = mode
        self.count = 0
        self.hit = ""
        self._fail = fail or _raise

    def write(self, name: str, call: Callable[[], T]) -> T:
        """Do a write, or fail at it."""
        self.count += 1
        if self.count != self.at:
            return call()
        self.hit = name
        if self.mode == "stored":
            call()
        self._fail()
        raise AssertionError("`fail` came back")


def _raise() -> None:
    raise StateError("an injected fault")


class FaultyLedger:
    """A `LedgerStore` and `Lease` over a real one."""

    def __init__(self, store: SqliteLedger, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    def acquire(self, holder: str, now_ms: int, ttl_ms: int) -> int:
        return self._faults.write("acquire", lambda: self._store.acquire(holder, now_ms, ttl_ms))

    def renew(self, token: int, now_ms: int, ttl_ms: int) -> None:
        self._faults.write("renew", lambda: self._store.renew(token, now_ms, ttl_ms))

    def release(self, token: int) -> None:
        self._faults.write("release", lambda: self._store.release(token))

    def cursors(self) -> Mapping[str, int]:
        return self._store.cursors()

    def logs(self) -> Sequence[LogState]:
        return self._store.logs()

    def assign(self, token: int, growths: Sequence[Growth], cursors: Mapping[str, int]) -> None:
        self._faults.write("assign", lambda: self._store.assign(token, growths, cursors))

    def pending(self, log: LogId, first_index: int) -> bytes:
        return self._store.pending(log, first_index)

    def integrated(self, token: int, log: LogId, size: int) -> None:
        self._faults.write("integrated", lambda: self._store.integrated(token, log, size))

    def add_checkpoint(self, token: int, checkpoint: StoredCheckpoint) -> None:
        self._faults.write("add_checkpoint", lambda: self._store.add_checkpoint(token, checkpoint))

    def latest_checkpoint(self, log: LogId) -> StoredCheckpoint | None:
        return self._store.latest_checkpoint(log)


class FaultyTiles:
    """A `TileStore` over a real one; each file is a write of its own."""

    def __init__(self, tiles: TileStore, faults: Faults) -> None:
        self._tiles = tiles
        self._faults = faults

    def read(self, log: LogId, path: str) -> bytes | None:
        return self._tiles.read(log, path)

    def write(self, log: LogId, files: Sequence[TileFile]) -> None:
        for file in files:
            self._faults.write(file.path, lambda file=file: self._tiles.write(log, [file]))

    def prune(self, log: LogId, paths: Sequence[str]) -> None:
        self._faults.write("prune", lambda: self._tiles.prune(log, paths))

    def publish(self, log: LogId, note: bytes) -> None:
        self._faults.write("publish", lambda: self._tiles.publish(log, note))


class FaultyMemory:
    """A `CheckpointMemory` over a real one."""

    def __init__(self, memory: CheckpointMemory, faults: Faults) -> None:
        self._memory = memory
        self._faults = faults

    def remembered(self, origin: str) -> bytes | None:
        return self._memory.remembered(origin)

    def remember(self, origin: str, note: bytes) -> None:
        self._faults.write("remember", lambda: self._memory.remember(origin, note))


def faulty_desk(place: Place, faults: Faults) -> LedgerDesk:
    """Return the parts of an integrator that fail as told."""
    desk = place.desk()
    store = FaultyLedger(place.store(), faults)
    return msgspec.structs.replace(
        desk,
        store=store,
        lease=store,
        tiles=FaultyTiles(desk.tiles, faults),
        memory=FaultyMemory(desk.memory, faults),
    )
