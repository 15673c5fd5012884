"""The exact cache in memory: lifetimes, and a bound in bytes that always holds."""

from hypothesis import given
from hypothesis import strategies as st

from verismo.adapters.cache_memory import ENTRY_BYTES, MemoryCache
from verismo.model.ids import DeploymentId
from verismo.ports.cache import CachedAnswer


def answer(body: bytes = b"body", stored_ms: int = 0) -> CachedAnswer:
    return CachedAnswer(200, "application/json", body, "up", DeploymentId("d"), "m", stored_ms)


def test_entry_lives_as_long_as_it_was_given():
    cache = MemoryCache()
    cache.put(b"k", answer(stored_ms=1_000), 2)
    assert cache.get(b"k", 2_999) == answer(stored_ms=1_000)
    assert cache.get(b"k", 3_000) is None
    assert cache.get(b"k", 1_500) is None, "the dead do not rise when the clock steps back"


def test_unknown_key_finds_nothing():
    assert MemoryCache().get(b"k", 0) is None


def test_lifetime_of_nought_keeps_nothing_and_drops_what_was_there():
    cache = MemoryCache()
    cache.put(b"k", answer(), 10)
    cache.put(b"k", answer(), 0)
    assert cache.get(b"k", 0) is None


def test_last_put_stands():
    cache = MemoryCache()
    cache.put(b"k", answer(b"old"), 10)
    cache.put(b"k", answer(b"new"), 10)
    found = cache.get(b"k", 0)
    assert found is not None
    assert found.body == b"new"


def test_least_recently_used_goes_first():
    cache = MemoryCache(3 * (ENTRY_BYTES + 10))
    for name in (b"a", b"b", b"c"):
        cache.put(name, answer(b"x" * 10), 10)
    cache.get(b"a", 0)
    cache.put(b"d", answer(b"x" * 10), 10)
    assert [name for name in (b"a", b"b", b"c", b"d") if cache.get(name, 0)] == [b"a", b"c", b"d"]


def test_answer_larger_than_the_cache_is_not_kept_and_costs_nobody_a_place():
    cache = MemoryCache(ENTRY_BYTES + 100)
    cache.put(b"small", answer(b"x"), 10)
    cache.put(b"large", answer(b"x" * 101), 10)
    assert cache.get(b"large", 0) is None
    assert cache.get(b"small", 0) is not None


@given(
    st.lists(
        st.tuples(st.binary(min_size=1, max_size=1), st.integers(0, 3_000), st.integers(0, 3)),
        max_size=60,
    )
)
def test_what_it_holds_is_bounded_and_right(puts: list[tuple[bytes, int, int]]):
    bytes_max = 4 * ENTRY_BYTES
    cache = MemoryCache(bytes_max)
    latest: dict[bytes, bytes] = {}
    for key, size, ttl_s in puts:
        latest[key] = b"x" * size
        cache.put(key, answer(latest[key]), ttl_s)
        found = {name: cache.get(name, 0) for name in latest}
        held = [(name, one) for name, one in found.items() if one is not None]
        assert sum(len(one.body) + ENTRY_BYTES for _, one in held) <= bytes_max
        assert all(one.body == latest[name] for name, one in held)
