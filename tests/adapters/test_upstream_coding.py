"""Content codings removed piece by piece: whole, cut, damaged and hostile."""

import gzip
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.adapters.upstream_coding import Inflater
from verismo.model.errors import UpstreamBroken

ROOM_BYTES = 10_000_000


def inflate(coding: bytes, pieces: list[bytes], room_bytes: int = ROOM_BYTES) -> bytes:
    inflater = Inflater(coding)
    plain = b"".join(inflater.feed(piece, room_bytes) for piece in pieces)
    inflater.finish()
    return plain


@given(st.binary(max_size=3_000), st.sampled_from([b"gzip", b"x-gzip", b"GZIP", b"deflate"]))
def test_any_split_gives_the_same_plain_octets(data: bytes, coding: bytes) -> None:
    packed = zlib.compress(data) if coding == b"deflate" else gzip.compress(data, mtime=0)
    assert inflate(coding, [packed]) == data
    assert inflate(coding, [packed[at : at + 1] for at in range(len(packed))]) == data


def test_members_of_a_gzip_file_are_joined() -> None:
    packed = gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two")
    assert inflate(b"gzip", [packed]) == b"one two"
    assert inflate(b"gzip", [packed[at : at + 3] for at in range(0, len(packed), 3)]) == b"one two"


def test_no_octets_at_all_are_an_empty_body() -> None:
    assert inflate(b"gzip", []) == b""


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
def test_truncation_is_noticed(coding: bytes) -> None:
    plain = b"hello, hello, hello"
    packed = zlib.compress(plain) if coding == b"deflate" else gzip.compress(plain)
    for kept in range(1, len(packed)):
        with pytest.raises(UpstreamBroken):
            inflate(coding, [packed[:kept]])


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
def test_octets_after_the_end_are_refused(coding: bytes) -> None:
    packed = zlib.compress(b"a") if coding == b"deflate" else gzip.compress(b"a")
    with pytest.raises(UpstreamBroken):
        inflate(coding, [packed + b"more"])
    with pytest.raises(UpstreamBroken):
        inflate(coding, [packed, b"more"])


def test_bare_deflate_is_refused() -> None:
    with pytest.raises(UpstreamBroken):
        inflate(b"deflate", [zlib.compress(b"hello" * 9)[2:-4]])


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, gzip", b"", b"identity, gzip"])
def test_codings_that_were_not_asked_for_are_refused(coding: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        Inflater(coding)


def test_a_bomb_gives_one_octet_more_than_fits() -> None:
    packed = gzip.compress(bytes(5_000_000))
    assert len(Inflater(b"gzip").feed(packed, 1_000)) == 1_001


def test_damage_never_escapes_the_error_tree() -> None:
    random_source = random.Random(1)
    packed = bytearray(gzip.compress(bytes(range(256)) * 4, mtime=0))
    refused = 0
    for _ in range(5_000):
        damaged = bytearray(packed)
        damaged[random_source.randrange(len(damaged))] ^= 1 << random_source.randrange(8)
        try:
            inflate(b"gzip", [bytes(damaged)], 2_000)
        except UpstreamBroken:
            refused += 1
    assert refused > 4_000, "the CRC and the length cover nearly every octet"
