"""Vectors about the signature: JWS profile, keys and roles, Ed25519."""

import base64
import hashlib
import hmac
from collections.abc import Iterator

from forge import (
    OTHER,
    TOKEN,
    Case,
    Json,
    Key,
    Recipe,
    Vector,
    header,
    invalid,
    item,
    resigned,
    signed_bytes,
    text_bytes,
    token,
    valid,
    whole,
)

from verismo.attest import jws
from verismo.model import base64url

ORDER = 2**252 + 27742317777372353535851937790883648493
FIELD = 2**255 - 19
LOW_ORDER = {
    "zero": bytes(32),
    "one": (1).to_bytes(32, "little"),
    "minus-one": (FIELD - 1).to_bytes(32, "little"),
    "eighth-a": bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    "eighth-b": bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    "field": FIELD.to_bytes(32, "little"),
    "field-plus-one": (FIELD + 1).to_bytes(32, "little"),
    "one-signed": ((1 << 255) | 1).to_bytes(32, "little"),
}
"""Points of order 1, 2, 4 and 8, canonical and not (RFC 8032, 5.1.3)."""


def vectors() -> Iterator[Vector]:
    """Return them all."""
    yield from _shape()
    yield from _header_members()
    yield from _header_spelling()
    yield from _algorithms()
    yield from _keys()
    yield from _key_sets()
    yield from _signatures()


def _with_token(text: str) -> Case:
    return whole().set("attest-signature", text)


def _shape() -> Iterator[Vector]:
    good = whole()["attest-signature"]
    protected, _, signature = good.split(".")
    payload = base64url.encode(signed_bytes())
    for name, shows, text in (
        (
            "payload-embedded",
            "an attached payload, even the right one",
            f"{protected}.{payload}.{signature}",
        ),
        (
            "payload-of-another",
            "an attached payload of another statement",
            f"{protected}.{base64url.encode(signed_bytes(Recipe(name='answer B')))}.{signature}",
        ),
        ("one-dot", "a part is missing", f"{protected}.{signature}"),
        ("three-dots", "a part too many", f"{protected}..{signature}."),
        ("json", "the JSON serialisation", '{"protected":"' + protected + '"}'),
        ("no-header", "an empty header", f"..{signature}"),
        ("no-signature", "an empty signature", f"{protected}.."),
        ("white-space", "white space before the header", f" {good}"),
        ("line-end", "a line end inside", f"{protected}..\n{signature}"),
        ("signature-short", "63 bytes", f"{protected}..{signature[:-2]}"),
        ("signature-long", "65 bytes", f"{protected}..{signature}AA"),
        ("signature-padded", "padding after the signature", good + "=="),
        ("signature-stray-bits", "unused bits of the signature's last character", _stray(good)),
        ("signature-base64", "standard base64", f"{protected}..{_standard(signature)}"),
        ("header-padded", "padding after the header", f"{protected}==..{signature}"),
        ("header-not-base64", "a header that is not base64url", f"{protected}*..{signature}"),
    ):
        yield invalid(f"jws-{name}", shows, _with_token(text), 2)


def _stray(text: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


def _standard(text: str) -> str:
    return base64.b64encode(base64url.decode(text)).decode("ascii").rstrip("=") + "+"


def _signed_header(head: bytes) -> Case:
    """Sign the valid statement under any header; the signature itself is right."""
    return _with_token(token(signed_bytes(), TOKEN, head))


def _header_members() -> Iterator[Vector]:
    jwk = base64url.encode(TOKEN.raw)
    for name, member in (
        ("crit", b'"crit":["b64"],'),
        ("b64-false", b'"b64":false,'),
        ("b64-true", b'"b64":true,'),
        ("cty", b'"cty":"json",'),
        ("jku", b'"jku":"https://evil.example/jwks.json",'),
        ("jwk", b'"jwk":{"crv":"Ed25519","kty":"OKP","x":"' + jwk.encode() + b'"},'),
        ("x5c", b'"x5c":["AAAA"],'),
        ("x5u", b'"x5u":"https://evil.example/",'),
        ("iat", b'"iat":1,'),
        ("zip", b'"zip":"DEF",'),
    ):
        plain = header()
        position = next(
            at
            for at in (plain.find(b'"' + n) for n in (b"alg", b"kid", b"typ"))
            if plain[at + 1 : at + 4] > member[1:4] or plain[at + 1 : at + 4] == b"typ"
        )
        head = plain[:position] + member + plain[position:]
        yield invalid(f"jws-member-{name}", f"the header member {name}", _signed_header(head), 2)


def _header_spelling() -> Iterator[Vector]:
    plain = header()
    kid = TOKEN.kid.encode()
    for name, shows, head in (
        ("alg-twice", "`alg` stands twice", plain.replace(b'{"alg', b'{"alg":"none","alg')),
        ("kid-twice", "`kid` stands twice", plain.replace(b'"kid', b'"kid":"a","kid')),
        ("spaced", "white space", plain.replace(b":", b": ")),
        (
            "unsorted",
            "members in another order",
            b'{"kid":"' + kid + b'","alg":"Ed25519","typ":"attest+jws"}',
        ),
        ("escaped", "an escape in a name", plain.replace(b"alg", b"\\u0061lg")),
        ("line-end", "a line end after it", plain + b"\n"),
        ("no-kid", "no key is named", plain.replace(b'"kid":"' + kid + b'",', b"")),
        ("no-typ", "it does not say what is signed", plain.replace(b',"typ":"attest+jws"', b"")),
        ("typ-jwt", "typ JWT", plain.replace(b"attest+jws", b"JWT")),
        ("typ-head", "typ of a stream's head", header(typ=jws.TYPE_HEAD)),
        (
            "typ-media",
            "typ as a whole media type",
            plain.replace(b"attest+jws", b"application/attest+jws"),
        ),
        ("kid-null", "a kid that is null", plain.replace(b'"' + kid + b'"', b"null")),
        ("kid-number", "a kid that is a number", plain.replace(b'"' + kid + b'"', b"1")),
        ("kid-long", "a header of over 256 characters", plain.replace(kid, kid * 6)),
        ("not-json", "not JSON", b"alg=Ed25519"),
        ("not-utf8", "not UTF-8", plain.replace(kid, b"\xff\xfe")),
        ("array", "an array", b"[]"),
        ("empty", "an empty object", b"{}"),
    ):
        yield invalid(f"jws-header-{name}", shows, _signed_header(head), 2)


def _algorithms() -> Iterator[Vector]:
    payload = signed_bytes()
    protected = base64url.encode(header(alg="HS256"))
    mac = hmac.digest(TOKEN.raw, jws.signing_input(protected, payload), hashlib.sha256)
    yield invalid(
        "alg-hs256-public-key",
        "an HMAC keyed with the public key",
        _with_token(jws.detached(protected, mac)),
        2,
    )
    none = base64url.encode(header(alg="none"))
    yield invalid("alg-none", "alg none without a signature", _with_token(f"{none}.."), 2)
    for alg in ("none", "HS256", "ES256", "RS256", "ed25519", "Ed448", ""):
        name = alg or "empty"
        case = _signed_header(header(alg=alg) if alg else header().replace(b"Ed25519", b""))
        slug = "ed25519-lower-case" if alg == "ed25519" else name.lower()
        yield invalid(f"alg-{slug}-signed", f"a right signature that says alg {name}", case, 2)
    case = _signed_header(header(alg="EdDSA"))
    yield invalid("alg-eddsa-for-ed25519-key", "the key is for Ed25519, not EdDSA", case, 3)
    eddsa = Key("token EdDSA", alg="EdDSA")
    case = resigned(payload, eddsa, header(eddsa, alg="Ed25519"))
    case.keys = [eddsa.jwk]
    yield invalid("alg-ed25519-for-eddsa-key", "the key is for EdDSA, not Ed25519", case, 3)


def _keys() -> Iterator[Vector]:
    yield invalid(
        "key-unknown", "re-signed by a key not in the set", resigned(signed_bytes(), OTHER), 3
    )
    for role in ("log", "witness", "rollup", "evidence", "plan"):
        key = Key(f"{role} key", role=role)
        case = resigned(signed_bytes(), key)
        case.keys = [TOKEN.jwk, key.jwk]
        yield invalid(f"key-role-{role}", f"re-signed by the {role} key", case, 3)
    case = resigned(signed_bytes(), OTHER, header(TOKEN))
    case.keys = [TOKEN.jwk, OTHER.jwk]
    yield invalid("key-claimed", "signed by another key under this key's kid", case, 4)
    case = resigned(signed_bytes(), TOKEN, header(OTHER))
    case.keys = [TOKEN.jwk, OTHER.jwk]
    yield invalid("key-renamed", "signed by this key under another key's kid", case, 4)
    case = resigned(signed_bytes(), TOKEN, header().replace(TOKEN.kid.encode(), b""))
    yield invalid("key-empty-kid", "an empty kid", case, 3)


def _key_sets() -> Iterator[Vector]:
    for name, shows, jwks in (
        ("64-keys", "as many entries as are allowed", _beside(*[{"kty": "RSA"}] * 63)),
        ("foreign-private", "a skipped entry is not looked into", _beside({"kty": "EC", "d": "x"})),
    ):
        case = whole()
        case.jwks = jwks
        yield valid(f"jwks-{name}", shows, case)
    for name, shows, jwks in (
        ("empty", "no key at all", {"keys": []}),
        (
            "only-rsa",
            "no key that could be used",
            {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]},
        ),
        ("not-a-set", "a key instead of a set", TOKEN.jwk),
        ("array", "an array", [TOKEN.jwk]),
        ("same-twice", "one kid twice", {"keys": [TOKEN.jwk, TOKEN.jwk]}),
        ("kid-not-thumbprint", "a kid that is a name", _changed(kid="token-1")),
        ("kid-of-another", "the kid of another key", _changed(kid=OTHER.kid)),
        ("private-empty", "an empty `d`", _changed(d="")),
        ("private-null", "a `d` that is null", _changed(d=None)),
        ("private-beside", "a private key beside a good one", _beside({**OTHER.jwk, "d": "AA"})),
        ("bad-beside", "a bad key beside a good one", _beside({**OTHER.jwk, "alg": "x"})),
        ("65-keys", "more than 64 entries", _beside(*[{"kty": "RSA"}] * 64)),
        ("no-kty", "an entry that does not say its type", _beside({"kid": "x"})),
        ("not-an-object", "an entry that is no object", _beside("x")),
        ("private", "a private key was published", _changed(d=base64url.encode(text_bytes("d")))),
        ("no-role", "a key without a role", _changed(attest_role="")),
        ("unknown-role", "a role that is not known", _changed(attest_role="admin")),
        ("no-alg", "a key without an alg", _changed(alg="")),
        ("alg-hs256", "an alg of another kind", _changed(alg="HS256")),
        ("x-short", "31 bytes", _changed(x=base64url.encode(TOKEN.raw[:31]))),
        ("x-padded", "padding", _changed(x=base64url.encode(TOKEN.raw) + "=")),
        ("not-on-curve", "not a point", _changed(x=base64url.encode((2).to_bytes(32, "little")))),
    ):
        case = whole()
        case.jwks = jwks
        yield invalid(f"jwks-{name}", shows, case, 3)
    for name, raw in LOW_ORDER.items():
        case = whole()
        case.keys = [{**TOKEN.jwk, "x": base64url.encode(raw), "kid": _thumbprint(raw)}]
        yield invalid(f"jwks-low-order-{name}", "a key that verifiers disagree on", case, 3)


def _changed(**members: Json) -> Json:
    return {"keys": [{**TOKEN.jwk, **members}]}


def _beside(*entries: Json) -> Json:
    return {"keys": [TOKEN.jwk, *entries]}


def _thumbprint(raw: bytes) -> str:
    required = b'{"crv":"Ed25519","kty":"OKP","x":"' + base64url.encode(raw).encode() + b'"}'
    return base64url.encode(hashlib.sha256(required).digest())


def _signatures() -> Iterator[Vector]:
    payload = signed_bytes()
    protected, _, text = whole()["attest-signature"].split(".")
    good = base64url.decode(text)
    message = jws.signing_input(protected, payload)
    s = int.from_bytes(good[32:], "little")
    plain = header() + b"." + payload
    for name, shows, signature in (
        ("r-flipped", "one bit of R", bytes([good[0] ^ 1]) + good[1:]),
        ("s-flipped", "one bit of S", good[:32] + bytes([good[32] ^ 1]) + good[33:]),
        ("s-plus-order", "S is not reduced", good[:32] + (s + ORDER).to_bytes(32, "little")),
        ("halves-swapped", "S before R", good[32:] + good[:32]),
        ("zero", "all zero", bytes(64)),
        ("not-base64-input", "over header and payload as they are", TOKEN.sign(plain)),
        ("payload-only", "over the payload alone", TOKEN.sign(payload)),
        (
            "b64-false-input",
            "over the payload unencoded",
            TOKEN.sign(protected.encode() + b"." + payload),
        ),
        (
            "digest-input",
            "over the hash of the input",
            TOKEN.sign(hashlib.sha256(message).digest()),
        ),
        ("identity-r", "R is the identity and the equation holds", identity_r(message)),
        (
            "mixed-order-r",
            "only the equation with cofactor holds, which is not this format's",
            mixed_order_r(message),
        ),
    ):
        case = _with_token(jws.detached(protected, signature))
        yield invalid(f"signature-{name}", shows, case, 4)
    for name, raw in LOW_ORDER.items():
        case = _with_token(jws.detached(protected, raw + good[32:]))
        yield invalid(f"signature-low-order-r-{name}", "R is of low order", case, 4)
    flipped = payload.replace(b"eu-central", b"us-central")
    case = whole().set("attest-statement", item(flipped))
    yield invalid("statement-changed", "the region was changed after signing", case, 4)
    spelled = payload.replace(b":", b": ")
    case = whole().set("attest-statement", item(spelled))
    yield invalid("statement-respelled", "the same JSON with white space", case, 4)


def identity_r(message: bytes) -> bytes:
    """Return R = identity, S = k a: who holds the key can make the equation hold."""
    r = LOW_ORDER["one"]
    return r + (_challenge(r, message) * _scalar() % ORDER).to_bytes(32, "little")


def mixed_order_r(message: bytes) -> bytes:
    """Return a signature whose R is that of the right one plus the point of order 2.

    `[8][S]B = [8]R + [8][k]A` holds, `[S]B = R + [k]A` does not.
    """
    good = TOKEN.sign(message)
    nonce = int.from_bytes(good[32:], "little") - _challenge(good[:32], message) * _scalar()
    r = add_points(good[:32], LOW_ORDER["minus-one"])
    s = (nonce + _challenge(r, message) * _scalar()) % ORDER
    return r + s.to_bytes(32, "little")


def add_points(a: bytes, b: bytes) -> bytes:
    """Add two Edwards points by the affine law, independently of the code under test."""
    d = -121665 * pow(121666, -1, FIELD) % FIELD

    def point(raw: bytes) -> tuple[int, int]:
        value = int.from_bytes(raw, "little")
        sign, y = value >> 255, value & (2**255 - 1)
        square = (y * y - 1) * pow(d * y * y + 1, -1, FIELD) % FIELD
        x = pow(square, (FIELD + 3) // 8, FIELD)
        if (x * x - square) % FIELD:
            x = x * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
        if (x * x - square) % FIELD:
            raise ValueError("not a point")
        return (FIELD - x if x & 1 != sign else x), y

    (x1, y1), (x2, y2) = point(a), point(b)
    cross = d * x1 * x2 * y1 * y2 % FIELD
    x = (x1 * y2 + x2 * y1) * pow(1 + cross, -1, FIELD) % FIELD
    y = (y1 * y2 + x1 * x2) * pow(1 - cross, -1, FIELD) % FIELD
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _scalar() -> int:
    """Return the test key's secret scalar (RFC 8032, 5.1.5)."""
    digest = bytearray(hashlib.sha512(TOKEN.seed).digest()[:32])
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    return int.from_bytes(digest, "little")


def _challenge(r: bytes, message: bytes) -> int:
    """Return k of RFC 8032, 5.1.7."""
    return int.from_bytes(hashlib.sha512(r + TOKEN.raw + message).digest(), "little") % ORDER
