"""Rate limits that all workers count together: one small file, mapped into each of them.

A request changes a few octets of memory under a lock of its own few slots: two system calls and no
access to a disk. The kernel lets go of the lock of a process that dies.

The file is a table of slots. A bucket's slot is one of the few of its group that its name's digest
chooses. A bucket that is full needs no slot, so a group has room again as its buckets refill; where
it has none the bucket nearest to full is forgotten, in favour of its owner. Nothing here needs to
survive a power cut.
"""

import fcntl
import hashlib
import math
import mmap
import os
import struct
from pathlib import Path
from time import monotonic
from typing import Final

from verismo.model.errors import StateError

FILE_NAME: Final = "rates.1"
"""The number is that of the layout: another one is another file."""
GROUPS: Final = 4_096
SLOTS_PER_GROUP: Final = 16
"""Room for 16 buckets of a group that are not full; for 65,536 in all."""
STEP_BACK_MS: Final = 1_000
"""Workers read the clock within this of each other; what is further ahead was a wrong clock."""
LOCK_S_MAX: Final = 0.1
"""A lock is held for microseconds; only a process that was stopped just then holds it longer."""
_DEBT_MAX: Final = 1e15
"""More than that no calls can take: the file is damaged."""
_MINUTE_MS: Final = 60_000
_SLOT: Final = struct.Struct("<16s3d")
_GROUP_BYTES: Final = SLOTS_PER_GROUP * _SLOT.size
_FREE: Final = bytes(16)


class MappedRates:
    """The file, mapped. Used by one thread.

    Args:
        path: it is made, readable by its owner only, if it is not there.
        lock_s_max: how long to wait for another process that holds a lock.

    Raises:
        StateError: it cannot be made or mapped.
    """

    def __init__(self, path: Path, lock_s_max: float = LOCK_S_MAX) -> None:
        self._lock_s_max = lock_s_max
        size = GROUPS * _GROUP_BYTES
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                # All of it has its place on the disk before it is mapped: a full disk would end
                # a process that writes to a page without one.
                os.posix_fallocate(self._file, 0, size)
                self._map = mmap.mmap(self._file, size)
            except BaseException:
                os.close(self._file)
                raise
        except OSError as error:
            raise StateError(
                f"{path} cannot be used: {error.strerror}",
                next_step="Check the space and the permissions of the data folder. The file may "
                "be deleted while Verismo is stopped: it holds the last minute of rate limits.",
            ) from error

    def bucket(self, name: tuple[str, ...], per_minute: float) -> "MappedBucket":
        """Return a bucket; see `ports.rates.RateTable`."""
        return MappedBucket(self, _digest((*name, repr(per_minute))), per_minute)

    def close(self) -> None:
        """Unmap and close the file."""
        self._map.close()
        os.close(self._file)

    def lock(self, group: int) -> bool:
        """Lock a group against other processes; False if one of them does not let go of it."""
        until_s = 0.0
        while True:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, group)
            except BlockingIOError:
                now_s = monotonic()
                until_s = until_s or now_s + self._lock_s_max
                if now_s >= until_s:
                    return False
                os.sched_yield()
            else:
                return True

    def unlock(self, group: int) -> None:
        """Let go of a group."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, group)

    def read(self, slot: int) -> tuple[bytes, float, float, float]:
        """Return a slot's key, level, time of that level (Unix ms) and refill a minute."""
        return _SLOT.unpack_from(self._map, slot * _SLOT.size)

    def write(self, slot: int, key: bytes, level: float, at_ms: float, per_minute: float) -> None:
        """Write a slot."""
        _SLOT.pack_into(self._map, slot * _SLOT.size, key, level, at_ms, per_minute)


class MappedBucket:
    """One bucket; see `ports.rates.RateBucket`.

    Args:
        table: the file.
        key: digest of the name and the refill.
        per_minute: refill, over 0.

    Attributes:
        group: number of the slots that it may have.
    """

    __slots__ = ("_key", "_slot", "_table", "group", "per_minute")

    def __init__(self, table: MappedRates, key: bytes, per_minute: float) -> None:
        self._table = table
        self._key = key
        self.group = int.from_bytes(key[:4]) % GROUPS
        self._slot = self.group * SLOTS_PER_GROUP
        self.per_minute = per_minute

    def level(self, now_ms: int) -> float:
        """Return what is in it, below 0 while it is in debt."""
        return self._exchange(0, -math.inf, now_ms)

    def try_take(self, amount: float, now_ms: int) -> bool:
        """Take an amount out if all of it is there, and say whether it was."""
        return self._exchange(amount, amount, now_ms) >= amount

    def charge(self, amount: float, now_ms: int) -> None:
        """Take an amount out, into debt if need be; a negative one gives back."""
        self._exchange(amount, -math.inf, now_ms)

    def _exchange(self, amount: float, needed: float, now_ms: int) -> float:
        """Take an amount if what is needed is there; return what was there before."""
        table = self._table
        # Without the lock two workers may count one request as one: rather that than wait.
        is_locked = table.lock(self.group)
        try:
            slot, level, at_ms = self._find(now_ms)
            if amount and level >= needed:
                table.write(slot, self._key, level - amount, at_ms, self.per_minute)
                self._slot = slot
            return level
        finally:
            if is_locked:
                table.unlock(self.group)

    def _find(self, now_ms: int) -> tuple[int, float, float]:
        """Return this bucket's slot, or the one to take, with the level and its time."""
        key, level, at_ms, _ = self._table.read(self._slot)
        if key == self._key:
            return self._slot, *_refilled(level, at_ms, self.per_minute, now_ms)
        first = self.group * SLOTS_PER_GROUP
        best, fullest = first, -math.inf
        for slot in range(first, first + SLOTS_PER_GROUP):
            key, level, at_ms, per_minute = self._table.read(slot)
            if key == self._key:
                return slot, *_refilled(level, at_ms, self.per_minute, now_ms)
            fullness = 2.0
            if key != _FREE and per_minute > 0:
                fullness = _refilled(level, at_ms, per_minute, now_ms)[0] / per_minute
            if fullness > fullest:
                best, fullest = slot, fullness
        return best, self.per_minute, now_ms


def _refilled(level: float, at_ms: float, per_minute: float, now_ms: int) -> tuple[float, float]:
    """Return a level as it is now, and the time that it is of; what makes no sense is full."""
    if not at_ms <= now_ms + STEP_BACK_MS:
        at_ms = now_ms
    level += max(0.0, now_ms - at_ms) * per_minute / _MINUTE_MS
    return (level if -_DEBT_MAX <= level < per_minute else per_minute), max(at_ms, now_ms)


def _digest(name: tuple[str, ...]) -> bytes:
    parts = b"".join(struct.pack("<I", len(part)) + part for part in map(str.encode, name))
    return hashlib.blake2b(parts, digest_size=16).digest()
