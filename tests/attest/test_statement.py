"""Statements and heads: read strictly, from canonical bytes only."""

import msgspec
import pytest
from forge import NONCE, Recipe, chain_of, encode, head_bytes, signed_bytes, stream_recipe
from hypothesis import given
from hypothesis import strategies as st

from verismo.attest.statement import (
    STATEMENT_BYTES_MAX,
    Head,
    Statement,
    StatementRefused,
    is_nonce,
    read_head,
    read_statement,
)
from verismo.model import canonical

HEAD = head_bytes(stream_recipe(), chain_of(stream_recipe()))


def test_what_is_written_is_read():
    for recipe in (Recipe(), Recipe(query="a=1"), Recipe(nonce=None), Recipe(status=403)):
        data = signed_bytes(recipe)
        assert canonical.encode(read_statement(data)) == data


def test_a_head_is_read():
    head = read_head(HEAD)
    assert (head.n, head.nonce) == (0, NONCE)
    assert canonical.encode(head) == HEAD


def test_fields_are_those_of_decision_4():
    assert {f.encode_name for f in msgspec.structs.fields(Statement)} == {
        *("v", "iss", "prov_id", "iat", "nonce", "aud", "region", "op", "req", "res", "dag"),
        *("model", "usage", "cost_usd_micros", "policy", "cache", "plan", "seq"),
    }


def test_a_head_has_no_field_that_a_statement_lacks_but_two():
    names = [{f.encode_name for f in msgspec.structs.fields(t)} for t in (Head, Statement)]
    assert names[0] - names[1] == {"n", "head"}


@pytest.mark.parametrize("member", ["iss", "aud", "n", "head", "v", "prov_id", "iat"])
def test_a_head_without_a_member_is_refused(member):
    value = msgspec.json.decode(HEAD)
    del value[member]
    with pytest.raises(StatementRefused):
        read_head(encode(value))


@pytest.mark.parametrize(
    "members",
    [{"n": -1}, {"iat": -1}, {"head": "AB" * 32}, {"head": ""}, {"v": 2}, {"nonce": ""}, {"x": 1}],
)
def test_a_head_out_of_its_domain_is_refused(members):
    with pytest.raises(StatementRefused):
        read_head(encode({**msgspec.json.decode(HEAD), **members}))


def test_neither_is_read_as_the_other():
    with pytest.raises(StatementRefused):
        read_statement(HEAD)
    with pytest.raises(StatementRefused):
        read_head(signed_bytes())


def test_longer_than_a_header_may_be_is_refused_before_it_is_parsed():
    with pytest.raises(StatementRefused, match="longer than"):
        read_statement(b"[" * (STATEMENT_BYTES_MAX + 1))


@given(st.binary(max_size=100))
def test_any_bytes_raise_the_one_error(data):
    for read in (read_statement, read_head):
        with pytest.raises(StatementRefused):
            read(data)


@given(st.text(max_size=100))
def test_a_nonce_is_up_to_64_bytes_of_base64url(text):
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert is_nonce(text) == (1 <= len(text) <= 86 and set(text) <= allowed)
