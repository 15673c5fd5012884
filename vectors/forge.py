"""Builds answers for the test vectors: valid ones, and the parts to forge others from.

Everything comes from fixed texts, so that the vectors are the same bytes on every machine. The keys
are public test keys: their private halves are hashes of a text that stands here.
"""

import base64
import copy
import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verismo.attest import jws
from verismo.attest.commitment import commit
from verismo.attest.headers import content_digest
from verismo.attest.keys import Role, import_key, to_jwk
from verismo.attest.provenance import GraphBuilder, read_graph
from verismo.attest.stream import DONE_EVENT, Chain, signed_comment
from verismo.model import base64url, canonical, ids
from verismo.model.hop import HopKind

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Change = Callable[[dict[str, Json]], object]

TIME_MS = 1_790_000_000_000
ISSUER = "https://gateway.example"
AUDIENCE = "t_5a1e"
NONCE = "bm9uY2UtZm9yLXRoZS10ZXN0LXZlY3RvcnM"
PATH = "/v1/chat/completions"
STREAM_MEDIA = "text/event-stream"
QUESTION = b'{"model":"support-chat","messages":[{"role":"user","content":"Is it signed?"}]}'
ANSWER = b'{"choices":[{"message":{"role":"assistant","content":"It is."}}]}'


def text_bytes(text: str, count: int = 32) -> bytes:
    """Return bytes that look random and come from a text."""
    return hashlib.sha256(f"verismo test vector: {text}".encode()).digest()[:count]


def prov_id(text: str) -> str:
    """Return the identifier of a test answer."""
    return ids.prov_id_from(TIME_MS - 250, text_bytes(text, 10))


@dataclass(frozen=True)
class Key:
    """A test key: its private half is the hash of its name."""

    name: str
    role: Role = "token"
    alg: str = "Ed25519"

    @property
    def seed(self) -> bytes:
        """The private half."""
        return text_bytes(f"key {self.name}")

    @property
    def raw(self) -> bytes:
        """The public half."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()

    @property
    def jwk(self) -> dict[str, Json]:
        """As it is published."""
        return dict(_published(self))

    @property
    def kid(self) -> str:
        """Its thumbprint."""
        return str(self.jwk["kid"])

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)


@functools.cache
def _published(key: Key) -> dict[str, Json]:
    alg = "EdDSA" if key.alg == "EdDSA" else "Ed25519"
    published: dict[str, Json] = msgspec.to_builtins(to_jwk(import_key(key.raw, key.role, alg)))
    return published


TOKEN = Key("token 1")
OTHER = Key("token 2")


def header(key: Key = TOKEN, typ: str = jws.TYPE_STATEMENT, alg: str | None = None) -> bytes:
    """Return the JSON of a protected header."""
    return canonical.encode({"alg": alg or key.alg, "kid": key.kid, "typ": typ})


def token(payload: bytes, key: Key = TOKEN, head: bytes | None = None) -> str:
    """Sign a payload with any header bytes and return the detached JWS."""
    protected = base64url.encode(header(key) if head is None else head)
    return jws.detached(protected, key.sign(jws.signing_input(protected, payload)))


def head_token(payload: bytes, key: Key = TOKEN) -> str:
    """Sign a head of a stream."""
    return token(payload, key, header(key, jws.TYPE_HEAD))


def item(data: bytes) -> str:
    """Return a structured-field byte sequence."""
    return base64url.encode_binary_item(data)


@dataclass(frozen=True)
class Recipe:
    """What a valid answer is made of; vectors change one thing of it."""

    name: str = "answer A"
    key: Key = TOKEN
    method: str = "POST"
    path: str = PATH
    query: str = ""
    question: bytes = QUESTION
    status: int = 200
    media: str = "application/json"
    answer: bytes = ANSWER
    nonce: str | None = NONCE
    change: Change = lambda statement: None
    hops: tuple[str, ...] = ("policy", "model")
    salt_text: str = ""

    @property
    def salt(self) -> bytes:
        """The answer's salt."""
        return text_bytes(f"salt of {self.salt_text or self.name}")

    @property
    def prov_id(self) -> str:
        """The answer's identifier."""
        return prov_id(self.name)

    @property
    def request_commit(self) -> str:
        """Commitment to the question."""
        return commit("req", self.salt, self.question)


@dataclass
class Case:
    """One exchange as a verifier gets it; everything may be changed before it is written."""

    method: str
    path: str
    query: str
    question: bytes | None
    status: int
    headers: list[tuple[str, str]]
    answer: bytes
    nonce: str | None
    graph: str | None = None
    keys: list[Json] = field(default_factory=lambda: [TOKEN.jwk])
    expected: dict[str, Json] = field(default_factory=lambda: {"issuer": ISSUER})
    jwks: Json = None

    def __getitem__(self, name: str) -> str:
        return dict(self.headers)[name]

    def set(self, name: str, value: str) -> "Case":
        """Replace a header."""
        self.headers = [(n, value if n == name else v) for n, v in self.headers]
        return self

    def drop(self, name: str) -> "Case":
        """Remove a header."""
        self.headers = [(n, v) for n, v in self.headers if n != name]
        return self

    def put(self, name: str, value: str) -> "Case":
        """Add a header at the end."""
        self.headers.append((name, value))
        return self

    def document(self) -> dict[str, Json]:
        """Return the exchange as JSON."""
        document: dict[str, Json] = {
            "v": 1,
            "response": {
                "status": self.status,
                "headers": [[name, value] for name, value in self.headers],
                "body_base64": base64.b64encode(self.answer).decode("ascii"),
            },
            **self.expected,
        }
        if self.question is not None:
            document["request"] = {
                "method": self.method,
                "path": self.path,
                "query": self.query,
                "body_base64": base64.b64encode(self.question).decode("ascii"),
            }
        if self.nonce is not None:
            document["nonce"] = self.nonce
        if self.graph is not None:
            document["graph"] = self.graph
        return document


def graph(recipe: Recipe, response_commit: str) -> str:
    """Return a graph: the request, the recipe's hops in a row, the response over all of them."""
    builder = GraphBuilder(recipe.prov_id)
    begun = TIME_MS - 200
    last = builder.add(
        "request", [], {"operation": "support-chat"}, (begun, begun), recipe.request_commit
    )
    nodes = [last]
    for number, kind in enumerate(recipe.hops):
        last = builder.add(
            msgspec.convert(kind, HopKind),
            [last],
            {"number": number},
            (begun + number, begun + number + 1),
        )
        nodes.append(last)
    builder.add(
        "response", nodes[-64:], {"status": recipe.status}, (begun, TIME_MS), response_commit
    )
    return builder.encode().decode("utf-8")


def statement(recipe: Recipe, response: dict[str, Json], graph_text: str) -> dict[str, Json]:
    """Return a valid statement, then changed as the recipe says."""
    parsed, root = read_graph(graph_text.encode("utf-8"))
    request: dict[str, Json] = {
        "method": recipe.method,
        "path": recipe.path,
        "commit": recipe.request_commit,
        "len": len(recipe.question),
    }
    if recipe.query:
        request["query"] = commit("query", recipe.salt, recipe.query.encode("utf-8"))
    stated: dict[str, Json] = {
        "v": 1,
        "iss": ISSUER,
        "prov_id": recipe.prov_id,
        "iat": TIME_MS,
        "aud": AUDIENCE,
        "region": "eu-central",
        "op": "support-chat",
        "req": request,
        "res": {"status": recipe.status, "media": recipe.media, **response},
        "dag": {"root": root, "nodes": len(parsed.nodes)},
        "model": {"provider": "openai", "id": "gpt-4o-2026-08-06"},
        "usage": {"in": 12, "out": 3},
        "cost_usd_micros": 60,
        "policy": {"bundle": text_bytes("policy").hex(), "decision": "allow"},
        "cache": "miss",
        "plan": text_bytes("plan").hex(),
        "seq": {"signer": "s0", "n": 41},
    }
    if recipe.nonce is not None:
        stated["nonce"] = recipe.nonce
    stated = copy.deepcopy(stated)
    recipe.change(stated)
    return stated


def encode(value: Json) -> bytes:
    """Return sorted, compact JSON, also of what canonical JSON would refuse."""
    return msgspec.json.encode(value, order="sorted")


def whole(recipe: Recipe | None = None) -> Case:
    """Return a valid answer that is one body."""
    recipe = recipe or Recipe()
    answer_commit = commit("res", recipe.salt, recipe.answer)
    graph_text = graph(recipe, answer_commit)
    response: dict[str, Json] = {
        "mode": "body",
        "commit": answer_commit,
        "len": len(recipe.answer),
        "fin": True,
    }
    signed = encode(statement(recipe, response, graph_text))
    return Case(
        method=recipe.method,
        path=recipe.path,
        query=recipe.query,
        question=recipe.question,
        status=recipe.status,
        headers=[
            ("content-type", recipe.media),
            ("attest-version", "1"),
            ("attest-prov-id", recipe.prov_id),
            ("attest-salt", item(recipe.salt)),
            ("attest-statement", item(signed)),
            ("attest-signature", token(signed, recipe.key)),
            ("content-digest", content_digest(recipe.answer).decode("ascii")),
        ],
        answer=recipe.answer,
        nonce=recipe.nonce,
        graph=graph_text,
    )


def resigned(payload: bytes, key: Key = TOKEN, head: bytes | None = None) -> Case:
    """Return the valid answer with any signed bytes in place of its statement."""
    case = whole()
    case.set("attest-statement", item(payload))
    return case.set("attest-signature", token(payload, key, head))


def signed_bytes(recipe: Recipe | None = None) -> bytes:
    """Return the statement bytes of a valid answer."""
    return base64url.decode_binary_item(whole(recipe)["attest-statement"])


def events(count: int, word: str = "word") -> list[bytes]:
    """Return chunks of a chat stream."""
    return [
        b'data: {"choices":[{"delta":{"content":"' + f"{word} {n}".encode() + b'"}}]}\n\n'
        for n in range(count)
    ]


@dataclass
class Stream:
    """A stream as the blocks that are sent, and the chain as its gateway had it."""

    recipe: Recipe
    blocks: list[bytes]
    graph: str

    def case(self, blocks: list[bytes] | None = None) -> Case:
        """Return the exchange; with other blocks if some are given."""
        recipe = self.recipe
        return Case(
            method=recipe.method,
            path=recipe.path,
            query=recipe.query,
            question=recipe.question,
            status=recipe.status,
            headers=[
                ("content-type", recipe.media),
                ("attest-version", "1"),
                ("attest-prov-id", recipe.prov_id),
                ("attest-salt", item(recipe.salt)),
            ],
            answer=b"".join(self.blocks if blocks is None else blocks),
            nonce=recipe.nonce,
            graph=self.graph,
        )


def stream_recipe(**changes: object) -> Recipe:
    """Return the recipe of a stream."""
    return replace(Recipe(name="stream A", media=STREAM_MEDIA), **changes)


def head_bytes(recipe: Recipe, chain: Chain, change: Change = lambda head: None) -> bytes:
    """Return a head over the chain so far, then changed."""
    head: dict[str, Json] = {
        "v": 1,
        "iss": ISSUER,
        "prov_id": recipe.prov_id,
        "iat": TIME_MS,
        "aud": AUDIENCE,
        "n": chain.events,
        "head": chain.head.hex(),
    }
    if recipe.nonce is not None:
        head["nonce"] = recipe.nonce
    change(head)
    return encode(head)


def head_block(
    recipe: Recipe, chain: Chain, change: Change = lambda head: None, key: Key | None = None
) -> bytes:
    """Return the comment that carries a head."""
    payload = head_bytes(recipe, chain, change)
    return signed_comment(payload, head_token(payload, key or recipe.key))


def chain_of(recipe: Recipe) -> Chain:
    """Return the chain before the first event."""
    return Chain(recipe.salt, recipe.prov_id, recipe.request_commit)


def stream(
    recipe: Recipe | None = None,
    sent: list[bytes] | None = None,
    every: int = 2,
    *,
    fin: bool = True,
    marker: bool = True,
    head_change: Change = lambda head: None,
) -> Stream:
    """Return a valid stream: head 0, events, a head after every few, final statement, [DONE]."""
    recipe = recipe or stream_recipe()
    chain = chain_of(recipe)
    blocks = [head_block(recipe, chain, head_change)]
    for event in events(5) if sent is None else sent:
        chain.add(event)
        blocks.append(event)
        if every and chain.events % every == 0:
            blocks.append(head_block(recipe, chain, head_change))
    if fin and marker:
        chain.add(DONE_EVENT)
    graph_text = graph(recipe, chain.head.hex())
    response: dict[str, Json] = {
        "mode": "sse",
        "commit": chain.head.hex(),
        "len": chain.octets,
        "events": chain.events,
        "fin": fin,
    }
    payload = encode(statement(recipe, response, graph_text))
    blocks.append(signed_comment(payload, token(payload, recipe.key)))
    if fin and marker:
        blocks.append(DONE_EVENT)
    return Stream(recipe, blocks, graph_text)


def swap(blocks: list[bytes], a: int, b: int) -> list[bytes]:
    """Return blocks of which two have changed places."""
    swapped = list(blocks)
    swapped[a], swapped[b] = swapped[b], swapped[a]
    return swapped


@dataclass(frozen=True)
class Vector:
    """One test vector before it is written."""

    name: str
    shows: str
    case: Case
    verdict: str
    fails: tuple[int, ...] = ()
    events: int | None = None
    ledger: Json = None

    def document(self) -> dict[str, Json]:
        """Return its file's content."""
        trusted: dict[str, Json] = {} if self.ledger is None else {"ledger": self.ledger}
        keys: Json = {"keys": self.case.keys} if self.case.jwks is None else self.case.jwks
        return {
            "name": self.name,
            "shows": self.shows,
            "exchange": self.case.document(),
            "jwks": keys,
            **trusted,
            "verdict": self.verdict,
            "events": self.events,
            "fails": list(self.fails),
        }


def valid(name: str, shows: str, case: Case, events: int | None = None) -> Vector:
    """Return a vector that verifies."""
    return Vector(name, shows, case, "VERIFIED", (), events)


def invalid(name: str, shows: str, case: Case, *fails: int, events: int | None = None) -> Vector:
    """Return a vector that must be refused, by which checks."""
    return Vector(name, shows, case, "INVALID", fails, events)
