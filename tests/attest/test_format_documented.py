"""`docs/attestation-format.md` says what the code does: names, numbers, limits, the example."""

import re
from pathlib import Path
from typing import get_args

import forge
import msgspec
import pytest

from verismo.attest import (
    commitment,
    exchange,
    headers,
    jws,
    keys,
    provenance,
    statement,
    stream,
    verify,
)
from verismo.attest.provenance import node_id, read_graph
from verismo.attest.verify_stream import HELD_BYTES_MAX
from verismo.gateway.records import VERIFY_BYTES_MAX, SignedGraph, VerifyAnswer, VerifyRequest
from verismo.model import canonical

TEXT = (Path(__file__).parents[2] / "docs" / "attestation-format.md").read_text()


def test_checks_have_the_documented_numbers_and_names():
    rows = re.findall(r"^\| (\d+) \| ([a-z-]+) \|", TEXT, re.MULTILINE)
    assert {int(number): name for number, name in rows} == verify.CHECK_NAMES


def members(kind, prefix=""):
    for field in msgspec.inspect.type_info(kind).fields:
        types = getattr(field.type, "types", (field.type,))
        nested = [t.cls for t in types if isinstance(t, msgspec.inspect.StructType)]
        if nested:
            yield from members(nested[0], f"{prefix}{field.encode_name}.")
        else:
            yield f"{prefix}{field.encode_name}"


def test_every_member_of_the_statement_is_documented_and_no_other():
    section = TEXT.split("## 5.")[1].split("## 6.")[0]
    rows = re.findall(r"^\| (`[^|]*`) \|", section, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row)}
    assert documented == set(members(statement.Statement))


@pytest.mark.parametrize(
    "kind",
    [
        statement.Head,
        provenance.Node,
        provenance.Graph,
        exchange.Exchange,
        SignedGraph,
        VerifyRequest,
    ],
)
def test_every_member_of_the_other_documents_is_named(kind):
    for field in msgspec.structs.fields(kind):
        assert f"`{field.encode_name}`" in TEXT or f'"{field.encode_name}"' in TEXT


@pytest.mark.parametrize(
    "names",
    [
        get_args(provenance.HopKind),
        get_args(keys.Role),
        get_args(jws.SignatureType),
        get_args(statement.Decision),
        get_args(statement.CacheState),
        get_args(verify.Verdict),
    ],
)
def test_every_word_of_an_enumeration_is_named(names):
    assert [name for name in names if f"`{name}`" not in TEXT] == []


@pytest.mark.parametrize(
    "limit",
    [
        statement.STATEMENT_BYTES_MAX,
        statement.NONCE_CHARS_MAX,
        provenance.NODES_MAX,
        provenance.GRAPH_BYTES_MAX,
        provenance.PARENTS_MAX,
        provenance.ATTRIBUTES_MAX,
        provenance.ATTRIBUTE_CHARS_MAX,
        stream.EVENT_BYTES_MAX,
        stream.HEAD_EVERY_EVENTS,
        stream.HEAD_EVERY_MS,
        jws.HEADER_CHARS_MAX,
        keys.KEYS_MAX,
        canonical.MAX_DEPTH,
        VERIFY_BYTES_MAX,
        verify.SKEW_MS_MAX // 1_000,
    ],
)
def test_every_limit_is_named(limit):
    assert re.search(rf"\b{limit:,}\b", TEXT)


def test_the_verification_api_is_documented():
    for kind in (VerifyAnswer, verify.Check, verify.SeenRequest):
        members = ", ".join(field.name for field in msgspec.structs.fields(kind))
        assert f"{{{members}}}" in TEXT.replace("\n", " ")


def test_kinds_of_commitments_are_not_the_reserved_ones():
    assert {"sse", "node"}.isdisjoint(get_args(commitment.CommitmentKind))
    assert "`sse` and `node` are\nreserved" in TEXT


def test_the_limit_of_held_octets_is_named():
    assert f"{HELD_BYTES_MAX >> 20} MiB" in TEXT


def test_every_header_is_named():
    for name in (headers.ATTEST_NONCE, *headers.EXPOSED[:6]):
        assert f"`{name.title()}`" in TEXT


def test_the_example_is_the_vector():
    case = forge.whole()
    stated = statement.read_statement(forge.signed_bytes())
    graph, root = read_graph(case.graph.encode())
    made = forge.stream()
    chain = forge.chain_of(made.recipe)
    first = chain.head.hex()
    chain.add(made.blocks[1])
    for value in (
        forge.QUESTION.decode(),
        forge.ANSWER.decode(),
        forge.Recipe().salt.hex(),
        stated.req.commit,
        stated.res.commit,
        node_id(graph.nodes[0]),
        root,
        case["attest-signature"],
        first,
        chain.head.hex(),
    ):
        assert value in TEXT
