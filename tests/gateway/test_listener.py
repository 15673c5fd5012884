"""The public listener: ids, CORS, proxies, methods, readiness, and what may not be reached here."""

import asyncio
import base64
import json

import pytest
from tests.support.gateway import Gateway, Setup, chat_body, running_gateway

from verismo.attest.headers import EXPOSED
from verismo.attest.keys import read_jwks
from verismo.gateway.app import JWKS_PATH
from verismo.model import base64url

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
def setup() -> Setup:
    return Setup(
        edits={
            "# cors_origins = []": f'cors_origins = ["{ORIGIN}"]',
            "# trusted_proxies = []": 'trusted_proxies = ["127.0.0.0/8"]',
            "# in_flight_max = 1024": "in_flight_max = 3",
            "# request_bytes_max = 33554432": "request_bytes_max = 5000",
            '# docs_base_url = ""': 'docs_base_url = "https://docs.example.com/errors"',
        }
    )


EVERYTHING = [
    ("GET", "/", 200),
    ("GET", "/healthz", 200),
    ("GET", "/readyz", 200),
    ("GET", JWKS_PATH, 200),
    ("GET", "/v1/models", 200),
    ("GET", "/nothing/here", 404),
    ("GET", "/v1/prov/x", 404),
    ("GET", "/v1/chat/completions", 405),
    ("DELETE", "/graphql", 405),
    ("POST", "/v1/models", 405),
    ("GET", "/v1/attest/verify", 405),
    ("POST", "/v1/attest/verify", 400),
    ("OPTIONS", "/v1/chat/completions", 204),
]


@pytest.mark.parametrize(("method", "path", "status"), EVERYTHING)
async def test_every_answer_has_a_request_id(gateway: Gateway, method, path, status):
    answer = await gateway.send(method, path)
    assert answer.status == status
    assert answer.headers["x-request-id"]
    named = await gateway.send(method, path, headers={"x-request-id": "My-id_1.2"})
    assert named.headers["x-request-id"] == "My-id_1.2"


@pytest.mark.parametrize(
    ("answered", "status"), [("no key", 401), ("too large", 413), ("signed", 200)]
)
async def test_refusals_have_a_request_id_too(gateway: Gateway, answered: str, status: int):
    key = None if answered == "no key" else "TENANT_001"
    body = chat_body("x" * 6_000 if answered == "too large" else "Hello")
    answer = await gateway.send("POST", "/v1/chat/completions", body, key=key)
    assert answer.status == status
    assert len(answer.headers["x-request-id"]) == 24


@pytest.mark.parametrize("given", ["with space", "a" * 65, "a;b", '"'])
async def test_request_id_that_could_forge_a_log_line_is_replaced(gateway: Gateway, given: str):
    answer = await gateway.send("GET", "/healthz", headers={"x-request-id": given})
    assert answer.headers["x-request-id"] != given


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("GET", "/v1/embeddings", "POST"),
        ("DELETE", "/graphql", "GET, POST"),
        ("PUT", "/v1/models", "GET"),
        ("GET", "/v1/attest/verify", "POST"),
        ("POST", JWKS_PATH, "GET"),
    ],
)
async def test_405_names_what_is_allowed(gateway: Gateway, method, path, allow):
    """RFC 9110, 15.5.6: the Allow field must be there."""
    answer = await gateway.send(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allow)


async def test_error_bodies_satisfy_openai_clients_and_rfc_9457(gateway: Gateway):
    answer = await gateway.chat(model="unheard.of", key="TENANT_002")
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "https://docs.example.com/errors#operation_unregistered"
    assert problem["status"] == answer.status == 404
    assert problem["instance"] == f"urn:uuid:{answer.prov_id}"
    assert problem["title"]
    assert problem["next_step"]
    assert set(problem["error"]) == {"message", "type", "param", "code"}
    assert problem["error"]["message"].startswith(problem["detail"].rstrip("."))


async def test_preflight_lets_a_known_origin_ask_with_sdk_headers(gateway: Gateway):
    headers = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-os",
    }
    answer = await gateway.send("OPTIONS", "/v1/chat/completions", key=None, headers=headers)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "attest-nonce", "*"} <= set(allowed)
    assert answer.headers["vary"] == "origin"


@pytest.mark.parametrize("streamed", [False, True])
async def test_proof_headers_are_exposed_to_a_page_of_a_known_origin(gateway: Gateway, streamed):
    answer = await gateway.send(
        "POST", "/v1/chat/completions", chat_body(stream=streamed), headers={"origin": ORIGIN}
    )
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert set(EXPOSED) <= exposed
    assert {name for name in answer.headers if name.startswith("attest-")} <= exposed


async def test_unknown_origin_is_told_nothing(gateway: Gateway):
    for method, path in (("OPTIONS", "/v1/chat/completions"), ("GET", "/v1/models")):
        answer = await gateway.send(method, path, headers={"origin": "https://evil.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["vary"] == "origin"


async def test_401_reaches_a_page_of_a_known_origin(gateway: Gateway):
    answer = await gateway.send("GET", "/v1/models", key=None, headers={"origin": ORIGIN})
    assert answer.status == 401
    assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_key_set_is_public_to_every_page_and_cacheable(gateway: Gateway):
    answer = await gateway.send("GET", JWKS_PATH, key=None)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "max-age" in answer.headers["cache-control"]
    assert answer.headers["content-type"] == "application/jwk-set+json"
    assert read_jwks(answer.body).keys() == gateway.public.keys()
    assert b'"d"' not in answer.body, "no private part"


@pytest.mark.parametrize("path", ["/metrics", "/admin", "/v1/admin/keys", "/openapi.json", "/docs"])
async def test_nothing_of_the_control_api_is_reachable_here(gateway: Gateway, path: str):
    assert (await gateway.send("GET", path)).status == 404


@pytest.mark.slow
async def test_overload_is_an_unsigned_503_that_says_when_to_come_again(gateway: Gateway):
    asked = [
        asyncio.create_task(gateway.chat("[simulate: slow=300]", user=str(n))) for n in range(3)
    ]
    await gateway.upstream.wait_until(lambda seen: seen.in_flight == 3)
    before = len(gateway.records())
    answer = await gateway.chat()
    assert (answer.status, answer.json()["code"]) == (503, "overloaded")
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["x-request-id"]
    assert not answer.is_signed
    assert len(gateway.records()) == before
    assert [one.status for one in await asyncio.gather(*asked)] == [200, 200, 200]


def verify_request(answer, **changed: object) -> bytes:
    encode = base64url.encode
    statement = base64.b64decode(answer.headers["attest-statement"].strip(":"))
    salt = base64.b64decode(answer.headers["attest-salt"].strip(":"))
    asked = {
        "statement": encode(statement),
        "signature": answer.headers["attest-signature"],
        "salt": encode(salt),
        "request": {
            "method": answer.request.method,
            "path": answer.request.path,
            "body": encode(answer.request.body),
        },
        "response": {
            "status": answer.status,
            "media": answer.headers["content-type"],
            "body": encode(answer.body),
        },
    }
    return json.dumps({**asked, **changed}).encode()


async def test_verification_api_takes_true_answers_and_refuses_altered_ones(gateway: Gateway):
    answer = await gateway.chat()
    path = "/v1/attest/verify"
    true = await gateway.send("POST", path, verify_request(answer), key=None)
    assert true.status == 200
    assert (true.json()["valid"], true.json()["verdict"]) == (True, "VERIFIED")
    assert len(true.json()["checks"]) == 17
    other = {"status": 200, "media": "application/json", "body": base64url.encode(b"{}")}
    false = await gateway.send("POST", path, verify_request(answer, response=other), key=None)
    assert (false.json()["valid"], false.json()["verdict"]) == (False, "INVALID")
    bare = await gateway.send(
        "POST", path, verify_request(answer, request=None, response=None, salt=""), key=None
    )
    assert bare.json()["valid"] is True


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 4_000,
        b'{"statement":1,"signature":"x"}',
        b'{"statement":"!","signature":"x"}',
        b'{"statement":"","signature":"","more":1}',
        b'{"statement":"","signature":"","request":{"method":"\\ud800","path":""}}',
        b'{"statement":"","signature":"","request":{"method":"","path":"","query":"\\ud800"}}',
    ],
)
async def test_verification_request_of_another_shape_is_a_400(gateway: Gateway, body: bytes):
    answer = await gateway.send("POST", "/v1/attest/verify", body, key=None)
    assert (answer.status, answer.json()["code"]) == (400, "malformed_request")


@pytest.mark.slow
async def test_verification_api_is_limited(tmp_path_factory):
    setup = Setup(edits={"# verify_per_s_max = 1000": "verify_per_s_max = 1"})
    async with running_gateway(tmp_path_factory.mktemp("limited"), setup) as gateway:
        calls = [await gateway.send("POST", "/v1/attest/verify", b"{}", key=None) for _ in range(3)]
        assert calls[0].status == 400
        assert calls[-1].status == 429
        assert int(calls[-1].headers["retry-after"]) >= 1


async def test_trace_of_the_caller_reaches_the_graph(gateway: Gateway):
    trace, span = "a" * 32, "b" * 16
    headers = {"traceparent": f"00-{trace}-{span}-00"}
    answer = await gateway.send("POST", "/v1/chat/completions", chat_body(), headers=headers)
    attrs = gateway.hops(answer)[0]["attrs"]
    assert (attrs["trace"], attrs["parent_span"]) == (trace, span)
    sample = gateway.telemetry.finished[-1]
    assert (sample.trace_id, sample.parent_id) == (trace, span)
