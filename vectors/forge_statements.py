"""Vectors about what is signed: statements outside the format, each signed by the right key."""

from collections.abc import Iterator

from forge import (
    TOKEN,
    Json,
    Recipe,
    Vector,
    chain_of,
    encode,
    head_bytes,
    header,
    invalid,
    item,
    resigned,
    signed_bytes,
    stream_recipe,
    whole,
)

from verismo.attest import jws


def vectors() -> Iterator[Vector]:
    """Return them all."""
    yield from _spelling()
    yield from _members()
    yield from _presented()


def _spelling() -> Iterator[Vector]:
    plain = signed_bytes()
    for name, shows, payload in (
        ("spaced", "white space", plain.replace(b",", b", ")),
        ("line-end", "a line end after it", plain + b"\n"),
        ("byte-order-mark", "a byte order mark before it", b"\xef\xbb\xbf" + plain),
        ("key-twice", "a member stands twice", plain.replace(b'{"aud"', b'{"aud":"x","aud"')),
        (
            "key-twice-inside",
            "a nested member stands twice",
            plain.replace(b'"nodes"', b'"nodes":9,"nodes"'),
        ),
        ("unsorted", "members in another order", _moved(plain)),
        ("escaped-slash", "an escape where none is needed", plain.replace(b"/v1/", b"\\/v1\\/")),
        ("escaped-letter", "an escaped letter", plain.replace(b'"allow"', b'"\\u0061llow"')),
        ("float", "a float", plain.replace(b'"v":1', b'"v":1.0')),
        ("exponent", "an exponent", plain.replace(b'"v":1', b'"v":1e0')),
        ("minus-zero", "minus zero", plain.replace(b'"in":12', b'"in":-0')),
        ("leading-zero", "a leading zero", plain.replace(b'"in":12', b'"in":012')),
        ("two-to-53", "an integer of 2**53", plain.replace(b'"in":12', b'"in":9007199254740992')),
        (
            "two-to-64",
            "an integer of 2**64",
            plain.replace(b'"in":12', b'"in":18446744073709551616'),
        ),
        ("half-surrogate", "half a surrogate pair", plain.replace(b'"allow"', b'"\\ud800"')),
        (
            "half-surrogate-text",
            "half a surrogate pair in free text",
            plain.replace(b"eu-central", b"\\ud800"),
        ),
        ("not-utf8", "not UTF-8", plain.replace(b"eu-central", b"\xff")),
        ("cut", "cut off", plain[:-1]),
        ("twice", "two statements", plain + plain),
        ("not-json", "not JSON", b"statement"),
        ("array", "an array", b"[" + plain + b"]"),
        ("null", "null", b"null"),
        ("deep", "nested 900 times", b"[" * 900 + b"]" * 900),
    ):
        yield invalid(f"statement-{name}", shows, resigned(payload), 5)
    yield invalid("statement-empty", "nothing is signed", resigned(b""), 1)


def _moved(plain: bytes) -> bytes:
    """Move the first member to the end."""
    first, rest = plain[1:-1].split(b",", 1)
    return b"{" + rest + b"," + first + b"}"


def _members() -> Iterator[Vector]:
    for name, shows, path, value in (
        ("version-2", "version 2", "v", 2),
        ("version-0", "version 0", "v", 0),
        ("version-text", "a version that is text", "v", "1"),
        ("unknown-member", "a member not known", "extra", "x"),
        ("unknown-member-mark", "a member known but for a question mark", "nonce?", "x"),
        ("unknown-member-inside", "a nested member not known", "res.extra", 1),
        ("prov-id-upper-case", "a prov_id in upper case", "prov_id", Recipe().prov_id.upper()),
        (
            "prov-id-uuid4",
            "another version of UUID",
            "prov_id",
            "6f1d3c1e-6d5a-4c6b-9a33-0d7c6c3d4f10",
        ),
        ("time-negative", "a negative time", "iat", -1),
        ("time-text", "a time that is text", "iat", "2026-09-22"),
        ("length-negative", "a negative length", "req.len", -1),
        ("usage-negative", "negative usage", "usage.in", -1),
        ("cost-float", "a cost that is a float", "cost_usd_micros", 60.5),
        ("commit-upper-case", "a digest in upper case", "res.commit", "AB" * 32),
        ("commit-short", "a digest of 31 bytes", "req.commit", "ab" * 31),
        ("commit-empty", "no digest", "res.commit", ""),
        ("root-not-hex", "a root that is not hex", "dag.root", "zz" * 32),
        ("plan-short", "a plan digest of 31 bytes", "plan", "ab" * 31),
        ("query-short", "a query commitment of 31 bytes", "req.query", "ab" * 31),
        ("mode-unknown", "a mode not known", "res.mode", "chunked"),
        ("mode-sse-no-events", "a stream without a count", "res.mode", "sse"),
        ("events-in-body", "a count of events for a body", "res.events", 1),
        ("cache-unknown", "a cache state not known", "cache", "stale"),
        ("decision-unknown", "a decision not known", "policy.decision", "maybe"),
        ("fin-number", "fin as a number", "res.fin", 1),
        ("nonce-null", "a nonce that is null", "nonce", None),
        ("nonce-empty", "an empty nonce", "nonce", ""),
        ("nonce-long", "a nonce of over 64 bytes", "nonce", "A" * 87),
        ("nonce-characters", "a nonce that is not base64url", "nonce", "a+b/c="),
        ("status-99", "a status that HTTP has not", "res.status", 99),
        ("status-600", "a status that HTTP has not", "res.status", 600),
        ("long", "over 2,048 bytes", "region", "r" * 2_048),
    ):
        case = whole(Recipe(change=_setter(path, value)))
        yield invalid(f"statement-{name}", shows, case, 5)
    for name in ("v", "iss", "prov_id", "iat", "aud", "req", "res", "dag", "policy", "plan", "seq"):
        case = whole(Recipe(change=lambda s, name=name: s.pop(name)))
        yield invalid(f"statement-no-{name.replace('_', '-')}", f"`{name}` is missing", case, 5)


class _setter:  # noqa: N801 - reads as a verb where it is used
    """Sets one member, by a path of at most two names."""

    def __init__(self, path: str, value: Json) -> None:
        self._path, self._value = path, value

    def __call__(self, statement: dict[str, Json]) -> None:
        outer, _, inner = self._path.partition(".")
        if not inner:
            statement[outer] = self._value
            return
        target = statement[outer]
        if isinstance(target, dict):
            target[inner] = self._value


def _presented() -> Iterator[Vector]:
    """Things signed for one purpose, presented for another."""
    head = head_bytes(stream_recipe(), chain_of(stream_recipe()))
    case = resigned(head, TOKEN, header(typ=jws.TYPE_HEAD))
    yield invalid("head-as-statement", "a stream's head presented as the statement", case, 2)
    case = resigned(head)
    yield invalid("head-signed-as-statement", "a head signed with a statement's typ", case, 5)
    case = resigned(signed_bytes(), TOKEN, header(typ=jws.TYPE_HEAD))
    yield invalid("statement-signed-as-head", "a statement signed with a head's typ", case, 2)
    case = resigned(signed_bytes(), TOKEN, header(typ=jws.TYPE_VOID))
    yield invalid("statement-signed-as-void", "a statement signed with a gap's typ", case, 2)
    payload = encode({"sub": "user", "iss": "https://gateway.example"})
    yield invalid("other-token", "another token of the same key", resigned(payload), 5)
    answer_b = Recipe(name="answer B")
    case = whole()
    other = whole(answer_b)
    case.set("attest-statement", item(signed_bytes(answer_b)))
    case.set("attest-signature", other["attest-signature"])
    case.set("attest-prov-id", answer_b.prov_id)
    case.graph = None
    yield invalid("proof-without-salt-of-another", "proof of B, salt of A", case, 10, 11)
