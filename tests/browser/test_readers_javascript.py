"""What the verifier for browsers reads and refuses is what Python's reads and refuses.

JSON.parse is not strict and no two parsers are alike, so each reader of verify.js is held against
Python's: on odd spellings that stand here, and on documents that were damaged at random.
"""

import hashlib
import json
import random
import time
from collections.abc import Callable, Sequence

import pytest
from tests.support.verifyjs import in_node, needs_node, octets, vector_documents

from verismo.attest.exchange import ExchangeRefused, read_exchange
from verismo.attest.keyentry import KeyRingRefused
from verismo.attest.keys import KeyRefused, read_jwks
from verismo.attest.merkle import ProofRefused
from verismo.attest.provenance import GraphRefused, read_graph
from verismo.attest.tlogproof import read_proof
from verismo.attest.verify_ledger import trusted_ring
from verismo.attest.witnesspolicy import PolicyRefused, read_policy

pytestmark = needs_node

REFUSALS = (
    ExchangeRefused,
    GraphRefused,
    KeyRefused,
    KeyRingRefused,
    PolicyRefused,
    ProofRefused,
)
DAMAGED = 150
"""Damaged documents of each kind."""
BLANKS_S_MAX = 30.0
"""Quadratic time is minutes here, linear time a fraction of a second."""

READERS: dict[str, Callable[[bytes], object]] = {
    "jwks": read_jwks,
    "graph": read_graph,
    "ring": lambda document: trusted_ring(document, None),
    "policy": read_policy,
    "proof": read_proof,
    "exchange": read_exchange,
}


def member(name: str, *path: str) -> object:
    """Return a part of a vector."""
    value = json.loads(vector_documents()[name])
    for step in path:
        value = value[step]
    return value


def sample(kind: str) -> bytes:
    """Return a good document of a kind."""
    found = {
        "jwks": ("whole-several-keys", "jwks"),
        "graph": ("graph-all-hops", "exchange", "graph"),
        "ring": ("ring-grown", "ledger", "keyring"),
        "policy": ("witness-both", "ledger", "witness_policy"),
        "proof": ("witness-both", "exchange", "proof"),
        "exchange": ("whole", "exchange"),
    }[kind]
    value = member(*found)
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


def is_read(kind: str, document: bytes) -> bool:
    """Say whether Python reads a document."""
    try:
        READERS[kind](document)
    except REFUSALS:
        return False
    return True


def disagreements(kind: str, documents: Sequence[bytes]) -> list[tuple[bytes, object]]:
    """Return the documents that one reads and the other refuses."""
    found = in_node([{"do": kind, "document": octets(one)} for one in documents])
    return [
        (document, told)
        for document, told in zip(documents, found, strict=True)
        if is_read(kind, document) != ("refused" not in told)
    ]


KEY = json.dumps(member("whole", "jwks", "keys"))[1:-1]
OTHER_TYPE = '"kty":"RSA","n":"AQAB"'
KEY_SETS = {
    "one key": f'{{"keys":[{KEY}]}}',
    "no keys": '{"keys":[]}',
    "spaces": f' \t\r\n{{ "keys" : [ {KEY} ] }} \n',
    "keys twice": f'{{"keys":[{KEY}],"keys":[{KEY}]}}',
    "member twice": f'{{"keys":[{KEY[:-1]},"alg":"Ed25519"}}]}}',
    "member twice by an escape": f'{{"keys":[{KEY[:-1]},"\\u0061lg":"Ed25519"}}]}}',
    "unknown member twice": f'{{"keys":[{KEY}],"a":1,"a":1}}',
    "nested member twice": f'{{"keys":[{KEY},{{{OTHER_TYPE},"a":[{{"b":1,"b":2}}]}}]}}',
    "escaped name": f'{{"\\u006beys":[{KEY}]}}',
    "other members": f'{{"keys":[{KEY}],"a":[1.5,-0,1e400,true,null,"\\u00e9\\ud83d\\ude00"]}}',
    "endless number": f'{{"keys":[{KEY}],"a":{"1" * 5_000}}}',
    "large number": f'{{"keys":[{KEY}],"a":123456789012345678901234567890}}',
    "not a number": f'{{"keys":[{KEY}],"a":NaN}}',
    "infinite": f'{{"keys":[{KEY}],"a":Infinity}}',
    "leading zero": f'{{"keys":[{KEY}],"a":01}}',
    "plus": f'{{"keys":[{KEY}],"a":+1}}',
    "point without digits": f'{{"keys":[{KEY}],"a":1.}}',
    "point first": f'{{"keys":[{KEY}],"a":.5}}',
    "hexadecimal": f'{{"keys":[{KEY}],"a":0x1}}',
    "minus alone": f'{{"keys":[{KEY}],"a":-}}',
    "exponent without digits": f'{{"keys":[{KEY}],"a":1e}}',
    "trailing comma": f'{{"keys":[{KEY},]}}',
    "trailing comma of an object": f'{{"keys":[{KEY}],}}',
    "comment": f'{{"keys":[{KEY}]/**/}}',
    "single quotes": f"{{'keys':[{KEY}]}}",
    "no quotes": f"{{keys:[{KEY}]}}",
    "something after": f'{{"keys":[{KEY}]}} x',
    "two documents": f'{{"keys":[{KEY}]}}{{}}',
    "byte order mark": f'\ufeff{{"keys":[{KEY}]}}',
    "other space": f'{{"keys":[{KEY}],\u00a0"a":1}}',
    "form feed": f'{{"keys":[{KEY}],\f"a":1}}',
    "unknown escape": f'{{"keys":[{KEY}],"a":"\\x41"}}',
    "short escape": f'{{"keys":[{KEY}],"a":"\\u41"}}',
    "line end in a text": f'{{"keys":[{KEY}],"a":"\n"}}',
    "control character in a text": f'{{"keys":[{KEY}],"a":"\u0001"}}',
    "delete in a text": f'{{"keys":[{KEY}],"a":"\u007f"}}',
    "text without end": f'{{"keys":[{KEY}],"a":"',
    "proto": f'{{"keys":[{KEY}],"__proto__":{{"a":1}}}}',
    "constructor": f'{{"keys":[{KEY[:-1]},"constructor":1,"toString":null}}]}}',
    "deep": f'{{"keys":[{KEY}],"a":{"[" * 200}{"]" * 200}}}',
    "too deep": f'{{"keys":[{KEY}],"a":{"[" * 5_000}{"]" * 5_000}}}',
    "kid null": f'{{"keys":[{KEY},{{{OTHER_TYPE},"kid":null}}]}}',
    "alg a number": f'{{"keys":[{KEY},{{{OTHER_TYPE},"alg":1}}]}}',
    "empty d": f'{{"keys":[{KEY[:-1]},"d":""}}]}}',
    "null d": f'{{"keys":[{KEY[:-1]},"d":null}}]}}',
    "d of another type": f'{{"keys":[{KEY},{{{OTHER_TYPE},"d":"AQAB"}}]}}',
    "empty": "",
    "a text": '"keys"',
    "an array": f"[{KEY}]",
    "keys an object": f'{{"keys":{KEY}}}',
}


@pytest.mark.slow
def test_odd_key_sets_are_read_and_refused_as_python_does():
    documents = [text.encode() for text in KEY_SETS.values()]
    documents += [b'{"keys":[],"a":"\xff"}', b'{"keys":[],"a":"\xed\xa0\x80"}', b"\xff\xfe{\0}\0"]
    assert disagreements("jwks", documents) == []


MEMBERS = {
    "nothing": "",
    "minus zero": '"now_ms":-0',
    "largest time": f'"now_ms":{2**53 - 1}',
    "time too large": f'"now_ms":{2**53}',
    "time far too large": f'"now_ms":{2**64}',
    "time too small": f'"now_ms":{-(2**53)}',
    "age too large": f'"age_ms_max":{2**53}',
    "whole float": '"now_ms":1.0',
    "member twice": '"now_ms":1,"now_ms":1',
    "member twice by an escape": '"now_ms":1,"now\\u005fms":2',
    "key set twice": '"jwks":{"keys":[]},"jwks":{"keys":[]}',
    "member twice in the key set": '"jwks":{"keys":[],"keys":[]}',
    "member twice in the request": '"request":{"method":"GET","path":"/","path":"/x"}',
    "known but for a question mark": '"nonce?":"x"',
    "both names of a member": '"nonce":"x","nonce?":"x"',
    "a question mark alone": '"?":"x"',
    "proto": '"__proto__":{}',
    "other names in the key set": '"jwks":{"__proto__":{},"constructor":1}',
    "endless number in the key set": f'"jwks":{"1" * 5_000}',
    "half a pair in the key set": '"jwks":"\\ud800"',
    "a byte order mark": '"nonce":"\ufeff"',
}


@pytest.mark.slow
def test_odd_exchanges_are_read_and_refused_as_python_does():
    response = '"response":{"status":200,"headers":[]},"v":1'
    documents = [f"{{{text}{',' if text else ''}{response}}}".encode() for text in MEMBERS.values()]
    documents += [b'{"jwks":"\xff",' + response.encode() + b"}"]
    assert 5 < sum(is_read("exchange", document) for document in documents) < 12
    assert disagreements("exchange", documents) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["content-type", "content-digest"])
def test_blanks_within_a_header_take_no_quadratic_time(name):
    vector = json.loads(vector_documents()["whole"])
    headers = [pair for pair in vector["exchange"]["response"]["headers"] if pair[0] != name]
    vector["exchange"]["response"]["headers"] = [*headers, [name, f"a{' ' * 500_000}b"]]
    begun_s = time.monotonic()
    (found,) = in_node([{"do": "vector", "document": json.dumps(vector)}])
    assert time.monotonic() - begun_s < BLANKS_S_MAX
    assert found["outcomes"][0] == "pass"


@pytest.mark.slow
def test_ring_documents_with_a_member_twice_are_refused_as_by_python():
    ring = sample("ring").decode()
    twice = [
        ring.replace('"v":', '"v":1,"v":', 1),
        ring.replace('"versions":', '"versions":[],"versions":', 1),
        ring.replace('"signature":', '"signature":"","signature":', 1),
    ]
    assert ring not in twice
    documents = [text.encode() for text in twice]
    assert not any(is_read("ring", document) for document in documents)
    assert disagreements("ring", documents) == []


FACTS = {
    "nothing": "",
    "a space": '"a": 1',
    "a name escaped": '"\\u0061":1',
    "a float": '"a":1.0',
    "an exponent": '"a":1e0',
    "zero": '"a":0',
    "minus zero": '"a":-0',
    "leading zero": '"a":01',
    "largest integer": f'"a":{2**53 - 1}',
    "too large": f'"a":{2**53}',
    "far too large": f'"a":{2**64}',
    "smallest integer": f'"a":{1 - 2**53}',
    "too small": f'"a":{-(2**53)}',
    "truth": '"a":true',
    "null": '"a":null',
    "an array": '"a":[]',
    "an object": '"a":{}',
    "a slash": '"a":"/"',
    "a slash escaped": '"a":"\\/"',
    "short escapes": '"a":"\\b\\t\\n\\f\\r\\"\\\\"',
    "long escapes": '"a":"\\u0000\\u001f"',
    "a tab escaped at length": '"a":"\\u0009"',
    "an escape in upper case": '"a":"\\u001F"',
    "a letter escaped": '"a":"\\u0061"',
    "half a pair": '"a":"\\ud800"',
    "the other half": '"a":"\\udc00"',
    "a pair escaped": '"a":"\\ud83d\\ude00"',
    "a pair": '"a":"\U0001f600"',
    "line separators and delete": '"a":"\u2028\u2029\u007f"',
    "a byte order mark": '"a":"\ufeff"',
    "a control character": '"a":"\u0001"',
    "512 characters of two": '"a":"' + "\U0001f600" * 512 + '"',
    "513 characters": f'"a":"{"x" * 513}"',
    "a name beyond ASCII": '"\u00e9":1',
    "an empty name": '"":1',
    "proto": '"__proto__":1',
    "proto an object": '"__proto__":{"a":1}',
    "names of every object": '"constructor":1,"hasOwnProperty":2,"toString":3',
    "names like numbers": '"10":1,"9":2',
    "names like numbers by size": '"9":1,"10":2',
    "names in order": '"A":1,"a":2,"aa":3',
    "names out of order": '"a":1,"A":2',
    "a name twice": '"a":1,"a":1',
    "33 facts": ",".join(f'"a{number:02d}":1' for number in range(33)),
    "32 facts": ",".join(f'"a{number:02d}":1' for number in range(32)),
    "a prov_id of another": '"prov_id":"01a0c450-6b06-7928-bbbc-8c13661f8000"',
    "its own prov_id": '"prov_id":"01a0c450-6b06-7928-bbbc-8c13661f805f"',
    "a prov_id that is none": '"prov_id":1',
}


def graph_with(facts: str) -> bytes:
    """Return a graph that is right if the facts of its first node are spelled as they must be."""
    first = f'{{"attrs":{{{facts}}},"in":[],"kind":"request","t0":0,"t1":0,"v":1}}'.encode()
    name = hashlib.sha256(b"attest/v1/node\0" + first).hexdigest()
    last = f'{{"attrs":{{}},"in":["{name}"],"kind":"response","t0":0,"t1":0,"v":1}}'.encode()
    tail = b'],"prov_id":"01a0c450-6b06-7928-bbbc-8c13661f805f","v":1}'
    return b'{"nodes":[' + first + b"," + last + tail


@pytest.mark.slow
def test_signed_json_is_read_and_refused_as_python_does():
    documents = [graph_with(facts) for facts in FACTS.values()]
    assert 15 < sum(is_read("graph", document) for document in documents) < 30
    assert disagreements("graph", documents) == []


def damaged(document: bytes, chance: random.Random) -> bytes:
    """Return a document with one to three pieces of it changed, dropped, doubled or moved."""
    octets_ = bytearray(document)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(octets_) + 1)
        match chance.randrange(5):
            case 0:
                octets_[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                octets_[at : at + 1] = chance.choice(
                    b'0123456789abcdefXYZ_-+/="{}[],: \n'
                ).to_bytes()
            case 2:
                del octets_[at : at + chance.choice((1, 1, 2, 7, 40))]
            case 3:
                piece = octets_[at : at + chance.choice((1, 2, 5, 30))]
                octets_[at:at] = piece
            case _:
                other = chance.randrange(len(octets_) + 1)
                octets_[at:at] = octets_[other : other + chance.randint(1, 12)]
    return bytes(octets_)


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_damaged_documents_are_read_and_refused_as_python_does(kind):
    chance = random.Random(f"damage to {kind}")
    good = sample(kind)
    documents = [good, *(damaged(good, chance) for _ in range(DAMAGED))]
    assert is_read(kind, good)
    assert disagreements(kind, documents) == []
