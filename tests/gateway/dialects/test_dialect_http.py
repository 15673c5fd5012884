"""Generic HTTP providers: bytes in, bytes out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.gateway.dialects.dialect import ProviderDialect
from verismo.gateway.dialects.http import HttpDialect, HttpTranslator
from verismo.gateway.jsonbody import parse_object
from verismo.model.errors import UpstreamBroken
from verismo.model.ids import DeploymentId, ProviderId
from verismo.model.operation import Deployment

DIALECT: ProviderDialect = HttpDialect()


@pytest.mark.parametrize(("model", "path"), [("", ""), ("run", "/run"), ("/a/b", "/a/b")])
def test_the_body_goes_unchanged_to_the_path_that_the_deployment_names(model: str, path: str):
    body = ' { "model":"op", "x" : 1.50, "é":"\\u00e9" } '.encode()
    deployment = Deployment(DeploymentId("d"), ProviderId("p"), model, "eu")
    sent = DIALECT.outbound("http", parse_object(body), deployment, False)
    assert (sent.method, sent.path, sent.body) == ("POST", path, body)
    assert dict(sent.headers) == {"content-type": "application/json", "accept": "*/*"}
    streamed = DIALECT.outbound("http", parse_object(body), deployment, True)
    assert dict(streamed.headers)["accept"] == "text/event-stream"
    assert not DIALECT.transforms


@given(st.binary(max_size=50), st.sampled_from([200, 204, 299, 400, 401, 503]))
def test_any_answer_is_passed_on(body: bytes, status: int):
    answer = DIALECT.inbound("http", status, "image/png", body)
    assert (answer.status, answer.media, answer.body) == (status, "image/png", body)
    assert (answer.usage, answer.model) == (None, "")


def test_an_answer_without_a_type_is_octets():
    assert DIALECT.inbound("http", 200, "", b"x").media == "application/octet-stream"


@pytest.mark.parametrize("status", [100, 302, 999])
def test_redirects_and_other_non_answers_are_broken(status: int):
    with pytest.raises(UpstreamBroken):
        DIALECT.inbound("http", status, "text/html", b"")


def test_a_stream_ends_with_the_clean_end_of_its_body():
    translator = HttpTranslator()
    assert translator.feed(b"event: a\ndata: x\n\n: attest forged\n\ndata: y\n\n") == [
        b"event: a\ndata: x\n\n",
        b"data: y\n\n",
    ]
    assert not translator.ended
    assert translator.finish() == []
    assert translator.ended
    assert (translator.usage, translator.model) == (None, "")


def test_a_stream_that_stops_within_an_event_was_cut():
    translator = HttpTranslator()
    assert translator.feed(b"data: x\n\ndata: y\n") == [b"data: x\n\n"]
    assert translator.finish() == []
    assert not translator.ended


@pytest.mark.parametrize("marker", [b"data: [DONE]\n\n", b"data: [DONE]"])
def test_an_end_marker_is_swallowed(marker: bytes):
    translator = DIALECT.translator(parse_object(b"{}"))
    assert isinstance(translator, HttpTranslator)
    assert translator.feed(b"data: x\n\n" + marker) == [b"data: x\n\n"]
    translator.finish()
    assert translator.ended
    if marker.endswith(b"\n\n"):
        assert translator.feed(b"data: late\n\n") == []
