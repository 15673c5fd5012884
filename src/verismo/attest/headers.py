"""The response headers that carry a proof, by name and spelling (RFC 9651 structured fields)."""

import binascii
import hashlib
from collections.abc import Mapping

import msgspec

from verismo.attest.commitment import SALT_BYTES
from verismo.model import base64url
from verismo.model.ids import is_prov_id

VERSION = "1"
ATTEST_VERSION = "attest-version"
ATTEST_PROV_ID = "attest-prov-id"
ATTEST_STATEMENT = "attest-statement"
ATTEST_SIGNATURE = "attest-signature"
ATTEST_SALT = "attest-salt"
ATTEST_NONCE = "attest-nonce"
CONTENT_DIGEST = "content-digest"

EXPOSED = (
    ATTEST_VERSION,
    ATTEST_PROV_ID,
    ATTEST_STATEMENT,
    ATTEST_SIGNATURE,
    ATTEST_SALT,
    CONTENT_DIGEST,
    "x-request-id",
    "retry-after",
    "ratelimit",
    "ratelimit-policy",
)
"""Named in Access-Control-Expose-Headers: a browser hides every other header from its page."""


class HeadersRefused(ValueError):
    """The proof headers are incomplete or malformed, and why."""


class ProofHeaders(msgspec.Struct, frozen=True):
    """The parsed proof headers of one answer.

    Args:
        prov_id: as sent.
        salt: 32 bytes.
        statement: the signed bytes; for a stream empty, as it comes in the last comment.
        jws: the detached signature; empty for a stream.
    """

    prov_id: str
    salt: bytes
    statement: bytes
    jws: str


def proof_headers(
    prov_id: str, salt: bytes, statement: bytes, jws: str
) -> list[tuple[bytes, bytes]]:
    """Return the proof headers of a whole answer as raw pairs."""
    return [
        *stream_headers(prov_id, salt),
        (b"attest-statement", _binary_item(statement)),
        (b"attest-signature", jws.encode("ascii")),
    ]


def stream_headers(prov_id: str, salt: bytes) -> list[tuple[bytes, bytes]]:
    """Return the proof headers of a stream; its statement and signatures come inside it."""
    return [
        (b"attest-version", b"1"),
        (b"attest-prov-id", prov_id.encode("ascii")),
        (b"attest-salt", _binary_item(salt)),
    ]


def content_digest(body: bytes) -> bytes:
    """Return the `Content-Digest` value of a body.

    Source: RFC 9530, section 2.
    """
    return b"sha-256=" + _binary_item(hashlib.sha256(body).digest())


def _binary_item(data: bytes) -> bytes:
    """Return an RFC 9651 byte sequence as it stands in a raw header."""
    return b":%b:" % binascii.b2a_base64(data, newline=False)


def read_proof_headers(headers: Mapping[str, str]) -> ProofHeaders | None:
    """Read the proof from response headers.

    Args:
        headers: by lower-case name.

    Returns:
        The proof, or None if the answer carries none at all.

    Raises:
        HeadersRefused: some proof headers are there but not all, or one is malformed.
    """
    if headers.get(ATTEST_VERSION) != VERSION:
        if not any(name.startswith("attest-") for name in headers):
            return None
        raise HeadersRefused("Attest-Version is not 1; update the verifier")
    try:
        proof = ProofHeaders(
            prov_id=headers[ATTEST_PROV_ID],
            salt=base64url.decode_binary_item(headers[ATTEST_SALT]),
            statement=_statement(headers),
            jws=headers.get(ATTEST_SIGNATURE, ""),
        )
    except KeyError as error:
        raise HeadersRefused(f"the header {error.args[0]} is missing") from error
    except base64url.NotBase64 as error:
        raise HeadersRefused(f"a proof header is malformed: {error}") from error
    if not is_prov_id(proof.prov_id):
        raise HeadersRefused("Attest-Prov-Id is not a canonical UUIDv7")
    if len(proof.salt) != SALT_BYTES:
        raise HeadersRefused(f"Attest-Salt has not exactly {SALT_BYTES} bytes")
    if bool(proof.statement) != bool(proof.jws):
        raise HeadersRefused("one of Attest-Statement and Attest-Signature is missing")
    return proof


def _statement(headers: Mapping[str, str]) -> bytes:
    if ATTEST_STATEMENT not in headers:
        return b""
    return base64url.decode_binary_item(headers[ATTEST_STATEMENT])
