"""Every door with the clients that people use; each answer proves itself, graph included."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import gql
import httpx2
import openai
import pytest
import pytest_asyncio
from gql.transport.httpx import HTTPXAsyncTransport
from tests.support.answers import KeepingTransport
from tests.support.gateway import CHAT, Gateway, Setup, running_gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTION = [{"role": "user", "content": "Where is my order?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "find_order",
        "parameters": {"type": "object", "properties": {"number": {"type": "string"}}},
    },
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


class Sdk:
    """An unmodified openai client whose exchanges are kept."""

    def __init__(self, gateway: Gateway, key: str = "TENANT_001") -> None:
        self.gateway = gateway
        self.transport = KeepingTransport()
        self.client = openai.AsyncOpenAI(
            base_url=f"{gateway.url}/v1",
            api_key=gateway.keys.get(key, key),
            max_retries=0,
            http_client=httpx2.AsyncClient(transport=self.transport),
        )

    async def proven(self, **options: str):
        """Verify the last exchange."""
        return await self.gateway.proven(self.transport.answers[-1], **options)


@pytest_asyncio.fixture(loop_scope="module")
async def sdk(gateway: Gateway) -> AsyncIterator[Sdk]:
    sdk = Sdk(gateway)
    yield sdk
    await sdk.client.close()


async def test_openai_chat_is_answered_and_verifies(sdk: Sdk):
    answer = await sdk.client.chat.completions.create(model=CHAT, messages=QUESTION)
    assert answer.choices[0].message.content
    assert answer.usage is not None
    report = await sdk.proven()
    stated = report.statement
    assert stated.op == CHAT
    assert stated.usage.input == answer.usage.prompt_tokens
    assert stated.cost_usd_micros > 0
    assert (stated.policy.decision, stated.cache) == ("allow", "off")


async def test_openai_chat_of_the_blocking_client_verifies(gateway: Gateway):
    transport = KeepingTransport()

    def call() -> str:
        with openai.OpenAI(
            base_url=f"{gateway.url}/v1",
            api_key=gateway.keys["TENANT_001"],
            http_client=httpx2.Client(transport=transport),
        ) as client:
            answer = client.chat.completions.create(model=CHAT, messages=QUESTION)
            return answer.choices[0].message.content or ""

    assert await asyncio.to_thread(call)
    await gateway.proven(transport.answers[0])


async def test_openai_stream_has_the_text_of_the_whole_answer_and_hides_the_usage_nobody_asked_for(
    sdk: Sdk,
):
    whole = await sdk.client.chat.completions.create(model=CHAT, messages=QUESTION, seed=7)
    stream = await sdk.client.chat.completions.create(
        model=CHAT, messages=QUESTION, seed=7, stream=True
    )
    chunks = [chunk async for chunk in stream]
    assert all(chunk.usage is None for chunk in chunks)
    assert all(chunk.choices for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[0].model == whole.model
    report = await sdk.proven()
    assert report.statement.usage.input == whole.usage.prompt_tokens, "asked for by the gateway"
    assert report.statement.res.fin


async def test_openai_stream_shows_the_usage_to_a_client_that_asked(sdk: Sdk):
    stream = await sdk.client.chat.completions.create(
        model=CHAT, messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage is not None
    report = await sdk.proven()
    assert report.statement.usage.output == chunks[-1].usage.completion_tokens


@pytest.mark.parametrize("streamed", [False, True])
async def test_openai_tools_pass_through(sdk: Sdk, streamed: bool):
    answer = await sdk.client.chat.completions.create(
        model=CHAT, messages=QUESTION, tools=[TOOL], tool_choice="required", stream=streamed
    )
    if streamed:
        chunks = [chunk async for chunk in answer]
        calls = [call for one in chunks for call in one.choices[0].delta.tool_calls or []]
    else:
        calls = answer.choices[0].message.tool_calls
    assert calls[0].function.name == "find_order"
    await sdk.proven()


async def test_multimodal_content_passes_through_untouched(gateway: Gateway):
    content = [
        {"type": "text", "text": "What is this? \u00e9\u4e2d"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ]
    answer = await gateway.chat(content)
    assert answer.status == 200
    sent = gateway.upstream.kept[-1].body
    want = answer.request.body.replace(b'"support.answer"', b'"gpt-4o-mini"')
    assert sent == want, "only the model's name is spliced"
    await gateway.proven(answer)


async def test_openai_embeddings_are_the_same_as_base64_and_as_floats(sdk: Sdk):
    asked = {"model": "support.embedding", "input": ["one", "two"]}
    packed = await sdk.client.embeddings.create(**asked)
    assert b'"encoding_format":"base64"' in sdk.transport.answers[-1].request.body.replace(
        b" ", b""
    )
    await sdk.proven()
    floats = await sdk.client.embeddings.create(**asked, encoding_format="float")
    await sdk.proven()
    for one, other in zip(packed.data, floats.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, rel=1e-6)


@pytest.mark.slow
async def test_openai_model_list_names_what_may_be_called(sdk: Sdk, gateway: Gateway):
    names = {model.id async for model in sdk.client.models.list()}
    assert {CHAT, "gpt-4o", "support.embedding", "analytics.summary"} <= names
    await sdk.proven()
    for name in sorted(names - {"support.embedding", "text-embedding-3-small"}):
        assert (await gateway.chat(model=name)).status == 200, name


async def test_model_list_leaves_out_what_the_policy_would_refuse(gateway: Gateway):
    listed = await gateway.send("GET", "/v1/models", key="TENANT_002")
    names = {model["id"] for model in listed.json()["data"]}
    assert CHAT in names
    assert "analytics.summary" not in names, "TENANT_002 has no purpose analytics"
    await gateway.proven(listed, key="TENANT_002")


@pytest.mark.slow
async def test_openai_client_raises_its_own_errors(gateway: Gateway):
    sdk = Sdk(gateway, "TENANT_002")
    create = sdk.client.chat.completions.create
    with pytest.raises(openai.NotFoundError) as unknown:
        await create(model="nobody.registered.this", messages=QUESTION)
    assert unknown.value.code == "operation_unregistered"
    await sdk.proven(key="TENANT_002")
    with pytest.raises(openai.PermissionDeniedError) as refused:
        await create(model="analytics.summary", messages=QUESTION)
    assert refused.value.code == "policy_refused"
    await sdk.proven(key="TENANT_002")
    await sdk.client.close()
    stranger = Sdk(gateway, "vk_nobody")
    with pytest.raises(openai.AuthenticationError):
        await stranger.client.chat.completions.create(model=CHAT, messages=QUESTION)
    await stranger.client.close()


async def test_alias_runs_the_operation_that_it_stands_for(gateway: Gateway):
    answer = await gateway.chat(model="gpt-4o", key="TENANT_002")
    report = await gateway.proven(answer, key="TENANT_002")
    assert report.statement.op == CHAT


async def graphql(gateway: Gateway, body: dict, key: str = "TENANT_002"):
    return await gateway.send("POST", "/graphql", json.dumps(body).encode(), key=key)


async def test_graphql_document_id_sends_the_registered_text(gateway: Gateway, user_document):
    answer = await graphql(gateway, {"documentId": user_document.id, "variables": {"id": "7"}})
    assert answer.json()["data"]["user"]["id"] == "7"
    sent = json.loads(gateway.upstream.kept[-1].body)
    assert sent["query"] == user_document.text
    report = await gateway.proven(answer, key="TENANT_002")
    assert report.statement.req.doc == user_document.id
    assert report.statement.op == user_document.id


async def test_graphql_apollo_persisted_query_runs(gateway: Gateway, user_document):
    persisted = {"persistedQuery": {"version": 1, "sha256Hash": user_document.sha256}}
    answer = await graphql(gateway, {"variables": {"id": "7"}, "extensions": persisted})
    assert answer.json()["data"]["user"]["id"] == "7"
    await gateway.proven(answer, key="TENANT_002")


async def test_graphql_query_by_get_runs_and_its_query_string_is_committed(
    gateway: Gateway, user_document
):
    query = urlencode({"documentId": user_document.id, "variables": '{"id":"9"}'})
    answer = await gateway.send("GET", f"/graphql?{query}", key="TENANT_002")
    assert answer.json()["data"]["user"]["id"] == "9"
    report = await gateway.proven(answer, key="TENANT_002")
    assert "documentId" not in report.statement.req.query


async def test_graphql_mutation_by_get_is_refused(gateway: Gateway, ticket_document):
    requests = gateway.upstream.requests
    query = urlencode({"documentId": ticket_document.id, "variables": '{"subject":"x"}'})
    answer = await gateway.send("GET", f"/graphql?{query}", key="TENANT_002")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    await gateway.proven(answer, key="TENANT_002")
    assert gateway.upstream.requests == requests
    by_post = {"documentId": ticket_document.id, "variables": {"subject": "x"}}
    assert "data" in (await graphql(gateway, by_post)).json()


@pytest.mark.parametrize(
    "text", ['mutation { createTicket(subject: "q") { id } }', "# {\nmutation M { x }"]
)
async def test_unregistered_mutation_by_get_is_refused_in_observe_mode(gateway: Gateway, text):
    answer = await gateway.send("GET", f"/graphql?{urlencode({'query': text})}")
    assert answer.status == 405
    await gateway.proven(answer)


async def test_graphql_query_that_only_mentions_mutation_runs_by_get(gateway: Gateway):
    text = '# mutation\nquery Q { user(id: "mutation") { id } }'
    answer = await gateway.send("GET", f"/graphql?{urlencode({'query': text})}")
    assert answer.json()["data"]["user"]["id"] == "mutation"


async def test_unknown_document_is_told_in_the_words_of_apollo(gateway: Gateway):
    answer = await graphql(gateway, {"documentId": "sha256:" + "0" * 64})
    assert answer.status == 404
    code = answer.json()["errors"][0]["extensions"]["code"]
    assert code == "PERSISTED_QUERY_NOT_FOUND"
    await gateway.proven(answer, key="TENANT_002")


async def test_gql_client_is_served_in_observe_mode(gateway: Gateway):
    transport = HTTPXAsyncTransport(
        url=f"{gateway.url}/graphql",
        headers={"authorization": f"Bearer {gateway.keys['TENANT_001']}"},
    )
    before = len(gateway.records())
    async with gql.Client(transport=transport, fetch_schema_from_transport=False) as session:
        result = await session.execute(gql.gql('query Who { user(id: "3") { id name } }'))
    assert result["user"]["id"] == "3"
    (record,) = gateway.records()[before:]
    assert json.loads(record.statement)["op"].startswith("sha256:")


async def ask_with_gql(gateway: Gateway, text: str) -> dict[str, object]:
    """Ask as TENANT_002, in safelist mode; the client parses the text and prints what it parsed."""
    transport = HTTPXAsyncTransport(
        url=f"{gateway.url}/graphql",
        headers={"authorization": f"Bearer {gateway.keys['TENANT_002']}"},
    )
    request = gql.gql(text)
    variables = ("id", "3") if "$id" in text else ("subject", "Late")
    request.variable_values = dict([variables])
    async with gql.Client(transport=transport, fetch_schema_from_transport=False) as session:
        return await session.execute(request)


async def test_gql_client_runs_the_sample_documents_in_safelist_mode(
    gateway: Gateway, user_document, ticket_document
):
    for document in (user_document, ticket_document):
        before = len(gateway.records())
        assert await ask_with_gql(gateway, document.text)
        (record,) = gateway.records()[before:]
        assert json.loads(record.statement)["op"] == document.id


@pytest.mark.slow
async def test_gql_client_runs_a_document_whose_file_ends_with_a_line_feed(tmp_path_factory):
    text = "query Named($id: ID!) {\n  user(id: $id) {\n    name\n  }\n}\n"
    table = (
        '[operations.named]\nkind = "graphql"\npurpose = "support"\n'
        'document = "named.graphql"\ndeployments = ["tickets-us", "tickets-eu"]\n'
    )
    files = {"operations/named.graphql": text, "operations/named.toml": table}
    async with running_gateway(tmp_path_factory.mktemp("end"), Setup(files=files)) as gateway:
        assert await ask_with_gql(gateway, text)
        assert json.loads(gateway.upstream.kept[-1].body)["query"] == text


async def test_http_operation_gets_the_clients_exact_octets(gateway: Gateway):
    body = b'{ "b":1.50,\n "a" : "\xc3\xa9\\u00e9" }'
    answer = await gateway.send("POST", "/v1/operations/support.echo", body)
    assert answer.json()["sha256"] == hashlib.sha256(body).hexdigest()
    report = await gateway.proven(answer)
    assert report.statement.op == "support.echo"
    assert [hop["kind"] for hop in gateway.hops(answer)][-2:] == ["tool", "response"]


async def test_operation_of_another_kind_is_not_found_behind_a_door(gateway: Gateway):
    answer = await gateway.chat(model="support.echo", key="TENANT_002")
    assert answer.status == 404
    answer = await gateway.send("POST", f"/v1/operations/{CHAT}", b"{}", key="TENANT_002")
    assert answer.status == 404
    await gateway.proven(answer, key="TENANT_002")
