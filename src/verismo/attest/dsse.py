"""DSSE, the Dead Simple Signing Envelope: signed bytes with their type, and no canonical form.

The signature covers the payload's exact bytes and its type (PAE), so a verifier needs no parser
before it knows who signed. This profile signs with one Ed25519 key of one role.

Source: secure-systems-lab/dsse, protocol.md and envelope.md, version 1.0.
"""

import base64
import binascii
from collections.abc import Callable, Mapping

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from verismo.attest.keys import PublicKey, Role, has_agreed_r
from verismo.model import canonical

SIGNATURE_BYTES = 64
SIGNATURES_MAX = 16
"""More signers than that one document never has; each costs a verification."""
ENVELOPE_BYTES_MAX = 16_777_216
"""A rollup with 10,000 upload proofs has about 4 MB."""


class EnvelopeRefused(ValueError):
    """The bytes are no envelope, or nobody who may has signed them, and why."""


class Signature(msgspec.Struct, frozen=True):
    """One signature: standard base64, and a hint whose it is."""

    sig: str
    keyid: str = ""


class Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """The envelope as it is stored: payload and signatures in base64."""

    payload: str
    payload_type: str
    signatures: tuple[Signature, ...]


class Opened(msgspec.Struct, frozen=True):
    """What a verified envelope held: the payload's exact bytes, and the key that signed them."""

    payload: bytes
    kid: str


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed: `DSSEv1 SP len(type) SP type SP len(body) SP body`.

    Source: protocol.md, "Signature Definition".
    """
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def seal(payload_type: str, payload: bytes, kid: str, sign: Callable[[bytes], bytes]) -> bytes:
    """Return an envelope with one signature, as canonical JSON: same input, same bytes.

    Args:
        payload_type: a media type.
        payload: what is signed.
        kid: thumbprint of the signing key.
        sign: Ed25519 over a message, 64 bytes.
    """
    signature = sign(pre_authentication_encoding(payload_type, payload))
    return canonical.encode(
        Envelope(
            payload=_base64(payload),
            payload_type=payload_type,
            signatures=(Signature(sig=_base64(signature), keyid=kid),),
        )
    )


def read_envelope(document: bytes) -> tuple[Envelope, bytes]:
    """Return the envelope and its payload; nothing is verified.

    Raises:
        EnvelopeRefused: not an envelope.
    """
    if len(document) > ENVELOPE_BYTES_MAX:
        raise EnvelopeRefused(f"an envelope of more than {ENVELOPE_BYTES_MAX} bytes")
    try:
        envelope = msgspec.json.decode(document, type=Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EnvelopeRefused(f"not a DSSE envelope: {error}") from error
    return envelope, _bytes_of(envelope.payload)


def open_envelope(
    document: bytes, payload_type: str, keys: Mapping[str, PublicKey], role: Role
) -> Opened:
    """Verify an envelope and return its payload.

    Args:
        document: the envelope as it was received.
        payload_type: the only type that is accepted.
        keys: trusted keys by kid.
        role: what the signer's key must be for.

    Raises:
        EnvelopeRefused: not an envelope, another type, or no valid signature of a trusted key.
    """
    envelope, payload = read_envelope(document)
    if envelope.payload_type != payload_type:
        raise EnvelopeRefused(f"the envelope holds {envelope.payload_type[:128]!r}")
    if len(envelope.signatures) > SIGNATURES_MAX:
        raise EnvelopeRefused(f"an envelope with more than {SIGNATURES_MAX} signatures")
    message = pre_authentication_encoding(payload_type, payload)
    for signature in envelope.signatures:
        # The hint only finds the key faster; without one every trusted key would be tried, and
        # this profile's signer always gives it.
        key = keys.get(signature.keyid)
        if key is not None and key.role == role and _verifies(key, signature, message):
            return Opened(payload=payload, kid=key.kid)
    raise EnvelopeRefused(f"no valid signature of a trusted {role} key")


def _verifies(key: PublicKey, signature: Signature, message: bytes) -> bool:
    raw = _bytes_of(signature.sig)
    if len(raw) != SIGNATURE_BYTES or not has_agreed_r(raw):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(raw, message)
    except InvalidSignature:
        return False
    return True


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _bytes_of(text: str) -> bytes:
    """Decode base64 of either alphabet, as envelope.md demands of a consumer."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise EnvelopeRefused("the envelope's base64 is malformed") from error
