"""`GET /v1/prov/{prov_id}?format=`: the same record, for the same readers, in other formats."""

import asyncio
import json
import threading
from concurrent.futures import Future
from xml.etree import ElementTree

import pytest
from tests.support.gateway import Gateway
from tests.support.graphs import agent_run, plain_answer

from verismo.attest.provenance import read_graph
from verismo.attest.provjson import read_prov_json
from verismo.attest.provsvg import POLICY
from verismo.gateway.graphs import FORMATS, WAITING_MAX, GraphWriter, Media, read_format
from verismo.model import base64url
from verismo.model.errors import MalformedRequest, Overloaded
from verismo.ports.journal import Record

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
MEDIA = {
    "svg": "image/svg+xml",
    "prov-json": "application/json",
    "dot": "text/vnd.graphviz",
}


def record_of(recorded):
    return Record(
        kind="answer",
        seq_n=1,
        prov_id=recorded.prov_id,
        tenant="TENANT_001",
        statement=b"{}",
        jws=b"a..b",
        graph=recorded.document,
    )


def drawing_threads():
    return sum(thread.name.startswith("graphs") for thread in threading.enumerate())


async def body_of(reply):
    return b"".join([block async for block in reply.events])


async def test_without_a_format_or_with_json_the_record_is_as_before(gateway: Gateway):
    answer = await gateway.chat()
    plain = await gateway.send("GET", f"/v1/prov/{answer.prov_id}")
    asked = await gateway.send("GET", f"/v1/prov/{answer.prov_id}?format=json")
    assert plain.body == asked.body
    assert plain.headers["content-type"] == "application/vnd.verismo.prov+json"
    assert asked.headers["content-type"] == plain.headers["content-type"]


@pytest.mark.parametrize("name", MEDIA)
async def test_each_format_is_of_the_graph_that_was_signed(gateway: Gateway, name: str):
    answer = await gateway.chat()
    reply = await gateway.send("GET", f"/v1/prov/{answer.prov_id}?format={name}")
    assert (reply.status, reply.headers["content-type"]) == (200, MEDIA[name])
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"
    graph, _ = read_graph(gateway.record_of(answer).graph)
    if name == "prov-json":
        record = read_prov_json(reply.body)
        assert record.graph == graph
        assert base64url.decode(record.statement) == gateway.record_of(answer).statement
    elif name == "svg":
        root = ElementTree.fromstring(reply.body)
        links = list(root.iter("{http://www.w3.org/2000/svg}a"))
        assert len(links) == len(graph.nodes)
        assert reply.headers["content-security-policy"] == POLICY
    else:
        assert reply.body.startswith(b"digraph")
        assert reply.body.count(b"tooltip") == len(graph.nodes)


@pytest.mark.parametrize("query", ["format=png", "format=", "format=svg&format=svg", "format=SVG"])
async def test_an_unknown_format_is_refused_with_the_known_ones(gateway: Gateway, query: str):
    answer = await gateway.chat()
    reply = await gateway.send("GET", f"/v1/prov/{answer.prov_id}?{query}")
    assert reply.status == 400
    detail = json.loads(reply.body)["error"]["message"]
    assert all(name in detail for name in FORMATS)


@pytest.mark.parametrize("name", [*FORMATS, "png"])
async def test_a_format_opens_nothing_to_other_tenants(gateway: Gateway, name: str):
    answer = await gateway.chat()
    path = f"/v1/prov/{answer.prov_id}?format={name}"
    assert (await gateway.send("GET", path, key=None)).status == 401
    assert (await gateway.send("GET", path, key="TENANT_002")).status == 404
    own = await gateway.send("GET", path)
    auditors = await gateway.send("GET", path, key="auditor")
    assert own.status == auditors.status
    assert (await gateway.send("POST", path)).status == 405


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (b"", "json"),
        (b"format=dot", "dot"),
        (b"other=1", "json"),
        (b"format=prov%2Djson", "prov-json"),
    ],
)
async def test_the_query_names_the_format(query, found):
    assert read_format(query) == found


@pytest.mark.parametrize("query", [b"format=\xff", b"format=../x", b"format=svg%00"])
async def test_a_format_that_is_none_is_refused(query):
    with pytest.raises(MalformedRequest):
        read_format(query)


async def test_graphs_are_made_outside_the_event_loop_one_at_a_time():
    writer, before = GraphWriter(), drawing_threads()
    replies = [writer.reply(record_of(agent_run()), name) for name in MEDIA for _ in range(3)]
    bodies = await asyncio.gather(*map(body_of, replies))
    assert len({bytes(body) for body in bodies}) == len(MEDIA)
    assert drawing_threads() == before + 1


async def test_a_crowd_is_told_to_come_back_and_is_served_afterwards():
    started, go_on = threading.Event(), threading.Event()

    def hold(record):
        started.set()
        assert go_on.wait(10)
        return b"done"

    writer = GraphWriter({"dot": Media(hold, "text/plain")})
    record = record_of(plain_answer())
    replies = [writer.reply(record, "dot") for _ in range(WAITING_MAX)]
    assert await asyncio.to_thread(started.wait, 10)
    with pytest.raises(Overloaded) as caught:
        writer.reply(record, "dot")
    assert caught.value.retry_after_s
    go_on.set()
    assert set(await asyncio.gather(*map(body_of, replies))) == {b"done"}
    assert await body_of(writer.reply(record, "dot")) == b"done"


async def test_a_client_that_leaves_leaves_no_room_taken():
    writer = GraphWriter()
    record = record_of(plain_answer())
    for _ in range(3 * WAITING_MAX):
        reply = writer.reply(record, "svg")
        made: Future[bytes] = writer._waiting[-1]
        await reply.events.aclose()
        await asyncio.wrap_future(made)


async def test_the_event_loop_goes_on_while_a_large_graph_is_drawn():
    writer = GraphWriter()
    reply = writer.reply(record_of(agent_run(calls=80, searches=32, tools=48)), "svg")
    drawn = asyncio.ensure_future(body_of(reply))
    turns = 0
    while not drawn.done():
        await asyncio.sleep(0)
        turns += 1
    assert b"</svg>" in await drawn
    assert turns > 3
