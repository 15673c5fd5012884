"""`verismo prov show`: from a data folder, a gateway or a file, with the checks that were made."""

import asyncio
import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from tests.support.gateway import running_gateway
from tests.support.graphs import Recorded, agent_run, plain_answer

from verismo.attest.exchange import Exchange, SavedResponse
from verismo.attest.provenance import read_graph
from verismo.attest.provfaults import read_claim
from verismo.attest.provjson import ProvRecord, read_prov_json, write_prov_json
from verismo.model import base64url
from verismo.model.units import moment_utc

pytestmark = pytest.mark.slow


class Ran:
    """A gateway that answered, and files that were saved of it."""

    def __init__(self, folder):
        self.folder = folder
        self.data = None
        self.records = []
        self.headers = {}
        self.streamed = None
        self.served = b""
        self.keyring = b""
        self.jwks = b""

    def file(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        return path


async def answered(folder):
    state = Ran(folder)
    async with running_gateway(folder / "gateway") as gateway:
        first = await gateway.chat()
        await gateway.chat("refused", key="TENANT_003")
        state.served = (await gateway.send("GET", f"/v1/prov/{first.prov_id}")).body
        state.keyring = (await gateway.send("GET", "/.well-known/attest/keyring.json")).body
        state.jwks = (await gateway.send("GET", "/.well-known/attest/jwks.json")).body
        state.headers = first.headers
        state.streamed = await gateway.chat("streamed", stream=True)
        state.records = gateway.records()
        state.data = gateway.config.data
        state.config = folder / "gateway" / "verismo.toml"
    return state


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return asyncio.run(answered(tmp_path_factory.mktemp("prov")))


@pytest.fixture
def prov_id(ran):
    return ran.records[0].prov_id


def test_a_data_folder_shows_tree_verdict_and_the_checks_that_were_made(verismo, ran, prov_id):
    done = verismo("prov", "show", prov_id, "--data", ran.data)
    assert (done.code, done.err) == (0, "")
    assert "verdict   VERIFIED, by its key ring" in done.out
    passed = next(row for row in done.out.splitlines() if row.startswith("passed"))
    assert all(check in passed for check in ("4 signature", "13 graph", "17 key-ring"))
    unmade = next(row for row in done.out.splitlines() if row.startswith("not made"))
    assert all(check in unmade for check in ("10 request", "11 response", "15 ledger"))
    assert "├─ policy    allow" in done.out
    assert f"began     {moment_utc(json.loads(ran.records[0].graph)['nodes'][0]['t0'])}" in done.out
    assert f"answer {prov_id}" in done.out


def test_the_configuration_names_the_data_folder_by_default(verismo, ran, prov_id, monkeypatch):
    monkeypatch.chdir(ran.config.parent)
    done = verismo("prov", "show", prov_id)
    assert done.code == 0
    assert "VERIFIED" in done.out


def test_a_refused_answer_is_shown_with_its_refusal(verismo, ran):
    refused = next(one for one in ran.records if b"deny" in one.graph or b'"code"' in one.graph)
    done = verismo("prov", "show", refused.prov_id, "--data", ran.data)
    assert done.code == 0
    assert "failed" in done.out


def test_json_has_the_graph_as_it_was_signed(verismo, ran, prov_id):
    done = verismo("prov", "show", prov_id, "--data", ran.data, "--json")
    shown = json.loads(done.out)
    assert (shown["prov_id"], shown["verdict"]) == (prov_id, "VERIFIED")
    assert shown["graph"] == json.loads(ran.records[0].graph)
    assert len(shown["checks"]) == 17


def test_documents_are_written_to_files_and_to_standard_output(verismo, ran, prov_id, tmp_path):
    svg, dot = tmp_path / "a.svg", tmp_path / "a.dot"
    done = verismo(
        "prov", "show", prov_id, "--data", ran.data, "--svg", svg, "--dot", dot, "--prov-json", "-"
    )
    assert done.code == 0
    assert done.err == f"{prov_id}: VERIFIED\n"
    record = read_prov_json(done.out.encode())
    assert record.graph == read_graph(ran.records[0].graph)[0]
    assert base64url.decode(record.statement) == ran.records[0].statement
    assert ElementTree.fromstring(svg.read_bytes()).tag.endswith("svg")
    assert dot.read_text().startswith("digraph")


async def test_a_gateway_is_asked_with_a_key_from_the_environment(verismo, tmp_path, monkeypatch):
    async with running_gateway(tmp_path) as gateway:
        answer = await gateway.chat()
        asked = ("prov", "show", answer.prov_id, "--url", gateway.url + "/")

        async def show(*more):
            return await asyncio.to_thread(verismo, *asked, *more)

        monkeypatch.setenv("VERISMO_API_KEY", gateway.keys["TENANT_001"])
        shown = await show()
        assert (shown.code, "VERIFIED, by the key ring that it serves" in shown.out) == (0, True)
        assert (await show("--calls")).code == 0
        other = await show("--key", gateway.keys["TENANT_002"])
        assert (other.code, "has no answer" in other.err) == (2, True)
        wrong = await show("--key", "vk_wrong")
        assert (wrong.code, "401" in wrong.err, "API key" in wrong.err) == (2, True, True)
        monkeypatch.delenv("VERISMO_API_KEY")
        assert "VERISMO_API_KEY" in (await show()).err


def test_a_served_record_is_checked_by_a_key_ring_or_a_key_set(verismo, ran, prov_id):
    path = ran.file("record.json", ran.served)
    unknown = verismo("prov", "show", "--file", path)
    assert (unknown.code, "NOT CHECKED: there are no keys" in unknown.out) == (0, True)
    ring = ran.file("ring.json", ran.keyring)
    by_ring = verismo("prov", "show", prov_id, "--file", path, "--keyring", ring)
    assert (by_ring.code, "17 key-ring" in by_ring.out) == (0, True)
    keys = ran.file("jwks.json", ran.jwks)
    by_keys = verismo("prov", "show", "--file", path, "--jwks", keys)
    assert (by_keys.code, "VERIFIED" in by_keys.out) == (0, True)


def test_a_graph_that_was_changed_is_invalid_and_says_which_check_failed(verismo, ran):
    changed = ran.served.replace(b'"decision":"allow"', b'"decision":"maybe"')
    assert changed != ran.served
    document = json.loads(changed)
    nodes = document["graph"]["nodes"]
    keys = ran.file("jwks.json", ran.jwks)
    broken = ran.file("broken.json", changed)
    assert verismo("prov", "show", "--file", broken, "--jwks", keys).code == 1
    # A graph that is sound in itself, beside a statement for another one.
    other = plain_answer().document
    document["graph"] = json.loads(other)
    assert nodes
    swapped = ran.file("swapped.json", json.dumps(document).encode())
    raw = ran.file("raw.json", other)
    assert verismo("prov", "show", "--file", raw, "--jwks", keys).code == 0
    served = ran.served[: ran.served.index(b'"graph":')] + b'"graph":' + other + b"}"
    swapped.write_bytes(served)
    done = verismo("prov", "show", "--file", swapped, "--jwks", keys)
    assert done.code == 1
    assert "verdict   INVALID" in done.out
    assert "failed    13 graph" in done.out


def altered(nodes, number):
    """Alter one digit of a node, as it is spelt."""
    number %= len(nodes)
    spelt = re.sub(r'"t0":(\d+)(\d)', lambda m: f'"t0":{m[1]}{(int(m[2]) + 1) % 10}', nodes[number])
    assert spelt != nodes[number]
    return [*nodes[:number], spelt, *nodes[number + 1 :]]


SPOILT = {
    "a digit of the first node": (lambda nodes: altered(nodes, 0), "node 1 (request) is used by"),
    "a digit of a middle node": (lambda nodes: altered(nodes, 2), "node 3 (budget) is used by"),
    "a digit of the last node": (lambda nodes: altered(nodes, -1), "root is not the signed one"),
    "a node removed": (lambda nodes: [*nodes[:2], *nodes[3:]], "node 3 uses "),
    "two nodes swapped": (
        lambda nodes: [nodes[0], nodes[2], nodes[1], *nodes[3:]],
        "node 2 uses node 3, which does not stand before it",
    ),
    "a node twice": (lambda nodes: [*nodes[:2], nodes[1], *nodes[2:]], "node 3 is node 2 once"),
    "a kind that is none": (
        lambda nodes: [nodes[0], nodes[1].replace('"policy"', '"police"'), *nodes[2:]],
        "node 2 is no node",
    ),
    "no node at all": (lambda nodes: [], "1 to 1000 nodes"),
}


def graph_with(graph, change):
    """Return a graph whose nodes were changed as they are spelt."""
    claim = read_claim(graph)
    nodes = ",".join(change([bytes(node).decode() for node in claim.nodes]))
    return f'{{"nodes":[{nodes}],"prov_id":"{claim.prov_id}","v":1}}'.encode()


@pytest.mark.parametrize(("change", "where"), SPOILT.values(), ids=SPOILT)
def test_tampered_graphs_are_invalid_with_the_check_and_the_place(
    verismo, ran, prov_id, change, where
):
    graph = ran.records[0].graph
    spoilt = graph_with(graph, change)
    response = SavedResponse(200, tuple(ran.headers.items()))
    exchange = Exchange(v=1, response=response, graph=spoilt.decode())
    keys = ran.file("jwks.json", ran.jwks)
    for name, data in (
        ("record", ran.served.replace(graph, spoilt)),
        ("exchange", msgspec.json.encode(exchange)),
    ):
        path = ran.file(f"spoilt-{name}.json", data)
        done = verismo("prov", "show", prov_id, "--file", path, "--jwks", keys)
        assert (done.code, done.err) == (1, "")
        assert "verdict   INVALID, by" in done.out
        assert "failed    13 graph: " in done.out
        assert "4 signature" in done.out
        assert where in done.out
        unkeyed = verismo("prov", "show", "--file", path)
        assert (unkeyed.code, where in unkeyed.out) == (1, True)
        assert "verdict   INVALID\n" in unkeyed.out


def test_a_tampered_graph_is_drawn_into_no_document(verismo, ran, tmp_path):
    spoilt = graph_with(ran.records[0].graph, lambda nodes: altered(nodes, 2))
    path = ran.file("alone.json", spoilt)
    out = [tmp_path / name for name in ("a.svg", "a.dot", "a.json")]
    options = zip(("--svg", "--dot", "--prov-json"), out, strict=True)
    done = verismo("prov", "show", "--file", path, *[one for pair in options for one in pair])
    assert (done.code, done.out) == (1, "")
    assert "INVALID; 13 graph: a node names an input that is not an earlier node" in done.err
    assert not [one for one in out if one.exists()]
    shown = json.loads(verismo("prov", "show", "--file", path, "--json").out)
    assert (shown["verdict"], shown["checks"][12]["outcome"]) == ("INVALID", "fail")
    assert shown["faults"][0].startswith("node 3 (budget)")
    assert shown["graph"] == json.loads(spoilt)


def test_a_tampered_name_of_the_answer_is_invalid(verismo, ran, prov_id):
    other = prov_id[:-1] + ("0" if prov_id[-1] != "0" else "1")
    graph = ran.records[0].graph
    head, _, tail = graph.rpartition(prov_id.encode())
    path = ran.file("renamed.json", ran.served.replace(graph, head + other.encode() + tail))
    done = verismo("prov", "show", prov_id, "--file", path)
    assert (done.code, "failed    13 graph: " in done.out) == (1, True)


def test_a_tampered_journal_is_invalid(verismo, ran, prov_id, tmp_path):
    data = tmp_path / "var"
    shutil.copytree(ran.data, data)
    graph = ran.records[0].graph
    spoilt = graph_with(graph, lambda nodes: altered(nodes, 1))
    changed = 0
    for path in data.rglob("*.db"):
        with closing(sqlite3.connect(path)) as journal, journal:
            found = journal.execute("SELECT type, name FROM sqlite_master").fetchall()
            if ("table", "record") in found:
                for name in [name for kind, name in found if kind == "trigger"]:
                    journal.execute(f"DROP TRIGGER {name}")
                update = "UPDATE record SET graph = ? WHERE graph = ?"
                changed += journal.execute(update, (spoilt, graph)).rowcount
    assert changed == 1
    done = verismo("prov", "show", prov_id, "--data", data, "--calls")
    assert (done.code, "verdict   INVALID, by its key ring" in done.out) == (1, True)
    assert "where     node 2 (policy) is used by no node" in done.out


def test_a_streams_saved_exchange_has_its_signature_in_its_last_comment(verismo, ran):
    def shown(graph, body):
        headers = (("content-type", "text/event-stream"), *ran.streamed.headers.items())
        response = SavedResponse(200, headers, body_text=body.decode())
        exchange = Exchange(v=1, response=response, graph=graph.decode())
        path = ran.file("stream.json", msgspec.json.encode(exchange))
        keys = ran.file("jwks.json", ran.jwks)
        return verismo("prov", "show", "--file", path, "--jwks", keys)

    graph = next(one.graph for one in ran.records if one.prov_id == ran.streamed.prov_id)
    whole = shown(graph, ran.streamed.body)
    assert (whole.code, "verdict   VERIFIED, by" in whole.out) == (0, True)
    spoilt = shown(graph_with(graph, lambda nodes: altered(nodes, -1)), ran.streamed.body)
    assert (spoilt.code, "root is not the signed one" in spoilt.out) == (1, True)
    cut = shown(graph, ran.streamed.body.rpartition(b": attest ")[0])
    assert (cut.code, "there is no signature with the graph" in cut.out) == (0, True)


def prov_json(ran):
    record = ran.records[0]
    graph = read_graph(record.graph)[0]
    spelled = ProvRecord(graph, base64url.encode(record.statement), record.jws.decode())
    return json.loads(write_prov_json(spelled))


def node_at(document, number):
    records = {**document["entity"], **document["activity"]}
    return next(one for one in records.values() if one["vm:number"]["$"] == str(number))


def one_later(document, number):
    time = node_at(document, number)["vm:t0"]
    time["$"] = str(int(time["$"]) + 1)


def without(document, number):
    for part in ("entity", "activity"):
        gone = [n for n, one in document[part].items() if one["vm:number"]["$"] == str(number)]
        for name in gone:
            del document[part][name]


def swapped(document, first, second):
    one, other = node_at(document, first), node_at(document, second)
    one["vm:number"], other["vm:number"] = other["vm:number"], one["vm:number"]


RESPELT = {
    "a digit of the first node": (lambda d: one_later(d, 1), "node 1 is not what its id"),
    "a digit of a middle node": (lambda d: one_later(d, 3), "node 3 is not what its id"),
    "a digit of the last node": (lambda d: one_later(d, 6), "node 6 is not what its id"),
    "a node removed": (lambda d: without(d, 3), "not numbered from 1 on"),
    "two nodes swapped": (lambda d: swapped(d, 2, 3), "is not an earlier node"),
    "a relation with one end": (
        lambda d: next(iter(d["wasInformedBy"].values())).pop("prov:informant"),
        "wasInformedBy without one",
    ),
    "a time that is none": (lambda d: node_at(d, 2).update({"vm:t0": "x"}), "is no integer"),
    "another statement": (
        lambda d: node_at(d, 6).update({"vm:statement": "!"}),
        "failed    13 graph: ",
    ),
    "entities that are none": (lambda d: d.update({"entity": 5}), "failed    13 graph: "),
}


@pytest.mark.parametrize(("change", "where"), RESPELT.values(), ids=RESPELT)
def test_tampered_prov_json_is_invalid_with_the_check_and_the_place(verismo, ran, change, where):
    document = prov_json(ran)
    change(document)
    path = ran.file("respelt.json", json.dumps(document).encode())
    keys = ran.file("jwks.json", ran.jwks)
    for more in ((), ("--jwks", keys)):
        done = verismo("prov", "show", "--file", path, *more)
        assert (done.code, done.err) == (1, "")
        assert "verdict   INVALID" in done.out
        assert "failed    13 graph: " in done.out
        assert where in done.out
    shown = json.loads(verismo("prov", "show", "--file", path, "--json").out)
    assert (shown["verdict"], shown["graph"]) == ("INVALID", None)


def test_an_exchange_whose_proof_cannot_be_read_is_invalid_by_that_check(verismo, ran):
    headers = tuple((n, "?" if n == "attest-salt" else v) for n, v in ran.headers.items())
    response = SavedResponse(200, headers)
    exchange = Exchange(v=1, response=response, graph=ran.records[0].graph.decode())
    path = ran.file("headers.json", msgspec.json.encode(exchange))
    done = verismo("prov", "show", "--file", path)
    assert (done.code, "failed    1 proof: " in done.out) == (1, True)
    assert "├─ policy    allow" in done.out


def test_prov_json_brings_graph_and_signature(verismo, ran):
    record = ran.records[0]
    graph = read_graph(record.graph)[0]
    spelled = ProvRecord(graph, base64url.encode(record.statement), record.jws.decode())
    path = ran.file("prov.json", write_prov_json(spelled))
    keys = ran.file("jwks.json", ran.jwks)
    done = verismo("prov", "show", "--file", path, "--jwks", keys)
    assert (done.code, "VERIFIED" in done.out) == (0, True)


def test_a_saved_exchange_is_read_with_its_graph(verismo, ran, prov_id):
    response = SavedResponse(200, tuple(ran.headers.items()))
    exchange = Exchange(v=1, response=response, graph=ran.records[0].graph.decode())
    path = ran.file("exchange.json", msgspec.json.encode(exchange))
    keys = ran.file("jwks.json", ran.jwks)
    done = verismo("prov", "show", prov_id, "--file", path, "--jwks", keys)
    assert (done.code, "VERIFIED" in done.out) == (0, True)
    without = Exchange(v=1, response=response)
    path = ran.file("exchange.json", msgspec.json.encode(without))
    assert "without its graph" in verismo("prov", "show", "--file", path).err


def test_a_run_is_shown_with_its_joined_calls_and_what_was_only_reported(verismo, tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(agent_run().document)
    done = verismo("prov", "show", "--file", path)
    assert "NOT CHECKED: there is no signature with the graph" in done.out
    assert done.out.count("─ call 0") == 3
    assert done.out.count("reported") == 2


def test_a_joined_call_without_a_record_is_not_proven(verismo, ran, tmp_path):
    from verismo.cli import prov, provsource  # noqa: PLC0415 - only here are parts looked at

    recorded = Recorded()
    last = recorded.opening("/a", recorded.prov_id)
    inner = recorded.model_call()
    recorded.answered(recorded.hop("tool", [last, inner], {}))
    view = prov.view_graph(recorded.graph())
    with provsource.folder(ran.data) as place:
        (check,) = prov._check_calls(view, place)
    assert check.problem == "there is no record of it"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "name the PROV_ID"),
        (("x",), "is not a prov_id"),
        (("--data", ".", "--url", "http://127.0.0.1:1"), "give one of"),
        (("--url", "http://127.0.0.1:1"), "name the PROV_ID"),
    ],
)
def test_wrong_usage_is_told(verismo, words, told):
    done = verismo("prov", "show", *words)
    assert (done.code, told in done.err) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ("--data", "{data}", "--jwks", "{file}"),
        ("--file", "{file}", "--calls"),
        ("--file", "{file}", "--jwks", "{file}", "--keyring", "{file}"),
        ("--file", "{file}", "--json", "--svg", "-"),
        ("--file", "{file}", "--dot", "-", "--svg", "-"),
        ("--url", "http://127.0.0.1:1"),
    ],
)
def test_options_that_do_not_belong_together_are_told(verismo, ran, prov_id, words):
    path = ran.file("record.json", ran.served)
    spelled = [word.format(data=ran.data, file=path) for word in words]
    assert verismo("prov", "show", prov_id, *spelled).code == 2


def test_what_is_not_there_is_told(verismo, ran, tmp_path):
    unknown = f"{ran.records[0].prov_id[:-4]}0000"
    done = verismo("prov", "show", unknown, "--data", ran.data)
    assert (done.code, "has no answer" in done.err) == (2, True)
    done = verismo("prov", "show", unknown, "--data", tmp_path / "none")
    assert (done.code, "no data folder" in done.err) == (2, True)
    path = ran.file("record.json", ran.served)
    done = verismo("prov", "show", unknown, "--file", path)
    assert (done.code, "the graph is that of" in done.err) == (2, True)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"statement":"!","signature":"","prov_id":"","graph":{}}',
             b'{"prefix":{}}', b'{"prefix":{"vm":"http://a.example/"}}', b'{"response":{}}',
             b'{"prov_id":"","nodes":{}}', b'{"nodes":[],"prov_id":""', b"\xff\xfe",
             b'{"prov_id":"a","statement":"e30","signature":"","graph":{"nodes":1}}']
)  # fmt: skip
def test_a_file_that_holds_no_graph_is_told(verismo, tmp_path, data):
    path = tmp_path / "x.json"
    path.write_bytes(data)
    done = verismo("prov", "show", "--file", path)
    assert done.code == 2
    assert done.err.startswith("error: ")


def test_an_attribute_cannot_write_to_the_terminal(verismo, tmp_path):
    recorded = Recorded()
    asked = recorded.hop("request", (), {"method": "GET", "path": "\x1b]0;owned\x07\x1b[2J"})
    recorded.answered(asked)
    path = tmp_path / "x.json"
    path.write_bytes(recorded.document)
    done = verismo("prov", "show", "--file", path)
    assert "\x1b" not in done.out
    assert "\x07" not in done.out


DOCS = Path(__file__).parents[2] / "docs"
RUN = ("--file", "docs/images/agent-run.json")
RING = ("--keyring", "docs/images/agent-run-keyring.json")


def test_the_tree_in_the_document_is_what_the_command_prints(verismo, monkeypatch):
    monkeypatch.chdir(DOCS.parent)
    done = verismo("prov", "show", *RUN, *RING)
    text = (DOCS / "provenance.md").read_text(encoding="utf-8")
    assert f"$ verismo prov show {' '.join((*RUN, *RING))}\n{done.out}```" in text


def test_the_picture_in_the_document_is_what_the_command_writes(verismo, monkeypatch, tmp_path):
    monkeypatch.chdir(DOCS.parent)
    assert verismo("prov", "show", *RUN, "--svg", tmp_path / "a.svg").code == 0
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (DOCS / "images/agent-run.svg").read_bytes()
