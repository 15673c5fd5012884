"""The GraphQL dialect, read by gql and by plain HTTP."""

import gql
import httpx2
import pytest
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport

from verismo.simulate.graphql import GRAPHQL_MEDIA
from verismo.simulate.server import running_upstream
from verismo.simulate.settings import SimulatorSettings

USER = "query User($id: ID!) { user(id: $id) { id name email region orders(first: 3) { id } } }"


@pytest.fixture
async def base_url():
    async with running_upstream(SimulatorSettings()) as url:
        yield url


@pytest.fixture
async def http(base_url):
    async with httpx2.AsyncClient(base_url=base_url) as client:
        yield client


async def test_gql_reads_the_schema_and_runs_queries_and_mutations(base_url):
    transport = HTTPXAsyncTransport(url=f"{base_url}/graphql")
    async with gql.Client(transport=transport, fetch_schema_from_transport=True) as session:
        request = gql.gql(USER)
        request.variable_values = {"id": "u1"}
        user = (await session.execute(request))["user"]
        assert user["id"] == "u1"
        assert user["name"].startswith("Simulated ")
        assert [order["id"] for order in user["orders"]] == ["u1-0", "u1-1", "u1-2"]
        made = await session.execute(
            gql.gql('mutation { createTicket(subject: "s") { id subject body status } }')
        )
        assert made["createTicket"]["status"] == "OPEN"
        assert made["createTicket"]["body"] is None
        with pytest.raises(TransportQueryError, match="simulated field error"):
            await session.execute(gql.gql("{ faulty }"))


async def run(http, accept: str = "application/json", **body):
    return await http.post("/graphql", json=body, headers={"accept": accept})


async def test_the_same_arguments_give_the_same_data_and_others_differ(http):
    ask = {"query": USER, "variables": {"id": "u1"}}
    first, second = [(await run(http, **ask)).content for _ in range(2)]
    third = (await run(http, query=USER, variables={"id": "u2"})).content
    assert first == second
    assert first != third


async def test_a_search_mixes_the_types_of_its_union(http):
    query = '{ search(text: "x", first: 20) { __typename ... on User { name region } ... on Product { name priceCents inStock } } }'  # noqa: E501 - one document
    found = (await run(http, query=query)).json()["data"]["search"]
    assert {item["__typename"] for item in found} == {"User", "Product"}
    assert len({item["name"] for item in found}) > 4


async def test_missing_things_are_null(http):
    query = '{ user(id: "missing-1") { id } product(id: "missing-2") { id } }'
    assert (await run(http, query=query)).json() == {"data": {"user": None, "product": None}}


async def test_the_operation_name_chooses_an_operation(http):
    query = 'query A { simulator } query B { product(id: "p") { id } }'
    answer = await run(http, query=query, operationName="B")
    assert answer.json() == {"data": {"product": {"id": "p"}}}


@pytest.mark.parametrize("accept", ["application/json", GRAPHQL_MEDIA])
async def test_a_field_error_stands_beside_the_data_with_200(http, accept):
    answer = await run(http, accept, query="{ simulator faulty }")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(accept)
    body = answer.json()
    assert body["data"] == {"simulator": "verismo-simulator", "faulty": None}
    assert body["errors"][0]["path"] == ["faulty"]


@pytest.mark.parametrize(
    "body",
    [
        {"query": "{"},
        {"query": "{ nothing }"},
        {"query": USER},
        {"query": USER, "variables": {"id": []}},
        {"query": "query A { simulator } query B { simulator }"},
        {"query": "subscription { simulator }"},
    ],
)
async def test_a_request_that_cannot_run_is_400_only_for_the_newer_media_type(http, body):
    newer = await run(http, GRAPHQL_MEDIA, **body)
    older = await run(http, **body)
    assert (newer.status_code, older.status_code) == (400, 200)
    assert newer.json()["errors"]
    assert "data" not in newer.json() or newer.json()["data"] is None


async def test_an_error_that_reaches_the_root_is_still_200(http):
    query = '{ search(text: "x", first: 101) { __typename } }'
    answer = await run(http, GRAPHQL_MEDIA, query=query)
    assert answer.status_code == 200
    assert answer.json()["data"] is None
    assert answer.json()["errors"][0]["message"] == "first must be 0 to 100"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"query":1}', b'{"query":"{a}","variables":[]}'])
async def test_a_body_that_is_no_request_is_400(http, body):
    answer = await http.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["message"]


async def test_other_methods_and_media_types_are_refused(http):
    got = await http.get("/graphql", params={"query": "{ simulator }"})
    assert (got.status_code, got.headers["allow"]) == (405, "POST")
    text = await http.post("/graphql", content=b"{}", headers={"content-type": "text/plain"})
    assert text.status_code == 415
