"""Seeded mutations of what each parser reads: no crash but the declared error, and no accept."""

import json

import pytest
from forge import QUESTION, TOKEN, item, signed_bytes, stream, stream_recipe, text_bytes, token
from tests.support.mutation import DEAR_MUTATIONS, MUTATIONS, mutants

from verismo.attest import jws
from verismo.attest.headers import read_proof_headers
from verismo.attest.keys import read_jwks
from verismo.attest.keyset import KeySet
from verismo.attest.report import CheckFailed, Findings
from verismo.attest.statement import StatementRefused, read_statement
from verismo.attest.stream import (
    BlockSplitter,
    Chain,
    StreamRefused,
    is_comment_only,
    parse_signed_comment,
)
from verismo.attest.verify import Expectation, SeenRequest, SeenResponse, Verifier
from verismo.model import base64url, canonical

pytestmark = pytest.mark.slow

WHOLE_STREAMS = DEAR_MUTATIONS // 5
"""Each is about 1 ms of checks; what parses a stream gets all mutations."""
KEYS = read_jwks(json.dumps({"keys": [TOKEN.jwk]}).encode())


def test_no_mutated_token_verifies():
    payload = signed_bytes()
    key_set = KeySet(KEYS)
    parsed = 0
    for data in mutants(token(payload).encode(), "jws"):
        text = data.decode("latin-1")
        try:
            jws.parse_detached(text, jws.TYPE_STATEMENT)
        except jws.JwsRefused:
            continue
        parsed += 1
        with pytest.raises(CheckFailed):
            key_set.verify(text, payload, jws.TYPE_STATEMENT, Findings())
    assert parsed > MUTATIONS // 20


def test_no_mutated_byte_sequence_means_the_same():
    value = text_bytes("salt")
    read = 0
    for data in mutants(item(value).encode(), "item"):
        text = data.decode("latin-1")
        try:
            decoded = base64url.decode_binary_item(text)
        except base64url.NotBase64:
            continue
        read += 1
        assert decoded != value
        assert item(decoded) == text
    assert read > MUTATIONS // 100


def test_no_mutated_statement_means_the_same():
    original = signed_bytes()
    meaning = read_statement(original)
    read = 0
    for data in mutants(original, "statement"):
        try:
            statement = read_statement(data)
        except StatementRefused:
            continue
        read += 1
        assert statement != meaning
        assert canonical.encode(statement) == data
    assert read > MUTATIONS // 100


def chain_over(body: bytes) -> tuple[bytes, int, list[bytes]]:
    """Read a stream as far as it is one: the chain's end, its events, its signed comments."""
    recipe = stream_recipe()
    chain = Chain(recipe.salt, recipe.prov_id, recipe.request_commit)
    splitter = BlockSplitter()
    read: list[bytes] = []
    signed: list[bytes] = []
    try:
        for block in splitter.blocks(body):
            read.append(block)
            if not is_comment_only(block):
                chain.add(block)
            elif parse_signed_comment(block) is not None:
                signed.append(block)
    except StreamRefused:
        return b"", len(read), signed
    assert b"".join(read) + splitter.pending == body
    return chain.head, chain.events, signed


def test_no_mutated_stream_has_the_same_events_and_signatures():
    original = stream(sent=[b"data: a\n\n", b"data: b\n\n"], every=0)
    body = b"".join([*original.blocks[:3], original.blocks[-1]])
    meaning = chain_over(body)
    assert (meaning[1], len(meaning[2])) == (3, 1)
    for data in mutants(body, "sse"):
        head, events, signed = chain_over(data)
        if (head, events, signed) == meaning:
            assert keeps_events(data, body)


def keeps_events(data: bytes, body: bytes) -> bool:
    """Say whether only comments that carry nothing were added, or octets after the end."""
    lines = [block for block in data.split(b"\n\n") if block[:1] != b":"]
    expected = [block for block in body.split(b"\n\n") if block[:1] != b":"]
    return lines[: len(expected) - 1] == expected[:-1]


def test_no_mutated_stream_releases_anything_but_the_events_sent():
    original = stream(sent=[b"data: a\n\n", b"data: b\n\n"], every=1)
    sent = [block for block in original.blocks if block[:1] != b":"]
    verifier = Verifier(KEYS)
    proof = read_proof_headers(dict(original.case().headers))
    request = SeenRequest("POST", original.recipe.path, b"", QUESTION)
    response = SeenResponse(200, original.recipe.media)
    verified = 0
    for data in mutants(b"".join(original.blocks), "released", WHOLE_STREAMS):
        live = verifier.stream(proof, request, response, Expectation())
        released = live.feed(data)
        assert released == sent[: len(released)]
        report = live.finish()
        verified += report.verdict == "VERIFIED"
        assert report.verdict != "VERIFIED" or released == sent
    assert verified < WHOLE_STREAMS // 100
