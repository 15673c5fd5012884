"""The seal of the control plane: a detached JWS by a key of the role `plan`.

Steering and records of decisions are sealed alike and told apart by the type in the header. Unlike
answers, whoever reads them has the whole key ring, so the times of the key are checked here too.

Source: ADR-031; decisions 7.
"""

from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from verismo.attest import jws
from verismo.attest.keyentry import KeyEntry, judge_key
from verismo.attest.keys import Role, has_agreed_r
from verismo.model import base64url

ROLE: Role = "plan"


class SealRefused(ValueError):
    """The seal is none, or not of a key that may set it; and why."""


def seal(statement: bytes, kid: str, typ: jws.SignatureType, sign: Callable[[bytes], bytes]) -> str:
    """Return the detached JWS over a statement: same input, same text.

    Args:
        statement: what is signed.
        kid: thumbprint of the signing key, of the role `plan`.
        typ: what the statement is.
        sign: Ed25519 over a message, 64 bytes.
    """
    protected = jws.protected_header(kid, typ)
    return jws.detached(protected, sign(jws.signing_input(protected, statement)))


def check_seal(
    statement: bytes, signature: str, typ: jws.SignatureType, keys: Sequence[KeyEntry]
) -> KeyEntry:
    """Verify a seal over received bytes, before anything in them is parsed.

    Args:
        statement: as received.
        signature: `header..signature`.
        typ: what the statement is said to be.
        keys: of the newest version of the key ring that is believed.

    Returns:
        The key; whether it counted at the time that the statement names, `check_time` says.

    Raises:
        SealRefused: outside the profile, another type, a key that is not in the ring or has
            another role, or no signature of it over these bytes.
    """
    try:
        parsed = jws.parse_detached(signature, typ)
    except jws.JwsRefused as error:
        raise SealRefused(str(error)) from error
    kid = parsed.header.kid
    entry = next((one for one in keys if one.kid == kid), None)
    if entry is None:
        raise SealRefused(f"the key {kid[:64]!r} is not in the key ring")
    if entry.role != ROLE:
        raise SealRefused(f"the key {kid} has the role {entry.role}, not {ROLE}")
    if entry.alg != parsed.header.alg:
        raise SealRefused(f"the key is for {entry.alg}, the seal says {parsed.header.alg}")
    if not has_agreed_r(parsed.signature):
        raise SealRefused("R is not canonical or of low order; verifiers would disagree")
    try:
        Ed25519PublicKey.from_public_bytes(base64url.decode(entry.x)).verify(
            parsed.signature, jws.signing_input(parsed.protected, statement)
        )
    except InvalidSignature as error:
        raise SealRefused("the signature is not of this key over these bytes") from error
    return entry


def check_time(entry: KeyEntry, iat_ms: int, witnessed_ms: int | None = None) -> None:
    """Refuse a statement that was sealed when its key did not count; see `keyentry.judge_key`.

    Args:
        entry: from `check_seal`.
        iat_ms: when the statement says it was signed.
        witnessed_ms: when a witness saw it in the ledger, None for never; what a revoked key
            sealed before its revocation needs one.

    Raises:
        SealRefused: says when the key counts.
    """
    problem = judge_key(entry, iat_ms, witnessed_ms)
    if problem:
        raise SealRefused(problem)
