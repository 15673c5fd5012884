"""Any request at all: what succeeds is signed, what is signed verifies, nothing is left over."""

import json

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from tests.support.answers import Answer
from tests.support.gateway import TENANTS, Gateway, Setup
from tests.support.waiting import until

from verismo.attest.report import SeenRequest

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

IDENTIFIED = frozenset(
    {"/v1/chat/completions", "/v1/embeddings", "/graphql", "/v1/models", "/chat/completions"}
)
"""Paths whose every answer to a known caller is signed, if the method is theirs."""


@pytest.fixture(scope="module")
def setup() -> Setup:
    return Setup(
        edits={
            'kind = "openai"\nb': 'kind = "openai"\n'
            "timeouts = { connect_ms = 500, first_byte_ms = 100, total_ms = 500 }\nb",
            "# stream_idle_ms_max = 60000": "stream_idle_ms_max = 100",
            "# response_bytes_max = 33554432": "response_bytes_max = 20000",
            "# request_bytes_max = 33554432": "request_bytes_max = 3000",
        }
    )


ORDERS = (
    st.just("")
    | st.sampled_from(
        ["error=500", "error=429", "error=401", "garbage", "close", "cut=2", "huge=30000"]
    )
    | st.sampled_from(["stall", "stall=1", "fail=1", "redirect", "tokens=3"])
)
CHATS = st.builds(
    lambda model, order, stream, more: json.dumps(
        {
            "model": model,
            "stream": stream,
            "messages": [{"role": "user", "content": f"[simulate: {order}]" if order else "x"}],
            **more,
        }
    ).encode(),
    st.sampled_from(["support.answer", "gpt-4o", "support.embedding", "\ud800", "x" * 500]),
    ORDERS,
    st.booleans(),
    st.dictionaries(
        st.sampled_from(["stream_options", "max_tokens", "input", "n", "query", "documentId"]),
        st.none() | st.integers(-1, 2**40) | st.text(max_size=5) | st.just({"include_usage": True}),
        max_size=2,
    ),
)
BODIES = (
    CHATS
    | CHATS
    | CHATS
    | st.binary(max_size=80)
    | st.just(b" " * 4_000)
    | st.just(b'{"a":1,"a":2}')
)
PATHS = (
    st.just("/v1/chat/completions")
    | st.sampled_from(
        [
            "/v1/chat/completions",
            "/v1/embeddings",
            "/graphql",
            "/v1/models",
            "/v1/operations/support.echo",
            "/v1/operations/" + "x" * 600,
            "/v1/prov/x",
            "/v1/attest/verify",
            "/readyz",
            "/",
        ]
    )
    | st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=20).map(
        lambda text: "/" + text.replace("?", "")
    )
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            b"attest-nonce traceparent x-request-id origin content-encoding accept content-type "
            b"x-forwarded-for content-length x-api-key".split()
        ),
        st.sampled_from([b"application/json", b"text/event-stream", b"gzip", b"12", b"\xff\xfe"])
        | st.binary(max_size=20).map(lambda data: bytes(b for b in data if b >= 32)),
    ),
    max_size=2,
)


class Caller:
    """Speaks ASGI to the application, as the server does."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def send(self, method: str, target: str, headers: list, body: bytes) -> Answer:
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "headers": headers,
            "client": ("127.0.0.1", 1),
        }
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[dict] = []

        async def receive() -> dict:
            return messages.pop() if messages else {"type": "http.disconnect"}

        async def send(message: dict) -> None:
            sent.append(message)

        await self.gateway.worker.application(scope, receive, send)
        assert [message["type"] for message in sent[:2]] == [
            "http.response.start",
            "http.response.body",
        ]
        assert not sent[-1].get("more_body", False)
        return Answer(
            request=SeenRequest(method, path, query.encode("latin-1"), body),
            nonce=None,
            status=sent[0]["status"],
            headers={n.decode("latin-1"): v.decode("latin-1") for n, v in sent[0]["headers"]},
            body=b"".join(message["body"] for message in sent[1:]),
        )


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    method=st.sampled_from(["POST", "POST", "POST", "GET", "OPTIONS", "DELETE"]),
    path=PATHS,
    query=st.sampled_from(["", "", "?a=%ff", "?query={a}", "?documentId=x&documentId=y"]),
    key=st.sampled_from([*TENANTS, "TENANT_001", "auditor", "nobody"]),
    headers=HEADERS,
    body=BODIES,
)
async def test_any_request_is_refused_or_answered_with_a_proof_and_leaves_nothing_behind(
    gateway: Gateway, method, path, query, key, headers, body
):
    gateway.worker.breakers.of("chat-us").succeeded()
    before, told = gateway.count(), len(gateway.telemetry.finished)
    credential = f"Bearer {gateway.keys.get(key, 'vk_nobody')}".encode()
    sent = [(b"authorization", credential), (b"content-type", b"application/json"), *headers]
    answer = await Caller(gateway).send(method, path + query, sent, body)
    records = gateway.count() - before
    event(f"{method} {answer.status}")
    is_proven = "attest-prov-id" in answer.headers
    assert answer.headers["x-request-id"]
    assert answer.status != 500 or "attest-prov-id" in answer.headers, answer.body
    if is_proven:
        report = answer.report(gateway.public)
        assert report.verdict in ("VERIFIED", "VERIFIED_PREFIX"), report
    if answer.status < 300 and method != "OPTIONS" and path in IDENTIFIED:
        assert is_proven
    if key == "nobody":
        assert not is_proven or any(name == b"x-api-key" for name, _ in headers)
    assert records == (1 if is_proven else 0)
    assert len(gateway.telemetry.finished) - told == records
    await until(lambda: gateway.telemetry.now_in_flight == 0)
    assert not any(gateway.budgets[0].reserved(tenant) for tenant in TENANTS)
