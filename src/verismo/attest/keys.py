"""Public keys as JWKs: thumbprints, and refusal of Ed25519 points that verifiers disagree on.

Ed25519 verifiers differ on low-order, mixed-order and non-canonical points (notes-attest 6.5). With
canonical keys of prime order, and signatures whose R is canonical and not of low order, those that
use the equation without cofactor agree, so everything else is refused: keys here, once, when they
are imported. What remains, R of mixed order, satisfies the equation with cofactor alone; this
format's is the one without, `[S]B = R + [k]A`, which OpenSSL checks.
"""

import hashlib
from typing import Literal

import msgspec

from verismo.attest.onereading import MemberTwice, check_members
from verismo.model import base64url, canonical

KEYS_MAX = 64
"""More entries than that are refused: a gateway publishes the key in use and a few it had before,
and each one costs its importer a check of its order."""

Role = Literal["token", "log", "witness", "rollup", "evidence", "plan"]
"""What a key may sign. A key has one role for life (decisions 7)."""

_P = 2**255 - 19
_D = -121665 * pow(121666, _P - 2, _P) % _P
_L = 2**252 + 27742317777372353535851937790883648493
_ALL_BUT_SIGN = 2**255 - 1
_SQRT_M1 = pow(2, (_P - 1) // 4, _P)
_LOW_ORDER_Y = frozenset(
    {
        0,
        1,
        _P - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    }
)


class KeyRefused(ValueError):
    """A key that must not be used, and why."""


class PublicKey(msgspec.Struct, frozen=True):
    """An Ed25519 public key with its role.

    Args:
        kid: RFC 7638 thumbprint, base64url.
        alg: `Ed25519` (RFC 9864), or `EdDSA` for verifiers that know only that name.
        role: what it may sign.
        raw: 32 bytes.
    """

    kid: str
    alg: Literal["Ed25519", "EdDSA"]
    role: Role
    raw: bytes


class Jwk(msgspec.Struct, frozen=True):
    """A JSON Web Key of type OKP as published (RFC 8037). `attest_role` is our own member."""

    kty: str
    crv: str
    x: str
    kid: str
    alg: str
    use: str = "sig"
    attest_role: str = "token"


class Jwks(msgspec.Struct, frozen=True):
    """A JSON Web Key Set (RFC 7517, section 5)."""

    keys: tuple[Jwk, ...]


def thumbprint(raw: bytes) -> str:
    """Return the RFC 7638 thumbprint of an Ed25519 public key, base64url SHA-256.

    Source: RFC 7638, section 3; RFC 8037, appendix A.3.
    """
    required = {"crv": "Ed25519", "kty": "OKP", "x": base64url.encode(raw)}
    return base64url.encode(hashlib.sha256(canonical.encode(required)).digest())


def to_jwk(key: PublicKey) -> Jwk:
    """Return the JWK that is published for a key."""
    return Jwk(
        kty="OKP",
        crv="Ed25519",
        x=base64url.encode(key.raw),
        kid=key.kid,
        alg=key.alg,
        attest_role=key.role,
    )


def import_key(raw: bytes, role: Role, alg: Literal["Ed25519", "EdDSA"] = "Ed25519") -> PublicKey:
    """Check a public key and give it its thumbprint.

    Args:
        raw: 32 bytes.
        role: what it may sign.
        alg: the one algorithm name that tokens of this key carry.

    Raises:
        KeyRefused: wrong length, non-canonical, not on the curve, or not of prime order.
    """
    if len(raw) != 32:
        raise KeyRefused("an Ed25519 public key has 32 bytes")
    point = _decompress(raw)
    if point is None:
        raise KeyRefused("the key is not the canonical encoding of a point on the curve")
    if point[1] in _LOW_ORDER_Y or not _has_prime_order(point):
        raise KeyRefused("the key is of low or mixed order")
    return PublicKey(kid=thumbprint(raw), alg=alg, role=role, raw=raw)


def read_jwks(document: bytes) -> dict[str, PublicKey]:
    """Read a key set and return its usable keys by kid.

    Keys of other types are skipped, as RFC 7517 demands; a bad Ed25519 key is an error.

    Raises:
        KeyRefused: not a key set, over 64 entries, a member twice in one object, a bad or private
            key, a kid that is not the thumbprint, or a kid twice.
    """
    try:
        published = msgspec.json.decode(document, type=_AnyJwks)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise KeyRefused(f"not a JSON Web Key Set: {error}") from error
    if len(published.keys) > KEYS_MAX:
        raise KeyRefused(f"a key set of more than {KEYS_MAX} keys")
    try:
        check_members(document)
    except MemberTwice as error:
        raise KeyRefused(f"not a JSON Web Key Set: {error}") from error
    keys: dict[str, PublicKey] = {}
    for entry in published.keys:
        if entry.kty != "OKP" or entry.crv != "Ed25519":
            continue
        key = _read_key(entry)
        if key.kid in keys:
            raise KeyRefused(f"the kid {key.kid} stands twice in the key set")
        keys[key.kid] = key
    return keys


class _AnyJwk(msgspec.Struct, frozen=True):
    kty: str
    crv: str = ""
    x: str = ""
    kid: str = ""
    alg: str = ""
    attest_role: str = ""
    d: msgspec.Raw = msgspec.Raw()


class _AnyJwks(msgspec.Struct, frozen=True):
    keys: tuple[_AnyJwk, ...]


def _read_key(entry: _AnyJwk) -> PublicKey:
    if bytes(entry.d):  # also an empty or null one: whoever writes `d` meant to publish the key
        raise KeyRefused("the key set holds a private key: revoke that key and publish no `d`")
    try:
        raw = base64url.decode(entry.x)
        role = msgspec.convert(entry.attest_role, Role)
        alg = msgspec.convert(entry.alg, Literal["Ed25519", "EdDSA"])
    except (base64url.NotBase64, msgspec.ValidationError) as error:
        raise KeyRefused(f"the key {entry.kid[:64]!r} is malformed: {error}") from error
    key = import_key(raw, role, alg)
    if key.kid != entry.kid:
        raise KeyRefused(f"the kid {entry.kid[:64]!r} is not the thumbprint of its key")
    return key


def has_agreed_r(signature: bytes) -> bool:
    """Say whether a signature's R is canonical and not of low order.

    All verifiers without cofactor treat such signatures alike; see the module.

    Args:
        signature: 64 bytes.
    """
    y = int.from_bytes(signature[:32], "little") & _ALL_BUT_SIGN
    return y < _P and y not in _LOW_ORDER_Y


def _decompress(raw: bytes) -> tuple[int, int] | None:
    """RFC 8032, 5.1.3, refusing non-canonical y and the non-canonical zero x."""
    value = int.from_bytes(raw, "little")
    sign, y = value >> 255, value & _ALL_BUT_SIGN
    if y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if v * x * x % _P == -u % _P:
        x = x * _SQRT_M1 % _P
    if v * x * x % _P != u or (x == 0 and sign):
        return None
    return (_P - x if x & 1 != sign else x), y


def _add(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Add two points in extended coordinates (RFC 8032, 5.1.4)."""
    (x1, y1, z1, t1), (x2, y2, z2, t2) = a, b
    f, g = (y1 - x1) * (y2 - x2) % _P, (y1 + x1) * (y2 + x2) % _P
    c, d = 2 * t1 * t2 * _D % _P, 2 * z1 * z2 % _P
    e, h, m, n = g - f, g + f, d - c, d + c
    return e * m % _P, h * n % _P, m * n % _P, e * h % _P


def _has_prime_order(point: tuple[int, int]) -> bool:
    x, y = point
    base, result, scalar = (x, y, 1, x * y % _P), (0, 1, 1, 0), _L
    while scalar:
        if scalar & 1:
            result = _add(result, base)
        base = _add(base, base)
        scalar >>= 1
    return result[0] % _P == 0 and (result[1] - result[2]) % _P == 0
