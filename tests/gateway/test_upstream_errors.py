"""A provider's error that no client could read: said in the client's own protocol, and signed."""

import json

import openai
import pytest
from tests.ports.upstream_calls import answer as raw_answer
from tests.ports.upstream_server import answering, serving
from tests.support.gateway import Setup, running_gateway

from verismo.model.errors import UpstreamFailed

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

HTML = b"<html><h1>502 Bad Gateway</h1></html>"


def refusing(status: str, body: bytes, *lines: str):
    """Return what a provider does that answers everything with one error."""
    return answering(raw_answer(body, *lines, status=status))


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        ("502 Bad Gateway", HTML, "the provider answered with status 502 and no OpenAI error"),
        ("503 Service Unavailable", b"", "status 503"),
        ("422 Unprocessable Content", b'{"detail":"no such field"}', "no such field"),
    ],
)
async def test_error_that_is_no_openai_error_becomes_one_that_also_fits_rfc_9457(
    tmp_path, status: str, body: bytes, words: str, streamed: bool
):
    async with serving(refusing(status, body, "retry-after: 7")) as provider:
        setup = Setup(edits={"http://127.0.0.1:9090": provider.url})
        async with running_gateway(tmp_path, setup) as gateway:
            answer = await gateway.chat(stream=streamed)
            number = int(status[:3])
            assert answer.status == number
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["retry-after"] == "7"
            problem = answer.json()
            assert (problem["status"], problem["code"]) == (number, "upstream_failed")
            assert words in problem["detail"]
            assert problem["title"]
            assert problem["type"].endswith("#upstream_failed")
            assert problem["next_step"] == UpstreamFailed.next_step
            assert problem["instance"] == f"urn:uuid:{answer.prov_id}"
            assert problem["error"]["code"] == "upstream_failed"
            assert words in problem["error"]["message"]
            assert b"<html>" not in answer.body
            await gateway.proven(answer)
            assert gateway.telemetry.finished[0].code == "upstream_failed"
            (tried,) = gateway.tries(answer)
            assert tried["status"] == number


async def test_unmodified_openai_client_understands_it(tmp_path):
    async with serving(refusing("502 Bad Gateway", HTML)) as provider:
        setup = Setup(edits={"http://127.0.0.1:9090": provider.url})
        async with running_gateway(tmp_path, setup) as gateway:
            client = openai.AsyncOpenAI(
                base_url=gateway.url + "/v1", api_key=gateway.keys["TENANT_001"], max_retries=0
            )
            async with client:
                with pytest.raises(openai.InternalServerError) as caught:
                    await client.chat.completions.create(
                        model="support.answer", messages=[{"role": "user", "content": "x"}]
                    )
            assert caught.value.code == "upstream_failed"
            assert UpstreamFailed.next_step in caught.value.message


async def test_openai_error_of_a_provider_is_passed_on_as_it_is(tmp_path):
    body = json.dumps({"error": {"message": "too long", "type": "invalid_request_error"}}).encode()
    script = refusing("400 Bad Request", body, "content-type: application/json")
    async with serving(script) as provider:
        setup = Setup(edits={"http://127.0.0.1:9090": provider.url})
        async with running_gateway(tmp_path, setup) as gateway:
            answer = await gateway.chat()
            assert (answer.status, answer.body) == (400, body)
            assert answer.headers["content-type"] == "application/json"
            await gateway.proven(answer)
