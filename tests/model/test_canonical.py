"""Canonical JSON: RFC 8785 within the signed domain, and nothing outside it."""

import datetime
import decimal
import json
import uuid

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from verismo.model import canonical
from verismo.model.canonical import MAX_DEPTH, MAX_INTEGER, NotCanonical, decode, encode

keys = st.text(st.characters(max_codepoint=127), max_size=8)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
leaves = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | texts
documents = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4)
)


@given(documents)
def test_equals_the_package_rfc8785(value):
    assert encode(value) == rfc8785.dumps(value)


@given(documents)
def test_trusted_encoding_is_the_same(value):
    assert canonical.encode_trusted(value) == encode(value)


@given(st.dictionaries(keys, leaves, max_size=4))
def test_decodes_what_it_encoded(value):
    kind = dict[str, bool | int | str | None]
    assert decode(encode(value), kind) == value


@given(st.dictionaries(keys, st.integers(0, 9), min_size=1, max_size=4), st.integers(0, 3))
def test_other_spellings_are_refused(value, indent):
    spelled = json.dumps(value, indent=indent, ensure_ascii=True).encode()
    with pytest.raises(NotCanonical):
        decode(spelled, dict[str, int])


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def cyclic():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        *(0.0, 1.5, -0.0, 1e21, float("nan"), float("inf"), [1, 2.0], {"a": 0.1}),
        *(MAX_INTEGER + 1, -MAX_INTEGER - 1, 2**64, [2**53]),
        *({"ä": 1}, {1: 2}, {"a": {"é": 1}}, {"\ud800": 1}),
        *("\ud800", ["\udfff"], {"a": "\ud834"}),
        *(b"bytes", bytearray(b"x"), memoryview(b"x"), {"a": b""}),
        *(datetime.datetime(2026, 1, 1), datetime.date(2026, 1, 1), datetime.timedelta(1)),
        *(uuid.UUID(int=1), decimal.Decimal("1.5"), object(), nested(MAX_DEPTH + 1), cyclic()),
    ],
)
def test_what_is_outside_the_domain_raises(value):
    with pytest.raises(NotCanonical):
        encode(value)


def test_depth_limit_is_exact():
    assert encode(nested(MAX_DEPTH)) == b"[" * MAX_DEPTH + b"1" + b"]" * MAX_DEPTH


def test_integer_limit_is_exact():
    assert encode([MAX_INTEGER, -MAX_INTEGER]) == b"[9007199254740991,-9007199254740991]"


class Pair(msgspec.Struct, frozen=True):
    b: int
    a: str


def test_members_of_a_struct_are_sorted():
    assert encode(Pair(b=1, a="ü\u001f")) == b'{"a":"\xc3\xbc\\u001f","b":1}'


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"null", b"[]", b'{"a":"x"}', b'{"b":1,"a":"x"}', b'{"a":"x","b":1.0}'),
        *(b'{"a":"x","b":1} ', b' {"a":"x","b":1}', b'{"a":"x", "b":1}', b'{"a":"x","b":01}'),
        *(b'{"a":"x","b":-0}', b'{"a":"x","b":1e0}', b'{"a":"x","b":1,"c":1}'),
        *(b'{"a":"y","a":"x","b":1}', b'{"a":"\\u0078","b":1}', b'{"a":"\\/","b":1}'),
        *(b'{"a":"\\ud800","b":1}', b'{"a":"\xff","b":1}', b'\xef\xbb\xbf{"a":"x","b":1}'),
        *(b'{"a":"x","b":9007199254740992}', b'{"a":"x","b":99999999999999999999}'),
        b"[" * 100_000,
    ],
)
def test_only_the_canonical_bytes_decode(data):
    assert decode(b'{"a":"x","b":1}', Pair) == Pair(b=1, a="x")
    with pytest.raises(NotCanonical):
        decode(data, Pair)


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_raise_the_one_error(data):
    try:
        value = decode(data, dict[str, int])
    except NotCanonical:
        return
    assert encode(value) == data


def test_digest_is_sha256_in_hex():
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert canonical.digest(b"") == empty


class Shallow(msgspec.Struct, frozen=True):
    n: int
    text: str
    attrs: dict[str, str | int | bool]
    items: tuple[int, ...] = ()


class Loose(msgspec.Struct, frozen=True):
    ratio: float | int


class Endless(msgspec.Struct, frozen=True):
    inner: "Endless | None" = None


@pytest.mark.parametrize(
    "data",
    [
        b'{"attrs":{},"items":[],"n":9007199254740992,"text":""}',
        b'{"attrs":{},"items":[9007199254740992],"n":1,"text":""}',
        b'{"attrs":{"a":-9007199254740992},"items":[],"n":1,"text":""}',
        '{"attrs":{"ä":1},"items":[],"n":1,"text":""}'.encode(),
    ],
)
def test_a_type_of_integers_and_texts_spares_no_value_outside_the_domain(data):
    with pytest.raises(canonical.NotCanonical):
        canonical.decode(data, Shallow)


@pytest.mark.parametrize(
    "data",
    [
        b'{"attrs":{},"items":[],"n":9007199254740991,"text":""}',
        b'{"attrs":{"a":true},"items":[1],"n":1,"text":"1234567890123456"}',
        '{"attrs":{},"items":[],"n":1,"text":"ä"}'.encode(),
    ],
)
def test_a_type_of_integers_and_texts_keeps_every_value_within_the_domain(data):
    assert canonical.encode(canonical.decode(data, Shallow)) == data


@given(
    st.integers(-(2**62), 2**62) | st.sampled_from([2**53 - 1, 2**53, 10**15, 10**16]),
    st.integers(0, 5),
)
def test_an_integer_is_within_the_domain_or_refused_wherever_it_stands(number, place):
    n, kind = str(number), dict[str, int]
    spelled = [n, f"[{n}]", f"[0,{n}]", f'{{"a":{n}}}', f'{{"a":0,"b":{n}}}', f'{{"a":{n},"b":0}}']
    kind = [int, tuple[int, ...], tuple[int, ...], kind, kind, kind][place]
    if abs(number) <= MAX_INTEGER:
        assert encode(decode(spelled[place].encode(), kind)) == spelled[place].encode()
    else:
        with pytest.raises(NotCanonical, match="2\\*\\*53"):
            decode(spelled[place].encode(), kind)


@pytest.mark.parametrize("text", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n"])
def test_a_digest_has_64_characters_of_lower_case_hex(text):
    assert canonical.is_digest(canonical.digest(b""))
    assert not canonical.is_digest(text)


def test_a_type_with_room_for_floats_is_looked_through():
    with pytest.raises(canonical.NotCanonical, match="float"):
        canonical.decode(b'{"ratio":0.5}', Loose)


def test_a_type_within_itself_is_looked_through_for_its_depth():
    data = b'{"inner":null}'
    for _ in range(canonical.MAX_DEPTH):
        data = b'{"inner":' + data + b"}"
    with pytest.raises(canonical.NotCanonical, match="nesting"):
        canonical.decode(data, Endless)
