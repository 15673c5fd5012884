"""What the gateway makes of a provider's faults: the right status, signed, every try on record."""

import json

import pytest
from tests.support.gateway import CHAT, Gateway, Setup, chat_body

from verismo.gateway.breaker import FAILURES_MAX
from verismo.model.limits import Limits

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUICK = "\ntimeouts = { connect_ms = 500, first_byte_ms = 1000, total_ms = 3000 }"
IMPATIENT = Setup(
    edits={
        'kind = "openai"\nb': f'kind = "openai"{QUICK}\nb',
        "# response_bytes_max = 33554432": "response_bytes_max = 100000",
        "# stream_idle_ms_max = 60000": "stream_idle_ms_max = 1000",
    }
)


@pytest.fixture(scope="module", params=["keepalive", "pyreqwest"])
def client_name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def setup(client_name: str) -> Setup:
    edits = {**IMPATIENT.edits, '# client = "keepalive"': f'client = "{client_name}"'}
    return Setup(edits=edits)


@pytest.fixture(autouse=True)
def closed_breaker(gateway: Gateway) -> None:
    """Let no test find the breaker that another one opened."""
    gateway.worker.breakers.of("chat-us").succeeded()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "status", "code"),
    [
        ("error=500", 500, None),
        ("error=503", 503, None),
        ("error=429", 429, None),
        ("error=400", 400, None),
        ("error=401", 502, "upstream_broken"),
        ("error=403", 502, "upstream_broken"),
        ("redirect", 502, "upstream_broken"),
        ("garbage", 502, "upstream_broken"),
        ("close", 502, "upstream_broken"),
        ("cut=40", 502, "upstream_broken"),
        ("huge=200000", 502, "upstream_too_large"),
        ("stall", 504, "upstream_timeout"),
    ],
)
async def test_fault_of_a_provider_is_answered_signed(gateway: Gateway, order, status, code):
    answer = await gateway.chat(f"[simulate: {order}]")
    assert answer.status == status, answer.body
    error = answer.json()["error"]
    assert error["message"]
    if code:
        assert error["code"] == answer.json()["code"] == code
    await gateway.proven(answer)
    (only,) = gateway.tries(answer)
    assert only["deployment"] == "chat-us"
    assert only.get("error", "") == (code or "")


async def test_redirect_is_not_followed(gateway: Gateway):
    await gateway.chat("[simulate: redirect]")
    assert gateway.upstream.redirects_followed == 0


async def test_refused_credential_never_shows_the_providers_words(gateway: Gateway):
    answer = await gateway.chat("[simulate: error=401]")
    assert b"credential" in answer.body
    assert b"Simulated" not in answer.body


@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "code"),
    [
        ("cut=3", "upstream_broken"),
        ("stall=3", "upstream_timeout"),
        ("fail=3", None),
        ("huge=200000", "upstream_too_large"),
    ],
)
async def test_stream_that_breaks_ends_with_an_error_event_and_a_proven_prefix(
    gateway: Gateway, order, code
):
    answer = await gateway.chat(f"[simulate: {order}]", stream=True)
    assert answer.status == 200
    assert not answer.body.endswith(b"data: [DONE]\n\n")
    errors = [line for line in answer.body.split(b"\n") if line.startswith(b'data: {"error"')]
    assert errors
    if code:
        assert json.loads(errors[-1][6:])["error"]["code"] == code
    report = await gateway.proven(answer, verdict="VERIFIED_PREFIX")
    assert report.statement.res.fin is False
    assert gateway.hops(answer)[-1]["attrs"]["end"] != "complete"


async def test_prompt_that_orders_nothing_streams_to_its_end(gateway: Gateway):
    report = await gateway.proven(await gateway.chat("Hello", stream=True))
    assert report.events == report.statement.res.events


@pytest.mark.slow
async def test_answers_that_are_too_large_do_not_open_the_breaker(gateway: Gateway):
    """Else one caller's greed would keep every other tenant from the deployment."""
    for _ in range(FAILURES_MAX + 1):
        answer = await gateway.chat("[simulate: huge=200000]")
        assert answer.json()["code"] == "upstream_too_large"


async def test_own_limits_hold_at_their_defaults():
    limits = Limits()
    assert limits.response_bytes_max == limits.request_bytes_max == 32 * 1024 * 1024


async def test_provider_gets_the_trace_and_no_header_of_the_client(gateway: Gateway):
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    headers = {"traceparent": trace, "x-secret": "mine", "cookie": "a=b", "user-agent": "me"}
    answer = await gateway.send("POST", "/v1/chat/completions", chat_body(), headers=headers)
    seen = gateway.upstream.kept[-1]
    version, trace_id, parent, _ = seen.header("traceparent").split("-")
    assert (version, trace_id) == ("00", "a" * 32)
    assert parent != "b" * 16
    names = {name for name, _ in seen.headers}
    assert not names & {"x-secret", "cookie", "authorization", "attest-nonce"}
    assert seen.header("user-agent") != "me"
    request = gateway.hops(answer)[0]["attrs"]
    assert (request["trace"], request["parent_span"]) == ("a" * 32, "b" * 16)
    assert CHAT.encode() not in seen.body
