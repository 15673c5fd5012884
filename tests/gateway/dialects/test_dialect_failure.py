"""Failures of a provider: an OpenAI error stays, everything else is left for the door to spell."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.gateway.dialects.failure import EXPLANATION_CHARACTERS_MAX, openai_failure


def test_an_openai_error_keeps_its_bytes():
    body = b'{ "error" : {"message":"bad \\u00e9","type":"invalid_request_error","x":[1]} }'
    answer = openai_failure(400, "application/json", body)
    assert (answer.status, answer.media, answer.body) == (400, "application/json", body)
    assert openai_failure(400, "text/plain", body).media == "application/json"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"object":"error","message":"too long","code":400}', "too long"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"error":"model missing"}', "model missing"),
        (b"<html>502 Bad Gateway</html>", "the provider answered with status 422 and no OpenAI"),
        (b"", "the provider answered with status 422 and no OpenAI error"),
        (b'{"error":{"code":1}}', "the provider answered with status 422 and no OpenAI error"),
    ],
)
def test_other_errors_become_a_failure_with_the_providers_status(body: bytes, message: str):
    answer = openai_failure(422, "text/html", body)
    assert answer.failure is not None
    assert (answer.status, answer.failure.status, answer.failure.code) == (
        422,
        422,
        "upstream_failed",
    )
    assert answer.failure.detail.startswith(message)


def test_an_endless_explanation_is_cut():
    answer = openai_failure(400, "", b'{"detail":"' + b"a" * 10_000 + b'"}')
    assert answer.failure is not None
    assert len(answer.failure.detail) == EXPLANATION_CHARACTERS_MAX


def test_a_refused_credential_is_not_quoted_to_the_client():
    body = b'{"error":{"message":"Incorrect API key provided: sk-pr*****XYZ"}}'
    answer = openai_failure(401, "application/json", body)
    assert answer.status == 502
    assert b"sk-" not in answer.body
    assert json.loads(answer.body)["error"]["code"] == "upstream_credential_refused"


@given(st.integers(400, 599), st.binary(max_size=100))
def test_any_error_body_gives_an_openai_error_or_a_failure(status: int, body: bytes):
    answer = openai_failure(status, "application/json", body)
    if answer.failure is None:
        assert isinstance(json.loads(answer.body)["error"]["message"], str)
    else:
        assert answer.failure.detail
    assert answer.usage is None
