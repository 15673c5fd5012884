"""The detached JWS: `header..signature` over bytes that travel beside it (RFC 7515, appendix F).

A strict profile, because every trap of JOSE lies in what a library accepts besides it:
exactly the members `alg`, `kid`, `typ`, spelled canonically; no embedded payload, no `crit`, `b64`,
`jwk`, `jku`, `x5c`; canonical base64url; and `typ` says what was signed, so that nothing signed for
one purpose can be passed off for another.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from verismo.model import base64url, canonical

SIGNATURE_BYTES = 64
SIGNATURE_CHARS = 86
"""64 bytes as base64url."""
HEADER_CHARS_MAX = 256
"""Our headers have 120 characters; more is somebody else's."""

TYPE_STATEMENT: Literal["attest+jws"] = "attest+jws"
TYPE_HEAD: Literal["attest-head+jws"] = "attest-head+jws"
TYPE_VOID: Literal["attest-void+jws"] = "attest-void+jws"
TYPE_KEYRING: Literal["attest-keyring+jws"] = "attest-keyring+jws"
TYPE_DECISION: Literal["attest-decision+jws"] = "attest-decision+jws"
TYPE_STEERING: Literal["attest-steering+jws"] = "attest-steering+jws"

SignatureType = Literal[
    "attest+jws",
    "attest-head+jws",
    "attest-void+jws",
    "attest-keyring+jws",
    "attest-decision+jws",
    "attest-steering+jws",
]


class JwsRefused(ValueError):
    """The text is not a detached JWS of the profile, and why."""


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The protected header: these three members and no other."""

    alg: Literal["Ed25519", "EdDSA"]
    kid: str
    typ: SignatureType


class DetachedJws(msgspec.Struct, frozen=True):
    """A parsed detached JWS.

    Args:
        header: the decoded header.
        protected: the header as it was sent, base64url.
        signature: 64 bytes.
    """

    header: Header
    protected: str
    signature: bytes


_NONE_KNOWN: Mapping[str, Header] = MappingProxyType({})


def protected_header(
    kid: str, typ: SignatureType, alg: Literal["Ed25519", "EdDSA"] = "Ed25519"
) -> str:
    """Return the base64url header for a key; the same bytes for every signature of that key."""
    return base64url.encode(canonical.encode(Header(alg=alg, kid=kid, typ=typ)))


def signing_input(protected: str, payload: bytes) -> bytes:
    """Return the bytes that are signed: `BASE64URL(header) . BASE64URL(payload)`.

    Source: RFC 7515, section 5.1.
    """
    return f"{protected}.{base64url.encode(payload)}".encode("ascii")


def detached(protected: str, signature: bytes) -> str:
    """Return the detached compact form, `header..signature`."""
    return f"{protected}..{base64url.encode(signature)}"


def parse(text: str, known: Mapping[str, Header] = _NONE_KNOWN) -> DetachedJws:
    """Parse a detached JWS of the profile, whatever it signs.

    Args:
        text: `header..signature`.
        known: headers by their canonical spelling, as `protected_header` returns it; one of these
            need not be decoded.

    Raises:
        JwsRefused: embedded payload, unknown or missing members, another `alg`, any non-canonical
            spelling, or a signature that is not 64 bytes.
    """
    parts = text.split(".", 3)
    if len(parts) != 3:
        raise JwsRefused("a detached JWS has two dots")
    protected, payload, signature_text = parts
    if payload:
        raise JwsRefused("the payload is embedded; it must travel beside the signature")
    if len(protected) > HEADER_CHARS_MAX:
        raise JwsRefused("the header is too long")
    if len(signature_text) != SIGNATURE_CHARS:
        raise JwsRefused(f"an Ed25519 signature has {SIGNATURE_BYTES} bytes")
    try:
        header = known.get(protected) or _read_header(protected)
        signature = base64url.decode(signature_text)
    except (base64url.NotBase64, canonical.NotCanonical) as error:
        raise JwsRefused(f"the JWS is outside the profile: {error}") from error
    return DetachedJws(header=header, protected=protected, signature=signature)


def parse_detached(
    text: str, typ: SignatureType, known: Mapping[str, Header] = _NONE_KNOWN
) -> DetachedJws:
    """Parse a detached JWS that signs one kind of payload.

    Args:
        text: `header..signature`.
        typ: what kind of payload the caller is about to check.
        known: see `parse`.

    Raises:
        JwsRefused: as `parse` does, or it signs another kind of payload.
    """
    parsed = parse(text, known)
    if parsed.header.typ != typ:
        raise JwsRefused(f"the signature is for {parsed.header.typ}, not for {typ}")
    return parsed


def _read_header(protected: str) -> Header:
    return canonical.decode(base64url.decode(protected), Header)
