"""GraphQL providers: the registered text goes out, whatever the client sent."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verismo.gateway.dialects.dialect import ProviderDialect
from verismo.gateway.dialects.graphql import GraphqlDialect
from verismo.gateway.jsonbody import parse_object
from verismo.model.errors import MalformedRequest, UpstreamBroken, VerismoError
from verismo.model.ids import DeploymentId, ProviderId
from verismo.model.operation import Deployment

DEPLOYMENT = Deployment(DeploymentId("d"), ProviderId("p"), "", "eu")
DOCUMENT = 'query($id:ID!){ user(id:$id){name} } # "é"\n'
DIALECT = GraphqlDialect().with_document(DOCUMENT)


def sent_for(text: str) -> str:
    return DIALECT.outbound("graphql", parse_object(text.encode()), DEPLOYMENT, False).body.decode()


@pytest.mark.parametrize(
    "naming",
    [
        '"documentId":"sha256:00"',
        '"doc_id":"5d41402abc4b2a76b9719d911017c592"',
        '"id":"x"',
        '"extensions":{"persistedQuery":{"version":1,"sha256Hash":"00"}}',
        '"query":"mutation{drop}"',
    ],
)
def test_the_provider_gets_the_registered_text_and_no_naming_of_it(naming: str):
    members = json.loads(sent_for("{" + naming + ',"variables":{"id":1}}'))
    assert members == {"query": DOCUMENT, "variables": {"id": 1}}


def test_variables_and_other_members_keep_their_exact_bytes():
    sent = sent_for(
        '{"operationName": "A\\u0042", "variables" : { "f" : 1.50, "é":"\\u00e9" },'
        '"extensions":{"persistedQuery":{}, "trace" : { "n":1e3 }}}'
    )
    assert sent.endswith(
        ',"operationName":"A\\u0042","variables":{ "f" : 1.50, "é":"\\u00e9" },'
        '"extensions":{"trace":{ "n":1e3 }}}'
    )


def test_null_members_are_as_good_as_missing():
    sent = json.loads(sent_for('{"operationName":null,"variables":null,"extensions":null}'))
    assert sent == {"query": DOCUMENT, "operationName": None}


@pytest.mark.parametrize(
    "text", ['{"variables":[]}', '{"variables":"{}"}', '{"extensions":1}', '{"operationName":1}']
)
def test_members_of_wrong_types_are_refused(text: str):
    with pytest.raises(MalformedRequest):
        sent_for(text)


def test_address_and_headers_are_the_specification_s():
    sent = DIALECT.outbound("graphql", parse_object(b"{}"), DEPLOYMENT, False)
    assert (sent.method, sent.path) == ("POST", "")
    assert dict(sent.headers) == {
        "content-type": "application/json",
        "accept": "application/graphql-response+json, application/json;q=0.9",
    }
    assert not DIALECT.transforms


def test_without_a_document_streams_and_other_kinds_nothing_is_sent():
    body = parse_object(b'{"query":"{a}"}')
    for dialect, kind, stream in (
        (GraphqlDialect(), "graphql", False),
        (DIALECT, "graphql", True),
        (DIALECT, "chat", False),
    ):
        with pytest.raises(MalformedRequest):
            dialect.outbound(kind, body, DEPLOYMENT, stream)
    with pytest.raises(MalformedRequest, match="subscriptions"):
        DIALECT.translator(body)


@pytest.mark.parametrize(
    ("media", "shown"),
    [
        ("application/json", "application/json"),
        ("application/json; charset=utf-8", "application/json; charset=utf-8"),
        ("application/graphql-response+json", "application/graphql-response+json"),
        ("text/html", "application/json"),
        ("", "application/json"),
    ],
)
def test_an_answer_keeps_its_bytes_and_a_known_type(media: str, shown: str):
    body = b' {"data" : null,"errors":[{"message":"x"}]} '
    for status in (200, 294, 400, 500):
        answer = DIALECT.inbound("graphql", status, media, body)
        assert (answer.status, answer.media, answer.body) == (status, shown, body)
        assert answer.usage is None


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{", b'{"a":' + b"[" * 99_999])
def test_what_is_no_graphql_response_is_broken(status: int, body: bytes):
    with pytest.raises(UpstreamBroken):
        DIALECT.inbound("graphql", status, "application/json", body)


def test_redirects_are_broken():
    with pytest.raises(UpstreamBroken):
        DIALECT.inbound("graphql", 302, "application/json", b"{}")


JSON = st.sampled_from([None, True, 1, 1.5, "é", [], [{}], {}, {"a": [{"b": 1e3}]}])
NAMES = st.sampled_from(["query", "variables", "extensions", "operationName", "persistedQuery"])


@settings(max_examples=60)
@given(st.dictionaries(NAMES, JSON | st.dictionaries(NAMES | st.text(max_size=5), JSON)))
def test_any_body_sends_the_registered_text_or_is_refused(members: dict[str, object]):
    try:
        sent = json.loads(sent_for(json.dumps(members)))
    except VerismoError:
        return
    assert sent["query"] == DOCUMENT
    assert sent.get("variables") == (members.get("variables"))
    assert "persistedQuery" not in sent.get("extensions", {})


def test_half_a_surrogate_pair_in_a_name_is_passed_on_as_it_was():
    sent = sent_for('{"extensions":{"\\ud800":1}}')
    assert sent.endswith(',"extensions":{"\\ud800":1}}')


def test_it_is_a_provider_dialect():
    dialect: ProviderDialect = GraphqlDialect()
    assert dialect.transforms is False
