"""The exact cache in the worker's memory: bounded by bytes, least recently used first."""

from collections import OrderedDict

from verismo.ports.cache import CachedAnswer

CACHE_BYTES_MAX = 67_108_864
"""64 MiB for each worker."""
ENTRY_BYTES = 512
"""What an entry costs besides its body."""


class MemoryCache:
    """An exact cache; see `ports.cache.AnswerCache`.

    Args:
        bytes_max: bound on all bodies and their overhead.
    """

    def __init__(self, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._held = 0
        self._entries: OrderedDict[bytes, tuple[CachedAnswer, int]] = OrderedDict()

    def get(self, key: bytes, now_ms: int) -> CachedAnswer | None:
        """Return a live entry; a dead one is dropped."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        answer, dies_ms = entry
        if now_ms >= dies_ms:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return answer

    def put(self, key: bytes, answer: CachedAnswer, ttl_s: int) -> None:
        """Keep an answer; what does not fit at all is not kept."""
        size = len(answer.body) + ENTRY_BYTES
        if key in self._entries:
            self._drop(key)
        if size > self._bytes_max or ttl_s <= 0:
            return
        self._entries[key] = (answer, answer.stored_ms + ttl_s * 1_000)
        self._held += size
        while self._held > self._bytes_max:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: bytes) -> None:
        answer, _ = self._entries.pop(key)
        self._held -= len(answer.body) + ENTRY_BYTES
