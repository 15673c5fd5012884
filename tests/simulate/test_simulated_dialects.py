"""What holds for every dialect: any octets get an answer in its shape, and never an exception."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verismo.simulate.answer import Call, digest_of
from verismo.simulate.anthropic import Anthropic
from verismo.simulate.echo import Echo
from verismo.simulate.graphql import GraphQl
from verismo.simulate.openai import OpenAi
from verismo.simulate.settings import SimulatorSettings

SETTINGS = SimulatorSettings()
DIALECTS = {
    "/v1/chat/completions": OpenAi(SETTINGS),
    "/v1/embeddings": OpenAi(SETTINGS),
    "/v1/messages": Anthropic(SETTINGS),
    "/graphql": GraphQl(SETTINGS),
    "/echo": Echo(),
}
HEADERS = {"x-api-key": "k", "anthropic-version": "1", "content-type": "application/json"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
NAMES = ("model", "messages", "input", "query", "variables", "max_tokens", "tools", "stream", "n")
ROLES = st.sampled_from(["user", "assistant", "system", "tool", "x"])
MESSAGES = st.lists(st.fixed_dictionaries({"role": ROLES, "content": JSON}), max_size=3)
BODIES = st.dictionaries(st.sampled_from(NAMES), JSON | MESSAGES | st.just("m"), max_size=9)


def call_to(path: str, body: bytes) -> Call:
    return Call(
        method="POST",
        path=path,
        query="",
        headers=HEADERS,
        body=body,
        digest=digest_of(1, "POST", path, body),
        answer_tokens=20,
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", DIALECTS)
@given(body=BODIES.map(msgspec.json.encode) | st.binary(max_size=60))
def test_any_octets_are_answered(path, body):
    answer = DIALECTS[path].answer(call_to(path, body))
    assert answer.status in (200, 400)
    assert answer == DIALECTS[path].answer(call_to(path, body))
    if answer.events is None:
        msgspec.json.decode(answer.body)
    else:
        assert all(event.endswith(b"\n\n") for event in answer.events)
        assert answer.failure.endswith(b"\n\n")


@pytest.mark.parametrize("path", [path for path in DIALECTS if path != "/echo"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","input":"a","query":"{simulator}","max_tokens":1,"messages":'
        + b"[" * 99_999,
        b'{"x":' * 99_999,
        b'{"query":"' + b"{a" * 3_000 + b'"}',
        b'{"query":"{simulator}","variables":{"a":' + b"[" * 900 + b"]" * 900 + b"}}",
    ],
)
def test_a_hostile_body_nested_deeply_is_a_400_or_an_error_body(path, body):
    answer = DIALECTS[path].answer(call_to(path, body))
    assert answer.status in (200, 400)
    assert b"error" in answer.body or b"simulator" in answer.body
