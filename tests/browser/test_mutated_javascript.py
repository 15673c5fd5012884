"""Vectors that were damaged at random: Python and the verifier for browsers say the same of each.

What is damaged is inside of the document (headers, bodies, graph, proof, keys, policy, ring), so
that the damage reaches the checks and not only the reader of JSON.
"""

import base64
import json
import random
from collections.abc import Callable

import pytest
from tests.support.verifyjs import (
    disagreements,
    in_node,
    needs_node,
    said_by_python,
    vector_documents,
)

MUTANTS = 400
LETTERS = "ABCyz019-_+/=.:, \n"

Tree = dict[str, object]


def damaged_text(text: str, chance: random.Random) -> str:
    """Return a text with one character changed, dropped, doubled or put in."""
    at = chance.randrange(len(text) + 1)
    match chance.randrange(4):
        case 0:
            return text[:at] + chance.choice(LETTERS) + text[at + 1 :]
        case 1:
            return text[:at] + text[at + 1 :]
        case 2:
            return text[:at] + text[at : at + 8] + text[at:]
        case _:
            return text[:at] + chance.choice(LETTERS) + text[at:]


def damaged_octets(encoded: str, chance: random.Random) -> str:
    """Return base64 of octets of which one was changed, dropped or put in, or lines were moved."""
    octets = bytearray(base64.b64decode(encoded))
    at = chance.randrange(len(octets) + 1)
    match chance.randrange(4):
        case 0:
            octets[at : at + 1] = bytes([chance.randrange(256)])
        case 1:
            del octets[at : at + chance.choice((1, 2, 60))]
        case 2:
            octets[at:at] = chance.choice((b"\n", b"\r", b": x\n\n", b"data: y\n\n", b"\n\n"))
        case _:
            blocks = bytes(octets).split(b"\n\n")
            chance.shuffle(blocks)
            octets = bytearray(b"\n\n".join(blocks))
    return base64.b64encode(octets).decode()


def in_statement(value: str, chance: random.Random) -> str:
    """Return a statement's header of which the JSON was changed."""
    inner = base64.b64decode(value[1:-1]).decode()
    return f":{base64.b64encode(damaged_text(inner, chance).encode()).decode()}:"


def of_header(vector: Tree, chance: random.Random) -> None:
    pair = chance.choice(vector["exchange"]["response"]["headers"])
    if pair[0] == "attest-statement" and chance.random() < 0.5:
        pair[1] = in_statement(pair[1], chance)
    else:
        at = 0 if chance.random() < 0.1 else 1
        pair[at] = damaged_text(pair[at], chance)


def of_headers(vector: Tree, chance: random.Random) -> None:
    headers = vector["exchange"]["response"]["headers"]
    pair = chance.choice(headers)
    if chance.random() < 0.5:
        headers.remove(pair)
    else:
        headers.insert(0, list(pair))


def of_body(vector: Tree, chance: random.Random) -> None:
    response = vector["exchange"]["response"]
    response["body_base64"] = damaged_octets(response.get("body_base64", ""), chance)


def of_request(vector: Tree, chance: random.Random) -> None:
    request = vector["exchange"]["request"]
    name = chance.choice(("method", "path", "query", "body_base64"))
    change = damaged_octets if name == "body_base64" else damaged_text
    request[name] = change(request.get(name, ""), chance)


def of_text(*path: str) -> Callable[[Tree, random.Random], None]:
    """Return what damages the text at a place of the vector."""

    def change(vector: Tree, chance: random.Random) -> None:
        *above, last = path
        place = vector
        for step in above:
            place = place[step]
        place[last] = damaged_text(place[last], chance)

    return change


def of_key(vector: Tree, chance: random.Random) -> None:
    entry = chance.choice(vector["jwks"]["keys"])
    name = chance.choice(list(entry))
    entry[name] = damaged_text(entry[name], chance)


def of_ring(vector: Tree, chance: random.Random) -> None:
    version = chance.choice(vector["ledger"]["keyring"]["versions"])
    name = chance.choice(list(version))
    version[name] = damaged_text(version[name], chance)


def of_expectation(vector: Tree, chance: random.Random) -> None:
    name = chance.choice(("issuer", "audience", "nonce", "now_ms", "age_ms_max"))
    values = (None, 0, 1_790_000_000_000, 1_790_000_100_000) if "_ms" in name else (None, "", "x")
    vector["exchange"][name] = chance.choice(values)


KINDS: tuple[Callable[[Tree, random.Random], None], ...] = (
    of_header,
    of_headers,
    of_body,
    of_request,
    of_text("exchange", "graph"),
    of_text("exchange", "proof"),
    of_text("ledger", "witness_policy"),
    of_text("ledger", "log_keys", 0),
    of_key,
    of_ring,
    of_expectation,
)


def mutants(count: int, seed: str) -> dict[str, bytes]:
    """Return vectors, each damaged in one to two places that it has."""
    chance = random.Random(seed)
    documents = list(vector_documents().items())
    found: dict[str, bytes] = {}
    while len(found) < count:
        name, document = chance.choice(documents)
        if len(document) > 60_000:
            continue
        vector, kinds = json.loads(document), chance.sample(KINDS, k=chance.choice((1, 1, 2)))
        try:
            for change in kinds:
                change(vector, chance)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            continue  # this vector has no such part
        found[f"{len(found)} of {name}"] = json.dumps(vector).encode()
    return found


@needs_node
@pytest.mark.slow
def test_damaged_vectors_are_judged_alike():
    documents = mutants(MUTANTS, "damage to vectors")
    assert disagreements(documents, in_node) == {}
    verdicts = {str(said_by_python(document)[0]) for document in documents.values()}
    assert verdicts >= {"VERIFIED", "VERIFIED_PREFIX", "INVALID", "UNSIGNED", "refused"}
