"""Vectors about whole answers: headers, what was expected, request, response, Content-Digest."""

from collections.abc import Iterator
from dataclasses import replace

from forge import (
    ANSWER,
    AUDIENCE,
    ISSUER,
    NONCE,
    OTHER,
    QUESTION,
    TIME_MS,
    TOKEN,
    Case,
    Change,
    Json,
    Key,
    Recipe,
    Vector,
    invalid,
    item,
    text_bytes,
    valid,
    whole,
)

from verismo.attest.commitment import commit
from verismo.attest.headers import content_digest


def vectors() -> Iterator[Vector]:
    """Return them all."""
    yield from _valid()
    yield from _valid_expectations()
    yield from _headers()
    yield from _expected()
    yield from _request()
    yield from _response()
    yield from _lies()
    yield from _content_digest()


def _expecting(case: Case, **members: Json) -> Case:
    case.expected = {**case.expected, **members}
    return case


def _valid() -> Iterator[Vector]:
    yield valid("whole", "a plain answer with graph, nonce and Content-Digest", whole())
    yield valid(
        "whole-query", "a query string is committed to, not shown", whole(Recipe(query="a=1&b=%20"))
    )
    yield valid(
        "whole-get-empty-body",
        "a GET without a body",
        whole(Recipe(method="GET", path="/v1/models", question=b"")),
    )
    yield valid("whole-empty-answer", "an answer without a body", whole(Recipe(answer=b"")))
    yield valid(
        "whole-binary-bodies",
        "bodies are octets, not text",
        whole(Recipe(question=bytes(range(256)), answer=bytes(range(255, -1, -1)))),
    )
    yield valid(
        "whole-utf8", "bodies beyond ASCII", whole(Recipe(answer="Grüße, 世界 🙂".encode()))
    )
    yield valid(
        "whole-large", "an answer of 64 KiB", whole(Recipe(answer=b"0123456789abcdef" * 4096))
    )
    yield valid("whole-refusal", "a signed refusal, status 403", whole(Recipe(status=403)))
    yield valid("whole-no-nonce", "no nonce was sent and none is signed", whole(Recipe(nonce=None)))
    case = whole()
    case.graph = None
    yield valid("whole-no-graph", "the graph was not fetched: check 13 is skipped", case)
    case = whole()
    case.question = None
    yield valid("whole-no-request", "the request was not kept: check 10 is skipped", case)
    case = whole()
    case.headers = [(name.title(), value) for name, value in case.headers]
    yield valid("whole-header-case", "header names in any case", case)
    yield valid(
        "whole-optional-absent",
        "no model, usage or cost: no provider was asked",
        whole(
            Recipe(change=lambda s: [s.pop(name) for name in ("model", "usage", "cost_usd_micros")])
        ),
    )
    yield valid(
        "whole-document-id",
        "a GraphQL answer names the registered document",
        whole(Recipe(path="/graphql", change=lambda s: _request_of(s, doc="sha256:" + "ab" * 32))),
    )

    yield valid(
        "whole-stream-media",
        "with its statement in the headers it is a body, whatever its type",
        whole(Recipe(media="text/event-stream")),
    )


def _valid_expectations() -> Iterator[Vector]:
    case = whole(Recipe(key=Key("token EdDSA", alg="EdDSA")))
    case.keys = [Key("token EdDSA", alg="EdDSA").jwk]
    yield valid("whole-eddsa-key", "a key published for EdDSA signs tokens that say EdDSA", case)
    case = whole()
    case.keys = [OTHER.jwk, TOKEN.jwk, Key("log key", role="log").jwk]
    yield valid("whole-several-keys", "the kid picks the key among several", case)
    case = whole()
    case.keys = [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r", "alg": "RS256"}, TOKEN.jwk]
    yield valid("whole-foreign-key-type", "keys of other types are skipped", case)
    yield valid(
        "whole-all-expected",
        "issuer, audience, nonce and time are checked",
        _expecting(whole(), audience=AUDIENCE, now_ms=TIME_MS + 1_000, age_ms_max=5_000),
    )
    yield valid(
        "whole-clock-behind",
        "signed 60 s in the verifier's future, which its clock may be behind",
        _expecting(whole(), now_ms=TIME_MS - 60_000),
    )
    yield valid(
        "whole-age-limit",
        "as old as allowed, with the clocks' difference",
        _expecting(whole(), now_ms=TIME_MS + 65_000, age_ms_max=5_000),
    )
    case = whole()
    case.expected = {}
    case.nonce = None
    yield valid("whole-nothing-expected", "a signed nonce that nobody asks for", case)


def _request_of(statement: dict[str, Json], **members: Json) -> None:
    request = statement["req"]
    if isinstance(request, dict):
        request.update(members)


def _response_of(**members: Json) -> Change:
    def change(statement: dict[str, Json]) -> None:
        response = statement["res"]
        if isinstance(response, dict):
            response.update(members)

    return change


def _headers() -> Iterator[Vector]:
    stripped = whole()
    stripped.headers = stripped.headers[:1]
    yield Vector("unsigned", "no proof headers", stripped, "UNSIGNED", (1,))
    for name in ("version", "prov-id", "salt", "statement", "signature"):
        yield invalid(
            f"header-{name}-missing",
            f"Attest-{name} was stripped",
            whole().drop(f"attest-{name}"),
            1,
        )
        case = whole()
        yield invalid(
            f"header-{name}-twice",
            f"Attest-{name} stands twice",
            case.put(f"attest-{name}", case[f"attest-{name}"]),
            2 if name == "signature" else 1,
        )
    case = whole().drop("attest-statement").drop("attest-signature")
    yield invalid("header-only-salt", "statement and signature were stripped", case, 1)
    for name, value in (("2", "2"), ("empty", ""), ("float", "1.0"), ("spaced", " 1")):
        yield invalid(
            f"header-version-{name}", "a version not known", whole().set("attest-version", value), 1
        )
    salt = Recipe().salt
    text = item(salt)
    salts = {
        "short": item(salt[:31]),
        "long": item(salt + b"\0"),
        "empty": "::",
        "no-colons": text[1:-1],
        "no-padding": text.replace("=", ""),
        "stray-bits": _stray_bits(text),
        "white-space": text[:9] + " " + text[9:],
        "base64url": text.replace("+", "-").replace("/", "_").replace(":", "", 1),
        "parameters": text + ";a=1",
        "string": f'"{text[1:-1]}"',
    }
    for name, value in salts.items():
        yield invalid(
            f"header-salt-{name}", f"the salt header: {name}", whole().set("attest-salt", value), 1
        )
    case = whole().set("attest-salt", item(salt[:31]))
    case.answer = salt[31:] + case.answer
    yield invalid("salt-moved-into-body", "the salt's last byte became the body's first", case, 1)
    for name, value in (
        ("upper-case", Recipe().prov_id.upper()),
        ("uuid4", "6f1d3c1e-6d5a-4c6b-9a33-0d7c6c3d4f10"),
        ("empty", ""),
        ("braces", "{" + Recipe().prov_id + "}"),
    ):
        yield invalid(
            f"header-prov-id-{name}",
            "not a canonical UUIDv7",
            whole().set("attest-prov-id", value),
            1,
        )
    yield invalid(
        "header-statement-json",
        "the statement in clear instead of base64",
        whole().set("attest-statement", '{"v":1}'),
        1,
    )


def _stray_bits(text: str) -> str:
    """Change the last base64 character so that only its unused bits differ."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body, last = text[:-3], text[-3]
    return body + alphabet[alphabet.index(last) ^ 1] + text[-2:]


def _expected() -> Iterator[Vector]:
    case = whole().set("attest-prov-id", Recipe(name="answer B").prov_id)
    yield invalid("prov-id-of-another", "the header names another answer", case, 6)
    for name, value in (
        ("other", "https://evil.example"),
        ("slash", ISSUER + "/"),
        ("case", ISSUER.upper()),
        ("prefix", ISSUER[:-1]),
    ):
        yield invalid(
            f"issuer-{name}", f"expected issuer: {value}", _expecting(whole(), issuer=value), 7
        )
    yield invalid(
        "audience-other", "another tenant's answer", _expecting(whole(), audience="t_0000"), 7
    )
    for name, value in (
        ("replayed", "YW5vdGhlciBub25jZQ"),
        ("prefix", NONCE[:-1]),
        ("longer", NONCE + "A"),
        ("empty", ""),
    ):
        case = whole()
        case.nonce = value
        yield invalid(f"nonce-{name}", "an old answer is replayed to another nonce", case, 8)
    case = whole(Recipe(nonce=None))
    case.nonce = NONCE
    yield invalid("nonce-missing", "a nonce was sent and none is signed", case, 8)
    yield invalid(
        "time-future", "signed 60.001 s ahead", _expecting(whole(), now_ms=TIME_MS - 60_001), 9
    )
    yield invalid(
        "time-too-old",
        "older than allowed",
        _expecting(whole(), now_ms=TIME_MS + 65_001, age_ms_max=5_000),
        9,
    )
    case = _expecting(whole(), issuer="https://evil.example", audience="t_0000", now_ms=0)
    case.nonce = "AAAA"
    case.answer += b" "
    case.graph = "{}"
    yield invalid("everything-wrong", "every check after 6 is reported", case, 7, 8, 9, 11, 13, 14)


def _request() -> Iterator[Vector]:
    changes: dict[str, tuple[str, Case]] = {}
    for name, shows, members in (
        ("method", "sent by another method", {"method": "PUT"}),
        ("method-case", "the method in lower case", {"method": "post"}),
        ("path", "sent to another path", {"path": "/v1/embeddings"}),
        ("path-slash", "a trailing slash", {"path": "/v1/chat/completions/"}),
        ("query-added", "a query was sent, none is signed", {"query": "debug=1"}),
        ("body", "another question", {"question": QUESTION.replace(b"signed", b"forged")}),
        ("body-cut", "the question without its last byte", {"question": QUESTION[:-1]}),
        ("body-longer", "a line end after the question", {"question": QUESTION + b"\n"}),
        ("body-spaced", "re-serialised JSON", {"question": QUESTION.replace(b":", b": ")}),
        ("body-empty", "an empty question", {"question": b""}),
    ):
        case = whole()
        for member, value in members.items():
            setattr(case, member, value)
        changes[name] = (shows, case)
    for name, query in (("changed", "a=2"), ("dropped", ""), ("order", "b=2&a=1")):
        case = whole(Recipe(query="a=1&b=2"))
        case.query = query
        changes[f"query-{name}"] = ("the query string is not the one sent", case)
    for name, (shows, case) in changes.items():
        yield invalid(f"request-{name}", shows, case, 10)


def _response() -> Iterator[Vector]:
    other = whole(Recipe(name="answer B", answer=b'{"choices":[]}'))
    for name, shows, body in (
        ("flipped", "one bit of the answer", ANSWER.replace(b"It is", b"Jt is")),
        ("cut", "the answer without its last byte", ANSWER[:-1]),
        ("longer", "a line end after the answer", ANSWER + b"\n"),
        ("empty", "an empty answer", b""),
        ("spaced", "re-serialised JSON", ANSWER.replace(b":", b": ")),
        ("spliced", "statement of A with the body of B", other.answer),
        ("doubled", "the answer twice", ANSWER * 2),
    ):
        case = whole().drop("content-digest")
        case.answer = body
        yield invalid(f"response-{name}", shows, case, 11)
    case = whole()
    case.status = 201
    yield invalid("response-status", "another status", case, 11)
    for name, media in (
        ("media", "text/html"),
        ("media-charset", "application/json; charset=utf-8"),
    ):
        case = whole().set("content-type", media)
        yield invalid(f"response-{name}", "another content type", case, 11)
    case = whole().put("content-type", "application/json")
    yield invalid("response-media-twice", "a second Content-Type", case, 11)
    yield invalid(
        "response-no-media", "the content type was stripped", whole().drop("content-type"), 11
    )
    case = whole().set("attest-salt", other["attest-salt"])
    yield invalid("salt-of-another", "the salt of another answer", case, 10, 11)
    case = whole().set("attest-statement", other["attest-statement"])
    yield invalid("statement-of-another", "statement of B with the signature of A", case, 4)
    case = whole().set("attest-signature", other["attest-signature"])
    yield invalid("signature-of-another", "signature of B with the statement of A", case, 4)
    case = whole()
    for name in ("attest-statement", "attest-signature"):
        case.set(name, other[name])
    case.graph = None
    yield invalid("proof-of-another", "the whole proof of B on the answer A", case, 6, 10, 11)
    case = whole().set("content-type", "text/event-stream")
    yield invalid("whole-as-stream", "a body's proof on what calls itself a stream", case, 11)


def _lies() -> Iterator[Vector]:
    """Signed by the right key, but the statement does not say what happened."""
    salt = Recipe().salt
    for name, shows, change, failing in (
        ("request-length", "a wrong length", lambda s: _request_of(s, len=1), 10),
        (
            "request-domain",
            "the request's commitment made in the response's domain",
            lambda s: _request_of(s, commit=commit("res", salt, QUESTION)),
            10,
        ),
        (
            "request-unsalted",
            "a plain hash instead of a commitment",
            lambda s: _request_of(s, commit=text_bytes("plain").hex()),
            10,
        ),
        ("response-length", "a wrong length", _response_of(len=1), 11),
        (
            "response-domain",
            "the response's commitment made in the request's domain",
            _response_of(commit=commit("req", salt, ANSWER)),
            11,
        ),
        ("response-status", "another status", _response_of(status=500), 11),
        (
            "response-incomplete",
            "an answer that says it is not complete",
            _response_of(fin=False),
            12,
        ),
    ):
        case = whole(Recipe(change=change))
        case.graph = None
        yield invalid(f"signed-{name}", shows, case, failing)
    wrong = replace(Recipe(), salt_text="another salt")
    case = whole(wrong).set("attest-salt", item(salt))
    yield invalid("signed-with-other-salt", "committed to under a salt not sent", case, 10, 11)


def _content_digest() -> Iterator[Vector]:
    right = content_digest(ANSWER).decode("ascii")
    case = whole().set("content-digest", f"unixsum=:AAAA:, {right}")
    yield valid("digest-with-others", "other digests beside sha-256", case)
    case = whole().set("content-digest", "sha-512=:AAAA:")
    yield valid("digest-unknown-only", "no sha-256: check 14 is skipped", case)
    for name, value in (
        ("other-body", content_digest(b"another body").decode("ascii")),
        ("twice", f"{right}, {right}"),
        ("no-colons", right.replace(":", "")),
        ("not-base64", "sha-256=:*:"),
        ("cut", right[:-6] + ":"),
        ("parameters", right + ";a"),
        ("stray-bits", f"sha-256={_stray_bits(right.removeprefix('sha-256='))}"),
    ):
        case = whole().set("content-digest", value)
        yield invalid(f"digest-{name}", f"Content-Digest: {name}", case, 14)
