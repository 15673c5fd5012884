"""prov_id: a canonical UUIDv7 and nothing else."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.model.ids import ProvId, is_prov_id, prov_id_bytes, prov_id_from

times = st.integers(0, 2**48 - 1)
entropy = st.binary(min_size=10, max_size=10)


@given(times, entropy)
def test_is_a_uuid7_of_its_time(now_ms, random):
    text = prov_id_from(now_ms, random)
    parsed = uuid.UUID(text)
    assert str(parsed) == text
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == now_ms
    assert is_prov_id(text)
    assert prov_id_bytes(text) == parsed.bytes


@given(times, entropy)
def test_keeps_every_random_bit_but_six(now_ms, random):
    kept = prov_id_bytes(prov_id_from(now_ms, random))[6:]
    masks = (0x0F, 0xFF, 0x3F, *(0xFF,) * 7)
    assert [b & m for b, m in zip(kept, masks, strict=True)] == [
        b & m for b, m in zip(random, masks, strict=True)
    ]


def test_variant_bits_do_not_repeat_random_bits():
    random = bytes([0, 0, 0b0011_0000, 0, 0, 0, 0, 0, 0, 0])
    assert prov_id_from(0, random)[19:21] == "b0"


@given(st.lists(times, min_size=2, max_size=2), entropy, entropy)
def test_sorts_by_time(two, a, b):
    first, second = sorted(two)
    if first != second:
        assert prov_id_from(first, a) < prov_id_from(second, b)


@pytest.mark.parametrize("count", [0, 9, 11])
def test_wants_ten_random_bytes(count):
    with pytest.raises(ValueError, match="10 random bytes"):
        prov_id_from(0, bytes(count))


@pytest.mark.parametrize("now_ms", [-1, 2**48])
def test_wants_a_time_of_48_bits(now_ms):
    with pytest.raises(ValueError, match="48 bits"):
        prov_id_from(now_ms, bytes(10))


GOOD = prov_id_from(1_790_000_000_000, bytes(range(10)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD.upper(),
        GOOD.replace("-", ""),
        "{" + GOOD + "}",
        GOOD + " ",
        GOOD[:14] + "4" + GOOD[15:],
        GOOD[:19] + "c" + GOOD[20:],
        GOOD[:-1] + "g",
        GOOD[:-1] + "٣",
        GOOD[:8] + "_" + GOOD[9:],
        "-" + GOOD[1:],
    ],
)
def test_other_spellings_are_refused(text):
    assert not is_prov_id(text)
    with pytest.raises(ValueError, match="canonical"):
        prov_id_bytes(ProvId(text))


@given(st.text(max_size=40))
def test_what_is_accepted_is_its_own_only_spelling(text):
    if is_prov_id(text):
        assert str(uuid.UUID(text)) == text
