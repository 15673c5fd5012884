"""Saved exchanges: read strictly, verified like live ones."""

import json

import msgspec
import pytest
from forge import TOKEN, stream, whole
from hypothesis import given
from hypothesis import strategies as st

from verismo.attest.exchange import (
    Exchange,
    ExchangeRefused,
    SavedResponse,
    expectation,
    fold,
    octets,
    read_exchange,
    verify_exchange,
)
from verismo.attest.keys import read_jwks
from verismo.attest.verify import Verifier

VERIFIER = Verifier(read_jwks(json.dumps({"keys": [TOKEN.jwk]}).encode()))


def verdict(document):
    exchange = read_exchange(json.dumps(document).encode())
    return verify_exchange(VERIFIER, exchange, expectation(exchange)).verdict


def test_a_saved_answer_and_a_saved_stream_verify():
    assert verdict(whole().document()) == "VERIFIED"
    assert verdict(stream().case().document()) == "VERIFIED"


def test_an_exchange_survives_being_written():
    for document in (whole().document(), {**whole().document(), "jwks": {"keys": [TOKEN.jwk]}}):
        exchange = read_exchange(json.dumps(document).encode())
        again = read_exchange(msgspec.json.format(msgspec.json.encode(exchange)))
        assert verify_exchange(VERIFIER, again, expectation(again)).verdict == "VERIFIED"
        assert bool(bytes(again.jwks)) == ("jwks" in document)


def test_an_exchange_without_its_request_is_read():
    document = whole().document()
    del document["request"]
    assert verdict(document) == "VERIFIED"


def test_text_and_base64_bodies_are_the_same():
    document = whole().document()
    body = whole().answer.decode()
    del document["response"]["body_base64"]
    document["response"]["body_text"] = body
    assert verdict(document) == "VERIFIED"


def changed(**members):
    return {**whole().document(), **members}


@pytest.mark.parametrize(
    "document",
    [
        *([], None, {}, {"v": 1}, changed(v=2), changed(v="1"), changed(extra=1), changed(nonce=1)),
        changed(response={"status": 200, "headers": [], "body_base64": "*"}),
        changed(response={"status": 200, "headers": [], "body_base64": "AA==", "body_text": "x"}),
        changed(response={"status": 200, "headers": {"a": "b"}}),
        changed(response={"status": 200, "headers": [["a"]]}),
        changed(response={"status": 200, "headers": [], "body_text": "\ud800"}),
        changed(request={"method": "POST", "path": "/", "body_base64": "A"}),
        changed(request={"method": "POST", "path": "/", "body_base64": "AAAA="}),
    ],
)
def test_what_is_not_an_exchange_is_refused(document):
    with pytest.raises(ExchangeRefused):
        read_exchange(json.dumps(document).encode())


@pytest.mark.parametrize(
    "twin", ['"v":1,"v":1', '"v":1,"nonce":"a","nonce":"b"', '"v":1,"jwks":{"a":1,"a":1}']
)
def test_member_that_stands_twice_is_refused(twin):
    with pytest.raises(ExchangeRefused, match="twice"):
        read_exchange(f'{{{twin},"response":{{"status":200,"headers":[]}}}}'.encode())


@pytest.mark.parametrize("name", ["now_ms", "age_ms_max"])
def test_number_that_other_verifiers_would_round_is_refused(name):
    read_exchange(json.dumps(changed(**{name: 2**53 - 1})).encode())
    with pytest.raises(ExchangeRefused, match="2\\*\\*53"):
        read_exchange(json.dumps(changed(**{name: 2**53})).encode())


@given(st.binary(max_size=60))
def test_any_bytes_raise_the_one_error(data):
    with pytest.raises(ExchangeRefused):
        read_exchange(data)


def test_deep_nesting_is_refused():
    with pytest.raises(ExchangeRefused):
        read_exchange(b"[" * 100_000)


def test_headers_of_one_name_are_joined():
    assert fold((("A", "1"), ("b", "2"), ("a", "3"))) == {"a": "1, 3", "b": "2"}


@pytest.mark.parametrize("member", ["graph", "nonce", "issuer"])
def test_half_a_surrogate_pair_is_refused(member):
    with pytest.raises(ExchangeRefused):
        read_exchange(json.dumps(changed(**{member: "\ud800"})).encode())


def test_a_query_that_is_not_utf8_keeps_its_octets():
    """The command line gives such octets as lone surrogates."""
    exchange = read_exchange(json.dumps(whole().document()).encode())
    asked = msgspec.structs.replace(exchange.request, query="a=\udcff")
    exchange = msgspec.structs.replace(exchange, request=asked)
    report = verify_exchange(VERIFIER, exchange, expectation(exchange))
    assert [check.number for check in report.checks if check.outcome == "fail"] == [10]


def test_a_response_body_may_be_empty():
    assert octets(SavedResponse(204, ())) == b""
    assert Exchange(v=1, response=SavedResponse(204, ())).request is None
