"""base64: one spelling for each value."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.model.base64url import (
    NotBase64,
    decode,
    decode_binary_item,
    encode,
    encode_binary_item,
)


@given(st.binary(max_size=200))
def test_what_is_encoded_is_decoded(data):
    assert decode(encode(data)) == data
    assert decode_binary_item(encode_binary_item(data)) == data


@given(st.binary(max_size=200))
def test_is_the_standard_alphabet_without_padding(data):
    assert encode(data) == base64.urlsafe_b64encode(data).decode().rstrip("=")


@given(st.text(max_size=30) | st.text("AQgw-_+/=: ", max_size=12))
def test_each_value_has_one_spelling(text):
    for read, write in ((decode, encode), (decode_binary_item, encode_binary_item)):
        try:
            data = read(text)
        except NotBase64:
            continue
        assert write(data) == text


@pytest.mark.parametrize(
    "text",
    ["A", "AA=", "AA==", "AB", "A A", "AA\n", "+/", "é", "AAAA=", "====", "AA\0", "AAB", "\ud800"],
)
def test_malleable_spellings_are_refused(text):
    with pytest.raises(NotBase64):
        decode(text)


@pytest.mark.parametrize("text", ["AB", "AA==", "+/", "AAB"])
def test_another_spelling_of_some_bytes_is_called_that(text):
    with pytest.raises(NotBase64, match="not the canonical base64url spelling"):
        decode(text)


@pytest.mark.parametrize("text", ["A", "AA\n", "A!AA", "AA=AA", "AAAA AAAA", "é", "===="])
def test_what_spells_no_bytes_is_called_that(text):
    with pytest.raises(NotBase64, match=r"^not base64url$"):
        decode(text)
    with pytest.raises(NotBase64, match=r"^not base64$"):
        decode_binary_item(f":{text}:")


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "AAAA", ":AAAA", "AAAA:", ":AA:", ":AB==:", ":AA=:", ":A===:", ": AAAA:"),
        *(":AA\nAA:", ":AAAA:;a=1", ":-_==:", ":AAAA::", "'AAAA'", ":é:", ":\ud800:"),
    ],
)
def test_malleable_byte_sequences_are_refused(text):
    with pytest.raises(NotBase64):
        decode_binary_item(text)
